"""From noise to latents along a schedule, whatever network predicts: what the pipelines of others' models share."""
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from imggen_jax import conditioning, samplers
from imggen_jax.augment import to_float
from imggen_jax.errors import RunError
from imggen_jax.game import Array, Condition, Key, PyTree
from imggen_jax.samplers import Predict
from imggen_jax.schedules import SAMPLERS, Steps

# (z [m,...], number of the step, (what is said, what is seen beside), leaves [m,...]) -> [m,...]
Ask = Callable[[Array, Array, Any], Array]


def named() -> str:
    """The samplers of diffusion models by their numbers, for the help of an option."""
    return ", ".join(f"{number} {name}" for number, name in enumerate(SAMPLERS) if name != "flow_euler")


def prior(shape: tuple[int, ...], key: Key, n: int, condition: Condition) -> Array:
    """Noise of variance 1, float32 [n,*shape]."""
    del condition
    return jax.random.normal(key, (n, *shape))


def taken_up(fields: Mapping[str, Array], encode: Callable[[Array], Array]) -> dict[str, Any]:
    """Of a source that is given: its "pixels" float [n,H,W,C] in [-1,1], its latents, "source", and the "mask" float
    [n,H,W,1], 1 where it is made anew, or None.

    Raises:
      RunError: a mask without a source.
    """
    if "source" not in fields:
        if "mask" in fields:
            raise RunError("a mask is given, and no source of which a part is made anew; give both")
        return {}
    pixels = to_float(fields["source"])
    mask = fields["mask"].astype(jnp.float32) / 255 if "mask" in fields else None
    return {"pixels": pixels, "mask": mask, "source": encode(pixels)}


def hole(condition: Mapping[str, Any], factor: int) -> Array | None:
    """The mask at the places of latents, float [n,h,w,1]; None without one."""
    mask = condition.get("mask")
    return None if mask is None else mask[:, ::factor, ::factor]


def beside_the_rest(made: Array, condition: Mapping[str, Any]) -> Array:
    """Pictures of which what the mask leaves alone is the source's."""
    if condition.get("mask") is None:
        return made
    return condition["mask"] * made + (1 - condition["mask"]) * condition["pixels"]


def texts_of(fields: Mapping[str, Array]) -> tuple[Array, Array | None]:
    """The texts of n pictures, int32 [n,T], or of K for each [n*K,T], and then their shares float [n,K]."""
    each, shares = conditioning.apart({name: value for name, value in fields.items() if name.startswith("text")})
    return each["text"], shares


def by_picture(said: PyTree, shares: Array | None) -> PyTree:
    """What several texts say, leaves [n*K,...], as [n,K,...]; of one text, as it is."""
    if shares is None:
        return said
    return jax.tree.map(lambda leaf: leaf.reshape(*shares.shape, *leaf.shape[1:]), said)


def prediction(ask: Ask, said: PyTree, shares: Array | None, avoided: PyTree | None, beside: PyTree, guidance: Any,
               together: bool) -> Predict:
    """What a network predicts under one text or several, by shares, led away from what is to be avoided.

    Args:
      ask: the network.
      said: what it reads of a text, leaves [n,...]; of K texts for each picture [n,K,...].
      shares: of several texts, float [n,K], of sum 1 (arXiv 2206.01714, equation 11); None: one text.
      avoided: leaves [n,...]; None: nothing is avoided.
      beside: what else it sees, leaves [n,...].
      guidance: 1 as trained.
      together: whether one batch holds all texts. In turn, the program has the network once in place of three times,
        and on a CPU that is as fast.

    Returns:
      (z [n,...], number of the step) -> [n,...].
    """
    parts = 1 if shares is None else shares.shape[1]
    each = said if shares is not None else jax.tree.map(lambda leaf: leaf[:, None], said)  # [n,K,...]
    rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), each)              # [n*K,...]

    def repeated(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: jnp.repeat(leaf, parts, axis=0), tree)

    def alone(z: Array, i: Array) -> Array:
        return conditioning.together(ask(repeated(z), i, (rows, repeated(beside))), shares)

    def both(z: Array, i: Array) -> tuple[Array, Array]:
        zs, every, seen = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), (repeated(z), rows, repeated(beside)),
                                       (z, avoided, beside))
        made = ask(zs, i, (every, seen))
        return conditioning.together(made[:-len(z)], shares), made[-len(z):]

    def in_turn(z: Array, i: Array) -> Array:
        every, count = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), each), jnp.asarray(parts)
        if avoided is not None:
            every = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), every, avoided)
            count = jnp.where(jnp.asarray(guidance) == 1, parts, parts + 1)

        def one(k: Array, made: Array) -> Array:
            return made.at[k].set(ask(z, i, (jax.tree.map(lambda leaf: leaf[k], every), beside)))

        made = jax.lax.fori_loop(0, count, one, jnp.zeros((parts + (avoided is not None), *z.shape)))
        found = made[0] if shares is None else jnp.einsum("nk,kn...->n...", shares, made[:parts])
        if avoided is None:
            return found
        return made[-1] + guidance * (found - made[-1])  # at guidance 1, what is avoided is 0 here

    if not together:
        return in_turn
    return alone if avoided is None else samplers.guided(both, alone, guidance, -jnp.inf, jnp.inf)


def denoiser(predict: Predict, kind: str, steps: Steps) -> Predict:
    """(z, number of the step) -> the mean of x given z, from what a network was trained to predict.

    Args:
      predict: the network.
      kind: "epsilon", "v_prediction", "sample" or "flow".
      steps: that are gone through.
    """
    tables = {name: jnp.asarray(getattr(steps, name)) for name in ("alphas", "sigmas", "keep", "gain")}

    def denoise(z: Array, i: Array) -> Array:
        alpha, sigma, made = tables["alphas"][i], tables["sigmas"][i], predict(z, i)
        if kind == "epsilon":
            made = (z - sigma * made) / alpha
        elif kind == "v_prediction":
            made = alpha * z - sigma * made
        elif kind == "flow":  # the velocity leads to noise
            made = z - sigma * made
        return tables["keep"][i] * z + tables["gain"][i] * made

    return denoise


def solve(name: str, steps: Steps, denoise: Predict, noise: Array, *, source: Array | None = None,
          hole: Array | None = None, strength: Any = 1.0) -> Array:
    """Latents, from noise or from a source that is taken up in the middle.

    Args:
      name: of the sampler.
      steps: of `schedules.make`.
      denoise: of `denoiser`.
      noise: float [n,h,w,c] of variance 1.
      source: latents like it (SDEdit, arXiv 2108.01073).
      hole: float [n,h,w,1], 1 where the source is made anew; the rest is put back after every step (arXiv 2206.02779).
      strength: share of the steps that are taken of a source.
    """
    alphas, sigmas, count = jnp.asarray(steps.alphas), jnp.asarray(steps.sigmas), len(steps.times)
    first, begin = 0, steps.start * noise
    if source is not None:
        first = jnp.clip(count - jnp.floor(count * jnp.asarray(strength) + 1e-4).astype(int), 0, count - 1)
        begin = jnp.where(first > 0, alphas[first] * source + sigmas[first] * noise, begin)

    def after(z: Array, i: Array) -> Array:  # what is not made anew is the source's, as noisy as it is there
        assert source is not None and hole is not None, "a part is made anew of a source"
        still = jnp.where(i == count, source, alphas[i] * source + sigmas[i] * noise)
        return hole * z + (1 - hole) * still

    blended = None if hole is None else after
    if name.startswith("dpmpp_2m"):
        return samplers.multistep(denoise, begin, alphas, sigmas, jnp.asarray(steps.second), first, blended)
    if name == "plms":
        return samplers.plms(denoise, begin, alphas, sigmas, first, blended)
    fresh = jnp.asarray(steps.fresh) if steps.fresh.any() else None
    return samplers.ddim(denoise, begin, alphas, sigmas, fresh, functools.partial(_drawn, noise), first, blended)


def glimpse(steps: Steps, denoise: Predict, z: Array, first: int | Array, last: int | Array) -> tuple[Array, Array]:
    """(z after some of the steps of `samplers.ddim` without fresh noise, x as it was thought to be in the last one)."""
    alphas, sigmas = jnp.asarray(steps.alphas), jnp.asarray(steps.sigmas)

    def step(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        x = denoise(carry[0], i)
        return alphas[i + 1] * x + sigmas[i + 1] * (carry[0] - alphas[i] * x) / sigmas[i], x

    return jax.lax.fori_loop(first, last, step, (z, z))


def invert(steps: Steps, denoise: Predict, x: Array, kind: str) -> Array:
    """Noise float [n,h,w,c] whose way leads to latents x like it, by the sampler's own steps backwards; kind as of
    `denoiser`."""
    alphas, sigmas = jnp.asarray(steps.alphas), jnp.asarray(steps.sigmas)
    now, then = (alphas[:-1], sigmas[:-1]), (alphas[1:], sigmas[1:])
    rates = {"epsilon": then[0] / jnp.maximum(now[0], 1e-3), "v_prediction": now[0] * then[0] + now[1] * then[1],
             "flow": jnp.ones_like(now[0]), "sample": jnp.maximum(then[1] / now[1], 0.1)}[kind]
    return samplers.undo_ddim(denoise, x, alphas, sigmas, rates) / steps.start


def is_reversible(name: str) -> bool:
    """Whether a sampler draws no noise on its way, which can then be gone backwards; by DDIM's steps where its own are
    of a higher order."""
    return name not in ("euler_ancestral", "lcm")


def _drawn(z: Array, i: Array) -> Array:
    """Noise of a step, from the picture's own first noise alone, so that it is the same in every batch."""
    bits = jax.lax.bitcast_convert_type(z.reshape(len(z), -1)[:, :2].astype(jnp.float32), jnp.uint32)

    def one(bits: Array) -> Array:
        key = jax.random.wrap_key_data(bits, impl="threefry2x32")
        return jax.random.normal(jax.random.fold_in(key, i), z.shape[1:])

    return jax.vmap(one)(bits)
