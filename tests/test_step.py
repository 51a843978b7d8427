"""The training step, on games small enough to be played by hand."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from imggen_jax import optim, step
from imggen_jax.game import Game, make_spec

RATE = 0.5


def value_of(params):
    return {who: np.asarray(value).tolist() for who, value in params.items()}


def toy(*moves, **params):
    """A game of scalars. A move is (player, function): (params, mutable, batch, clock, key) -> the loss, or (the loss,
    mutable, scalars)."""
    def wrapped(function):
        def loss(params, mutable, batch, clock, key):
            found = function(params, mutable, batch, clock, key)
            value, mutable, scalars = found if isinstance(found, tuple) else (found, mutable, {})
            return value, (mutable, scalars)
        return loss

    def init(key, spec):
        del key, spec
        return jax.tree.map(jnp.float32, params), {"count": jnp.float32(0)}

    def weights(params, mutable):
        return {**params, "count": mutable["count"]}

    return Game(init, tuple((who, wrapped(function)) for who, function in moves), weights, {})


def images(*values):
    """A batch of 1x1 pictures."""
    return {"image": jnp.array(values, jnp.uint8).reshape(-1, 1, 1, 1)}


def as_it_is(batch, key):
    return batch


def build(game, optimizer=None, rate=lambda seen, size: 1.0, prepare=as_it_is):
    """(the state before the first round, function (state, batch, key) -> (state, logs))"""
    movers = {who for who, _ in game.moves}
    optimizers = dict.fromkeys(movers, optimizer or optax.sgd(RATE))
    state = step.init_state(game, optimizers, jax.random.key(0), make_spec())
    one = functools.partial(step.train_step, game, optimizers, rate, prepare)
    return state, lambda state, batch, key, pretrained={}, axis=None: one(state, batch, key, pretrained, axis)


def play(game, batches, key=jax.random.key(0), **options):
    state, one = build(game, **options)
    one, found = jax.jit(one), []
    for batch in batches:
        state, logs = one(state, batch, key)
        found.append(logs)
    return state, found


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_second_player_sees_what_the_first_has_become():
    game = toy(("a", lambda p, e, b, c, k: (p["a"] - p["b"]) ** 2),
               ("b", lambda p, e, b, c, k: (p["b"] - p["a"]) ** 2 / 2), a=8.0, b=0.0)
    state, logs = play(game, [images(0)])
    # a: 8 - 0.5 * 2 * (8 - 0) = 0, so b is already where a is now. Had b seen a = 8, it would be 4.
    assert value_of(state.params) == {"a": 0, "b": 0}
    np.testing.assert_array_equal(logs[0]["loss"], [64, 0])
    np.testing.assert_array_equal(logs[0]["grad_norm"], [16, 0])


def test_only_the_mover_s_parameters_move_though_the_loss_reads_all():
    game = toy(("a", lambda p, e, b, c, k: p["a"] * p["b"] * p["frozen"]), a=1.0, b=3.0, frozen=5.0)
    state, _ = play(game, [images(0)])
    assert value_of(state.params) == {"a": 1 - RATE * 15, "b": 3, "frozen": 5}
    assert set(state.opt) == {"a"}


def test_a_player_may_move_twice_and_may_have_two_losses():
    game = toy(("a", lambda p, e, b, c, k: p["a"] ** 2 / 2), ("a", lambda p, e, b, c, k: 3 * p["a"]), a=8.0)
    state, logs = play(game, [images(0)], optimizer=optax.sgd(RATE, momentum=0.5))
    # 8 - 0.5 * 8 = 4; the second update is 3 + 0.5 * 8, by the momentum that the first one left.
    assert value_of(state.params) == {"a": 4 - RATE * (3 + 4)}
    np.testing.assert_array_equal(logs[0]["loss"], [32, 12])


def test_mutable_goes_from_move_to_move_and_from_step_to_step():
    def then(function):
        return lambda p, e, b, c, k: (p["a"], {"count": function(e["count"])}, {"count": e["count"]})

    game = toy(("a", then(lambda n: n + 1)), ("b", then(lambda n: 10 * n)), a=0.0, b=0.0)
    state, logs = play(game, [images(0)] * 2)
    assert float(state.mutable["count"]) == 110
    assert [float(log[f"{who}/count"]) for log in logs for who in "ab"] == [0, 1, 10, 11]


def test_random_numbers_come_from_the_key_the_step_and_the_move():
    def noise(p, e, b, c, k):
        return p["a"] * 0, e, {"noise": jax.random.uniform(k), "prepared": b["image"].mean()}

    def prepare(batch, key):
        return {"image": jax.random.uniform(key, batch["image"].shape)}

    game = toy(("a", noise), ("b", noise), a=0.0, b=0.0)
    state, one = build(game, prepare=prepare)
    one = jax.jit(one)

    def draw(at, key):
        _, logs = one(state._replace(step=jnp.int32(at)), images(0), jax.random.key(key))
        return [float(logs[name]) for name in ("a/noise", "b/noise", "a/prepared")]

    assert draw(7, 1) == draw(7, 1)
    everything = draw(7, 1) + draw(8, 1) + draw(7, 2)
    assert len(set(everything)) == len(everything)


def test_both_moves_of_a_round_see_the_same_prepared_pictures():
    def look(p, e, b, c, k):
        return p["a"] * 0, e, {"image": b["image"].mean()}

    game = toy(("a", look), ("b", look), a=0.0, b=0.0)
    _, (logs,) = play(game, [images(0)], prepare=lambda batch, key: {"image": jax.random.uniform(key, (1,))})
    assert logs["a/image"] == logs["b/image"]


def test_seen_counts_the_images_of_the_rounds_before():
    game = toy(("a", lambda p, e, b, c, k: (p["a"], e, {"seen": c.images_seen})), a=0.0)
    _, logs = play(game, [images(0, 0, 0)] * 3)
    assert [float(log["a/seen"]) for log in logs] == [0, 3, 6]
    assert logs[0]["a/seen"].dtype == jnp.float32


@pytest.mark.parametrize(("halflife", "rampup"), [(20, 0.0), (20, 0.25), (0, 0.0)])
def test_the_average_is_that_of_a_reference(halflife, rampup):
    """Weights include the running statistics, and the parameters are those after the round."""
    game = toy(("a", lambda p, e, b, c, k: (p["a"] ** 2 / 2, {"count": e["count"] + 1}, {})), a=8.0)
    state, _ = play(game, [images(0, 0, 0, 0)] * 6, rate=optim.average_rate(halflife=halflife, rampup=rampup))
    a, average_a, average_count = 8.0, 8.0, 0.0
    for i in range(1, 7):
        a = a - RATE * a
        images_of_half = min(halflife, rampup * 4 * i) if rampup else halflife
        keep = 0.5 ** (4 / images_of_half) if images_of_half else 0.0
        average_a, average_count = keep * average_a + (1 - keep) * a, keep * average_count + (1 - keep) * i
    np.testing.assert_allclose([state.average["a"], state.average["count"]], [average_a, average_count], rtol=1e-5)


def test_the_average_starts_as_a_copy_of_the_weights():
    state, _ = build(toy(("a", lambda p, e, b, c, k: p["a"]), a=3.0))
    assert float(state.average["a"]) == 3
    assert state.average["a"].unsafe_buffer_pointer() != state.params["a"].unsafe_buffer_pointer()


def poisoned(position, where):
    """Three moves; a picture of 255 makes the loss or the gradient of one of them infinite or not a number."""
    def move(i):
        def loss(p, e, b, c, k):
            who, bad = "aba"[i], (b["image"].max() == 255) & (i == position)
            value = (p[who] - 1.0) ** 2 / 2
            if where == "loss":
                value = jnp.where(bad, jnp.inf, value)
            else:  # the root's value is 0 at 0 and its slope infinite
                value += jnp.sqrt(jnp.where(bad, 0.0, 1.0) * jnp.abs(p[who])) - jnp.where(bad, 0.0, 1.0)
            return value, {"count": e["count"] + 1}, {}
        return loss
    return toy(*[("aba"[i], move(i)) for i in range(3)], a=4.0, b=4.0)


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_what_is_not_finite_is_never_applied(position, where):
    game, rate = poisoned(position, where), optim.average_rate(halflife=4, rampup=0.0)
    state, one = build(game, optax.adam(0.1), rate)
    one, key = jax.jit(one), jax.random.key(0)
    before, _ = one(state, images(0, 0), key)
    after, logs = one(before, images(0, 255), key)
    finite = np.isfinite(np.asarray(logs["loss"])) & np.isfinite(np.asarray(logs["grad_norm"]))
    assert bool(before.finite) and not bool(after.finite)
    assert finite.tolist() == [i != position for i in range(3)]
    assert np.isfinite(logs["loss"][position]) == (where == "gradient")
    # The moves before the bad one stand, and nothing else has changed.
    reference = before
    if position:
        reference, _ = jax.jit(build(game._replace(moves=game.moves[:position]), optax.adam(0.1), rate)[1])(
            before._replace(opt={who: before.opt[who] for who in "ab"[:position]}), images(0, 0), key)
    reference = reference._replace(opt={**before.opt, **reference.opt})
    for part in ("params", "opt", "mutable"):  # another program, so the last bit may differ
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), getattr(after, part),
                     getattr(reference, part))
    for who in set("ab") - set("ab"[:position]):
        equal((after.params[who], after.opt[who]), (before.params[who], before.opt[who]))
    assert float(after.mutable["count"]) == 3 + position
    equal((after.average, after.step), (before.average, before.step))
    # Nor does a good batch change anything afterwards.
    later, _ = one(after, images(0, 0), key)
    equal(later, after)


def test_a_call_of_k_rounds_is_k_rounds_to_the_bit():
    def loss(p, e, b, c, k):
        target = b["image"].astype(jnp.float32).mean() / 255 + jax.random.normal(k)
        return (p["a"] - target) ** 2, {"count": 0.9 * e["count"] + p["a"]}, {"target": target}

    state, one = build(toy(("a", loss), ("b", loss), a=1.0, b=2.0), optax.adam(0.1), optim.average_rate(
        halflife=5, rampup=0.1))
    batches = [images(i, 2 * i) for i in range(6)]
    stacked, key = jax.tree.map(lambda *x: jnp.stack(x), *batches), jax.random.key(3)
    together, logs = jax.jit(functools.partial(step.play, one))(state, stacked, key, {})
    single, each = jax.jit(one), []
    alone = state
    for batch in batches:
        alone, log = single(alone, batch, key)
        each.append(log)
    equal(together, alone)
    equal(logs, jax.tree.map(lambda *x: jnp.stack(x), *each))
    assert int(together.step) == 6


def test_accumulated_rounds_are_one_round_of_a_large_batch():
    def make(batch, accumulate):
        return optim.make(images=64, batch=batch, accumulate=accumulate, optimizer="adam", learning_rate=0.1, warmup=16,
                          decay="linear", final=0.5, clip=0.3)

    game = toy(("a", lambda p, e, b, c, k: jnp.mean((p["a"] - b["image"] / 255.0) ** 2)), a=1.0)
    rows = np.random.default_rng(0).integers(0, 256, (8, 4))
    small, _ = play(game, [images(*half) for row in rows for half in (row[:2], row[2:])], optimizer=make(2, 2))
    large, _ = play(game, [images(*row) for row in rows], optimizer=make(4, 1))
    np.testing.assert_allclose(small.params["a"], large.params["a"], rtol=1e-6)
    assert abs(float(large.params["a"]) - 1) > 0.1


def test_the_average_over_an_axis_is_the_round_of_the_whole_batch():
    """What pmap does, seen through vmap: the mean of gradients, scalars and statistics, and the count of all images."""
    def loss(p, e, b, c, k):
        x = b["image"].astype(jnp.float32).mean()
        return (p["a"] - x) ** 2, {"count": x}, {"x": x, "seen": c.images_seen}

    game = toy(("a", loss), a=1.0)
    state, one = build(game, rate=optim.average_rate(halflife=4, rampup=0.0))
    key, batch = jax.random.key(0), images(1, 2, 3, 10)
    state = state._replace(step=jnp.int32(5))
    whole, logs = jax.jit(one)(state, batch, key)
    split = {"image": batch["image"].reshape(2, 2, 1, 1, 1)}
    parts, part_logs = jax.vmap(functools.partial(one, axis="data"), (None, 0, None), axis_name="data")(
        state, split, key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, np.stack([b, b]), rtol=1e-6), parts, whole)
    assert logs["a/x"] == 4 and part_logs["a/x"].tolist() == [4, 4]
    assert logs["a/seen"] == 20 and part_logs["a/seen"].tolist() == [20, 20]


def test_under_an_axis_each_device_draws_its_own_numbers():
    game = toy(("a", lambda p, e, b, c, k: (p["a"] * 0, {"count": jax.random.uniform(k)}, {})), a=0.0)
    state, one = build(game)
    batch = {"image": jnp.zeros((2, 1, 1, 1, 1), jnp.uint8)}
    after, _ = jax.vmap(functools.partial(one, axis="data"), (None, 0, None), axis_name="data")(
        state, batch, jax.random.key(0))
    # The mean of two numbers of their own; one shared number would be its own mean.
    keys = [jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0), i), 0) for i in range(2)]
    drawn = [jax.random.uniform(key) for key in keys]
    np.testing.assert_allclose(after.mutable["count"], [sum(drawn) / 2] * 2, rtol=1e-6)
    assert drawn[0] != drawn[1]


def test_a_pretrained_network_is_read_and_never_changed():
    game = toy(("a", lambda p, e, b, c, k: p["a"] * p["features"]["scale"]), a=1.0)
    state, one = build(game)
    weights = {"features": {"scale": jnp.float32(3)}}
    after, _ = jax.jit(one)(state, images(0), jax.random.key(0), weights)
    assert value_of(after.params) == {"a": 1 - RATE * 3}
    assert set(after.params) == set(after.opt) == {"a"} and set(after.average) == {"a", "count"}
