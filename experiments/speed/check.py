"""Twin and ours are the same computation: same weights and noise in, same loss and gradients out."""
from __future__ import annotations

import functools
import math

import cases
import jax
import jax.numpy as jnp
import numpy as np
import torch
import twins
from ours import noise

import imggen_jax
from imggen_jax.augment import to_float
from imggen_jax.devices import use_compile_cache
from imggen_jax.game import Clock

BATCH = 16
TOLERANCE = 1e-4


def check(case: cases.Case) -> float:
    """The largest relative difference, over all moves, of the loss and of the mover's whole gradient (in norm).

    In norm, for a rectifier whose input is zero to rounding may go either way, which moves a few entries at once.
    """
    use_compile_cache()
    torch.manual_seed(0)
    overrides = {"train__batch": BATCH} | ({"game__augment": ()} if "gan" in case.file else {})
    settings = cases.settings(case, **overrides)
    game = imggen_jax.build(cases.read(case, **overrides), case.spec).game
    batch, clock = noise(case.shape, BATCH), Clock(np.int32(10_000 // BATCH), np.float32(10_000))
    params, mutable = jax.jit(functools.partial(game.init, spec=case.spec))(jax.random.key(0))
    # Away from the start, where whole layers are zero and their gradients with them.
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    leaves = [leaf + 0.02 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys)]
    params = jax.tree.unflatten(structure, leaves)
    twin = twins.Twin(case, compiled=False, **overrides)
    twin.put(params)
    worst = 0.0
    for who, loss in game.moves:
        key = jax.random.key(2)
        (value, _), grads = jax.jit(jax.value_and_grad(
            lambda mine: loss({**params, who: mine}, mutable, batch, clock, key), has_aux=True))(params[who])
        theirs = _loss(twin, who, settings, batch, clock, key)
        mine = torch.autograd.grad(theirs, list(twin.networks[who].parameters()))
        mine = {id(p): g.numpy() for p, g in zip(twin.networks[who].parameters(), mine)}
        pairs = [(mine[id(p)], ours) for p, ours in twin.pairs({**params, who: grads}) if id(p) in mine]
        assert len(pairs) == len(mine)
        far, long = (math.sqrt(sum(float(np.sum(np.square(np.float64(x)))) for x in xs)) for xs in (
            (a - b for a, b in pairs), (b for _, b in pairs)))
        worst = max(worst, abs(float(value) - theirs.item()) / abs(float(value)), far / long)
    return worst


def _loss(twin: twins.Twin, who: str, settings, batch, clock: Clock, key) -> torch.Tensor:
    """The twin's loss on the noise that our game draws from this key."""
    def to_torch(x):
        return torch.from_numpy(np.array(x))

    real = to_float(jnp.asarray(batch["image"]))
    shape = (BATCH, twin.latent)
    if who == "vae":
        key_x, key_z = jax.random.split(key)
        if settings.game["likelihood"] == "bernoulli":
            x = jnp.where(jax.random.uniform(key_x, real.shape) < (real + 1) / 2, 1.0, -1.0)
        else:
            x = real + jax.random.uniform(key_x, real.shape, minval=-0.5, maxval=0.5) / 127.5
        x = to_torch(x).permute(0, 3, 1, 2)
        return twin.vae_loss(x, to_torch(jax.random.normal(key_z, shape)), float(clock.images_seen))
    z = to_torch(jax.random.normal(jax.random.split(key, 4)[0], shape))
    label = to_torch(batch["label"]).long() if "label" in batch else None
    loss = {"discriminator": twin.discriminator_loss, "generator": twin.generator_loss}[who]
    return loss(to_torch(real).permute(0, 3, 1, 2), label, z)
