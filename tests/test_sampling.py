"""The image of a seed is the same, whatever is asked for beside it."""
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from imggen_jax import sampling
from imggen_jax.sampling import BLOCK, seed_range


class Made(NamedTuple):
    sampler: sampling.Sampler
    weights: object

    def __call__(self, seeds, labels=None, **options):
        given = {} if labels is None else {"label": np.array(labels, np.int32)}
        return self.sampler.sample(self.weights, seeds, given, **options)


def model(spec=tiny.LABELED, variant="dcgan"):
    built = tiny.build("gan", variant, spec)
    state = jax.jit(built.init)()
    # Away from the start, where a network may give nearly one grey.
    weights = jax.tree.map(lambda leaf: leaf + 0.3 * jnp.sin(jnp.arange(leaf.size, dtype=jnp.float32)).reshape(
        leaf.shape), state.average)
    return Made(sampling._make(built.game.main, spec), weights)


@pytest.fixture(scope="module")
def labeled():
    return model()


@pytest.fixture(scope="module")
def many(labeled):
    make = labeled
    images = make(range(BLOCK + 10))
    assert images.shape == (BLOCK + 10, 16, 16, 3) and images.dtype == np.uint8
    assert len(np.unique(images, axis=0)) == len(images) and images.std() > 10
    return images


def test_a_picture_is_the_same_alone_and_among_others_in_any_order(labeled, many):
    make = labeled
    for seed in (0, 7, BLOCK, 39):
        np.testing.assert_array_equal(make([seed])[0], many[seed])
    order = np.random.default_rng(0).permutation(len(many))[:23]
    np.testing.assert_array_equal(make(order), many[order])
    np.testing.assert_array_equal(make(range(5, 21)), many[5:21])
    np.testing.assert_array_equal(make([3, 3, 3]), many[[3, 3, 3]])


def test_a_picture_is_the_same_on_one_device_and_on_all(labeled, many, monkeypatch):
    make = labeled
    assert len(jax.local_devices()) > 1
    used = []
    put = jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda x, device: used.append(device) or put(x, device))
    seeds = range(9 * BLOCK)
    again = make._replace(weights={**make.weights})  # not those whose copies are kept
    all_devices = again(seeds)
    assert set(used) == set(jax.local_devices())
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    np.testing.assert_array_equal(make._replace(weights={**make.weights})(seeds), all_devices)
    np.testing.assert_array_equal(all_devices[:len(many)], many)


def test_other_block_sizes_give_the_same_to_a_level(labeled, many, monkeypatch):
    monkeypatch.setattr(sampling, "BLOCK", 8)
    make = model()
    assert np.abs(make(range(BLOCK + 10)).astype(int) - many).max() <= 1


def test_labels_are_drawn_from_the_seed_and_can_be_given(labeled, many):
    make = labeled
    each = np.stack([make(range(40), [label] * 40) for label in range(4)])
    drawn = np.array([[np.array_equal(each[label, k], many[k]) for label in range(4)] for k in range(40)])
    assert (drawn.sum(1) == 1).all() and (drawn.sum(0) > 3).all()  # each picture has one label, and all occur
    np.testing.assert_array_equal(make([5, 5], [0, 1]), each[[0, 1], 5])


def test_truncation_draws_pictures_to_their_mean(labeled):
    make = model(tiny.SPEC, "hinge")
    none, half, whole = (make(range(2 * BLOCK), truncation=t).astype(int) for t in (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(none[:BLOCK], none[BLOCK:])
    assert np.abs(none - none[0]).max() <= 1  # another place in the batch may round otherwise
    assert 0 < np.abs(half - none).mean() < np.abs(whole - none).mean()
    # With labels, a mean for each of them.
    make = labeled
    of_label = make(range(BLOCK), [0, 1] * (BLOCK // 2), truncation=0.0).astype(int)
    assert np.abs(of_label - of_label[[0, 1] * (BLOCK // 2)]).max() <= 1 < np.abs(of_label[0] - of_label[1]).max()


def test_seeds_reach_to_the_largest_and_not_beyond(labeled):
    make = labeled
    assert list(seed_range(3, 2)) == [3, 4]
    largest = make(seed_range(2**32 - 2, 2))
    assert not np.array_equal(largest[0], largest[1])
    for seed, num in ((-1, 1), (2**32 - 1, 2), (2**32, 1), (0, 0)):
        with pytest.raises(ValueError, match="seeds go from 0 to 4294967295"):
            seed_range(seed, num)


def test_bytes_are_the_nearest_ones():
    values = jnp.array([-2, -1, -1 + 0.4 / 127.5, -1 + 0.6 / 127.5, 0, 1, 3])
    assert sampling.to_uint8(values).tolist() == [0, 0, 0, 1, 128, 255, 255]
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(sampling.to_uint8(every / jnp.float32(127.5) - 1), every)


def test_one_sampler_serves_all_models_of_a_game():
    built = tiny.build("gan", "dcgan", tiny.LABELED)
    assert sampling.sampler(built.game.main, tiny.LABELED) is sampling.sampler(built.game.main, tiny.LABELED)


def test_a_latent_that_is_shown_is_the_image_of_its_seed(labeled, many):
    seeds = [BLOCK + 3, 3, 7]
    latents = labeled.sampler.draw(labeled.weights, seeds, {})
    assert latents.places.tolist() == [3, 3, 7] and latents.w.shape[0] == 3 and set(latents.given) == {"label"}
    np.testing.assert_array_equal(labeled.sampler.show(labeled.weights, latents), many[seeds])
