"""The networks of flows: sizes, what a text may change and what padding may not, and the parts of the transformer."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax.nets import dit, spatial, text_encoder, transformer, unet_flow

F32 = jnp.float32
DIT = dict(channels=2, patch=2, width=16, layers=2, heads=2, dtype=F32)
UNET = dict(channels=2, patch=2, widths=(4, 8), blocks=(1, 1), heads=2, dtype=F32)
NETWORKS = {"dit": (dit.Denoiser, DIT), "unet_flow": (unet_flow.Denoiser, UNET)}


def random(params, seed=0):
    """Parameters of the same shapes, none of them zero."""
    leaves, structure = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(structure, [rng.normal(0, 0.3, leaf.shape).astype(np.float32) for leaf in leaves])


@functools.cache
def encoder():
    net = text_encoder.Conditions(classes=3, words=7, width=8, layers=2, heads=2, dtype=F32)
    zeros = jnp.zeros(1, jnp.int32), jnp.zeros((1, 5), jnp.int32)
    return net, random(jax.eval_shape(net.init, jax.random.key(0), *zeros)["params"])


def said(label, text):
    net, params = encoder()
    return net.apply({"params": params}, jnp.array(label), jnp.array(text))


def apart(vectors):
    """How far the nearest two of vectors [n,D] are apart."""
    return np.abs(vectors[:, None] - vectors[None]).max(-1)[np.triu_indices(len(vectors), 1)].min()


@pytest.mark.parametrize("name", NETWORKS)
def test_any_size_and_a_start_at_zero(name):
    kind, attributes = NETWORKS[name]
    net = kind(**attributes)
    told = said([1, 2], [[2, 3, 0, 0, 0], [4, 5, 6, 2, 1]])
    x, time = jax.random.normal(jax.random.key(1), (2, 8, 12, 2)), jnp.array([0.2, 0.9])
    start, params = jax.jit(net.init_with_output)(jax.random.key(0), x, time, told)
    assert np.all(start == 0)
    params = random(params["params"])
    apply = jax.jit(lambda x, time, said: net.apply({"params": params}, x, time, said))
    made = apply(x, time, told)
    assert made.shape == x.shape and made.dtype == jnp.float32 and jnp.abs(made).min() > 0
    # Time and each part of what is said matter.
    assert np.abs(made - apply(x, time + 0.1, told)).min(axis=(1, 2, 3)).max() > 0
    for changed in (told._replace(vector=told.vector + 1), told._replace(tokens=told.tokens + 1)):
        assert np.abs(made - apply(x, time, changed)).max() > 1e-4
    # What is hidden does not: tokens of padding.
    hidden = told._replace(tokens=told.tokens + jnp.where(told.seen, 0.0, 5.0)[..., None])
    np.testing.assert_allclose(apply(x, time, hidden), made, atol=1e-5)
    # Other sizes with the same parameters, and without anything said.
    assert jax.eval_shape(apply, jnp.zeros((2, 4, 16, 2)), time, told).shape == (2, 4, 16, 2)
    alone = jax.eval_shape(lambda: net.init_with_output(jax.random.key(0), x, time, None)[0])
    assert alone.shape == x.shape


@pytest.mark.parametrize(("name", "side"), [("dit", 7), ("unet_flow", 6)])
def test_sides_that_do_not_fit_are_named(name, side):
    kind, attributes = NETWORKS[name]
    with pytest.raises(ValueError, match=f"network {name} takes pictures, or latents, whose sides are multiples of"):
        jax.eval_shape(lambda: kind(**attributes).init(
            jax.random.key(0), jnp.zeros((1, side, side, 2)), jnp.zeros(1), None))


def test_a_text_is_read_up_to_its_padding_and_nothing_is_a_text_too():
    texts = [[2, 3, 0, 0, 0], [3, 2, 0, 0, 0], [2, 3, 4, 0, 0], [0, 0, 0, 0, 0]]
    found = said([0] * 4, texts)
    assert found.tokens.shape == (4, 6, 8) and found.seen.sum(1).tolist() == [3, 3, 4, 1]
    vectors = np.asarray(found.vector)
    assert np.isfinite(vectors).all() and apart(vectors) > 1e-3
    # Where padding stands is not read.
    net, params = encoder()
    places = params["text"]["places"] + 9 * (np.arange(6) > 2)[:, None]
    changed = {**params, "text": {**params["text"], "places": places}}
    moved = net.apply({"params": changed}, jnp.zeros(4, jnp.int32), jnp.array(texts))
    np.testing.assert_allclose(moved.vector[0], vectors[0], atol=1e-5)
    assert np.abs(moved.vector[2] - vectors[2]).max() > 1e-3


def test_no_label_is_a_value_of_its_own():
    vectors = np.asarray(said([0, 1, 2, 3, 4], [[2, 0, 0, 0, 0]] * 5).vector)
    np.testing.assert_array_equal(vectors[3], vectors[4])
    assert apart(vectors[:4]) > 1e-3


def test_rotated_logits_depend_on_differences_of_places_alone():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 2, 3, 8))
    places = jnp.array([[0.0, 0.0], [2.0, 5.0]])

    def logits(shift):
        turned = [transformer.rotate(x, places + shift) for x in (q, k)]
        return jnp.einsum("bnhd,bmhd->bhnm", *turned)

    np.testing.assert_allclose(logits(0.0), logits(jnp.array([7.0, -3.0])), atol=1e-4)
    assert np.abs(logits(0.0) - jnp.einsum("bnhd,bmhd->bhnm", q, k)).max() > 0.1
    np.testing.assert_allclose(jnp.linalg.norm(transformer.rotate(q, places), axis=-1), jnp.linalg.norm(q, axis=-1),
                               rtol=1e-5)
    assert transformer.grid(2, 3).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


def test_queries_and_keys_have_one_length_however_large_what_is_read():
    net = transformer.Attention(heads=2, dtype=F32)
    x = jax.random.normal(jax.random.key(0), (1, 4, 8))
    params = random(jax.eval_shape(net.init, jax.random.key(1), x)["params"])
    params["qkv"]["bias"][:] = 0
    weights = [jax.grad(lambda y: net.apply({"params": params}, y).sum())(scale * x) for scale in (1.0, 1000.0)]
    assert all(np.isfinite(each).all() for each in weights)
    small, large = (net.apply({"params": params}, scale * x) - params["out"]["bias"] for scale in (1.0, 1000.0))
    np.testing.assert_allclose(large, 1000 * small, rtol=1e-3, atol=1e-2)  # values grow, and who attends to whom stays
    with pytest.raises(ValueError, match="3 heads do not divide a width of 8"):
        transformer.Attention(heads=3, dtype=F32).init(jax.random.key(0), x)


def test_a_map_of_latents_keeps_places():
    attributes = dict(widths=(4, 8), blocks=(1, 1), dtype=F32)
    enc, dec = spatial.Encoder(latents=3, **attributes), spatial.Decoder(channels=1, **attributes)
    x = jax.random.normal(jax.random.key(0), (1, 32, 48, 1))
    params = random(jax.eval_shape(enc.init, jax.random.key(1), x)["params"])
    encode = jax.jit(lambda x: enc.apply({"params": params}, x)[0])
    mean = encode(x)
    assert mean.shape == (1, 8, 12, 3)
    changed = np.abs(encode(x.at[:, :4, :4].add(1.0)) - mean).max(-1)[0]
    assert changed[0, 0] > 1e-3 and changed[6:, 6:].max() < 1e-6  # far from there nothing changes
    made, _ = jax.eval_shape(dec.init_with_output, jax.random.key(2), mean)
    assert made.shape == x.shape
    with pytest.raises(ValueError, match="network spatial takes pictures whose sides are multiples of 4"):
        jax.eval_shape(lambda: enc.init(jax.random.key(0), jnp.zeros((1, 10, 12, 1))))
