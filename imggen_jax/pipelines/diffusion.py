"""Stable Diffusion as a `Generator`: latents are denoised under a prompt, and decoded (arXiv 2112.10752, 2307.01952).

A picture that is given ("source") is taken up in the middle, as far from its end as `strength` says (SDEdit, arXiv
2108.01073); with a "mask" only what is white in it is made anew (arXiv 2206.02779 for the models that were not trained
for it).
"""
from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from imggen_jax import samplers, schedules
from imggen_jax.augment import to_float
from imggen_jax.errors import RunError
from imggen_jax.game import Array, Condition, Field, Game, Generator, Key, Option, Options, Spec, Weights, make_spec
from imggen_jax.nets.autoencoder_kl import Decoder, Encoder
from imggen_jax.nets.clip import ClipText
from imggen_jax.nets.unet_condition import UNetCondition
from imggen_jax.pipelines import texts
from imggen_jax.pipelines.texts import Said
from imggen_jax.schedules import SAMPLERS, Trained

MASKED = 5  # channels that an inpainting U-Net sees beside the latents: the mask, and the picture without what it hides


class Recipe(NamedTuple):
    """What makes a model's functions; hashable, so that models of one kind share their programs."""

    unet: UNetCondition
    encoder: Encoder
    decoder: Decoder
    texts: tuple[ClipText, ...]
    trained: Trained
    channels: int                 # of the latents
    scaling: float                # latents are (the encoder's means - shift) times it
    shift: float
    inpainting: bool              # whether the U-Net sees a mask
    zeros: bool                   # without anything to avoid, the text to avoid is zeros
    names: tuple[str, ...]        # of the text field
    empty: tuple[int, ...]        # tokens of an empty prompt
    height: int                   # of pictures; multiples of `factor`
    width: int
    defaults: tuple[tuple[str, float], ...]  # of options, where they are not those of every model
    # Whether one batch holds what is predicted with the prompt and without it. In turn, the program has the network
    # once in place of three times, and on a CPU that is as fast.
    together: bool

    @property
    def xl(self) -> bool:
        """Whether it is SDXL, which is told of sizes, and reads two encoders before their last layer."""
        return self.unet.time_ids > 0

    @property
    def factor(self) -> int:
        """Sides of pictures over those of latents."""
        return 2 ** (len(self.encoder.widths) - 1)

    def spec(self) -> Spec:
        """The fields of the model; "image" is what it makes."""
        picture = Field((self.height, self.width, self.decoder.channels), "uint8")
        return make_spec(image=picture, mask=Field((self.height, self.width, 1), "uint8"),
                         text=Field((None,), "int32", self.names))


@functools.lru_cache(maxsize=8)
def make(recipe: Recipe) -> Game:
    """The game of a model that nobody trains."""
    shape = (recipe.height // recipe.factor, recipe.width // recipe.factor, recipe.channels)
    main = Generator(
        functools.partial(_prior, shape), functools.partial(_decode, recipe), functools.partial(_condition, recipe),
        needs=("text",), options=_options(recipe), batch=1,
        accepts={"negative": "text", "source": "image", "mask": "mask"})
    return Game(lambda key, spec: ({}, {}), (), lambda params, mutable: params, {"main": main})


def _options(recipe: Recipe) -> dict[str, Option]:
    named = ", ".join(f"{number} {name}" for number, name in enumerate(SAMPLERS) if name != "flow_euler")
    found = {"steps": Option(30, 1, 250, "steps of the sampler"),
             "sampler": Option(SAMPLERS.index(recipe.trained.sampler), 0, len(SAMPLERS) - 1, named),
             "guidance": Option(7.5, 0.0, 50.0, "how strictly the prompt is followed; 1 as trained"),
             "strength": Option(0.8, 0.01, 1.0, "of a picture that is given, how much is made anew")}
    # A whole number is compiled into a program, and any other is its input.
    return found | {name: found[name]._replace(default=type(found[name].default)(value))
                    for name, value in recipe.defaults}


def _prior(shape: tuple[int, ...], key: Key, n: int, condition: Condition) -> Array:
    del condition
    return jax.random.normal(key, (n, *shape))


def _condition(recipe: Recipe, weights: Weights, fields: Mapping[str, Array]) -> dict[str, Any]:
    """What is said and what is to be avoided, the latents of the source, and the mask.

    Raises:
      RunError: a mask without a source.
    """
    if "mask" in fields and "source" not in fields:
        raise RunError("a mask is given, and no source of which a part is made anew; give both")

    def say(tokens: Array) -> Said:
        return texts.say(recipe.texts, weights, tokens, before_last=recipe.xl)

    said = say(fields["text"])
    if "negative" in fields:
        said, avoided = texts.alike(said, say(fields["negative"]), say(jnp.asarray(texts.blank(recipe.empty))))
    elif recipe.zeros:
        avoided = jax.tree.map(jnp.zeros_like, said)
    else:
        nothing = say(jnp.asarray(texts.blank(recipe.empty)))
        said, avoided = texts.alike(said, jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (len(said.text), *leaf.shape[1:])), nothing), nothing)
    found: dict[str, Any] = {"with": said, "without": avoided}
    if "source" in fields:
        pixels = to_float(fields["source"])
        mask = fields["mask"].astype(jnp.float32) / 255 if "mask" in fields else None
        found |= {"pixels": pixels, "mask": mask, "source": latents(recipe, weights, pixels)}
        if recipe.inpainting:
            hidden = jnp.ones_like(pixels[..., :1]) if mask is None else (mask >= 0.5).astype(jnp.float32)
            found["seen"] = latents(recipe, weights, pixels * (1 - hidden))
    return found


def latents(recipe: Recipe, weights: Weights, pixels: Array) -> Array:
    """Pictures float [n,H,W,C] in [-1,1] -> the means of their latents, float32 [n,h,w,c], of about unit variance."""
    moments = cast(Array, recipe.encoder.apply({"params": weights["encoder"]}, pixels))
    return (moments[..., :recipe.channels] - recipe.shift) * recipe.scaling


def pictures(recipe: Recipe, weights: Weights, z: Array) -> Array:
    """Latents -> pictures float32 [n,H,W,C] in [-1,1]."""
    made = recipe.decoder.apply({"params": weights["decoder"]}, z / recipe.scaling + recipe.shift)
    return jnp.clip(cast(Array, made), -1, 1)


def _decode(recipe: Recipe, weights: Weights, z: Array, condition: Condition, chosen: Options) -> Array:
    chosen = {name: option.default for name, option in _options(recipe).items()} | dict(chosen)
    made = pictures(recipe, weights, denoised(recipe, weights, z, condition, chosen))
    if condition.get("mask") is None:
        return made
    return condition["mask"] * made + (1 - condition["mask"]) * condition["pixels"]


def denoised(recipe: Recipe, weights: Weights, z: Array, condition: Condition, chosen: Options) -> Array:
    """Noise float [n,h,w,c] of variance 1 -> latents."""
    name, count = SAMPLERS[int(chosen["sampler"])], int(chosen["steps"])
    steps = schedules.make(name, recipe.trained, count)
    alphas, sigmas, source = jnp.asarray(steps.alphas), jnp.asarray(steps.sigmas), condition.get("source")
    first, begin, noise = 0, steps.start * z, z
    if source is not None:
        first = jnp.clip(count - jnp.floor(count * jnp.asarray(chosen["strength"]) + 1e-4).astype(int), 0, count - 1)
        begin = jnp.where(first > 0, alphas[first] * source + sigmas[first] * noise, begin)

    def after(z: Array, i: Array) -> Array:  # what is not made anew is the source's, as noisy as it is there
        hole = condition["mask"][:, ::recipe.factor, ::recipe.factor]
        still = jnp.where(i == count, condition["source"], alphas[i] * condition["source"] + sigmas[i] * noise)
        return hole * z + (1 - hole) * still

    blended = after if condition.get("mask") is not None and not recipe.inpainting else None
    denoise = _denoiser(recipe, weights, condition, steps, chosen["guidance"])
    if name.startswith("dpmpp_2m"):
        return samplers.multistep(denoise, begin, alphas, sigmas, jnp.asarray(steps.second), first, blended)
    if name == "plms":
        return samplers.plms(denoise, begin, alphas, sigmas, first, blended)
    fresh = jnp.asarray(steps.fresh) if steps.fresh.any() else None
    return samplers.ddim(denoise, begin, alphas, sigmas, fresh, functools.partial(_drawn, z), first, blended)


def _denoiser(recipe: Recipe, weights: Weights, condition: Condition, steps: schedules.Steps, guidance: Any
              ) -> samplers.Predict:
    """(z, number of the step) -> the mean of x given z, with guidance."""
    tables = {name: jnp.asarray(getattr(steps, name)) for name in ("times", "alphas", "sigmas", "keep", "gain")}
    beside = [_beside(recipe, weights, condition)] if recipe.inpainting else []

    def found(z: Array, i: Array, said: Said) -> Array:
        repeats = len(said.text) // len(z)
        x = jnp.concatenate([z, *(jnp.broadcast_to(each, (*z.shape[:3], MASKED)) for each in beside)], axis=-1)
        x = jnp.tile(x, (repeats, 1, 1, 1))
        sizes = jnp.array([recipe.height, recipe.width, 0, 0, recipe.height, recipe.width], jnp.float32)
        more = (said.vector, jnp.broadcast_to(sizes, (len(x), 6))) if recipe.xl else ()
        time = jnp.full(len(x), tables["times"][i])
        return cast(Array, recipe.unet.apply({"params": weights["unet"]}, x, time, said.text, *more))

    def alone(z: Array, i: Array) -> Array:
        return found(z, i, condition["with"])

    def both(z: Array, i: Array) -> tuple[Array, Array]:
        every = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), condition["with"], condition["without"])
        made = found(z, i, every)
        return made[:len(z)], made[len(z):]

    def in_turn(z: Array, i: Array) -> Array:
        every = jax.tree.map(lambda a, b: jnp.stack([a, b]), condition["with"], condition["without"])

        def one(k: Array, made: Array) -> Array:
            return made.at[k].set(found(z, i, jax.tree.map(lambda leaf: leaf[k], every)))

        made = jax.lax.fori_loop(0, jnp.where(jnp.asarray(guidance) == 1, 1, 2), one, jnp.zeros((2, *z.shape)))
        return made[1] + guidance * (made[0] - made[1])  # at guidance 1, made[1] is 0

    predict = samplers.guided(both, alone, guidance, -jnp.inf, jnp.inf) if recipe.together else in_turn

    def denoise(z: Array, i: Array) -> Array:
        alpha, sigma, made = tables["alphas"][i], tables["sigmas"][i], predict(z, i)
        if recipe.trained.prediction == "epsilon":
            made = (z - sigma * made) / alpha
        elif recipe.trained.prediction == "v_prediction":
            made = alpha * z - sigma * made
        return tables["keep"][i] * z + tables["gain"][i] * made

    return denoise


def _beside(recipe: Recipe, weights: Weights, condition: Condition) -> Array:
    """What an inpainting U-Net sees beside latents, float32 [n or 1,h,w,5]; all is hidden where nothing is given."""
    if "seen" not in condition:
        side = (1, recipe.height, recipe.width, recipe.decoder.channels)
        seen = latents(recipe, weights, jnp.zeros(side))
        return jnp.concatenate([jnp.ones_like(seen[..., :1]), seen], axis=-1)
    seen = condition["seen"]
    hole = jnp.ones_like(seen[..., :1])
    if condition["mask"] is not None:
        hole = (condition["mask"][:, ::recipe.factor, ::recipe.factor] >= 0.5).astype(jnp.float32)
    return jnp.concatenate([hole, seen], axis=-1)


def _drawn(z: Array, i: Array) -> Array:
    """Noise of a step, from the picture's own first noise alone, so that it is the same in every batch."""
    bits = jax.lax.bitcast_convert_type(z.reshape(len(z), -1)[:, :2].astype(jnp.float32), jnp.uint32)

    def one(bits: Array) -> Array:
        key = jax.random.wrap_key_data(bits, impl="threefry2x32")
        return jax.random.normal(jax.random.fold_in(key, i), z.shape[1:])

    return jax.vmap(one)(bits)
