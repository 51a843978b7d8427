"""What is done to images on the device: to floats, flips, and the differentiable augmentations of GAN training.

Each image of a batch draws its own random numbers. A translation is a slice per image: on a CPU its first and second
derivatives took less time than those of one-hot matmuls or of selections among shifted copies.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

Array = jax.Array


def to_float(images: Array) -> Array:
    """uint8 [B,H,W,C] -> float32 in [-1,1], v / 127.5 - 1; float images, already in [-1,1], pass as float32."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 127.5 - 1
    return images.astype(jnp.float32)


def random_flip(images: Array, key: Array) -> Array:
    """Mirror half of the images left to right, at random; any dtype, [B,H,W,C] -> the same."""
    flip = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
    return jnp.where(flip, images[:, :, ::-1], images)


def flip_examples(batch: Mapping[str, Array], key: Array) -> dict[str, Array]:
    """Mirror half of the examples, all images and masks of an example alike: {field: [B,...]} -> the same."""
    return {name: random_flip(value, key) if value.ndim == 4 else value for name, value in batch.items()}


def random_turn(images: Array, quarters: Array) -> Array:
    """Turn image i by quarters[i] times 90 degrees counterclockwise; [B,S,S,C], int32 [B] -> the same."""
    quarters = quarters[:, None, None, None]
    images = jnp.where(quarters % 2 == 1, jnp.rot90(images, axes=(1, 2)), images)
    return jnp.where(quarters >= 2, images[:, ::-1, ::-1], images)


def turn_examples(batch: Mapping[str, Array], key: Array) -> dict[str, Array]:
    """Turn each example by a random multiple of 90 degrees, all its images and masks alike: {field: [B,...]}."""
    quarters = jax.random.randint(key, jax.tree.leaves(batch)[0].shape[:1], 0, 4)
    return {name: random_turn(value, quarters) if value.ndim == 4 else value for name, value in batch.items()}


def unchanged(batch: Mapping[str, Array], key: Array) -> Mapping[str, Array]:
    """The transform that leaves a batch as it is."""
    del key
    return batch


# DiffAugment (arXiv 2006.10738), section 4 and its published code: the ranges below are theirs.
POLICIES = ("color", "translation", "cutout")
TRANSLATION = 1 / 8  # largest shift, as a share of the side
CUTOUT = 1 / 2       # side of the square that is blanked, as a share of the side


def diff_augment(images: Array, key: Array, policy: Sequence[str]) -> Array:
    """Random color, translation and cutout, differentiable in the images to any order.

    Args:
      images: float [B,H,W,C]; 0, the middle of [-1,1], fills what a shift or a cutout uncovers.
      key: the same key gives the same augmentation, whatever the images.
      policy: names from `POLICIES`, applied in this order; () leaves the images alone.

    Returns:
      float [B,H,W,C]; color can leave [-1,1].

    Raises:
      ValueError: an unknown name.
    """
    steps = {"color": _color, "translation": _translation, "cutout": _cutout}
    for i, name in enumerate(policy):
        if name not in steps:
            raise ValueError(f"unknown augmentation {name!r}; choose from {', '.join(POLICIES)}")
        images = steps[name](images, jax.random.fold_in(key, i))
    return images


def _color(x: Array, key: Array) -> Array:
    brightness, saturation, contrast = jax.random.uniform(key, (3, x.shape[0], 1, 1, 1), x.dtype)
    x = x + brightness - 0.5                                   # by [-1/2, 1/2)
    gray = jnp.mean(x, axis=-1, keepdims=True)
    x = gray + (x - gray) * 2 * saturation                     # by [0, 2)
    middle = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
    return middle + (x - middle) * (contrast + 0.5)            # by [1/2, 3/2)


def _translation(x: Array, key: Array) -> Array:
    reach = round(x.shape[1] * TRANSLATION)
    return _shift(x, jax.random.randint(key, (x.shape[0], 2), -reach, reach + 1), reach)


def _shift(x: Array, by: Array, reach: int) -> Array:
    """Move image i by by[i] = (down, right), int32 [B,2] in [-reach, reach] pixels, zeros coming in."""
    padded = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))

    def window(image, down, right):
        return jax.lax.dynamic_slice(image, (reach - down, reach - right, 0), x.shape[1:])

    return jax.vmap(window)(padded, by[:, 0], by[:, 1])


def _cutout(x: Array, key: Array) -> Array:
    inside = []
    for side, key in zip(x.shape[1:3], jax.random.split(key)):
        box = round(side * CUTOUT)
        # The box may reach out of the image, so that the border has its turn too.
        start = jax.random.randint(key, x.shape[:1], 0, side + 1 - box % 2) - box // 2
        offset = jnp.arange(side) - start[:, None]             # [B, side]
        inside.append((0 <= offset) & (offset < box))
    rows, columns = inside
    return jnp.where(rows[:, :, None, None] & columns[:, None, :, None], 0, x)
