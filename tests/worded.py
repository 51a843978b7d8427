"""A generator without a network: its pictures are a linear function of the latent and of how often each word is said.
"""
import jax
import jax.numpy as jnp
import numpy as np
import tiny

from imggen_jax import conditioning
from imggen_jax.game import Field, Game, Generator, Option
from imggen_jax.model import Model

SIZE, LATENT, LENGTH = 16, 6, 6
WORDS = ("a", "smiling", "sad", "person", "blue", "hair", "beard", "no")
SPEC = tiny.spec_of(SIZE, 1, text=Field((LENGTH,), "int32", WORDS))
# A block of pixels for each number of the latent, in the upper half, and for each word, in the lower one.
BLOCKS = np.zeros((LATENT + len(WORDS), SIZE, SIZE, 1), np.float32)
for k in range(LATENT):
    BLOCKS[k, 4 * (k // 3):4 * (k // 3) + 4, 5 * (k % 3):5 * (k % 3) + 5] = 0.2
for k in range(len(WORDS)):
    BLOCKS[LATENT + k, 8 + 4 * (k // 4):12 + 4 * (k // 4), 4 * (k % 4):4 * (k % 4) + 4] = 0.2


def seen(images):
    """(latents [n,LATENT], how often each word is said [n,words]) of uint8 images none of whose blocks is at an end."""
    blocks = BLOCKS.reshape(len(BLOCKS), -1)
    found = (images.reshape(len(images), -1) / 127.5 - 1) @ blocks.T / np.sum(blocks**2, axis=-1)
    return found[:, :LATENT], found[:, LATENT:]


def said(*words):
    """How often each word is said, [words]."""
    return np.array([words.count(word) for word in WORDS], float)


def model(*, guided: bool = False, mixes: bool = True, encodes: bool = True) -> Model:
    """guided: a sampler with steps and guidance, which takes a negative text; else guidance is a matter of mixing."""
    def counts(text):
        return jnp.sum(jax.nn.one_hot(text - 2, len(WORDS)), axis=1)

    def condition(weights, fields):
        each, shares = conditioning.apart(fields)
        found = {"with": conditioning.together(counts(each["text"]), shares)}
        return {**found, "without": counts(fields["negative"]) if "negative" in fields else 0 * found["with"]}

    def decode(weights, z, condition, options):
        said = condition["with"]
        if guided:
            said = condition["without"] + options["guidance"] * (said - condition["without"])
        return jnp.clip(jnp.tensordot(jnp.concatenate([z, said], axis=-1), weights["blocks"], 1), -1, 1)

    def encode(weights, images, condition):
        blocks = weights["blocks"][:LATENT].reshape(LATENT, -1)
        return images.reshape(len(images), -1) @ blocks.T / jnp.sum(blocks**2, axis=-1)

    options = {"steps": Option(8, 1, 50, "steps"), "guidance": Option(2.0, 0.0, 20.0, "guidance")} if guided else {}
    generator = Generator(
        prior=lambda key, n, condition: jax.random.normal(key, (n, LATENT)), decode=decode, condition=condition,
        needs=("text",), encode=encode if encodes else None, options=options,
        accepts={"negative": "text"} if guided else {}, mixes=("text",) if mixes else ())
    def metrics(weights, batch, key):
        x = batch["image"].astype(jnp.float32) / 127.5 - 1
        fields = {"text": batch["text"]}
        again = decode(weights, encode(weights, x, None), condition(weights, fields), {"guidance": 1.0})
        error = jnp.mean(jnp.square(again - x), axis=(1, 2, 3)) + 0 * jax.random.normal(key)
        return {"flow_loss": error} if guided else {"elbo": -error}

    game = Game(init=None, moves=(), weights=lambda params, mutable: params, models={"main": generator},
                metrics=metrics)
    return Model({"train": {"batch": 1}}, SPEC, 1, {"blocks": BLOCKS}, game, "main")
