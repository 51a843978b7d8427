"""Smooth fills, and pictures from wanted colors and wanted gradients.

Perez et al.: Poisson image editing (2003); Darabi et al.: Image melding (2012), where matches vote for gradients, too.
"""
from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage, sparse

from imggen_jax.patches import measures
from imggen_jax.patches.pyramid import resize


def smooth(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Unknown values, interpolated smoothly from the known ones by a pyramid. Time linear in the number of pixels.

    Args:
      values: float32 [H,W,C].
      known: bool [H,W]; where nothing is known the result is 0.
    """
    values = np.where(known[..., None], values, 0).astype(np.float32)
    if known.all() or not known.any():
        return values
    height, width = known.shape
    if max(height, width) <= 2:
        return np.where(known[..., None], values, values[known].mean(0))
    size = (height + 1) // 2, (width + 1) // 2
    share = resize(known.astype(np.float32), size, Image.Resampling.BOX)
    total = resize(values, size, Image.Resampling.BOX)
    low = smooth(total / np.maximum(share, 1e-6)[..., None], share > 0)
    out = np.where(known[..., None], values, resize(low, (height, width), Image.Resampling.BILINEAR))
    for _ in range(3):               # takes the pyramid's blocks away
        out = np.where(known[..., None], values, ndimage.uniform_filter(out, 3, axes=(0, 1)))
    return out


def bent(picture: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Changing pixels interpolated with the least bending: the sum of squared Laplacians. For thin holes.

    Args:
      picture: float32 [H,W,C]; what changes is where it starts.
      change: bool [H,W].

    Returns:
      float32 [H,W,C].
    """
    height, width = change.shape
    near = np.flatnonzero(ndimage.binary_dilation(change))
    row, column = np.divmod(near, width)
    count = np.zeros(len(near))
    entries = []
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        ok = (row + dy >= 0) & (row + dy < height) & (column + dx >= 0) & (column + dx < width)
        count += ok
        entries.append((np.flatnonzero(ok), near[ok] + dy * width + dx))
    rows, columns = (np.concatenate(part) for part in zip(*entries, strict=True))
    values = np.concatenate([-np.ones(len(rows)), count])
    rows, columns = np.concatenate([rows, np.arange(len(near))]), np.concatenate([columns, near])
    free = change.ravel()[columns]
    number = np.cumsum(change.ravel()) - 1
    laplacian = sparse.csr_matrix((values[free], (rows[free], number[columns[free]])), (len(near), int(change.sum())))
    colors = picture.reshape(height * width, -1).astype(np.float64)
    fixed = np.stack([np.bincount(rows[~free], values[~free] * c[columns[~free]], len(near)) for c in colors.T], 1)
    matrix = (laplacian.T @ laplacian).tocsr()
    out = picture.copy()
    out[change] = _conjugate_gradients(matrix, -(laplacian.T @ fixed), colors[change.ravel()],
                                       1 / matrix.diagonal()[:, None], 60)
    return np.clip(out, 0, 1)


def differences(picture: np.ndarray) -> np.ndarray:
    """To the pixel on the right, and to the one below: [H,W,C] -> [H,W,2C]; 0 at the last."""
    right = np.diff(picture, axis=1, append=picture[:, -1:])
    below = np.diff(picture, axis=0, append=picture[-1:])
    return np.concatenate([right, below], -1)


def evened(picture: np.ndarray, change: np.ndarray, axis: int, reach: int, most: float = 3.0) -> np.ndarray:
    """A closed picture whose gradient across one seam is that of the lines around it.

    The two lines at the seam are moved together, or apart, by one share of their difference, and the lines behind them
    by less and less.

    Args:
      picture: float32 [H,W,C] in [0,1].
      change: bool [H,W]; others are kept.
      axis: 0: the seam between the last row and the first; 1: of columns.
      reach: lines that change on each side, at least 1.
      most: by which the gradient may be multiplied or divided, at most.

    Returns:
      float32 [H,W,C] in [0,1].
    """
    lines, may = (np.moveaxis(a, axis, 0) for a in (picture.astype(np.float32), change[..., None]))
    lines = np.clip(lines, 0, 1)
    gain = np.clip(1 / max(measures.gradients(lines, 0)[-1], 1e-9), 1 / most, most)
    move = np.float32((gain - 1) / 2) * (lines[0] - lines[-1])
    for k in range(min(reach, len(lines) // 2)):
        share = np.float32(1 - k / reach)
        lines[k] += share * move * may[k]
        lines[-1 - k] -= share * move * may[-1 - k]
    return np.moveaxis(np.clip(lines, 0, 1), 0, axis)


def poisson(colors: np.ndarray, wanted: np.ndarray, change: np.ndarray, wrap: tuple[bool, bool], *, weight: float,
            start: np.ndarray | None = None, steps: int = 60) -> np.ndarray:
    """The picture u with the least |grad u - wanted|^2 + weight |u - colors|^2, by conjugate gradients.

    Args:
      colors: float32 [H,W,C]; kept where nothing may change.
      wanted: float32 [H,W,2C], as `differences` gives them.
      change: bool [H,W].
      wrap: whether rows, and columns, are neighbors over the edge.
      weight: of the colors; the gradients' is 1.
      start: float32 [H,W,C], a guess.
      steps: at most.

    Returns:
      float32 [H,W,C].
    """
    height, width, channels = colors.shape
    number = np.full(change.shape, -1)
    number[change] = np.arange(change.sum())
    count = int(change.sum())
    diagonal = np.full(count, weight, np.float64)
    right_side = weight * colors[change].astype(np.float64)
    pairs = []
    every = np.arange(height * width).reshape(height, width)
    for axis, part in ((1, wanted[..., :channels]), (0, wanted[..., channels:])):
        first, second = every, np.roll(every, -1, axis)
        if not wrap[axis]:
            keep = slice(None, -1)
            first, second = (a[:, keep] if axis else a[keep] for a in (first, second))
        first, second = first.ravel(), second.ravel()
        either = change.ravel()[first] | change.ravel()[second]
        first, second = first[either], second[either]
        i, j = number.ravel()[first], number.ravel()[second]
        step = part.reshape(-1, channels)[first].astype(np.float64)
        for at, to, other, sign in ((i, j, second, -1), (j, i, first, 1)):
            inside = at >= 0
            diagonal += np.bincount(at[inside], minlength=count)
            fixed = np.where((to < 0)[:, None], colors.reshape(-1, channels)[other], 0)
            for c in range(channels):
                right_side[:, c] += np.bincount(at[inside], (fixed[:, c] + sign * step[:, c])[inside], count)
        both = (i >= 0) & (j >= 0)
        pairs.append((i[both], j[both]))
    i, j = (np.concatenate(part) for part in zip(*pairs, strict=True))
    ones = np.ones(len(i))
    matrix = sparse.csr_matrix((ones, (i, j)), (count, count))
    matrix = sparse.diags(diagonal) - matrix - matrix.T
    out = colors.copy()
    guess = (colors if start is None else start)[change].astype(np.float64)
    out[change] = _conjugate_gradients(matrix, right_side, guess, 1 / diagonal[:, None], steps)
    return out


def _conjugate_gradients(matrix, right: np.ndarray, x: np.ndarray, scale: np.ndarray, steps: int) -> np.ndarray:
    """Solves matrix @ x = right [N,C] for all columns at a time, preconditioned by the diagonal; SciPy's takes one."""
    residual = right - matrix @ x
    direction = z = scale * residual
    size = np.einsum("nc,nc->c", residual, z)
    goal = 1e-8 * np.einsum("nc,nc->c", right, scale * right) + 1e-30
    for _ in range(steps):
        if (size < goal).all():
            break
        moved = matrix @ direction
        step = size / np.maximum(np.einsum("nc,nc->c", direction, moved), 1e-30)
        x = x + step * direction
        residual = residual - step * moved
        z = scale * residual
        before, size = size, np.einsum("nc,nc->c", residual, z)
        direction = z + (size / np.maximum(before, 1e-30)) * direction
    return x
