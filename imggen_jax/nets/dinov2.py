"""DINOv2's vision transformer (Oquab et al., arXiv 2304.07193) with patches of 14 pixels: ViT-B/14 and ViT-L/14."""
from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv

Array = jax.Array

PATCH = 14  # pixels
EPSILON = 1e-6


class Layer(nn.Module):
    """x + scale attention(norm(x)), then x + scale mlp(norm(x)); the scales are learned, one a channel."""

    heads: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = x.shape[-1]
        split = (*x.shape[:2], self.heads, width // self.heads)
        y = nn.LayerNorm(EPSILON, name="norm1")(x)
        q, k, v = (nn.Dense(width, name=name)(y).reshape(split) for name in ("query", "key", "value"))
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / split[-1] ** 0.5)
        y = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape)
        x = x + self.param("scale1", nn.initializers.ones, (width,)) * nn.Dense(width, name="attention")(y)
        y = nn.Dense(4 * width, name="fc1")(nn.LayerNorm(EPSILON, name="norm2")(x))
        y = nn.Dense(width, name="fc2")(nn.gelu(y, approximate=False))
        return x + self.param("scale2", nn.initializers.ones, (width,)) * y


class DinoV2(nn.Module):
    """float [B,14n,14n,3], normalized -> the class token after the last normalization, float32 [B,width].

    Attributes:
      width, layers, heads: 768, 12, 12 for ViT-B; 1024, 24, 16 for ViT-L.
    """

    width: int
    layers: int
    heads: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Conv(self.width, PATCH, PATCH, "VALID", name="patches")(x)
        x = x.reshape(x.shape[0], -1, self.width)
        token = self.param("token", nn.initializers.zeros, (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.width)), x], axis=1)
        x = x + self.param("positions", nn.initializers.zeros, (1, *x.shape[1:]))
        for i in range(self.layers):
            x = Layer(self.heads, name=f"layer_{i}")(x)
        return nn.LayerNorm(EPSILON, name="norm")(x[:, 0]).astype(jnp.float32)
