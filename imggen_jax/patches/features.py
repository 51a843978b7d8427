"""Square patches of a picture as points: all of their pixels, or the few principal components that matter."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg, ndimage

_CHUNK = 1 << 14                     # patches that are cut out at a time: 10 MB of 7x7x3 float32


class Basis(NamedTuple):
    """An affine map from patches of `size` x `size` pixels to points."""

    size: int
    mean: np.ndarray                 # float32 [size*size*C]
    components: np.ndarray           # float32 [size*size*C, D], orthonormal columns


def padded(picture: np.ndarray, size: int, wrap: tuple[bool, bool]) -> np.ndarray:
    """The picture continued by its other side along the wrapped axes, so that patches start at each of its pixels.

    Args:
      picture: [H,W,...].
      size: side of the patches.
      wrap: whether rows, and columns, are wrapped.

    Returns:
      [H + size - 1 where wrap[0], W + size - 1 where wrap[1], ...].
    """
    for axis in (0, 1):
        if wrap[axis]:
            extra = np.arange(size - 1) % picture.shape[axis]
            picture = np.concatenate([picture, np.take(picture, extra, axis)], axis)
    return picture


def grid(shape: tuple[int, ...], size: int, wrap: tuple[bool, bool] = (False, False)) -> tuple[int, int]:
    """How many patches there are along the rows and columns of a picture."""
    rows, columns = (n if w else n - size + 1 for n, w in zip(shape[:2], wrap, strict=True))
    return rows, columns


def whole(known: np.ndarray, size: int) -> np.ndarray:
    """bool [H-size+1, W-size+1]: which patches consist of known pixels only. known: bool [H,W]."""
    unknown = np.pad(np.cumsum(np.cumsum(~known, 0, dtype=np.int64), 1), ((1, 0), (1, 0)))
    p = size
    return (unknown[p:, p:] - unknown[:-p, p:] - unknown[p:, :-p] + unknown[:-p, :-p]) == 0


def touched(change: np.ndarray, size: int, wrap: tuple[bool, bool] = (False, False)) -> np.ndarray:
    """bool [h,w]: which patches hold a pixel that may change. change: bool [H,W]."""
    return ~whole(~padded(change, size, wrap), size)


def nearest_true(mask: np.ndarray) -> np.ndarray:
    """int [2,h,w]: row and column of the nearest true element of a mask, bool [h,w]."""
    return np.asarray(ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True))


def cut(picture: np.ndarray, size: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Patches whose upper left corners are at (rows, columns): float32 [N, size*size*C]."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, (size, size), axis=(0, 1))
    return windows[rows, columns].reshape(len(rows), -1)


def principal(picture: np.ndarray, size: int, at: np.ndarray, dims: int, rng: np.random.Generator) -> Basis:
    """The principal components of a picture's patches.

    Args:
      picture: float32 [H,W,C].
      size: side of the patches.
      at: int [N], flat places of patches in the grid of all; up to 6,000 are drawn from them.
      dims: components; all, and so exact distances, where there are no more.
      rng: draws the patches.
    """
    width = picture.shape[1] - size + 1
    length = size * size * picture.shape[-1]
    if dims >= length:               # distances are those of the pixels, to the bit
        return Basis(size, np.zeros(length, np.float32), np.eye(length, dtype=np.float32))
    if len(at) > 6_000:
        at = rng.choice(at, 6_000, replace=False)
    points = cut(picture, size, at // width, at % width)
    mean = points.mean(0)
    points -= mean
    _, vectors = linalg.eigh((points.T @ points).astype(np.float64), subset_by_index=(length - dims, length - 1))
    vectors = vectors[:, ::-1]
    # An eigenvector's sign is arbitrary: fixed, so that libraries agree.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(dims)])
    return Basis(size, mean, np.ascontiguousarray(vectors, np.float32))


def project(picture: np.ndarray, basis: Basis, at: np.ndarray) -> np.ndarray:
    """Points of patches: float32 [N,D].

    Args:
      picture: float32 [H,W,C].
      basis: as made by `principal`.
      at: int [N], flat places in the grid of all patches.
    """
    width = picture.shape[1] - basis.size + 1
    out = np.empty((len(at), basis.components.shape[1]), np.float32)
    offset = basis.mean @ basis.components
    for i in range(0, len(at), _CHUNK):
        rows, columns = np.divmod(at[i : i + _CHUNK], width)
        np.matmul(cut(picture, basis.size, rows, columns), basis.components, out=out[i : i + _CHUNK])
    return out - offset
