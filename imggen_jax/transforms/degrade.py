"""Degraded copies of images, for models that restore them: the field `source`."""
from __future__ import annotations

import jax
import jax.numpy as jnp

from imggen_jax import bicubic
from imggen_jax.augment import to_float
from imggen_jax.degradations import kernels, real
from imggen_jax.degradations.jpeg import TO_YCC, compress
from imggen_jax.game import Array, Batch, Field, Key, Spec
from imggen_jax.spec import image_shape
from imggen_jax.transforms import Transform

KINDS = ("bicubic", "noise", "jpeg", "mixed", "real")


def make(
    spec: Spec, *, kind: str = "bicubic", scale: int = 2, noise: float = 50.0, quality_low: float = 5.0,
    quality_high: float = 95.0, gray: float = 0.0, shrink: int = 1,
    sharpen: float = 0.0,
) -> Transform:
    """Adds `source`, uint8 [H/scale,W/scale,C], to examples with an `image`, uint8 [H,W,C].

    Args:
      spec: of examples with images of one size, which `scale` divides.
      kind: "bicubic" makes images smaller as MATLAB does; so do "noise", which then adds Gaussian noise, "jpeg", which
        then loses what a JPEG file loses, and "mixed", which does one of them or both; "real" is the pipeline of
        Real-ESRGAN, degradations/real.py.
      scale: side of the image over side of the source; 1 keeps the size.
      noise: largest standard deviation of the noise, in levels of 255; each image's is drawn evenly from 0 to it.
      quality_low, quality_high: the range that each image's JPEG quality is drawn from, as libjpeg counts it.
      shrink: images are made smaller first, by a factor drawn for each from 1 to this, and cut to H/shrink x W/shrink.
        Photographs from cameras are soft at their own size; smaller ones have the edges that test pictures have.
      sharpen: weight of an unsharp mask that images go through first, in `image` too: a model learns to make crisp
        ones. Real-ESRGAN's is 0.5.
      gray: share of images that lose their color first, in `image` too: a model of color then serves gray ones.

    Raises:
      ValueError: an unknown kind, a range that is none, or sides that the scale does not divide.
    """
    if kind not in KINDS:
        raise ValueError(f"degrade.kind is {kind!r}; choose one of {', '.join(KINDS)}")
    if noise < 0 or not 1 <= quality_low <= quality_high <= 100:
        raise ValueError(f"degrade.noise is {noise} and degrade.quality_low to quality_high are {quality_low} to "
                         f"{quality_high}; noise is at least 0, qualities rise within 1 to 100")
    if not 0 <= gray <= 1 or sharpen < 0:
        raise ValueError(f"degrade.gray is {gray} and degrade.sharpen {sharpen}; one is a share of images, from 0 to "
                         "1, the other at least 0")
    height, width, channels = image_shape(spec)
    cut = shrink if "source" not in spec else 1  # a spec of its own has the size already
    if scale < 1 or shrink < 1 or height % (cut * scale) or width % (cut * scale):
        raise ValueError(f"degrade.scale is {scale} and degrade.shrink {shrink}; their product does not divide images "
                         f"of {width}x{height}; set config.data.crop to a multiple of it")
    height, width = height // cut, width // cut

    def apply(batch: Batch, key: Key) -> Batch:
        if batch["image"].shape[1:3] != (height, width):
            batch = {**batch, "image": _shrunk(batch["image"], jax.random.fold_in(key, 2), height, width, shrink)}
        if gray and channels == 3:
            batch = {**batch, "image": _faded(batch["image"], jax.random.fold_in(key, 1), gray)}
        image = to_float(batch["image"]) / 2 + 0.5
        if sharpen:
            image = kernels.sharpen(image, sharpen)
            batch = {**batch, "image": _rounded(image)}
        if kind == "real":
            return {**batch, "source": _rounded(real.degrade(image, key, scale))}
        small = bicubic.resize(image, height // scale, width // scale) if scale > 1 else image
        small = jnp.clip(small, 0, 1)
        key_kind, key_noise, key_quality = jax.random.split(key, 3)
        n = small.shape[0]
        # Of three mixed images one has noise, one JPEG's losses, one both, in the order of a camera.
        which = jax.random.randint(key_kind, (n, 1, 1, 1), 0, 3) if kind == "mixed" else jnp.zeros((n, 1, 1, 1))
        if kind in ("noise", "mixed"):
            small = jnp.where(which != 1, _noisy(small, key_noise, noise / 255), small)
        if kind in ("jpeg", "mixed"):
            quality = jax.random.uniform(key_quality, (n,), minval=quality_low, maxval=quality_high)
            small = jnp.where((which != 0) | (kind == "jpeg"), compress(small, quality), small)
        return {**batch, "source": _rounded(small)}

    fields = {"image": spec["image"]._replace(shape=(height, width, channels)),
              "source": Field((height // scale, width // scale, channels), "uint8")}
    return Transform(Spec({**spec, **fields}), apply)


def _shrunk(images: Array, key: Key, height: int, width: int, most: int) -> Array:
    """uint8 [B,H,W,C] -> uint8 [B,height,width,C]."""
    factors = jax.random.uniform(key, (images.shape[0],), minval=1.0, maxval=float(most))
    return _rounded(bicubic.shrink(to_float(images) / 2 + 0.5, factors, height, width))


def _faded(images: Array, key: Key, share: float) -> Array:
    """uint8 [B,H,W,C] -> the same, a share of them gray, by the luma of JPEG."""
    luma = jnp.round(images.astype(jnp.float32) @ TO_YCC[0])[..., None].astype(jnp.uint8)
    chosen = jax.random.bernoulli(key, share, (images.shape[0], 1, 1, 1))
    return jnp.where(chosen, luma, images)


def _noisy(images: Array, key: Key, most: float) -> Array:
    key_sigma, key_noise = jax.random.split(key)
    sigma = jax.random.uniform(key_sigma, (images.shape[0], 1, 1, 1), maxval=most)
    return jnp.clip(images + sigma * jax.random.normal(key_noise, images.shape), 0, 1)


def _rounded(images: Array) -> Array:
    """[0,1] -> uint8: sources come from files."""
    return jnp.clip(jnp.round(images * 255), 0, 255).astype(jnp.uint8)
