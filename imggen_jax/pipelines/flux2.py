"""FLUX.2 klein as a `Generator`: latents are carried from noise under a prompt and beside reference pictures.

References are pictures of any size that the transformer sees beside the one that it makes. A picture that is given as a
"source" is taken up in the middle, as of `diffusion`. Facts are those of diffusers' Flux2KleinPipeline.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax import samplers, schedules
from imggen_jax.augment import to_float
from imggen_jax.data import qwen_tokens
from imggen_jax.data.text import tokenizer_of
from imggen_jax.errors import RunError
from imggen_jax.game import Array, Condition, Field, Game, Generator, Option, Options, Spec, Weights, make_spec
from imggen_jax.nets.autoencoder_kl import Decoder, Encoder, LatentNorm
from imggen_jax.nets.flux2 import Flux2
from imggen_jax.nets.pixels import shuffle, unshuffle
from imggen_jax.nets.qwen3 import Qwen3
from imggen_jax.nets.transformer import wide
from imggen_jax.pipelines import solving
from imggen_jax.schedules import Trained
from imggen_jax.weights import flux2 as weights_of
from imggen_jax.weights.diffusers import Folder
from imggen_jax.weights.flux2 import PATCH
from imggen_jax.weights.published import Part

SAMPLER = "flow_euler"
REFERENCE = "reference"
REFERENCES = (REFERENCE, *(f"{REFERENCE}_{number}" for number in range(2, 9)))  # fields of reference pictures
APART = 10   # by how much the first coordinate of a reference's places is more than that of the one before
SIDE = 1024  # of pictures, where nothing is asked for


class Recipe(NamedTuple):
    """What makes a model's functions; hashable, so that models of one kind share their programs."""

    transformer: Flux2
    text: Qwen3
    encoder: Encoder
    decoder: Decoder
    norm: LatentNorm
    trained: Trained
    channels: int                 # of a place of the transformer
    distilled: bool               # whether it was trained to need few steps and no guidance
    names: tuple[str, ...]        # of the text field
    empty: tuple[int, ...]        # tokens of an empty prompt
    height: int                   # of pictures; multiples of `factor`
    width: int
    defaults: tuple[tuple[str, float], ...]  # of options, where they are not those of every model
    together: bool                # of `solving.prediction`

    @property
    def adapted(self) -> tuple[str, ...]:
        """The parts that a LoRA may change."""
        return ("transformer",)

    @property
    def factor(self) -> int:
        """Sides of pictures over those of the transformer's places."""
        return PATCH * 2 ** (len(self.encoder.shape.widths) - 1)


def spec(recipe: Recipe) -> Spec:
    """The fields of a model; "image" is what it makes."""
    picture = Field((recipe.height, recipe.width, recipe.decoder.channels), "uint8")
    return make_spec(image=picture, mask=Field((recipe.height, recipe.width, 1), "uint8"),
                     text=Field((None,), "int32", recipe.names),
                     **{REFERENCE: Field((None, None, recipe.decoder.channels), "uint8")})


@functools.lru_cache(maxsize=8)
def make(recipe: Recipe) -> Game:
    """The game of a model that nobody trains."""
    shape = (recipe.height // recipe.factor, recipe.width // recipe.factor, recipe.channels)
    accepts = {"source": "image", "mask": "mask", **{name: REFERENCE for name in REFERENCES}}
    main = Generator(
        functools.partial(solving.prior, shape), functools.partial(_decode, recipe),
        functools.partial(_condition, recipe),
        needs=("text",), options=_options(recipe), batch=1, mixes=("text",),
        encode=functools.partial(_encode, recipe),
        accepts=accepts if recipe.distilled else {"negative": "text", **accepts})
    return Game(lambda key, spec: ({}, {}), (), lambda params, mutable: params, {"main": main})


def _options(recipe: Recipe) -> dict[str, Option]:
    found = {"steps": Option(4 if recipe.distilled else 50, 1, 250, "steps of the sampler"),
             "strength": Option(0.8, 0.01, 1.0, "of a source that is given, how much is made anew")}
    if not recipe.distilled:
        found["guidance"] = Option(4.0, 0.0, 50.0, "how strictly the prompt is followed; 1 as trained")
    return found | {name: found[name]._replace(default=type(found[name].default)(value))
                    for name, value in recipe.defaults}


def _condition(recipe: Recipe, weights: Weights, fields: Mapping[str, Array]) -> dict[str, Any]:
    """What is said and what is to be avoided, the latents of references and of the source, and the mask.

    Raises:
      RunError: a mask without a source, or a reference that is too small.
    """
    def say(tokens: Array) -> Array:
        read = recipe.text.apply({"params": weights["text_encoder"]}, tokens[:, 1:], tokens[:, 0])
        return wide(cast(Array, read))

    each, shares = solving.texts_of(fields)
    count, avoided = len(fields["text"]), None
    if not recipe.distilled:
        avoided = say(fields["negative"] if "negative" in fields else jnp.array([recipe.empty] * count))
    found: dict[str, Any] = {"with": solving.by_picture(say(each), shares), "shares": shares, "without": avoided}
    found["references"] = [latents(recipe, weights, to_float(_cut(recipe, fields[name]))) for name in REFERENCES
                           if name in fields]
    return found | solving.taken_up(fields, functools.partial(latents, recipe, weights))


def _cut(recipe: Recipe, pixels: Array) -> Array:
    """Pictures [n,H,W,C] of which the middle remains, whose sides are multiples of the places'."""
    sides = [side - side % recipe.factor for side in pixels.shape[1:3]]
    if not all(sides):
        raise RunError(f"a reference is {pixels.shape[2]}x{pixels.shape[1]}; give one of at least {recipe.factor} "
                       "pixels a side")
    top, left = ((whole - side) // 2 for whole, side in zip(pixels.shape[1:3], sides))
    return pixels[:, top:top + sides[0], left:left + sides[1]]


def latents(recipe: Recipe, weights: Weights, pixels: Array) -> Array:
    """Pictures float [n,H,W,C] in [-1,1] -> the means of their latents, float32 [n,h,w,channels], of variance 1."""
    moments = cast(Array, recipe.encoder.apply({"params": weights["encoder"]}, pixels))
    patches = unshuffle(moments[..., :moments.shape[-1] // 2], PATCH)
    return cast(Array, recipe.norm.apply({"params": weights["norm"]}, patches))


def pictures(recipe: Recipe, weights: Weights, z: Array) -> Array:
    """Latents -> pictures float32 [n,H,W,C] in [-1,1]."""
    patches = cast(Array, recipe.norm.apply({"params": weights["norm"]}, z, back=True))
    made = recipe.decoder.apply({"params": weights["decoder"]}, shuffle(patches, PATCH))
    return jnp.clip(cast(Array, made), -1, 1)


def _decode(recipe: Recipe, weights: Weights, z: Array, condition: Condition, chosen: Options) -> Array:
    chosen = {name: option.default for name, option in _options(recipe).items()} | dict(chosen)
    made = pictures(recipe, weights, denoised(recipe, weights, z, condition, chosen))
    return solving.beside_the_rest(made, condition)


def denoised(recipe: Recipe, weights: Weights, z: Array, condition: Condition, chosen: Options) -> Array:
    """Noise float [n,h,w,channels] of variance 1 -> latents."""
    steps, denoise = way(recipe, weights, z, condition, chosen)
    return solving.solve(SAMPLER, steps, denoise, z, hole=solving.hole(condition, recipe.factor),
                         source=condition.get("source"), strength=chosen["strength"])


def _encode(recipe: Recipe, weights: Weights, images: Array, condition: Condition) -> Array:
    """Pictures float [n,H,W,C] in [-1,1] -> noise whose way, with the defaults of `decode`, leads to them again."""
    x = latents(recipe, weights, images)
    chosen = {name: option.default for name, option in _options(recipe).items()}
    return solving.invert(*way(recipe, weights, x, condition, chosen), x, recipe.trained.prediction)


def way(recipe: Recipe, weights: Weights, z: Array, condition: Condition, chosen: Options
        ) -> tuple[schedules.Steps, samplers.Predict]:
    """(steps, the denoiser) for latents like z."""
    count, places = int(chosen["steps"]), z.shape[1] * z.shape[2]
    steps = schedules.make(SAMPLER, recipe.trained, count, places, shift_of(places, count))
    predict = _predicted(recipe, weights, condition, steps, z, chosen.get("guidance", 1.0))
    return steps, solving.denoiser(predict, recipe.trained.prediction, steps)


def shift_of(places: int, steps: int) -> float:
    """The logarithm of the shift for pictures of so many places: two lines that were fitted to 10 and to 200 steps."""
    many = 0.00016927 * places + 0.45666666
    if places > 4300:
        return many
    few = 8.73809524e-05 * places + 1.89833333
    return many + (few - many) * (200 - steps) / 190


def _predicted(recipe: Recipe, weights: Weights, condition: Condition, steps: schedules.Steps, z: Array, guidance: Any
               ) -> samplers.Predict:
    """(z, number of the step) -> the velocity, with guidance where the model has one."""
    seen, times = condition["references"], jnp.asarray(steps.sigmas)
    places = _places(condition["with"].shape[-2], [each.shape[1:3] for each in (z, *seen)])

    def ask(z: Array, i: Array, rows: tuple[Array, list[Array]]) -> Array:
        text, references = rows
        every = jnp.concatenate([_in_a_row(each) for each in (z, *references)], axis=1)
        found = recipe.transformer.apply({"params": weights["transformer"]}, every, jnp.full(len(z), times[i]), text,
                                         jnp.asarray(places))
        return cast(Array, found)[:, :z.shape[1] * z.shape[2]].reshape(z.shape)

    return solving.prediction(ask, condition["with"], condition["shares"], condition["without"], seen, guidance,
                              recipe.together)


def _in_a_row(z: Array) -> Array:
    return z.reshape(len(z), -1, z.shape[-1])


def _places(tokens: int, sides: list[tuple[int, ...]]) -> np.ndarray:
    """Coordinates of tokens, and of the places of pictures with these sides: which picture, row, column, number."""
    said = np.stack([*np.zeros((3, tokens), np.int32), np.arange(tokens)], axis=-1)
    drawn = [np.stack([each.ravel() for each in np.meshgrid(APART * number, *map(np.arange, shape), 0, indexing="ij")],
                      axis=-1) for number, shape in enumerate(sides)]
    return np.concatenate([said, *drawn]).astype(np.int32)


def parts(found: Folder, dtype: Any, place: Callable[[str], str]) -> dict[str, Part]:
    """The networks of a model, from its configs; arguments and errors as of `diffusion.parts`."""
    return {"transformer": weights_of.transformer(found.configs["transformer"], dtype, place("transformer")),
            "text_encoder": weights_of.qwen3(found.configs["text_encoder"], dtype, place("text_encoder")),
            **weights_of.autoencoder(found.configs["vae"], dtype, place("vae"))}


def recipe(found: Folder, parts: Mapping[str, Part], trained: Trained) -> Recipe:
    """The recipe of a model, from its networks and its tokenizer; errors as of `diffusion.recipe`."""
    vocabulary = qwen_tokens.read(found.tokenizers[0])
    nets: dict[str, Any] = {name: part.net for name, part in parts.items()}
    transformer, channels = parts["transformer"].config, PATCH**2 * parts["encoder"].config["latent_channels"]
    if transformer["in_channels"] != channels or nets["transformer"].out_channels != channels:
        raise RunError(f"the transformer takes {transformer['in_channels']} channels and makes "
                       f"{nets['transformer'].out_channels}; the autoencoder's patches have {channels}")
    width = len(nets["text_encoder"].read) * nets["text_encoder"].width
    if transformer["joint_attention_dim"] != width:
        raise RunError(f"the transformer reads texts of width {transformer['joint_attention_dim']}, and what is read "
                       f"of the encoder has {width}")
    if vocabulary.size > nets["text_encoder"].words:
        raise RunError(f"the tokenizer has more tokens than its encoder knows, {nets['text_encoder'].words}")
    if trained.prediction != "flow":
        raise RunError(f"the scheduler is one for {trained.sampler}, and this model is a flow; it needs "
                       "FlowMatchEulerDiscreteScheduler")
    names = qwen_tokens.field_names(vocabulary)
    empty = tokenizer_of(Field((None,), "int32", names)).encode([""])[0][0]
    return Recipe(
        transformer=nets["transformer"], text=nets["text_encoder"], encoder=nets["encoder"], decoder=nets["decoder"],
        norm=nets["norm"], trained=trained, channels=channels,
        distilled=bool(found.switches.get("is_distilled", False)), names=names,
        empty=tuple(int(token) for token in empty), height=SIDE, width=SIDE, defaults=(),
        together=jax.default_backend() != "cpu")
