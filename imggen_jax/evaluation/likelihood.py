"""How likely held-out images are under a VAE: the ELBO and the importance-weighted bound, in nats and bits.

The bound with k samples is log 1/k sum_i p(x, z_i) / q(z_i | x) (Burda et al., arXiv 1509.00519, eq. 8).
"""
from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax import spec as specs
from imggen_jax.data import Dataset
from imggen_jax.errors import RunError
from imggen_jax.evaluation.context import Context, Terms, image_shape, require_held_out
from imggen_jax.game import Game, PyTree, Spec

MOST = 5_000  # samples for each image
BATCH = 20    # images, each with its samples


def check(context: Context) -> None:
    """Raises RunError for a game without a likelihood, no held-out images, or a number of samples out of range."""
    require_held_out(context, "likelihood")
    check_game(context.model.game)
    check_samples(context.terms.samples)
    image_shape(context.model.spec)


def evaluate(context: Context) -> dict:
    """The importance-weighted bound on held-out images: see `bound`."""
    model, terms = context.model, context.terms
    held_out = require_held_out(context, "likelihood")
    return dict(bound(model.game, model.weights, model.spec, held_out, samples=terms.samples,
                      batch=BATCH, seed=terms.seed, number=terms.num))


def stem(terms: Terms) -> str:
    """What a result depends on beside num, resamples and seed."""
    return f"k{terms.samples}"


def check_game(game: Game) -> None:
    """Raises RunError for a game without a likelihood."""
    if game.importance is None:
        raise RunError("likelihood: the game of this run has none; train a VAE")


def check_samples(samples: int) -> None:
    """Raises RunError for a number out of range."""
    if not 1 <= samples <= MOST:
        raise RunError(f"{samples} samples for each image; take 1 to {MOST:,}")


def bound(game: Game, weights: PyTree, spec: Spec, held_out: Dataset, *, samples: int, batch: int, seed: int,
          number: int = 0) -> Mapping[str, float]:
    """Bounds on the log-probability of held-out images. Samples are streamed: memory does not grow with them.

    Args:
      game, weights, spec: of a model whose game has `importance`.
      held_out: examples with the fields of `spec`.
      samples: z drawn for each image, k, 1 to 5,000; the bound rises with it.
      batch: images at a time; the results depend on it by rounding alone.
      seed: of all that is drawn.
      number: images, the first ones; 0 for all.

    Returns:
      importance_bound and elbo (of the same samples), nats per image; bits_per_dim of the former; their standard
      errors over images, `..._error`; samples and pictures.

    Raises:
      RunError: a game without a likelihood, or a number out of range.
    """
    check_game(game)
    check_samples(samples)
    count = min(number or held_out.length, held_out.length)

    @jax.jit
    def run(weights, inputs, keys, samples):
        # An image's random numbers are its own, so that they do not depend on the batch that it comes in.
        def one(inputs, key):
            key_x, key_z = jax.random.split(key)
            assert game.importance is not None, "check_game"
            draw = game.importance(weights, jax.tree.map(lambda leaf: leaf[None], inputs), key_x)

            def add(i, carry):  # the running maximum, the sum of exp relative to it, and the plain sum
                largest, total, plain = carry
                w = draw(jax.random.fold_in(key_z, i))[0]
                new = jnp.maximum(largest, w)
                return new, total * jnp.exp(largest - new) + jnp.exp(w - new), plain + w

            start = jnp.float32(-jnp.inf), jnp.float32(0), jnp.float32(0)
            largest, total, plain = jax.lax.fori_loop(0, samples, add, start)
            return largest + jnp.log(total) - jnp.log(samples), plain / samples

        return jax.vmap(one)(inputs, keys)

    parts = []
    for start in range(0, count, batch):
        rows = np.arange(start, start + batch) % count  # the last batch is filled up; repeated rows are cut
        examples = held_out.read(rows)
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(rows)
        values = run(weights, {name: examples[name] for name in spec}, keys, np.int32(samples))
        parts.append(np.stack(values, -1)[:count - start])
    values = np.concatenate(parts).astype(np.float64)
    mean, error = values.mean(axis=0), values.std(axis=0) / math.sqrt(count)
    bits = 1 / (math.prod(specs.image_shape(spec)) * math.log(2))
    return {"importance_bound": float(mean[0]), "importance_bound_error": float(error[0]), "elbo": float(mean[1]),
            "elbo_error": float(error[1]), "bits_per_dim": float(-mean[0] * bits), "samples": samples,
            "pictures": count}
