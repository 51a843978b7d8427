"""Tampering with signed pictures: is each change told right, and does nothing end in a traceback?

    python experiments/trust/tamper.py --mutated 300

Signs a picture in every format, changes it in the ways below, and counts what `verify` says; writes tamper.md beside
this file. A mutated file has bytes changed, cut out, doubled or cut off at random places.
"""
from __future__ import annotations

import argparse
import io
import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from imggen_jax import provenance
from imggen_jax.provenance import verifying

HERE = Path(__file__).parent
NAMES = ("a.png", "a.jpg", "a.webp", "a.tif", "a.avif")
Parts = list[tuple[bytes, bytes]]


def scene(seed: int) -> np.ndarray:
    """uint8 [160,200,3]"""
    noise = np.random.default_rng(seed).integers(0, 256, (160, 200, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2)))


def write(path: Path, pixels: np.ndarray) -> Path:
    """Signed and marked, as verbs write it."""
    provenance.write(path, provenance.Picture(pixels), provenance.Origin("upscale"))
    return path


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def plain(kind: str, pixels: np.ndarray) -> bytes:
    """The same kind of file without credentials."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def parts(data: bytes, kind: str) -> Parts:
    """(name, bytes) of a PNG's chunks, or of a JPEG's segments up to its pixels."""
    found, at = [], 8 if kind == "PNG" else 2
    while at < len(data):
        if kind == "PNG":
            end = at + 12 + struct.unpack(">I", data[at:at + 4])[0]
            name = data[at + 4:at + 8]
        else:
            name = data[at:at + 2]
            end = len(data) if name == b"\xff\xda" else at + 2 + struct.unpack(">H", data[at + 2:at + 4])[0]
        found.append((name, data[at:end]))
        at = end
    return found


MANIFEST = {"PNG": b"caBX", "JPEG": b"\xff\xeb"}


def joined(data: bytes, kind: str, *, manifest: bytes | None) -> bytes:
    """A file without credentials, or with those of another file."""
    own = [content for name, content in parts(data, kind) if name != MANIFEST[kind]]
    given = [] if manifest is None else [one for name, one in parts(manifest, kind) if name == MANIFEST[kind]]
    return data[:8 if kind == "PNG" else 2] + b"".join([*own[:1], *given, *own[1:]])


def changes(path: Path, kind: str) -> Iterator[tuple[str, bytes, str]]:
    """(what was done, the file, what has to be said)"""
    data, pixels = path.read_bytes(), pixels_of(path).copy()
    yield "nothing", data, "holds"
    yield "cut to two thirds", data[:len(data) * 2 // 3], "broken or unreadable"
    pixels[80, 100, 1] ^= 1
    if kind not in MANIFEST:
        yield "one pixel changed, saved again", plain(kind, pixels), "none"
        return
    yield "one pixel changed, manifest kept", joined(plain(kind, pixels), kind, manifest=data), "broken"
    yield "manifest stripped", joined(data, kind, manifest=None), "none"
    yield "manifest moved to another picture", joined(plain(kind, scene(5)), kind, manifest=data), "broken"
    if kind == "PNG":
        text = b"Author\0somebody else"
        chunk = struct.pack(">I", len(text)) + b"tEXt" + text + struct.pack(">I", zlib.crc32(b"tEXt" + text))
        yield "metadata added", data[:-12] + chunk + data[-12:], "broken"


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    content, at = bytearray(data), int(rng.integers(0, len(data)))
    match int(rng.integers(4)):
        case 0:
            content[at] ^= int(rng.integers(1, 256))
        case 1:
            del content[at:at + int(rng.integers(1, 50))]
        case 2:
            content[at:at] = content[max(0, at - 40):at] or b"x"
        case _:
            del content[max(at, 1):]
    return bytes(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutated", type=int, default=300, help="mutated files of each format")
    args = parser.parse_args()
    rows = ["| file | done to it | `verify` says | right |", "| --- | --- | --- | --- |"]
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            path, file = write(Path(folder) / name, scene(0)), Path(folder) / f"changed{Path(name).suffix}"
            kind = str(Image.open(path).format)
            before = pixels_of(path)
            for done, content, wanted in changes(path, kind):
                file.write_bytes(content)
                verdict = verifying.verify(file)
                right = verdict.signature in wanted
                rows.append(f"| {name} | {done} | {verdict.signature}; pixels {verdict.pixels} | {right} |")
            said: Counter[str] = Counter()
            rng, wrong = np.random.default_rng(0), 0
            for _ in range(args.mutated):
                content = mutated(path.read_bytes(), rng)
                file.write_bytes(content)
                verdict = verifying.verify(file)
                said[verdict.signature] += 1
                wrong += verdict.holds and not np.array_equal(pixels_of(file), before)
            told = ", ".join(f"{count} {signature}" for signature, count in said.most_common())
            rows.append(f"| {name} | {args.mutated} mutated files | {told} | {wrong} hold with other pixels |")
            print(*rows[-6:], sep="\n", flush=True)
    (HERE / "tamper.md").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
