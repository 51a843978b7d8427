"""How often an unmarked picture is taken for a marked one, after the search over places: on pictures that all differ.

    python experiments/trust/falsely.py --data ../shared/data/folders --work runs/trust

Each picture is looked at once: whole, or one of the disjoint squares that a large one is cut into. Half of them, by a
hash of their names, are what the detector's rate was set with ("set"); the others were first looked at afterwards
("held out"). Pictures cut from one file are in the same half. The same command goes on where it was stopped.
"""
from __future__ import annotations

import argparse
import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from trust import HERE, PICTURES, RATE, Pixels, read, wilson

import imggen_jax
from imggen_jax import data as datasets
from imggen_jax import provenance

SQUARE = 256
ARCHIVES = ("photos", "kodak24", "emoji_fluent", "emoji_noto", "clothing", "paintings", "facades", "summer_winter",
            "panoramas", "sr_tests", "jpeg_tests")
DRAWN, GENERATED = 600, 400      # avatars of 64 and 128 pixels in turn, and pictures of the shipped model
LEVELS = (0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3)


def files(data: Path, archive: str) -> Iterator[tuple[str, Pixels]]:
    """(name, uint8 [H,W,3 or 4]) of the pictures of an archive; of test sets for enlarging, the large ones alone."""
    with zipfile.ZipFile(data / f"{archive}.zip") as opened:
        for name in sorted(each for each in opened.namelist() if each.lower().endswith(PICTURES)):
            if archive == "sr_tests" and "HR/" not in name:
                continue
            picture = Image.open(io.BytesIO(opened.read(name)))
            yield f"{archive}/{name}", np.asarray(picture.convert("RGBA" if "A" in picture.mode else "RGB"))


def made(work: Path) -> Iterator[tuple[str, Pixels]]:
    """Avatars that are drawn, and pictures of the shipped model, which are not marked before they are written."""
    for k, size in enumerate((64, 128)):         # other faces in each
        aside = work / f"unmarked_avatars_{size}.npy"
        if not aside.exists():
            with tempfile.TemporaryDirectory() as folder:
                name = datasets.draw_avatars("unmarked", size=size, train=DRAWN, test=1, dir=folder)
                faces = datasets.open_dataset(name=name, split="train", dir=folder)
                np.save(aside, faces.read(np.arange(DRAWN // 2) + k * DRAWN // 2)["image"])
        yield from ((f"avatars {size}/{number}", each) for number, each in enumerate(np.load(aside)))
    aside = work / "unmarked_generated.npy"
    if not aside.exists():
        words = "a smiling person", "a man with a beard", "a woman with glasses", "a person with red hair"
        given = {"text": [words[k % len(words)] for k in range(GENERATED)]}
        np.save(aside, imggen_jax.load("avatars").sample(num=GENERATED, given=given))
    yield from ((f"generated/{k}", each) for k, each in enumerate(np.load(aside)))


def pictures(data: Path, work: Path) -> Iterator[tuple[str, bool, Pixels]]:
    """(key, whether it is held out, uint8 [H,W,C]); whole ones, then squares of large ones."""
    for name, whole in all_of(data, work):
        yield name, held_out(name), whole
        rows, columns = (side // SQUARE for side in whole.shape[:2])
        for k in range(rows * columns if rows * columns > 1 else 0):
            top, left = k // columns * SQUARE, k % columns * SQUARE
            yield f"{name} {k}", held_out(name), whole[top:top + SQUARE, left:left + SQUARE]


def all_of(data: Path, work: Path) -> Iterator[tuple[str, Pixels]]:
    for archive in ARCHIVES:
        yield from files(data, archive)
    yield from made(work)


def held_out(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def look(image: Pixels) -> dict:
    found = provenance.detect(image, rate=RATE)
    return {"rate": found.false_positive_rate, "marked": int(found.marked), "payload": found.payload,
            "statistic": found.statistic, "place": list(found.place)}


def summed(rows: list[dict]) -> dict:
    """How many pictures are taken for marked ones, and how many look so at other rates."""
    marked = sum(row["marked"] for row in rows)
    return {"pictures": len(rows), "taken for marked": marked, "rate": marked / len(rows),
            "interval": wilson(marked, len(rows)),
            "said to be at most": {f"{level:g}": sum(row["rate"] <= level for row in rows) for level in LEVELS}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the archives")
    parser.add_argument("--work", type=Path, required=True, help="folder for one line a picture")
    parser.add_argument("--half", choices=("set", "held out"), help="only one half; both otherwise")
    parser.add_argument("--every", type=int, default=1, help="look at one of so many pictures")
    parser.add_argument("--report", action="store_true", help="only sum up what is in --work")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    file = args.work / "falsely.jsonl"
    if not args.report:
        done = set(read(file))
        with file.open("a") as opened:
            for k, (key, held, image) in enumerate(pictures(args.data, args.work)):
                if key not in done and k % args.every == 0 and args.half in (None, HALVES[held]):
                    opened.write(json.dumps({"key": key, "half": HALVES[held], **look(image)}) + "\n")
                    opened.flush()
    rows = list(read(file).values())
    results = {half: summed(mine) for half in HALVES if (mine := [row for row in rows if row["half"] == half])}
    (HERE / "falsely.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


HALVES = ("set", "held out")

if __name__ == "__main__":
    main()
