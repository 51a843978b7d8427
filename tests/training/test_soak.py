"""A small fixed part of experiments/reliability/soak.py: damaged checkpoints, odd configs and odd command lines."""
import json
import random
import runpy
import shutil
import sys
import warnings

import pytest
import shell

import imggen_jax
from imggen_jax.errors import RunError

SOAK = shell.REPOSITORY / "experiments" / "reliability" / "soak.py"


def seeds(few: int, all_of_them: int):
    """A few seeds for everyday, the others for `make test-all`."""
    return pytest.mark.parametrize("seeds", [
        pytest.param(range(few), id="few"),
        pytest.param(range(few, all_of_them), id="others", marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def soak():
    return runpy.run_path(str(SOAK))


@seeds(6, 16)
def test_damaged_checkpoints_are_never_used_silently(seeds, vae, soak, tmp_path):
    for seed in seeds:
        workdir = tmp_path / str(seed)
        shutil.copytree(vae.workdir, workdir)
        kind = soak["damage"](workdir / "checkpoints" / "10", random.Random(seed))
        result = shell.call("describe", "--workdir", workdir)
        assert result.code == 0 and json.loads(result.out)["step"] == 8, (seed, kind, result)
        assert "checkpoints/10 is damaged" in result.err and result.err.count("\n") == 1, (seed, kind, result)
        soak["damage"](workdir / "checkpoints" / "8", random.Random(seed + 1))
        before = shell.contents(workdir)
        for words in (["describe"], ["--config", vae.config]):
            result = shell.call(*words, "--workdir", workdir)
            assert result.code == 2 and result.err.startswith("error: all 2 checkpoints"), (seed, kind, result)
        assert shell.contents(workdir) == before


@seeds(14, 36)
def test_odd_configs_and_command_lines_end_in_a_result_or_one_clear_line(seeds, vae, soak, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = runpy.run_path(str(vae.config))["get_config"]().to_dict()
    for seed in seeds:
        chance = random.Random(seed)
        words = soak["mutated_words"](seed, content, vae.config, vae.workdir, tmp_path / f"run{seed}", chance)
        result = shell.call(*words)
        answer = soak["Answer"](result.code, result.out, result.err, 0.0)
        assert not soak["fault"](answer), (seed, words, result)


@seeds(3, 10)
def test_uses_by_chance_end_in_a_result_or_one_clear_line(seeds, vae, gan, soak, tmp_path, monkeypatch):
    uses = sys.modules["uses"]
    monkeypatch.chdir(tmp_path)
    models = {name: (imggen_jax.load(run.workdir), run.workdir) for name, run in (("vae", vae), ("gan", gan))}
    assert shell.call("generate", "--model", gan.workdir, "--num", 2, "--out", tmp_path / "here").code == 0
    for seed in range(4 * seeds.start, 4 * seeds.stop):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert not uses.api_case(random.Random(seed), models, tmp_path / str(seed)), seed
    for seed in seeds:
        (tmp_path / f"folder{seed}").mkdir()
        assert not uses.folder_case(random.Random(seed), tmp_path / f"folder{seed}", uses.pictures(), shell.call), seed
    for seed in seeds:
        words = uses.command_case(random.Random(seed), models, tmp_path / "here" / "000001.png", tmp_path)
        result = shell.call(*words)
        assert not uses.judged(result.code, result.err), (words, result)


def test_what_the_uses_look_for_is_found(soak):
    uses = sys.modules["uses"]
    assert [each.kind for each in uses.said_well(KeyError("x"))] == ["traceback"]
    assert [each.kind for each in uses.said_well(RunError("bad; delete that folder"))] == ["advice"]
    assert not uses.said_well(RunError("bad; choose another"))
    assert uses.judged(2, "no line") and uses.judged(1, "error: x") and not uses.judged(2, "error: x is y; do z")


def test_broken_pictures_are_broken_in_many_ways(soak):
    chance = random.Random(0)
    originals = [content for _, content in soak["_originals"](chance)]
    mutated = [soak["mutate"](chance.choice(originals), chance) for _ in range(200)]
    assert len(set(mutated) - set(originals)) > 180
