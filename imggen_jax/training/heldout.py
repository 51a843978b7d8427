"""Held-out figures of games that have them, such as a VAE's ELBO: means over a whole split."""
from __future__ import annotations

import contextlib
from collections.abc import Callable

import jax
import numpy as np

from imggen_jax import data
from imggen_jax.game import Game


def evaluator(game: Game, held_out: data.Dataset | data.Streamed | None, batch: int, seed: int) -> Callable:
    """A function (weights) -> {"test/<name>": mean over the split}; {} where the game or the data have nothing to say.

    The random numbers are the same each time, so that two evaluations differ by the weights alone.
    """
    if game.evaluate is None or held_out is None:
        return lambda weights: {}
    compiled = jax.jit(game.evaluate)
    number = held_out.shape[0]

    def rows(block):  # the last one is filled up; what it repeats is cut
        return data.gather(held_out, np.arange(block * batch, (block + 1) * batch) % number)

    def evaluate(weights):
        sums: dict[str, float] = {}
        blocks = data.ahead(rows, 0, -(-number // batch), threads=held_out.threads, buffer=2 * held_out.threads)
        with contextlib.closing(blocks):
            for start, inputs in zip(range(0, number, batch), blocks):
                inputs["seen"] = np.float32(np.inf)
                values = compiled(weights, inputs, jax.random.fold_in(jax.random.key(seed), start))
                for name, each in values.items():
                    sums[name] = sums.get(name, 0.0) + float(np.sum(np.asarray(each, np.float64)[: number - start]))
        return {f"test/{name}": total / number for name, total in sums.items()}

    return evaluate
