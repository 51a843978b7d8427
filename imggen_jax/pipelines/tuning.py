"""A LoRA of Stable Diffusion, learned from pictures with captions by the one training step."""
from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from imggen_jax import schedules, step
from imggen_jax.augment import to_float
from imggen_jax.errors import RunError
from imggen_jax.game import Batch, Clock, Game, Key, Loss, Mutable, Params, PyTree, Spec, make_spec
from imggen_jax.model import Model
from imggen_jax.pipelines import diffusion, texts
from imggen_jax.pipelines.diffusion import Recipe
from imggen_jax.pipelines.opening import recipe_of
from imggen_jax.pipelines.texts import Said
from imggen_jax.step import TrainState
from imggen_jax.weights import adapters, tensors

LAYERS = re.compile(r"\.attn[12]\.to_(q|k|v|out\.0)$")  # that are changed, as is usual
MOST_PICTURES, MOST_RANK = 200, 128
DRAWS = 16       # times and noises under which the loss is told, before and after
AT_ONCE = 10     # steps between two reports


class Learned(NamedTuple):
    """What was learned, and how well."""

    layers: Mapping[str, tuple[np.ndarray, np.ndarray]]  # layer of the U-Net -> down [r,in], up [out,r]
    figures: tuple[float, float]                         # the loss, before and after


def learn(
    model: Model, images: np.ndarray, captions: Sequence[str], *, rank: int = 4, steps: int = 400, batch: int = 1,
    rate: float = 1e-4, seed: int = 0, report: Callable[[int, float], object] = lambda step, loss: None,
) -> Learned:
    """Learn a LoRA (arXiv 2106.09685) of the U-Net's attention, by the loss that the model was trained with.

    Args:
      model: Stable Diffusion 1.5, 2.1 or XL, of `load`.
      images: uint8 [n,H,W,C] of the model's size; n from 1 to 200.
      captions: a text for each.
      rank: of the changes, 1 to 128.
      steps: of Adam, each with `batch` of the pictures.
      rate: the learning rate.
      seed: of all that is drawn.
      report: called now and then with the steps done and the loss.

    Raises:
      RunError: a model, picture or number that this cannot work with, or a loss that is not finite.
    """
    recipe = recipe_of(model)
    if not isinstance(recipe, Recipe) or recipe.inpainting or recipe.guided:
        raise RunError("a LoRA is learned here by Stable Diffusion, without a mask and not distilled; this model is "
                       "another one")
    images = model.check_images(images)
    if not len(images) == len(captions) <= MOST_PICTURES:
        raise RunError(f"{len(images)} pictures and {len(captions)} captions are given; give a caption for each of at "
                       f"most {MOST_PICTURES}")
    if steps < 1 or batch < 1 or not 1 <= rank <= MOST_RANK or not 0 < rate < 1:
        raise RunError(f"steps are {steps}, batch is {batch}, rank {rank}, rate {rate:g}; give at least 1 of both, a "
                       f"rank of at most {MOST_RANK} and a rate between 0 and 1")
    examples = _examples(recipe, model, images, captions)
    game, optimizers = _game(recipe, rank), {"lora": optax.adam(rate)}
    frozen = {"unet": model.weights["unet"]}
    key, spec = jax.random.key(seed), make_spec()
    with_shapes = game._replace(init=functools.partial(_start, model.weights["unet"], rank))
    state = step.init_state(with_shapes, optimizers, key, spec)
    play = jax.jit(functools.partial(step.train_step, game, optimizers, lambda seen, size: jnp.float32(1),
                                     lambda batch, key: batch))
    rng = np.random.default_rng([seed, 6])
    before = _measured(game, state, frozen, examples)
    for done in range(1, steps + 1):
        rows = rng.integers(0, len(images), batch)
        state, logs = play(state, {name: value[rows] for name, value in examples.items()}, key, frozen)
        if done % AT_ONCE == 0 or done == steps:
            if not bool(state.finite):
                raise RunError(f"the loss is not finite after {done} steps; nothing was written. Choose a lower rate")
            report(done, float(logs["loss"][0]))
    found = jax.tree.map(np.asarray, dict(state.params["lora"]))
    return Learned({layer: (found["down"][layer], found["up"][layer]) for layer in found["down"]},
                   (before, _measured(game, state, frozen, examples)))


def _examples(recipe: Recipe, model: Model, images: np.ndarray, captions: Sequence[str]) -> dict[str, jax.Array]:
    """Latents of the pictures, and what the captions say: the same in every step, so they are made once."""
    tokens = model.check_given({"text": list(captions)}, len(captions))["text"]

    @jax.jit
    def one(weights: PyTree, image: jax.Array, tokens: jax.Array) -> tuple[jax.Array, Said]:
        said = texts.say(recipe.texts, weights, tokens[None], before_last=recipe.xl)
        return diffusion.latents(recipe, weights, to_float(image[None])), said

    each = [one(model.weights, image, row) for image, row in zip(images, tokens)]
    latents, said = jax.tree.map(lambda *rows: jnp.concatenate(rows), *each)
    return {"latents": latents, "text": said.text, "vector": said.vector}


@functools.lru_cache(maxsize=4)
def _game(recipe: Recipe, rank: int) -> Game:
    """The game of a lone player, "lora", beside the U-Net, which is not trained."""
    alphas, sigmas = (jnp.asarray(each) for each in schedules.trained_at(recipe.trained))

    def loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        del clock
        key_time, key_noise = jax.random.split(key)
        x = batch["latents"]
        time = jax.random.randint(key_time, x.shape[:1], 0, len(alphas))
        noise = jax.random.normal(key_noise, x.shape)
        alpha, sigma = (table[time][:, None, None, None] for table in (alphas, sigmas))
        weights = {"unet": changed(params["unet"], params["lora"])}
        made = diffusion.ask(recipe, weights, alpha * x + sigma * noise, time.astype(x.dtype),
                             Said(batch["text"], batch["vector"]))
        target = {"epsilon": noise, "v_prediction": alpha * noise - sigma * x, "sample": x}[recipe.trained.prediction]
        value = jnp.mean(jnp.square(made - target))
        return value, (mutable, {"loss": value})

    def init(key: Key, spec: Spec):
        raise AssertionError("shapes are those of a model's weights")

    return Game(init, (("lora", loss),), lambda params, mutable: {}, {})


def _start(unet: PyTree, rank: int, key: Key, spec: Spec) -> tuple[Params, Mutable]:
    """Changes of no effect: down is random, and up is zero."""
    del spec
    kernels = {tensors.tensor_name(path).removesuffix(".weight"): leaf.shape
               for path, leaf in jax.tree_util.tree_leaves_with_path(unet)}
    kernels = {layer: shape for layer, shape in kernels.items() if LAYERS.search(layer) and len(shape) == 2}
    down = {layer: jax.random.normal(jax.random.fold_in(key, number), (rank, shape[0])) / np.sqrt(shape[0])
            for number, (layer, shape) in enumerate(sorted(kernels.items()))}
    up = {layer: jnp.zeros((shape[1], rank)) for layer, shape in kernels.items()}
    return {"lora": {"down": down, "up": up}}, {}


def changed(unet: PyTree, lora: Mapping[str, Mapping[str, jax.Array]]) -> PyTree:
    """A U-Net whose kernels [in,out] have the products of up [out,r] and down [r,in] added."""
    def one(path: Any, leaf: jax.Array) -> jax.Array:
        layer = tensors.tensor_name(path).removesuffix(".weight")
        if layer not in lora["down"] or leaf.ndim != 2:
            return leaf
        return leaf + (lora["up"][layer] @ lora["down"][layer]).T.astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(one, unet)


def _measured(game: Game, state: TrainState, frozen: Mapping[str, PyTree], examples: Mapping[str, jax.Array]) -> float:
    """The mean loss under the same times and noises, before and after."""
    (_, by_game), = game.moves
    loss = _compiled(by_game)
    rows = np.arange(DRAWS) % len(examples["latents"])
    each = [loss({**frozen, **state.params}, {name: value[row:row + 1] for name, value in examples.items()},
                 jax.random.key(number)) for number, row in enumerate(rows)]
    return float(np.mean(each))


@functools.lru_cache(maxsize=4)
def _compiled(loss: Loss):
    return jax.jit(lambda params, batch, key: loss(params, {}, batch, Clock(jnp.int32(0), jnp.float32(0)), key)[0])


def write(path: Any, learned: Learned, names: str = "diffusers") -> None:
    """The file of a LoRA, in the names of "diffusers" or of "kohya". Raises SaveError where it cannot be written."""
    adapters.write_lora(path, {("unet", layer): both for layer, both in learned.layers.items()}, names)
