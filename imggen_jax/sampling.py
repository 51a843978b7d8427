"""Images from seeds and latents: image number s is the same image in a batch of 1 or 64, on one device or eight.

An image's last bit depends on the shape of the program that makes it and on its place in the batch. So every image is
made by one program of a fixed batch size, at the place that its seed gives it; what lies around it does not matter.
Everything in the package that makes images from a generator does it here.
"""
from __future__ import annotations

import collections
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax import samplers
from imggen_jax.game import Generator, Option, PyTree, Spec

# A program packs its weights anew for each call, so small images want large batches; large ones would want memory.
BLOCK = 256
LEAST, PIXELS = 16, 2**18
ENCODED = 100  # images that are encoded at a time
CENTER = 1024  # latents whose mean, behind an edit space, truncation draws to
DRAWN = -1     # a label that is to be drawn from the image's seed

TRUNCATION = Option(1.0, 0.0, math.inf, "factor on the latents; below 1 gives less variety and fewer failures")

Fields = Mapping[str, np.ndarray]  # what images are conditioned on, field -> [n, *shape]


class Latents(NamedTuple):
    """Latents of images in the space in which they are edited, one a row."""

    w: np.ndarray       # float32 [n,D]: z, or w behind an edit space, each image's arrays laid out as one vector
    given: Fields       # what the images are conditioned on
    places: np.ndarray  # int64 [n]: the place of each in the batch of the program that makes it


class Sampler(NamedTuple):
    """The compiled functions of a generator, whatever its weights. Images are NumPy, uint8 [n,H,W,C]."""

    # (weights, seeds, given, truncation=1.0) -> Latents; seeds: n integers from 0 to 2^32-1
    draw: Callable[..., Latents]
    # (weights, latents, options={}, check=None) -> images; options: as of `Generator.options`; check: is called at each
    # step of a sampler, from another thread, and stops it by an exception, see `samplers.watched`
    show: Callable[..., np.ndarray]
    # (weights, latents, options={}) -> the same before they are rounded, float32 [n,H,W,C] in [-1,1]
    render: Callable[..., np.ndarray]
    # (weights, w [n,D], fields, options={}) -> float32 [n,H,W,C]; to be differentiated, not compiled
    decode: Callable[..., jax.Array]
    # (weights, images uint8 [n,H,W,C], given) -> w float32 [n,D]; None for a generator without an encoder
    encode: Callable[..., jax.Array] | None
    # (weights, key, n, given of one image or {}) -> w float32 [n,D] from the prior; n is static
    prior: Callable[..., jax.Array]
    # (weights, seeds, fields, truncation) -> (w, fields with labels drawn); to be traced
    trace: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
    # (given) -> the batch size of the programs
    block: Callable[[Fields], int]
    # () -> None; lets go of the last weights, which are kept on the devices until others are used
    release: Callable[[], None]

    def sample(
        self, weights: PyTree, seeds: Sequence[int] | np.ndarray, given: Fields | None = None, truncation: float = 1.0,
        options: Mapping[str, float] | None = None,
    ) -> np.ndarray:
        """Images of seeds: uint8 [n,H,W,C]. Labels that the generator needs and that are not given are drawn."""
        return self.show(weights, self.draw(weights, seeds, given or {}, truncation), options or {})


_compiled: collections.OrderedDict[tuple, Sampler] = collections.OrderedDict()


def sampler(generator: Generator, spec: Spec) -> Sampler:
    """The sampler of a generator, compiled on first use and kept for all models of one game.

    Args:
      generator: its functions are the key under which the programs are kept.
      spec: the fields of the examples that it was trained on.
    """
    key = (generator.decode, generator.prior, generator.condition, spec)
    if key not in _compiled:
        _compiled[key] = _make(generator, spec)
        if len(_compiled) > 32:
            _compiled.popitem(last=False)
    return _compiled[key]


def _make(generator: Generator, spec: Spec) -> Sampler:
    enter = generator.edit_space.enter if generator.edit_space else lambda weights, z: z
    to_images = generator.edit_space.decode if generator.edit_space else generator.decode

    def one_latent(key, condition):
        row = jax.tree.map(lambda leaf: leaf[None], condition)
        return jax.tree.map(lambda leaf: leaf[0], generator.prior(key, 1, row))

    def to_w(weights, keys, condition, truncation):
        z = jax.vmap(one_latent)(keys, condition)
        if generator.edit_space is None:
            return _flat(jax.tree.map(lambda leaf: truncation * leaf, z), keys.shape[0])
        # To the mean of w (StyleGAN, arXiv 1812.04948, appendix B), since a mapping may not see how long z is.
        w, many = enter(weights, z), enter(weights, generator.prior(jax.random.key(0), CENTER, None))
        return _flat(jax.tree.map(
            lambda leaf, every: every.mean(0) + truncation * (leaf - every.mean(0)), w, many), keys.shape[0])

    @jax.jit
    def draw(weights, seeds, fields, truncation):  # uint32 [B], {field: [B,...]}, float32
        keys = jax.vmap(jax.random.key)(seeds)
        fields = {name: _drawn(keys, value, spec[name].classes) if name in spec else value
                  for name, value in fields.items()}
        return to_w(weights, keys, generator.condition(weights, fields), truncation), fields

    def decode(weights, w, fields, options):
        condition = generator.condition(weights, fields)
        example = jax.eval_shape(lambda weights, c: enter(weights, generator.prior(jax.random.key(0), w.shape[0], c)),
                                 weights, condition)
        return to_images(weights, _tree(w, example), condition, _resolved(generator, options))

    def encode(weights, images, fields):
        assert generator.encode is not None, "not compiled without an encoder"
        images = images.astype(jnp.float32) / 127.5 - 1
        z = generator.encode(weights, images, generator.condition(weights, fields))
        return _flat(enter(weights, z), images.shape[0])

    @functools.partial(jax.jit, static_argnames="n")
    def prior(weights, key, n, fields):
        many = {name: jnp.repeat(value[:1], n, axis=0) for name, value in fields.items()}
        condition = generator.condition(weights, many) if many or not generator.needs else None
        return _flat(enter(weights, generator.prior(key, n, condition)), n)

    def compiled(finish):
        @functools.partial(jax.jit, static_argnames="static")
        def program(weights, w, fields, dynamic, static, watch=None):
            with samplers.telling(watch):
                return finish(decode(weights, w, fields, {**dynamic, **dict(static)}))
        return program

    def block(given):
        if generator.batch is not None:
            return generator.batch
        shape: tuple[Any, ...] = next(
            (value.shape[1:3] for _, value in sorted(given.items()) if np.ndim(value) == 4), spec["image"].shape[:2])
        return min(BLOCK, max(LEAST, 2 ** int(math.log2(PIXELS / (shape[0] * shape[1])))))

    placed = _Placed()
    return Sampler(
        draw=functools.partial(_draw, draw, generator.needs, spec, block, placed),
        show=functools.partial(_show, compiled(to_uint8), block, placed, generator.options),
        render=functools.partial(_show, compiled(lambda images: images), block, placed, generator.options),
        decode=lambda weights, w, fields, options={}: decode(weights, w, fields, options),
        encode=None if generator.encode is None else jax.jit(encode),
        prior=prior, trace=draw, block=block, release=placed.release)


class _Placed:
    """The last weights, and their copy on each device."""

    def __init__(self):
        self._weights, self._copies = None, {}

    # None: where they are, on several devices.
    def on(self, weights: PyTree, device: jax.Device | None) -> PyTree:  # pyright: ignore[reportInvalidTypeForm]  JAX declares it as a variable
        if device is None:
            return weights
        if weights is not self._weights:
            self._weights, self._copies = weights, {}
        if device not in self._copies:
            self._copies[device] = jax.device_put(weights, device)
        return self._copies[device]

    def release(self) -> None:
        self._weights, self._copies = None, {}


def _draw(program, needs, spec, block, placed, weights, seeds, given, truncation=1.0) -> Latents:
    seeds = np.asarray(seeds, np.uint32)
    given = {name: np.asarray(value) for name, value in given.items()}
    given |= {name: np.full(len(seeds), DRAWN, np.int32) for name in needs if name not in given and spec[name].classes}
    size = block(given)
    places = seeds.astype(np.int64) % size

    def run(weights, rows):
        fields = {name: value[rows] for name, value in given.items()}
        return program(weights, seeds[rows], fields, np.float32(truncation))

    w, fields = _in_blocks(run, placed, weights, places, size)
    return Latents(w, fields, places)


def _show(program, block, placed, known, weights, latents, options=None, check=None) -> np.ndarray:
    resolved = {name: option.default for name, option in known.items()} | dict(options or {})
    static = tuple(sorted((name, int(value)) for name, value in resolved.items() if _static(known[name])))
    dynamic = {name: np.float32(value) for name, value in resolved.items() if not _static(known[name])}

    def run(weights, rows, watch=None):
        fields = {name: value[rows] for name, value in latents.given.items()}
        return program(weights, latents.w[rows], fields, dynamic, static=static, watch=watch)

    if check is None:
        return _in_blocks(run, placed, weights, latents.places, block(latents.given))
    with samplers.watched(check) as number:
        return _in_blocks(functools.partial(run, watch=number), placed, weights, latents.places, block(latents.given))


def _in_blocks(run: Callable, placed: _Placed, weights: PyTree, places: np.ndarray, size: int) -> Any:
    """run(weights, rows [size]) over blocks in which each row is at its place; a NumPy tree [n,...] in the old order.

    Empty places of a block repeat one of its rows.
    """
    running, out = {}, None

    def finish(device):
        nonlocal out
        group, result = running.pop(device)
        result = jax.tree.map(np.asarray, result)
        if out is None:
            out = jax.tree.map(lambda leaf: np.empty((len(places), *leaf.shape[1:]), leaf.dtype), result)
        for whole, part in zip(jax.tree.leaves(out), jax.tree.leaves(result), strict=True):
            whole[group] = part[places[group] % size]

    for device, group in zip(itertools.cycle([None] if is_spread(weights) else jax.local_devices()),
                             _groups(places % size)):
        rows = np.full(size, group[0])
        rows[places[group] % size] = group
        weights_here = placed.on(weights, device)
        if device in running:  # one block at a time: a CPU would run two at once, each in half of its caches
            finish(device)
        running[device] = group, run(weights_here, rows)  # where the weights are
    for device in list(running):
        finish(device)
    return out


def is_spread(weights: PyTree) -> bool:
    """Whether weights lie on several devices together, each with a part, as `pipelines.spread` puts them."""
    return any(isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1 for leaf in jax.tree.leaves(weights))


def _groups(places: np.ndarray) -> list[np.ndarray]:
    """Rows that fit into one block each: no two of a group have the same place."""
    times: dict[int, int] = {}  # place -> how often it came before
    groups: list[list[int]] = []
    for row, place in enumerate(places.tolist()):
        number = times[place] = times.get(place, -1) + 1
        if number == len(groups):
            groups.append([])
        groups[number].append(row)
    return [np.array(group) for group in groups]


def at_rows(w: np.ndarray, given: Fields) -> Latents:
    """Latents that no seed gave a place: each is made at the place of its row."""
    return Latents(w, given, np.arange(len(w)))


def reconstruct(sampler: Sampler, weights: PyTree, images: np.ndarray, given: Fields) -> np.ndarray:
    """The images of the encoder's latents of images: uint8 [n,H,W,C] -> the same."""
    assert sampler.encode is not None, "the generator has no encoder"
    n, made = len(images), []
    for start in range(0, n, ENCODED):  # programs of one size: the last rows are repeated
        rows = np.arange(start, start + min(ENCODED, n)) % n
        fields = {name: value[rows] for name, value in given.items()}
        w = np.asarray(sampler.encode(weights, images[rows], fields))
        made.append(sampler.show(weights, at_rows(w, fields))[:n - start])
    return np.concatenate(made)


def to_uint8(images: jax.Array) -> jax.Array:
    """float [-1,1] -> uint8 [0,255], rounded to the nearest."""
    return jnp.clip(jnp.round((images + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def _drawn(keys: jax.Array, values: jax.Array, classes: int) -> jax.Array:
    """Labels int32 [n] with those that are DRAWN taken from the keys; other fields as they are."""
    if not classes:
        return values
    drawn = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, 1), (), 0, classes))(keys)
    return jnp.where(values == DRAWN, drawn, values)


def _static(option: Option) -> bool:
    return isinstance(option.default, int) and not isinstance(option.default, bool)


def _resolved(generator: Generator, options: Mapping) -> dict:
    return {name: option.default for name, option in generator.options.items()} | dict(options)


def _flat(tree: PyTree, n: int) -> jax.Array:
    """A tree of latents as float32 [n,D]."""
    leaves = jax.tree.leaves(tree)
    return jnp.concatenate([leaf.reshape(n, -1) for leaf in leaves], axis=-1) if leaves else jnp.zeros((n, 0))


def _tree(w: jax.Array, example: PyTree) -> PyTree:
    """The inverse of `_flat`, to the structure, shapes and dtypes of an example."""
    leaves, structure = jax.tree.flatten(example)
    ends = np.cumsum([int(np.prod(leaf.shape[1:])) for leaf in leaves])
    parts = jnp.split(w, ends[:-1], axis=-1) if leaves else []
    return jax.tree.unflatten(structure, [
        part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in zip(parts, leaves)])


def seed_range(seed: int, num: int) -> range:
    """Seeds S, S+1, ... of a request.

    Raises:
      ValueError: a seed below 0 or above 2^32-1.
    """
    if seed < 0 or num < 1 or seed + num > 2**32:
        raise ValueError(f"images {seed} to {seed + num - 1}: seeds go from 0 to {2**32 - 1}, and at least one")
    return range(seed, seed + num)
