"""What every game promises, checked for each module of imggen_jax/games and for two toys that only tests contain."""
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import imggen_jax
from imggen_jax import devices, sampling, step
from imggen_jax.augment import to_float
from imggen_jax.game import Classifier, Generator
from imggen_jax.training.build import example_batch

BATCH = 8
SPECS = [tiny.SPEC, tiny.LABELED, tiny.spec_of(28, 1, 3), tiny.spec_of(32, 3), tiny.spec_of(64, 3, 2)]
games = pytest.mark.parametrize(("name", "variant"), tiny.EVERYDAY)
GENERATORS = [each for each in tiny.EVERYDAY if each.values[0] != "classifier"]


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


# Differences of logits do not see what is added to all of them.
STILL = {"relativistic": {"['Dense_0']['bias']", "['Conv_3']['bias']", "['a_to_b']['Conv_3']['bias']"},
         "wasserstein": {"['Dense_0']['bias']"}}


@functools.cache
def start(name, variant):
    """(what was built, the state after sixty steps, their logs, the state before, init): a program for many tests, and
    where test_devices plays it, the one that plays it on one device."""
    spec = tiny.richest(name)
    player = tiny.STEADY if (name, variant) in tiny.ON_DEVICES else {"learning_rate": 1e-2}
    built = tiny.build(name, variant, spec, batch=BATCH, **player)
    init = jax.jit(lambda key: step.init_state(built.game, built.optimizers, key, spec))
    engine = devices.make("jit", devices.choose(1), built.play)
    state, pretrained = engine.put_state(init(jax.random.key(0))), engine.put_state(built.pretrained)
    batches, logs = engine.put_batches(tiny.examples(spec, 5, BATCH)), []
    for _ in range(12):
        state, log = engine.run(state, batches, jax.random.key(0), pretrained)
        logs.append(log)
    return built, state, jax.tree.map(lambda *x: np.concatenate(x), *logs), init(jax.random.key(0)), init


def changed(before, after):
    """Paths of the leaves that differ, and of those that do not."""
    leaves = zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True)
    found = {True: set(), False: set()}
    for (path, a), b in leaves:
        found[bool(np.any(a != b))].add(jax.tree_util.keystr(path))
    return found[True], found[False]


def one_batch(name, number=BATCH, seed=0):
    return jax.tree.map(lambda x: x[0], tiny.examples(tiny.richest(name), 1, number, seed))


def test_every_game_is_here():
    found = {path.stem for path in (Path(imggen_jax.__file__).parent / "games").glob("*.py")} - {"__init__"}
    toys = {name for name in tiny.GAMES if name.startswith("toys.")}
    assert found == set(tiny.GAMES) - toys, "give each module of imggen_jax/games an entry in tests/tiny.py"
    assert len(toys) == 2
    for name, entry in tiny.GAMES.items():
        for variant in entry.variants(entry.specs[0]):
            game = tiny.build(name, variant).game
            assert {who for who, _ in game.moves} == set(entry.movers(variant))
            assert game.models and all(isinstance(model, (Generator, Classifier)) for model in game.models.values())
            assert game.main is (game.models["main"] if "main" in game.models else next(iter(game.models.values())))


# Each spec with each variant that has networks of its own; the other variants differ in their losses alone.
# Of the simplest spec and the richest each day, of all in `make test-all`.
@pytest.mark.parametrize(("name", "variant", "spec"), [
    pytest.param(*names, spec, marks=() if spec in (SPECS[0], tiny.richest(names[0])) else pytest.mark.slow)
    for names in tiny.VARIANTS
    for spec in (SPECS if names[0] in ("vae", "gan", "classifier") else tiny.GAMES[names[0]].specs)
    if spec == tiny.richest(names[0]) or names[1] in ("bernoulli", "logistic_mixture", "dcgan", "r3gan")
    or names[1] == "plain" and "label" in spec])
def test_shapes_and_dtypes_of_everything(name, variant, spec):
    for dtype in ("float32", "bfloat16") if spec == tiny.richest(name) else ("float32",):
        built = tiny.build(name, variant, spec, dtype=dtype)
        game, batch, key = built.game, example_batch(spec, BATCH), jax.random.key(0)
        clock = jax.eval_shape(lambda: tiny.clock())
        params, mutable = jax.eval_shape(functools.partial(game.init, spec=spec), key)
        assert {who for who, _ in game.moves} == set(params)  # movers, and nothing that stands still
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
        for _, loss in game.moves:
            everyone = {**built.pretrained, **params}
            value, (new_mutable, scalars) = jax.eval_shape(loss, everyone, mutable, batch, clock, key)
            assert shapes(new_mutable) == shapes(mutable)
            for leaf in (value, *scalars.values()):
                assert (leaf.shape, leaf.dtype) == ((), jnp.float32)
        weights = {**jax.eval_shape(game.weights, params, mutable), **built.pretrained}
        if game.metrics is not None:
            for figure in jax.eval_shape(game.metrics, weights, batch, key).values():
                assert (figure.shape, figure.dtype) == ((BATCH,), jnp.float32)
        for model in game.models.values():
            (_shapes_of_classifier if isinstance(model, Classifier) else _shapes_of_generator)(model, weights, spec)


def _shapes_of_classifier(model, weights, spec):
    images = jnp.zeros((3, *spec["image"].shape))
    logits = jax.eval_shape(model.logits, weights, images)
    assert shapes(logits) == tuple(((3, spec[target].classes), jnp.float32) for target in model.targets)
    features = jax.eval_shape(model.features, weights, images)
    assert features.shape[0] == 3 and features.ndim == 2 and features.dtype == jnp.float32


def _shapes_of_generator(model, weights, spec):
    assert set(model.needs) <= set(spec)
    fields = {name: example_batch(spec, 3)[name] for name in model.needs}
    condition = jax.eval_shape(model.condition, weights, fields)
    assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(condition))
    z = jax.eval_shape(lambda key, c: model.prior(key, 3, c), jax.random.key(0), condition)
    assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(z))
    options = {name: option.default for name, option in model.options.items()}
    assert all(option.low <= option.default <= option.high for option in model.options.values())
    images = jax.eval_shape(lambda *args: model.decode(*args, options), weights, z, condition)
    assert shapes(images) == ((3, *spec["image"].shape), jnp.float32)
    if model.encode is not None:
        assert shapes(jax.eval_shape(model.encode, weights, images, condition)) == shapes(z)
    if model.edit_space is not None:
        w = jax.eval_shape(model.edit_space.enter, weights, z)
        assert shapes(jax.eval_shape(lambda *args: model.edit_space.decode(*args, options), weights, w, condition)) == (
            shapes(images))


@games
def test_the_start_is_a_function_of_the_key(name, variant):
    *_, before, init = start(name, variant)
    same, other = (init(jax.random.key(seed)) for seed in (0, 1))
    jax.tree.map(np.testing.assert_array_equal, before, same)
    for who in same.params:
        differ, _ = changed(same.params[who], other.params[who])
        assert differ, f"{who} starts the same with every key"


@games
def test_steps_keep_everything_finite_and_move_every_player(name, variant):
    built, state, logs, before, _ = start(name, variant)
    assert int(state.step) == 60 and bool(state.finite)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, logs)))
    assert logs["loss"].shape == logs["grad_norm"].shape == (60, len(built.game.moves))
    assert shapes(state) == shapes(built.shape)
    options = tiny.GAMES[name].variants(tiny.richest(name))[variant]
    loss = options.get("loss", "relativistic" if "adversary" in options or name == "autoencoder" else None)
    for who, _ in built.game.moves:
        _, same = changed(before.params[who], state.params[who])
        assert same <= STILL.get(loss, set())
        assert f"{who}/loss" in logs
    if len(state.params) == 1:  # a lone player has nobody to lose against
        assert logs["loss"][-5:].mean() < 0.995 * logs["loss"][:5].mean()


# The step sees to it, whatever the game (tests/test_step.py); one is enough for everyday.
@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "gan" else pytest.mark.slow)
                                  for name, entry in tiny.GAMES.items() if len(entry.players) > 1])
def test_a_move_changes_its_own_player_alone(name):
    built, *_, before, _ = start(name, next(iter(tiny.GAMES[name].variants(tiny.richest(name)))))
    game, batch = built.game, one_batch(name)
    for who, loss in dict(game.moves).items():
        alone = game._replace(moves=((who, loss),))
        one = functools.partial(step.train_step, alone, built.optimizers, lambda seen, size: 1.0, lambda b, key: b)
        after, _ = jax.jit(one)(before._replace(opt={who: before.opt[who]}), batch, jax.random.key(0),
                                built.pretrained)
        for other in before.params:
            assert bool(changed(before.params[other], after.params[other])[0]) == (other == who)


@pytest.mark.parametrize(("name", "variant"), GENERATORS)
def test_an_image_depends_on_its_own_latent_and_condition(name, variant):
    built, state, *_ = start(name, variant)
    weights = {**state.average, **built.pretrained}
    for generator in built.game.models.values():
        sampler = sampling.sampler(generator, tiny.richest(name))
        fields, others = ({field: one_batch(name, 4, seed)[field] for field in generator.needs} for seed in (1, 2))
        decode = jax.jit(sampler.decode)
        key, more = jax.random.key(1), jax.random.key(2)
        w, w_others = (sampler.prior(weights, k, n=4, fields=fields) for k in (key, more))
        images = decode(weights, w, fields)
        assert images.dtype == jnp.float32 and jnp.abs(images).max() <= 1
        mixed = {field: np.concatenate([value[:1], others[field][1:]]) for field, value in fields.items()}
        among_others = decode(weights, w_others.at[0].set(w[0]), mixed)
        np.testing.assert_allclose(among_others[0], images[0], atol=1e-5)
        order = np.array([2, 0, 3, 1])
        shuffled = decode(weights, w[order], {field: value[order] for field, value in fields.items()})
        np.testing.assert_allclose(shuffled, images[order], atol=1e-5)
        # And on both of them.
        if w.size:
            assert np.abs(images - decode(weights, w_others, fields)).max() > 1e-4
        for field in generator.needs:
            changed_one = {**fields, field: _other(field, fields, others)}
            assert np.abs(images - decode(weights, w, changed_one)).max() > 1e-4


def _other(field, fields, others):
    if fields[field].ndim == 1:  # a label; two of four may be equal by chance
        return (fields[field] + 1) % 4
    return 255 - fields[field] if field == "mask" else others[field]


@pytest.mark.parametrize("name", tiny.GAMES)
def test_metrics_and_encodings_differ_from_example_to_example(name):
    variant = next(iter(tiny.GAMES[name].variants(tiny.richest(name))))
    built, state, *_ = start(name, variant)
    weights = {**state.average, **built.pretrained}
    game, batch = built.game, one_batch(name, 4)
    for model in game.models.values():
        if isinstance(model, Classifier):
            found = jax.jit(model.features)(weights, to_float(batch["image"])), *jax.jit(model.logits)(
                weights, to_float(batch["image"]))
        elif model.encode is None:
            continue
        else:
            condition = model.condition(weights, {field: batch[field] for field in model.needs})
            found = jax.jit(model.encode)(weights, to_float(batch["image"]), condition)
        assert all(np.isfinite(leaf).all() and leaf.shape[0] == 4 for leaf in jax.tree.leaves(found))
        first = jax.tree.map(lambda leaf: np.asarray(leaf)[0], found)
        assert any(np.abs(np.asarray(leaf)[1:] - one).max() > 1e-3
                   for leaf, one in zip(jax.tree.leaves(found), jax.tree.leaves(first)))
    if game.metrics is not None:
        figures = jax.jit(game.metrics)(weights, batch, jax.random.key(0))
        assert all(np.isfinite(figure).all() for figure in figures.values())
        # Of four images, as many are named right or wrong, but no two are equally likely.
        assert all(len(set(figure.tolist())) == 4 for name, figure in figures.items() if name != "accuracy")


def test_a_translator_takes_any_size():
    built, state, *_ = start("toys.translator", "plain")
    sampler = sampling.sampler(built.game.main, tiny.richest("toys.translator"))
    rng = np.random.default_rng(0)
    source, mask = rng.integers(0, 256, (2, 24, 40, 3), np.uint8), np.full((2, 24, 40, 1), 255, np.uint8)
    images = sampler.sample(state.average, [7, 8], {"source": source, "mask": mask})
    assert images.shape == (2, 24, 40, 3)
    alone = sampler.sample(state.average, [8], {"source": source[1:], "mask": mask[1:]})
    np.testing.assert_array_equal(alone[0], images[1])


def test_an_option_changes_what_a_text_gives_and_text_is_obeyed():
    built, state, *_ = start("toys.texts", "plain")
    sampler = sampling.sampler(built.game.main, tiny.richest("toys.texts"))
    text = np.array([[3, 2, 0, 0, 0, 0], [4, 2, 0, 0, 0, 0]], np.int32)
    many = {steps: sampler.sample(state.average, [5, 5], {"text": text}, options={"steps": steps}) for steps in (1, 4)}
    assert np.any(many[1] != many[4])
    default = sampler.sample(state.average, [5, 5], {"text": text})
    np.testing.assert_array_equal(default, many[4])
    assert np.any(default[0] != default[1])
    none = sampler.sample(state.average, [5, 5], {"text": text}, options={"guidance": 0.0})
    assert np.abs(none[0].astype(int) - none[1]).max() <= 1  # without guidance the text has no say
