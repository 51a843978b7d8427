"""Rectified flow, also called flow matching: a lone player learns the velocity that carries noise to pictures.

Liu et al., arXiv 2209.03003; Lipman et al., arXiv 2210.02747. In pixels, or in the latents of a trained autoencoder.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from imggen_jax import conditioning, latents, samplers
from imggen_jax import spec as specs
from imggen_jax.augment import to_float
from imggen_jax.game import (
    Array,
    Batch,
    Clock,
    Condition,
    Game,
    Generator,
    Key,
    Mutable,
    Option,
    Options,
    Params,
    Pretrained,
    Spec,
    Weights,
)
from imggen_jax.nets.text_encoder import Said
from imggen_jax.nets.translating import network as make_network

PREDICTIONS = ("velocity", "picture")
LATEST = 0.95  # where 1 - t stops to shrink if pictures are predicted, since the velocity is divided by it
MEASURED = (0.125, 0.375, 0.625, 0.875)  # times at which held-out pictures are looked at


def make(
    spec: Spec,
    *,
    dtype: str,
    pretrained: Mapping[str, Pretrained] | None = None,
    network: Mapping[str, Any],
    condition: Mapping[str, Any] = {},
    prediction: str = "velocity",
    mean: float = 0.0,
    deviation: float = 1.0,
    drop: float = 0.1,
    draws: int = 1,
    shift: float = 1.0,
    steps: int = 16,
    guidance: float = 2.0,
) -> Game:
    """The game of a lone player, "flow", who maps z = t x + (1 - t) noise, and t, to the mean of x - noise.

    Args:
      spec: fields of an example: an "image" of fixed size; a "label", a "text" or both condition the model.
      dtype: of the computations inside the networks, "float32" or "bfloat16".
      pretrained: {"autoencoder": ...}, a trained model, in whose latents the flow then takes place.
      network: `name`, a module of imggen_jax/nets with a `Denoiser`, and arguments of that class.
      condition: arguments of `conditioning.make`: width, layers and heads of the text encoder.
      prediction: what the network gives: "velocity", or "picture" (JiT, arXiv 2511.13720: x, whose velocity is
        (x - z) / (1 - t), as suits large patches of pixels). The loss is that of the velocity.
      mean, deviation: of the logit of the times t at which the network is trained (Stable Diffusion 3, arXiv
        2403.03206, section 3.1); a mean below 0 for more noise.
      drop: share of examples that are trained without their condition, which guidance needs.
      draws: times and noises for each example, which is encoded once for all of them: of small latents, encoding costs
        more than the flow.
      shift: of the times of sampling, above 1 for more of the steps where noise is: `samplers.flow_times`.
      steps, guidance: defaults of the options of these names.

    Raises:
      ValueError: an unknown prediction, a share out of [0, 1), no draws, or an autoencoder that has no latents of one
        array.
    """
    if prediction not in PREDICTIONS:
        raise ValueError(f"unknown prediction {prediction!r}; choose from {', '.join(PREDICTIONS)}")
    if not 0 <= drop < 1:
        raise ValueError(f"drop is {drop}; it is a share, from 0 to below 1")
    if draws < 1:
        raise ValueError(f"draws is {draws}; it must be at least 1")
    space = latents.of(specs.image_shape(spec), (pretrained or {}).get(latents.NAME))
    shape = space.shape
    net = make_network("Denoiser", dtype, channels=shape[-1], **network)
    given = conditioning.make(spec, dtype=dtype, **condition)
    latest = LATEST if prediction == "picture" else 1.0

    def init(key: Key, spec: Spec):
        key_net, key_said = jax.random.split(key)
        condition = given.init(key_said)
        said = say(condition, given.zeros)
        params = net.init(key_net, jnp.zeros((1, *shape)), jnp.zeros(1), said)["params"]
        return {"flow": {"network": params, "condition": condition}}, space.start()

    def say(params: Params, fields: Mapping[str, Array]) -> Said | None:
        return given.said(params, fields) if given.needs else None

    def velocity(weights: Weights, z: Array, t: Array, said: Said | None) -> Array:
        """float [n,...], t float [n] -> dz/dt."""
        t = jnp.minimum(t, latest)
        found = net.apply({"params": weights["flow"]["network"]}, z, t, said)
        return found if prediction == "velocity" else (found - z) / _like(1 - t, z)

    def errors(weights: Weights, x: Array, noise: Array, t: Array, said: Said | None) -> Array:
        """The squared error of the velocity, float32 [n]: a mean over dimensions."""
        share = _like(t, x)
        found = velocity(weights, share * x + (1 - share) * noise, t, said)
        # With pictures predicted, the target is divided by what the prediction is divided by.
        target = x - noise if prediction == "velocity" else (x - noise) * (1 - share) / (1 - jnp.minimum(share, latest))
        return jnp.mean(jnp.square(found - target), axis=tuple(range(1, x.ndim)))

    def loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        key_noise, key_time, key_drop = jax.random.split(key, 3)
        x, mutable = space.measure(params, mutable, to_float(batch["image"]), clock)
        said = say(params["flow"]["condition"], given.drop(batch, key_drop, drop))
        if draws > 1:
            x, said = jax.tree.map(lambda leaf: jnp.repeat(leaf, draws, axis=0), (x, said))
        noise = jax.random.normal(key_noise, x.shape)
        t = jax.nn.sigmoid(mean + deviation * jax.random.normal(key_time, x.shape[:1]))
        value = jnp.mean(errors(params, x, noise, t, said))
        return value, (mutable, {"loss": value})

    def metrics(weights: Weights, batch: Batch, key: Key):
        x = space.enter(weights, to_float(batch["image"]))
        said, noise = say(weights["flow"]["condition"], batch), jax.random.normal(key, x.shape)
        found = {f"loss_{t:g}": errors(weights, x, noise, jnp.full(len(x), t), said) for t in MEASURED}
        return {"flow_loss": sum(found.values()) / len(found), **found}

    def condition_of(weights: Weights, fields: Mapping[str, Array]):
        """What is said, and what is to be avoided: a "negative" text where one is given, else nothing.

        Of several texts, "with" has leaves [n,K,...], and "shares" is how much each counts.
        """
        if not given.needs:
            return None
        each, shares = conditioning.apart(fields)
        said = say(weights["flow"]["condition"], each)
        if shares is not None:
            said = jax.tree.map(lambda leaf: leaf.reshape(*shares.shape, *leaf.shape[1:]), said)
            fields = {**fields, "text": fields["text"][:, 0]}
        others = given.nothing(fields)
        if "negative" in fields:
            others = {**others, "text": fields["negative"]}
        return {"with": said, "without": say(weights["flow"]["condition"], others), "shares": shares}

    def prior(key: Key, n: int, condition: Condition):
        del condition
        return jax.random.normal(key, (n, *shape))

    def field(weights: Weights, condition: Condition, chosen: Options):
        """The velocity with guidance, of one time for all.

        That of several texts is the sum of theirs by their shares (arXiv 2206.01714, equation 11).
        """
        def at(z: Array, t: Array, said: Said | None):
            return velocity(weights, z, jnp.full(len(z), t), said)

        if condition is None:
            return lambda z, t: at(z, t, None)
        said, shares = condition["with"], condition["shares"]
        parts = 1 if shares is None else shares.shape[1]
        if shares is not None:
            said = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), said)

        def alone(z: Array, t: Array):
            return conditioning.together(at(jnp.repeat(z, parts, axis=0), t, said), shares)

        def both(z: Array, t: Array):
            every = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), said, condition["without"])
            found = at(jnp.concatenate([jnp.repeat(z, parts, axis=0), z]), t, every)
            return conditioning.together(found[:-len(z)], shares), found[-len(z):]

        return samplers.guided(both, alone, *(chosen[name] for name in ("guidance", "guidance_low", "guidance_high")))

    def decode(weights: Weights, z: Array, condition: Condition, chosen: Options):
        chosen = {name: option.default for name, option in options.items()} | dict(chosen)
        flow, times = field(weights, condition, chosen), samplers.flow_times(int(chosen["steps"]), shift)
        return space.leave(weights, samplers.solve_flow(int(chosen["sampler"]), flow, z, times))

    def encode(weights: Weights, images: Array, condition: Condition):
        """The way back, with the guidance that `decode` has by default, so that it leads to the same picture again."""
        flow = field(weights, condition, {name: option.default for name, option in options.items()})
        return samplers.heun(flow, space.enter(weights, images), samplers.flow_times(2 * steps, shift)[::-1])

    def weights(params: Params, mutable: Mutable):
        return {"flow": params["flow"], **mutable}

    options = _options(steps, guidance if given.needs else None)
    main = Generator(prior, decode, condition_of, needs=given.needs, options=options, encode=encode,
                     accepts={"negative": "text"} if "text" in given.needs else {},
                     mixes=("text",) if "text" in given.needs else ())
    return Game(init, (("flow", loss),), weights, {"main": main}, metrics=metrics)


def _options(steps: int, guidance: float | None) -> dict[str, Option]:
    named = ", ".join(f"{number} {name}" for number, name in enumerate(samplers.SOLVERS))
    found = {"steps": Option(steps, 1, 250, "steps of the sampler"),
             "sampler": Option(samplers.SOLVERS.index("heun"), 0, len(samplers.SOLVERS) - 1, named)}
    if guidance is None:
        return found
    return {**found,
            "guidance": Option(guidance, 0.0, 20.0, "how strictly the condition is followed; 1 as trained"),
            "guidance_low": Option(0.0, 0.0, 1.0, "time, from 0, noise, to 1, picture, at which guidance begins"),
            "guidance_high": Option(1.0, 0.0, 1.0, "time at which guidance ends")}


def _like(t: Array, x: Array) -> Array:
    """[n] -> [n,1,...] with as many axes as x."""
    return t.reshape(-1, *(1,) * (x.ndim - 1))
