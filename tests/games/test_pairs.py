"""The games of pairs: what a hole leaves alone, what a pool remembers, what ties a picture to its source."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from imggen_jax import losses
from imggen_jax.config import check
from imggen_jax.errors import ConfigError
from imggen_jax.games import inpaint, paired, unpaired
from imggen_jax.training.build import build

UNET = tiny.UNET
SPEC = tiny.TRANSLATED


def one_batch(number=4):
    return jax.tree.map(lambda x: x[0], tiny.examples(SPEC, 1, number))


def test_known_pixels_are_returned_as_given_and_what_is_in_a_hole_is_not_seen():
    game, batch = inpaint.make(SPEC, dtype="float32", generator=UNET), one_batch()
    params, _ = tiny.init(game, SPEC)
    run = jax.jit(lambda fields: game.main.decode(params, (), game.main.condition(params, fields), {}))
    made = np.asarray(run(batch))
    hole = np.broadcast_to(batch["mask"] == 255, made.shape)
    shown = np.round(127.5 * (made + 1)).astype(np.uint8)
    np.testing.assert_array_equal(shown[~hole], batch["source"][~hole])
    assert np.abs(shown[hole].astype(int) - batch["source"][hole]).mean() > 1
    other = {**batch, "source": np.where(hole, 255 - batch["source"], batch["source"])}
    np.testing.assert_array_equal(run(other), made)


def test_a_pool_remembers_the_first_pictures_and_then_changes_half_of_them():
    made = jnp.linspace(-1, 1, 256)[jnp.arange(200)].reshape(25, 8, 1, 1, 1) * jnp.ones((1, 1, 2, 2, 1))
    memory, shown = jnp.zeros((16, 2, 2, 1), jnp.uint8), []
    step = jax.jit(unpaired.remember)
    for i, each in enumerate(made):
        found, memory = step(memory, each, jnp.float32(8 * i), jax.random.key(i))
        shown.append(np.asarray(jnp.round(127.5 * (found[:, 0, 0, 0] + 1)), int))
    new = np.arange(200).reshape(25, 8)
    np.testing.assert_array_equal(shown[:2], new[:2])  # while there is room
    assert set(np.concatenate(shown)) <= set(range(200))
    fresh = np.mean([np.isin(one, number).mean() for one, number in zip(shown[2:], new[2:])])
    assert 0.35 < fresh < 0.65
    assert len(set(np.asarray(memory)[:, 0, 0, 0].tolist())) == 16


def test_a_pool_and_pmap_exclude_each_other():
    settings = check(tiny.config("unpaired", "cyclegan", SPEC, engine="pmap"))
    with pytest.raises(ConfigError, match="remembers pictures .config.game.pool., .* set config.devices.engine to jit"):
        build(settings, SPEC)


def test_patch_nce_is_chance_for_patches_alike_and_nothing_for_the_right_ones():
    alike = jnp.ones((2, 5, 3)) / jnp.sqrt(3)
    np.testing.assert_allclose(losses.patch_nce(alike, alike, 0.07), np.log(5), rtol=1e-5)
    apart = jnp.tile(jnp.eye(5)[None], (2, 1, 1))
    assert losses.patch_nce(apart, apart, 0.07).max() < 1e-4
    assert losses.patch_nce(apart, apart[:, ::-1], 0.07).min() > 5


def test_the_penalty_of_patches_that_do_not_overlap_is_that_of_one():
    slope = 3.0
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    found = losses.judge_patches(losses.least_squares, lambda x: slope * x[:, ::4, ::4, 0], images, images, 2.0, 0.0)
    plain = losses.judge_patches(losses.least_squares, lambda x: slope * x[:, ::4, ::4, 0], images, images, 0.0, 0.0)
    np.testing.assert_allclose(found.loss - plain.loss, slope ** 2, rtol=1e-5)  # 2/2 times the squared slope
    np.testing.assert_allclose(found.real, slope * jnp.mean(images[:, ::4, ::4, 0], axis=(1, 2)), rtol=1e-5)


def test_psnr():
    found = losses.psnr(jnp.array([4.0, 4 / 255 ** 2, 0.0]))
    np.testing.assert_allclose(found, [0, 20 * np.log10(255), 100], rtol=1e-5, atol=1e-5)


def test_cyclegan_goes_both_ways_and_cut_one():
    for variant, ways in (("cut", {"a_to_b"}), ("cyclegan", {"a_to_b", "b_to_a"})):
        game = tiny.build("unpaired", variant, SPEC).game
        assert set(game.models) == ways
    assert game.models["a_to_b"].needs == ("source",) and game.models["b_to_a"].needs == ("image",)


@pytest.mark.parametrize(("make", "spec", "options", "message"), [
    (paired.make, tiny.SPEC, {}, "no field 'source' .* set config.data.pairs"),
    (unpaired.make, tiny.SPEC, {"discriminator": tiny.PATCHGAN}, "no field 'source' .* config.data.pairs to unaligned"),
    (inpaint.make, tiny.SPEC, {}, "no field 'mask'; set config.transforms"),
    (paired.make, SPEC, {"loss": "l3"}, "unknown loss 'l3'; choose from relativistic"),
    (unpaired.make, SPEC, {"discriminator": tiny.PATCHGAN, "method": "dcl"}, "unknown method 'dcl'; choose from cut"),
    (paired.make, tiny.spec_of(16, 3, source=tiny.Field((8, 8, 3), "uint8")), {}, "sources are 8x8 and images 16x16"),
])
def test_what_cannot_be_played_is_named(make, spec, options, message):
    with pytest.raises(ValueError, match=message):
        make(spec, dtype="float32", generator=UNET, **options)
