"""Genes: boundaries with known answers, edits that reach their target, and files that are kept with their weights."""
import functools
from typing import NamedTuple

import jax.numpy as jnp
import linear
import numpy as np
import pytest
import tiny

from imggen_jax import editing, zoo
from imggen_jax.editing import firstlayer, genes, learning
from imggen_jax.editing.genes import Genes
from imggen_jax.errors import RunError
from imggen_jax.evaluation import classifier
from imggen_jax.game import Classifier, Field, make_spec
from imggen_jax.sampling import at_rows

NAMES, VALUES = ("brightness", "side"), (("dark", "light"), ("left", "middle", "right"))
CUTS = (-0.43, 0.43)


def truth(w):
    """Labels that latents have by definition: brightness by the first number, side by the second and third."""
    return np.stack([(w[:, 0] > 0).astype(int), np.digitize(w[:, 1] + 0.5 * w[:, 2], CUTS)], axis=-1).astype(np.int32)


class Labeller:
    """Sees in pictures what `truth` sees in latents."""

    names, values, accuracy = NAMES, VALUES, {"brightness": 1.0, "side": 1.0}

    def __init__(self, centre=0):
        self.centre = centre

    def predict(self, images):
        return truth(linear.seen(images) - self.centre)


class Guide(NamedTuple):
    """Sees the same, with a slope that can be followed."""

    centre: float
    names: tuple = NAMES
    values: tuple = VALUES
    weights: dict = {}
    shifted: bool = False

    @property
    def classifier(self):
        return Classifier(NAMES, _guides(self.centre), None)


@functools.cache
def _guides(centre):
    def logits(weights, images):
        blocks = linear.BLOCKS.reshape(linear.LATENT, -1)
        w = images.reshape(len(images), -1) @ blocks.T / np.sum(blocks**2, axis=-1) - centre
        side = w[:, 1] + 0.5 * w[:, 2]
        low, high = 6 * (side - CUTS[0]), 6 * (side - CUTS[1])
        return (jnp.stack([-5 * w[:, 0], 5 * w[:, 0]], -1), jnp.stack([-low, jnp.minimum(low, -high), high], -1))

    return logits


@pytest.fixture(scope="module")
def model():
    return linear.model()


@pytest.fixture(scope="module")
def learned(model, tmp_path_factory):
    found, said = learning.learn(tmp_path_factory.mktemp("genes"), model, samples=3000, faces=100,
                                 labeller=Labeller(), guide=Guide(0))
    assert any("3000 of the model's pictures" in line for line in said)
    return found


def test_boundaries_are_found_and_orthogonal_to_other_attributes(learned):
    light = learned.attributes["brightness"].directions[1]
    np.testing.assert_allclose(light, np.eye(linear.LATENT)[0], atol=0.12)
    side = learned.attributes["side"]
    right = np.zeros(linear.LATENT)
    right[1:3] = np.array([1, 0.5]) / 1.25**0.5
    np.testing.assert_allclose(side.directions[2], right, atol=0.15)
    np.testing.assert_allclose(side.directions[0], -right, atol=0.15)
    for direction in side.directions:
        assert np.abs(learned.attributes["brightness"].basis.T @ direction).max() < 0.02
    for attribute in learned.attributes.values():
        np.testing.assert_allclose(np.linalg.norm(attribute.directions, axis=-1), 1, atol=1e-5)


def test_correlated_labels_are_disentangled():
    """Where two labels go together, each one's boundary leans to the other; orthogonal ones do not."""
    rng = np.random.default_rng(0)
    model = linear.model()
    w = rng.normal(size=(4000, linear.LATENT)).astype(np.float32)
    first = w[:, 0] > 0
    second = w[:, 0] * 0.8 + w[:, 1] > 0
    found = genes.boundaries(model, w, np.stack([first, second], -1).astype(np.int32), ("a", "b"), (("n", "y"),) * 2)
    assert abs(found["b"].normals[1][0]) > 0.4
    assert abs(found["b"].directions[1][0]) < 0.1


def test_an_edit_reaches_its_target_and_leaves_the_rest(model, learned):
    points = editing.seeds(model, range(200), truncation=0.8)
    before = truth(points.w)
    for gene, column, value in (("brightness=light", 0, 1), ("side=left", 1, 0), ("side=middle", 1, 1)):
        after = truth(editing.edit(model, points, {gene: None}, learned).w)
        assert np.mean(after[:, column] == value) > 0.95
        assert np.mean(after[:, 1 - column] == before[:, 1 - column]) > 0.95


def test_an_amount_is_in_standard_deviations_and_edits_add_up(model, learned):
    face = editing.seeds(model, [4])
    direction = learned.attributes["brightness"].directions[1]
    moved = editing.edit(model, face, {"brightness=light": 1.5}, learned).w
    np.testing.assert_allclose(moved - face.w, 1.5 * direction[None], atol=1e-5)
    back = editing.edit(model, at_rows(moved, {}), {"brightness=light": -1.5}, learned).w
    np.testing.assert_allclose(back, face.w, atol=1e-5)
    np.testing.assert_array_equal(editing.edit(model, face, {}, learned).w, face.w)
    both = editing.edit(model, face, {"brightness=light": 1.0, "side=left": -2.0}, learned).w
    one = editing.edit(model, face, {"brightness=light": 1.0}, learned)
    np.testing.assert_allclose(both, editing.edit(model, one, {"side=left": -2.0}, learned).w, atol=1e-6)


def test_what_was_measured_is_what_happens(learned):
    light = learned.measured["brightness=light"]
    assert 30 <= light["faces"] <= 70 and light["reached"] > 0.9 and light["kept"]["side"] > 0.9
    assert set(learned.measured) == {f"{name}={value}" for name, values in zip(NAMES, VALUES) for value in values}


def test_a_mapped_space_has_genes_too():
    model = linear.model(mapped=True)
    learned, _ = learning.learn("nowhere", model, samples=3000, faces=100, labeller=Labeller(centre=1),
                               guide=Guide(1))
    assert learned.measured["brightness=dark"]["reached"] > 0.9


def test_closed_form_directions_are_the_first_layer_s_singular_vectors():
    model = linear.model()
    model.weights["blocks"] = linear.BLOCKS * np.array([1, 5, 2, 3, 1, 4]).reshape(-1, 1, 1, 1)
    found = genes.sefa(model, 3)
    assert list(found) == ["sefa1", "sefa2", "sefa3"]
    np.testing.assert_allclose(np.stack(list(found.values())), np.eye(linear.LATENT)[[1, 5, 3]], atol=1e-3)


def test_a_generator_that_begins_otherwise_has_no_closed_form():
    def decode(weights, w, fields):
        return jnp.sin(w) @ weights["kernel"]

    with pytest.raises(RunError, match="does not begin with a dense layer.*--method pca"):
        firstlayer.kernel(decode, {"kernel": np.ones((4, 3), np.float32)}, 4, {})
    plain = firstlayer.kernel(lambda weights, w, labels: jnp.tanh(w @ weights["a"]) @ weights["b"],
                              {"a": np.eye(4, 3, dtype=np.float32), "b": np.ones((3, 2), np.float32)}, 4, {})
    np.testing.assert_array_equal(plain, np.eye(4, 3))


def test_principal_components_are_ordered_by_what_they_change(model):
    mapped = linear.model(mapped=True)
    found = genes.components(mapped, 3)
    np.testing.assert_allclose(np.abs(found["pca1"]), np.eye(linear.LATENT)[-1], atol=0.1)  # the matrix' largest
    seen = genes.components(model, 2)
    assert abs(np.linalg.norm(seen["pca1"]) - 1) < 1e-5


def test_genes_of_other_methods_stay(model, learned, tmp_path):
    genes.save(tmp_path, learned._replace(guide=None))
    more, _ = learning.learn(tmp_path, model, method="pca", faces=10)
    assert set(more.attributes) == set(NAMES) and "pca1" in more.directions
    assert more.measured["pca1"]["change"] > 0 and more.measured["brightness=dark"]["reached"] > 0.9


def test_genes_of_a_model_that_ships_lie_in_the_cache(model, learned, monkeypatch, tmp_path):
    monkeypatch.setenv("IMGGEN_JAX_CACHE", str(tmp_path))
    folder = zoo.find(zoo.names()[0])
    before = sorted(folder.iterdir())
    with pytest.raises(RunError, match=f"^{folder.name} has no genes yet; learn them: genes --workdir {folder.name} "):
        genes.load(folder, model)
    assert genes.save(folder, learned._replace(guide=None)) == tmp_path / "genes" / folder.name / "genes.npz"
    assert genes.load(folder, model).names() == learned.names() and sorted(folder.iterdir()) == before


def test_genes_are_kept_with_their_weights(model, learned, tmp_path):
    recipe = {"network": {"name": "classifier", "widths": (4,), "blocks": (0,), "features": 4}, "augment": ()}
    labels = {name: Field((), "int32", values) for name, values in zip(NAMES, VALUES)}
    spec = make_spec(image=linear.SPEC["image"], **labels)
    weights = tiny.init(classifier._game(spec, recipe), spec)[0]
    guide = classifier.make_labeller(spec, weights, recipe)
    learned = learned._replace(guide=guide)
    genes.save(tmp_path, learned)
    again = genes.load(tmp_path, model)
    assert again.weights == learned.weights and again.names() == learned.names() and again.measured == learned.measured
    assert again.guide.sha256 == guide.sha256 and (again.guide.names, again.guide.values) == (NAMES, VALUES)
    images = editing.show(model, editing.seeds(model, range(5)))
    np.testing.assert_array_equal(again.guide.predict(images), guide.predict(images))
    for name, one in learned.attributes.items():
        for field, value in one._asdict().items():
            assert np.array_equal(getattr(again.attributes[name], field), value)
    other = linear.model()
    other.weights["blocks"] = 2 * other.weights["blocks"]
    with pytest.raises(RunError, match="learned on other weights than the run has now; learn them again"):
        genes.load(tmp_path, other)
    with pytest.raises(RunError, match="belong to other weights"):
        genes.edit(other, editing.seeds(other, [1]), {"brightness=dark": 1.0}, learned)


def test_no_genes_or_damaged_ones_are_named(model, tmp_path):
    with pytest.raises(RunError, match="has no genes yet; learn them: genes --workdir"):
        genes.load(tmp_path, model)
    for damage in (b"", b"PK\x03\x04 nonsense", b"\x93NUMPY"):
        (tmp_path / genes.FILE).write_bytes(damage)
        with pytest.raises(RunError, match=r"genes\.npz is damaged"):
            genes.load(tmp_path, model)


@pytest.mark.parametrize(("amounts", "said"), [
    ({"brightness=ligth": 1.0}, "unknown gene 'brightness=ligth'; did you mean 'brightness=light'?.*known are "),
    ({"mood": None}, "unknown gene 'mood'.*brightness=dark, brightness=light, side=left"),
    ({"side=left": np.nan}, "gene side=left is to go nan; give a number from -6 to 6"),
    ({"side=left": 100.0}, "gene side=left is to go 100"),
])
def test_an_edit_that_cannot_be_is_one_clear_line(amounts, said, model, learned):
    with pytest.raises(RunError, match=said):
        editing.edit(model, editing.seeds(model, [1]), amounts, learned)


def test_a_gene_without_labels_has_no_target(model):
    found = Genes(genes.fingerprint(model), {}, None, genes.components(model, 2), {})
    with pytest.raises(RunError, match="gene pca1 has no target; say how far to go"):
        editing.edit(model, editing.seeds(model, [1]), {"pca1": None}, found)


def test_labels_without_two_values_are_refused(model):
    w = editing.seeds(model, range(50)).w
    with pytest.raises(RunError, match="no label has two values"):
        genes.boundaries(model, w, np.zeros((50, 1), np.int32), ("a",), (("x", "y"),))
    with pytest.raises(RunError, match="unknown method 'magic'"):
        learning.learn("nowhere", model, method="magic")
    with pytest.raises(RunError, match="genes need at least 100"):
        learning.learn("nowhere", model, samples=3)
