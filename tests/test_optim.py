"""Optimizers whose lengths are in images, and the moving average's rate."""
import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from imggen_jax import optim


def make(**changes):
    keys = dict(images=1000, batch=10, accumulate=1, optimizer="sgd", learning_rate=2.0, warmup=0, decay="constant",
                final=1.0, clip=0.0)
    return optim.make(**{**keys, **changes})


def steps(optimizer, number, gradient=1.0):
    """The updates that a gradient which stays the same gets."""
    params = jnp.zeros(())
    state, found = optimizer.init(params), []
    for _ in range(number):
        update, state = optimizer.update(jnp.float32(gradient), state, params)
        found.append(-float(update))
    return np.array(found)


def test_warm_up_rises_from_nothing_over_its_images():
    np.testing.assert_allclose(steps(make(warmup=40), 7), [0, 0.5, 1, 1.5, 2, 2, 2], rtol=1e-6)
    # Twice the batch: as many images, half as many rounds.
    np.testing.assert_allclose(steps(make(warmup=40, batch=20), 4), [0, 1, 2, 2], rtol=1e-6)


def test_decay_goes_from_the_end_of_the_warm_up_to_the_end_of_the_run():
    linear = steps(make(images=100, warmup=20, decay="linear", final=0.5), 12)
    np.testing.assert_allclose(linear, [0, 1, *np.linspace(2, 1, 9), 1], rtol=1e-6)
    cosine = steps(make(images=100, warmup=20, decay="cosine", final=0.5), 12)
    expected = [1.5 + 0.5 * math.cos(math.pi * i / 8) for i in range(9)]
    np.testing.assert_allclose(cosine, [0, 1, *expected, 1], rtol=1e-6)


def test_a_span_ends_the_schedule_before_the_run_does():
    whole = steps(make(images=100, decay="cosine", final=0.5), 10)
    np.testing.assert_allclose(steps(make(images=500, span=100, decay="cosine", final=0.5), 13), [*whole, 1, 1, 1],
                               rtol=1e-6)
    with pytest.raises(ValueError, match="span is 200 images, and the run has 100"):
        make(images=100, span=200)


def test_b2_goes_along_half_a_cosine_like_the_published_schedule():
    """By hand: the averages of Adam with a b2 of its own for each update, corrected by that one's power."""
    second, expected, gradients = 0.0, [], np.random.default_rng(0).normal(size=12)
    optimizer = make(images=100, span=80, optimizer="adam", b1=0.0, b2=0.99, b2_start=0.9, eps=0.0)
    params, state, drawn = jnp.zeros(()), optimizer.init(jnp.zeros(())), []
    for i, gradient in enumerate(gradients):
        b2 = 0.99 + (0.9 - 0.99) * 0.5 * (1 + math.cos(math.pi * min(1, i / 8)))
        second = b2 * second + (1 - b2) * gradient**2
        expected.append(2.0 * gradient / math.sqrt(second / (1 - b2 ** (i + 1))))
        update, state = optimizer.update(jnp.float32(gradient), state, params)
        drawn.append(-float(update))
    np.testing.assert_allclose(drawn, expected, rtol=2e-5)
    with pytest.raises(ValueError, match="b2_start is 0.9, and there is no b2"):
        make(optimizer="sgd", b2_start=0.9)


def test_the_half_life_of_the_average_rises_along_half_a_cosine():
    rate = optim.average_rate(halflife=1000, rampup=0.0, rise=400)
    for before, halflife in ((0, 0), (100, 1000 * (1 - math.cos(math.pi / 4)) / 2), (400, 1000), (900, 1000)):
        expected = 1 - 0.5 ** (20 / max(halflife, 1e-6))
        assert float(rate(jnp.float32(before + 20), 20)) == pytest.approx(expected, rel=1e-4)


def test_the_batch_size_changes_the_rounds_and_not_the_schedule_in_images():
    one = steps(make(images=80, warmup=20, decay="cosine", final=0.1, batch=5), 16)
    two = steps(make(images=80, warmup=20, decay="cosine", final=0.1, batch=10), 8)
    np.testing.assert_allclose(one[::2], two, rtol=1e-6, atol=1e-7)


def test_accumulated_rounds_count_as_one_of_the_schedule():
    found = steps(make(warmup=40, accumulate=2, batch=5), 8)
    np.testing.assert_allclose(found, [0, 0, 0, 0.5, 0, 1, 0, 1.5], rtol=1e-6)


def test_clipping_shortens_long_gradients_and_leaves_short_ones():
    optimizer = make(clip=1.0, learning_rate=1.0)
    params = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    state = optimizer.init(params)
    long, _ = optimizer.update({"a": jnp.array([3.0, 0.0]), "b": jnp.array([4.0])}, state, params)
    np.testing.assert_allclose([*long["a"], *long["b"]], [-0.6, 0, -0.8], rtol=1e-6)
    short, _ = optimizer.update({"a": jnp.array([0.3, 0.0]), "b": jnp.array([0.4])}, state, params)
    np.testing.assert_allclose([*short["a"], *short["b"]], [-0.3, 0, -0.4], rtol=1e-6)
    assert steps(make(clip=0.0), 1, gradient=1e6) == 2e6


def test_options_reach_optax():
    params = jnp.float32(4.0)
    ours = make(optimizer="adamw", learning_rate=0.1, b1=0.3, b2=0.8, weight_decay=0.25)
    theirs = optax.adamw(0.1, b1=0.3, b2=0.8, weight_decay=0.25)
    a, b = ours.init(params), theirs.init(params)
    for gradient in (1.0, -2.0, 0.5):
        mine, a = ours.update(jnp.float32(gradient), a, params)
        other, b = theirs.update(jnp.float32(gradient), b, params)
        np.testing.assert_allclose(mine, other, rtol=1e-6)


def test_wrong_names_are_named():
    with pytest.raises(ValueError, match="no optimizer 'adma'"):
        make(optimizer="adma")
    with pytest.raises(ValueError, match="'exponential'.*choose one of constant, cosine, linear"):
        make(decay="exponential")
    with pytest.raises(ValueError, match="bta"):
        make(optimizer="adam", bta=0.5)
    with pytest.raises(TypeError, match="warmup"):
        optim.make(images=1, batch=1, accumulate=1, optimizer="sgd", learning_rate=1.0, decay="constant", final=1.0,
                   clip=0.0)


def test_after_a_half_life_of_images_half_of_the_start_is_left():
    rate = optim.average_rate(halflife=100, rampup=0.0)
    for size in (1, 10, 50):
        left = (1 - float(rate(jnp.float32(0), size))) ** (100 / size)
        assert left == pytest.approx(0.5, rel=1e-4)


def test_early_in_a_run_the_half_life_is_a_share_of_the_images_seen():
    rate = optim.average_rate(halflife=1000, rampup=0.05)
    assert float(rate(jnp.float32(400), 20)) == pytest.approx(0.5)      # 5% of 400 is one round
    assert float(rate(jnp.float32(1e6), 1000)) == pytest.approx(0.5)    # the half-life itself
    assert float(optim.average_rate(halflife=0, rampup=0.0)(jnp.float32(0), 8)) == 1
    assert float(optim.average_rate(halflife=10**12, rampup=0.05)(jnp.float32(400), 20)) == pytest.approx(0.5)
