"""Generators of CycleGAN, pix2pix and CUT (arXiv 1703.10593, 1611.07004, 2007.15651), as in their authors' code."""
from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets import resample
from imggen_jax.nets.conv import Conv, ConvTranspose
from imggen_jax.nets.pixels import fill_up, reflect

Array = jax.Array

EPSILON = 1e-5
MULTIPLE = 4  # of a residual generator's sides


class Norm(nn.Module):
    """(x - mean) / sqrt(variance + 1e-5), of each channel, and then, with `batch`, times a scale plus a shift.

    Attributes:
      batch: batch normalization; False for instance normalization, which has no parameters.
      own: mean and variance are the picture's own; False for those of the training, which only `batch` has.
    """

    batch: bool
    own: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        mean, variance = (f(x, axis=(1, 2), keepdims=True) for f in (jnp.mean, jnp.var))
        if not self.batch:
            return (x - mean) * jax.lax.rsqrt(variance + EPSILON)
        zeros, ones, size = nn.initializers.zeros, nn.initializers.ones, (x.shape[-1],)
        scale, shift = self.param("scale", ones, size), self.param("shift", zeros, size)
        known = self.param("mean", zeros, size), self.param("variance", ones, size)
        mean, variance = (mean, variance) if self.own else known
        return (x - mean) * (jax.lax.rsqrt(variance + EPSILON) * scale) + shift


class Block(nn.Module):
    """x + f(x), with f two 3x3 convolutions with mirrored borders; to be scanned over."""

    norm: Any    # keyword arguments of Norm
    bias: bool

    @nn.compact
    def __call__(self, x: Array, _: None) -> tuple[Array, None]:
        y = x
        for n in (1, 2):
            y = Conv(x.shape[-1], 3, 1, "VALID", use_bias=self.bias, name=f"conv_{n}")(reflect(y, 1))
            y = Norm(**self.norm, name=f"norm_{n}")(y)
            y = nn.relu(y) if n == 1 else y
        return x + y, None


def halve(x: Array) -> Array:
    """[B,2H,2W,C] -> [B,H,W,C]: the binomial filter [1,2,1]/4 in both directions, borders mirrored."""
    for axis in (1, 2):
        pads = [(0, 0)] * 4
        pads[axis] = (1, 0)
        y = jnp.pad(x, pads, mode="reflect")
        side = x.shape[axis]
        before, middle, after = (jax.lax.slice_in_dim(y, n, n + side - 1, 2, axis) for n in (0, 1, 2))
        x = 0.25 * (before + after) + 0.5 * middle
    return x


def double(x: Array) -> Array:
    """[B,H,W,C] -> [B,2H,2W,C]: bilinear, borders repeated."""
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    return resample.upsample(x)[:, 2:-2, 2:-2]


class ResNet(nn.Module):
    """The residual generator: float32 [B,H,W,C] in [-1,1] -> [B,H,W,channels] in [-1,1].

    Sides that are no multiples of 4 are filled up by mirroring.

    Attributes:
      channels: of the result.
      width: of the first layer.
      blocks: 6 or 9 of the published networks.
      filtered: sides are halved and doubled behind a low-pass filter, as in CUT, and not by strides.
      batch: batch normalization; else instance normalization.
      bias: of the convolutions before a normalization.
      own: of `Norm`.
    """

    channels: int = 3
    width: int = 64
    blocks: int = 9
    filtered: bool = False
    batch: bool = False
    bias: bool = True
    own: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        norm: Any = {"batch": self.batch, "own": self.own}
        height, width = x.shape[1:3]

        def act(x, name):
            return nn.relu(Norm(**norm, name=f"norm_{name}")(x))

        x = reflect(fill_up(x, MULTIPLE), 3)
        x = act(Conv(self.width, 7, 1, "VALID", use_bias=self.bias, name="conv_first")(x), "first")
        for n in (1, 2):
            strides = 1 if self.filtered else 2
            x = Conv(self.width * 2**n, 3, strides, 1, use_bias=self.bias, name=f"conv_down{n}")(x)
            x = act(x, f"down{n}")
            x = halve(x) if self.filtered else x
        blocks = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.blocks)
        x, _ = blocks(norm, self.bias, name="blocks")(x, None)
        for n in (1, 2):
            features, name = self.width * 2**(2 - n), f"conv_up{n}"
            if self.filtered:
                x = Conv(features, 3, 1, 1, use_bias=self.bias, name=name)(double(x))
            else:
                x = ConvTranspose(features, 3, 2, ((1, 0), (1, 0)), use_bias=self.bias, name=name)(x)
            x = act(x, f"up{n}")
        x = Conv(self.channels, 7, 1, "VALID", name="conv_last")(reflect(x, 3))
        return jnp.tanh(x)[:, :height, :width]


class UNet(nn.Module):
    """pix2pix's U-Net: float32 [B,H,W,C] in [-1,1] -> [B,H,W,channels] in [-1,1].

    Sides that are no multiples of 2^len(widths) are filled up by mirroring. Dropout, which is the noise of pix2pix, is
    left out, so that one picture has one result.

    Attributes:
      channels: of the result.
      widths: channels after each halving: 64, 128, 256, then five times 512 for the published 256x256 networks.
      batch, bias, own: as for `ResNet`.
    """

    channels: int
    widths: tuple[int, ...]
    batch: bool = True
    bias: bool = False
    own: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        height, width = x.shape[1:3]
        last = len(self.widths) - 1
        kept = []
        x = fill_up(x, 2**len(self.widths))
        for n, features in enumerate(self.widths):
            x = nn.leaky_relu(x, 0.2) if n else x
            x = Conv(features, 4, 2, 1, use_bias=self.bias, name=f"conv_down{n}")(x)
            x = Norm(self.batch, self.own, name=f"norm_down{n}")(x) if 0 < n < last else x
            kept.append(x)
        for n in reversed(range(last + 1)):
            x = x if n == last else jnp.concatenate([kept[n], x], axis=-1)
            features = self.widths[n - 1] if n else self.channels
            x = ConvTranspose(features, 4, 2, 1, use_bias=self.bias or not n, name=f"conv_up{n}")(nn.relu(x))
            x = Norm(self.batch, self.own, name=f"norm_up{n}")(x) if n else x
        return jnp.tanh(x)[:, :height, :width]
