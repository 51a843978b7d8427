"""The learned watermark: how strong it may be, when it gets weaker, and what stands in its way."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from imggen_jax.game import Field
from imggen_jax.games import watermark

SPEC = tiny.TRANSLATED
NETWORKS = {key: value for key, value in tiny.GAMES["watermark"].variants(SPEC)["bits"].items()
            if key not in ("strength", "handled")}


@functools.cache
def start():
    game = watermark.make(SPEC, dtype="float32", strength=(20.0, 5.0), weaker=0.01, target=0.0, **NETWORKS)
    return game, *tiny.init(game, SPEC)


def test_a_mark_is_as_strong_as_it_may_be_and_less_where_nothing_hides_it():
    game, params, mutable = start()
    flat, noisy = np.zeros((16, 16, 3)), np.random.default_rng(0).uniform(-1, 1, (16, 16, 3))
    source = jnp.asarray(np.stack([flat, noisy]), jnp.float32)
    z = game.main.prior(jax.random.key(0), 2, None)
    assert z.shape == (2, 2) and set(np.unique(z)) <= {-1, 1}
    decode = jax.jit(lambda weights: game.main.decode(weights, z, source, {}))
    added = 127.5 * np.abs(decode(game.weights(params, mutable)) - source).max((1, 2, 3))
    assert 0 < added[0] <= watermark.FLAT * 20 + 1e-3 < added[1] <= 20 + 1e-3
    weaker = decode(game.weights(params, {"strength": jnp.float32(5)}))
    assert 127.5 * np.abs(weaker - source).max() <= 5 + 1e-3


def test_it_gets_weaker_while_it_is_read_and_counts_more_what_is_seen():
    game, params, mutable = start()
    batch = {name: value[0] for name, value in tiny.examples(SPEC, 1, 8).items()}
    loss = jax.jit(dict(game.moves)["marker"])
    value, (after, scalars) = loss(params, mutable, batch, tiny.clock(), jax.random.key(0))
    assert float(after["strength"]) == pytest.approx(20 * (1 - 8 * 0.01))
    late, (last, _) = loss(params, {"strength": jnp.float32(5)}, batch, tiny.clock(), jax.random.key(0))
    assert float(last["strength"]) == 5 and float(scalars["seen"]) > 0
    # An untrained decoder finds either bit as likely, so that what is left is what is seen.
    assert float(value) == pytest.approx(np.log(2), rel=1e-5)
    assert float(late - value) == pytest.approx(0.5 * float(scalars["seen"]), rel=1e-4)


@pytest.mark.parametrize(("spec", "options", "says"), [
    (tiny.SPEC, {}, "there is no field 'source'"),
    (tiny.ENLARGED, {}, "sources are 8x8 and images 16x16"),
    (SPEC, {"strength": (4.0, 8.0)}, r"strength is \(4.0, 8.0\)"),
    ({**SPEC, "image": Field((16, 24, 3), "uint8")}, {}, "needs square images"),
])
def test_one_line_for_what_it_cannot_learn_from(spec, options, says):
    with pytest.raises(ValueError, match=says):
        watermark.make(spec, dtype="float32", **{**NETWORKS, **options})
