"""audit.html: what whoever answers for a model has to know of it, on one page that needs nothing but itself.

Data and licenses, copying, balance, what marks its pictures, what is refused: from files that a run and its evaluations
leave, and one picture that is signed and marked to see that this works here.
"""
from __future__ import annotations

import base64
import shlex
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imggen_jax import exporting, zoo
from imggen_jax.errors import RunError
from imggen_jax.evaluation import store
from imggen_jax.loading import find
from imggen_jax.pictures import files
from imggen_jax.provenance import detection, policy, publishing, verifying, watermark
from imggen_jax.storage import templates
from imggen_jax.storage.files import given_path, write_atomic
from imggen_jax.training.folder import CONFIG, DATA
from imggen_jax.training.saved import read_json

_TEMPLATE = Path(__file__).with_name("audit.html.jinja")
PAGE = "audit.html"
LEDGER = {"license": "License", "origin": "Origin", "consent": "Consent"}


class Table(NamedTuple):
    """Rows under a head; the first cell of a row is its name."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Part(NamedTuple):
    """One question of the page."""

    title: str
    state: str                       # "good", "bad" or "open"
    says: str                        # the answer, a sentence
    lines: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    picture: str = ""                # data URI
    command: str = ""                # that would answer it


def write(workdir: str | Path, out: str | Path | None = None) -> Path:
    """Write the page of a model.

    Args:
      workdir: the folder of a run or of an exported model, or the name of one that ships with the package.
      out: the page's file; None for audit.html in the folder.

    Returns:
      The path of the page.

    Raises:
      RunError: there is no model, a file of it is damaged, or the page cannot be written.
    """
    folder = find(workdir)
    if out is None and folder != given_path(workdir, "the model"):
        raise RunError(f"{workdir} ships with the package, whose folder is left as it is; name the page with --out")
    config, data = _facts(folder)
    name = folder.resolve().name
    parts = [_data(data), _copying(folder), _balance(folder), _marks(data), _policy(folder)]
    page = templates.render(_TEMPLATE, name=name, game=str(config.get("game", {}).get("name", "")), parts=parts,
                            place=str(workdir))
    path = folder / PAGE if out is None else given_path(out, "the page")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, page.encode("utf-8", "replace"))
    except OSError as error:
        raise RunError(f"cannot write {path} ({error.strerror or error}); name another file with --out") from error
    return path


def _facts(folder: Path) -> tuple[Mapping, Mapping]:
    """Config and data, as a run or an export tells them."""
    if exporting.is_export(folder):
        facts = read_json(folder / exporting.FACTS) or {}
        return facts.get("config") or {}, facts.get("data") or {}
    config = read_json(folder / CONFIG)
    if config is None:
        raise RunError(f"{folder} is neither the folder of a run nor an exported model; name one with --workdir")
    return config, read_json(folder / DATA) or {}


def _data(data: Mapping) -> Part:
    title = "What was it trained on, and under which licenses?"
    if not data:
        return Part(title, "open", "Nothing is recorded of its data.")
    card = data.get("card") or {}
    lines = [f"Dataset {data.get('name')}, split {data.get('split')}, {data.get('examples', 0):,} examples, "
             f"fingerprint {str(data.get('fingerprint'))[:16]}."]
    if left := card.get("opted_out"):
        lines.append(f"{left:,} {'picture was' if left == 1 else 'pictures were'} left out because "
                     f"{'it' if left == 1 else 'they'} must not be trained on.")
    ledger = card.get("ledger") or {}
    tables = tuple(Table((LEDGER[key], "Pictures"), tuple(
        (str(value), f"{count:,}") for value, count in sorted((ledger[key].get("values") or {}).items()))
        + ((("(not stated)", f"{ledger[key]['missing']:,}"),) if ledger[key].get("missing") else ()))
        for key in LEDGER if ledger.get(key))
    if not ledger and str(data.get("name")).startswith("avatars/"):
        return Part(title, "good", "Drawn by imggen_jax itself, from no picture or person.", tuple(lines))
    missing = (ledger.get("license") or {}).get("missing")
    if missing == 0:
        return Part(title, "good", "Every picture has a license.", tuple(lines), tables)
    said = "No license is recorded." if missing is None else f"{missing:,} pictures have no license."
    return Part(title, "bad", said, tuple(lines), tables)


def _copying(folder: Path) -> Part:
    title, found = "Does it copy its training pictures?", store.newest(folder / "scores", "copying")
    if found is None:
        return Part(title, "open", "Not measured.", command=_command(folder, "copying"))
    lines = (f"Data-copying test: z {found['z']:.2f}; below −3 is copying. {found['nearer_than_held_out']:.1%} of "
             f"{found['pictures']:,} generated pictures are nearer to a training picture than held-out ones are.",
             "Below: the closest pairs, a generated picture above its nearest training picture.")
    picture = _embedded(found.get("page"), folder)
    return Part(title, "bad" if found["copies"] else "good", "It copies." if found["copies"] else "No copying is seen.",
                lines if picture else lines[:1], picture=picture)


def _balance(folder: Path) -> Part:
    title, found = "Whom does it make, and how often?", store.newest(folder / "scores", "balance")
    if found is None:
        return Part(title, "open", "Not measured; it takes data with labels.", command=_command(folder, "balance"))
    last = {name: each["generated"][-1] for name, each in found["attributes"].items()}
    apart = [name for name, one in last.items() if one["total_variation"] > one["by_chance"]]
    rows = tuple((name, *(f"{one['total_variation']:.3f}" for one in each["generated"]),
                  f"{each['generated'][-1]['by_chance']:.3f}") for name, each in found["attributes"].items())
    table = Table(("Attribute", *(f"truncation {one:g}" for one in found["truncations"]), "by chance, under"), rows)
    lines = ("Total variation between generated pictures and data, 0 to 1, by attribute and truncation: below 1, a "
             "model makes the common more common.",)
    said = (f"Not as often as in the data: {', '.join(apart)}." if apart
            else "As often as in the data, as far as this many pictures tell.")
    return Part(title, "bad" if apart else "good", said, lines, (table,), _embedded(found.get("chart"), folder))


def _embedded(path: Any, folder: Path) -> str:
    """A stored chart, as a data URI; "" where it is gone. It lies in scores/, wherever the folder is now."""
    try:
        content = (folder / "scores" / Path(str(path)).name).read_bytes() if path else b""
    except OSError:
        return ""
    return "data:image/png;base64," + base64.b64encode(content).decode() if content else ""


def _command(folder: Path, evaluator: str) -> str:
    name = folder.name if zoo.ships(folder) else shlex.quote(str(folder))
    return f"imggen evaluate --model {name} --only {evaluator}"


def _marks(data: Mapping) -> Part:
    """One picture of the size that the model makes is published with the settings in force, and looked at."""
    wanted, size = publishing.settings(), _size(data)
    with tempfile.TemporaryDirectory() as aside:
        path, noise = Path(aside) / "a.png", np.random.default_rng(0).normal(128, 30, (*size, 3))
        plain = wanted._replace(fingerprints=None)
        with publishing.using(plain):
            publishing.write_png(path, noise.clip(0, 255).astype(np.uint8), publishing.Origin("audit"))
        verdict = verifying.verify(path)
        found = detection.detect(files.read(path).pixels, search=False)
    who = verdict.signer.get("name") or verdict.signer.get("organization") or "nobody named"
    own = " (made by this computer; vouched for by nobody)" if not wanted.certificate else ""
    rows = (("Signature", f"holds; by {who}{own}" if verdict.holds else "none"),
            ("Time stamp", wanted.authority or "none"),
            ("Watermark", "found" if found.marked else "none"),
            ("Prompts", "signed, in the record" if wanted.prompt else "private"),
            ("Fingerprints", wanted.fingerprints or "none"))
    small = wanted.watermark and min(size) < watermark.SMALLEST
    state, says = ("good", "is signed and carries the watermark") if verdict.holds and found.marked else (
        "open", f"is signed; of {size[1]}x{size[0]} pixels it is too small for the watermark, which takes "
        f"{watermark.SMALLEST}x{watermark.SMALLEST}") if verdict.holds and small else (
        "bad", "is not both signed and marked")
    return Part("Do its pictures say what they are?", state,
                f"A picture written now, with the settings in force here, {says}.",
                tables=(Table(("Layer", "Now"), rows),))


def _size(data: Mapping) -> tuple[int, int]:
    """Height and width of what a model makes; of one that takes any size, or does not say, 128 each."""
    height, width, _ = data.get("spec", {}).get("image", {}).get("shape", (None, None, 3))
    return height or 128, width or 128


def _policy(folder: Path) -> Part:
    title, found = "What may it be used for, and what was refused?", policy.in_force(folder)
    if not found:
        command = (f"imggen policy --example > policy.toml; export {policy.VARIABLE}=$PWD/policy.toml"
                   if zoo.ships(folder) else f"imggen policy --example > {shlex.quote(str(folder / policy.FILE))}")
        return Part(title, "open", "No policy is in force.", command=command)
    lines = tuple(line.strip() for one in found for line in policy.lines(one))
    said = [each for one in found for each in policy.refusals(one.file)
            if not each["model"] or each["model"] == folder.resolve().name]
    rules = Counter((each["verb"], each["rule"]) for each in said)
    latest = {(each["verb"], each["rule"]): each["time"] for each in said}
    rows = tuple((verb, rule, f"{count:,}", latest[verb, rule]) for (verb, rule), count in rules.most_common(50))
    tables = (Table(("Verb", "Rule", "Times", "Last"), rows),) if rows else ()
    return Part(title, "good", f"{len(found)} in force; {len(said):,} requests were refused.", lines, tables)
