"""The GAN's game: its moves, its penalties, its running statistics, and latents found again."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax.game import Spec
from imggen_jax.games import gan

SPEC = Spec(16, 1, 0)
GENERATOR = dict(name="dcgan", width=4, norm="none")


def make(spec=SPEC, **changes):
    keys = dict(dtype="float32", latent=4, generator=GENERATOR, discriminator=dict(name="dcgan", width=4),
                loss="relativistic", r1=0.0, r2=0.0, gradient_penalty=0.0, critic_moves=1, augment=())
    return gan.make(spec, **{**keys, **changes})


def batch(spec=SPEC, n=4):
    images = jax.random.randint(jax.random.key(5), (n, spec.size, spec.size, spec.channels), 0, 256).astype(jnp.uint8)
    return {"image": images, "seen": jnp.float32(0), **({"label": jnp.arange(n) % spec.classes} if spec.classes else {})}


def start(game):
    return jax.jit(lambda k: game.init(k, None))(jax.random.key(0))


def play(game, params, extra, move=0, data=None):
    return jax.jit(game.moves[move][1])(params, extra, data or batch(), jax.random.key(1))


def test_moves_are_n_of_the_discriminator_then_one_of_the_generator():
    assert [who for who, _ in make(critic_moves=3).moves] == ["discriminator"] * 3 + ["generator"]


def test_penalties_add_to_the_loss_and_are_logged():
    params, extra = start(make())
    plain, _ = play(make(), params, extra)
    for name in ("r1", "r2", "gradient_penalty"):
        value, (_, scalars) = play(make(**{name: 2.0}), params, extra)
        assert scalars[name] > 0
        np.testing.assert_allclose(value, plain + scalars[name], rtol=1e-5)
        twice, _ = play(make(**{name: 4.0}), params, extra)
        np.testing.assert_allclose(twice - value, value - plain, rtol=1e-4)


def test_r1_differentiates_through_the_augmentation_as_the_paper_s_code_does():
    """A blanked pixel has no influence on the logit, so a penalty through cutout is smaller than one behind it."""
    game = make(r1=2.0, augment=("cutout",))
    params, extra = start(game)
    # A critic with slope one everywhere: the first layers pass what they get, so the gradient's norm counts pixels.
    d = params["discriminator"] = jax.tree.map(jnp.zeros_like, params["discriminator"])
    for i in range(2):
        d[f"Conv_{i}"]["kernel"] = d[f"Conv_{i}"]["kernel"].at[:, :, 0, 0].set(0.25)
        d[f"Conv_{i}"]["bias"] = jnp.full_like(d[f"Conv_{i}"]["bias"], 10.0)
    d["Dense_0"]["kernel"] = d["Dense_0"]["kernel"].at[::8, 0].set(1.0)
    _, (_, through) = play(game, params, extra)
    _, (_, whole) = play(make(r1=2.0), params, extra)
    assert 0.5 * whole["r1"] < through["r1"] < 0.95 * whole["r1"]


def test_the_generator_s_move_changes_statistics_and_the_discriminator_s_does_not():
    game = make(generator={**GENERATOR, "norm": "batch"})
    params, extra = start(game)
    _, (after, _) = play(game, params, extra, move=0)
    jax.tree.map(np.testing.assert_array_equal, after, extra)
    _, (after, _) = play(game, params, extra, move=1)
    changed = jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.any(a != b)), after, extra))
    assert changed and all(changed)
    assert game.generator.weights(params, after)["statistics"] is after["statistics"]


def test_real_and_fake_share_rows_with_their_labels():
    """The relativistic loss of each row sees one label: with labels exchanged in pairs, so are the logits."""
    spec = Spec(16, 1, 2)
    game = make(spec)
    params, extra = start(game)
    one, two = batch(spec), batch(spec)
    two["label"] = 1 - two["label"]
    assert not np.allclose(play(game, params, extra, data=one)[0], play(game, params, extra, data=two)[0], atol=1e-4)
    z = game.generator.prior(jax.random.key(0), 4)
    weights = game.generator.weights(params, extra)
    images = [game.generator.decode(weights, z, data["label"]) for data in (one, two)]
    assert not np.allclose(*images, atol=1e-3)


def test_encode_finds_a_latent_that_decodes_to_the_image():
    game = make()
    params, extra = start(game)
    weights = game.generator.weights(params, extra)
    images = game.generator.decode(weights, game.generator.prior(jax.random.key(3), 4), None)
    z = jax.jit(game.generator.encode)(weights, images, None)
    again = game.generator.decode(weights, z, None)
    psnr = 10 * jnp.log10(4 / jnp.mean((again - images) ** 2, axis=(1, 2, 3)))
    assert psnr.min() > 25
    # Each image is found as if it were alone.
    np.testing.assert_allclose(jax.jit(game.generator.encode)(weights, images[:1], None), z[:1], atol=1e-2)


def test_wrong_keys_and_values_are_named():
    with pytest.raises(ValueError, match="'logistic'; choose from non_saturating"):
        make(loss="logistic")
    with pytest.raises(ValueError, match="critic_moves is 0"):
        make(critic_moves=0)
    with pytest.raises(ValueError, match="'flip'; choose from colour"):
        make(augment=("flip",))
    with pytest.raises(TypeError, match="widht"):
        make(generator={**GENERATOR, "widht": 3})
