"""A generator without a network, whose pictures are a linear function of the latent: known answers for every verb."""
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax import api
from imggen_jax.game import Game, Generator, Spec
from imggen_jax.sampling import sampler, to_uint8

SIZE, LATENT = 16, 6
SPEC = Spec(SIZE, 1, 0)
# Each number of the latent is the grey of one block of pixels.
BLOCKS = np.zeros((LATENT, SIZE, SIZE, 1), np.float32)
for k in range(LATENT):
    BLOCKS[k, 4 * (k // 3):4 * (k // 3) + 4, 5 * (k % 3):5 * (k % 3) + 5] = 0.25


def model(*, mapped: bool = False, amortised: bool = False, prior=None) -> api.Model:
    """w = A z + 1 where mapped; picture = w . blocks, from grey level 0."""
    matrix = np.diag(np.linspace(0.5, 2, LATENT)).astype(np.float32)

    def synthesis(weights, w, condition):
        return jnp.clip(jnp.tensordot(w, weights["blocks"], 1), -1, 1)

    def mapping(weights, z):
        return z @ weights["matrix"] + 1

    def decode(weights, z, condition):
        return synthesis(weights, mapping(weights, z) if mapped else z, condition)

    def encode(weights, images, condition):
        blocks = weights["blocks"].reshape(LATENT, -1)
        return images.reshape(len(images), -1) @ blocks.T / jnp.sum(blocks**2, axis=-1)

    generator = Generator(
        prior=prior or (lambda key, n: jax.random.normal(key, (n, LATENT))), decode=decode, encode=encode,
        amortised=amortised,
        **({"mapping": mapping, "synthesis": synthesis} if mapped else {}))
    game = Game(init=None, moves=(), weights=lambda params, extra: params, generator=generator)
    weights = {"blocks": BLOCKS, "matrix": matrix}
    functions = {"sample": sampler(generator, SPEC), "encode": jax.jit(
        lambda weights, images, condition: encode(weights, images.astype(jnp.float32) / 127.5 - 1, condition)),
        "decode": jax.jit(lambda weights, z, condition: to_uint8(decode(weights, z, condition)))}
    return api.Model({"train": {"batch": 1}}, SPEC, (), 1, SimpleNamespace(average=weights), game, functions)
