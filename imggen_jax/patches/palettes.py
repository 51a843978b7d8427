"""The colors of one picture taken over by another, by optimal transport in Oklab.

Ottosson: A perceptual color space for image processing (2020); Pitie et al.: Automated colour grading using colour
distribution transfer (2007).
"""
from __future__ import annotations

import numpy as np
from scipy import ndimage, optimize
from scipy.spatial import KDTree

from imggen_jax.patches.pyramid import resize

_TO_LMS = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                    [0.0883024619, 0.2817188376, 0.6299787005]])
_TO_LAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                    [0.0259040371, 0.7827717662, -0.8086757660]])
_SAMPLES = 800                       # colors that are assigned to each other: time grows with the cube
_SIDE = 33                           # of the lattice that a map of colors is kept on


def to_oklab(rgb: np.ndarray) -> np.ndarray:
    """sRGB in [0,1], [...,3] -> Oklab: lightness in [0,1], and two of about [-0.4,0.4]."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T


def to_srgb(lab: np.ndarray) -> np.ndarray:
    """Oklab [...,3] -> sRGB, in [0,1] for the colors that it has."""
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_LMS).T
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055)


def transfer(picture: np.ndarray, like: np.ndarray, rng: np.random.Generator, *, strength: float = 1.0,
             ) -> np.ndarray:
    """A picture with the palette of another; its grain and edges stay.

    Samples of both pictures' colors are assigned to each other one to one, with the least total squared distance. The
    map between is smoothed over neighboring colors, and applied to the picture without its fine detail, which is then
    added again.

    Args:
      picture: float32 [H,W,3], sRGB in [0,1].
      like: float32 [h,w,3].
      rng: draws the samples.
      strength: 0 (the picture) to 1.

    Returns:
      float32 [H,W,3] in [0,1]. A picture with the very colors of the other is returned unchanged.
    """
    start, goal = (_samples(one, seed) for one, seed in zip((picture, like), [int(rng.integers(2**31))] * 2,
                                                            strict=True))
    if np.array_equal(start, goal):
        return picture
    order, to = optimize.linear_sum_assignment(np.square(start[:, None] - goal[None]).sum(-1))
    lattice = _lattice(start, strength * (goal[to] - start[order]))
    base = ndimage.gaussian_filter(picture, (1, 1, 0))
    return np.clip(picture + _looked_up(lattice, base), 0, 1).astype(np.float32)


def _samples(picture: np.ndarray, seed: int) -> np.ndarray:
    """Oklab colors of a picture, spread over it: float64 [S,3]. Equal for equal pictures and seeds."""
    height, width = picture.shape[:2]
    scale = min(1.0, 256 / max(height, width))
    small = resize(picture, (max(1, round(height * scale)), max(1, round(width * scale)))).reshape(-1, 3)
    at = np.random.default_rng(seed).random(_SAMPLES) * len(small)
    return to_oklab(np.clip(small[at.astype(int)], 0, 1).astype(np.float64))


def _lattice(start: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """The change of sRGB at each point of a lattice of sRGB colors: float32 [SIDE,SIDE,SIDE,3]."""
    line = np.linspace(0, 1, _SIDE)
    rgb = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)
    lab = to_oklab(rgb)
    distances, near = KDTree(start, leafsize=16).query(lab.reshape(-1, 3), k=24)
    width = np.maximum(distances[:, -1:] / 2, 0.02)
    weights = np.exp(-0.5 * (distances / width) ** 2)
    weights /= weights.sum(-1, keepdims=True)
    move = np.einsum("nk,nkc->nc", weights, moves[near]).reshape(lab.shape)
    move = ndimage.gaussian_filter(move, (1, 1, 1, 0))
    return (to_srgb(lab + move) - rgb).astype(np.float32)


def _looked_up(lattice: np.ndarray, picture: np.ndarray) -> np.ndarray:
    out = np.empty_like(picture)
    for i in range(0, len(picture), 256):                    # rows, for the memory
        at = np.moveaxis(np.clip(picture[i : i + 256], 0, 1) * (_SIDE - 1), -1, 0)
        for c in range(3):
            out[i : i + 256, :, c] = ndimage.map_coordinates(lattice[..., c], at, order=1)
    return out
