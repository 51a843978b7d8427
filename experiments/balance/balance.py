"""Does the balance evaluator see the skew of the data that a generator was trained on?

    python experiments/balance/balance.py draw
    python experiments/balance/balance.py train --skewed runs/avatars_skewed
    python experiments/balance/balance.py collect --skewed runs/avatars_skewed --even runs/avatars_vae

`draw` writes a dataset of 20,000 faces with skewed skin tones, expressions and glasses; `train` trains a VAE on it;
`collect` evaluates that run and one trained on even faces, and writes results.json and the charts beside this file.
"""
from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import imggen_jax
from imggen_jax import data

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PICTURES = 4_000
SKEW = {"skin_tone": (40, 25, 15, 10, 6, 4), "expression": (60, 25, 5, 5, 5), "glasses": (90, 5, 5)}  # percent


def draw() -> None:
    print(data.draw_avatars("skewed", weights=SKEW))


def train(workdir: Path) -> None:
    command = [sys.executable, "-m", "imggen_jax.main", "--config=configs/avatars_vae.py", f"--workdir={workdir}",
               "--config.data.name=avatars/skewed", "--config.score.every=0"]
    subprocess.run(command, cwd=REPOSITORY, check=True)


def collect(skewed: Path, even: Path) -> None:
    """Compare the shares of each generator with those of its own data and with even ones."""
    results = {}
    for name, workdir in (("even", even), ("skewed", skewed)):
        balance = imggen_jax.evaluate(workdir, num=PICTURES, only=["balance"])["balance"]
        shutil.copy(balance["chart"], HERE / f"{name}.png")
        results[name] = {"truncations": balance["truncations"]}
        for attribute, one in balance["attributes"].items():
            full = one["generated"][-1]  # truncation 1
            generated = np.array([share["value"] for share in full["shares"]])
            results[name][attribute] = {
                "classifier_accuracy": round(one["classifier_accuracy"], 4),
                "to_its_data": round(full["total_variation"], 4), "by_chance": round(full["by_chance"], 4),
                "to_even": round(float(0.5 * np.abs(generated - 1 / len(generated)).sum()), 4),
                "by_truncation": [round(each["total_variation"], 4) for each in one["generated"]]}
    results["skew_of_the_data"] = {name: round(0.5 * sum(abs(w / sum(weights) - 1 / len(weights)) for w in weights), 4)
                                   for name, weights in SKEW.items()}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("draw", "train", "collect"))
    parser.add_argument("--skewed", type=Path, default=Path("runs/avatars_skewed"), help="the run on skewed faces")
    parser.add_argument("--even", type=Path, default=Path("runs/avatars_vae"), help="a run on even faces")
    args = parser.parse_args()
    match args.what:
        case "draw":
            draw()
        case "train":
            train(args.skewed)
        case "collect":
            collect(args.skewed, args.even)


if __name__ == "__main__":
    main()
