"""A new word is learned by a tiny VAE and a tiny flow, kept in a small file, and used with shares."""
import functools

import jax
import numpy as np
import pytest
import tiny

import imggen_jax
from imggen_jax import adapters, exporting, flags
from imggen_jax.data.text import tokenizer_of
from imggen_jax.errors import RunError
from imggen_jax.model import Model
from imggen_jax.prompting import personalizing
from imggen_jax.storage import checkpoint

KINDS = [("vae", "gaussian"), ("flow", "latents")]


@functools.cache
def model(name, variant):
    """(a model of random weights, the networks that it uses)."""
    settings = tiny.config(name, variant, tiny.TEXTS)
    if name == "vae":
        settings["game"]["condition"] = {"width": 8, "layers": 1}
    networks = tiny.networks(name, variant)
    built = tiny.building.build(tiny.check(settings), tiny.TEXTS, networks)
    rng = np.random.default_rng(0)  # as a network begins, its last layer is zero and nothing before it matters
    shapes = jax.eval_shape(lambda: built.game.init(jax.random.key(0), tiny.TEXTS))
    params, mutable = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)
    mutable = jax.tree.map(lambda leaf: np.abs(leaf) + 1, mutable)
    weights = jax.tree.map(np.asarray, {**built.game.weights(params, mutable), **built.pretrained})
    return Model(settings, tiny.TEXTS, 1, weights, built.game, "main"), networks


@functools.cache
def learned(name, variant):
    one, networks = model(name, variant)
    images = np.full((3, 16, 16, 3), (200, 30, 90), np.uint8)
    return personalizing.learn(one, images, "zork", networks, prior=["a red cat", "a blue dog"], steps=120, seed=1)


@pytest.mark.parametrize(("name", "variant"), [KINDS[0], pytest.param(*KINDS[1], marks=pytest.mark.slow)])
def test_a_word_is_learned_and_the_model_stays(name, variant, tmp_path):
    one, networks = model(name, variant)
    adapter, figures = learned(name, variant)
    before, after = figures["pictures"]
    assert after < before
    assert set(adapter.words) == {"zork"} and adapter.down and all(np.any(up) for up in adapter.up.values())
    adapters.write(tmp_path / "zork.safetensors", adapter)
    assert (tmp_path / "zork.safetensors").stat().st_size < 2_000_000
    again = adapters.read(tmp_path / "zork.safetensors")
    assert again.alpha == adapter.alpha and again.base == checkpoint.fingerprint(one.weights)
    jax.tree.map(np.testing.assert_array_equal, dict(again.up), dict(adapter.up))
    # Without its changes the model is what it was, with one word more.
    none = adapters.apply(one, [(again, 0.0)], networks)
    assert none.spec["text"].names[-1] == "zork" and not tokenizer_of(none.spec["text"]).unknown("a zork")
    np.testing.assert_array_equal(none.sample([5], {"text": "a red cat"}), one.sample([5], {"text": "a red cat"}))
    whole, half = (adapters.apply(one, [(again, share)], networks) for share in (1.0, 0.5))
    said = {"text": "a zork"}
    pictures = [each.sample([5], said).astype(float) for each in (none, half, whole)]
    assert np.abs(pictures[2] - pictures[0]).max() > 0 and not np.array_equal(pictures[1], pictures[2])
    for leaf in jax.tree.leaves(one.weights):
        assert np.all(np.isfinite(leaf))


def test_an_adapter_is_named_after_its_model(tmp_path):
    one, networks = model("vae", "gaussian")
    exporting.write(one, networks, tmp_path / "model", card="")
    adapters.write(tmp_path / "zork.safetensors", learned("vae", "gaussian").adapter)
    path = f"{tmp_path / 'model'}+{tmp_path / 'zork.safetensors'}:0.5"
    loaded = imggen_jax.load(path)
    adapter = adapters.read(tmp_path / "zork.safetensors")
    made = adapters.apply(imggen_jax.load(tmp_path / "model"), [(adapter, 0.5)], {})
    np.testing.assert_array_equal(loaded.sample([1], {"text": "zork"}), made.sample([1], {"text": "zork"}))
    with pytest.raises(RunError, match="two adapters have the word 'zork'"):
        imggen_jax.load(f"{path}+{tmp_path / 'zork.safetensors'}")
    parser = flags.Parser("vary", "")
    flags.add_model(parser)
    words = ["--model", "runs/m", "--adapter", "a.safetensors:0.8", "--adapter", "b.safetensors"]
    assert parser.parse_args(words).model == "runs/m+a.safetensors:0.8+b.safetensors"
    assert adapters.split("runs/m+a.safetensors:0.8+b.safetensors") == (
        "runs/m", [("a.safetensors", 0.8), ("b.safetensors", 1.0)])
    assert adapters.split("runs/a+b") == ("runs/a+b", [])


def test_what_does_not_match_is_named_and_nothing_is_applied(tmp_path):
    one, networks = model("vae", "gaussian")
    adapter = learned("vae", "gaussian").adapter
    name = next(iter(adapter.down))
    other = jax.tree.map(lambda leaf: leaf + 1, one.weights)
    for wrong, said in ((adapter._replace(down={**adapter.down, name: np.zeros((4, 99), np.float32)}), "its layer"),
                        (adapter._replace(down={"x.kernel": adapter.down[name]}, up={"x.kernel": adapter.up[name]}),
                         "its layer x, of .* does not exist here; nothing of it was applied")):
        with pytest.raises(RunError, match=said):
            adapters.apply(one, [(wrong, 1.0)], networks)
    with pytest.raises(RunError, match="the adapter belongs to other weights"):
        adapters.apply(one._replace(weights=other), [(adapter, 1.0)], networks)
    with pytest.raises(RunError, match="knows the word 'cat' already"):
        adapters.with_words(one, {"cat": np.zeros(8, np.float32)}, networks)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    for path in ("broken.safetensors", "gone.safetensors"):
        with pytest.raises(RunError, match="cannot be used"):
            adapters.read(tmp_path / path)
    with pytest.raises(RunError, match="the share of a.safetensors is 3"):
        adapters.split("m+a.safetensors:3")


@pytest.mark.parametrize(("word", "options", "said"), [
    ("two words", {}, "is not one word"), ("Zork", {}, "is not one word"), ("cat", {}, "knows the word 'cat' already"),
    ("zork", {"steps": 0}, "steps are 0"), ("zork", {"rank": 65}, "rank is 65"),
    ("zork", {"captions": ["a cat", "zork"]}, "captions are not one for each picture that says the word 'zork'"),
])
def test_what_cannot_be_learned_is_refused(word, options, said):
    one, networks = model("vae", "gaussian")
    with pytest.raises(RunError, match=said):
        personalizing.learn(one, np.zeros((2, 16, 16, 3), np.uint8), word, networks, **options)
