"""From pictures of one kind to another, without pairs: CUT (arXiv 2007.15651) and CycleGAN (arXiv 1703.10593).

Both play translators against discriminators of patches; they differ in what ties a picture to the one it is made from.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax import losses
from imggen_jax import spec as specs
from imggen_jax.augment import to_float
from imggen_jax.game import Array, Batch, Clock, Game, Generator, Key, Mutable, Params, Spec, Weights
from imggen_jax.nets.translating import network

# Directions of each method: from the field, to the field.
BOTH = {"a_to_b": ("source", "image"), "b_to_a": ("image", "source")}
METHODS = {"cut": {"a_to_b": BOTH["a_to_b"]}, "cyclegan": BOTH}


class Heads(nn.Module):
    """For each map a perceptron of two layers to vectors of length one (CUT, appendix C.2)."""

    width: int

    @nn.compact
    def __call__(self, maps: Sequence[Array]) -> list[Array]:
        """float [B,P,C] each -> float32 [B,P,width] each."""
        found = []
        for x in maps:
            x = nn.Dense(self.width)(nn.relu(nn.Dense(self.width)(x.astype(jnp.float32))))
            found.append(x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-12))
        return found


def make(
    spec: Spec,
    *,
    dtype: str,
    generator: Mapping[str, Any],
    discriminator: Mapping[str, Any],
    method: str = "cut",
    loss: str = "least_squares",
    r1: float = 0.0,
    r2: float = 0.0,
    identity: float = 0.5,
    nce: float = 1.0,
    temperature: float = 0.07,
    patches: int = 256,
    heads: int = 256,
    cycle: float = 10.0,
    pool: int = 0,
) -> Game:
    """The game of one translator, "a_to_b", or of two, "a_to_b" and "b_to_a", each against a discriminator.

    Published: the networks resnet and patchgan with width 64 and norm="instance", loss="least_squares". CUT as the
    defaults say; FastCUT is identity=0 and nce=10. CycleGAN is method="cyclegan", pool=50.

    Args:
      spec: fields of an example: "source", a picture of kind A, and "image", one of kind B, which need not belong
        together.
      dtype: of the computations inside the networks, "float32" or "bfloat16".
      generator: `name`, a module of imggen_jax/nets with a `Translator`, and arguments of that class.
      discriminator: the same of a `Discriminator` of patches.
      method: "cut" or "cyclegan".
      loss: of the two players: "relativistic", "least_squares", "non_saturating" or "hinge".
      r1, r2: gamma of the zero-centered gradient penalty of each patch, on real and on made pictures; 0 for none.
      identity: what a translator does to a picture that is of its target kind already, nothing, in terms of the loss:
        the share of CUT's contrast that is of such pictures; CycleGAN's weight as a share of `cycle`.
      nce, temperature, patches, heads: of CUT: weight of the contrast, its temperature, places of each map that are
        compared, and width of the heads.
      cycle: weight of CycleGAN's mean absolute difference after a way there and back.
      pool: how many made pictures the discriminators remember (arXiv 1612.07828, section 2.3); 0 for none.

    Raises:
      ValueError: no source, kinds that differ in size or (CycleGAN, identity) in channels, or an unknown option.
    """
    adversarial = losses.patchwise(loss)
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose from {', '.join(METHODS)}")
    shapes = _shapes(spec, same=method == "cyclegan" or identity > 0)
    ways = METHODS[method]
    nets = {way: network("Translator", dtype, channels=shapes[to][2], **generator) for way, (_, to) in ways.items()}
    d, f = network("Discriminator", dtype, **discriminator), Heads(heads)

    def init(key: Key, spec: Spec):
        del spec  # the same as above
        mine, theirs, memory = {}, {}, {}
        for number, (way, (source, to)) in enumerate(ways.items()):
            key_g, key_d = jax.random.split(jax.random.fold_in(key, number))
            mine[way] = nets[way].init(key_g, jnp.zeros((1, *shapes[source])))["params"]
            theirs[way] = d.init(key_d, jnp.zeros((1, *shapes[to])))["params"]
            memory |= {way: jnp.zeros((pool, *shapes[to]), jnp.uint8)} if pool else {}
        if method == "cut":
            maps = nets["a_to_b"].apply({"params": mine["a_to_b"]}, jnp.zeros((1, *shapes["source"])), method="maps")
            mine["heads"] = f.init(key, [each.reshape(1, -1, each.shape[-1]) for each in maps])["params"]
        return {"generator": mine, "discriminator": theirs}, {"pool": memory} if pool else {}

    def translate(weights: Weights, way: str, x: Array):
        return nets[way].apply({"params": weights["generator"][way]}, x)

    def judge(params: Params, way: str):
        return lambda x: d.apply({"params": params["discriminator"][way]}, x)

    def discriminator_loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        scalars, memory = {}, {}
        for number, (way, (source, to)) in enumerate(ways.items()):
            made = translate(params, way, to_float(batch[source]))
            if pool:
                made, memory[way] = remember(mutable["pool"][way], made, clock.images_seen,
                                             jax.random.fold_in(key, number))
            found = losses.judge_patches(adversarial, judge(params, way), to_float(batch[to]), made, r1, r2)
            scalars |= {f"{name}_{way}": jnp.mean(value) for name, value in found._asdict().items()}
        value = jnp.sum(jnp.stack([scalars[f"loss_{way}"] for way in ways]))
        return value, ({"pool": memory} if pool else mutable, {"loss": value, **scalars})

    def contrast(params: Params, made: Array, source: Array, key: Key):
        """CUT: what is at a place of a made picture tells the same place of its source from others: [B]."""
        maps = [nets["a_to_b"].apply({"params": params["generator"]["a_to_b"]}, x, method="maps")
                for x in (made, source)]
        rows = [_places(each, patches, jax.random.fold_in(key, number)) for number, each in enumerate(maps[0])]
        queries, keys = (cast(Any, f.apply({"params": params["generator"]["heads"]}, [
            each.reshape(len(each), -1, each.shape[-1])[:, at] for each, at in zip(one, rows)])) for one in maps)
        terms = [losses.patch_nce(q, jax.lax.stop_gradient(k), temperature) for q, k in zip(queries, keys)]
        return sum(terms) / len(terms)

    def cut(params: Params, real: Batch, made: Batch, key: Key):
        key_made, key_same = jax.random.split(key)
        terms = (1 - identity) * contrast(params, made["a_to_b"], real["source"], key_made)
        if identity:
            same = translate(params, "a_to_b", real["image"])
            terms += identity * contrast(params, same, real["image"], key_same)
        return {"nce": nce * jnp.mean(terms)}

    def cyclegan(params: Params, real: Batch, made: Batch, key: Key):
        del key
        back = {"a_to_b": translate(params, "b_to_a", made["a_to_b"]),
                "b_to_a": translate(params, "a_to_b", made["b_to_a"])}
        found = {"cycle": cycle * sum(jnp.mean(jnp.abs(back[way] - real[ways[way][0]])) for way in ways)}
        if identity:
            found["identity"] = cycle * identity * sum(
                jnp.mean(jnp.abs(translate(params, way, real[to]) - real[to])) for way, (_, to) in ways.items())
        return found

    def generator_loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        del clock
        real = {field: to_float(batch[field]) for field in shapes}
        made = {way: translate(params, way, real[source]) for way, (source, _) in ways.items()}
        scalars = {f"deceive_{way}": jnp.mean(losses.deceive_patches(adversarial, judge(params, way), real[to],
                                                                     made[way])) for way, (_, to) in ways.items()}
        scalars |= (cut if method == "cut" else cyclegan)(params, real, made, key)
        value = jnp.sum(jnp.stack(list(scalars.values())))
        return value, (mutable, {"loss": value, **scalars})

    def model(way: str):
        source, _ = ways[way]
        return Generator(lambda key, n, condition: (), lambda weights, z, condition, options:
                         translate(weights, way, condition), lambda weights, fields: to_float(fields[source]),
                         needs=(source,))

    moves = (("discriminator", discriminator_loss), ("generator", generator_loss))
    return Game(init, moves, lambda params, mutable: {"generator": params["generator"]},
                {way: model(way) for way in ways})


def remember(memory: Array, made: Array, seen: Array, key: Array) -> tuple[Array, Array]:
    """Pictures for a discriminator, new and past ones, and what it remembers then.

    While there is room, every picture is remembered and shown. Then half of them change places with remembered ones.

    Args:
      memory: uint8 [P,H,W,C].
      made: float [B,H,W,C] in [-1,1].
      seen: float [], pictures made before.
      key: random key.
    """
    stored = jnp.round(127.5 * (made + 1)).astype(jnp.uint8)
    places = jax.random.randint(key, (len(made),), 0, len(memory))
    swaps = jax.random.bernoulli(jax.random.fold_in(key, 1), shape=(len(made),))

    def one(memory: Array, row: tuple[Array, ...]):
        picture, place, swap, number = row
        room = number < len(memory)
        place = jnp.where(room, number, place)
        past = memory[place]
        put = jnp.where(room | swap, picture, past)
        return memory.at[place].set(put), jnp.where(~room & swap, past, picture)

    numbers = (seen + jnp.arange(len(made))).astype(jnp.int32)
    memory, shown = jax.lax.scan(one, memory, (stored, places, swaps, numbers))
    return to_float(shown), memory


def _places(feature_map: Array, number: int, key: Array) -> Array:
    """Places of a map [B,h,w,C], drawn without repetition: int [min(number, h w)]."""
    every = feature_map.shape[1] * feature_map.shape[2]
    return jax.random.permutation(key, every)[:number]


def _shapes(spec: Spec, same: bool) -> dict[str, tuple[int, int, int]]:
    if "source" not in spec:
        raise ValueError("there is no field 'source' of pictures to translate; set config.data.pairs to unaligned for "
                         "a folder with A and B, or config.data.source to another dataset")
    shapes = {field: specs.image_shape(spec, field) for field in ("source", "image")}
    source, image = shapes.values()
    if source[:2] != image[:2] or same and source[2] != image[2]:
        raise ValueError("sources are {1}x{0} with {2} channels".format(*source) + " and images {1}x{0} with {2}; this "
                         "game needs one size".format(*image) + (" and as many channels" if same else ""))
    return shapes
