"""Stable Diffusion as a `Generator`: latents are denoised under a prompt, and decoded (arXiv 2112.10752, 2307.01952).

A picture that is given ("source") is taken up in the middle, as far from its end as `strength` says (SDEdit, arXiv
2108.01073); with a "mask" only what is white in it is made anew (arXiv 2206.02779 for the models that were not trained
for it).
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from imggen_jax import samplers, schedules
from imggen_jax.data import clip_tokens
from imggen_jax.data.text import tokenizer_of
from imggen_jax.errors import RunError
from imggen_jax.game import (
    Array,
    Condition,
    Field,
    Game,
    Generator,
    Option,
    Options,
    Spec,
    Weights,
    make_spec,
)
from imggen_jax.nets.autoencoder_kl import Decoder, Encoder
from imggen_jax.nets.autoencoder_tiny import TinyDecoder, TinyEncoder
from imggen_jax.nets.clip import ClipText
from imggen_jax.nets.unet_condition import UNetCondition
from imggen_jax.pipelines import solving, texts
from imggen_jax.pipelines.texts import Said
from imggen_jax.schedules import SAMPLERS, Trained
from imggen_jax.weights import published
from imggen_jax.weights.diffusers import Folder
from imggen_jax.weights.published import Part

XL_PAD = "!"  # fills up prompts of the second encoder
MASKED = 5  # channels that an inpainting U-Net sees beside the latents: the mask, and the picture without what it hides


class Recipe(NamedTuple):
    """What makes a model's functions; hashable, so that models of one kind share their programs."""

    unet: UNetCondition
    encoder: Encoder | TinyEncoder
    decoder: Decoder | TinyDecoder
    texts: tuple[ClipText, ...]
    trained: Trained
    channels: int                 # of the latents
    scales: tuple[float, float]   # latents are what the encoder gives times the first; the decoder takes them over the
    shifts: tuple[float, float]   # second. Before, and behind that, so much is taken away, and added
    factor: int                   # sides of pictures over those of latents
    inpainting: bool              # whether the U-Net sees a mask
    zeros: bool                   # without anything to avoid, the text to avoid is zeros
    names: tuple[str, ...]        # of the text field
    empty: tuple[int, ...]        # tokens of an empty prompt
    height: int                   # of pictures; multiples of `factor`
    width: int
    defaults: tuple[tuple[str, float], ...]  # of options, where they are not those of every model
    together: bool                # of `solving.prediction`

    @property
    def xl(self) -> bool:
        """Whether it is SDXL, which is told of sizes, and reads two encoders before their last layer."""
        return self.unet.time_ids > 0

    @property
    def guided(self) -> bool:
        """Whether the U-Net is told of the guidance, and has learned what it does."""
        return self.unet.guided > 0

    @property
    def adapted(self) -> tuple[str, ...]:
        """The parts that a LoRA may change."""
        return "unet", *texts.names(self.texts)


def spec(recipe: Recipe) -> Spec:
    """The fields of a model; "image" is what it makes."""
    picture = Field((recipe.height, recipe.width, recipe.decoder.channels), "uint8")
    return make_spec(image=picture, mask=Field((recipe.height, recipe.width, 1), "uint8"),
                     text=Field((None,), "int32", recipe.names))


@functools.lru_cache(maxsize=8)
def make(recipe: Recipe) -> Game:
    """The game of a model that nobody trains."""
    shape = (recipe.height // recipe.factor, recipe.width // recipe.factor, recipe.channels)
    main = Generator(
        functools.partial(solving.prior, shape), functools.partial(_decode, recipe),
        functools.partial(_condition, recipe),
        needs=("text",), options=_options(recipe), batch=1,
        accepts={**({} if recipe.guided else {"negative": "text"}), "source": "image", "mask": "mask"},
        mixes=("text",),
        encode=functools.partial(_encode, recipe) if solving.is_reversible(recipe.trained.sampler) else None)
    return Game(lambda key, spec: ({}, {}), (), lambda params, mutable: params, {"main": main})


def _options(recipe: Recipe) -> dict[str, Option]:
    found = {"steps": Option(30, 1, 250, "steps of the sampler"),
             "sampler": Option(SAMPLERS.index(recipe.trained.sampler), 0, len(SAMPLERS) - 1, solving.named()),
             "guidance": Option(7.5, 0.0, 50.0, "how strictly the prompt is followed; 1 as trained"),
             "strength": Option(0.8, 0.01, 1.0, "of a picture that is given, how much is made anew")}
    # A whole number is compiled into a program, and any other is its input.
    return found | {name: found[name]._replace(default=type(found[name].default)(value))
                    for name, value in recipe.defaults}


def _condition(recipe: Recipe, weights: Weights, fields: Mapping[str, Array]) -> dict[str, Any]:
    """What is said and what is to be avoided, the latents of the source, and the mask.

    Raises:
      RunError: a mask without a source.
    """
    def say(tokens: Array) -> Said:
        return texts.say(recipe.texts, weights, tokens, before_last=recipe.xl)

    each, shares = solving.texts_of(fields)
    said, count, avoided = say(each), len(fields["text"]), None
    if "negative" in fields:
        said, avoided = texts.alike(said, say(fields["negative"]), say(jnp.asarray(texts.blank(recipe.empty))))
    elif recipe.zeros and not recipe.guided:
        avoided = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[:count]), said)
    elif not recipe.guided:
        nothing = say(jnp.asarray(texts.blank(recipe.empty)))
        said, avoided = texts.alike(said, jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape[1:])), nothing), nothing)
    found: dict[str, Any] = {"with": solving.by_picture(said, shares), "without": avoided, "shares": shares,
                             **solving.taken_up(fields, functools.partial(latents, recipe, weights))}
    if recipe.inpainting and "source" in found:
        pixels, mask = found["pixels"], found["mask"]
        hidden = jnp.ones_like(pixels[..., :1]) if mask is None else (mask >= 0.5).astype(jnp.float32)
        found["seen"] = latents(recipe, weights, pixels * (1 - hidden))
    return found


def latents(recipe: Recipe, weights: Weights, pixels: Array) -> Array:
    """Pictures float [n,H,W,C] in [-1,1] -> the means of their latents, float32 [n,h,w,c], of about unit variance."""
    moments = cast(Array, recipe.encoder.apply({"params": weights["encoder"]}, pixels))
    return (moments[..., :recipe.channels] - recipe.shifts[0]) * recipe.scales[0]


def pictures(recipe: Recipe, weights: Weights, z: Array) -> Array:
    """Latents -> pictures float32 [n,H,W,C] in [-1,1]."""
    made = recipe.decoder.apply({"params": weights["decoder"]}, z / recipe.scales[1] + recipe.shifts[1])
    return jnp.clip(cast(Array, made), -1, 1)


def _decode(recipe: Recipe, weights: Weights, z: Array, condition: Condition, chosen: Options) -> Array:
    chosen = {name: option.default for name, option in _options(recipe).items()} | dict(chosen)
    made = pictures(recipe, weights, denoised(recipe, weights, z, condition, chosen))
    return solving.beside_the_rest(made, condition)


def _encode(recipe: Recipe, weights: Weights, images: Array, condition: Condition) -> Array:
    """Pictures float [n,H,W,C] in [-1,1] -> noise whose way, with the defaults of `decode`, leads to them again."""
    x = latents(recipe, weights, images)
    chosen = {name: option.default for name, option in _options(recipe).items()}
    first_order = chosen["sampler"] in (SAMPLERS.index("ddim"), SAMPLERS.index("euler"))
    chosen |= {} if first_order else {"sampler": SAMPLERS.index("ddim")}
    return solving.invert(*way(recipe, weights, x, condition, chosen), x, recipe.trained.prediction)


def denoised(recipe: Recipe, weights: Weights, z: Array, condition: Condition, chosen: Options) -> Array:
    """Noise float [n,h,w,c] of variance 1 -> latents."""
    hole = None if recipe.inpainting else solving.hole(condition, recipe.factor)
    return solving.solve(SAMPLERS[int(chosen["sampler"])], *way(recipe, weights, z, condition, chosen), z, hole=hole,
                         source=condition.get("source"), strength=chosen["strength"])


def way(recipe: Recipe, weights: Weights, z: Array, condition: Condition, chosen: Options
        ) -> tuple[schedules.Steps, samplers.Predict]:
    """(steps, the denoiser) for latents like z."""
    del z  # the steps do not depend on its size
    steps = schedules.make(SAMPLERS[int(chosen["sampler"])], recipe.trained, int(chosen["steps"]))
    predict = _predicted(recipe, weights, condition, steps, chosen["guidance"])
    return steps, solving.denoiser(predict, recipe.trained.prediction, steps)


def _predicted(recipe: Recipe, weights: Weights, condition: Condition, steps: schedules.Steps, guidance: Any
               ) -> samplers.Predict:
    """(z, number of the step) -> what the U-Net predicts, with guidance."""
    times, count = jnp.asarray(steps.times), len(condition["with"].text)
    beside = _beside(recipe, weights, condition) if recipe.inpainting else jnp.zeros((1, 1, 1, 0))
    beside = jnp.broadcast_to(beside, (count, *beside.shape[1:]))

    def at(z: Array, i: Array, rows: tuple[Said, Array]) -> Array:
        said, seen = rows
        x = jnp.concatenate([z, seen], axis=-1) if recipe.inpainting else z
        return ask(recipe, weights, x, jnp.full(len(x), times[i]), said, guidance)

    return solving.prediction(at, condition["with"], condition["shares"], condition["without"], beside, guidance,
                              recipe.together)


def ask(recipe: Recipe, weights: Weights, x: Array, time: Array, said: Said, guidance: Any = 1.0) -> Array:
    """What the U-Net predicts of what it sees, float [n,h,w,any channels], at times float [n] of its training; guidance
    is for one that is told of it."""
    sizes = jnp.array([recipe.height, recipe.width, 0, 0, recipe.height, recipe.width], float)
    known = (said.vector, jnp.broadcast_to(sizes, (len(x), 6))) if recipe.xl else (None, None)
    told = jnp.full(len(x), guidance) if recipe.guided else None
    return cast(Array, recipe.unet.apply({"params": weights["unet"]}, x, time, said.text, *known, told))


def _beside(recipe: Recipe, weights: Weights, condition: Condition) -> Array:
    """What an inpainting U-Net sees beside latents, float32 [n or 1,h,w,5]; all is hidden where nothing is given."""
    if "seen" not in condition:
        side = (1, recipe.height, recipe.width, recipe.decoder.channels)
        seen = latents(recipe, weights, jnp.zeros(side))
        return jnp.concatenate([jnp.ones_like(seen[..., :1]), seen], axis=-1)
    seen, hole = condition["seen"], solving.hole(condition, recipe.factor)
    hidden = jnp.ones_like(seen[..., :1]) if hole is None else (hole >= 0.5).astype(jnp.float32)
    return jnp.concatenate([hidden, seen], axis=-1)


def parts(found: Folder, dtype: Any, place: Callable[[str], str]) -> dict[str, Part]:
    """The networks of a model, from its configs. Raises WeightsError for one that is not understood.

    Args:
      found: what the model's files say.
      dtype: of the computations.
      place: name of a component -> that of its config, for messages.
    """
    autoencoder = published.tiny if found.classes["vae"] == "AutoencoderTiny" else published.autoencoder
    encoder, decoder = autoencoder(found.configs["vae"], dtype, place("vae"))
    made = {"unet": published.unet(found.configs["unet"], dtype, place("unet")), "encoder": encoder,
            "decoder": decoder}
    for name in texts.names(found.tokenizers):
        projected = found.classes[name] == "CLIPTextModelWithProjection"
        made[name] = published.clip(found.configs[name], dtype, projected=projected, what=place(name))
    return made


def recipe(found: Folder, parts: Mapping[str, Part], trained: Trained) -> Recipe:
    """The recipe of a model, from its networks and its tokenizers.

    Raises:
      RunError: its parts do not go together.
      DataError: a tokenizer cannot be read.
    """
    # A checkpoint of XL in one file may have one vocabulary for both encoders, of which the second fills up otherwise.
    vocabularies = tuple(clip_tokens.read(place, XL_PAD if place in found.tokenizers[:number] else None)
                         for number, place in enumerate(found.tokenizers))
    nets: dict[str, Any] = {name: part.net for name, part in parts.items()}
    vae, unet = parts["decoder"].config, parts["unet"].config
    channels, encoders = vae["latent_channels"], [nets[name] for name in texts.names(vocabularies)]
    if unet["in_channels"] not in (channels, channels + MASKED) or unet["out_channels"] != channels:
        raise RunError(f"the U-Net takes {unet['in_channels']} channels and makes {unet['out_channels']}; of latents "
                       f"with {channels} that is neither a model for pictures nor one for inpainting")
    width = sum(net.width for net in encoders)
    if unet["cross_attention_dim"] != width:
        raise RunError(f"the U-Net reads texts of width {unet['cross_attention_dim']}, and those of the encoders have "
                       f"{width}")
    if wrong := [net for net, one in zip(encoders, vocabularies) if one.size > net.words]:
        raise RunError(f"the tokenizer has more tokens than its encoder knows, {wrong[0].words}")
    names = clip_tokens.field_names(vocabularies)
    empty = tokenizer_of(Field((None,), "int32", names)).encode([""])[0][0]
    factor = 2 ** (len(vae.get("encoder_block_out_channels") or vae["block_out_channels"]) - 1)
    side = unet["sample_size"] * factor
    quick, guided = trained.sampler == "lcm", bool(unet["time_cond_proj_dim"])
    guidance = 8.5 if guided else 1.0 if quick else 5.0 if found.kind == "xl" else 7.5
    zeros = bool(found.switches.get("force_zeros_for_empty_prompt", found.kind == "xl"))
    scale, shift = float(vae["scaling_factor"]), float(vae["shift_factor"] or 0.0)
    return Recipe(
        unet=nets["unet"], encoder=nets["encoder"], decoder=nets["decoder"], texts=tuple(encoders), trained=trained,
        channels=channels, scales=(scale, scale), shifts=(shift, shift), factor=factor,
        inpainting=unet["in_channels"] != channels, zeros=zeros, names=names,
        empty=tuple(int(token) for token in empty), height=side, width=side,
        defaults=(("guidance", guidance), ("steps", 4 if quick else 30)),
        together=jax.default_backend() != "cpu")
