"""The classifier's game: its figures, several labels at once, and that it learns what real pictures show."""
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from imggen_jax import step
from imggen_jax.game import Field, make_spec
from imggen_jax.games import classifier

NETWORK = {"name": "classifier", "widths": (4, 8), "blocks": (1, 0), "features": 8}


def make(spec, **changes):
    return classifier.make(spec, **{"dtype": "float32", "network": NETWORK, "augment": (), **changes})


def spec_of(size, *classes):
    labels = {f"label{k}": Field((), "int32", tuple(map(str, range(n)))) for k, n in enumerate(classes)}
    return make_spec(image=Field((size, size, 3), "uint8"), **labels)


def batch(spec, n=8):
    found = tiny.examples(tiny.LABELED, 1, n)
    return {"image": found["image"][0]} | {
        name: found["label"][0] % field.classes for name, field in spec.items() if field.classes}


@pytest.mark.parametrize("classes", [(4,), (4, 2)])
def test_an_untrained_one_finds_every_class_as_likely(classes):
    spec = spec_of(16, *classes)
    game = make(spec)
    params, mutable = jax.jit(lambda key: game.init(key, spec))(jax.random.key(0))
    figures = jax.jit(game.metrics)(game.weights(params, mutable), batch(spec), jax.random.key(1))
    np.testing.assert_allclose(figures["cross_entropy"], np.full(8, sum(map(math.log, classes))), rtol=1e-6)


def test_several_labels_are_learned_from_the_same_features_and_counted_apart():
    spec = spec_of(16, 4, 2)
    game, data = make(spec), batch(spec, 32)
    optimizers = {"classifier": optax.adam(5e-3)}
    state = jax.jit(lambda: step.init_state(game, optimizers, jax.random.key(0), spec))()
    one = jax.jit(functools.partial(step.train_step, game, optimizers, lambda seen, size: 1.0, lambda b, key: b))
    for _ in range(60):
        state, logs = one(state, data, jax.random.key(1), {})
    assert logs["classifier/accuracy"] > 0.95
    images = data["image"] / np.float32(127.5) - 1
    logits = jax.jit(game.main.logits)(state.average, images)
    assert [each.shape for each in logits] == [(32, 4), (32, 2)]
    assert game.main.targets == ("label0", "label1")
    for name, each in zip(game.main.targets, logits):
        assert np.mean(np.argmax(each, -1) == data[name]) > 0.9
    wrong = {**data, "label1": 1 - data["label1"]}
    half = jax.jit(game.metrics)(state.average, wrong, jax.random.key(2))["accuracy"]
    assert set(np.asarray(half).tolist()) <= {0.0, 0.5, 1.0} and abs(float(jnp.mean(half)) - 0.5) < 0.1


@pytest.mark.parametrize(("spec", "changes", "message"), [
    (spec_of(16), {}, "needs labels"),
    (spec_of(16, 2), {"augment": ("mirror",)}, "unknown augmentation 'mirror'"),
])
def test_what_cannot_be_made_is_named(spec, changes, message):
    with pytest.raises(ValueError, match=message):
        make(spec, **changes)


def test_a_size_or_shape_that_the_network_does_not_have_is_named():
    for spec, network, message in (
        (spec_of(8, 2), NETWORK, "cannot see 8x8 images"),
        (spec_of(16, 2), {**NETWORK, "blocks": (1,)}, "2 widths and 1 numbers of blocks"),
    ):
        game = make(spec, network=network)
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(lambda key: game.init(key, spec), jax.random.key(0))
