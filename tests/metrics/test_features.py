"""Features do not depend on batches, order or devices."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_inputs as inputs

from imggen_jax.metrics import features
from imggen_jax.metrics.features import Space, extract, stream

IMAGES = inputs.pictures(1, 75, 6, 5)


def apply(weights, images):
    x = jnp.tanh(images.reshape(len(images), -1).astype(jnp.float32) @ weights / 255)
    return x, x[:, :3] * 2


SPACE = Space("toy", 8, "none", "0", apply, np.random.RandomState(0).randn(90, 8).astype(np.float32))
PLAIN = np.tanh(IMAGES.reshape(75, -1).astype(np.float32) @ SPACE.weights / 255)


def test_they_are_those_of_the_network_in_order():
    found = extract(SPACE, [IMAGES])
    np.testing.assert_allclose(found.vectors, PLAIN, atol=1e-5)
    np.testing.assert_allclose(found.logits, 2 * PLAIN[:, :3], atol=1e-5)


def test_batches_and_devices_do_not_change_a_bit(monkeypatch):
    whole = extract(SPACE, [IMAGES]).vectors
    assert len(jax.local_devices()) > 1
    for batches in (IMAGES, [IMAGES[:1], IMAGES[1:70], IMAGES[70:]], (IMAGES[i:i + 7] for i in range(0, 75, 7))):
        assert np.array_equal(extract(SPACE, batches).vectors, whole)
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    assert np.array_equal(extract(SPACE, [IMAGES]).vectors, whole)


def test_the_order_changes_no_feature():
    order = np.random.RandomState(1).permutation(75)
    np.testing.assert_allclose(extract(SPACE, [IMAGES[order]]).vectors, extract(SPACE, [IMAGES]).vectors[order],
                               atol=1e-6)


def test_a_stream_is_read_no_farther_than_needed():
    read = []

    def source():
        for i in range(1000):
            read.append(i)
            yield IMAGES[:features.BLOCK]

    next(stream(SPACE, source()))
    assert len(read) <= features.AHEAD * len(jax.local_devices()) + 1


def test_what_is_no_picture_is_refused():
    for images, message in (([IMAGES / 255], "float64"), ([IMAGES[..., :2]], r"\[75, 6, 5, 2\]"),
                            ([IMAGES, IMAGES[:, :4]], "two sizes"), ([], "at least one")):
        with pytest.raises(ValueError, match=message):
            extract(SPACE, images)
