"""Parts that tests of evaluation share: a classifier that is trained in a second, datasets and models of known images.
"""
from types import SimpleNamespace

import numpy as np
import shell
import tiny

from imggen_jax.evaluation import watch
from imggen_jax.evaluation.context import Context, Terms
from imggen_jax.game import Field, make_spec
from imggen_jax.training import train as training

RECIPE = {
    "version": 1, "network": {"name": "classifier", "widths": (8,), "blocks": (0,), "features": 6}, "augment": (),
    "images": 1600, "batch": 32, "ema": {"halflife": 0, "rampup": 0.0}, "seed": 0,
    "optimizer": {"optimizer": "adam", "learning_rate": 1e-2, "warmup": 0, "decay": "constant", "final": 1.0,
                  "clip": 0.0},
}


def spec(images, classes=0):
    label = {"label": Field((), "int32", tuple(map(str, range(classes))))} if classes else {}
    return make_spec(image=Field(tuple(images.shape[1:]), "uint8"), **label)


def dataset(images, labels=None, classes=0):
    """Images uint8 [N,H,W,C], and labels int [N] where given."""
    fields = {"image": images} | ({"label": np.asarray(labels, np.int32)} if classes else {})
    return SimpleNamespace(
        spec=spec(images, classes), length=len(images), fingerprint="f", fingerprints={"image": "f"}, threads=1,
        title="toy", read=lambda rows: {name: value[np.asarray(rows)] for name, value in fields.items()})


def model(sample, classes=0):
    """A trained model that generates sample(seeds, labels or None, truncation)."""
    def generate(weights, seeds, given, truncation=1.0):
        return sample(np.asarray(seeds), given.get("label"), truncation)

    return SimpleNamespace(
        sampler=SimpleNamespace(sample=generate), weights=None, spec=spec(np.zeros((0, 16, 16, 3)), classes),
        generator=SimpleNamespace(needs=("label",) if classes else (), encode=None), images_seen=80, step=10,
        game=SimpleNamespace(importance=None))


def settings(**values):
    return SimpleNamespace(data=SimpleNamespace(**{**dict(
        name="toy", folder="", split="train", test="test", dir="", size=0, label=""), **values}))


def terms(**values):
    return Terms(**{**dict(num=200, seed=0, resamples=3, samples=10, space="toy", out=None), **values})


def context(model, train_set=None, test_set=None, given=None, **values):
    return Context(model, given or settings(), train_set, test_set, terms(**values))


def run(folder, game="vae", **sections):
    """Train a tiny run, with scores during training where they are asked for."""
    training.train(shell.config(game, **sections), folder, scorer=watch.scorer)
    return folder


def pictures(number, seed=0):
    """Distinct images of the kind that `shell.Small` holds, and their labels."""
    made = tiny.examples(tiny.LABELED, 1, number, seed=seed)
    return made["image"][0], made["label"][0]
