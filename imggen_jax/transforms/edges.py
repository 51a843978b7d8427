"""Line drawings of pictures: XDoG (Winnemoeller et al., 2012, "XDoG: An eXtended difference-of-Gaussians compendium").

Adds "source" [H,W,1], dark lines on white, so that a game of pairs learns to paint a sketch from pictures alone.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from imggen_jax import spec as specs
from imggen_jax.augment import to_float
from imggen_jax.game import Array, Batch, Field, Key, Spec
from imggen_jax.transforms import Transform

WIDER = 1.6  # the ratio of the two Gaussians that comes nearest to the Laplacian (Marr and Hildreth, 1980)


def make(
    spec: Spec, *, sigma: Sequence[float] = (0.4, 0.7), sharpness: float = 12.0,
    threshold: Sequence[float] = (0.6, 0.8), softness: float = 2.5
) -> Transform:
    """The lines of each picture, their thickness and how faint edges may be drawn anew for each.

    Drawings that people make differ in both, and a model is to take them all.

    Args:
      spec: fields of an example: an "image" of one size.
      sigma: the smallest and the largest scale of the lines, in pixels.
      sharpness: weight of the difference of Gaussians against the blurred picture (p of the paper).
      threshold: the least and the most brightness, of 0 to 1, that is left white (epsilon of the paper).
      softness: how quickly a line falls off to white (phi of the paper).

    Raises:
      ValueError: a number out of range.
    """
    if len(sigma) != 2 or not 0 < sigma[0] <= sigma[1] <= 10:
        raise ValueError(f"transform edges: sigma is {tuple(sigma)!r}; give the least and the most, above 0 and at "
                         "most 10 pixels")
    if len(threshold) != 2 or not 0 < threshold[0] <= threshold[1] <= 1 or sharpness <= 0 or softness <= 0:
        raise ValueError(f"transform edges: threshold is {tuple(threshold)!r}, sharpness {sharpness} and softness "
                         f"{softness}; thresholds lie in 0 to 1, the others are above 0")
    height, width, _ = specs.image_shape(spec)

    def apply(batch: Batch, key: Key):
        image = batch["image"]
        draws = jax.random.uniform(key, (2, len(image), 1))
        scale, least = (low + (high - low) * draw for (low, high), draw in zip((sigma, threshold), draws))
        made = lines(to_float(image), scale[:, 0], least[:, 0], sharpness, softness, most=sigma[1])
        return {**batch, "source": jnp.round(255 * made).astype(jnp.uint8)}

    return Transform(Spec({**spec, "source": Field((height, width, 1), "uint8")}), apply)


def lines(images: Array, sigma: Array, threshold: Array, sharpness: float, softness: float, most: float) -> Array:
    """Dark lines on white: float32 [B,H,W,1] in [0,1].

    Args:
      images: float [B,H,W,C] in [-1,1].
      sigma, threshold: float [B].
      sharpness, softness: as of `make`.
      most: the largest sigma, which decides how far the filters reach.
    """
    reach = math.ceil(3 * WIDER * most)
    light = (images.astype(jnp.float32) + 1) / 2
    # Between two colors of one brightness there is an edge all the same: the darkest of the channels' lines counts.
    narrow, wide = (_blur(light, scale * sigma, reach) for scale in (1.0, WIDER))
    difference = narrow - wide
    base = jnp.mean(narrow, axis=-1, keepdims=True)
    # Lines are where the brighter side has ended: (1 + p) G_s - p G_ks, of the paper's eq. 7, with flat areas white.
    signal = jnp.min(1.0 + sharpness * difference / (0.5 + 0.5 * base), axis=-1, keepdims=True)
    least = threshold[:, None, None, None]
    return jnp.where(signal >= least, 1.0, jnp.maximum(1.0 + jnp.tanh(softness * (signal - least)), 0.0))


def _blur(images: Array, sigma: Array, reach: int) -> Array:
    """Each picture blurred by a Gaussian of its own sigma; borders are repeated: [B,H,W,C] -> the same."""
    at = jnp.arange(-reach, reach + 1)
    weights = jnp.exp(-0.5 * jnp.square(at / sigma[:, None]))
    weights /= jnp.sum(weights, axis=1, keepdims=True)
    for axis in (1, 2):
        pads = [(0, 0)] * 4
        pads[axis] = (reach, reach)
        padded, side = jnp.pad(images, pads, mode="edge"), images.shape[axis]
        images = sum((weights[:, i, None, None, None] * jax.lax.slice_in_dim(padded, i, i + side, axis=axis)
                      for i in range(2 * reach + 1)), jnp.zeros_like(images))
    return images
