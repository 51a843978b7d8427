"""A picture is its seed's, whatever is asked for beside it."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from imggen_jax import sampling
from imggen_jax.sampling import BLOCK, sampler, seed_range


def model(spec=tiny.LABELLED, variant="dcgan"):
    built = tiny.build("gan", variant, spec)
    state = jax.jit(built.init)()
    # Away from the start, where a network may give nearly one grey.
    weights = jax.tree.map(lambda leaf: leaf + 0.3 * jnp.sin(jnp.arange(leaf.size, dtype=jnp.float32)).reshape(
        leaf.shape), state.average)
    return sampler(built.game.generator, spec), weights


@pytest.fixture(scope="module")
def labelled():
    return model()


@pytest.fixture(scope="module")
def many(labelled):
    make, weights = labelled
    images = make(weights, range(BLOCK + 10))
    assert images.shape == (BLOCK + 10, 16, 16, 3) and images.dtype == np.uint8
    assert len(np.unique(images, axis=0)) == len(images) and images.std() > 10
    return images


def test_a_picture_is_the_same_alone_and_among_others_in_any_order(labelled, many):
    make, weights = labelled
    for seed in (0, 7, BLOCK, 39):
        np.testing.assert_array_equal(make(weights, [seed])[0], many[seed])
    order = np.random.default_rng(0).permutation(len(many))[:23]
    np.testing.assert_array_equal(make(weights, order), many[order])
    np.testing.assert_array_equal(make(weights, range(5, 21)), many[5:21])
    np.testing.assert_array_equal(make(weights, [3, 3, 3]), many[[3, 3, 3]])


def test_a_picture_is_the_same_on_one_device_and_on_eight(labelled, many, monkeypatch):
    make, weights = labelled
    assert len(jax.local_devices()) == 8
    used = []
    put = jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda x, device: used.append(device) or put(x, device))
    seeds = range(9 * BLOCK)
    eight = make({**weights}, seeds)  # not those whose copies are kept
    assert set(used) == set(jax.local_devices())
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    np.testing.assert_array_equal(make({**weights}, seeds), eight)
    np.testing.assert_array_equal(eight[:len(many)], many)


def test_other_block_sizes_give_the_same_to_a_level(labelled, many, monkeypatch):
    monkeypatch.setattr(sampling, "BLOCK", 8)
    make, weights = model()
    assert np.abs(make(weights, range(BLOCK + 10)).astype(int) - many).max() <= 1


def test_labels_are_drawn_from_the_seed_and_can_be_given(labelled, many):
    make, weights = labelled
    each = np.stack([make(weights, range(40), [label] * 40) for label in range(4)])
    drawn = np.array([[np.array_equal(each[label, k], many[k]) for label in range(4)] for k in range(40)])
    assert (drawn.sum(1) == 1).all() and (drawn.sum(0) > 3).all()  # each picture has one label, and all occur
    np.testing.assert_array_equal(make(weights, [5, 5], [0, 1]), each[[0, 1], 5])


def test_truncation_draws_pictures_to_their_mean(labelled):
    make, weights = model(tiny.SPEC, "hinge")
    none, half, whole = (make(weights, range(2 * BLOCK), truncation=t).astype(int) for t in (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(none[:BLOCK], none[BLOCK:])
    assert np.abs(none - none[0]).max() <= 1  # another place in the batch may round otherwise
    assert 0 < np.abs(half - none).mean() < np.abs(whole - none).mean()
    # With labels, a mean for each of them.
    make, weights = labelled
    of_label = make(weights, range(BLOCK), [0, 1] * (BLOCK // 2), truncation=0.0).astype(int)
    assert np.abs(of_label - of_label[[0, 1] * (BLOCK // 2)]).max() <= 1 < np.abs(of_label[0] - of_label[1]).max()


def test_seeds_reach_to_the_largest_and_not_beyond(labelled):
    make, weights = labelled
    assert list(seed_range(3, 2)) == [3, 4]
    largest = make(weights, seed_range(2**32 - 2, 2))
    assert not np.array_equal(largest[0], largest[1])
    for seed, num in ((-1, 1), (2**32 - 1, 2), (2**32, 1), (0, 0)):
        with pytest.raises(ValueError, match="seeds go from 0 to 4294967295"):
            seed_range(seed, num)


def test_bytes_are_the_nearest_ones():
    values = jnp.array([-2, -1, -1 + 0.4 / 127.5, -1 + 0.6 / 127.5, 0, 1, 3])
    assert sampling.to_uint8(values).tolist() == [0, 0, 0, 1, 128, 255, 255]
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(sampling.to_uint8(every / jnp.float32(127.5) - 1), every)
