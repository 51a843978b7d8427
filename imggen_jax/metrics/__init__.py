"""Scores of pictures: features of an iterable of pictures -> statistics that stream and merge -> scores.

    from imggen_jax import metrics
    report = metrics.compute(real, fake, space="inception")   # arrays, iterables, folders or .npz files

`metrics.compute` computes everything; the modules hold each score as a function of feature vectors.
"""
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imggen_jax.metrics.computing import compute

__all__ = ["compute"]


def __getattr__(name: str) -> Any:
    # Late, since most modules here need NumPy alone.
    if name == "compute":
        from imggen_jax.metrics.computing import compute

        return compute
    raise AttributeError(f"module 'imggen_jax.metrics' has no attribute {name!r}")
