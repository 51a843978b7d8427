"""How true are translated and completed faces, where the truth is known?

    python experiments/translate/translate.py train      # paired, unpaired, sketch, inpaint: runs/translate_*
    python experiments/translate/translate.py collect

The built-in faces are drawn in several styles, pixel by pixel the same face. So a model that is trained without pairs
is judged on true ones: by the PSNR to the true picture, and by the share of faces whose factors a classifier of the
target style still reads as they were drawn. `train` passes further words on, such as --config.train.images=20000;
`collect` writes results.json and pages of pictures beside this file.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import imggen_jax
from imggen_jax import data
from imggen_jax.evaluation.classifier import dataset_classifier
from imggen_jax.pictures.grids import grid
from imggen_jax.training.dataset import of_run, open_split, transformed

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
RUNS = ("paired", "unpaired", "sketch", "inpaint")
SHOWN = 12  # columns of a page


def train(size: int, runs: list[str], words: list[str]) -> None:
    for name in runs:
        night = [f"--config.data.source=avatars/{size}x{size}_night"] if name in ("paired", "unpaired") else []
        command = [sys.executable, "-m", "imggen_jax.main", f"--config=configs/{name}.py",
                   f"--workdir=runs/translate_{name}", f"--config.data.name=avatars/{size}x{size}", *night, *words]
        subprocess.run(command, cwd=REPOSITORY, check=True)


def collect(size: int, runs: list[str], num: int, dir: str) -> None:
    name = f"avatars/{size}x{size}"
    labeller = dataset_classifier(name=name, split="train", held_out="test", dir=dir, size=0)
    truth = data.open_dataset(name=name, split="test", dir=dir, label="", fields=("image", *labeller.names))
    path = HERE / "results.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    results["classifier"] = {label: round(share, 4) for label, share in labeller.accuracy.items()}
    for run in runs:
        model = imggen_jax.load(REPOSITORY / f"runs/translate_{run}")
        settings = of_run(model.config, model.data)
        rows = np.arange(min(num, truth.length))
        known = truth.read(rows)
        given, source = _given(settings, rows)
        made = np.concatenate([model.sample(seeds=part.tolist(), given={field: given[field][part]
                                                                        for field in model.generator.needs})
                               for part in np.array_split(rows, -(-len(rows) // 200))])
        found = {"images": model.images_seen, "psnr_untranslated": _psnr(source, known["image"]),
                 "psnr": _psnr(made, known["image"])}
        if "mask" in given:
            found["psnr_of_holes"] = _psnr(made, known["image"], given["mask"])
        labels = np.stack([known[label] for label in labeller.names], axis=-1)
        for what, images in (("untranslated", source), ("true", known["image"]), ("made", made)):
            right = np.mean(labeller.predict(images) == labels, axis=0)
            found[f"factors_{what}"] = {"mean": round(float(right.mean()), 4)} | {
                label: round(float(share), 4) for label, share in zip(labeller.names, right)}
        results[run] = found
        page = np.concatenate([images[:SHOWN] for images in (source, made, known["image"])])
        Image.fromarray(grid(page, columns=SHOWN)).save(HERE / f"{run}.png")
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


def _given(settings, rows: np.ndarray) -> tuple[dict, np.ndarray]:
    """What a model is given for the faces of these rows of the test split, and that as a picture."""
    wanted = settings.data
    if wanted.source:  # the true pairs, whatever the training has seen
        sources = data.open_dataset(name=wanted.source, split="test", dir=wanted.dir)
        given = {"source": sources.read(rows)["image"]}
    else:
        given = transformed(settings, open_split(settings, "test")).read(rows)
    picture = given["source"]
    return given, np.repeat(picture, 3, axis=-1) if picture.shape[-1] == 1 else picture


def _psnr(images: np.ndarray, others: np.ndarray, where: np.ndarray | None = None) -> float:
    """The mean of each picture's PSNR in dB; where: uint8 [n,H,W,1], 255 for the pixels that count."""
    squared = np.square(images.astype(float) - others)
    weight = np.ones_like(squared) if where is None else np.broadcast_to(where == 255, squared.shape)
    error = (squared * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))
    return round(float(np.mean(10 * np.log10(255 ** 2 / np.maximum(error, 1e-3)))), 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "collect"))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--runs", nargs="*", default=list(RUNS), choices=RUNS)
    parser.add_argument("--num", type=int, default=1000, help="faces of the test split that are judged")
    parser.add_argument("--dir", default="", help="TFDS data_dir")
    args, more = parser.parse_known_args()
    if args.what == "train":
        train(args.size, args.runs, more)
    else:
        collect(args.size, args.runs, args.num, args.dir)
