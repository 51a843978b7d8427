"""A text in the VAE and the GAN: it enters everywhere, may be missing, and leaves models of labels as they were."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from imggen_jax import conditioning
from imggen_jax.storage.checkpoint import flatten

TOLD = {"condition": {"width": 8, "layers": 1}}
VARIANTS = [("vae", "gaussian"), ("gan", "dcgan"), ("gan", "r3gan")]


@functools.cache
def build(name, variant, spec):
    config = tiny.config(name, variant, spec)
    config["game"] |= TOLD
    return tiny.building.build(tiny.check(config), spec)


@pytest.mark.parametrize(("name", "variant", "spec"), [
    pytest.param("vae", "gaussian", tiny.TOLD, id="vae"), pytest.param("gan", "dcgan", tiny.TOLD, id="dcgan"),
    pytest.param("gan", "r3gan", tiny.TOLD, id="r3gan", marks=pytest.mark.slow),
    pytest.param("gan", "dcgan", tiny.TEXTS, id="dcgan-text", marks=pytest.mark.slow)])
def test_every_loss_and_picture_depends_on_every_field(name, variant, spec):
    game = build(name, variant, spec).game
    rng = np.random.default_rng(0)
    params, mutable = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32),
                                   jax.eval_shape(lambda: game.init(jax.random.key(0), spec)))
    mutable = jax.tree.map(jnp.abs, mutable)  # variances among them
    batch = jax.tree.map(lambda x: x[0], tiny.examples(spec, 1, 4))
    others = {**batch, "text": np.roll(batch["text"], 1, axis=0)}
    if "label" in spec:
        others["label"] = (batch["label"] + 1) % 4
    fields = [name for name in ("text", "label") if name in spec]
    assert set(game.main.needs) == set(fields)

    @jax.jit
    def everything(batch):
        """A number for each loss, and pictures."""
        found = [loss(params, mutable, batch, tiny.clock(), jax.random.key(0))[0] for _, loss in game.moves]
        weights = game.weights(params, mutable)
        z = game.main.prior(jax.random.key(1), 4, None)
        told = game.main.condition(weights, {name: batch[name] for name in fields})
        return jnp.stack(found), game.main.decode(weights, z, told, {})

    losses, images = everything(batch)
    assert np.isfinite(losses).all()
    for field in fields:
        other_losses, other_images = everything({**batch, field: others[field]})
        assert np.all(other_losses != losses), field
        assert np.abs(other_images - images).max() > 1e-4, field


def test_models_of_labels_have_the_parameters_that_they_had():
    for name, variant in VARIANTS:
        shape = build(name, variant, tiny.LABELED).shape
        names = list(flatten(shape.params))
        assert not [each for each in names if "text" in each or "condition" in each]
        assert [each for each in names if each.endswith("Embed_0.embedding")]


def test_a_share_of_rows_says_nothing():
    given = conditioning.make(tiny.TOLD, dtype="float32", width=8)
    batch = {"text": jnp.full((1000, 6), 3), "label": jnp.zeros(1000, jnp.int32), "image": jnp.zeros((1000, 1))}
    kept = given.drop(batch, jax.random.key(0), 0.25)
    gone = np.asarray(kept["label"]) == 4
    assert 0.2 < gone.mean() < 0.3 and kept["image"] is batch["image"]
    np.testing.assert_array_equal(np.asarray(kept["text"]).max(1), np.where(gone, 0, 3))
    none = given.nothing(batch)
    assert int(none["text"].max()) == 0 and int(none["label"].min()) == 4


def test_the_number_of_tokens_is_that_of_the_tokenizer():
    from imggen_jax.data.text import Wanted, text_field, tokenizer_of
    for field in (text_field(Wanted("bytes", 4)), text_field(Wanted("words", 4), ("a", "b"))):
        assert conditioning.words(tiny.spec_of(16, 3, text=field)) == tokenizer_of(field).size
    assert conditioning.words(tiny.SPEC) == 0


def test_a_share_of_the_texts_keeps_a_run_of_words():
    texts = np.zeros((600, 6), np.int32)
    texts[:500, :4] = [2, 3, 4, 5]  # the others are empty, and stay so
    short = np.asarray(conditioning.some_words(jnp.asarray(texts), jax.random.key(0), 0.5))
    assert not short[500:].any()
    shapes = {tuple(row) for row in short[:500].tolist()}
    runs = {tuple([*range(a, b), *[0] * (6 - (b - a))]) for a in range(2, 6) for b in range(a + 1, 7)}
    assert shapes == {run for run in runs if max(run) <= 5}
    whole = np.mean(np.all(short[:500] == texts[0], axis=1))
    assert 0.5 < whole < 0.75  # half, and an eighth by chance
    np.testing.assert_array_equal(conditioning.some_words(jnp.asarray(texts), jax.random.key(0), 0.0), texts)


def test_dropping_shortens_where_it_is_wanted():
    drop = conditioning.make(tiny.TEXTS, dtype="float32", parts=1.0).drop
    rows = {"text": jnp.full((50, 6), 2, jnp.int32)}
    lengths = np.asarray((drop(rows, jax.random.key(0), 0.0)["text"] > 0).sum(axis=1))
    assert lengths.min() == 1 and lengths.max() > 4
    with pytest.raises(ValueError, match="condition.parts is 2"):
        conditioning.make(tiny.TEXTS, dtype="float32", parts=2.0)


@pytest.mark.parametrize(("name", "variant"), [*VARIANTS[:2], ("flow", "latents")])
def test_several_texts_condition_a_picture_by_their_shares(name, variant):
    built = tiny.build(name, variant, tiny.TOLD) if name == "flow" else build(name, variant, tiny.TOLD)
    game = built.game
    rng = np.random.default_rng(0)
    params, mutable = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32),
                                   jax.eval_shape(lambda: game.init(jax.random.key(0), tiny.TOLD)))
    weights = game.weights(params, jax.tree.map(jnp.abs, mutable)) | built.pretrained
    texts = tiny.examples(tiny.TOLD, 1, 2)["text"][0]
    label, z = np.array([1, 1]), game.main.prior(jax.random.key(1), 2, None)

    @jax.jit
    def pictures(fields):
        return game.main.decode(weights, z, game.main.condition(weights, fields), {})

    alone = [pictures({"text": np.stack([text, text]), "label": label}) for text in texts]
    both = np.stack([texts, texts])
    shares = [np.array(each, np.float32) for each in ([[1, 0], [0, 1]], [[0.5, 0.5], [2, -1]])]
    ends, mixed = (pictures({"text": both, "text_shares": each, "label": label}) for each in shares)
    np.testing.assert_allclose(ends, np.stack([alone[0][0], alone[1][1]]), atol=1e-4)
    for row in range(2):
        assert all(np.abs(mixed[row] - one[row]).max() > 1e-3 for one in alone)
