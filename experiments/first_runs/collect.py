"""Gathers finished runs into this folder: results.json, the last grids, and the banner of the project's README.

    python experiments/first_runs/collect.py runs/avatars_vae runs/avatars_vae_gan runs/mnist_vae ...

Runs that are not named stay as they were.
"""
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import imggen_jax
from imggen_jax import data

HERE = Path(__file__).parent


def facts(workdir: Path) -> dict:
    """The length, speed, parameters and last scores of a run, from its own files."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if "seconds" in line]
    scores = [line for line in lines if any(name.startswith("test/") for name in line)]
    run = json.loads((workdir / "run.json").read_text())
    speeds = [line["images_per_second"] for line in trained if line["images_per_second"]]
    return {
        "run": workdir.name,
        "images": trained[-1]["images"],
        "minutes": round(trained[-1]["seconds"] / 60, 1),
        "images_per_second": round(float(np.median(speeds))),
        "devices": run["devices"],
        "parameters": run["players"],
        "last": {name: value for name, value in trained[-1].items() if "/" in name},
        "test": {name: value for name, value in scores[-1].items() if "/" in name} if scores else {},
    }


def copy_pictures(workdir: Path) -> None:
    """The last grid of each kind, twice as large, as <run>_<kind>.png."""
    for kind in ("samples", "reconstructions"):
        if grids := sorted((workdir / "pictures").glob(f"{kind}_*.png")):
            picture = Image.open(grids[-1]).convert("RGB")
            picture = picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)
            picture.save(HERE / f"{workdir.name}_{kind}.png", optimize=True)


def banner(vae: Path, gan: Path) -> None:
    """Faces of the dataset, of a VAE and of a GAN, side by side: 6x6 each."""
    drawn = data.open_dataset(name="avatars/32x32", split="train[:36]").read(np.arange(36))["image"]
    blocks = []
    for images in (drawn, imggen_jax.load(vae).sample(num=36), imggen_jax.load(gan).sample(num=36)):
        rows = np.concatenate([np.concatenate(list(row), axis=1) for row in images.reshape(6, 6, *images.shape[1:])])
        blocks += [rows, np.full((rows.shape[0], 12, 3), 255, np.uint8)]
    picture = Image.fromarray(np.concatenate(blocks[:-1], axis=1))
    picture.save(HERE / "banner.png", optimize=True)


def main(workdirs: list[Path]) -> None:
    path = HERE / "results.json"
    results = {one["run"]: one for one in json.loads(path.read_text())} if path.exists() else {}
    results |= {workdir.name: facts(workdir) for workdir in workdirs}
    path.write_text(json.dumps(list(results.values()), indent=2) + "\n")
    for workdir in workdirs:
        copy_pictures(workdir)
    named = {workdir.name: workdir for workdir in workdirs}
    if {"avatars_vae", "avatars_vae_gan"} <= set(named):
        banner(named["avatars_vae"], named["avatars_vae_gan"])


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
