"""A picture's caption, found by a model of which it is known which text explains a picture best."""
import types

import numpy as np
import pytest
import worded
from PIL import Image

from imggen_jax import prompting
from imggen_jax.data.text import tokenizer_of
from imggen_jax.errors import RunError
from imggen_jax.prompting import describing

CAPTIONS = ["a smiling person blue hair", "a sad person blue beard", "a sad person no hair",
            "a smiling person no beard", "a person", "blue hair"]


@pytest.mark.parametrize("guided", [False, True])
def test_the_words_of_a_picture_are_found_though_no_caption_has_all_of_them(guided):
    model = worded.model(guided=guided)
    wanted = "a sad person blue hair"
    assert wanted not in CAPTIONS
    image = model.sample([3], {"text": wanted}, **({"guidance": 1.0} if guided else {}))[0]
    found = prompting.describe(model, image, CAPTIONS)
    assert found.caption == wanted and 6 < found.tried < 60
    assert set(found.certain) == {"sad", "blue", "hair"} and found.certain["sad"][0] == "smiling"
    assert all(gap > 0 for _, gap in found.certain.values())


def test_bytes_are_described_by_the_best_caption():
    plain = worded.model()
    spec = worded.tiny.spec_of(16, 1, text=worded.Field((24,), "int32"))

    def metrics(weights, batch, key):  # the more letters "b", the better
        return {"elbo": (batch["text"] == 1 + ord("b")).sum(-1) + 0.0}

    model = plain._replace(spec=spec, game=plain.game._replace(metrics=metrics))
    found = prompting.describe(model, np.zeros((16, 16, 1), np.uint8), ["a bee", "bubble", "boot"])
    assert (found.caption, found.certain, found.score) == ("bubble", {}, 3.0)


def test_describe_on_the_command_line(command, tmp_path):
    assert command("generate", "--model", "plain", "--prompt", "a sad person blue hair", "--num", 1, "--out",
                   "OUT/face.png").code == 0
    (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS))
    told = command("describe", "OUT/face.png", "--model", "plain", "--captions", "OUT/captions.txt")
    assert told.code == 0 and told.out.startswith("a sad person blue hair\n") and "sad, rather than smiling" in told.out
    for words, said in ((["OUT/face.png"], "required: --model/--workdir"),
                        (["OUT/face.png", "--model", "plain", "--classifier", "plain"], "give one of them"),
                        (["--model", "plain", "--captions", "OUT/captions.txt"], "a picture's file to describe a"),
                        (["OUT/face.png", "--model", "plain", "--captions", "OUT/gone.txt"], "gone.txt cannot be read"),
                        (["OUT/face.png", "--classifier", "plain"], "is a generator and names nothing"),
                        (["OUT/captions.txt", "--model", "plain", "--captions", "OUT/captions.txt"], "not a picture")):
        result = command("describe", *words)
        assert result.code == 2 and said in result.err and result.err.count("\n") == 1, result


def test_a_classifier_says_what_it_sees(short_run, tmp_path):
    import imggen_jax

    model = imggen_jax.load(short_run("classifier"))
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "one.png")
    found, _ = prompting.classify_file(short_run("classifier"), tmp_path / "one.png")
    value, share = found["label"]
    assert model.spec["label"].names.index(value) == model.classify(image[None])[0] and 0.25 <= share <= 1


def test_models_without_words_or_metrics_describe_nothing():
    plain = worded.model()
    black = np.zeros((16, 16, 1), np.uint8)
    with pytest.raises(RunError, match="has no metrics of its pictures"):
        prompting.describe(plain._replace(game=plain.game._replace(metrics=None)), black, ["a"])
    with pytest.raises(RunError, match="no caption is given"):
        prompting.describe(plain, black, [])
    with pytest.raises(RunError, match="images are"):
        prompting.describe(plain, np.zeros((8, 8, 1), np.uint8), ["a"])


def test_captions_of_avatars_come_without_drawing_any(monkeypatch):
    settings = types.SimpleNamespace(data=types.SimpleNamespace(name="avatars/64x64"))
    monkeypatch.setattr(describing, "of_run", lambda config, data: settings)
    tokens = describing.dataset_tokens(worded.model())
    said = {word for row in tokens for word in tokenizer_of(worded.SPEC["text"]).decode(row).split()}
    assert len(tokens) > 20 and {"a", "smiling", "sad"} <= said
