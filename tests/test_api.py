"""The public API: what a loaded model gives, takes and refuses."""
import errno
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import shell
import tiny

import imggen_jax
from imggen_jax.errors import ConfigError, RunError, SaveError
from imggen_jax.spec import Field, make_spec


@pytest.fixture(scope="module")
def folders(short_run):
    return short_run("vae").parent


@pytest.fixture(scope="module")
def vae(folders):
    return imggen_jax.load(folders / "vae")


@pytest.fixture(scope="module")
def gan(short_run):
    return imggen_jax.load(str(short_run("gan")))


def test_importing_the_package_does_not_import_jax():
    program = "import sys, imggen_jax; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=shell.REPOSITORY).returncode == 0


def test_every_public_name_is_there_and_no_other():
    for name in imggen_jax.__all__:
        assert callable(getattr(imggen_jax, name))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        imggen_jax.nonsense


def test_a_loaded_model_knows_its_run(vae, gan):
    image = Field((16, 16, 3), "uint8")
    assert (vae.step, vae.images_seen, vae.spec, vae.label_names) == (2, 16, make_spec(image=image), ())
    label = Field((), "int32", shell.LABELS)
    assert (gan.step, gan.images_seen, gan.spec) == (2, 16, make_spec(image=image, label=label))
    assert gan.label_names == shell.LABELS and vae.name == "main" and vae.config["game"]["name"] == "vae"


@pytest.mark.parametrize("game", ["vae", "gan"])
def test_samples_are_pictures_that_depend_on_the_seed_alone(game, request):
    model = request.getfixturevalue(game)
    images = model.sample(num=18, seed=5)
    assert images.dtype == np.uint8 and images.shape == (18, 16, 16, 3)
    assert np.array_equal(model.sample(num=3, seed=17), images[12:15])
    assert np.array_equal(model.sample([17, 5, np.uint8(18)]), images[[12, 0, 13]])
    assert np.array_equal(model.sample(range(5, 23)), images)
    assert len(np.unique(images, axis=0)) == 18


def test_a_classifier_names_pictures_and_makes_none(short_run):
    folder = short_run("classifier")
    model, images = imggen_jax.load(folder), np.zeros((3, 16, 16, 3), np.uint8)
    labels = model.classify(images)
    assert labels.shape == (3,) and 0 <= labels.min() and labels.max() < 4
    with pytest.raises(RunError, match="is a classifier and cannot generate images"):
        model.sample(num=1)
    assert not list(folder.glob("pictures/*"))


def test_only_a_classifier_names_pictures(vae):
    with pytest.raises(RunError, match="is a generator and cannot classify images"):
        vae.classify(np.zeros((3, 16, 16, 3), np.uint8))


def test_samples_of_a_label_differ_from_those_of_another(gan):
    green = gan.sample(num=2, given={"label": "green"})
    assert np.array_equal(green, gan.sample(num=2, given={"label": np.int64(1)}))
    red = gan.sample(num=2, given={"label": 0})
    assert not np.array_equal(red, green)
    assert np.array_equal(green, gan.sample(num=2, given={"label": np.array(1)}))
    mixed = gan.sample(num=2, given={"label": ["green", 0]})
    assert np.array_equal(mixed, [green[0], red[1]])


def test_the_latest_seed_can_be_asked_for(vae):
    assert vae.sample(num=2, seed=2**32 - 2).shape == (2, 16, 16, 3)


def test_a_vae_encodes_decodes_and_reconstructs(vae):
    images = vae.sample(num=3)
    z = vae.encode(images)
    assert isinstance(z, np.ndarray) and z.dtype == np.float32 and z.shape == (3, vae.config["game"]["latent"])
    again = vae.decode(z)
    assert again.dtype == np.uint8 and again.shape == images.shape
    assert np.array_equal(vae.reconstruct(images), again)


def test_a_gan_finds_latents_that_make_its_pictures_better_than_the_mean_does(gan):
    given = {"label": ["red", 2]}
    images = gan.sample([0, 1], given)
    w = gan.encode(images, given)
    assert w.shape == (2, gan.latent_size)

    def error(pictures):
        return np.mean(np.square(pictures.astype(float) - images))

    assert error(gan.decode(w, given)) < 0.5 * error(gan.decode(np.zeros_like(w), given))


@pytest.mark.parametrize(("asked", "said"), [
    (dict(num=0), "num is 0"), (dict(num=1, seed=-1), "seed is -1"), (dict(num=2, seed=2**32 - 1), "seed is"),
    (dict(num=1, truncation=np.nan), "truncation is nan"), (dict(num=1, truncation=np.inf), "truncation is inf"),
    (dict(num=1, truncation=-1), "truncation is -1"), (dict(num=1.5), "num is 1.5; it must be a whole number"),
    (dict(seeds=[]), "no seed is given"), (dict(seeds=[3, -2]), "seed is -2"), (dict(seeds=[1.5]), "seed is 1.5"),
    (dict(seeds=[1], num=2), "both seeds and num"), (dict(seeds=16), "seeds is 16; give a list of seeds, or num=16"),
    (dict(num=1, steps=4), "option 'steps' is unknown to this model; it has truncation"),
    (dict(seeds=np.array(3)), "give a list of seeds"), (dict(seeds=None, num=10**9), "images take .* sample fewer"),
    (dict(seeds=range(10**9)), "images take"), (dict(num=1, given="red"), "given is 'red'; give values by the names"),
    (dict(num=1, given=[("label", 0)]), "given is"),
    (dict(num=1, given={"label": "red"}), "'label' is given, but this model does not need it; it is not conditioned"),
])
def test_a_wrong_request_is_a_value_error_that_says_so(asked, said, vae):
    with pytest.raises(ValueError, match=said):
        vae.sample(**asked)


def test_a_message_is_one_line_whatever_value_it_names(vae):
    for wrong in (np.zeros((9, 9)), "line\nbreak", list(range(100_000))):
        with pytest.raises(RunError) as caught:
            vae.sample(num=wrong)
        said = str(caught.value)
        assert "\n" not in said and len(said) < 1000 and said.startswith("num is ") and said.endswith("whole number")


@pytest.mark.parametrize("label", [4, -1, "pink", 1.5, "1", True, np.array(4), object(), b"red"])
def test_a_label_out_of_range_is_refused(label, gan):
    with pytest.raises(RunError, match="names are red, green, blue, grey, indices 0 to 3"):
        gan.sample(num=1, given={"label": label})


def test_an_int_is_an_index_and_a_str_a_name(gan):
    """Folders called 1, 2, 3: class 1 is the folder 2, and "1" the first one."""
    label = Field((), "int32", ("1", "2", "3"))
    numbered = gan._replace(spec=make_spec(image=gan.spec["image"], label=label))
    assert [numbered.label_index(value) for value in (0, 1, 2, "1", "2", "3")] == [0, 1, 2, 0, 1, 2]
    for wrong in (3, "0"):
        with pytest.raises(RunError, match="indices 0 to 2"):
            numbered.label_index(wrong)


@pytest.mark.parametrize("images", [
    np.zeros((2, 16, 16, 3), np.float32), np.zeros((16, 16, 3), np.uint8), np.zeros((2, 16, 16, 1), np.uint8),
    np.zeros((2, 32, 32, 3), np.uint8), np.zeros((0, 16, 16, 3), np.uint8)], ids=lambda a: f"{a.dtype} {a.shape}")
def test_pictures_of_another_kind_are_refused(images, vae):
    for function in (vae.encode, vae.reconstruct):
        with pytest.raises(RunError, match=r"this model takes uint8 \(n, 16, 16, 3\)"):
            function(images)


@pytest.mark.parametrize("z", [
    np.zeros((2, 99)), np.full((2, 3), np.nan), np.zeros(3), np.float32(0), {"z": np.zeros((2, 3))},
    np.zeros((0, 3)), []], ids=lambda z: getattr(z, "shape", z).__repr__())
def test_latents_of_another_shape_are_refused(z, vae):
    with pytest.raises(RunError, match="latents are"):
        vae.decode(z)


def test_a_condition_goes_with_images_one_by_one_and_only_where_there_is_any(vae, gan):
    images = np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(RunError, match="'label' is given, but this model does not need it"):
        vae.encode(images, {"label": [0, 1]})
    with pytest.raises(RunError, match="this model needs 'label'; give it"):
        gan.encode(images)
    for labels in ([0], [0, 1, 2]):
        with pytest.raises(RunError, match="values of 'label' are given for 2 images"):
            gan.encode(images, {"label": labels})
    with pytest.raises(RunError, match="label 4 is unknown"):
        gan.encode(images, {"label": [0, 4]})
    with pytest.raises(RunError, match="'text' is given, but this model does not need it; it takes label"):
        gan.sample(num=1, given={"text": "a red hat"})


def test_generate_gives_the_path_of_the_grid(folders, tmp_path):
    assert imggen_jax.generate(folders / "vae", tmp_path / "out", num=2) == tmp_path / "out" / "grid.png"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000000.png", "000001.png", "grid.png"]


@pytest.mark.parametrize("call", [
    lambda run: imggen_jax.load(""), lambda run: imggen_jax.describe(""), lambda run: imggen_jax.generate(run, ""),
    lambda run: imggen_jax.export(run, ""), lambda run: imggen_jax.train(shell.config("vae"), "")])
def test_an_empty_path_is_not_the_current_folder(call, folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="is empty; write . for the current folder"):
        call(folders / "vae")
    assert not list(tmp_path.iterdir())


def test_a_home_folder_may_be_abbreviated(folders, monkeypatch):
    monkeypatch.setenv("HOME", str(folders))
    assert imggen_jax.load("~/vae").step == 2


def test_a_million_images_of_one_label_are_a_range_and_a_view(gan):
    """What `generate` writes block by block takes no memory before that."""
    seeds = gan.check_seeds(None, 10**9, 5)
    assert (seeds[0], seeds[-1], len(seeds)) == (5, 10**9 + 4, 10**9)
    label = gan.check_given({"label": "green"}, len(seeds))["label"]
    assert label.shape == (10**9,) and label.strides == (0,) and label[-1] == 1


def test_a_type_of_stored_weights_that_there_is_not_is_named(folders, tmp_path):
    with pytest.raises(RunError, match="dtype is 'int8'; choose float32 or float16"):
        imggen_jax.export(folders / "vae", tmp_path / "out", dtype="int8")


def test_a_full_disk_is_told_as_such(folders, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)  # each picture is written beside its place, then moved there
    with pytest.raises(SaveError, match="No space left on device.; make room"):
        imggen_jax.generate(folders / "vae", tmp_path, num=1)


def test_a_folder_without_a_run_is_refused(tmp_path):
    for function in (imggen_jax.load, imggen_jax.describe):
        with pytest.raises(RunError, match="is not the folder of a run"):
            function(tmp_path)


def test_a_name_that_is_no_folder_and_no_shipped_model_is_refused():
    with pytest.raises(RunError, match="nowhere is neither a folder nor the name of a shipped model"):
        imggen_jax.load("nowhere")


def test_load_restores_only_what_images_need(folders, vae):
    assert set(vae.weights) == {"vae"} and all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(vae.weights))


def test_the_parts_of_a_run_are_built_without_data():
    built = imggen_jax.build(tiny.config("vae", "bernoulli"), tiny.SPEC)
    assert jax.eval_shape(built.init) == built.shape and set(built.shape.params) == {"vae"}
    one_step = jax.tree.map(lambda x: x[:1], tiny.examples(tiny.SPEC, 1, 8))
    state, logs = jax.eval_shape(built.play(None), built.shape, one_step, jax.random.key(0), built.pretrained)
    assert jax.tree.structure(state) == jax.tree.structure(built.shape) and logs["loss"].shape[0] == 1
    with pytest.raises(ConfigError, match="the game 'vae' uses no pretrained networks|config.pretrained.x"):
        imggen_jax.build({**tiny.config("vae", "bernoulli"), "pretrained": {"x": {"nonsense": 1}}}, tiny.SPEC)
