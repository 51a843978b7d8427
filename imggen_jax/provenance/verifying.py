"""What a picture's credentials say, and whether they hold; those of others are read too."""
from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import c2pa
from PIL import Image

from imggen_jax.errors import RunError
from imggen_jax.pictures import files
from imggen_jax.pictures.files import Picture, PictureError
from imggen_jax.provenance import credentials, detection

MOST_BYTES = 500_000_000         # of a file whose pixels are looked at


class Verdict(NamedTuple):
    """What is known of a picture."""

    file: str
    holds: bool                  # a signature is there and holds, and the file is as it was signed
    trusted: bool                # whoever signed is vouched for by one of the anchors
    signature: str               # "holds", "broken", "none" or "unreadable"
    pixels: str                  # "unchanged", "changed", "unknown"
    signer: Mapping[str, str]    # name, organization, algorithm, time; {} where nothing is signed
    generator: str               # the program that signed
    source_type: str             # of IPTC's digital source types, such as trainedAlgorithmicMedia; "" where not stated
    actions: tuple[str, ...]     # what was done, in order
    ingredients: tuple[str, ...]  # titles of the pictures that it was made from
    made: Mapping[str, Any]      # what this project says of its own pictures
    watermark: Mapping[str, Any] | None   # where no signature holds: what the pixels say, as they are
    problems: tuple[str, ...]    # codes of C2PA, or a line

    def lines(self) -> list[str]:
        """In words."""
        said = [f"{self.file}: {self._summary()}"]
        if self.signer:
            who = ", ".join(value for key in ("name", "organization") if (value := self.signer.get(key)))
            said.append(f"  signed by {who or 'nobody named'} ({self.signer.get('algorithm', 'unknown algorithm')}"
                        f"{', ' + self.signer['time'] if 'time' in self.signer else ', no time stamp'}); "
                        + ("trusted" if self.trusted else "no anchor vouches for this name"))
            said.append(f"  made by {self.generator or 'an unnamed program'}: {', '.join(self.actions) or 'no actions'}"
                        f"{'; ' + self.source_type if self.source_type else ''}")
        said += [f"  from {title}" for title in self.ingredients]
        said += [f"  {key}: {value}" for key, value in self.made.items() if not isinstance(value, dict | list)]
        if self.watermark is not None:
            said.append(f"  watermark: {_mark_line(self.watermark)}")
        return said + [f"  problem: {problem}" for problem in self.problems]

    def _summary(self) -> str:
        match self.signature, self.pixels:
            case "holds", _:
                return "the signature holds, and nothing was changed since"
            case "broken", "changed":
                return "CHANGED: its pixels are not those that were signed"
            case "broken", "unchanged":
                return "CHANGED: its pixels are those that were signed, the rest of the file is not"
            case "broken", _:
                return "CHANGED: the file is not the one that was signed"
            case "none", _:
                return "no credentials; nothing says who made it"
        return "cannot be read; it is damaged, cut off, or no picture"


def verify(path: str | Path, *, anchors: str | Path | None = None) -> Verdict:
    """Check the credentials of a picture's file.

    Args:
      path: of the picture: PNG, JPEG, WebP, TIFF, AVIF or GIF.
      anchors: PEM file of certificates that are trusted to vouch for signers, such as the anchor.pem of a colleague's
        computer.

    Raises:
      RunError: the file or the anchors cannot be opened. A damaged picture is a verdict, not an error.
    """
    path = Path(path)
    context = _context(_anchors(anchors))
    report, problem, picture = None, "", None
    try:
        with open(path, "rb") as file:
            try:
                report = _report(file, context)
            except c2pa.C2paError as error:
                problem = _brief(error)
        large = path.stat().st_size > MOST_BYTES or _has_many_pixels(path)
        if not large:
            picture = _picture(path.read_bytes())
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error}); name a picture's file") from error
    empty = Verdict(str(path), False, False, "none", "unknown", {}, "", "", (), (), {}, None, ())
    if large and report is None:
        raise RunError(f"{path} has no credentials, and more than {MOST_BYTES:,} bytes or {files.MAX_PIXELS:,} pixels; "
                       "give a smaller picture")
    if picture is None and not large:
        return empty._replace(signature="unreadable", problems=(problem,) if problem else ())
    if report is None:
        assert picture is not None, "refused above"
        return empty._replace(signature="broken" if problem else "none", watermark=_mark(picture),
                              problems=(problem,) if problem else ())
    return _verdict(empty, report, picture)


def _anchors(path: str | Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"the anchors {path} cannot be read ({getattr(error, 'strerror', None) or 'no text'}); give a "
                       "PEM file of certificates") from error
    if "BEGIN CERTIFICATE" not in text:
        raise RunError(f"the anchors {path} hold no certificate; give a PEM file of certificates")
    return text


@functools.lru_cache(maxsize=4)
def _context(anchors: str | None) -> c2pa.Context:
    wanted: dict[str, Any] = {**credentials.OFFLINE}
    if anchors is not None:
        wanted |= {"trust": {"user_anchors": anchors}}
    try:
        return c2pa.Context(settings=c2pa.Settings.from_dict(wanted))
    except c2pa.C2paError as error:
        raise RunError(f"the anchors are no certificates ({_brief(error)}); give a PEM file") from error


def _has_many_pixels(path: Path) -> bool:
    """More than are looked at, as far as the file's first bytes tell."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                return picture.width * picture.height > files.MAX_PIXELS
    except Image.DecompressionBombError:
        return True
    except Exception:  # noqa: BLE001 - for broken files Pillow raises OSError, SyntaxError, RuntimeError and many more
        return False


def _picture(data: bytes) -> Picture | None:
    try:
        return files.decoded(data)
    except PictureError:
        return None


def _report(file: BinaryIO, context: c2pa.Context) -> dict | None:
    """The reader's JSON; None where there is no manifest."""
    kind = _kind(file.read(12))
    file.seek(0)
    if kind is None:
        return None
    reader = c2pa.Reader.try_create(kind, file, context=context)
    if reader is None:
        return None
    with reader:
        return json.loads(reader.json())


def _kind(data: bytes) -> str | None:
    """The media type of a file, from its first bytes."""
    starts = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"RIFF": "image/webp", b"II": "image/tiff",
              b"MM": "image/tiff", b"GIF8": "image/gif"}
    if data[4:8] == b"ftyp":
        return "image/avif"
    return next((kind for start, kind in starts.items() if data.startswith(start)), None)


def _verdict(empty: Verdict, report: Mapping, picture: Picture | None) -> Verdict:
    """From what c2pa's reader reports; its fields are those of a file that anybody may have made.

    picture: None where it is too large to be looked at.
    """
    manifest = _dict(_dict(report.get("manifests")).get(str(report.get("active_manifest"))))
    state = report.get("validation_state")
    holds = state in ("Valid", "Trusted")
    results = _dict(_dict(report.get("validation_results")).get("activeManifest"))
    failures = tuple(dict.fromkeys(str(_dict(each).get("code"))[:80] for each in _list(results.get("failure"))))
    signer = _dict(manifest.get("signature_info"))
    named = {"name": signer.get("common_name"), "organization": signer.get("issuer"), "algorithm": signer.get("alg"),
             "time": signer.get("time")}
    assertions = [_dict(each) for each in _list(manifest.get("assertions"))]
    made = next((_dict(each.get("data")) for each in assertions if each.get("label") == credentials.LABEL), {})
    actions = [_dict(action) for each in assertions if str(each.get("label")).startswith("c2pa.actions")
               for action in _list(_dict(each.get("data")).get("actions"))]
    kinds = [str(action["digitalSourceType"]).rsplit("/", 1)[-1][:80] for action in actions
             if action.get("digitalSourceType")]
    generator = [_dict(each) for each in _list(manifest.get("claim_generator_info"))][:1]
    verdict = empty._replace(
        holds=holds, trusted=state == "Trusted", signature="holds" if holds else "broken",
        pixels="unchanged" if holds else "unknown" if picture is None else _pixels(made, picture),
        signer={key: str(value)[:120] for key, value in named.items() if value},
        generator=" ".join(str(each.get(key, ""))[:60] for each in generator for key in ("name", "version")).strip(),
        source_type=kinds[-1] if kinds else "",
        actions=tuple(str(action.get("action")).removeprefix("c2pa.")[:60] for action in actions[:50]),
        ingredients=tuple(str(_dict(each).get("title"))[:120] for each in _list(manifest.get("ingredients"))[:50]),
        made=made, problems=() if holds else tuple(code for code in failures if code != "signingCredential.untrusted"))
    return verdict if holds or picture is None else verdict._replace(watermark=_mark(picture))


def _pixels(made: Mapping, picture: Picture) -> str:
    """Whether a changed file's pixels are those that this project signed."""
    if not isinstance(made.get("pixels"), str):
        return "unknown"
    return "unchanged" if made["pixels"] == credentials.pixel_hash(picture.pixels) else "changed"


def _mark(picture: Picture) -> dict[str, Any]:
    return mark_facts(detection.detect(picture.pixels, search=False))


def mark_facts(found: detection.Detection) -> dict[str, Any]:
    """What a detection says, as JSON."""
    return {"marked": bool(found.marked), "payload": None if found.payload is None else f"{found.payload:08x}",
            "false_positive_rate": float(f"{found.false_positive_rate:.3g}"), "statistic": round(found.statistic, 2),
            "confidence": round(1 - found.false_positive_rate, 6),
            "place": {key: round(value, 3) for key, value in found.place._asdict().items()}}


def _mark_line(facts: Mapping) -> str:
    if not facts["marked"]:
        return "none was found in the pixels as they are; `detect` looks for crops, too"
    number = f"payload {facts['payload']}" if facts["payload"] else "its number cannot be read"
    return f"found, so this project made it, or part of it; {number}; chance {facts['false_positive_rate']:.1g}"


def _dict(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
