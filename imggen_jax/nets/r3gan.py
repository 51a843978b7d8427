"""The networks of R3GAN (Huang et al., arXiv 2501.05441): residual, grouped, without normalization.

Every layer starts normal with variance gain^2 / fan_in, without a bias; the last layer of each residual branch
starts at zero (Fixup, arXiv 1901.09321). The gains are those of the published code (brownvc/R3GAN, `Networks.py` and
`FusedOperators.py`); a comment names the source of each. The networks differ from it in one thing: the lowest
resolution may be 7 besides 4, so that 28x28 can be made.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.resample import downsample, upsample
from imggen_jax.nets.text_encoder import embedded

Array = jax.Array

SLOPE = 0.2                              # of the leaky ReLU: `BiasedActivation.Function`
GAIN = math.sqrt(2 / (1 + SLOPE**2))     # keeps the variance through it: `BiasedActivation.Gain`; He et al., eq. 15
BASES = (4, 7)                           # `GenerativeBasis`: 4


def base_side(size: int, stages: int) -> int:
    """The side of the learned basis. Raises ValueError if `stages` - 1 doublings of 4 or 7 do not give the size."""
    base = size >> stages - 1
    if base in BASES and base << stages - 1 == size:
        return base
    fits = [n for b in BASES for n in range(1, 8) if b << n - 1 == size]
    remedy = (f"give {fits[0]} widths, blocks and cardinalities" if fits
              else "set data.size to 4 or 7 times a power of two, such as 28, 32, 64, 128 or 256")
    raise ValueError(f"network r3gan with {stages} stages cannot make {size}x{size} images; {remedy}")


def msr(gain: float) -> nn.initializers.Initializer:
    """Normal with standard deviation gain / sqrt(fan_in): `MSRInitializer`."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal") if gain else nn.initializers.zeros


def _pointwise(features: int, dtype, gain: float = 1.0) -> Conv:
    return Conv(features, 1, use_bias=False, dtype=dtype, kernel_init=msr(gain))


class BiasedActivation(nn.Module):
    """Leaky ReLU of x + bias, one bias for each channel, zero at the start."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return nn.leaky_relu(x + bias.astype(x.dtype), SLOPE)


class Block(nn.Module):
    """x + f(x), f a bottleneck turned outside in: 1x1 to more channels, grouped 3x3, 1x1 back.

    Attributes:
      cardinality: groups of the 3x3 convolution.
      expansion: how many times more channels it has.
      total: blocks in the whole network, by which each branch is scaled down.
    """

    cardinality: int
    expansion: int
    total: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        features, wide = x.shape[-1], x.shape[-1] * self.expansion
        # Fixup's rule 2, L^(-1 / (2m - 2)) with m = 3 layers in a branch: `ResidualBlock.ActivationGain`.
        gain = GAIN * self.total ** (-1 / 4)
        y = BiasedActivation()(_pointwise(wide, self.dtype, gain)(x))
        y = Conv(wide, 3, groups=self.cardinality, use_bias=False, dtype=self.dtype, kernel_init=msr(gain))(y)
        return x + _pointwise(features, self.dtype, 0.0)(BiasedActivation()(y))


class Generator(nn.Module):
    """Latent to image: z weighs a learned 4x4 basis, then blocks and bilinear upsampling, stage after stage.

    A class is embedded in as many numbers as the latent has and stands beside it.

    Attributes:
      size, channels, classes: of the images and the label: side, channels, number of classes or 0.
      widths: channels of each stage, from the lowest resolution up; one stage more than doublings from 4 (or 7).
      blocks: residual blocks of each stage.
      cardinality: groups of each stage's 3x3 convolutions; divides width * expansion.
      expansion: see `Block`; 2 in the paper's presets.
      dtype: of the computations; the image is float32.

    Raises:
      ValueError: stages that do not give the size, or lists of different lengths.
    """

    size: int
    channels: int
    classes: int
    widths: Sequence[int]
    blocks: Sequence[int]
    cardinality: Sequence[int]
    expansion: int
    dtype: Any

    @nn.compact
    def __call__(self, z: Array, label: Array | None, train: bool) -> Array:
        """z float [B,latent], label as of `embedded` or None -> float32 [B,size,size,channels], unbounded."""
        del train  # nothing here differs between training and use
        base, stages = _stages(self)
        if self.classes or label is not None:
            # A linear layer on one-hot labels: its fan_in is the number of classes (`EmbeddingLayer`).
            init = nn.initializers.normal(1 / math.sqrt(max(1, self.classes)))
            z = jnp.concatenate([z, embedded(label, self.classes, z.shape[-1], init, None)], axis=-1)
        basis = self.param("basis", nn.initializers.normal(1.0), (base, base, self.widths[0]))
        weights = nn.Dense(self.widths[0], use_bias=False, dtype=self.dtype, kernel_init=msr(1.0))(z)
        x = basis.astype(self.dtype) * weights[:, None, None, :]
        for i, (width, blocks, cardinality) in enumerate(stages):
            if i:
                # Fewer channels first, then more pixels: `UpsampleLayer`.
                x = x if width == x.shape[-1] else _pointwise(width, self.dtype)(x)
                x = upsample(x)
            for _ in range(blocks):
                x = Block(cardinality, self.expansion, sum(self.blocks), self.dtype)(x)
        return _pointwise(self.channels, self.dtype)(x).astype(jnp.float32)


class Discriminator(nn.Module):
    """Image to logit: the generator backwards, to a 4x4 depthwise convolution and a linear layer.

    A class enters by projection: the inner product of its embedding with as many features as the last width.

    Attributes:
      size, channels, classes: of the images and the label: side, channels, number of classes or 0.
      widths, blocks, cardinality: of each stage, from the highest resolution down.
      expansion: see `Block`.
      dtype: of the computations; the logits are float32.

    Raises:
      ValueError: as `Generator`.
    """

    size: int
    channels: int
    classes: int
    widths: Sequence[int]
    blocks: Sequence[int]
    cardinality: Sequence[int]
    expansion: int
    dtype: Any

    @nn.compact
    def __call__(self, images: Array, label: Array | None) -> Array:
        """images float [B,size,size,channels], label as of `embedded` or None -> float32 [B]."""
        base, stages = _stages(self)
        x = _pointwise(self.widths[0], self.dtype)(images)
        for i, (width, blocks, cardinality) in enumerate(stages):
            if i:
                # Fewer pixels first, then more channels: `DownsampleLayer`.
                x = downsample(x)
                x = x if width == x.shape[-1] else _pointwise(width, self.dtype)(x)
            for _ in range(blocks):
                x = Block(cardinality, self.expansion, sum(self.blocks), self.dtype)(x)
        # A depthwise convolution as large as the map is one weighted sum; each output has fan_in base^2.
        basis = self.param("basis", nn.initializers.normal(1 / base), (base, base, x.shape[-1]))
        x = jnp.sum(x * basis.astype(x.dtype), axis=(1, 2))
        conditioned = self.classes or label is not None
        x = nn.Dense(self.widths[-1] if conditioned else 1, use_bias=False, dtype=self.dtype, kernel_init=msr(1.0))(x)
        x = x.astype(jnp.float32)
        if not conditioned:
            return x[:, 0]
        # Gain 1/sqrt(dimensions), so that their sum has the variance of one (`Discriminator.EmbeddingLayer`).
        init = nn.initializers.normal(1 / math.sqrt(max(1, self.classes) * x.shape[-1]))
        return jnp.sum(x * embedded(label, self.classes, x.shape[-1], init, None, 1 / math.sqrt(x.shape[-1])), axis=-1)


def _stages(network: Generator | Discriminator) -> tuple[int, list[tuple[int, int, int]]]:
    """(side of the lowest resolution, [(width, blocks, cardinality), ...]), checked."""
    lengths = len(network.widths), len(network.blocks), len(network.cardinality)
    if len(set(lengths)) > 1:
        raise ValueError("network r3gan has {} widths, {} blocks and {} cardinalities; give as many of each"
                         .format(*lengths))
    for width, groups in zip(network.widths, network.cardinality):
        if width * network.expansion % groups:
            raise ValueError(f"network r3gan: cardinality {groups} does not divide width {width} x expansion "
                             f"{network.expansion}; choose one that does")
    return base_side(network.size, lengths[0]), list(zip(network.widths, network.blocks, network.cardinality))
