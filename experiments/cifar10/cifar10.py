"""CIFAR-10: a VAE, this project's R3GAN and the published PyTorch one, over training.

    python experiments/cifar10/cifar10.py data --runs runs/cifar10
    python experiments/cifar10/cifar10.py train --runs runs/cifar10 --seed 0      # and again with other seeds
    python experiments/cifar10/peer.py ...                                        # see there
    python experiments/cifar10/cifar10.py collect --runs runs/cifar10

`collect` scores the runs that it finds, in the feature space of the dataset's classifier, and writes results.json,
curve.png and samples.png beside this file.
"""
from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

import imggen_jax
from imggen_jax import data

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
NUM, RESAMPLES = 2_000, 3
# Of both R3GANs: four stages as published, at a width that two cores can train; the published preset has 768.
CONSTANTS = {"width": 16, "blocks": 1, "cardinality": 4, "latent": 64, "batch": 32, "images": 48_000, "every": 12_000,
             "learning_rate": 5e-4, "final": 0.25, "gamma": 1.0, "halflife": 4_000, "pictures": NUM * RESAMPLES}
TITLES = {"vae": "VAE (cifar10_vae)", "gan": "R3GAN, this project", "peer": "R3GAN, published PyTorch code"}


def commands(runs: Path, seed: int) -> list[list[str]]:
    """Command-line arguments of the runs of one seed."""
    c = CONSTANTS
    often = [f"--config.score.every={c['every']}", f"--config.score.num={NUM}", "--config.score.share=1.0",
             f"--config.seed={seed}", "--config.log.every=2000",
             f"--config.log.show={c['images']}"]
    four = {"widths": c["width"], "blocks": c["blocks"], "cardinality": c["cardinality"]}
    gan = [f"--config.game.{player}.{key}={(value,) * 4}" for player in ("generator", "discriminator")
           for key, value in four.items()]
    gan += [f"--config.players.{player}.{key}={c[key]}" for player in ("generator", "discriminator")
            for key in ("learning_rate", "final")]
    gan += [f"--config.game.r1={c['gamma']}", f"--config.game.r2={c['gamma']}", "--config.game.augment=()",
            f"--config.ema.halflife={c['halflife']}", "--config.ema.rampup=0.0", f"--config.train.batch={c['batch']}",
            f"--config.train.images={c['images']}", "--config.train.dtype=float32"]
    # Network, warm-ups and average for a short run instead of the config's 1,000,000 images.
    vae = [f"--config.game.warmup={c['images'] // 5}", f"--config.players.vae.warmup={c['images'] // 5}",
           f"--config.ema.halflife={c['halflife']}", f"--config.train.images={c['images']}",
           f"--config.train.batch={c['batch']}", "--config.game.network.widths=(32,64)",
           "--config.game.network.blocks=(1,1)", "--config.players.vae.learning_rate=2e-3"]
    return [["--config=configs/cifar10_vae.py", f"--workdir={runs / f'vae_{seed}'}", *vae, *often],
            ["--config=configs/cifar10_gan.py", f"--workdir={runs / f'gan_{seed}'}", *gan, *often]]


def write_data(runs: Path, name: str) -> None:
    """Write the inputs of the published code: the same images, and the constants."""
    dataset = data.open_dataset(name=name, split="train", label="label", memory="resident")
    examples = dataset.read(np.arange(dataset.length))
    runs.mkdir(parents=True, exist_ok=True)
    np.savez(runs / "data.npz", images=examples["image"], labels=examples["label"])
    (runs / "constants.json").write_text(json.dumps(CONSTANTS, indent=1))


def of_run(workdir: Path) -> dict:
    """{"curve": {images: Frechet distance}, "two_core_minutes"} of one of our runs, from its log."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    curve = {line["images"]: line["score/frechet_distance"] for line in lines if "score/frechet_distance" in line}
    last = [line for line in lines if "cpu_seconds" in line][-1]
    return {"curve": curve, "two_core_minutes": round(last["cpu_seconds"] / 120, 1)}


def of_peer(folder: Path, name: str) -> dict:
    """The same for a run of the published code, whose images are scored here by the recipe of our runs."""
    curve = {}
    for path in sorted(folder.glob("fake_*.npz")):
        with np.load(path) as generated:
            images = generated["images"]
        scored = imggen_jax.compare(f"{name}@train", images, held_out="test", num=NUM, resamples=RESAMPLES)
        curve[int(path.stem.removeprefix("fake_"))] = scored["scores"]["frechet_distance"]["value"]
    seconds = json.loads((folder / "cost.json").read_text())["cpu_seconds"]
    return {"curve": curve, "two_core_minutes": round(seconds / 120, 1)}


def collect(runs: Path) -> None:
    ours = {kind: sorted(runs.glob(f"{kind}_*")) for kind in ("vae", "gan")}
    name = imggen_jax.load(ours["gan"][0]).config["data"]["name"]
    curves = {kind: {path.name: of_run(path) for path in paths} for kind, paths in ours.items()}
    curves["peer"] = {path.name: of_peer(path, name) for path in sorted(runs.glob("peer_*"))}
    last = {kind: [list(run["curve"].values())[-1] for run in each.values()] for kind, each in curves.items()}
    summary = {kind: {"mean": statistics.fmean(values), "of_each_run": values} for kind, values in last.items()}
    summary["gan_over_peer"] = summary["gan"]["mean"] / summary["peer"]["mean"]
    results = {"constants": CONSTANTS, "space": "classifier", "num": NUM, "resamples": RESAMPLES, "summary": summary,
               "runs": curves}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(curves, HERE / "curve.png")
    rows = [imggen_jax.load(ours[kind][0]).sample(num=20) for kind in ("vae", "gan")]
    with np.load(sorted(runs.glob("peer_*/fake_*.npz"))[-1]) as generated:
        rows.append(generated["images"][:20])
    padded = np.pad(np.stack(rows), ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)  # [R,N,H,W,C]
    Image.fromarray(np.concatenate(np.concatenate(padded, axis=1), axis=1)).save(HERE / "samples.png", optimize=True)
    print(json.dumps(summary, indent=1))


def draw(curves: Mapping, path: Path) -> None:
    """One line for each run, one color for each kind."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for color, (kind, runs) in zip(("tab:blue", "tab:orange", "tab:green"), curves.items()):
        for number, run in enumerate(runs.values()):
            axes.plot(list(run["curve"]), list(run["curve"].values()), color=color, marker="o", markersize=3,
                      alpha=1 if not number else 0.5, label=TITLES[kind] if not number else None)
    axes.set(xlabel="images seen in training", ylabel=f"Fréchet distance, classifier space\n({NUM:,} pictures)",
             yscale="log")
    axes.legend()
    axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("data", "train", "collect"))
    parser.add_argument("--runs", type=Path, required=True, help="folder of all runs of this experiment")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dataset", default="cifar10", help="name in TFDS (default: cifar10)")
    args = parser.parse_args()
    if args.what == "data":
        write_data(args.runs, args.dataset)
    elif args.what == "train":
        for words in commands(args.runs, args.seed):
            words.append(f"--config.data.name={args.dataset}")
            subprocess.run([sys.executable, "-m", "imggen_jax.main", *words], cwd=REPOSITORY, check=True)
    else:
        collect(args.runs)


if __name__ == "__main__":
    main()
