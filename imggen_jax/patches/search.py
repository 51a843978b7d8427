"""Nearest neighbors of points. Two interchangeable backends: a matrix product in JAX, and a k-d tree in SciPy.

Both take float32 points and give squared Euclidean distances; with eps = 0 they find the same neighbors, up to ties and
rounding.
"""
from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

# (queries float32 [N,D]) -> (squared distances float32 [N,k], indices int64 [N,k]), nearest first
Search = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
BACKENDS = ("auto", "exact", "tree")

_BLOCK = 1 << 26                     # entries of the distance matrix that are held at a time: 256 MB


def nearest(keys: np.ndarray, *, k: int = 1, backend: str = "auto", eps: float = 0.0) -> Search:
    """A search among `keys`.

    Args:
      keys: float32 [K,D].
      k: how many neighbors; at most K.
      backend: "exact", "tree", or "auto": exact on an accelerator, tree on a CPU.
      eps: of the tree: found neighbors are at most 1 + eps times as far as the nearest.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; choose one of {', '.join(BACKENDS)}")
    if backend == "auto":
        backend = _backend_of_machine()
    return exact(keys, k=k) if backend == "exact" else tree(keys, k=k, eps=eps)


@functools.cache
def _backend_of_machine() -> str:
    import jax

    return "tree" if jax.default_backend() == "cpu" else "exact"


def tree(keys: np.ndarray, *, k: int = 1, eps: float = 0.0) -> Search:
    """By `scipy.spatial.KDTree`. Fast for up to about 20 dimensions."""
    from scipy.spatial import KDTree

    # Balanced nodes are split at the median, which takes long where many patches of a flat region are equal.
    index = KDTree(keys, leafsize=16, balanced_tree=False)

    def search(queries):
        ranks = [*range(1, k + 1)]   # as a list they keep their axis where k is 1
        distances, found = index.query(queries, k=ranks, eps=eps, workers=-1)  # pyright: ignore[reportArgumentType]
        return np.square(distances, dtype=np.float32), np.asarray(found)

    return search


def exact(keys: np.ndarray, *, k: int = 1) -> Search:
    """By all distances, |q|^2 + |k|^2 - 2 q.k, in JAX, in blocks that fit into memory."""
    import jax.numpy as jnp

    center = keys.mean(0)            # smaller numbers cancel less in the sum above
    points = jnp.asarray(keys - center)
    most = 1 << max(0, (_BLOCK // len(keys)).bit_length() - 1)

    def search(queries):
        distances, found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        for i in range(0, len(queries), most):
            part = queries[i : i + most] - center
            n = len(part)
            # Few shapes, few compilations.
            part = np.pad(part, ((0, (1 << (n - 1).bit_length()) - n), (0, 0)))
            d, f = _nearest()(part, points, k)
            distances[i : i + n], found[i : i + n] = np.asarray(d)[:n], np.asarray(f)[:n]
        return distances, found

    return search


@functools.cache
def _nearest():
    import jax
    import jax.numpy as jnp

    @functools.partial(jax.jit, static_argnums=2)
    def nearest(queries, keys, k):
        products = jnp.matmul(queries, keys.T, precision=jax.lax.Precision.HIGHEST)
        _, found = jax.lax.top_k(2 * products - jnp.sum(keys**2, -1), k)
        return jnp.sum((queries[:, None] - keys[found]) ** 2, -1), found

    return nearest
