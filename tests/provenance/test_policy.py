"""Policies: what is refused, how it is told, and that nothing else is."""
import json

import numpy as np
import pytest
import shell

from imggen_jax.errors import RunError
from imggen_jax.provenance import policy
from imggen_jax.spec import Field, make_spec

SPEC = make_spec(image=Field((8, 8, 3), "uint8"), label=Field((), "int32", ("cat", "gun")), text=Field((6,), "int32"))


@pytest.fixture
def model(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / policy.FILE).write_text(policy.EXAMPLE.read_text())
    return tmp_path / "m"


def refused(*args, **options):
    with pytest.raises(RunError) as error:
        policy.check(*args, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("text, word", [
    ("a passport", "passport*"), ("two PASSPORTS, please", "passport*"), ("an identity\ncard of mine", "identity card"),
    ("pa\u200bssport", "passport*"), ("P\u00e1ssport", "passport*"), ("\uff50assport", "passport*"),
    ("a cat in the style of Somebody", "in the style of *")])
def test_words_are_found_however_they_are_written(text, word, model):
    said = refused(model, "generate", SPEC, {"text": ["a cat", text]})
    assert repr(word) in said and str(model / policy.FILE) in said and "Avatars for games" in said


def test_everything_else_passes(model, tmp_path):
    for given in ({"text": "a pass port"}, {"text": "my card, an identity"}, {"negative": "passport"}, {"label": "cat"},
                  {"label": 0}, {"label": np.int32(0)}, {"text": np.zeros((1, 6), np.int32)}, None):
        policy.check(model, "generate", SPEC, given)
    policy.check(tmp_path, "personalize", SPEC, {"text": "passport", "label": "gun"}, drawn=("label",))
    policy.check(None, "generate", SPEC, {"text": "passport"})


def test_labels_and_verbs(model):
    for value in ("gun", 1, [0, 1], np.array([0, 1])):
        assert "the label 'gun'" in refused(model, "generate", SPEC, {"label": value})
    assert "drawn at random" in refused(model, "generate", SPEC, {"text": "a cat"}, drawn=("label", "text"))
    policy.check(model, "generate", SPEC, {"label": "cat"}, drawn=("label", "text"))
    assert "the verb personalize" in refused(model, "personalize", SPEC)


def test_the_policy_of_a_computer_holds_for_all_models_and_refusals_are_counted_without_the_text(tmp_path, monkeypatch):
    file = tmp_path / "mine.toml"
    file.write_text('[refuse]\nwords = ["secret plan"]\n')
    monkeypatch.setenv(policy.VARIABLE, str(file))
    refused("runs/faces", "generate", SPEC, {"text": "my very secret plan B"})
    (said,) = policy.refusals(file)
    assert (said["verb"], said["rule"], said["model"]) == ("generate", "word secret plan", "faces")
    assert "plan B" not in file.with_name(policy.REFUSED).read_text()


@pytest.mark.parametrize("text, says", [
    ("intendet = 'x'", "did you mean intended"), ("[refuse]\nword = ['x']", "did you mean words"),
    ("[refuse]\nwords = 'x'", "write a list of texts"), ("refuse = 3", "write a table"), ("x = = 3", "is not TOML"),
    ("intended = 3", "write a text"), ("[refuse]\nlabels = 3", "write a table, [refuse.labels]")])
def test_a_policy_that_says_nothing_sensible_is_refused(text, says, tmp_path):
    (tmp_path / policy.FILE).write_text(text)
    assert says in refused(tmp_path, "generate", SPEC)


def test_policy_from_the_command_line(model, tmp_path):
    told = shell.call("policy", "--example")
    assert told.code == 0 and told.out == policy.EXAMPLE.read_text()
    told = shell.call("policy", "--model", model)
    assert told.code == 0 and "refuses label: gun" in told.out and "not for: identity documents" in told.out
    assert shell.call("policy", "--model", tmp_path).code == 1
    assert shell.call("policy", "--model", tmp_path / "none").code == 2


def test_generate_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    file = tmp_path / "mine.toml"
    file.write_text('intended = "tests"\n[refuse]\nverbs = ["generate"]\n')
    monkeypatch.setenv(policy.VARIABLE, str(file))
    told = shell.call("generate", "--model", "avatars_32", "--num", 1, "--out", tmp_path / "out")
    assert told.code == 2 and "refuses the verb generate; it is meant for: tests" in told.err
    assert told.err.count("\n") == 1 and not list(tmp_path.rglob("*.png"))
    assert json.loads(file.with_name(policy.REFUSED).read_text())["rule"] == "verb generate"


@pytest.mark.parametrize("words", [
    "upscale a.png", "restore a.png", "complete a.png --mask a.png --model m", "translate a.png --model m",
    "sketch a.png --model m", "stylize a.png --style a.png", "remove a.png --box 1,1,9,9",
    "personalize --pictures . --word zork --model m"])
def test_verbs_that_are_given_pictures_are_refused_before_anything_is_read(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"not read")
    (tmp_path / "m").mkdir()
    words = words.split()
    file = tmp_path / ("m/policy.toml" if "m" in words else "mine.toml")
    file.write_text(f'[refuse]\nverbs = ["{words[0]}"]\n')
    if "m" not in words:
        monkeypatch.setenv(policy.VARIABLE, str(file))
    told = shell.call(*words, "--out", "made.safetensors" if words[0] == "personalize" else "made.png")
    assert told.code == 2 and f"refuses the verb {words[0]}" in told.err and told.err.count("\n") == 1
    assert not list(tmp_path.glob("made.*"))
