"""Does the copying test flag a generator that memorized 100 images, and pass generators that did not?

    python experiments/copying/copying.py train --runs runs/copying
    python experiments/copying/copying.py collect --runs runs/copying --others runs/avatars_vae runs/avatars_gan

`train` trains a VAE and a GAN on the first 100 avatars; `collect` tests them, and runs trained on all 20,000, and
writes results.json and the pages of closest pairs beside this file.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

import imggen_jax

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PICTURES = 2_000   # generated images, as many as are held out
WIDTH = 780        # pixels of a page of pairs in this folder
FEW = ["--config.data.split=train[:100]", "--config.score.every=0"]
RUNS = {"vae_100": ["--config=configs/avatars_vae.py", "--config.train.images=64000", *FEW],
        "gan_100": ["--config=configs/avatars_gan.py", "--config.train.images=64000", *FEW]}


def train(runs: Path) -> None:
    for name, words in RUNS.items():
        command = [sys.executable, "-m", "imggen_jax.main", *words, f"--workdir={runs / name}"]
        subprocess.run(command, cwd=REPOSITORY, check=True)


def collect(workdirs: Sequence[Path]) -> None:
    results = []
    for workdir in workdirs:
        copying = dict(imggen_jax.evaluate(workdir, num=PICTURES, only=["copying"])["copying"])
        page = Image.open(copying.pop("page")).convert("RGB")
        page = page.resize((WIDTH, page.height * WIDTH // page.width), Image.Resampling.LANCZOS)
        page.quantize(128).save(HERE / f"{workdir.name}.png", optimize=True)
        model = imggen_jax.load(workdir)
        split = model.config["data"]["split"]
        results.append({"run": workdir.name, "split": split, "images": model.images_seen, **copying})
        print(json.dumps(results[-1]), flush=True)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "collect"))
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs on 100 pictures")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="runs on many pictures")
    args = parser.parse_args()
    if args.what == "train":
        train(args.runs)
    else:
        collect([*(args.runs / name for name in RUNS), *args.others])


if __name__ == "__main__":
    main()
