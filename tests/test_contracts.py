"""What every game promises, asked of each module of imggen_jax/games."""
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import imggen_jax
from imggen_jax import step
from imggen_jax.game import Spec
from imggen_jax.training.build import example_batch

BATCH = 8
SPECS = [Spec(16, 1, 0), Spec(16, 3, 4), Spec(28, 1, 3), Spec(32, 3, 0), Spec(64, 3, 2)]
games = pytest.mark.parametrize(("name", "variant"), tiny.VARIANTS)
MAKERS = [name for name in tiny.GAMES if name != "classifier"]  # of pictures


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


# Differences of logits do not see what is added to all of them.
STILL = {"relativistic": {"['Dense_0']['bias']"}, "wasserstein": {"['Dense_0']['bias']"}}


@functools.cache
def start(name, variant):
    """(what was built, the state after sixty rounds, their logs, the state before, init): a program for many tests."""
    built = tiny.build(name, variant, tiny.LABELLED, batch=BATCH, learning_rate=1e-2)
    init = jax.jit(lambda key: step.init_state(built.game, built.optimizers, key, example_batch(tiny.LABELLED, BATCH)))
    play, batches = jax.jit(built.play(None)), tiny.pictures(tiny.LABELLED, 5, BATCH)
    state, logs = init(jax.random.key(0)), []
    for _ in range(12):
        state, log = play(state, batches, jax.random.key(0))
        logs.append(log)
    return built, state, jax.tree.map(lambda *x: np.concatenate(x), *logs), init(jax.random.key(0)), init


def changed(before, after):
    """Paths of the leaves that differ, and of those that do not."""
    leaves = zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True)
    found = {True: set(), False: set()}
    for (path, a), b in leaves:
        found[bool(np.any(a != b))].add(jax.tree_util.keystr(path))
    return found[True], found[False]


def test_every_game_is_here():
    found = {path.stem for path in (Path(imggen_jax.__file__).parent / "games").glob("*.py")} - {"__init__"}
    assert found == set(tiny.GAMES), "give each module of imggen_jax/games an entry in tests/tiny.py"
    for name, entry in tiny.GAMES.items():
        for variant in entry.variants(tiny.SPEC):
            game = tiny.build(name, variant, entry.spec).game
            assert {who for who, _ in game.moves} == set(entry.players)
            assert (game.generator is None) != (game.classifier is None)
            assert (game.generator is not None) == (name in MAKERS)


# Each spec with each variant that has networks of its own; the other variants differ in their losses alone.
@pytest.mark.parametrize(("name", "variant", "spec"), [
    (*names, spec) for names in tiny.VARIANTS for spec in SPECS
    if spec == tiny.LABELLED or names[1] in ("bernoulli", "logistic_mixture", "dcgan", "r3gan")
    or names[1] == "plain" and spec.classes])
def test_shapes_and_dtypes_of_everything(name, variant, spec):
    for dtype in ("float32", "bfloat16") if spec == tiny.LABELLED else ("float32",):
        game = tiny.build(name, variant, spec, dtype=dtype).game
        batch, key = example_batch(spec, BATCH), jax.random.key(0)
        params, extra = jax.eval_shape(game.init, key, batch)
        assert {who for who, _ in game.moves} <= set(params)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
        for _, loss in game.moves:
            value, (new_extra, scalars) = jax.eval_shape(loss, params, extra, batch, key)
            assert shapes(new_extra) == shapes(extra)
            for leaf in (value, *scalars.values()):
                assert (leaf.shape, leaf.dtype) == ((), jnp.float32)
        weights = jax.eval_shape(game.weights, params, extra)
        if game.evaluate is not None:
            for figure in jax.eval_shape(game.evaluate, weights, batch, key).values():
                assert (figure.shape, figure.dtype) == ((BATCH,), jnp.float32)
        if game.classifier is not None:
            images = jnp.zeros((3, spec.size, spec.size, spec.channels))
            logits = jax.eval_shape(game.classifier.logits, weights, images)
            assert shapes(logits) == (((3, spec.classes), jnp.float32),)
            features = jax.eval_shape(game.classifier.features, weights, images)
            assert features.shape[0] == 3 and features.ndim == 2 and features.dtype == jnp.float32
            continue
        z = jax.eval_shape(functools.partial(game.generator.prior, n=3), key)
        assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(z))
        condition = jnp.zeros(3, jnp.int32) if spec.classes else None
        images = jax.eval_shape(game.generator.decode, weights, z, condition)
        assert shapes(images) == ((3, spec.size, spec.size, spec.channels), jnp.float32)
        assert shapes(jax.eval_shape(game.generator.encode, weights, images, condition)) == shapes(z)


@games
def test_the_start_is_a_function_of_the_key(name, variant):
    *_, before, init = start(name, variant)
    same, other = (init(jax.random.key(seed)) for seed in (0, 1))
    jax.tree.map(np.testing.assert_array_equal, before, same)
    for who in same.params:
        differ, _ = changed(same.params[who], other.params[who])
        assert differ, f"{who} starts the same with every key"


@games
def test_rounds_keep_everything_finite_and_move_every_player(name, variant):
    built, state, logs, before, _ = start(name, variant)
    assert int(state.step) == 60 and bool(state.healthy)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, logs)))
    assert logs["loss"].shape == logs["grad_norm"].shape == (60, len(built.game.moves))
    assert shapes(state) == shapes(built.shape)
    loss = tiny.GAMES[name].variants(tiny.LABELLED)[variant].get("loss")
    for who, _ in built.game.moves:
        _, same = changed(before.params[who], state.params[who])
        assert same <= STILL.get(loss, set())
        assert f"{who}/loss" in logs
    if len(state.params) == 1:  # a lone player has nobody to lose against
        assert logs["loss"][-5:].mean() < 0.995 * logs["loss"][:5].mean()


@pytest.mark.parametrize("name", [name for name, entry in tiny.GAMES.items() if len(entry.players) > 1])
def test_a_move_changes_its_own_player_alone(name):
    built, *_, before, _ = start(name, next(iter(tiny.GAMES[name].variants(tiny.LABELLED))))
    game, batch = built.game, jax.tree.map(lambda x: x[0], tiny.pictures(tiny.LABELLED, 1, BATCH))
    for who, loss in dict(game.moves).items():
        alone = game._replace(moves=((who, loss),))
        one = functools.partial(step.train_step, alone, built.optimizers, lambda seen, size: 1.0, lambda b, key: b)
        after, _ = jax.jit(one)(before._replace(opt={who: before.opt[who]}), batch, jax.random.key(0))
        for other in before.params:
            assert bool(changed(before.params[other], after.params[other])[0]) == (other == who)


@pytest.mark.parametrize(("name", "variant"), [names for names in tiny.VARIANTS if names[0] in MAKERS])
def test_a_picture_depends_on_its_own_latent_and_label(name, variant):
    built, state, *_ = start(name, variant)
    generator, classes = built.game.generator, tiny.LABELLED.classes
    decode = jax.jit(generator.decode)
    z = jax.jit(generator.prior, static_argnums=1)(jax.random.key(1), 4)
    others = jax.jit(generator.prior, static_argnums=1)(jax.random.key(2), 4)
    label = jnp.array([0, 1, 2, 3]) % classes
    images = decode(state.average, z, label)
    assert images.dtype == jnp.float32 and jnp.abs(images).max() <= 1
    mixed = jax.tree.map(lambda a, b: a.at[1:].set(b[1:]), z, others)
    among_others = decode(state.average, mixed, label.at[1:].set(label[:-1]))
    np.testing.assert_allclose(among_others[0], images[0], atol=1e-5)
    order = np.array([2, 0, 3, 1])
    shuffled = decode(state.average, jax.tree.map(lambda leaf: leaf[order], z), label[order])
    np.testing.assert_allclose(shuffled, images[order], atol=1e-5)
    # And on both of them.
    assert np.abs(images - decode(state.average, others, label)).max() > 1e-4
    assert np.abs(images - decode(state.average, z, (label + 1) % classes)).max() > 1e-4


@pytest.mark.parametrize("name", tiny.GAMES)
def test_encode_and_evaluate_give_numbers_for_each_picture(name):
    variant = next(iter(tiny.GAMES[name].variants(tiny.LABELLED)))
    built, state, *_ = start(name, variant)
    game, batch = built.game, jax.tree.map(lambda x: x[0], tiny.pictures(tiny.LABELLED, 1, 4))
    images = batch["image"] / np.float32(127.5) - 1
    if game.generator is not None:
        z = jax.jit(game.generator.encode)(state.average, images, batch["label"])
    else:
        z = jax.jit(game.classifier.features)(state.average, images), *jax.jit(game.classifier.logits)(
            state.average, images)
    assert all(np.isfinite(leaf).all() and leaf.shape[0] == 4 for leaf in jax.tree.leaves(z))
    first = jax.tree.map(lambda leaf: np.asarray(leaf)[0], z)
    assert any(np.abs(np.asarray(leaf)[1:] - one).max() > 1e-3
               for leaf, one in zip(jax.tree.leaves(z), jax.tree.leaves(first)))
    if game.evaluate is not None:
        figures = jax.jit(game.evaluate)(state.average, {**batch, "seen": np.float32(0)}, jax.random.key(0))
        assert all(np.isfinite(figure).all() for figure in figures.values())
        # Of four pictures, as many are named right or wrong, but no two are equally likely.
        assert all(len(set(figure.tolist())) == 4 for name, figure in figures.items() if name != "accuracy")
