"""Starting from another run's weights: what is carried over, what stays frozen, and what cannot be started from."""
import fnmatch
import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import shell
import tiny

from imggen_jax import api
from imggen_jax.config import check
from imggen_jax.errors import RunError
from imggen_jax.game import Field, make_spec
from imggen_jax.loading import open_start
from imggen_jax.storage import checkpoint
from imggen_jax.training import finetune, loop
from imggen_jax.training.build import build
from imggen_jax.training.saved import Saved, open_run

NAMES = ("red", "green", "blue", "grey")


def leaves(tree) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf) for name, leaf in checkpoint.flatten(tree).items()}


def same(one, other) -> bool:
    one, other = leaves(one), leaves(other)
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def settings_of(name, variant, spec, **init):
    return check(tiny.config(name, variant, spec) | {"init": {"workdir": "", "freeze": (), **init}})


def labeled(*names):
    """16x16 images with a label of these names."""
    return make_spec(image=tiny.LABELED["image"], label=Field((), "int32", names))


def saved(name, variant, spec) -> Saved:
    """A run that looks trained: every number of it is random."""
    settings = settings_of(name, variant, spec)
    built, rng = build(settings, spec), np.random.default_rng(1)
    state = jax.tree.map(lambda leaf: rng.uniform(0.1, 1, leaf.shape).astype(leaf.dtype), built.shape)
    return Saved(Path("there"), {}, settings, spec, built, 7, state, {})


def begin(source, name, variant, spec, **init) -> finetune.Start:
    settings = settings_of(name, variant, spec, **init)
    return finetune.begin(settings, source, build(settings, spec), spec)


def finetuned(run, workdir, *words):
    return shell.call("--config", run.config, "--workdir", workdir, f"--config.init.workdir={run.workdir}", *words)


# The first variant of each.
@pytest.mark.parametrize(("name", "variant"), tiny.marked(dict(reversed(tiny.VARIANTS)).items()))
def test_every_game_starts_from_averaged_weights_and_the_rest_anew(name, variant):
    source = saved(name, variant, tiny.richest(name))
    start = begin(source, name, variant, tiny.richest(name))
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in leaves(start.state).items()} == {
        name: (leaf.shape, leaf.dtype) for name, leaf in checkpoint.flatten(source.built.shape).items()}
    for who, mine in start.state.params.items():
        assert same(mine, source.state.average[who] if who in source.state.average else source.state.params[who])
    assert same(start.state.average, source.state.average)
    assert start.state.step == 0 and start.state.finite
    assert all(leaf.max() < 1e-6 for name, leaf in leaves(start.state.opt).items() if leaf.size)
    assert start.facts["new"] == [] and start.facts["frozen"] == []
    assert all(player["carried_over"] == player["parameters"] for player in start.facts["players"].values())
    assert "at 56 images" in start.lines[0] and json.dumps(start.facts)


def test_classes_are_known_by_their_names():
    source = saved("gan", "dcgan", labeled(*NAMES))
    start = begin(source, "gan", "dcgan", labeled("grey", "violet", "red"))
    embedding = [name for name in leaves(start.state.params) if name.endswith("embedding")]
    assert len(embedding) == 2 and start.facts["by_class"] == embedding
    given = finetune._given(source, source.settings)
    for name in embedding:
        old, new = given[name], leaves(start.state.params)[name]
        np.testing.assert_array_equal(new, np.stack([old[3], old.mean(0), old[0]]))
    assert (start.facts["classes_known"], start.facts["classes_new"]) == (["grey", "red"], ["violet"])
    assert start.facts["new"] == []
    # Other classes of the same number are other classes all the same.
    start = begin(source, "gan", "dcgan", labeled("green", "red", "blue", "grey"))
    np.testing.assert_array_equal(leaves(start.state.params)[embedding[0]], given[embedding[0]][[1, 0, 2, 3]])


def test_a_gan_that_gets_classes_makes_the_same_pictures_at_first():
    source = saved("gan", "dcgan", tiny.spec_of(16, 3))
    start = begin(source, "gan", "dcgan", tiny.LABELED)
    assert start.facts["rows_of_z"] == ["generator.synthesis.Dense_0.kernel"]
    assert all(name.endswith("embedding") for name in start.facts["new"]) and len(start.facts["new"]) == 2
    game = build(settings_of("gan", "dcgan", tiny.LABELED), tiny.LABELED).game
    z = game.main.prior(jax.random.key(0), 4, None)
    theirs = source.built.game.main.decode(source.state.average, z, None, {})
    ours = game.main.decode(start.state.average, z, np.arange(4, dtype=np.int32), {})
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    # And back again, to none: the rows for z are those that they were.
    with_classes = source._replace(state=start.state, spec=tiny.LABELED)
    back = begin(with_classes, "gan", "dcgan", tiny.spec_of(16, 3)).state.params
    assert same(back, {**source.state.params, "generator": source.state.average["generator"]})


def test_layers_of_another_size_start_from_random_values_and_are_named():
    source = saved("vae", "gaussian", tiny.spec_of(16, 1))
    start = begin(source, "vae", "gaussian", tiny.spec_of(32, 1))
    given, got = finetune._given(source, source.settings), leaves(start.state.params)
    new = set(start.facts["new"])
    assert new and new < set(got)
    assert new == {name for name, leaf in got.items() if given[name].shape != leaf.shape}
    for name in set(got) - new:
        assert np.array_equal(got[name], given[name])
    player = start.facts["players"]["vae"]
    assert player["carried_over"] == sum(got[name].size for name in set(got) - new) < player["parameters"]
    assert any(line.startswith("  from random values: vae.") for line in start.lines)


@pytest.mark.parametrize("spec", [tiny.SPEC, tiny.LABELED])
def test_a_gan_starts_as_the_decoder_of_a_vae(spec):
    source = saved("vae", "gaussian", spec)
    start = begin(source, "gan", "wasserstein", spec)
    generator, discriminator = start.facts["players"]["generator"], start.facts["players"]["discriminator"]
    assert generator["carried_over"] == generator["parameters"] and generator["averaged"]
    assert discriminator["carried_over"] == 0 and not discriminator["averaged"]
    z = jax.random.normal(jax.random.key(0), (4, 3))
    label = np.arange(4, dtype=np.int32) if "label" in spec else None
    game = build(settings_of("gan", "wasserstein", spec), spec).game
    ours = game.main.decode(start.state.average, z, label, {})
    np.testing.assert_array_equal(ours, source.built.game.main.decode(source.state.average, z, label, {}))


def test_nothing_that_fits_is_an_error():
    source = saved("vae", "gaussian", tiny.SPEC)
    settings = tiny.config("vae", "gaussian", tiny.LABELED)
    settings["game"]["network"]["widths"], settings["game"]["network"]["hidden"] = (6, 6), 10
    settings = check(settings)
    with pytest.raises(RunError, match=r"config.init.workdir: nothing of there fits this config: vae.decoder.* has the "
                                       r"shape \(.*\) here, and that run has the shape"):
        finetune.match(settings, source, build(settings, tiny.LABELED), tiny.LABELED)


def test_a_text_of_another_vocabulary_is_refused():
    source = saved("toys.texts", "plain", tiny.TEXTS)
    spec = make_spec(image=tiny.TEXTS["image"], text=Field((6,), "int32", ("a", "red", "house")))
    with pytest.raises(RunError, match="config.init.workdir: two texts have different vocabularies"):
        begin(source, "toys.texts", "plain", spec)


@pytest.mark.parametrize(("name", "variant", "frozen", "free"), [
    ("vae", "bernoulli", "vae.encoder.*", "vae.decoder."),
    pytest.param("gan", "hinge", "discriminator.Conv_?.*", "discriminator.Dense_0.kernel", marks=pytest.mark.slow),
])
def test_frozen_parameters_do_not_move(name, variant, frozen, free):
    config = tiny.config(name, variant, tiny.LABELED, weight_decay=0.1, optimizer="adamw", clip=1.0)
    config["init"]["freeze"] = (frozen,)
    before = leaves(jax.jit(build(check(config), tiny.LABELED).init)().params)
    state, _ = tiny.rounds(config, tiny.LABELED, 1)
    still = {each for each, leaf in leaves(state.params).items() if np.array_equal(before[each], leaf)}
    assert still >= set(fnmatch.filter(before, frozen)) != set()
    assert not any(each.startswith(free) for each in still)
    for each, leaf in leaves(state.average).items():  # the average of what stands still stands still, but for rounding
        if each in still:
            np.testing.assert_allclose(leaf, before[each], rtol=1e-5, atol=1e-7)
    # Nothing is remembered of what is frozen.
    plain = tiny.build(name, variant, tiny.LABELED, weight_decay=0.1, optimizer="adamw", clip=1.0)
    assert len(leaves(state.opt)) < len(leaves(plain.shape.opt))


def test_a_run_says_keeps_and_reports_what_it_started_from(vae, tmp_path):
    workdir = tmp_path / "run"
    frozen = "--config.init.freeze=('vae.encoder.*',)"
    result = finetuned(vae, workdir, "--config.players.vae.learning_rate=0.0", frozen)
    assert result.code == 0, result.err
    assert f"Starting from {vae.workdir} at 80 images:" in result.err
    start, end = api.load(vae.workdir), open_run(workdir)
    assert same(end.state.params["vae"], start.weights["vae"])  # with a learning rate of 0
    number = sum(leaf.size for leaf in jax.tree.leaves(end.state.params))
    assert f"vae: {number:,} of {number:,} parameters carried over, averaged" in result.err
    facts = json.loads((workdir / "init.json").read_text())
    assert (facts["workdir"], facts["images"]) == (str(vae.workdir), 80)
    assert facts["sha256"] == api.describe(vae.workdir)["sha256"]
    assert facts["frozen"] and all(name.startswith("vae.encoder.") for name in facts["frozen"])
    assert f"{vae.workdir} at 80 images" in (workdir / "report.html").read_text()


def test_an_exported_model_serves_like_its_run(vae, tmp_path):
    api.export(vae.workdir, tmp_path / "exported")
    runs = open_run(vae.workdir), open_start(tmp_path / "exported")
    one, other = (finetune.begin(run.settings, run, run.built, run.spec) for run in runs)
    assert same(one.state.params, other.state.params) and same(one.state.average, other.state.average)
    assert other.facts["new"] == [] and other.facts["images"] == 80


def test_a_finetuned_run_is_resumed_without_the_other_run_to_the_same_bits(vae, tmp_path, monkeypatch):
    source = shutil.copytree(vae.workdir, tmp_path / "source")
    common = ("--config", vae.config, f"--config.init.workdir={source}", "--config.init.freeze=('vae.encoder.Conv*',)")
    assert shell.call(*common, "--workdir", tmp_path / "whole").code == 0

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "run", killed)
        assert shell.call(*common, "--workdir", tmp_path / "run").code == 130
    shutil.rmtree(source)
    result = shell.call(*common, "--workdir", tmp_path / "run")
    assert result.code == 0 and "Resuming" in result.err and "Starting from" not in result.err
    one, other = (api.describe(tmp_path / name)["sha256"] for name in ("whole", "run"))
    assert one == other
    # A run that is complete does not ask for the other one either.
    assert shell.call(*common, "--workdir", tmp_path / "whole").code == 0


def test_a_run_that_has_nothing_saved_does_not_begin_with_other_weights_than_before(vae, tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "init.json").write_text(json.dumps({"sha256": "0" * 64}))
    result = finetuned(vae, workdir)
    assert result.code == 2
    assert f"{vae.workdir} has changed since {workdir} began with its weights" in result.err.splitlines()[-1]


def test_what_cannot_be_started_from_is_one_line_before_anything_is_written(vae, gan, tmp_path):
    unsaved = shutil.copytree(vae.workdir, tmp_path / "unsaved")
    shutil.rmtree(unsaved / "checkpoints")
    workdir = tmp_path / "run"
    for source, says in [
        (tmp_path / "nowhere", "config.init.workdir: .*nowhere is not the folder of a run: it has no config.json"),
        (unsaved, "config.init.workdir: .*unsaved has no checkpoint yet; train it first"),
        (gan.workdir, "is a run of the game 'gan', and this config is of 'vae'; choose a run of the same game"),
        (workdir, "config.init.workdir is .*run, the run's own workdir; choose another --workdir"),
        ("upscale_x2", "upscale_x2 is a run of the game 'restore', and this config is of 'vae'"),  # which ships
    ]:
        result = shell.call("--config", vae.config, "--workdir", workdir, f"--config.init.workdir={source}")
        assert result.code == 2 and result.err.count("\n") == 1, result.err
        assert re.search(says, result.err), result.err
        assert not workdir.exists()
    result = finetuned(vae, workdir, "--config.init.freeze=('vae.encodr.*',)")
    assert result.code == 2 and "'vae.encodr.*' is no parameter" in result.err and not workdir.exists()
