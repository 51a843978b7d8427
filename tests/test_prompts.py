"""What prompts mean, by known answers."""
import pytest

from imggen_jax import prompts
from imggen_jax.errors import RunError
from imggen_jax.prompts import Mixture


@pytest.mark.parametrize(("prompt", "said"), [
    ("a red hat", "a red hat"),
    ("  a red hat ", "a red hat"),
    ("a red hat::3", "a red hat"),
    ("smiling::2 beard::-0.5", Mixture(("smiling", "beard"), (4 / 3, -1 / 3))),
    ("a hot:: dog", Mixture(("a hot", "dog"), (0.5, 0.5))),
    ("a hot::dog::3", Mixture(("a hot", "dog"), (0.25, 0.75))),
    ("a::.5 b::1. c", Mixture(("a", "b", "c"), (0.2, 0.4, 0.4))),
    ("a::2b", Mixture(("a", "2b"), (0.5, 0.5))),      # no number, since no space follows
    (r"a \{b\} c\:: d \\", r"a {b} c:: d " + "\\"),
    ("ein h\u00fcbscher \u5e3d\u5b50 \U0001f600", "ein h\u00fcbscher \u5e3d\u5b50 \U0001f600"),
])
def test_parts_and_weights(prompt, said):
    found = prompts.parse(prompt)
    if isinstance(said, str):
        assert found == said
    else:
        assert found.texts == said.texts and found.shares == pytest.approx(said.shares)
    assert prompts.of(prompts.parse(prompts.show(found))).texts == prompts.of(found).texts


@pytest.mark.parametrize(("prompt", "said"), [
    ("", "the prompt is empty"),
    (" \n", "the prompt is empty"),
    ("x" * 10_000, "has 10,000 characters; at most 2,000"),
    ("a cat --chaos 20", "holds the option --chaos; give options beside the prompt"),
    ("::2 a", "has a weight without words before it"),
    ("a::2::3", "has a weight without words before it"),
    ("a::-1", "has one part, of weight -1"),
    ("a::1 b::-1", "have the sum 0; it must be above 0"),
    ("a::1 b::-0.99", "nearly cancel each other, so that a part would count 100 times"),
    (" ".join(f"a{i}::1" for i in range(9)), "9 parts are given; a prompt has 1 to 8"),
])
def test_what_says_nothing_that_can_be_made_is_refused(prompt, said):
    with pytest.raises(RunError, match=said):
        prompts.parse(prompt)


@pytest.mark.parametrize(("prompt", "all_of_them"), [
    ("a cat", ["a cat"]),
    ("a {red, blue} hat", ["a red hat", "a blue hat"]),
    ("{a,b} {c,d}", ["a c", "a d", "b c", "b d"]),
    ("a {big {red,blue}, small} hat", ["a big red hat", "a big blue hat", "a small hat"]),
    ("a {,big} hat", ["a hat", "a big hat"]),
    (r"a {x\, y, z} \{b\}", [r"a x\, y \{b\}", r"a z \{b\}"]),
    ("beard::{1,-0.5} a man", ["beard::1 a man", "beard::-0.5 a man"]),
    ("one, two", ["one, two"]),
])
def test_alternatives(prompt, all_of_them):
    assert prompts.expand(prompt) == all_of_them


@pytest.mark.parametrize(("prompt", "said"), [
    ("a {red, blue hat", r"has a brace, character 3, with no \} after it"),
    ("a red} hat", r"has a brace, character 6, with no \{ before it"),
    ("a {} hat", "has empty braces"),
    ("{a,b}" * 7, "stands for 128 prompts; at most 64"),
    ("{a,b}" * 300, "stands for more than a million prompts"),
    ("{" * 9 + "a" + "}" * 9, "more than 8 deep"),
])
def test_alternatives_that_cannot_be_are_refused(prompt, said):
    with pytest.raises(RunError, match=said):
        prompts.expand(prompt)


def test_a_file_of_prompts():
    assert prompts.read_lines("\ufeffa cat\n\n# not this\n  a dog \r\n", "f") == ["a cat", "a dog"]
    with pytest.raises(RunError, match="f holds no prompts"):
        prompts.read_lines("# nothing\n", "f")
    with pytest.raises(RunError, match="f holds 1001 prompts"):
        prompts.read_lines("a\n" * 1001, "f")


def test_mixtures_combine():
    one = Mixture(("a", "b"), (0.5, 0.5))
    assert prompts.combine([one, "a"], [0.5, 0.5]) == Mixture(("a", "b"), (0.75, 0.25))
    assert prompts.combine(["a", "b"], [1.0, 0.0]) == "a"
    assert prompts.combine(["a", ""], [1.5, -0.5]) == Mixture(("a", ""), (1.5, -0.5))
    with pytest.raises(RunError, match="9 parts"):
        prompts.combine([str(i) for i in range(9)], [1 / 9] * 9)
