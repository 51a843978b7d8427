"""The sliced Wasserstein step: lowers the distance, moves only what may change, with any optimizer."""
import jax
import numpy as np
import optax
import pytest

from imggen_jax.patches import patch_distance, wasserstein


def test_distance_is_zero_between_equal_sets_and_grows(stones):
    picture = stones.astype(np.float32) / 255
    key = jax.random.key(0)
    assert float(wasserstein.distance(picture, picture[::1], key, samples=0)) == pytest.approx(0, abs=1e-9)
    apart = [float(wasserstein.distance(picture, picture + s, key, samples=0)) for s in (0.1, 0.2)]
    assert apart[1] == pytest.approx(4 * apart[0], rel=1e-4) and apart[0] > 0


@pytest.mark.parametrize("optimizer", [None, optax.sgd(1000.0, momentum=0.5)])
def test_refine_draws_nearer(stones, optimizer):
    source = stones.astype(np.float32) / 255
    start = np.random.default_rng(0).random(source.shape, np.float32)
    change = np.ones(source.shape[:2], bool)
    change[:10] = False
    made = wasserstein.refine(start, source, optimizer=optimizer, steps=25, samples=1024, change=change,
                              wrap=(True, True))
    np.testing.assert_array_equal(made[:10], start[:10])

    def far(picture):
        return patch_distance((np.clip(picture, 0, 1) * 255).astype(np.uint8), stones, samples=2000)

    assert far(made) < 0.7 * far(start)
