"""Metrics of held-out examples, such as a VAE's ELBO: means over a whole split."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import jax
import numpy as np

from imggen_jax import data
from imggen_jax.game import Game, PyTree


def evaluator(
    game: Game, held_out: data.Dataset | None, batch: int, seed: int, pretrained: Mapping[str, PyTree] | None = None
) -> Callable:
    """A function (weights) -> {"test/<name>": mean over the split}; {} without metrics or held-out data.

    The random numbers are the same each time, so that two evaluations differ by the weights alone.
    """
    if game.metrics is None or held_out is None:
        return lambda weights: {}
    compiled = jax.jit(game.metrics)
    number = held_out.length

    def rows(block):  # the last one is filled up; what it repeats is cut
        return held_out.read(np.arange(block * batch, (block + 1) * batch) % number)

    def evaluate(weights):
        weights = {**weights, **(pretrained or {})}
        sums: dict[str, float] = {}
        blocks = data.ahead(rows, 0, -(-number // batch), threads=held_out.threads, buffer=2 * held_out.threads)
        with contextlib.closing(blocks):
            for start, inputs in zip(range(0, number, batch), blocks):
                values = compiled(weights, inputs, jax.random.fold_in(jax.random.key(seed), start))
                for name, each in values.items():
                    sums[name] = sums.get(name, 0.0) + float(np.sum(np.asarray(each, np.float64)[: number - start]))
        return {f"test/{name}": total / number for name, total in sums.items()}

    return evaluate
