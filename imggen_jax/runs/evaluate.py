"""Held-out figures of games that have them, such as a VAE's ELBO: means over a whole split."""
from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from imggen_jax.data import Dataset
from imggen_jax.game import Game


def evaluator(game: Game, held_out: Dataset | None, batch: int, seed: int) -> Callable:
    """A function (weights) -> {"test/<name>": mean over the split}; {} where the game or the data have nothing to say.

    The random numbers are the same each time, so that two evaluations differ by the weights alone.
    """
    if game.evaluate is None or held_out is None:
        return lambda weights: {}
    compiled = jax.jit(game.evaluate)
    number = len(held_out.images)

    def evaluate(weights):
        sums: dict[str, float] = {}
        for start in range(0, number, batch):
            rows = np.arange(start, start + batch) % number  # the last batch is filled up; what it repeats is cut
            inputs = {"image": held_out.images[rows], "seen": np.float32(np.inf)}
            if held_out.labels is not None:
                inputs["label"] = held_out.labels[rows]
            values = compiled(weights, inputs, jax.random.fold_in(jax.random.key(seed), start))
            for name, each in values.items():
                sums[name] = sums.get(name, 0.0) + float(np.sum(np.asarray(each, np.float64)[: number - start]))
        return {f"test/{name}": total / number for name, total in sums.items()}

    return evaluate
