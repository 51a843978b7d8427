"""What is timed: five shipped kinds of training step, small enough for two CPU cores; nothing here imports torch."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import imggen_jax  # noqa: E402
from imggen_jax import config  # noqa: E402
from imggen_jax.spec import Field, Spec, make_spec  # noqa: E402


class Shape(NamedTuple):
    """The examples: square images, and labels where there are classes."""

    side: int
    channels: int
    classes: int


class Case(NamedTuple):
    title: str
    file: str          # in configs/
    overrides: tuple   # (key, value)
    shape: Shape

    @property
    def spec(self) -> Spec:
        """The fields of an example."""
        side, channels, classes = self.shape
        label = {"label": Field((), "int32", tuple(map(str, range(classes))))} if classes else {}
        return make_spec(image=Field((side, side, channels), "uint8"), **label)


def _r3gan(width: int, cardinality: int) -> tuple:
    return tuple((f"game.{player}.{key}", value) for player in ("generator", "discriminator") for key, value in (
        ("widths", (width,) * 4), ("blocks", (2,) * 4), ("cardinality", (cardinality,) * 4), ("expansion", 2)))


# The dense layers that avatars_vae had when its twins were timed.
SMALL = (("game.network.hidden", 384), ("game.network.dense_blocks", 1))
CASES = {
    "dcgan_32": Case("DCGAN, 32x32, width 64, batch 64, non-saturating", "cifar10_gan_small.py", (
        ("data.label", ""), ("game.generator.width", 64), ("game.discriminator.width", 64),
        ("game.loss", "non_saturating"), ("game.r1", 0.0), ("game.r2", 0.0)), Shape(32, 3, 0)),
    # 16 channels a group, as in the paper's preset.
    "r3gan_32": Case("R3GAN with R1 and R2, 32x32, width 64, batch 64, ten classes, DiffAugment", "cifar10_gan.py", (
        *_r3gan(64, 8), ("train.batch", 64), ("train.dtype", "float32")), Shape(32, 3, 10)),
    "mnist_vae": Case("MNIST VAE, 28x28, Bernoulli, batch 128", "mnist_vae.py", (), Shape(28, 1, 0)),
    "vae_32": Case("residual VAE, 32x32, Gaussian, batch 128", "avatars_vae.py", SMALL, Shape(32, 3, 0)),
    "vae_64": Case("residual VAE, 64x64, Gaussian, batch 64", "avatars_vae.py", (
        *SMALL, ("game.network.widths", (32, 64, 64)), ("game.network.blocks", (1, 1, 1)), ("train.batch", 64)),
        Shape(64, 3, 0)),
}
# At the size that accelerators are for; the bars there are the issue of these two.
ON_ACCELERATORS = {
    "r3gan_32_full": Case("R3GAN, 32x32, the paper's width, batch 512, bfloat16", "cifar10_gan.py", (),
                          Shape(32, 3, 10)),
    "vae_128": Case("residual VAE, 128x128, Gaussian, batch 256, bfloat16", "avatars_vae.py", (
        *SMALL, ("game.network.widths", (128, 256, 512, 512)), ("game.network.blocks", (2, 2, 2, 2)),
        ("train.batch", 256), ("train.dtype", "bfloat16")), Shape(128, 3, 0)),
}


def read(case: Case, **overrides):
    """The case's config; `overrides` have "__" for dots: train__batch=32."""
    keys = (*case.overrides, *((key.replace("__", "."), value) for key, value in overrides.items()))
    return imggen_jax.read_config(str(ROOT / "configs" / case.file), [f"--config.{key}={value}" for key, value in keys])


def settings(case: Case, **overrides) -> config.Settings:
    """The case's config, checked."""
    return config.check(read(case, **overrides))
