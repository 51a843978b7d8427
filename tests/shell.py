"""Runs as a user starts them: a small dataset on disk, config files, and the command line, here or in a process."""
from __future__ import annotations

import contextlib
import functools
import io
import os
import pprint
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds
import tiny
from PIL import Image

from imggen_jax import main

REPOSITORY = Path(__file__).resolve().parents[1]
LABELS = ("red", "green", "blue", "grey")
TRAIN, TEST = 40, 8


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Small(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Waves of 16x16, in four classes."""

    name = "small"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"image": tfds.features.Image(shape=(16, 16, 3)), "label": tfds.features.ClassLabel(names=LABELS)}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(TRAIN), "test": self._generate_examples(TEST)}

    def _generate_examples(self, number):
        given = tiny.examples(tiny.LABELED, 1, number, seed=number)
        for i, (image, label) in enumerate(zip(given["image"][0], given["label"][0])):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG")
            file.seek(0)
            yield i, {"image": file, "label": int(label)}


@functools.cache
def data_dir() -> str:
    """A TFDS data_dir with `small`; it lasts as long as the process."""
    folder = tempfile.TemporaryDirectory(prefix="imggen_jax_small_")
    data_dir.keep = folder
    Small(data_dir=folder.name).download_and_prepare(file_format="array_record")
    return folder.name


def config(game: str = "vae", **sections: Mapping) -> dict:
    """Ten rounds of a tiny game; `sections` change values: train={"batch": 16}."""
    spec, variant = {"vae": (tiny.SPEC, "bernoulli"), "gan": (tiny.LABELED, "dcgan"),
                     "classifier": (tiny.LABELED, "plain")}[game]
    made = tiny.config(game, variant, spec, steps_per_call=1)
    made["data"] |= {"name": "small", "test": "test", "dir": data_dir()}
    made["train"] |= {"images": 80}
    made["log"] = {"every": 16, "evaluate": 48, "show": 40, "save": 32, "keep": 2, "keep_every": 0}
    return {name: {**value, **sections[name]} if name in sections else value for name, value in made.items()}


def write_config(path: Path, content: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("from ml_collections import ConfigDict\n\n\ndef get_config():\n"
                    f"    return ConfigDict({pprint.pformat(content)})\n")
    return path


def flags(devices: int) -> str:
    """XLA's flags for a process that has so many devices."""
    return f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"  # the last one counts


def call(*words) -> Result:
    """A command line in this process; a traceback is an error of the test."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main.main([str(word) for word in words])
        except SystemExit as end:  # argparse's way
            code = end.code
    return Result(code or 0, out.getvalue(), err.getvalue())


def command(*words) -> list[str]:
    return [sys.executable, "-m", "imggen_jax.main", *map(str, words)]


def start(*words, **options) -> subprocess.Popen:
    """A command line in a process of its own, whose stderr is a pipe of text."""
    return subprocess.Popen(command(*words), cwd=REPOSITORY, text=True, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, **options)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder beneath, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(folder.rglob("*"))}
