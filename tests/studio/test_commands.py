"""Words of commands: each is one that the command line takes."""
import shlex

import pytest

from imggen_jax import flags, main
from imggen_jax.studio import commands
from imggen_jax.studio.commands import Wanted


class Parsed(Exception):
    """A command line was accepted; nothing was run."""


FULL = Wanted("-a {red, blue} 'hat'", 4, 7, "-beard", 2.5, 8, 10, 200, 300, 0.8, True, "style.png")
EVERY = [
    commands.generate("avatars", True, FULL), commands.generate("m", False, Wanted(label="horse", truncation=0.7)),
    commands.vary("m", "a.png", 3, 0.5, 9), commands.breed("m", ["a.png", "b.png"], 2, 0.1, 4),
    commands.interpolate("m", ["a.png", "b.png"], 12), commands.edit("m", "a.png", {"x|y": -0.5, "z": 0.0, "w": 1.0}),
    commands.project("m", "a.png", "a face"), commands.upscale("a.png", 2), commands.fill("m", "a.png", "b.png", "x"),
    commands.remove("a.png", "m.png", "draft"), commands.outpaint("a.png", {"left": 5, "right": 0, "top": 2}),
    commands.stylize("a.png", "b.png", 0.4), commands.texture("a.png", 64, 32), commands.tile("a.png"),
    commands.translate("sketch", "a.png", "m"), commands.translate("translate", "a.png", "m"),
    commands.look("pictures", 32), commands.train("folder_vae", "my pictures", "runs/a b", 32, 1000),
    commands.export("m", "out")]


@pytest.mark.parametrize("words", EVERY, ids=lambda words: words[0])
def test_the_command_line_takes_it(words, monkeypatch, tmp_path):
    def parse_args(self, args=None, namespace=None):
        _, rest = self.parse_known_args(args, namespace)
        assert not rest
        raise Parsed

    def start(*_):
        raise Parsed

    monkeypatch.setattr(flags.Parser, "parse_args", parse_args)
    monkeypatch.setattr(main, "_start_jax", start)
    monkeypatch.chdir(tmp_path)
    writes = words[0] not in ("data", "train", "export")
    with pytest.raises(Parsed):
        main.main([*words, *(["--out", "out"] if writes else [])])


def test_a_command_is_shown_as_one_types_it():
    words = commands.generate("my runs/a", True, Wanted("it's $HOME; rm -rf", 2, 3))
    assert shlex.split(commands.shown(words)) == ["imggen", *words]


def test_defaults_are_left_out():
    assert commands.generate("avatars", True, Wanted("a face")) == [
        "generate", "--model", "avatars", "--num", "4", "--seed", "0", "--prompt", "a face"]
    assert commands.edit("m", "a.png", {"x|y": 0.0}) == ["edit", "--model", "m", "--image", "a.png"]
    assert "--gene" in commands.edit("m", "a.png", {"x|y": 0.5}) and "x|y:+0.5" in commands.edit(
        "m", "a.png", {"x|y": 0.5})
