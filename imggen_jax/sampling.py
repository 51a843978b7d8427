"""Pictures from seeds: picture number k is the same picture in a batch of 1 or 64, on one device or eight."""
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax.game import Generator, PyTree, Spec

# A picture's last bit depends on the shape of the program that makes it and on its place in the batch. So every picture
# is made in a program of this batch size, at the place that its seed gives it; what lies around it does not matter. A
# program packs its weights anew for each call, so small pictures want large batches; large ones would want memory.
BLOCK = 256
LEAST, PIXELS = 16, 2**18
CENTRE = 1024  # latents whose mean, after a mapping network, truncation draws to


def sampler(generator: Generator, spec: Spec) -> Callable:
    """A function (weights, seeds, labels, truncation) -> images uint8 [n,S,S,C].

    weights: as `generator.decode` reads them. seeds: n integers from 0 to 2^32-1, one for each picture.
    labels: n integers, or None; without them a class-conditional model draws one from each seed.
    truncation: factor on the latents; below 1 gives less variety and fewer failures, 0 the mean picture.
    """
    size = min(BLOCK, max(LEAST, 2 ** int(math.log2(PIXELS / spec.size**2))))

    @jax.jit
    def block(weights, seeds, labels, truncation):  # uint32 [size], int32 [size] (-1: drawn), float32
        keys = jax.vmap(jax.random.key)(seeds)
        w = latents(generator, weights, keys, truncation)
        return to_uint8((generator.synthesis or generator.decode)(weights, w, drawn_labels(keys, labels, spec)))

    kept = None, {}  # the last weights, and their copy on each device

    def sample(weights, seeds, labels=None, truncation=1.0):
        nonlocal kept
        seeds = np.asarray(seeds, np.uint32)
        labels = np.full(len(seeds), -1, np.int32) if labels is None else np.asarray(labels, np.int32)
        images = np.empty((len(seeds), spec.size, spec.size, spec.channels), np.uint8)
        if weights is not kept[0]:
            kept = weights, {}
        copies, made = kept[1], {}
        for device, (rows, *inputs) in zip(itertools.cycle(jax.local_devices()), _blocks(seeds, labels, size)):
            if device not in copies:
                copies[device] = jax.device_put(weights, device)
            if device in made:  # one block at a time: a CPU would run two at once, each in half of its caches
                _put(images, *made[device])
            made[device] = rows, block(copies[device], *inputs, np.float32(truncation))  # where the weights are
        for rows, pictures in made.values():
            _put(images, rows, pictures)
        return images

    return sample


def latents(generator: Generator, weights, keys: jax.Array, truncation) -> PyTree:
    """One latent from each key, in the space that pictures are edited in: w where there is a mapping, else z.

    Truncation multiplies z; w it draws to the mean (StyleGAN, arXiv 1812.04948, appendix B), since a mapping may not
    see how long z is.
    """
    z = jax.vmap(lambda key: jax.tree.map(lambda leaf: leaf[0], generator.prior(key, 1)))(keys)
    if generator.mapping is None:
        return jax.tree.map(lambda leaf: truncation * leaf, z)
    w = generator.mapping(weights, z)
    many = generator.mapping(weights, generator.prior(jax.random.key(0), CENTRE))
    return jax.tree.map(lambda leaf, all: all.mean(0) + truncation * (leaf - all.mean(0)), w, many)


def _put(images: np.ndarray, rows: list[tuple[int, int]], pictures: jax.Array) -> None:
    """Pictures of a block to their rows; rows: [(row, place in the block)]."""
    rows, places = zip(*rows)
    images[list(rows)] = np.asarray(pictures)[list(places)]


def to_uint8(images: jax.Array) -> jax.Array:
    """float [-1,1] -> uint8 [0,255], rounded to the nearest."""
    return jnp.clip(jnp.round((images + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def drawn_labels(keys: jax.Array, labels: jax.Array, spec: Spec) -> jax.Array | None:
    """Labels int32 [n] with those that are -1 drawn from their keys; None for a model without classes."""
    if not spec.classes:
        return None
    drawn = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, 1), (), 0, spec.classes))(keys)
    return jnp.where(labels < 0, drawn, labels)


def _blocks(seeds: np.ndarray, labels: np.ndarray, size: int):
    """Groups pictures that one program makes: ([(row, place in the block)], seeds [size], labels [size])."""
    groups: list[tuple[list, np.ndarray, np.ndarray]] = []
    where: dict[tuple[int, int], int] = {}  # (the block's first seed, how often this seed came before) -> its group
    times: dict[int, int] = {}
    for row, (seed, label) in enumerate(zip(seeds.tolist(), labels.tolist(), strict=True)):
        times[seed] = times.get(seed, -1) + 1
        place = seed % size
        key = (seed - place, times[seed])
        if key not in where:
            where[key] = len(groups)
            first = np.uint32(seed - place)
            groups.append(([], first + np.arange(size, dtype=np.uint32), np.full(size, -1, np.int32)))
        rows, _, block_labels = groups[where[key]]
        rows.append((row, place))
        block_labels[place] = label
    return groups


def seed_range(seed: int, num: int) -> Sequence[int]:
    """Seeds S, S+1, ... of a request.

    Raises:
      ValueError: a seed below 0 or above 2^32-1.
    """
    if seed < 0 or num < 1 or seed + num > 2**32:
        raise ValueError(f"pictures {seed} to {seed + num - 1}: seeds go from 0 to {2**32 - 1}, and at least one")
    return range(seed, seed + num)
