"""Crops of pictures: random ones by given bits, or central ones; the same place in all pictures of an example."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from imggen_jax.data.dataset import Batch, Dataset, fixed_size, is_image, sha256
from imggen_jax.data.decoding import scales as scales_of
from imggen_jax.errors import DataError
from imggen_jax.spec import make_spec


def cropped(dataset: Dataset, side: int, scales: Mapping[str, int] | None = None) -> Dataset:
    """Squares of the pictures of a dataset, which may have any size.

    `read` takes them from the center or, given random bits, from anywhere, each place as likely as another (but for
    2^-32 of the side). All pictures of an example are cropped at the same place.

    Args:
      dataset: its pictures are at least as large as the crops.
      side: of the crops of the field "image", in pixels, or, without such a field, of the largest.
      scales: how many times larger than the smallest the pictures of a field are, such as {"image": 4, "source": 1}
        where sources have a quarter of the side; None for the shapes in the spec, or 1 where pictures have any size.

    Raises:
      DataError: `side` below 1, not a multiple of the scales, or larger than a picture (where the spec does not say,
        when that picture is read).
    """
    images = [field for field, each in dataset.spec.items() if is_image(each)]
    if side < 1 or not images:
        raise DataError(f"{dataset.title} cannot be cropped to {side} pixels: " + (
            "give a side of at least 1" if images else "it has no pictures"))
    sizes = {field: fixed_size(dataset.spec[field]) for field in images}
    known = {field: size for field, size in sizes.items() if size is not None}
    fixed = len(known) == len(images)
    if scales is None:
        scales = scales_of(dataset.title, known, 0) if fixed else dict.fromkeys(images, 1)
    crops = sides(dataset.title, side, scales)
    for field, size in known.items():
        _check(dataset, field, size, crops[field], 0)
    least = min(images, key=lambda field: scales[field])

    def crop(batch: Batch, indices: np.ndarray, bits: np.ndarray | None) -> Batch:
        """Of examples whose pictures have one size."""
        for field in images:
            _check(dataset, field, batch[field].shape[1:], crops[field], indices[0] if len(indices) else 0)
        height, width = (extent - crops[least] + 1 for extent in batch[least].shape[1:3])
        tops, lefts = _corners(len(indices), height, width, bits)
        return batch | {field: _cut(batch[field], scales[field] * tops, scales[field] * lefts, crops[field])
                        for field in images}

    def read(indices: np.ndarray, bits: np.ndarray | None = None) -> Batch:
        indices = np.asarray(indices)
        if fixed or not len(indices):
            batch = _read(dataset, indices, bits)
            return crop(batch, indices, bits) if len(indices) else batch | {
                field: np.empty((0, crops[field], crops[field], dataset.spec[field].shape[2] or 1), np.uint8)
                for field in images}
        rows = [slice(row, row + 1) for row in range(len(indices))]
        made = [crop(_read(dataset, indices[row], None if bits is None else bits[row]), indices[row],
                     None if bits is None else bits[row]) for row in rows]
        return {field: np.concatenate([each[field] for each in made]) for field in made[0]}

    spec = make_spec(**{field: each._replace(shape=(crops[field], crops[field], each.shape[2])) if field in images
                        else each for field, each in dataset.spec.items()})
    marks = {field: sha256("crop", mark, crops[field]) if field in images else mark
             for field, mark in dataset.fingerprints.items()}
    return dataset._replace(spec=spec, read=read, fingerprints=marks, random=True)


def sides(title: str, side: int, scales: Mapping[str, int]) -> dict[str, int]:
    """The side of the crops of each field. Raises DataError where `side` is not a multiple of what it must be."""
    scale = scales.get("image", max(scales.values()))
    if side % scale:
        raise DataError(f"crops of {title} with a side of {side} do not fit pictures that are {scale} times larger "
                        f"than others; set data.crop to a multiple of {scale}")
    return {field: side // scale * each for field, each in scales.items()}


def mixed(bits: np.ndarray) -> np.ndarray:
    """Other random bits made of random bits, uint64 [B] (the finalizer of SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _read(dataset: Dataset, indices: np.ndarray, bits: np.ndarray | None) -> Batch:
    return dataset.read(indices, mixed(bits)) if dataset.random and bits is not None else dataset.read(indices)


def _corners(number: int, height: int, width: int, bits: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Corners int64 [number] in [0, height) and [0, width)."""
    if bits is None:
        return np.full(number, (height - 1) // 2), np.full(number, (width - 1) // 2)
    high, low = bits >> np.uint64(32), bits & np.uint64(0xFFFFFFFF)
    return (high % np.uint64(height)).astype(np.int64), (low % np.uint64(width)).astype(np.int64)


def _cut(images: np.ndarray, tops: np.ndarray, lefts: np.ndarray, side: int) -> np.ndarray:
    out = np.empty((len(images), side, side, images.shape[3]), images.dtype)
    for row, (image, top, left) in enumerate(zip(images, tops.tolist(), lefts.tolist())):
        out[row] = image[top:top + side, left:left + side]
    return out


def _check(dataset: Dataset, field: str, shape: tuple[int, ...], side: int, index: int) -> None:
    if min(shape[:2]) < side:
        raise DataError(f"{field} of example {index} of {dataset.title} is {shape[1]}x{shape[0]}, smaller than the "
                        f"crop of {side}x{side}; set data.crop to at most {min(shape[:2])}")
