"""Attention of published transformers: what it computes on a CPU, part by part, and what it asks of other devices."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax.nets import attention

RNG = np.random.RandomState(0)
Q, K, V = (jnp.asarray(RNG.standard_normal((2, places, heads, 8)).astype("f"))
           for places, heads in ((11, 4), (10, 2), (10, 2)))


@pytest.mark.parametrize("whole", [1, 1000])
@pytest.mark.parametrize("causal, lengths", [(False, None), (True, None), (False, [10, 3]), (True, [4, 1])])
def test_parts_make_the_whole(causal, lengths, whole, monkeypatch):
    """Also where several heads of queries use one of the keys. JAX's own attention is the reference."""
    monkeypatch.setattr(attention, "WHOLE", whole)
    monkeypatch.setattr(attention, "IN_CACHE", 32)  # three queries of a head at a time
    monkeypatch.setattr(attention, "LANES", 5)
    lengths = None if lengths is None else jnp.array(lengths)
    made = attention.attend(Q, K, V, causal=causal, lengths=lengths)
    wanted = jax.nn.dot_product_attention(Q, K, V, is_causal=causal, key_value_seq_lengths=lengths)
    np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-6)


def test_a_gpu_is_asked_for_its_fused_attention_where_it_has_one(monkeypatch):
    """cuDNN's takes 16 bits and heads of at most 128 channels; the autoencoder's one head is wider."""
    asked, own = [], jax.nn.dot_product_attention

    def ask(*inputs, implementation, **more):
        asked.append(implementation)
        return own(*inputs, implementation="xla", **more)

    monkeypatch.setattr(jax.nn, "dot_product_attention", ask)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for dtype, width in ((jnp.bfloat16, 64), (jnp.float32, 64), (jnp.bfloat16, 512)):
        each = jax.ShapeDtypeStruct((1, 16, 2, width), dtype)
        assert jax.eval_shape(attention.attend, each, each, each).dtype == dtype
    assert asked == ["cudnn", "xla", "xla"]
