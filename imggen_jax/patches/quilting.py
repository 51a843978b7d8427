"""Pieces of a picture laid beside each other along the best seams: where textures and panoramas start.

Efros, Freeman: Image quilting (2001). Large pieces keep what averaging over small patches washes out.
"""
from __future__ import annotations

import numpy as np
from scipy import fft

from imggen_jax.patches.pyramid import Level


def quilt(source: Level, canvas: Level, piece: tuple[int, int], overlap: int, rng: np.random.Generator, *,
          wrap: tuple[bool, bool] = (False, False), tolerance: float = 0.1, reuse: float = 1.0,
          shift: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Covers the unknown pixels of a canvas with pieces of the source.

    Args:
      source: float32 [Hs,Ws,C]; pieces hold its known pixels only.
      canvas: float32 [H,W,C]; what is known of it is kept.
      piece: height and width of the pieces, cut to the source's.
      overlap: pixels that neighbors share; the seam runs there.
      rng: draws among the pieces that fit almost equally.
      wrap: whether rows, and columns, are neighbors over the edge.
      tolerance: pieces that fit worse than the best by this share are drawn, too.
      reuse: weight of the penalty for what has been used before.
      shift: how far pieces may come from their own row, as a share of the height; None: from anywhere.

    Returns:
      the picture float32 [H,W,C], and rows and columns of the source that its pixels come from, int [H,W,2], -1 where
      the canvas was known.
    """
    height, width = canvas.known.shape
    high, wide = (min(p, *s) for p, s in
                  zip(piece, zip(source.known.shape, (height, width), strict=True), strict=True))
    piece = high, wide
    overlap = min(overlap, *(max(1, p // 2) for p in piece))
    picture, filled = canvas.picture.copy(), canvas.known.copy()
    origin = np.full((height, width, 2), -1)
    fits = _Fits(source, piece)
    used = np.zeros(source.known.shape, np.float32)
    for y in _starts(height, piece[0], overlap, wrap[0]):
        for x in _starts(width, piece[1], overlap, wrap[1]):
            rows, columns = (np.arange(a, a + p) % n for a, p, n in
                             zip((y, x), piece, (height, width), strict=True))
            at = np.ix_(rows, columns)
            known = filled[at]
            if known.all() and canvas.known[at].all():
                continue
            cost = fits.cost(picture[at], known) + reuse * fits.again(used)
            if shift is not None:
                apart = np.abs(np.arange(cost.shape[0]) - y * (source.known.shape[0] / height))
                cost = np.where((apart > shift * source.known.shape[0])[:, None] & (apart > apart.min())[:, None],
                                np.inf, cost)
            sy, sx = _drawn(cost, tolerance, rng)
            new = source.picture[sy : sy + piece[0], sx : sx + piece[1]]
            take = _taken(np.square(picture[at] - new).sum(-1), known, overlap) & ~canvas.known[at]
            picture[at] = np.where(take[..., None], new, picture[at])
            came = np.stack(np.meshgrid(np.arange(sy, sy + piece[0]), np.arange(sx, sx + piece[1]), indexing="ij"), -1)
            origin[at] = np.where(take[..., None], came, origin[at])
            filled[at] = True
            used[sy : sy + piece[0], sx : sx + piece[1]] += 1
    return picture, origin


def _starts(length: int, piece: int, overlap: int, wrap: bool) -> list[int]:
    step = max(1, piece - overlap)
    if wrap:
        count = max(1, -(-length // step))
        # The picture's edge is an inner line of a piece, not where two meet.
        return [round(i * length / count) - piece // 2 for i in range(count)]
    count = max(1, -(-(length - overlap) // step))
    return [min(i * step, length - piece) for i in range(count)]


def _transformed(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Along rows and columns, padded to a shape."""
    return np.asarray(fft.rfft2(values, shape, axes=(0, 1)))


def _back(transformed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(fft.irfft2(transformed, shape))


class _Fits:
    """How well each place of the source fits a piece of the canvas: sums of squares, by Fourier transforms."""

    def __init__(self, source: Level, piece: tuple[int, int]):
        self.piece = piece
        self.shape: tuple[int, ...] = tuple(  # pyright: ignore[reportAttributeAccessIssue]
            fft.next_fast_len(n + p) for n, p in zip(source.known.shape, piece, strict=True))
        self.places = tuple(n - p + 1 for n, p in zip(source.known.shape, piece, strict=True))
        self.source = _transformed(source.picture, self.shape)
        self.squares = _transformed(np.square(source.picture).sum(-1), self.shape)
        self.valid = self._sums(_transformed((~source.known).astype(np.float32), self.shape), np.ones(piece)) < 0.5
        if not self.valid.any():
            self.valid[:] = True

    def _sums(self, transformed: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        k = _transformed(kernel, self.shape)
        return _back(transformed * np.conj(k), self.shape)[: self.places[0], : self.places[1]]

    def cost(self, wanted: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Mean squared difference over the known pixels for each place, inf where a piece is not whole."""
        mask = known.astype(np.float32)
        if not known.any():
            return np.where(self.valid, 0.0, np.inf)
        masked = _transformed(wanted * mask[..., None], self.shape)
        cross = _back((self.source * np.conj(masked)).sum(-1), self.shape)[: self.places[0], : self.places[1]]
        total = self._sums(self.squares, mask) - 2 * cross + float(np.sum(np.square(wanted) * mask[..., None]))
        return np.where(self.valid, np.maximum(total, 0) / mask.sum(), np.inf)

    def again(self, used: np.ndarray) -> np.ndarray:
        """How often what lies there was used before, in units of squared differences of a thousandth."""
        if not used.any():
            return np.zeros(self.places)
        return 1e-3 * self._sums(_transformed(used, self.shape), np.full(self.piece, 1 / np.prod(self.piece)))


def _drawn(cost: np.ndarray, tolerance: float, rng: np.random.Generator) -> tuple[int, int]:
    good = np.flatnonzero(cost <= cost.min() * (1 + tolerance) + 1e-9)
    return divmod(int(rng.choice(good)), cost.shape[1])


def _taken(error: np.ndarray, known: np.ndarray, overlap: int) -> np.ndarray:
    """bool [h,w]: which pixels of a new piece are taken; elsewhere what was there stays."""
    take = np.ones(known.shape, bool)
    for turns in range(4):           # the seams on the left, the bottom, the right, the top
        e, k = np.rot90(error, -turns), np.rot90(known, -turns)
        if k[:, : max(1, overlap // 2)].mean() > 0.5:
            stay = np.arange(e.shape[1]) < seam(e[:, :overlap])[:, None]
            take &= ~np.rot90(stay & k, turns)
    return take | ~known


def seam(error: np.ndarray) -> np.ndarray:
    """The path from top to bottom with the least error: int [h], its column in each row."""
    cost = error.astype(np.float64)
    for i in range(1, len(cost)):
        last = np.pad(cost[i - 1], 1, constant_values=np.inf)
        cost[i] += np.minimum(np.minimum(last[:-2], last[1:-1]), last[2:])
    path = np.empty(len(cost), int)
    path[-1] = cost[-1].argmin()
    for i in range(len(cost) - 2, -1, -1):
        low = max(0, path[i + 1] - 1)
        path[i] = low + cost[i, low : path[i + 1] + 2].argmin()
    return path
