"""A VAE and a GAN, each trained once without an interruption, for all tests of runs to look at and compare with."""
from pathlib import Path
from typing import NamedTuple

import pytest
import shell


class Run(NamedTuple):
    config: Path   # file
    workdir: Path
    result: shell.Result


def train(folder: Path, content: dict) -> Run:
    config = shell.write_config(folder / "configs" / "small.py", content)
    return Run(config, folder / "run", shell.call("--config", config, "--workdir", folder / "run"))


@pytest.fixture(scope="session")
def vae(tmp_path_factory):
    return train(tmp_path_factory.mktemp("vae"), shell.config("vae"))


@pytest.fixture(scope="session")
def gan(tmp_path_factory):
    """With labels, gradients accumulated over two rounds, and two rounds in a call."""
    content = shell.config("gan", train={"accumulate": 2}, devices={"steps_per_call": 2})
    return train(tmp_path_factory.mktemp("gan"), content)
