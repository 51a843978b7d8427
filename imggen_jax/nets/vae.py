"""A residual ConvNet encoder and decoder that never convolve at full resolution.

Images enter as 2x2 patches and leave as 2x2 patches, and each change of resolution is a matmul over such patches; the
bottom is dense, where a multiplication costs least. Residual branches end in zeros at the start (Fixup, arXiv
1901.09321), so no normalization is needed.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.text_encoder import embedded

Array = jax.Array

HE = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
# As large as what it is added to, from the start: else the latent learns the class itself, and the label is ignored.
CLASS = nn.initializers.normal(1.0)
BOTTOM = (3, 16)  # least and largest side of the smallest feature map


def sides(size: int, levels: int) -> tuple[int, ...]:
    """The side of the image and of each feature map below it, rounding up: (28, 14, 7) for 28 and 2 levels.

    Raises:
      ValueError: a size that is not 16 to 256 and divisible by 4, or a number of levels that does not suit it.
    """
    if not 16 <= size <= 256 or size % 4:
        raise ValueError(f"network vae cannot make {size}x{size} images; set data.size to 16 to 256, divisible by 4")
    every = [size]
    while every[-1] > 1:
        every.append(-(-every[-1] // 2))
    fits = [n for n in range(1, len(every)) if BOTTOM[0] <= every[n] <= BOTTOM[1]]
    if levels not in fits:
        raise ValueError(f"network vae has {levels} widths, but {size}x{size} images take {fits[0]} to {fits[-1]}: "
                         f"one for each of the sides {', '.join(map(str, every[1:fits[-1] + 1]))}")
    return tuple(every[:levels + 1])


def to_patches(x: Array) -> Array:
    """[B,H,W,C] -> [B,ceil(H/2),ceil(W/2),4C]: each 2x2 patch becomes one pixel; an odd side repeats its last row."""
    x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), mode="edge")
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)


def from_patches(x: Array, side: int) -> Array:
    """[B,H,W,4C] -> [B,side,side,C], the inverse of `to_patches` for a side of 2H or 2H - 1."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, c // 4)
    return x[:, :side, :side]


class Block(nn.Module):
    """x + f(x), with f two 3x3 convolutions on feature maps or two dense layers on vectors; f is zero at the start."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        layer = Conv if x.ndim == 4 else nn.Dense
        y = layer(x.shape[-1], dtype=self.dtype, kernel_init=HE)(nn.silu(x))
        return x + layer(x.shape[-1], dtype=self.dtype, kernel_init=nn.initializers.zeros)(nn.silu(y))


class Encoder(nn.Module):
    """Image to the mean and log-variance of a Gaussian posterior.

    Attributes:
      size, channels, classes: of the images and the label: side, channels, number of classes or 0.
      latent: length of z.
      widths: channels at size/2, size/4, ...; as many as there are halvings, to a side of 3 to 16.
      blocks: residual blocks at each of them.
      hidden: length of the dense layer.
      dense_blocks: residual blocks on it.
      dtype: of the computations; the result is float32.
    """

    size: int
    channels: int
    classes: int
    latent: int
    widths: Sequence[int]
    blocks: Sequence[int]
    hidden: int
    dense_blocks: int
    dtype: Any

    @nn.compact
    def __call__(self, images: Array, label: Array | None) -> tuple[Array, Array]:
        """images float [B,size,size,channels] in [-1,1], label as of `embedded` or None -> two float32 [B,latent]."""
        _levels(self.size, self.widths, self.blocks)
        x = images.astype(self.dtype)
        for level, (width, blocks) in enumerate(zip(self.widths, self.blocks)):
            x = Conv(width, 1 if level else 3, dtype=self.dtype)(to_patches(x))
            for _ in range(blocks):
                x = Block(self.dtype)(x)
        x = nn.Dense(self.hidden, dtype=self.dtype)(nn.silu(x).reshape(x.shape[0], -1))
        if self.classes or label is not None:
            x += embedded(label, self.classes, self.hidden, CLASS, self.dtype)
        for _ in range(self.dense_blocks):
            x = Block(self.dtype)(x)
        # Zeros: the posterior starts as the prior, so the first steps cannot explode.
        out = nn.Dense(2 * self.latent, dtype=self.dtype, kernel_init=nn.initializers.zeros)(nn.silu(x))
        mean, log_variance = jnp.split(out.astype(jnp.float32), 2, axis=-1)
        return mean, log_variance


class Decoder(nn.Module):
    """Latent to `channels` numbers per pixel: the encoder backwards.

    Attributes:
      channels: numbers per pixel: those of the image, or as many as the likelihood needs.
      The others are `Encoder`'s, `widths` and `blocks` in the same order.
    """

    size: int
    channels: int
    classes: int
    widths: Sequence[int]
    blocks: Sequence[int]
    hidden: int
    dense_blocks: int
    dtype: Any

    @nn.compact
    def __call__(self, z: Array, label: Array | None) -> Array:
        """z float [B,latent], label as of `embedded` or None -> float32 [B,size,size,channels]."""
        every = _levels(self.size, self.widths, self.blocks)
        x = nn.Dense(self.hidden, dtype=self.dtype)(z)
        if self.classes or label is not None:
            x += embedded(label, self.classes, self.hidden, CLASS, self.dtype)
        for _ in range(self.dense_blocks):
            x = Block(self.dtype)(x)
        bottom, width = every[-1], self.widths[-1]
        x = nn.Dense(bottom * bottom * width, dtype=self.dtype)(nn.silu(x)).reshape(-1, bottom, bottom, width)
        for level in reversed(range(len(self.widths))):
            for _ in range(self.blocks[level]):
                x = Block(self.dtype)(x)
            if level:
                x = Conv(4 * self.widths[level - 1], 1, dtype=self.dtype)(x)
                x = from_patches(x, every[level])
        x = Conv(4 * self.channels, 1, dtype=self.dtype, kernel_init=nn.initializers.zeros)(nn.silu(x))
        return from_patches(x, self.size).astype(jnp.float32)


class Generator(Decoder):
    """The decoder as a GAN's generator, which may start from one that a VAE has trained. All is `Decoder`'s."""

    @nn.compact
    def __call__(self, z: Array, label: Array | None, train: bool) -> Array:
        """z float [B,latent], label as of `embedded` or None -> float32 [B,size,size,channels], unbounded."""
        del train  # nothing here differs between training and use
        return super().__call__(z, label)


def _levels(size: int, widths: Sequence[int], blocks: Sequence[int]) -> tuple[int, ...]:
    if len(widths) != len(blocks):
        raise ValueError(f"network vae has {len(widths)} widths and {len(blocks)} numbers of blocks; give one for each")
    return sides(size, len(widths))
