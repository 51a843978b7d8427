"""Stochastic textures of known make: cracked earth and a web, which averaging over patches washes out."""
from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree


def cracked(side: int = 512, stones: int = 120, seed: int = 0) -> np.ndarray:
    """uint8 [side,side,3]: plates of dry earth with dark cracks."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    bent = [at + 60 * ndimage.gaussian_filter(rng.standard_normal((side, side)), 8)
            + 6 * ndimage.gaussian_filter(rng.standard_normal((side, side)), 2) for at in (rows, columns)]
    distances, nearest = _cells(rng, stones, side, bent)
    tone = rng.normal(0, 0.05, stones)[nearest]
    grain = 0.1 * ndimage.gaussian_filter(rng.standard_normal((side, side)), 1) + rng.normal(0, 0.03, (side, side))
    light = (0.62 + tone + grain) * (0.25 + 0.75 * np.clip(distances / 6, 0, 1))
    return _picture(light, (1.1, 0.9, 0.68))


def web(side: int = 512, cells: int = 180, seed: int = 0) -> np.ndarray:
    """uint8 [side,side,3]: thin bright threads before a dark ground."""
    rng = np.random.default_rng(seed)
    distances, _ = _cells(rng, cells, side, np.mgrid[:side, :side])
    ground = 0.18 + 0.24 * ndimage.gaussian_filter(rng.standard_normal((side, side)), 20)
    return _picture(ground + 0.75 * np.exp(-((distances / 1.5) ** 2)), (0.95, 1.0, 1.02))


def _cells(rng, number, side, at):
    """Of each pixel: how much farther the second nearest of random points is than the nearest, and which that is."""
    distances, nearest = cKDTree(rng.random((number, 2)) * side).query(np.stack(at, -1).reshape(-1, 2), k=2)
    return (distances[:, 1] - distances[:, 0]).reshape(side, side), nearest[:, 0].reshape(side, side)


def _picture(light, color):
    return (np.clip(light[..., None] * np.asarray(color), 0, 1) * 255).astype(np.uint8)
