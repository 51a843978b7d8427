"""Steps of this project's GAN against the same steps of R3GAN's published code, with all of its schedules.

experiments/cifar10/steps.py writes r3gan_steps.json with the published code.
"""
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import r3gan_inputs as inputs
import tiny

from imggen_jax import optim, step
from imggen_jax.games import gan

GOLDEN = json.loads(Path(__file__).with_name("r3gan_steps.json").read_text())
NETWORK = {"name": "r3gan", "widths": (inputs.WIDTH,) * inputs.STAGES, "blocks": (inputs.BLOCKS,) * inputs.STAGES,
           "cardinality": (inputs.CARDINALITY,) * inputs.STAGES, "expansion": 2}


def test_losses_gradients_and_the_average_are_those_of_the_published_code():
    spec = tiny.spec_of(inputs.SIDE, 3, inputs.CLASSES)
    game = gan.make(spec, dtype="float32", generator=NETWORK, discriminator=NETWORK, latent=inputs.LATENT,
                    r1=inputs.GAMMAS[0], r2=inputs.GAMMAS[0], burn_in=inputs.SPAN,
                    penalty_final=inputs.GAMMAS[1] / inputs.GAMMAS[0])
    adam = dict(images=inputs.STEPS * inputs.BATCH, batch=inputs.BATCH, accumulate=1, optimizer="adam", warmup=0,
                learning_rate=inputs.RATES[0], final=inputs.RATES[1] / inputs.RATES[0], decay="cosine", clip=0.0,
                span=inputs.SPAN, b1=0.0, b2=inputs.BETAS[1], b2_start=inputs.BETAS[0])
    optimizers = dict.fromkeys(("generator", "discriminator"), optim.make(**adam))
    rate = optim.average_rate(halflife=inputs.HALFLIVES[1], rampup=0.0, rise=inputs.SPAN)
    state = jax.jit(lambda: step.init_state(game, optimizers, jax.random.key(0), spec))()
    params = inputs.filled(state.params)
    state = state._replace(params=params, average=game.weights(params, state.mutable))
    one = functools.partial(step.train_step, game, optimizers, rate, lambda batch, key: batch)

    @jax.jit
    def play(state, batches):
        state, logs = step.play(one, state, batches, jax.random.key(5), {})
        told = game.main.condition(state.average, {"label": batches["label"][0]})
        return logs, game.main.decode(state.average, jnp.ones((inputs.BATCH, inputs.LATENT)), told, {})

    logs, images = play(state, inputs.batches())
    penalties = (logs["discriminator/r1"] + logs["discriminator/r2"])
    np.testing.assert_allclose(logs["loss"][:, 1], GOLDEN["generator"], rtol=2e-5)
    np.testing.assert_allclose(logs["loss"][:, 0], GOLDEN["discriminator"], rtol=2e-5)
    np.testing.assert_allclose(penalties, GOLDEN["penalties"], rtol=2e-4)
    np.testing.assert_allclose(logs["grad_norm"], GOLDEN["gradients"], rtol=2e-4)
    np.testing.assert_allclose(images[0, ::5, ::5, 0], GOLDEN["image"], atol=2e-5)


def test_the_latents_of_the_published_code_were_those_of_the_game():
    """The same keys draw the same numbers as when the file was written."""
    drawn = jax.random.normal(_key(0, 0), (inputs.BATCH, inputs.LATENT))
    np.testing.assert_allclose(drawn[0], GOLDEN["latent"], rtol=1e-6)


def _key(number, move):
    return jax.random.split(jax.random.fold_in(jax.random.fold_in(jax.random.key(5), number), move), 4)[0]
