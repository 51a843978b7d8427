"""How likely held-out pictures are under a VAE: the ELBO and the importance-weighted bound, in nats and bits."""
from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax.data import Dataset, Streamed
from imggen_jax.errors import RunError
from imggen_jax.game import Game, PyTree, Spec

MOST = 5_000  # samples a picture


def check_samples(samples: int) -> None:
    """Raises RunError for a number out of range."""
    if not 1 <= samples <= MOST:
        raise RunError(f"{samples} samples a picture; take 1 to {MOST:,}")


def bound(game: Game, weights: PyTree, spec: Spec, held_out: Dataset | Streamed, *, samples: int, batch: int, seed: int,
          number: int = 0) -> Mapping[str, float]:
    """Bounds on the log-probability of held-out pictures. Samples are streamed: memory does not grow with them.

    Args:
      game, weights, spec: of a run whose game has `importance`.
      held_out: pictures, and labels where the model is conditional.
      samples: z drawn for each picture, k, 1 to 5,000; the bound rises with it.
      batch: pictures at a time; the figures do not depend on it but for rounding.
      seed: of all that is drawn.
      number: pictures, the first ones; 0 for all.

    Returns:
      importance_bound and elbo (of the same samples), nats per picture; bits_per_dim of the former; their standard
      errors over pictures, `..._error`; samples and pictures.

    Raises:
      RunError: a game without a likelihood, or a number out of range.
    """
    if game.importance is None:
        raise RunError("this run's game has no likelihood; it is a VAE that has one")
    check_samples(samples)
    count = min(number or held_out.shape[0], held_out.shape[0])

    @jax.jit
    def run(weights, inputs, keys, samples):
        # A picture's random numbers are its own, so that they do not depend on the batch it comes in.
        def one(inputs, key):
            inputs = {**jax.tree.map(lambda leaf: leaf[None], inputs), "seen": jnp.float32(jnp.inf)}
            key_x, key_z = jax.random.split(key)
            draw = game.importance(weights, inputs, key_x)

            def add(i, carry):  # the running maximum, the sum of exp relative to it, and the plain sum
                largest, total, plain = carry
                w = draw(jax.random.fold_in(key_z, i))[0]
                new = jnp.maximum(largest, w)
                return new, total * jnp.exp(largest - new) + jnp.exp(w - new), plain + w

            start = jnp.float32(-jnp.inf), jnp.float32(0), jnp.float32(0)
            largest, total, plain = jax.lax.fori_loop(0, samples, add, start)
            return largest + jnp.log(total) - jnp.log(samples), plain / samples

        return jax.vmap(one)(inputs, keys)

    found = []
    for start in range(0, count, batch):
        rows = np.arange(start, start + batch) % count  # the last batch is filled up; what it repeats is cut
        images, labels = held_out.read(rows)
        inputs = {"image": images} | ({"label": labels} if spec.classes else {})
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(rows)
        found.append(np.stack(run(weights, inputs, keys, np.int32(samples)), -1)[:count - start])
    values = np.concatenate(found).astype(np.float64)
    mean, error = values.mean(axis=0), values.std(axis=0) / math.sqrt(count)
    bits = 1 / (spec.size**2 * spec.channels * math.log(2))
    return {"importance_bound": float(mean[0]), "importance_bound_error": float(error[0]), "elbo": float(mean[1]),
            "elbo_error": float(error[1]), "bits_per_dim": float(-mean[0] * bits), "samples": samples,
            "pictures": count}
