"""The pictures of docs/one_picture.md, each made by its own command.

    python experiments/one_picture/strips.py --kodak KODAK --paintings PAINTINGS [--only remove,tile]

KODAK holds the 24 Kodak pictures as 1.webp, ..., 24.webp; PAINTINGS public-domain paintings.
"""
from __future__ import annotations

import argparse
import shlex
import tempfile
from pathlib import Path

import earth
import numpy as np
from PIL import Image, ImageDraw

from imggen_jax.main import main

OUT = Path(__file__).resolve().parents[2] / "docs" / "images" / "one_picture"
HEIGHT = 300


def command(line: str) -> None:
    if main([*shlex.split(line), "--overwrite"]):
        raise SystemExit(f"failed: {line}")


def strip(name: str, pictures: list[Image.Image], height: int = HEIGHT) -> None:
    """Pictures in a row, 6 pixels between, as a JPEG below 300 KB."""
    scaled = [p.convert("RGB").resize((round(p.width * height / p.height), height), Image.Resampling.LANCZOS)
              for p in pictures]
    row = Image.new("RGB", (sum(p.width for p in scaled) + 6 * (len(scaled) - 1), height), "white")
    x = 0
    for picture in scaled:
        row.paste(picture, (x, 0))
        x += picture.width + 6
    for quality in (90, 85, 80, 70, 60):
        row.save(OUT / f"{name}.jpg", quality=quality)
        if (OUT / f"{name}.jpg").stat().st_size < 300_000:
            return


def photo(folder: Path, number: int) -> Image.Image:
    """A Kodak picture without the gray frame of its scan."""
    picture = Image.open(folder / f"{number}.webp").convert("RGB")
    return picture.crop((8, 8, picture.width - 8, picture.height - 8))


def marked(picture: Image.Image, boxes: list[tuple[int, ...]]) -> Image.Image:
    picture = picture.copy()
    for x, y, w, h in boxes:
        ImageDraw.Draw(picture).rectangle((x, y, x + w, y + h), fill="white")
    return picture


def texture(at: Path, kodak: Path, paintings: Path) -> None:
    Image.fromarray(earth.cracked(256, 40)).save(at / "earth.png")
    Image.open(paintings / "039_vincent_van_gogh_vangogh-irises.jpg").convert("RGB").crop((60, 120, 300, 360)).save(
        at / "irises.png")
    shown = []
    for name in ("earth", "irises"):
        command(f"texture {at}/{name}.png --size 512x512 --out {at}/{name}_more.png")
        small, large = Image.open(at / f"{name}.png"), Image.open(at / f"{name}_more.png")
        beside = Image.new("RGB", (small.width + 6 + large.width, large.height), "white")
        beside.paste(small, (0, (large.height - small.height) // 2))
        beside.paste(large, (small.width + 6, 0))
        shown.append(beside)
    strip("texture", shown)


def tile(at: Path, kodak: Path, paintings: Path) -> None:
    Image.open(paintings / "015_claude_monet_monet-water-lilies.jpg").convert("RGB").crop((100, 150, 420, 420)).save(
        at / "in.png")
    command(f"tile {at}/in.png --out {at}/out.png")
    plain, made = (np.tile(np.asarray(Image.open(at / f"{n}.png")), (2, 2, 1)) for n in ("in", "out"))
    strip("tile", [Image.open(at / "in.png"), Image.fromarray(plain), Image.fromarray(made)])


def variations(at: Path, kodak: Path, paintings: Path) -> None:
    photo(kodak, 16).save(at / "in.png")
    command(f"variations {at}/in.png --num 2 --strength 0.6 --seed 1 --out {at}/many")
    strip("variations", [Image.open(at / "in.png"), *(Image.open(at / "many" / f"in_00{k}.png") for k in range(2))])


def retarget(at: Path, kodak: Path, paintings: Path) -> None:
    photo(kodak, 3).save(at / "in.png")
    command(f"retarget {at}/in.png --size 1150x496 --out {at}/wide.png")
    command(f"retarget {at}/in.png --size 480x496 --out {at}/narrow.png")
    strip("retarget", [Image.open(at / f"{n}.png") for n in ("narrow", "in", "wide")])


def panorama(at: Path, kodak: Path, paintings: Path) -> None:
    photo(kodak, 16).save(at / "in.png")
    command(f"panorama {at}/in.png --width 1800 --wrap --out {at}/out.png")
    strip("panorama", [Image.open(at / "in.png"), Image.open(at / "out.png")])


def remove(at: Path, kodak: Path, paintings: Path) -> None:
    shown = []
    for number, boxes in ((12, [(190, 42, 202, 355)]), (6, [(292, 36, 100, 110), (92, 130, 490, 270)])):
        photo(kodak, number).save(at / "in.png")
        marks = " ".join(f"--box {x},{y},{w},{h}" for x, y, w, h in boxes)
        command(f"remove {at}/in.png {marks} --out {at}/out.png")
        shown += [marked(Image.open(at / "in.png"), boxes), Image.open(at / "out.png").copy()]
    strip("remove", shown)


def outpaint(at: Path, kodak: Path, paintings: Path) -> None:
    photo(kodak, 21).save(at / "in.png")
    command(f"outpaint {at}/in.png --left 200 --right 200 --top 60 --out {at}/out.png")
    before = Image.new("RGB", Image.open(at / "out.png").size, "white")
    before.paste(Image.open(at / "in.png"), (200, 60))
    strip("outpaint", [before, Image.open(at / "out.png")])


def stylize(at: Path, kodak: Path, paintings: Path) -> None:
    photo(kodak, 21).save(at / "in.png")
    shown = [Image.open(at / "in.png")]
    for name in ("040_vincent_van_gogh_vangogh-starry-night", "160_katsushika_hokusai_wave",
                 "021_camille_pissarro_pissarro-harvest"):
        command(f"stylize {at}/in.png --style {paintings}/{name}.jpg --out {at}/out.png")
        shown.append(Image.open(at / "out.png").copy())
    strip("stylize", shown)


def mix(at: Path, kodak: Path, paintings: Path) -> None:
    photo(kodak, 21).save(at / "a.png")
    photo(kodak, 16).save(at / "b.png")
    command(f"mix {at}/a.png {at}/b.png --out {at}/out.png")
    strip("mix", [Image.open(at / f"{n}.png") for n in ("a", "b", "out")])


def edit(at: Path, kodak: Path, paintings: Path) -> None:
    picture = photo(kodak, 16)
    picture.save(at / "in.png")
    picture.paste(picture.crop((322, 187, 562, 257)), (12, 192))
    picture.save(at / "copy.png")
    command(f"edit {at}/in.png --paint {at}/copy.png --out {at}/out.png")
    strip("edit", [Image.open(at / f"{n}.png") for n in ("in", "copy", "out")])


def recolor(at: Path, kodak: Path, paintings: Path) -> None:
    photo(kodak, 21).save(at / "in.png")
    shown = [Image.open(at / "in.png")]
    for name in ("013_claude_monet_monet-impression-sunrise", "043_vincent_van_gogh_harvest-in-provence"):
        command(f"recolor {at}/in.png --like {paintings}/{name}.jpg --out {at}/out.png")
        shown += [Image.open(paintings / f"{name}.jpg").copy(), Image.open(at / "out.png").copy()]
    strip("recolor", shown)


STRIPS = {f.__name__: f for f in (texture, tile, variations, retarget, panorama, remove, outpaint, stylize, mix, edit,
                                  recolor)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kodak", type=Path, required=True)
    parser.add_argument("--paintings", type=Path, required=True)
    parser.add_argument("--only", default=",".join(STRIPS))
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    for name in args.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            STRIPS[name](Path(folder), args.kodak, args.paintings)
