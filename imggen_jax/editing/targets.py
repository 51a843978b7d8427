"""Guided editing: a classifier leads a latent to where it sees the target value in the image.

A slider is a straight line. But where a value's region of the space is curved, a straight line to it crosses others,
and more so the farther it goes. To reach a value ("hair_color=blue", without an amount) the latent therefore descends
the cross-entropy of a classifier's prediction with the target, through the generator's own images, while a divergence
keeps every other attribute where it was (in the spirit of StyleFlow, Abdal et al., arXiv 2008.02401, which flows along
attributes), and the change of pixels is kept small. The classifier that guides is not the one that judges: it was
trained from another seed.
"""
from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from imggen_jax.editing.space import moved, rows_of, take
from imggen_jax.evaluation.classifier import log_probabilities, shift, shift_distance
from imggen_jax.game import Classifier
from imggen_jax.model import Model
from imggen_jax.sampling import Latents

BLOCK = 16               # images of one program
STEPS, RATE = 50, 0.15   # of Adam, in standard deviations of the prior
TRIED = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)  # standard deviations along the gene, where the search may begin
KEEP = 0.5               # weight of what is to stay, beside that of the target
NEAR = 0.02              # weight of the squared distance
PIXELS = 10.0            # weight of the mean squared change of pixels
GRAIN = 0.1              # standard deviation of the noise in what the classifier is shown


def guide_to(model: Model, guide, latents: Latents, attribute: str, value: str, direction: np.ndarray) -> Latents:
    """Latents led to a value of an attribute, the others kept; their number is no part of the program.

    Args:
      model: a loaded model.
      guide: the classifier that leads, `evaluation.classifier.Labeller`.
      latents: of n images.
      attribute, value: of those that the guide knows.
      direction: float [D], of the gene, in whitened coordinates.

    Returns:
      Latents of n images, conditioned as before.
    """
    place = guide.names.index(attribute)
    sizes = tuple(len(values) for values in guide.values)
    target = sum(sizes[:place]) + guide.values[place].index(value)
    there = model.space()
    lead = _leader(model.sampler.decode, guide.classifier, guide.shifted)
    weights, eyes = jax.device_put((model.weights, guide.weights), jax.local_devices()[0])
    found = []
    for start in range(0, len(latents.w), BLOCK):
        block = take(latents, np.minimum(np.arange(start, start + BLOCK), len(latents.w) - 1))
        found.append(np.asarray(lead(weights, eyes, there.mean, there.spread, there.whiten, block.w, dict(block.given),
                                     place, target, direction)))
    n = len(latents.w)
    return moved(np.concatenate(found)[:n], rows_of(latents.given, np.arange(n)))


@functools.lru_cache(maxsize=8)
def _leader(decode: Callable, classifier: Classifier, shifted: bool) -> Callable:
    """A compiled function of weights, the guide's weights, a space, latents [BLOCK,D], their fields, and the target.

    The classifier's prediction has no slope towards a value that is far away, so the search begins at the best place
    along the gene's straight line.
    """
    adam = optax.adam(optax.cosine_decay_schedule(RATE, STEPS, 0.1))

    @jax.jit
    def lead(weights, eyes, mean, spread, whiten, w, fields, place, target, direction):
        def image(u):
            return decode(weights, mean + u @ spread, fields)

        def see(images):  # log-probabilities of each attribute's values, a list of [BLOCK,values]
            return [jax.nn.log_softmax(each) for each in classifier.logits(eyes, images)]

        start = (w - mean) @ whiten
        original = image(start)
        before = log_probabilities(classifier, eyes, original, shifted)

        def objective(u, change=lambda images: images):  # float32 [BLOCK]
            images = image(u)
            after = see(change(images))
            miss = -jnp.take(jnp.concatenate(after, axis=-1), target, axis=-1)
            drift = jnp.stack([jnp.sum(jnp.exp(p) * (p - q), axis=-1) for p, q in zip(before, after)])  # [K,BLOCK]
            others = jnp.arange(len(before))[:, None] != place
            return (miss + KEEP * jnp.sum(jnp.where(others, drift, 0), axis=0)
                    + NEAR * jnp.sum(jnp.square(u - start), axis=-1)
                    + PIXELS * jnp.mean(jnp.square(images - original), axis=(1, 2, 3)))

        def step(carry, key):
            u, state = carry
            updates, state = adam.update(jax.grad(lambda u: jnp.sum(objective(u, _disturb(key, shifted))))(u), state)
            return (optax.apply_updates(u, updates), state), None

        tried = jnp.stack([start + far * direction for far in TRIED])
        best = jnp.argmin(jax.lax.map(objective, tried), axis=0)
        u = jnp.take_along_axis(tried, best[None, :, None], axis=0)[0]
        u = jax.lax.scan(step, (u, adam.init(u)), jax.random.split(jax.random.key(0), STEPS))[0][0]
        return (mean + u @ spread).astype(jnp.float32)

    return lead


def _disturb(key, shifted: bool) -> Callable:
    """Images [n,S,S,C] -> the same with noise, all moved by a few pixels if the classifier has learned from such ones:
    what convinces it of these convinces others too (expectation over transformations, arXiv 1707.07397)."""
    place, noise = jax.random.split(key)

    def change(images):
        images += GRAIN * jax.random.normal(noise, images.shape)
        if not shifted:
            return images
        far = shift_distance(images.shape[1])
        down, right = jax.random.randint(place, (2,), -far, far + 1)
        return shift(images, down, right)

    return change
