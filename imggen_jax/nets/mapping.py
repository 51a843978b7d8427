"""A mapping network, dense layers from z to what a generator reads (StyleGAN, Karras et al., arXiv 1812.04948).

The prior has to be cut into regions, one for each thing that a picture can show. Here that is done before the first
pixel is drawn, so that in what comes out, w, things can lie along straight lines.
"""
from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array

HE = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class Mapping(nn.Module):
    """Latent z to latent w of the same length; the last layer is linear, so that w has no kink at zero.

    Attributes:
      layers: dense layers, at least 1; leaky ReLU between them.
      dtype: of the computations; the result is float32.
    """

    layers: int
    dtype: Any

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """z float [B,latent] -> float32 [B,latent]."""
        z = z.astype(jnp.float32)
        x = (z * jax.lax.rsqrt(jnp.mean(jnp.square(z), axis=-1, keepdims=True) + 1e-8)).astype(self.dtype)
        for layer in range(self.layers):
            x = nn.leaky_relu(x, 0.2) if layer else x
            x = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=HE)(x)
        return x.astype(jnp.float32)
