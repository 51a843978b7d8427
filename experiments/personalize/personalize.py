"""One family of faces, a hundred pictures: fine-tuning a general model against training from scratch.

    python -m imggen_jax.main --config configs/avatars_vae.py                # the general model, once
    python experiments/personalize/personalize.py draw                       # the family
    python experiments/personalize/personalize.py train --from runs/avatars_vae --runs runs/personalize
    python experiments/personalize/personalize.py collect --runs runs/personalize

`collect` writes results.json, curve.png and samples.png beside this file.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
# Factors that the whole family shares; the other five vary. These are the label names of the dataset.
FAMILY = {"skin_tone": "brown", "hair_style": "long", "hair_colour": "pink", "glasses": "round",
          "clothing_colour": "purple"}
TRAIN, TEST = 100, 500
COMMON = ["--config=configs/avatars_vae.py", "--config.data.name=avatars/family", "--config.data.test=test[:500]",
          "--config.train.images=6400", "--config.train.batch=32", "--config.devices.steps_per_call=10",
          "--config.game.warmup=0", "--config.players.vae.warmup=640", "--config.ema.halflife=1000",
          "--config.log.every=640", "--config.log.evaluate=640", "--config.log.show=6400", "--config.log.save=6400",
          "--config.score.every=0"]
KINDS = {"scratch": [], "finetuned": ["--config.init.workdir={source}"]}
AT = (640, 1280, 2560, 6400)  # images seen


def draw() -> None:
    """Draw the family as a TFDS dataset of its own. Test faces are not among the training faces."""
    from imggen_jax import data

    weights = {factor: {value: 1} for factor, value in FAMILY.items()}
    print(data.draw_avatars("family", train=TRAIN, test=TEST, weights=weights))


def train(source: str, runs: Path) -> None:
    for kind, words in KINDS.items():
        command = [sys.executable, "-m", "imggen_jax.main", *COMMON, f"--workdir={runs / kind}",
                   *(word.format(source=source) for word in words)]
        subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)


def curve(workdir: Path) -> dict[int, float]:
    """Images seen -> ELBO in nats, the mean over the test faces of the family."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["images"]: line["test/elbo"] for line in lines if "test/elbo" in line}


def collect(runs: Path) -> None:
    import imggen_jax

    curves = {kind: curve(runs / kind) for kind in KINDS}
    start = json.loads((runs / "finetuned" / "init.json").read_text())
    results = {
        "family": FAMILY, "train": TRAIN, "test": TEST, "source_images": start["images"],
        "runs": [{"kind": kind, "best": max(values.values()), "best_at": max(values, key=values.get),
                  "elbo": {str(images): elbo for images, elbo in values.items()}} for kind, values in curves.items()],
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    for kind, values in curves.items():
        print(kind, {images: round(values[images]) for images in AT})
    plot(curves)
    picture({kind: imggen_jax.load(runs / kind).sample(num=32) for kind in KINDS})


def plot(curves: dict[str, dict[int, float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for kind, values in curves.items():
        axes.plot(values.keys(), values.values(), "o-", ms=3, label=kind)
    axes.set(xlabel="images seen", ylabel="test ELBO, nats")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(HERE / "curve.png", dpi=110)


def picture(samples: dict[str, np.ndarray]) -> None:
    """Test faces, then samples from scratch and fine-tuned: 8 x 4 each, twice as large."""
    from PIL import Image

    from imggen_jax import data

    real = data.open_dataset(name="avatars/family", split="test[:32]").read(np.arange(32))["image"]
    blocks = []
    for images in (real, *samples.values()):
        rows = np.concatenate([np.concatenate(list(row), axis=1) for row in images.reshape(4, 8, *images.shape[1:])])
        blocks += [rows, np.full((rows.shape[0], 10, 3), 255, np.uint8)]
    picture = Image.fromarray(np.concatenate(blocks[:-1], axis=1))
    picture = picture.resize((picture.width * 3 // 2, picture.height * 3 // 2), Image.Resampling.NEAREST)
    picture.save(HERE / "samples.png", optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("draw", "train", "collect"))
    parser.add_argument("--from", dest="source", default="runs/avatars_vae")
    parser.add_argument("--runs", type=Path, default=Path("runs/personalize"))
    args = parser.parse_args()
    sys.path.insert(0, str(REPOSITORY))
    match args.verb:
        case "draw":
            draw()
        case "train":
            train(str(Path(args.source).resolve()), args.runs.resolve())
        case "collect":
            collect(args.runs.resolve())
