"""Generative adversarial networks: two players, any of four losses, gradient penalties, DiffAugment and ADA."""
from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from imggen_jax import ada, conditioning, losses, optim
from imggen_jax import augment as aug
from imggen_jax import spec as specs
from imggen_jax.game import (
    Array,
    Batch,
    Clock,
    Condition,
    EditSpace,
    Game,
    Generator,
    Key,
    Mutable,
    Options,
    Params,
    PyTree,
    Spec,
    Weights,
)
from imggen_jax.nets import mapping as nets_mapping

# A generator may start as the decoder of a trained VAE: nets/vae.py, without a mapping network.
INHERITS = {"vae": {"vae.decoder": "generator.synthesis", "vae.text": "generator.text"}}
LOSSES = ("non_saturating", "hinge", "wasserstein", "relativistic")
STEERED = ("non_saturating", "hinge")  # whose logits have a zero between real and fake
ADAPTS = 500_000                       # images in which ADA's strength can go from 0 to 1


def make(
    spec: Spec,
    *,
    dtype: str,
    generator: Mapping[str, Any],
    discriminator: Mapping[str, Any],
    latent: int = 64,
    mapping: int = 0,
    loss: str = "relativistic",
    r1: float = 1.0,
    r2: float = 1.0,
    burn_in: int = 0,
    penalty_final: float = 1.0,
    gradient_penalty: float = 0.0,
    critic_moves: int = 1,
    augment: Sequence[str] = (),
    augment_strength: float = 1.0,
    augment_rise: int = 0,
    augment_target: float = 0.0,
    condition: Mapping[str, Any] = {},
    drop: float = 0.1,
) -> Game:
    """The game of a generator against a discriminator.

    R3GAN (arXiv 2501.05441) is loss="relativistic" with equal r1 and r2; WGAN-GP is loss="wasserstein" with
    gradient_penalty=10 and critic_moves=5. As in R3GAN's code, R1 and R2 are gradients in the images before
    augmentation, and each real image, its fake and its label share a row. Real and fake are augmented independently.

    Args:
      spec: fields of an example: a square "image"; a "label", a "text" or both condition the model.
      generator, discriminator: `name`, a module of imggen_jax/nets, and keyword arguments of its class.
      dtype: of the computations inside the networks, "float32" or "bfloat16".
      latent: length of z, which is normal.
      mapping: dense layers between z and the generator, imggen_jax/nets/mapping.py; 0 for none.
      loss: "non_saturating", "hinge", "wasserstein" or "relativistic".
      r1, r2: gamma of the zero-centered gradient penalty on real and on fake images; 0 for none.
      burn_in: images over which both gammas fall along half a cosine, as R3GAN's do; 0 for constant ones. A large gamma
        keeps all kinds of pictures alive at the start, a small one lets details become sharp later.
      penalty_final: the factor on both gammas in the end.
      gradient_penalty: weight of WGAN-GP's penalty; 0 for none.
      critic_moves: moves of the discriminator in each round, before the generator's one.
      augment: DiffAugment's policies, of `augment.POLICIES`, and ADA's, of `ada.POLICIES`; () for none.
      augment_strength: probability of ADA's, at the end of `augment_rise`; the largest where `augment_target` is set.
      augment_rise: images over which the probability rises from 0 along half a cosine, as R3GAN's does; 0: at once.
      augment_target: share of real images, -1 to 1 for none to all, that the discriminator may know: where it is
        larger, the probability grows, from 0, and else falls (arXiv 2006.06676 has 0.6); 0: it is not steered.
      condition: arguments of `conditioning.make`, read with a "text": width, layers and heads of the text encoder, of
        which each player has its own.
      drop: share of examples that are trained without their text.

    Raises:
      ValueError: an unknown loss, augmentation or an impossible size or number of layers.
    """
    if loss not in LOSSES:
        raise ValueError(f"unknown GAN loss {loss!r}; choose from {', '.join(LOSSES)}")
    if critic_moves < 1:
        raise ValueError(f"critic_moves is {critic_moves}; the discriminator needs at least one move in each round")
    always = tuple(name for name in augment if name not in ada.POLICIES)
    by_chance = tuple(name for name in augment if name in ada.POLICIES)
    _check_augment(always, by_chance, loss, augment_strength, augment_rise, augment_target)
    if mapping < 0:
        raise ValueError(f"mapping is {mapping}; it is a number of layers, 0 for none")
    if burn_in < 0 or penalty_final < 0:
        raise ValueError(f"burn_in is {burn_in} and penalty_final {penalty_final}; neither may be negative")
    size, channels = specs.square(spec)
    given, texts = conditioning.make(spec, dtype=dtype, **condition), "text" in spec
    m = nets_mapping.Mapping(mapping, jnp.dtype(dtype)) if mapping else None
    g = _network("Generator", size, channels, given.table, dtype, **generator)
    d = _network("Discriminator", size, channels, given.table, dtype, **discriminator)
    adversarial = getattr(losses, loss)

    def init(key: Key, spec: Spec):
        key_g, key_d = jax.random.split(key)
        own = [{"text": given.init(jax.random.fold_in(each, 2))} if texts else {} for each in (key_g, key_d)]
        variables = g.init(key_g, jnp.zeros((1, latent)), said(own[0], given.zeros), train=True)
        mine = {"synthesis": variables["params"], **own[0]}
        if m is not None:
            mine["mapping"] = m.init(jax.random.fold_in(key_g, 1), jnp.zeros((1, latent)))["params"]
        images = jnp.zeros((1, *specs.image_shape(spec)))
        judge = d.init(key_d, images, said(own[1], given.zeros))["params"]
        params = {"generator": mine, "discriminator": {**judge, **own[1]}}
        steered = {"strength": jnp.zeros(())} if augment_target else {}
        return params, {"statistics": variables.get("statistics", {}), **steered}

    def said(mine: Mapping[str, PyTree], fields: Mapping[str, Array]):
        """What a player reads of the condition."""
        return given.brief(mine.get("text"), fields)

    def to_w(params: Params, z: Array):
        return m.apply({"params": params["generator"]["mapping"]}, z) if m is not None else z

    def generate(params: Params, mutable: Mutable, z: Array, condition: Condition):
        variables = {"params": params["generator"]["synthesis"], "statistics": mutable["statistics"]}
        fake, changed = g.apply(variables, to_w(params, z), condition, train=True, mutable=["statistics"])
        return fake, {**mutable, "statistics": changed.get("statistics", {})}

    def strength(mutable: Mutable, clock: Clock):
        """Of ADA's augmentations."""
        if augment_target:
            return mutable["strength"]
        rises = optim.half_cosine(0.0, augment_strength, augment_rise)
        return rises(clock.images_seen) if augment_rise else augment_strength

    def steered(mutable: Mutable, logits: Array):
        """Stronger where the discriminator knows too many of the real images, else weaker."""
        if not augment_target:
            return mutable
        step = jnp.sign(jnp.mean(jnp.sign(logits)) - augment_target) * logits.shape[0] / ADAPTS
        return {**mutable, "strength": jnp.clip(mutable["strength"] + step, 0, augment_strength)}

    def deal(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        """What both players see: real and fake images, new statistics, and a judge for each kind."""
        key_z, key_real, key_fake, key_rest = jax.random.split(key, 4)
        batch = given.drop(batch, jax.random.fold_in(key_z, 1), drop) if texts else batch
        real, told, asked = aug.to_float(batch["image"]), *(
            said(params[who], batch) for who in ("generator", "discriminator"))
        fake, mutable = generate(params, mutable, prior(key_z, real.shape[0], told), told)

        chance = strength(mutable, clock)

        def judge(key: Key):
            def logits(x: Array):
                x, other = aug.diff_augment(x, key, always), jax.random.fold_in(key, len(aug.POLICIES))
                x = ada.augment(x, other, by_chance, chance)
                return d.apply({"params": params["discriminator"]}, x, asked)

            return logits

        return real, fake, mutable, judge(key_real), judge(key_fake), key_rest

    def penalty(clock: Clock):
        """The factor on both gammas, from 1 to penalty_final."""
        return optim.half_cosine(1.0, penalty_final, burn_in)(clock.images_seen) if burn_in else 1.0

    def discriminator_loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        real, fake, _, judge_real, judge_fake, key = deal(params, mutable, batch, clock, key)
        factor = penalty(clock)
        real_logits, r1_terms = _penalized(judge_real, real, r1, factor)
        fake_logits, r2_terms = _penalized(judge_fake, fake, r2, factor)
        terms = adversarial.discriminator(real_logits, fake_logits) + r1_terms + r2_terms
        scalars = {"real": jnp.mean(real_logits), "fake": jnp.mean(fake_logits)}
        scalars |= {"r1": jnp.mean(r1_terms)} if r1 else {}
        scalars |= {"r2": jnp.mean(r2_terms)} if r2 else {}
        if gradient_penalty:
            excess = losses.interpolated_penalty(judge_real, real, fake, gradient_penalty, key)
            terms += excess
            scalars["gradient_penalty"] = jnp.mean(excess)
        if by_chance:
            scalars["augment"] = jnp.asarray(strength(mutable, clock), jnp.float32)
        value = jnp.mean(terms)
        return value, (steered(mutable, real_logits), {"loss": value, **scalars})

    def generator_loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        real, fake, mutable, judge_real, judge_fake, _ = deal(params, mutable, batch, clock, key)
        value = jnp.mean(adversarial.generator(judge_real(real), judge_fake(fake)))
        return value, (mutable, {"loss": value})

    def prior(key: Key, n: int, condition: Condition):
        del condition
        return jax.random.normal(key, (n, latent))  # float32 [n,latent]

    def synthesize(weights: Weights, w: PyTree, condition: Condition, options: Options):
        del options
        variables = {"params": weights["generator"]["synthesis"], "statistics": weights["statistics"]}
        return jnp.clip(g.apply(variables, w, condition, train=False), -1, 1)

    def decode(weights: Weights, z: Array, condition: Condition, options: Options):
        return synthesize(weights, to_w(weights, z), condition, options)

    def weights(params: Params, mutable: Mutable):
        return {"generator": params["generator"], "statistics": mutable["statistics"]}

    moves = (("discriminator", discriminator_loss),) * critic_moves + (("generator", generator_loss),)
    model = Generator(prior, decode, lambda weights, fields: said(weights["generator"], fields), needs=given.needs,
                      edit_space=EditSpace(to_w, synthesize) if mapping else None,
                      mixes=("text",) if texts else ())
    return Game(init, moves, weights, {"main": model})


def _check_augment(always: Sequence[str], by_chance: Sequence[str], loss: str, strength: float, rise: int,
                   target: float) -> None:
    names = (*aug.POLICIES, *ada.POLICIES)
    if unknown := set(always) - set(names):
        raise ValueError(f"unknown augmentation {min(unknown)!r}; choose from {', '.join(names)}")
    if not 0 <= strength <= 1 or not 0 <= target < 1 or rise < 0:
        raise ValueError(f"augment_strength is {strength:g}, augment_target {target:g} and augment_rise {rise}; the "
                         "first two are from 0 to 1, and the third is a number of images")
    if (target or rise) and not by_chance:
        raise ValueError(f"{'augment_target' if target else 'augment_rise'} is set, and augment has none of what it "
                         f"is for; add some of {', '.join(ada.POLICIES)}")
    if target and (loss not in STEERED or rise):
        raise ValueError(f"augment_target steers by the sign of logits, and needs one of the losses "
                         f"{' and '.join(STEERED)}, and augment_rise 0")


def _network(role: str, size: int, channels: int, classes: int, dtype: str, *, name: str, **keys: Any):
    module = importlib.import_module(f"imggen_jax.nets.{name}")
    return getattr(module, role)(size=size, channels=channels, classes=classes, dtype=jnp.dtype(dtype), **keys)


def _penalized(judge: Callable[[Array], Array], images: Array, gamma: float, factor: Array | float):
    """(logits, factor gamma/2 ||gradient||^2), without the cost of the gradient where gamma is 0."""
    return losses.zero_centered_penalty(judge, images, gamma * factor) if gamma else (judge(images), 0.0)
