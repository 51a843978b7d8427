"""How true are translated and completed faces, where the truth is known?

    python experiments/translate/translate.py train      # all of RUNS: runs/translate_*
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

import jax
import numpy as np
from PIL import Image

import imggen_jax
from imggen_jax import data, editing

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
RUNS = ("paired", "unpaired", "unpaired_cyclegan", "sketch", "inpaint")
SHOWN = 12  # columns of a page


def train(size: int, runs: list[str], words: list[str]) -> None:
    for name in runs:
        night = [f"--config.data.source=avatars/{size}x{size}_night"] if "paired" in name else []
        command = [sys.executable, "-m", "imggen_jax.main", f"--config=configs/{name}.py",
                   f"--workdir=runs/translate_{name}", f"--config.data.name=avatars/{size}x{size}", *night, *words]
        subprocess.run(command, cwd=REPOSITORY, check=True)


def collect(runs: list[str], num: int) -> None:
    path = HERE / "results.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    for run in runs:
        model = imggen_jax.load(REPOSITORY / f"runs/translate_{run}")
        labeller = editing.labeller_of(model)
        truth, labels = editing.held_out(model, num, labeller.names)
        given = _given(model, truth)
        made = model.sample(num=len(truth), given=given)
        source = np.broadcast_to(given["source"], truth.shape)
        found = {"images": model.images_seen, "faces": len(truth), "psnr_untranslated": _psnr(source, truth),
                 "psnr": _psnr(made, truth)}
        if "mask" in given:
            found["psnr_of_holes"] = _psnr(made, truth, given["mask"])
        for what, images in (("untranslated", source), ("true", truth), ("made", made)):
            right = np.mean(labeller.predict(np.ascontiguousarray(images)) == labels, axis=0)
            found[f"factors_{what}"] = {"mean": round(float(right.mean()), 4)} | {
                label: round(float(share), 4) for label, share in zip(labeller.names, right)}
        results[run] = found
        rows = [np.concatenate(list(images[:SHOWN]), axis=1) for images in (source, made, truth)]
        Image.fromarray(np.concatenate(rows)).save(HERE / f"{run}.png")
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


def _given(model, truth: np.ndarray) -> dict[str, np.ndarray]:
    """What a model makes these pictures of: the same faces in the other style, or what its transforms make of them."""
    wanted = model.config["data"]
    if wanted["source"]:  # the true pairs, whatever the training has seen
        sources = data.open_dataset(name=wanted["source"], split=wanted["test"], dir=wanted["dir"])
        return {"source": sources.read(np.arange(len(truth)))["image"]}
    spec = data.open_dataset(name=wanted["name"], split=wanted["test"], dir=wanted["dir"]).spec
    batch = imggen_jax.build(model.config, spec).transform({"image": truth}, jax.random.key(0))
    return {field: np.asarray(batch[field]) for field in model.generator.needs}


def _psnr(images: np.ndarray, others: np.ndarray, where: np.ndarray | None = None) -> float:
    """The mean of each picture's PSNR in dB; where: uint8 [n,H,W,1], 255 for the pixels that count."""
    squared = np.square(images.astype(float) - others)
    weight = np.ones_like(squared) if where is None else np.broadcast_to(where == 255, squared.shape)
    error = (squared * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))
    return round(float(np.mean(10 * np.log10(255 ** 2 / np.maximum(error, 1e-3)))), 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "collect"))
    parser.add_argument("--size", type=int, default=64, choices=(32, 64), help="of the faces, for train")
    parser.add_argument("--runs", nargs="*", default=list(RUNS), choices=RUNS)
    parser.add_argument("--num", type=int, default=1000, help="held-out faces that are judged")
    args, more = parser.parse_known_args()
    if args.what == "train":
        train(args.size, args.runs, more)
    else:
        collect(args.runs, args.num)
