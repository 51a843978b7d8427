"""What can be evaluated: models and runs, and sets of images however they are given."""
from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from imggen_jax import data
from imggen_jax import spec as specs
from imggen_jax.errors import MetricsError
from imggen_jax.evaluation import scores
from imggen_jax.evaluation.context import CHUNK
from imggen_jax.loading import load
from imggen_jax.metrics import pictures
from imggen_jax.metrics.pictures import Pictures
from imggen_jax.model import Model
from imggen_jax.storage import checkpoint

MOST = 10_000  # images that are generated where no number is given


def open_model(model: Model | str | os.PathLike) -> tuple[Model, Path | None]:
    """A model and the folder of its run; None for a model that was loaded before.

    Raises:
      RunError: there is no run, nothing has been saved yet, or a file of it is damaged.
    """
    if isinstance(model, Model):
        return model, None
    folder = Path(model).expanduser()
    return load(model), folder if folder.exists() else None


def open_images(images, title: str, *, dir: str = "", seed: int = 0, num: int | None = None) -> Pictures:
    """A set of images to be scored.

    Args:
      images: uint8 [n,H,W,C]; an iterable of uint8 [H,W,C] or [n,H,W,C]; the path of a folder or a .npz file; the name
        of a TFDS dataset `NAME[/CONFIG][:VERSION][@SPLIT]`, the split being train unless named; a `data.Dataset`; a
        `Model` or the folder of a run, which generates them.
      title: what to call it in a message, where it has no name of its own.
      dir: TFDS data_dir; "" for TFDS's own.
      seed: of the first image of a model.
      num: images of a model; None for 10,000.

    Raises:
      MetricsError, DataError, RunError: it is not there, or cannot be scored.
    """
    if isinstance(images, (str, os.PathLike)):
        name = str(images)
        if is_run(name):
            model, workdir = open_model(name)
            return _generated(model, str(workdir), seed, MOST if num is None else num)
        return pictures.read(name) if is_path(name) else _named(name, dir)
    if isinstance(images, Model):
        return _generated(images, title, seed, MOST if num is None else num)
    if isinstance(images, data.Dataset):
        return _dataset(images, images.title)
    if isinstance(images, Iterable) and not isinstance(images, np.ndarray):
        parts = [np.asarray(each) for each in images]
        if not parts:
            raise MetricsError(f"{title} has no images")
        try:
            images = np.concatenate([each[None] if each.ndim == 3 else each for each in parts])
        except ValueError as error:
            raise MetricsError(f"the images of {title} differ in size ({error}); bring them to one size first"
                               ) from None
    return pictures.of_array(np.asarray(images), title)


def is_run(path: str) -> bool:
    """Whether it is the folder of a run; its own grids are no images to be scored."""
    return (Path(path) / "config.json").is_file() and (Path(path) / "data.json").is_file()


def is_path(name: str) -> bool:
    """Whether it is a file or folder, there or not, rather than the name of a dataset."""
    return Path(name).exists() or name.endswith(".npz") or os.sep in name and not re.match(r"\w[\w.-]*/\w", name)


def split_name(name: str) -> tuple[str, str]:
    """"cifar10@test" as ("cifar10", "test"); the split is train unless named."""
    name, _, split = name.partition("@")
    return name, split or "train"


def _named(name: str, dir: str) -> Pictures:
    dataset, split = split_name(name)
    opened = data.open_dataset(name=dataset, split=split, dir=dir, size=0, label="", memory="auto")
    return _dataset(opened, name)


def _dataset(dataset: data.Dataset, title: str) -> Pictures:
    try:
        specs.image_shape(dataset.spec)
    except ValueError as error:
        raise MetricsError(f"{title} cannot be scored: {error}") from None
    return scores.dataset_pictures(dataset, title)


def _generated(model: Model, title: str, seed: int, num: int) -> Pictures:
    seeds = model.check_seeds(None, num, seed)
    shape = model.sample(seeds[:1]).shape[1:]  # what the model needs beside seeds is refused here

    def batches():
        for start in range(0, num, CHUNK):
            yield model.sample(seeds[start:start + CHUNK])

    mark = f"{checkpoint.fingerprint(model.weights)}, seeds {seed} to {seed + num - 1}"
    return Pictures(title, num, shape, mark, batches)
