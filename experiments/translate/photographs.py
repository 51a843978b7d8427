"""How far do photographs get that are translated: facades from their plans, with pairs; summer into winter, without?

    python experiments/translate/photographs.py prepare --data FOLDER    # facades.zip and summer_winter.zip
    python experiments/translate/photographs.py train                    # facades, seasons, judge: runs/translate_*
    python experiments/translate/photographs.py collect

`prepare` puts pictures of `--size` pixels into runs/translate_data, of facades the plan on the left. `judge` learns to
tell summer, winter, facades and plans apart; in the space of its features the distance of what a model makes to real
pictures is measured, and beside it that of what it was given. `train` passes further words on, such as
--config.train.images=4000; `collect` writes photographs.json, and pages of pictures beside this file.
"""
from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

import imggen_jax
from imggen_jax.augment import to_float
from imggen_jax.metrics import frechet

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
DATA = REPOSITORY / "runs" / "translate_data"
RUNS = {"facades": ("paired", "side-by-side"), "seasons": ("unpaired", "unaligned"), "judge": ("", "")}
SHOWN = 10  # columns of a page


def prepare(folder: Path, size: int) -> None:
    """Writes PNG files: facades/train/1.png, seasons/trainA/1.png, judge/train/summer/1.png."""
    for file in ("facades.zip", "summer_winter.zip"):
        with zipfile.ZipFile(folder / file) as zip_:
            rows = csv.DictReader(io.TextIOWrapper(zip_.open("metadata.csv"), "utf-8"))
            for name in (row["file_name"] for row in rows):
                picture = Image.open(io.BytesIO(zip_.read(name))).convert("RGB")
                split, stem = name.split("/")[0], Path(name).stem
                part = "test" if split.startswith("test") else "train"
                if file == "facades.zip":
                    photo, plan = (picture.crop((left, 0, left + picture.width // 2, picture.height)).resize(
                        (size, size), Image.Resampling.LANCZOS) for left in (0, picture.width // 2))
                    both = Image.fromarray(np.hstack([np.asarray(plan), np.asarray(photo)]))
                    _save(both, "facades", part, stem)
                    _save(photo, "judge", f"{part}/facade", stem)
                    _save(plan, "judge", f"{part}/plan", stem)
                else:
                    small = picture.resize((size, size), Image.Resampling.LANCZOS)
                    _save(small, "seasons", split, stem)
                    _save(small, "judge", f"{part}/{'summer' if split.endswith('A') else 'winter'}", stem)


def _save(picture: Image.Image, run: str, place: str, stem: str) -> None:
    (DATA / run / place).mkdir(parents=True, exist_ok=True)
    picture.save(DATA / run / place / f"{stem}.png")


def train(runs: list[str], size: int, words: list[str]) -> None:
    for run in runs:
        config, pairs = RUNS[run]
        command = [sys.executable, "-m", "imggen_jax.main",
                   f"--config={f'configs/{config}.py' if config else HERE / 'judge.py'}",
                   f"--workdir=runs/translate_{run}", f"--config.data.folder={DATA / run}", "--config.data.name=",
                   f"--config.data.size={size}", "--config.data.split=train", "--config.data.test=test"]
        command += ["--config.data.source=", f"--config.data.pairs={pairs}"] if pairs else []
        subprocess.run([*command, *words], cwd=REPOSITORY, check=True)


def collect(runs: list[str]) -> None:
    judge = imggen_jax.load(REPOSITORY / "runs/translate_judge")
    path = HERE / "photographs.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    results["judge"] = {"kinds": list(judge.spec["label"].names), "right": _right(judge)}
    for run in runs:
        model = imggen_jax.load(REPOSITORY / f"runs/translate_{run}")
        given = {"facades": ("judge/test/plan",), "seasons": ("judge/train/summer", "judge/test/summer")}[run]
        aim = {"facades": ("judge/test/facade",), "seasons": ("judge/train/winter", "judge/test/winter")}[run]
        sources, real = (np.concatenate([_pictures(place) for place in places]) for places in (given, aim))
        made = np.concatenate([model.sample(num=len(part), given={"source": part})
                               for part in np.array_split(sources, 4)])
        found: dict = {"images": model.images_seen, "size": made.shape[1]}
        found |= {f"distance_{what}": _distance(judge, images, real)
                  for what, images in (("untranslated", sources), ("made", made))}
        found["distance_of_halves_of_the_real"] = _distance(judge, real[::2], real[1::2])
        if run == "facades":                                 # here the truth is known
            found |= {"psnr_untranslated": _psnr(sources, real), "psnr": _psnr(made, real)}
        kind = judge.spec["label"].names.index({"facades": "facade", "seasons": "winter"}[run])
        found["taken_for_real"] = {what: round(float(np.mean(_logits(judge, images).argmax(-1) == kind)), 3)
                                   for what, images in (("untranslated", sources), ("made", made), ("real", real))}
        results[run] = found
        shown = [sources[-SHOWN:], made[-SHOWN:], *([real[-SHOWN:]] if run == "facades" else [])]
        page = np.concatenate([np.concatenate(list(row), axis=1) for row in shown])
        Image.fromarray(page).save(HERE / f"{run}.png")
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


def _pictures(place: str) -> np.ndarray:
    """uint8 [n,S,S,3] of a folder below runs/translate_data, by their names."""
    return np.stack([np.asarray(Image.open(path)) for path in sorted((DATA / place).glob("*.png"))])


def _right(judge) -> float:
    """The share of test pictures whose kind the judge names."""
    names = judge.spec["label"].names
    each = [(_logits(judge, _pictures(f"judge/test/{name}")).argmax(-1) == number) for number, name in enumerate(names)]
    return round(float(np.mean(np.concatenate(each))), 3)


def _logits(judge, images: np.ndarray) -> np.ndarray:
    return np.concatenate([np.asarray(judge.part.logits(judge.weights, to_float(part))[0])
                           for part in np.array_split(images, 8)])


def _distance(judge, images: np.ndarray, others: np.ndarray) -> float:
    """The Frechet distance in the space of the judge's features."""
    moments = [frechet.moments(np.concatenate([np.asarray(judge.part.features(judge.weights, to_float(part)))
                                               for part in np.array_split(each, 8)])) for each in (images, others)]
    return round(frechet.frechet_distance(*moments), 3)


def _psnr(images: np.ndarray, others: np.ndarray) -> float:
    error = np.square(images.astype(float) - others).mean((1, 2, 3))
    return round(float(np.mean(10 * np.log10(255**2 / error))), 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "train", "collect"))
    parser.add_argument("--data", type=Path, help="folder of facades.zip and summer_winter.zip, for prepare")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures, for prepare and train")
    parser.add_argument("--runs", nargs="*", choices=RUNS)
    args, more = parser.parse_known_args()
    if args.what == "prepare":
        if args.data is None:
            parser.error("prepare needs --data FOLDER")
        prepare(args.data, args.size)
    elif args.what == "train":
        train(args.runs or list(RUNS), args.size, more)
    else:
        collect(args.runs or ["facades", "seasons"])
