"""The flow: its loss in closed form, the way back, guidance, latents, and the editing verbs on it."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from imggen_jax import editing, latents
from imggen_jax.augment import to_float
from imggen_jax.config import check
from imggen_jax.errors import ConfigError, RunError
from imggen_jax.game import Pretrained
from imggen_jax.games import flow
from imggen_jax.model import Model
from imggen_jax.training.build import build

UNET = {"name": "unet_flow", "patch": 2, "widths": (4, 8), "blocks": (1, 0), "heads": 2}
DIT = {"name": "dit", "patch": 4, "width": 8, "layers": 1, "heads": 2}
SPEC = tiny.spec_of(8, 3, text=tiny.TEXTS["text"])


def batch_of(spec, number=4):
    return jax.tree.map(lambda x: x[0], tiny.examples(spec, 1, number))


@functools.cache
def made(spec=SPEC, **options):
    """(the game, its weights with no leaf at zero): a smooth velocity that nothing has trained."""
    game = flow.make(spec, dtype="float32", network=UNET, condition={"width": 8, "layers": 1}, steps=8, **options)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: game.init(jax.random.key(0), spec)[0])
    return game, jax.tree.map(lambda leaf: rng.normal(0, 0.15, leaf.shape).astype(np.float32), shapes)


@functools.cache
def compiled(**fixed):
    game, weights = made()
    return jax.jit(lambda z, fields, others: game.main.decode(
        weights, z, game.main.condition(weights, fields), {**fixed, **others}))


def decoder(steps=8, sampler=1, **others):
    """(latents [n,...], fields) -> pictures; the options of guidance take no program of their own."""
    others = {"guidance": 2.0, "guidance_low": 0.0, "guidance_high": 1.0, **others}
    return lambda z, fields: compiled(steps=steps, sampler=sampler)(z, fields, others)


@pytest.mark.parametrize("prediction", flow.PREDICTIONS)
def test_the_loss_before_training_is_what_a_network_of_zeros_has(prediction):
    spec = tiny.spec_of(8, 3)
    game = flow.make(spec, dtype="float32", network=DIT, prediction=prediction)
    params, mutable = tiny.init(game, spec)
    batch, key = batch_of(spec), jax.random.key(1)
    found = jax.jit(game.metrics)(game.weights(params, mutable), batch, key)
    x = to_float(batch["image"])
    noise = jax.random.normal(key, x.shape)
    for t in flow.MEASURED:
        # Of a picture of zeros, the velocity is wrong by x / (1 - t); of a velocity of zeros, by x - noise.
        wrong = x / (1 - t) if prediction == "picture" else x - noise
        np.testing.assert_allclose(found[f"loss_{t:g}"], jnp.mean(wrong**2, axis=(1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(found["flow_loss"], np.mean([found[f"loss_{t:g}"] for t in flow.MEASURED], axis=0),
                               rtol=1e-5)


def test_every_example_is_drawn_several_times():
    spec = tiny.spec_of(8, 3, text=tiny.TEXTS["text"])
    game = flow.make(spec, dtype="float32", network=DIT, condition={"width": 8, "layers": 1}, draws=3)
    params, mutable = tiny.init(game, spec)
    batch, key = batch_of(spec), jax.random.key(1)
    found, _ = jax.jit(game.moves[0][1])(params, mutable, batch, tiny.clock(), key)
    noise = jax.random.normal(jax.random.split(key, 3)[0], (12, 8, 8, 3))
    x = jnp.repeat(to_float(batch["image"]), 3, axis=0)
    np.testing.assert_allclose(found, jnp.mean((x - noise)**2), rtol=1e-5)  # of a velocity of zeros


def test_the_way_back_and_forth_again_gives_the_picture():
    game, weights = made()
    batch = batch_of(SPEC)
    x, fields = 0.5 * to_float(batch["image"]), {"text": batch["text"]}
    z = jax.jit(lambda x, fields: game.main.encode(weights, x, game.main.condition(weights, fields)))(x, fields)
    way = np.abs(z - x).mean()
    assert way > 0.02  # the velocity is not nothing
    assert np.abs(decoder(steps=16)(z, fields) - x).mean() < way / 10


def test_guidance_and_its_interval_decide_how_much_a_text_says():
    batch = batch_of(SPEC)
    z, fields = jax.random.normal(jax.random.key(2), (4, 8, 8, 3)), {"text": batch["text"]}
    other = {"text": np.roll(batch["text"], 1, axis=1)}
    # Nothing at 0, more at 3 than at 1.
    gaps = [np.abs(decoder(guidance=scale)(z, fields) - decoder(guidance=scale)(z, other)).mean()
            for scale in (0.0, 1.0, 3.0)]
    assert gaps[0] < 1e-5 < gaps[1] < gaps[2]
    plain, strong = decoder(guidance=1.0)(z, fields), decoder(guidance=3.0)(z, fields)
    nowhere = decoder(guidance=3.0, guidance_low=0.6, guidance_high=0.5)(z, fields)
    np.testing.assert_allclose(nowhere, plain, atol=1e-5)
    some = decoder(guidance=3.0, guidance_high=0.3)(z, fields)
    assert min(np.abs(some - plain).max(), np.abs(some - strong).max()) > 1e-3
    # Away from a text instead of from nothing; from padding alone is from nothing.
    avoided = decoder(guidance=3.0)(z, {**fields, "negative": other["text"]})
    assert np.abs(avoided - strong).max() > 1e-3
    np.testing.assert_allclose(decoder(guidance=3.0)(z, {**fields, "negative": 0 * other["text"]}), strong, atol=1e-5)


def test_the_samplers_are_three_and_agree():
    # Their orders are tested in test_samplers.py: what nothing has trained is too rough in time to show them.
    batch = batch_of(SPEC)
    z, fields = jax.random.normal(jax.random.key(2), (4, 8, 8, 3)), {"text": batch["text"]}
    euler, heun, dpmpp = (np.asarray(decoder(steps=16, sampler=number)(z, fields)) for number in (0, 1, 2))
    way = np.abs(heun - np.clip(z, -1, 1)).mean()
    for one, other in ((euler, heun), (dpmpp, heun), (euler, dpmpp)):
        assert 1e-5 < np.abs(one - other).mean() < way / 5, way


def test_latents_are_standardized_by_what_was_measured():
    spec = tiny.spec_of(16, 3)
    game = flow.make(spec, dtype="float32", network={**DIT, "patch": 1},
                     pretrained={"autoencoder": tiny.toy_autoencoder()})
    params, mutable = tiny.init(game, spec)
    params = {**params, "autoencoder": tiny.toy_autoencoder().weights}
    run = jax.jit(lambda mutable, batch, step: game.moves[0][1](
        params, mutable, batch, tiny.clock()._replace(step=step), jax.random.key(0))[1][0])
    batches = [jax.tree.map(lambda x: x[i], tiny.examples(spec, 3, 8)) for i in range(3)]
    for step, batch in enumerate(batches):
        mutable = run(mutable, batch, step)
    weights = {**game.weights(params, mutable), "autoencoder": params["autoencoder"]}
    found = tiny.toy_autoencoder().apply["encode"](
        params["autoencoder"], to_float(np.concatenate([batch["image"] for batch in batches])), None)
    np.testing.assert_allclose(weights["latents"]["mean"], found.mean((0, 1, 2)), atol=1e-4)
    assert found.std() > 2 and game.main.prior(jax.random.key(0), 2, None).shape == (2, 4, 4, 4)
    # No velocity yet: the way back ends where it begins, at standardized latents.
    z = game.main.encode(weights, to_float(batches[0]["image"]), None)
    assert np.all(np.abs(z.mean((0, 1, 2))) < 0.5) and np.all(np.abs(z.std((0, 1, 2)) - 1) < 0.4)
    seen = game.main.decode(weights, z, None, {})
    small = to_float(batches[0]["image"]).reshape(8, 4, 4, 4, 4, 3).mean((2, 4))
    np.testing.assert_allclose(seen[:, ::4, ::4], small, atol=1e-4)


def test_latents_that_are_vectors_are_maps_of_one_place():
    toy = tiny.toy_autoencoder()
    apply = {"encode": lambda *args: toy.apply["encode"](*args).reshape(-1, 64),
             "decode": lambda weights, z, *args: toy.apply["decode"](weights, z.reshape(-1, 4, 4, 4), *args)}
    vectors = latents.of((16, 16, 3), toy._replace(apply=apply))
    assert vectors.shape == (1, 1, 64)
    images = to_float(batch_of(tiny.spec_of(16, 3))["image"])
    weights = {"autoencoder": toy.weights, "latents": {"mean": jnp.full(64, 0.5), "square": jnp.full(64, 4.25)}}
    x = vectors.enter(weights, images)
    np.testing.assert_allclose(x.reshape(-1, 64), (apply["encode"](toy.weights, images, None) - 0.5) / 2, atol=1e-5)
    np.testing.assert_allclose(vectors.leave(weights, x), toy.apply["decode"](
        toy.weights, toy.apply["encode"](toy.weights, images, None), None, {}), atol=1e-5)


def test_what_cannot_be_is_one_clear_line():
    def fails(message, pretrained=None, **options):
        settings = tiny.config("flow", "pixels", tiny.TEXTS)
        settings["game"] |= options
        with pytest.raises(ConfigError, match=message):
            build(check(settings), tiny.TEXTS, pretrained)

    fails("config.game: unknown prediction 'noise'; choose from velocity, picture", prediction="noise")
    fails("config.game: drop is 1.0; it is a share", drop=1.0)
    fails("config.game: draws is 0; it must be at least 1", draws=0)
    fails("sides are multiples of 12, not 16x16; choose another game.network.patch", network={**UNET, "patch": 6})
    fails("config.game: 3 heads do not divide a width of 8", network={**DIT, "heads": 3})
    rows = Pretrained({}, {"encode": lambda w, x, c: x.reshape(len(x), 16, -1), "decode": None}, "x")
    fails("config.pretrained.autoencoder has latents .1, 16, 48., and maps", {"autoencoder": rows})
    fails("config.pretrained.autoencoder has no encoder", {"autoencoder": rows._replace(apply={"features": None})})


def test_every_editing_verb_works_on_it():
    game, weights = made()
    model = Model(tiny.config("flow", "pixels", SPEC), SPEC, 1, weights, game, "main")
    given = {"text": "a red cat"}
    avoiding = model.sample([1], {**given, "negative": "blue"})
    assert avoiding.shape == (1, 8, 8, 3) and np.any(avoiding != model.sample([1], given))
    with pytest.raises(RunError, match="'source' is given, but .* it takes text, negative"):
        model.sample([1], {**given, "source": "blue"})
    latents = editing.seeds(model, [1, 2], given=given)
    way = editing.interpolate(model, latents, 3)
    ends = editing.show(model, way)[[0, 2]].astype(int)
    assert np.abs(ends - editing.show(model, latents)).max() <= 1  # made at other places of the batch
    assert len(editing.breed(model, latents, 2).w) == 2
    images = editing.show(model, latents)
    found = editing.project(model, images, given=given, steps=0)
    # Of what is not clipped, the way back leads to the same picture.
    again = editing.show(model, found.latents).astype(int)
    inside = (images > 5) & (images < 250)
    assert np.abs(again - images)[inside].mean() < 12
    assert editing.distance(model, latents.w).shape == (2,)
