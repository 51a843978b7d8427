"""The public API: what a loaded model gives, takes and refuses."""
import subprocess
import sys

import numpy as np
import pytest
import shell

import imggen_jax
from imggen_jax import api


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("api")
    for game in ("vae", "gan"):
        imggen_jax.train(shell.config(game, train={"images": 16}), root / game)
    return root


@pytest.fixture(scope="module")
def vae(folders):
    return imggen_jax.load(folders / "vae")


@pytest.fixture(scope="module")
def gan(folders):
    return imggen_jax.load(str(folders / "gan"))


def test_importing_the_package_does_not_import_jax():
    program = "import sys, imggen_jax; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=shell.REPOSITORY).returncode == 0


def test_every_public_name_is_there_and_no_other():
    for name in imggen_jax.__all__:
        assert callable(getattr(imggen_jax, name))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        imggen_jax.nonsense


def test_a_loaded_model_knows_its_run(vae, gan):
    assert (vae.step, vae.images, vae.spec, vae.label_names) == (2, 16, (16, 3, 0), ())
    assert (gan.step, gan.images, gan.spec, gan.label_names) == (2, 16, (16, 3, 4), shell.LABELS)
    assert vae.config["game"]["name"] == "vae" and vae.weights is vae.state.average


@pytest.mark.parametrize("game", ["vae", "gan"])
def test_samples_are_pictures_that_depend_on_the_seed_alone(game, request):
    model = request.getfixturevalue(game)
    images = model.sample(18, seed=5)
    assert images.dtype == np.uint8 and images.shape == (18, 16, 16, 3)
    assert np.array_equal(model.sample(3, seed=17), images[12:15])
    assert len(np.unique(images, axis=0)) == 18


def test_a_classifier_names_pictures_and_makes_none(tmp_path):
    imggen_jax.train(shell.config("classifier", train={"images": 16}), tmp_path)
    model, images = imggen_jax.load(tmp_path), np.zeros((3, 16, 16, 3), np.uint8)
    labels = model.classify(images)
    assert labels.shape == (3,) and 0 <= labels.min() and labels.max() < 4
    with pytest.raises(imggen_jax.api.RunError, match="names pictures and cannot make them"):
        model.sample(1)
    assert not list(tmp_path.glob("pictures/*"))


def test_only_a_classifier_names_pictures(vae):
    with pytest.raises(imggen_jax.api.RunError, match="makes pictures and cannot name them"):
        vae.classify(np.zeros((3, 16, 16, 3), np.uint8))


def test_samples_of_a_label_differ_from_those_of_another(gan):
    assert np.array_equal(gan.sample(2, label="green"), gan.sample(2, label=1))
    assert not np.array_equal(gan.sample(2, label=0), gan.sample(2, label=1))


def test_the_latest_seed_can_be_asked_for(vae):
    assert vae.sample(2, seed=2**32 - 2).shape == (2, 16, 16, 3)


def test_a_vae_encodes_decodes_and_reconstructs(vae):
    images = vae.sample(3)
    z = vae.encode(images)
    assert isinstance(z, np.ndarray) and z.dtype == np.float32 and z.shape == (3, vae.config["game"]["latent"])
    again = vae.decode(z)
    assert again.dtype == np.uint8 and again.shape == images.shape
    assert np.array_equal(vae.reconstruct(images), again)


def test_a_gan_finds_latents_that_make_its_pictures_better_than_the_mean_does(gan):
    labels = ["red", 2]
    images = np.concatenate([gan.sample(1, seed=seed, label=label) for seed, label in enumerate(labels)])
    z = gan.encode(images, labels)
    assert z.shape == (2, gan.config["game"]["latent"])

    def error(pictures):
        return np.mean(np.square(pictures.astype(float) - images))

    assert error(gan.reconstruct(images, labels)) < 0.5 * error(gan.decode(np.zeros_like(z), labels))


@pytest.mark.parametrize(("asked", "said"), [
    (dict(num=0), "num is 0"), (dict(num=1, seed=-1), "seed is -1"), (dict(num=2, seed=2**32 - 1), "seed is"),
    (dict(num=1, truncation=np.nan), "truncation is nan"), (dict(num=1, truncation=np.inf), "truncation is inf"),
    (dict(num=1, truncation=-1), "truncation is -1"), (dict(num=1, label="red"), "trained without labels")])
def test_a_wrong_request_is_a_value_error_that_says_so(asked, said, vae):
    with pytest.raises(ValueError, match=said):
        vae.sample(**asked)


@pytest.mark.parametrize("label", [4, -1, "pink", 1.5])
def test_a_label_out_of_range_is_refused(label, gan):
    with pytest.raises(api.RunError, match="known are red, green, blue, grey"):
        gan.sample(1, label=label)


@pytest.mark.parametrize("images", [
    np.zeros((2, 16, 16, 3), np.float32), np.zeros((16, 16, 3), np.uint8), np.zeros((2, 16, 16, 1), np.uint8),
    np.zeros((2, 32, 32, 3), np.uint8), np.zeros((0, 16, 16, 3), np.uint8)], ids=lambda a: f"{a.dtype} {a.shape}")
def test_pictures_of_another_kind_are_refused(images, vae):
    for function in (vae.encode, vae.reconstruct):
        with pytest.raises(api.RunError, match=r"this model takes uint8 \(n, 16, 16, 3\)"):
            function(images)


@pytest.mark.parametrize("z", [np.zeros((2, 99)), np.zeros(3), np.float32(0), {"z": np.zeros((2, 3))},
                               np.zeros((0, 3)), []], ids=lambda z: getattr(z, "shape", z).__repr__())
def test_latents_of_another_shape_are_refused(z, vae):
    with pytest.raises(api.RunError, match="latents are"):
        vae.decode(z)


def test_labels_go_with_pictures_one_by_one_and_only_where_there_are_any(vae, gan):
    images = np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(api.RunError, match="trained without labels"):
        vae.encode(images, [0, 1])
    for labels in (None, [0], [0, 1, 2]):
        with pytest.raises(api.RunError, match="give 2 labels"):
            gan.encode(images, labels)
    with pytest.raises(api.RunError, match="out of range"):
        gan.encode(images, [0, 4])


def test_generate_gives_the_path_of_the_grid(folders, tmp_path):
    assert imggen_jax.generate(folders / "vae", tmp_path / "out", num=2) == tmp_path / "out" / "grid.png"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000000.png", "000001.png", "grid.png"]


def test_a_folder_without_a_run_is_refused(tmp_path):
    for function in (imggen_jax.load, imggen_jax.describe):
        with pytest.raises(api.RunError, match="is not the folder of a run"):
            function(tmp_path)
