"""The GAN's game: its moves, its penalties, its running statistics,."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from imggen_jax.games import gan

SPEC = tiny.spec_of(16, 1)
GENERATOR = dict(name="dcgan", width=4, norm="none")


def make(spec=SPEC, **changes):
    keys = dict(dtype="float32", latent=4, mapping=0, generator=GENERATOR, discriminator=dict(name="dcgan", width=4),
                loss="relativistic", r1=0.0, r2=0.0, burn_in=0, penalty_final=1.0, gradient_penalty=0.0, critic_moves=1,
                augment=())
    return gan.make(spec, **{**keys, **changes})


def batch(spec=SPEC, n=4):
    images = jax.random.randint(jax.random.key(5), (n, *spec["image"].shape), 0, 256).astype(jnp.uint8)
    return {"image": images, **({"label": jnp.arange(n) % spec["label"].classes} if "label" in spec else {})}


def start(game, spec=SPEC):
    return jax.jit(lambda k: game.init(k, spec))(jax.random.key(0))


def play(game, params, mutable, move=0, data=None, seen=0):
    clock = tiny.clock(images_seen=seen)
    return jax.jit(game.moves[move][1])(params, mutable, data or batch(), clock, jax.random.key(1))


def decoder(game):
    return jax.jit(functools.partial(game.main.decode, options={}))


def test_moves_are_n_of_the_discriminator_then_one_of_the_generator():
    assert [who for who, _ in make(critic_moves=3).moves] == ["discriminator"] * 3 + ["generator"]


@pytest.mark.parametrize("name", ["r1", "r2", "gradient_penalty"])
def test_penalties_add_to_the_loss_and_are_logged(name):
    params, mutable = start(make())
    value, (_, scalars) = play(make(**{name: 2.0, "loss": "wasserstein"}), params, mutable)
    assert scalars[name] > 0
    # Without the penalty, Wasserstein's loss is the difference of the mean logits.
    np.testing.assert_allclose(value, scalars["fake"] - scalars["real"] + scalars[name], rtol=1e-4)


def test_the_penalty_falls_over_the_burn_in_and_stays_there():
    game = make(r1=2.0, burn_in=100, penalty_final=0.25)
    params, mutable = start(game)
    terms = [float(play(game, params, mutable, seen=seen)[1][1]["r1"])
             for seen in (0, 50, 100, 1000)]
    np.testing.assert_allclose(terms, np.multiply(terms[0], (1, 0.625, 0.25, 0.25)), rtol=1e-5)
    _, (_, constant) = play(make(r1=2.0), params, mutable)
    np.testing.assert_allclose(terms[0], constant["r1"], rtol=1e-5)


def test_r1_differentiates_through_the_augmentation_as_the_paper_s_code_does():
    """A blanked pixel has no influence on the logit, so a penalty through cutout is smaller than one behind it."""
    game = make(r1=2.0, augment=("cutout",))
    params, mutable = start(game)
    # A critic with slope one everywhere: the first layers pass what they get, so the gradient's norm counts pixels.
    d = params["discriminator"] = jax.tree.map(jnp.zeros_like, params["discriminator"])
    for i in range(2):
        d[f"Conv_{i}"]["kernel"] = d[f"Conv_{i}"]["kernel"].at[:, :, 0, 0].set(0.25)
        d[f"Conv_{i}"]["bias"] = jnp.full_like(d[f"Conv_{i}"]["bias"], 10.0)
    d["Dense_0"]["kernel"] = d["Dense_0"]["kernel"].at[::8, 0].set(1.0)
    _, (_, through) = play(game, params, mutable)
    _, (_, whole) = play(make(r1=2.0), params, mutable)
    assert 0.5 * whole["r1"] < through["r1"] < 0.95 * whole["r1"]


def test_the_generator_s_move_changes_statistics_and_the_discriminator_s_does_not():
    game = make(generator={**GENERATOR, "norm": "batch"})
    params, mutable = start(game)
    _, (after, _) = play(game, params, mutable, move=0)
    jax.tree.map(np.testing.assert_array_equal, after, mutable)
    _, (after, _) = play(game, params, mutable, move=1)
    changed = jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.any(a != b)), after, mutable))
    assert changed and all(changed)
    assert game.weights(params, after)["statistics"] is after["statistics"]


def test_labels_reach_both_players():
    spec = tiny.spec_of(16, 1, 2)
    game = make(spec)
    params, mutable = start(game, spec)
    one = batch(spec)
    two = {**one, "label": 1 - one["label"]}
    loss = jax.jit(game.moves[0][1])
    found = [loss(params, mutable, data, tiny.clock(), jax.random.key(1))[1][1] for data in (one, two)]
    assert abs(found[0]["real"] - found[1]["real"]) > 1e-4
    decode, z = decoder(game), game.main.prior(jax.random.key(0), 4, None)
    assert not np.allclose(*(decode(params | mutable, z, data["label"]) for data in (one, two)), atol=1e-3)


ADA = ("recolor", "erase")


def test_augmentation_by_chance_grows_with_the_images_seen():
    game = make(augment=ADA, augment_strength=0.8, augment_rise=100)
    params, mutable = start(game)
    found = [play(game, params, mutable, seen=seen)[1][1] for seen in (0, 50, 100, 1000)]
    np.testing.assert_allclose([each["augment"] for each in found], [0, 0.4, 0.8, 0.8], rtol=1e-5)
    _, (_, plain) = play(make(), params, mutable)
    np.testing.assert_allclose(found[0]["real"], plain["real"], rtol=1e-5)  # nothing is augmented yet
    assert abs(found[2]["real"] - plain["real"]) > 1e-5


def test_augmentation_is_steered_by_what_the_discriminator_knows():
    game = make(augment=ADA, augment_target=0.5, augment_strength=0.9, loss="non_saturating")
    params, mutable = start(game)
    assert mutable["strength"] == 0
    bias = params["discriminator"]["Dense_0"]["bias"]

    def after(logit, strength):
        judge = {**params["discriminator"], "Dense_0": {**params["discriminator"]["Dense_0"], "bias": bias + logit}}
        begun = {**mutable, "strength": jnp.float32(strength)}
        _, (new, scalars) = play(game, {**params, "discriminator": judge}, begun)
        assert scalars["augment"] == np.float32(strength)
        return float(new["strength"])

    step = 4 / gan.ADAPTS
    np.testing.assert_allclose([after(1e3, 0.3) - 0.3, after(-1e3, 0.3) - 0.3], [step, -step], rtol=0.02)
    assert after(-1e3, 0.0) == 0 and after(1e3, 0.9) == np.float32(0.9)
    _, (kept, _) = play(game, params, {**mutable, "strength": jnp.float32(0.3)}, move=1)
    assert kept["strength"] == np.float32(0.3)  # the generator's move leaves it


def test_wrong_keys_and_values_are_named():
    for wrong, said in (({"augment_target": 0.6}, "augment_target is set, and augment has none"),
                        ({"augment_rise": 10, "augment": ("color",)}, "augment_rise is set, and augment has none"),
                        ({"augment_target": 0.6, "augment": ADA}, "needs one of the losses non_saturating and hinge"),
                        ({"augment_strength": 1.5, "augment": ADA}, "augment_strength is 1.5")):
        with pytest.raises(ValueError, match=said):
            make(**wrong)
    with pytest.raises(ValueError, match="'logistic'; choose from non_saturating"):
        make(loss="logistic")
    with pytest.raises(ValueError, match="critic_moves is 0"):
        make(critic_moves=0)
    with pytest.raises(ValueError, match="'flip'; choose from color"):
        make(augment=("flip",))
    with pytest.raises(TypeError, match="widht"):
        make(generator={**GENERATOR, "widht": 3})


def test_a_mapping_comes_between_z_and_the_generator_and_is_trained_with_it():
    game = make(mapping=2)
    params, mutable = start(game)
    weights = game.weights(params, mutable)
    z, enter = game.main.prior(jax.random.key(3), 4, None), game.main.edit_space.enter
    w = enter(weights, z)
    assert w.shape == z.shape and not np.allclose(w, z, atol=1e-2)
    np.testing.assert_allclose(enter(weights, 3 * z), w, atol=1e-4)  # z counts by its direction alone
    np.testing.assert_array_equal(game.main.edit_space.decode(weights, w, None, {}),
                                  game.main.decode(weights, z, None, {}))
    loss = game.moves[1][1]
    gradient = jax.jit(jax.grad(lambda p: loss(p, mutable, batch(), tiny.clock(), jax.random.key(1))[0]))(params)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient["generator"]["mapping"]))
    assert make().main.edit_space is None
    with pytest.raises(ValueError, match="mapping is -1"):
        make(mapping=-1)
