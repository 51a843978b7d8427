"""Degraded copies of images, for models that restore them: the field `source`."""
# pyright: reportMissingParameterType=true, reportMissingTypeArgument=true
from __future__ import annotations

import jax
import jax.numpy as jnp

from imggen_jax import bicubic
from imggen_jax.augment import to_float
from imggen_jax.game import Array, Batch, Field, Key, Spec
from imggen_jax.spec import image_shape
from imggen_jax.transforms import Transform

KINDS = ("bicubic", "noise")


def make(spec: Spec, *, kind: str = "bicubic", scale: int = 2, noise: float = 25.0) -> Transform:
    """Adds `source`, uint8 [H/scale,W/scale,C], to examples with an `image`, uint8 [H,W,C].

    Args:
      spec: of examples with images of one size, which `scale` divides.
      kind: "bicubic" halves, thirds ... as MATLAB does; "noise" then adds Gaussian noise.
      scale: 1 keeps the size.
      noise: largest standard deviation of the noise, in levels of 255; each image's is drawn evenly from 0 to it.

    Raises:
      ValueError: an unknown kind, or sides that the scale does not divide.
    """
    if kind not in KINDS:
        raise ValueError(f"degrade.kind is {kind!r}; choose one of {', '.join(KINDS)}")
    height, width, channels = image_shape(spec)
    if scale < 1 or height % scale or width % scale:
        raise ValueError(f"degrade.scale is {scale}, which does not divide images of {width}x{height}; set "
                         "config.data.crop to a multiple of it")

    def apply(batch: Batch, key: Key) -> Batch:
        small = to_float(batch["image"])
        if scale > 1:
            small = bicubic.resize(small, height // scale, width // scale)
        if kind == "noise":
            small = _noisy(small, key, noise)
        return {**batch, "source": _rounded(small)}

    return Transform(Spec({**spec, "source": Field((height // scale, width // scale, channels), "uint8")}), apply)


def _noisy(images: Array, key: Key, most: float) -> Array:
    key_sigma, key_noise = jax.random.split(key)
    sigma = jax.random.uniform(key_sigma, (images.shape[0], 1, 1, 1), maxval=most / 127.5)
    return images + sigma * jax.random.normal(key_noise, images.shape)


def _rounded(images: Array) -> Array:
    """[-1,1] -> uint8: sources come from files."""
    return jnp.clip(jnp.round((images + 1) * 127.5), 0, 255).astype(jnp.uint8)
