"""A generator without a network, whose images are a linear function of the latent: known answers for every verb."""
import jax
import jax.numpy as jnp
import numpy as np
import tiny

from imggen_jax.game import EditSpace, Game, Generator
from imggen_jax.model import Model

SIZE, LATENT = 16, 6
SPEC = tiny.spec_of(SIZE, 1)
# Each number of the latent is the gray of one block of pixels.
BLOCKS = np.zeros((LATENT, SIZE, SIZE, 1), np.float32)
for k in range(LATENT):
    BLOCKS[k, 4 * (k // 3):4 * (k // 3) + 4, 5 * (k % 3):5 * (k % 3) + 5] = 0.25


def seen(images):
    """The latents w [n,LATENT] of uint8 images, none of whose blocks is black or white."""
    blocks = BLOCKS.reshape(LATENT, -1)
    return (images.reshape(len(images), -1) / 127.5 - 1) @ blocks.T / np.sum(blocks**2, axis=-1)


def model(*, mapped: bool = False, encodes: bool = False, prior=None) -> Model:
    """w = A z + 1 where mapped; image = w . blocks, from gray level 0."""
    matrix = np.diag(np.linspace(0.5, 2, LATENT)).astype(np.float32)

    def synthesize(weights, w, condition, options):
        return jnp.clip(jnp.tensordot(w, weights["blocks"], 1), -1, 1)

    def enter(weights, z):
        return z @ weights["matrix"] + 1

    def decode(weights, z, condition, options):
        return synthesize(weights, enter(weights, z) if mapped else z, condition, options)

    def encode(weights, images, condition):
        blocks = weights["blocks"].reshape(LATENT, -1)
        return images.reshape(len(images), -1) @ blocks.T / jnp.sum(blocks**2, axis=-1)

    generator = Generator(
        prior=prior or (lambda key, n, condition: jax.random.normal(key, (n, LATENT))), decode=decode,
        encode=encode if encodes else None, edit_space=EditSpace(enter, synthesize) if mapped else None)
    game = Game(init=None, moves=(), weights=lambda params, mutable: params, models={"main": generator})
    weights = {"blocks": BLOCKS, "matrix": matrix}
    return Model({"train": {"batch": 1}}, SPEC, 1, weights, game, "main")
