"""The command line: pictures and facts from a trained run, and one clear line for whatever is wrong with the input."""
import ast
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shell
from PIL import Image

from imggen_jax import api, flags, main
from imggen_jax import config as configs
from imggen_jax.config import read
from imggen_jax.editing import flags as editing
from imggen_jax.training import train


def trained(folder, game, **sections):
    config = shell.write_config(folder / "configs" / f"{game}.py",
                                shell.config(game, train={"images": 16}, **sections))
    assert shell.call("--config", config, "--workdir", folder / game).code == 0
    return folder / game


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("main"), "vae")


@pytest.fixture(scope="module")
def gan(short_run):
    return short_run("gan")


def generate(workdir, out, *words):
    result = shell.call("generate", "--workdir", workdir, "--out", out, *words)
    assert result.code == 0, result.err
    return {path.name: pixels(path) for path in out.iterdir()}


def pixels(path):
    """Of a picture's file, which differs in its signature each time it is made."""
    with Image.open(path) as picture:
        return picture.mode, picture.size, picture.tobytes()


def test_generate_names_pictures_by_their_seeds_and_lays_them_on_a_grid(vae, tmp_path):
    made = generate(vae, tmp_path / "deep" / "out", "--num", 5, "--seed", 14)
    assert set(made) == {"000014.png", "000015.png", "000016.png", "000017.png", "000018.png", "grid.png"}
    with Image.open(tmp_path / "deep" / "out" / "000014.png") as picture:
        assert picture.size == (16, 16)
    with Image.open(tmp_path / "deep" / "out" / "grid.png") as grid:
        assert grid.width * grid.height >= 5 * 18 * 18
    assert len(set(made.values())) == 6


def test_pictures_of_earlier_calls_in_the_folder_are_named(vae, tmp_path):
    generate(vae, tmp_path, "--num", 3, "--seed", 1)
    again = shell.call("generate", "--workdir", vae, "--out", tmp_path, "--num", 3, "--seed", 1)
    assert again.code == 0 and not again.err
    more = shell.call("generate", "--workdir", vae, "--out", tmp_path, "--num", 2, "--seed", 3)
    assert more.code == 0 and more.err == f"note: {tmp_path} holds 2 pictures of other seeds from before; they are " \
        "not on the grid\n"


def test_several_processes_make_each_its_share_and_a_rerun_the_rest(vae, tmp_path):
    words = ("generate", "--workdir", vae, "--num", 5, "--seed", 1, "--processes", 2, "--out", tmp_path / "out")
    assert shell.call(*words).code == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["000001.png", "000002.png"]
    assert shell.call(*words, "--process", 1).code == 0
    files = sorted((tmp_path / "out").glob("*.png"))
    assert [file.name for file in files] == [f"{seed:06d}.png" for seed in range(1, 6)]
    whole = generate(vae, tmp_path / "whole", "--num", 5, "--seed", 1)
    assert [pixels(file) for file in files] == [whole[file.name] for file in files]
    before = files[2].stat().st_mtime_ns
    files[3].unlink()
    files[4].write_bytes(files[4].read_bytes()[:100])  # as where a process was ended
    assert shell.call(*words, "--process", 1).code == 0
    assert files[2].stat().st_mtime_ns == before and [pixels(file) for file in files] == [
        whole[file.name] for file in files]
    assert shell.call(*words, "--process", 1, "--truncation", 0.5).code == 0  # other words: other pictures
    assert pixels(files[2]) != whole[files[2].name]
    refused(shell.call(*words, "--process", 2), "processes are numbered from 0 to one below")
    refused(shell.call(*words[:7], "--process", 1, *words[9:]), "not how many they are; add --processes")
    refused(shell.call(*words, "--prompt", "a"), "not with --prompt; write it so")


def test_a_picture_depends_on_its_seed_alone(gan, tmp_path):
    many = generate(gan, tmp_path / "many", "--num", 20, "--seed", 3)
    few = generate(gan, tmp_path / "few", "--num", 2, "--seed", 15)
    for name in ("000015.png", "000016.png"):
        assert few[name] == many[name]


def test_a_label_is_given_by_name_or_number(gan, tmp_path):
    number = generate(gan, tmp_path / "number", "--num", 3, "--label=#2")
    assert generate(gan, tmp_path / "name", "--num", 3, "--label", "blue") == number
    assert generate(gan, tmp_path / "other", "--num", 3, "--label", "red") != number


def test_truncation_0_gives_one_picture_and_1_is_the_default(vae, tmp_path):
    mean = generate(vae, tmp_path / "mean", "--num", 3, "--truncation", 0)
    assert len({mean[f"{seed:06d}.png"] for seed in range(3)}) == 1
    plain = generate(vae, tmp_path / "plain", "--num", 3)
    assert generate(vae, tmp_path / "whole", "--num", 3, "--truncation", 1) == plain != mean


def test_one_picture_can_go_to_a_file_and_the_model_may_be_called_a_workdir(vae, tmp_path):
    many = generate(vae, tmp_path / "out", "--num", 2, "--seed", 14)
    file = tmp_path / "deep" / "face.png"
    result = shell.call("generate", "--model", vae, "--out", file, "--num", 1, "--seed", 15)
    assert (result.code, result.out) == (0, f"{file}\n")
    assert pixels(file) == many["000015.png"] and os.listdir(file.parent) == ["face.png"]
    result = shell.call("vary", "--model", vae, "--seed", 3, "--num", 1, "--out", tmp_path / "varied.png")
    assert (result.code, result.out) == (0, f"{tmp_path / 'varied.png'}\n")
    for words in (["generate", "--num", 2], ["vary", "--seed", 3], ["interpolate", "--seeds", "1,2"]):
        refused(shell.call(*words, "--model", vae, "--out", tmp_path / "new.png"), "several pictures are made")
    refused(shell.call("generate", "--num", 1, "--model", vae, "--out", tmp_path / "new.jpg"), "ends in .png")
    refused(shell.call("recall", file, "--model", vae, "--out", file), "is the picture itself")
    assert pixels(file) == many["000015.png"]
    assert sorted(os.listdir(tmp_path)) == ["deep", "out", "varied.png"]


def test_what_a_model_is_given_reaches_it(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(api, "generate", lambda *args, **options: calls.append((args, options)) or "grid")
    words = ("generate", "--model", "zoo_model", "--num", 2, "--out", tmp_path / "out")
    assert shell.call(*words, "--given", "text=a red=hat", "--given", "label=#2", "--option", "steps=32", "--option",
                      "guidance=1.5").code == 0
    assert shell.call(*words, "--label", "3").code == shell.call(*words, "--label=#3").code == 0
    assert calls[0] == (("zoo_model", str(tmp_path / "out")), dict(
        num=2, seed=0, given={"text": "a red=hat", "label": 2}, truncation=1.0, steps=32, guidance=1.5))
    assert [options["given"]["label"] for _, options in calls[1:]] == ["3", 3]  # a name, and an index
    refused(shell.call(*words, "--label", "a", "--given", "label=b"), "the label is given twice")
    refused(shell.call(*words, "--given", "text"), "--given 'text' is not of the form NAME=VALUE")
    refused(shell.call(*words, "--option", "steps=many"), "--option steps=many: 'many' is not a number")


def test_export_hands_over_what_it_is_given(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(api, "export", lambda *args, **options: calls.append((args, options)), raising=False)
    result = shell.call("export", "--model", "m", "--out", tmp_path, "--stablehlo")
    assert (result.code, result.out) == (0, f"Exported to {tmp_path}\n")
    assert calls == [(("m", str(tmp_path)), {"dtype": "float32", "stablehlo": True, "orbax": False, "about": ""})]


def test_the_resolved_config_is_printed_and_nothing_is_done(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = shell.call("train", "--config", "demo", "--print-config", "--config.players.vae.eps=1e-6")
    printed = json.loads(result.out)
    assert printed["players"]["vae"]["eps"] == 1e-6 and printed["data"]["crop"] == 0 and result.err == ""
    assert printed["game"]["importance_samples"] == 1 and os.listdir(tmp_path) == []
    assert shell.call("--config", "demo", "--print-config", "--config.players.vae.eps=1e-6") == result
    refused(shell.call("train", "--config", "demo", "--print-config", "--config.train.batch=0"), "train.batch is 0")
    refused(shell.call("train", "--config", "dem", "--print-config"), "'dem' not found; did you mean demo?")


def test_a_run_stores_its_resolved_config(vae):
    stored = json.loads((vae / "config.json").read_text())
    assert stored["players"]["vae"]["eps"] == 1e-8 and stored["pretrained"] == {} and stored["data"]["pairs"] == ""


def test_printed_commands_quote_paths_with_spaces(vae, tmp_path):
    workdir = tmp_path / "my run"
    shutil.copytree(vae, workdir)
    result = shell.call("--config", vae.parent / "configs" / "vae.py", "--workdir", workdir)
    *_, command = result.out.splitlines()
    words = shlex.split(command.partition("python -m imggen_jax.main ")[2])
    assert words[:3] == ["generate", "--model", str(workdir)]
    (tmp_path / "my pictures").mkdir()
    for k in range(3):
        Image.effect_noise((40, 40), 50 + k).convert("RGB").save(tmp_path / "my pictures" / f"{k}.png")
    result = shell.call("data", "--folder", tmp_path / "my pictures", "--size", 16, "--out", tmp_path / "made here")
    words = shlex.split(result.out.splitlines()[-1].partition("python -m imggen_jax.main ")[2])
    assert words[:3] == ["train", "--config", "folder_gan"] and f"--config.data.dir={tmp_path / 'made here'}" in words
    assert read("folder_gan", words[3:]).data.size == 16


@pytest.mark.parametrize(("words", "said"), [
    (["breed", "--parents", ","], "--parents ',' names nothing"),
    (["breed", "--parents", "1,2", "--weights", " , "], "--weights ' , ' names nothing"),
    (["interpolate", "--seeds", ","], "--seeds ',' names nothing"),
    (["interpolate", "--images", ",,"], "--images ',,' names nothing"),
    (["interpolate", "--seeds", "1,x"], "seed 'x' is not a whole number"),
    (["generate", "--num", "two"], "argument --num: invalid int value: 'two'"),
    (["vary", "--image", ""], "argument --image: the path is empty"),
    (["vary", "--image", "caf\udce9.png"], r"argument 'caf\udce9.png' is not valid UTF-8; rename the file"),
    (["genrate"], "unknown verb 'genrate'; did you mean generate?"),
    (["generate", "--mdoel", "x"], "unknown argument '--mdoel', did you mean --model?"),
    (["generate", "--num", "2", "more"], "unrecognized arguments: more"),
])
def test_empty_lists_and_broken_words_are_one_line(words, said, tmp_path):
    refused(shell.call(*words, "--model", tmp_path, "--out", tmp_path / "out"), said)


def test_paths_are_neither_empty_nor_left_with_a_tilde(monkeypatch, tmp_path):
    refused(shell.call("data", "--folder", ""), "argument --folder: the path is empty; write . for the current folder")
    refused(shell.call("train", "--config", "demo", "--workdir", " "), "argument --workdir: the path is empty")
    refused(shell.call("evaluate", "--model", tmp_path, "--only", ","), "--only ',' names nothing")
    monkeypatch.setenv("HOME", str(tmp_path))
    refused(shell.call("describe", "--model=~/nowhere"), str(tmp_path / "nowhere"))


DESTRUCTIVE = {"delete", "remove", "erase", "rm", "overwrite"}


def words_of(node: ast.AST) -> set[str]:  # but for flags, such as --overwrite
    return {word for each in ast.walk(node) if isinstance(each, ast.Constant)
            for word in re.findall(r"(?<!--)\b\w+", str(each.value).lower())}


def test_no_message_of_the_command_line_advises_to_delete():
    files = [Path(main.__file__), Path(editing.__file__), *Path(flags.__file__).parent.glob("*.py"),
             *Path(configs.__file__).parent.glob("*.py")]
    for file in files:
        assert not DESTRUCTIVE & words_of(ast.parse(file.read_text())), file


def test_no_error_or_note_advises_to_delete():
    for file in Path(main.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            called = getattr(getattr(node, "func", None), "id", "") or getattr(getattr(node, "func", None), "attr", "")
            if isinstance(node, ast.Raise) or called in ("print", "say", "warn", "warning", "Refused", "set_aside"):
                assert not DESTRUCTIVE & words_of(node), (file, node.lineno)


def test_a_gene_whose_value_has_a_colon_can_be_named():
    from imggen_jax.editing.verbs import parse_genes

    known = ["time=12:30", "expression=smiling"]
    assert parse_genes(["time=12:30", "expression=smiling:+1.5"], known) == {
        "time=12:30": None, "expression=smiling": 1.5}
    assert parse_genes(["time=12:30:-2"], known) == {"time=12:30": -2.0}


@pytest.mark.parametrize("name", ["num", "seeds", "truncation"])
def test_an_option_that_is_an_argument_of_generate_is_refused(name, vae, tmp_path):
    result = shell.call("generate", "--model", vae, "--num", 2, "--out", tmp_path / "out", "--option", f"{name}=3")
    assert result.code == 2 and f"--option {name} is not an option of a sampler" in result.err


def test_describe_prints_json(vae):
    result = shell.call("describe", "--workdir", vae)
    assert set(json.loads(result.out)) == {"step", "images", "parameters", "sha256", "config"}
    assert result.err == ""


def test_describe_ends_quietly_when_its_reader_does(vae):
    line = f"{' '.join(shell.command('describe', '--workdir', vae))} | head -1"
    done = subprocess.run(["bash", "-c", line], cwd=shell.REPOSITORY, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_a_closed_standard_error_ends_nothing(vae):
    words = shell.command("train", "--config", vae.parent / "configs" / "vae.py", "--workdir", vae)
    done = subprocess.run(["bash", "-c", f"{shlex.join(words)} 2>&-"], cwd=shell.REPOSITORY, capture_output=True,
                          text=True)
    assert done.returncode == 0 and done.stdout.startswith("Done. Report: ")


@pytest.mark.parametrize("verb", ["", "train", "generate", "evaluate", "describe", "export", "prepare", "data",
                                  *editing.VERBS])
def test_every_verb_has_help_with_examples(verb):
    result = shell.call(*verb.split(), "--help")
    assert result.code == 0
    assert f"python -m imggen_jax.main {verb}" in result.out.split("example")[-1]


def test_help_and_wrong_words_do_not_wait_for_jax():
    program = ("import sys; from imggen_jax.main import main\n"
               "for words in (['--help'], ['generate'], ['edit', '--help'], ['no'], ['--config', 'missing.py']):\n"
               "    try: main(words)\n"
               "    except SystemExit: pass\n"
               "sys.exit('jax' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", program], cwd=shell.REPOSITORY, capture_output=True).returncode == 0


def file(text):
    return lambda content: text


def changed(old, new):
    return lambda content: content.replace(old, new)


BROKEN_FILES = {
    "unknown key": (changed("'batch': 8", "'batch': 8, 'batches': 9"), "config.train.batches; did you mean batch?"),
    "misspelled key": (changed("'network': {", "'netwrok': {"), "config.game.netwrok; did you mean network?"),
    "missing key": (changed("'name': 'vae',", ""), "config.game.name is missing"),
    "wrong type": (changed("'batch': 8", "'batch': '8'"), "config.train.batch must be of type int"),
    "raises": (file("raise RuntimeError('boom')"), "boom"),
    "syntax": (file("def get_config(:"), "invalid syntax"),
    "unknown import": (file("import nosuchmodule"), "nosuchmodule"),
    "no get_config": (file("x = 1"), "get_config"),
    "not a config": (file("def get_config():\n    return 3"), "get_config returns int; it must return a dict"),
}


def refused(result, *said):
    """One clear line, exit code 2."""
    assert result.code == 2, result
    assert result.out == ""
    assert result.err.startswith("error: ") and result.err.count("\n") == 1, result.err
    for words in said:
        assert words in result.err, result.err


@pytest.mark.parametrize("case", BROKEN_FILES)
def test_a_broken_config_file_is_refused(case, tmp_path):
    change, said = BROKEN_FILES[case]
    config = shell.write_config(tmp_path / "configs" / "small.py", shell.config())
    config.write_text(change(config.read_text()))
    refused(shell.call("--config", config, "--workdir", tmp_path / "run"), said)
    assert not (tmp_path / "run").exists()


OVERRIDES = [
    ("vae", ["--config.train.bach=3"], "bach"),
    ("vae", ["--config.train.batch=x"], "config.train.batch"),
    ("vae", ["--config.train.batch=1.5"], "config.train.batch"),
    ("vae", ["--config.train.batch"], "config.train.batch"),
    ("vae", ["--config.train=3"], "config.train"),
    ("vae", ["--nonsense=3"], "unknown argument '--nonsense'"),
    ("vae", ["--workdri=x"], "unknown argument '--workdri', did you mean --workdir?"),
    ("vae", ["nonsense"], "nonsense"),
    ("vae", ["--config.train.batch=0"], "config.train.batch is 0; it must be at least 1"),
    ("vae", ["--config.train.dtype=float16"], "unknown config.train.dtype 'float16'"),
    ("vae", ["--config.devices.engine=tape"], "unknown config.devices.engine 'tape'; choose one of 'jit', 'pmap'"),
    ("vae", ["--config.devices.count=9"], "config.devices.count is 9, but there are 2"),
    ("vae", ["--config.devices.count=0", "--config.train.batch=13"], "13, which 2 devices cannot share evenly"),
    ("vae", ["--config.data.name=nonsense"], "dataset 'nonsense' is not in"),
    ("vae", ["--config.data.name=cifar10"], "prepare it once: python -m imggen_jax.main prepare --name cifar10 --dir"),
    ("vae", ["--config.data.dir=/nonsense"], "dataset 'small' is not in /nonsense"),
    ("vae", ["--config.data.split=valid"], "has no split 'valid'"),
    ("vae", ["--config.data.test=valid"], "has no split 'valid'"),
    ("vae", ["--config.data.label=colour"], "class labels are: label"),
    ("vae", ["--config.data.size=30"], "cannot make 30x30 images"),
    ("gan", ["--config.data.size=20"], "cannot make 20x20 images"),
    ("vae", ["--config.game.name=nonsense"], "unknown config.game.name 'nonsense'"),
    ("vae", ["--config.game.network.name=nonsense"], "nonsense"),
    ("vae", ["--config.game.likelihood=poisson"], "unknown likelihood 'poisson'; choose from"),
    ("gan", ["--config.game.loss=nonsense"], "unknown GAN loss 'nonsense'; choose from"),
    ("vae", ["--config.players.vae.optimizer=nonsense"], "optax has no optimizer 'nonsense'"),
    ("vae", ["--config.players.vae.decay=nonsense"], "unknown config.players.vae.decay 'nonsense'; choose one of"),
]


@pytest.mark.parametrize(("game", "words", "said"), OVERRIDES, ids=[" ".join(words) for _, words, _ in OVERRIDES])
def test_a_value_that_cannot_work_is_refused(game, words, said, tmp_path):
    config = shell.write_config(tmp_path / "configs" / "small.py", shell.config(game))
    before = shell.contents(Path(shell.data_dir()))
    refused(shell.call("--config", config, "--workdir", tmp_path / "run", *words), said)
    assert not (tmp_path / "run").exists()
    assert shell.contents(Path(shell.data_dir())) == before


@pytest.mark.parametrize(("words", "said"), [
    (["--processes", 2], "--processes is 2; say where they meet"),
    (["--processes", 0], "--processes is 0 and --process is 0"),
    (["--processes", 2, "--process", 2, "--coordinator", "localhost:1234"], "--processes is 2 and --process is 2"),
    (["--process", -1], "--process is -1"),
    (["--coordinator", "localhost"], "--coordinator is 'localhost'; it must be HOST:PORT"),
    (["--coordinator", "localhost:x"], "it must be HOST:PORT"),
    (["--heartbeat", 0], "--heartbeat is 0; it must be at least 1 second"),
])
def test_processes_that_cannot_meet_are_refused(words, said, tmp_path):
    config = shell.write_config(tmp_path / "configs" / "small.py", shell.config())
    refused(shell.call("--config", config, "--workdir", tmp_path / "run", *words), said)


def test_a_config_file_that_is_not_there_is_refused(tmp_path):
    refused(shell.call("--config", tmp_path / "nowhere.py"), "nowhere.py", "not found")


def test_words_that_are_no_verb_and_missing_flags_are_refused():
    refused(shell.call("nonsense", "--workdir", "x"),
            "unknown verb 'nonsense'; choose train, generate, evaluate, describe, export, prepare")
    for words, missing in (([], "--config"), (["--config"], "--config"),
                           (["generate"], "--model/--workdir, --num, --out"),
                           (["describe"], "--model/--workdir"), (["prepare"], "--name"),
                           (["data"], "--folder")):
        refused(shell.call(*words), missing, "--help")


def test_the_folder_of_another_config_is_refused_and_left_alone(vae, tmp_path):
    shutil.copytree(vae, tmp_path / "run")
    before = shell.contents(tmp_path)
    config = vae.parent / "configs" / "vae.py"
    refused(shell.call("--config", config, "--workdir", tmp_path / "run", "--config.train.batch=4",
                       "--config.game.beta=2.0"),
            "holds a run of another config", "game.beta: 1.0 before, 2.0 now", "train.batch: 8 before, 4 now")
    assert shell.contents(tmp_path) == before


def test_a_folder_that_cannot_be_a_workdir_is_refused(vae, tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    before = shell.contents(tmp_path)
    common = ("--config", vae.parent / "configs" / "vae.py", "--workdir")
    refused(shell.call(*common, tmp_path / "file"), "file is not a folder")
    refused(shell.call(*common, tmp_path / "file" / "run"), "file is not a folder")
    refused(shell.call(*common, tmp_path / "run"), "has checkpoints but no config.json")
    refused(shell.call(*common, "/proc/nonsense"), "/proc/nonsense", "another --workdir")
    assert shell.contents(tmp_path) == before


REQUESTS = [
    ("vae", ["--num", -2], "num is -2; it must be at least 1"),
    ("vae", ["--num", 0], "num is 0; it must be at least 1"),
    ("vae", ["--num", 2, "--seed", -1], "seed is -1"),
    ("vae", ["--num", 2, "--seed", 2**32 - 1], f"from 0 to {2**32 - 2}"),
    ("vae", ["--num", 2, "--truncation", -0.5], "truncation is -0.5"),
    ("vae", ["--num", 2, "--truncation", "nan"], "truncation is nan"),
    ("vae", ["--num", 2, "--label", 0], "'label' is given, but this model does not need it"),
    ("gan", ["--num", 2, "--label=#4"], "label 4 is unknown; names are red, green, blue, grey, indices 0 to 3"),
    ("gan", ["--num", 2, "--label", "4"], "label '4' is unknown; names are"),
    ("gan", ["--num", 2, "--label", "pink"], "label 'pink' is unknown"),
]


@pytest.mark.parametrize(("game", "words", "said"), REQUESTS)
def test_pictures_that_cannot_be_made_are_refused(game, words, said, request, tmp_path):
    workdir = request.getfixturevalue(game)
    refused(shell.call("generate", "--workdir", workdir, "--out", tmp_path / "out", *words), said)
    assert not (tmp_path / "out").exists()


def test_pictures_are_not_made_without_a_run_or_a_place_to_put_them(vae, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("precious")
    shutil.copytree(vae, tmp_path / "untrained", ignore=shutil.ignore_patterns("checkpoints"))
    before = shell.contents(tmp_path)
    no_run = "has no config.json"
    told = {"empty": no_run, "nowhere": no_run, "file": no_run, "untrained": "has no checkpoint yet"}
    for name, said in told.items():
        workdir = ("--workdir", tmp_path / name)
        said = "neither a folder nor the name of a shipped model" if name == "nowhere" else said
        refused(shell.call("generate", *workdir, "--num", 1, "--out", tmp_path / "out"), name, said)
        refused(shell.call("describe", *workdir), name, said)
    refused(shell.call("generate", "--workdir", vae, "--num", 1, "--out", tmp_path / "file"), "cannot write images")
    assert shell.contents(tmp_path) == before


@pytest.mark.parametrize("name", ["config.json", "data.json"])
@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b"\xff\xfe\x00"])
def test_a_damaged_file_of_a_run_is_named(name, damage, vae, tmp_path):
    shutil.copytree(vae, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(damage)
    before = shell.contents(tmp_path)
    refused(shell.call("describe", "--workdir", tmp_path / "run"), name)
    config = vae.parent / "configs" / "vae.py"
    if name == "config.json":
        refused(shell.call("--config", config, "--workdir", tmp_path / "run", "--config.train.images=64"), "run")
    assert shell.contents(tmp_path) == before


def test_a_run_whose_only_checkpoint_is_damaged_is_refused_and_kept(vae, tmp_path):
    shutil.copytree(vae, tmp_path / "run")
    file = tmp_path / "run" / "checkpoints" / "2" / "state.npz"
    file.write_bytes(file.read_bytes()[:-1])
    before = shell.contents(tmp_path / "run")
    said = ("checkpoints/2 is damaged", f"{file.name} differs from its sha256", "nothing to continue from")
    refused(shell.call("describe", "--workdir", tmp_path / "run"), *said)
    config = vae.parent / "configs" / "vae.py"
    refused(shell.call("--config", config, "--workdir", tmp_path / "run", "--config.train.images=64"), *said)
    assert shell.contents(tmp_path / "run") == before


def test_a_bug_is_not_disguised_as_the_users_mistake(vae, monkeypatch):
    def bug(*args, **options):
        raise ValueError("shapes (3,) and (4,) do not match")

    monkeypatch.setattr(train, "train", bug)
    with pytest.raises(ValueError, match="do not match"):
        shell.call("--config", vae.parent / "configs" / "vae.py", "--workdir", vae)


def test_ctrl_c_before_the_first_round_is_no_traceback(vae, monkeypatch):
    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", stop)
    result = shell.call("--config", vae.parent / "configs" / "vae.py", "--workdir", vae)
    assert result.code == 128 + signal.SIGINT == 130
    assert re.fullmatch(r"\nInterrupted.*\n", result.err)


def test_a_traceback_of_the_users_mistake_can_be_had(monkeypatch, vae, tmp_path):
    monkeypatch.setenv("IMGGEN_JAX_TRACEBACK", "1")
    with pytest.raises(main.RunError, match="num is 0"):
        shell.call("generate", "--workdir", vae, "--num", 0, "--out", tmp_path / "out")


def test_the_pictures_of_the_command_are_those_of_the_library(gan, tmp_path):
    import imggen_jax

    generate(gan, tmp_path, "--num", 2, "--seed", 7, "--label", "grey", "--truncation", 0.5)
    images = imggen_jax.load(gan).sample(num=2, seed=7, given={"label": "grey"}, truncation=0.5)
    for seed, image in zip((7, 8), images):
        with Image.open(tmp_path / f"{seed:06d}.png") as picture:
            assert np.array_equal(np.asarray(picture.convert("RGB")), image)


def test_an_unknown_platform_is_one_line(vae):
    done = subprocess.run(shell.command("describe", "--workdir", vae), cwd=shell.REPOSITORY, capture_output=True,
                          text=True, env=os.environ | {"JAX_PLATFORMS": "abacus"})
    line, = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("error: JAX finds no device of platform 'abacus'")
    assert "set JAX_PLATFORMS to cpu, cuda or tpu" in line


@pytest.mark.parametrize(("words", "said"), [
    (["--also", "balance"], "give either --model, or both --real and --fake"),
    (["--model", "m", "--real", "a", "--fake", "b"], "give either --model, or both --real and --fake"),
    (["--real", "a"], "give either --model, or both --real and --fake"),
    (["--real", "a", "--fake", "b", "--also", "balance"], "--also goes with --model"),
    (["--real", "a", "--fake", "b", "--data", "there"], "--data goes with --model"),
    (["--real", "a", "--fake", "b", "--changed-data"], "--changed-data goes with --model"),
    (["--model", "m", "--data-dir", "there"], "--data-dir goes with --real and --fake"),
    (["--model", "m", "--only", ","], "--only"),
])
def test_flags_of_evaluate_that_do_not_go_together_are_refused(words, said):
    result = shell.call("evaluate", *words)
    assert result.code == 2 and said in result.err and "Traceback" not in result.err


def test_what_evaluate_is_given_reaches_it(monkeypatch, tmp_path):
    calls = []
    for name in ("evaluate", "compare"):
        monkeypatch.setattr(api, name, lambda *args, name=name, **options: calls.append((name, args, options)) or {
            "pictures": {}})
    for words in (["--model", "m", "--also", "balance,copying", "--data", "there", "--changed-data", "--num", 50],
                  ["--real", "a", "--fake", "b", "--num", 50, "--out", tmp_path, "--data-dir", "dir"]):
        result = shell.call("evaluate", *words, "--json")
        assert result.code == 0 and json.loads(result.out) == {"pictures": {}}
    common = dict(space="classifier", seed=0, resamples=3, against=None, num=50)
    assert calls == [
        ("evaluate", ("m",), {**common, "out": None, "also": ("balance", "copying"), "only": (), "samples": 500,
                              "where": "there", "allow_changed": True}),
        ("compare", ("a", "b"), {**common, "out": str(tmp_path), "dir": "dir"})]
