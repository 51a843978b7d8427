"""LaMa's inpainting network of fast Fourier convolutions (Suvorov et al., arXiv 2109.07161), for evaluation.

Batch normalization by fixed statistics is a scale and a shift; both are parts of the convolution before it.
"""
from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv, ConvTranspose
from imggen_jax.nets.pixels import fill_up, reflect

Array = jax.Array


def reflected(x: Array, features: int, name: str, *, kernel: int = 3, strides: int = 1, bias: bool = True) -> Array:
    """A convolution whose border is mirrored; the output's side is ceil(side / strides)."""
    return Conv(features, kernel, strides, "VALID", use_bias=bias, name=name)(reflect(x, kernel // 2))


class Fourier(nn.Module):
    """A 1x1 convolution of the spectrum of the whole picture, [B,H,W,C] -> the same (section 2.1)."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        spectrum = jnp.fft.rfft2(x, axes=(1, 2), norm="ortho")
        # Real and imaginary part of a channel lie side by side.
        parts = jnp.stack([spectrum.real, spectrum.imag], axis=-1).reshape(*spectrum.shape[:3], -1)
        parts = nn.relu(Conv(parts.shape[-1], 1, name="conv")(parts)).reshape(*spectrum.shape, 2)
        return jnp.fft.irfft2(jax.lax.complex(parts[..., 0], parts[..., 1]), s=x.shape[1:3], axes=(1, 2), norm="ortho")


class Spectral(nn.Module):
    """The global branch: 1x1 convolution, x + Fourier(x), 1x1 convolution."""

    inside: int    # channels between the two
    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.relu(Conv(self.inside, 1, name="conv_1")(x))
        return Conv(self.features, 1, use_bias=False, name="conv_2")(x + Fourier(name="fourier")(x))


class FourierConv(nn.Module):
    """Local and global channels, [B,H,W,L] and [B,H,W,G], each computed from both, then ReLU."""

    inside: int

    @nn.compact
    def __call__(self, local: Array, whole: Array) -> tuple[Array, Array]:
        l, g = local.shape[-1], whole.shape[-1]
        to_local = reflected(local, l, "local_local") + reflected(whole, l, "global_local", bias=False)
        spectral = Spectral(self.inside, g, name="global_global")(whole)
        to_whole = reflected(local, g, "local_global") + spectral
        return nn.relu(to_local), nn.relu(to_whole)


class Block(nn.Module):
    """A residual block of two Fourier convolutions; to be scanned over."""

    inside: int

    @nn.compact
    def __call__(self, x: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        y = FourierConv(self.inside, name="conv_1")(*x)
        y = FourierConv(self.inside, name="conv_2")(*y)
        return (x[0] + y[0], x[1] + y[1]), None


class LaMa(nn.Module):
    """(picture float32 [B,H,W,3] in [0,1], mask [B,H,W,1], 1 where to fill, else 0) -> [B,H,W,3] in [0,1].

    What lies outside the mask is the picture's own. Sides that are no multiples of 2^halvings are filled up by
    mirroring.

    Attributes:
      width: of the first layer; each halving doubles it.
      local: channels of the deepest layers that see their neighborhood, those that see the whole picture being the
        rest; 128 of 512 in big-lama.
      inside: channels within the global branch.
      halvings, blocks: 3 and 18 in big-lama.
    """

    channels: int = 3
    width: int = 64
    local: int = 128
    inside: int = 192
    halvings: int = 3
    blocks: int = 18

    @nn.compact
    def __call__(self, picture: Array, mask: Array) -> Array:
        height, width = picture.shape[1:3]
        x = jnp.concatenate([picture * (1 - mask), mask], axis=-1)
        x = nn.relu(reflected(fill_up(x, 2**self.halvings), self.width, "first", kernel=7))
        for n in range(1, self.halvings):
            x = nn.relu(reflected(x, self.width * 2**n, f"down_{n}", strides=2))
        deepest, deep = self.width * 2**self.halvings, f"down_{self.halvings}"
        local = nn.relu(reflected(x, self.local, f"{deep}_local", strides=2))
        whole = nn.relu(reflected(x, deepest - self.local, f"{deep}_global", strides=2))
        blocks = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.blocks)
        (local, whole), _ = blocks(self.inside, name="blocks")((local, whole), None)
        x = jnp.concatenate([local, whole], axis=-1)
        for n in range(1, self.halvings + 1):
            x = nn.relu(ConvTranspose(deepest // 2**n, 3, 2, ((1, 0), (1, 0)), name=f"up_{n}")(x))
        made = nn.sigmoid(reflected(x, self.channels, "last", kernel=7))[:, :height, :width]
        return mask * made + (1 - mask) * picture
