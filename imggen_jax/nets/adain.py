"""Style transfer by adaptive instance normalization (Huang and Belongie, arXiv 1703.06868)."""
from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.pixels import nearest, reflect

Array = jax.Array

EPSILON = 1e-5


def _conv(x: Array, features: int, name: str) -> Array:
    return Conv(features, 3, 1, "VALID", name=name)(reflect(x, 1))


class Encoder(nn.Module):
    """VGG-19 up to relu4_1: float32 [B,H,W,3] in [0,1] -> [B,h,w,D], sides halved, rounding up, between the groups.

    Attributes:
      widths: of the layers of each group; (64,64), (128,128), (256,256,256,256), (512,) of the published one.
    """

    widths: tuple[tuple[int, ...], ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Conv(x.shape[-1], 1, name="colors")(x)
        for group, widths in enumerate(self.widths):
            x = nn.max_pool(x, (2, 2), (2, 2), "SAME") if group else x
            for layer, width in enumerate(widths):
                x = nn.relu(_conv(x, width, f"conv_{group}_{layer}"))
        return x


class Decoder(nn.Module):
    """The encoder mirrored: [B,h,w,D] -> [B,H,W,3], sides doubled between the groups.

    Attributes:
      widths: of the layers of each group; (256,), (256,256,256,128), (128,64), (64,3) of the published one.
    """

    widths: tuple[tuple[int, ...], ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        end = (len(self.widths) - 1, len(self.widths[-1]) - 1)
        for group, widths in enumerate(self.widths):
            x = nearest(x, 2) if group else x
            for layer, width in enumerate(widths):
                x = _conv(x, width, f"conv_{group}_{layer}")
                x = x if (group, layer) == end else nn.relu(x)
        return x


def adapt(content: Array, style: Array) -> Array:
    """Features [B,h,w,D] of the content with mean and standard deviation of those of the style (eq. 8)."""
    (mean, spread), (new_mean, new_spread) = map(_moments, (content, style))
    return (content - mean) / spread * new_spread + new_mean


def _moments(x: Array) -> tuple[Array, Array]:
    """Mean and standard deviation over the picture, [B,1,1,D], the unbiased variance with 1e-5 added."""
    count = x.shape[1] * x.shape[2]
    variance = jnp.var(x, axis=(1, 2), keepdims=True) * (count / max(1, count - 1))
    return jnp.mean(x, axis=(1, 2), keepdims=True), jnp.sqrt(variance + EPSILON)
