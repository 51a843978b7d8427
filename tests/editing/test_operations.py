"""Interpolations, variations and children: what they promise, on a generator whose pictures are known."""
import linear
import numpy as np
import pytest

from imggen_jax import editing
from imggen_jax.editing import operations, take
from imggen_jax.errors import RunError
from imggen_jax.sampling import at_rows


@pytest.fixture(scope="module")
def model():
    return linear.model()


@pytest.fixture(scope="module")
def mapped():
    return linear.model(mapped=True)


def lengths(points):
    return np.linalg.norm(points.w, axis=-1)


def test_slerp_follows_the_great_circle():
    a, b = np.array([[2.0, 0.0]]), np.array([[0.0, 2.0]])
    half = operations.slerp(a, b, np.array([[0.5]]))
    np.testing.assert_allclose(half, [[2**0.5, 2**0.5]], atol=1e-6)
    third = operations.slerp(a, b, np.array([[1 / 3]]))
    np.testing.assert_allclose(third, [[2 * np.cos(np.pi / 6), 2 * np.sin(np.pi / 6)]], atol=1e-6)
    np.testing.assert_allclose(operations.slerp(a, 3 * a, np.array([[0.5]])), 2 * a)   # parallel: a straight line
    assert np.isfinite(operations.slerp(a, -a, np.array([[0.5]]))).all()


def test_an_interpolation_visits_its_points_and_moves_evenly(model):
    points = editing.seeds(model, [1, 2, 3])
    path = editing.interpolate(model, points, 13)
    assert path.w.shape == (13, linear.LATENT)
    np.testing.assert_allclose(path.w[[0, -1]], points.w[[0, -1]], atol=1e-6)
    step = editing.steps(editing.show(model, path))
    assert step.max() < 1.5 * step.mean()
    latent = editing.interpolate(model, points, 13, even=False)
    np.testing.assert_allclose(latent.w[6], points.w[1], atol=1e-5)


def test_a_gaussian_prior_is_crossed_on_a_sphere_and_any_other_straight(model, mapped):
    assert model.space().gaussian and not mapped.space().gaussian
    for each in (model, mapped):
        points = editing.seeds(each, [1, 2])
        middle = editing.interpolate(each, points, 3, even=False).w[1]
        straight = np.allclose(middle, points.w.mean(0), atol=1e-5)
        assert straight == (each is mapped)


def test_a_prior_that_only_looks_gaussian_in_mean_and_variance_is_not_taken_for_one():
    import jax

    uniform = linear.model(prior=lambda key, n, condition: jax.random.uniform(
        key, (n, linear.LATENT), minval=-3**0.5, maxval=3**0.5))
    assert not uniform.space().gaussian


def test_the_path_length_of_a_linear_generator_is_known(mapped):
    """Half a step in w changes pixels by half of the blocks: d / e^2 does not depend on where."""
    points = at_rows(np.stack([np.zeros(linear.LATENT), np.full(linear.LATENT, 2.0)]).astype(np.float32), {})
    # All six blocks of 20 pixels change by 2 * 0.25 of [-1,1], so by 0.25 of [0,1], over a whole stretch.
    pixels = np.mean((linear.BLOCKS.sum(0) * 2 / 2) ** 2)
    found = editing.path_length(mapped, points, samples=64)
    assert 0.5 * pixels < found <= 1.01 * pixels  # the halving to 8 pixels blurs the blocks' borders


def test_strength_0_changes_nothing_and_1_everything(model):
    face = editing.seeds(model, [5])
    same = editing.vary(model, face, 4, strength=0)
    np.testing.assert_array_equal(same.w, np.repeat(face.w, 4, 0))
    many = editing.vary(model, face, 400, strength=1.0)
    correlation = many.w @ face.w[0] / (lengths(many) * lengths(face))
    assert abs(correlation.mean()) < 0.1
    by_strength = [np.mean(np.abs(editing.vary(model, face, 32, strength=s).w - face.w))
                   for s in (0.1, "subtle", "strong", 1)]
    assert by_strength == sorted(by_strength)


def test_variation_k_is_the_same_whatever_their_number(model):
    face = editing.seeds(model, [5])
    few, many = (editing.vary(model, face, n, strength=0.5, seed=3) for n in (2, 20))
    np.testing.assert_array_equal(few.w, many.w[:2])
    assert len(np.unique(many.w.round(5), axis=0)) == 20
    np.testing.assert_array_equal(editing.vary(model, face, 1, strength=0.5, seed=4).w, many.w[1:2])


def test_a_variation_of_a_seed_s_picture_is_not_drawn_towards_itself(model):
    face = editing.seeds(model, [0])
    varied = editing.vary(model, face, 1, strength=0.9, seed=0)
    cosine = (varied.w @ face.w[0]) / (lengths(varied) * lengths(face))
    assert cosine[0] < 0.9


@pytest.mark.parametrize("which", ["model", "mapped"])
def test_variations_and_children_are_as_likely_as_any(which, request):
    each = request.getfixturevalue(which)
    usual = editing.distance(each, editing.seeds(each, range(200)).w).mean()
    parents = editing.seeds(each, [1, 2, 3])
    for made in (editing.vary(each, take(parents, [0]), 200, strength=0.7), editing.breed(each, parents, 200)):
        assert 0.5 * usual < editing.distance(each, made.w).mean() < 1.3 * usual


def test_children_are_between_their_parents_by_weight(model):
    parents = editing.seeds(model, [1, 2])
    only = editing.breed(model, parents, 3, weights=[1, 0], mutate=0)
    np.testing.assert_allclose(only.w, np.repeat(parents.w[:1], 3, 0), atol=1e-5)
    both = editing.breed(model, parents, 1, weights=[3, 1], mutate=0).w[0]
    to = [np.linalg.norm(both - parent) for parent in parents.w]
    assert to[0] < to[1]
    children = editing.breed(model, parents, 8, mutate=0.4)
    assert len(np.unique(children.w.round(5), axis=0)) == 8


def test_crossover_takes_each_axis_from_one_parent(model):
    parents = editing.seeds(model, [1, 2])
    child = editing.breed(model, parents, 1, mutate=0, crossover=1.0).w[0]
    from_first, from_second = (np.isclose(child, parent, atol=1e-5) for parent in parents.w)
    assert (from_first | from_second).all() and from_first.any() and from_second.any()
    plain = editing.breed(model, parents, 1, mutate=0, crossover=0).w[0]
    assert not np.isclose(plain, parents.w[0], atol=1e-5).any()


def test_what_is_to_be_inherited_is_the_parent_s_whatever_the_mutation(model):
    parents = editing.seeds(model, [1, 2])
    axis = np.eye(linear.LATENT)[[2]]
    children = editing.breed(model, parents, 5, mutate=0.8, inherit={1: axis})
    np.testing.assert_allclose(children.w[:, 2], parents.w[1, 2], atol=1e-5)
    assert np.ptp(children.w[:, 3]) > 0.1


def test_one_parent_has_similar_children(model):
    parent = editing.seeds(model, [1])
    children = editing.breed(model, parent, 6, mutate=0.2)
    assert 0 < np.abs(children.w - parent.w).max() < 0.5


def test_a_child_is_the_same_whatever_their_number(model):
    parents = editing.seeds(model, [1, 2])
    few, many = (editing.breed(model, parents, n, crossover=0.5, seed=7) for n in (2, 12))
    np.testing.assert_array_equal(few.w, many.w[:2])


@pytest.mark.parametrize(("ask", "said"), [
    (lambda m, p: editing.interpolate(m, take(p, [0]), 5), "at least 2 images"),
    (lambda m, p: editing.interpolate(m, p, 2), "frames is 2; an interpolation of 3"),
    (lambda m, p: editing.vary(m, p, 4, strength=0.5), "3 images are given; vary takes one"),
    (lambda m, p: editing.vary(m, take(p, [0]), 0, strength=0.5), "num is 0"),
    (lambda m, p: editing.vary(m, take(p, [0]), 4, strength=1.5), "strength is 1.5; it must be from 0 to 1, or one of"),
    (lambda m, p: editing.vary(m, take(p, [0]), 4, strength="huge"), "strength is huge"),
    (lambda m, p: editing.vary(m, take(p, [0]), 4, strength=np.nan), "strength is nan"),
    (lambda m, p: editing.vary(m, take(p, [0]), 4, strength=0.1, seed=-1), "seed is -1"),
    (lambda m, p: editing.vary(m, take(p, [0]), 4, strength=0.1, truncation=-1), "truncation is -1"),
    (lambda m, p: editing.breed(m, take(p, [0, 1, 2, 0, 1, 2]), 4), "6 parents are given; breed takes 1 to 5"),
    (lambda m, p: editing.breed(m, p, 4, weights=[1, 2]), "2 weights are given for 3 parents"),
    (lambda m, p: editing.breed(m, p, 4, weights=[1, -2, 1]), "none may be negative"),
    (lambda m, p: editing.breed(m, p, 4, weights=[0, 0, 0]), "not all zero"),
    (lambda m, p: editing.breed(m, p, 4, crossover=2), "crossover is 2"),
    (lambda m, p: editing.breed(m, p, 0), "num is 0"),
    (lambda m, p: editing.seeds(m, []), "no seed is given"),
    (lambda m, p: editing.seeds(m, [2**32]), "seed is 4294967296"),
    (lambda m, p: editing.seeds(m, [1], given={"label": 2}), "this model does not need it"),
    (lambda m, p: editing.show(m, at_rows(np.zeros((2, 9)), {})), r"latents are \(2, 9\); this model takes \(n, 6\)"),
    (lambda m, p: editing.show(m, at_rows(np.full((1, 6), np.nan), {})), "not all finite"),
    (lambda m, p: editing.show(m, at_rows(np.zeros((1, 6)), {"label": np.array([0])})),
     "this model does not need it"),
])
def test_what_cannot_be_is_one_clear_line(ask, said, model):
    with pytest.raises(RunError, match=said) as error:
        ask(model, editing.seeds(model, [1, 2, 3]))
    assert "\n" not in str(error.value)


def test_seeds_are_those_of_sample_to_the_bit(model, mapped):
    for each in (model, mapped):
        for truncation in (1.0, 0.5):
            latents = editing.seeds(each, range(3, 25), truncation=truncation)
            images = each.sample(num=22, seed=3, truncation=truncation)
            np.testing.assert_array_equal(editing.show(each, latents), images)
            np.testing.assert_array_equal(editing.show(each, take(latents, [3, 18])), images[[3, 18]])


def test_truncation_draws_w_to_its_mean(mapped):
    spread = [editing.seeds(mapped, range(50), truncation=t).w.std(0).mean() for t in (0.0, 0.5, 1.0)]
    assert spread[0] < 1e-5 and abs(spread[1] / spread[2] - 0.5) < 1e-3
    np.testing.assert_allclose(editing.seeds(mapped, [1], truncation=0).w[0], 1, atol=0.2)


def test_join_is_the_inverse_of_take(model):
    points = editing.seeds(model, [3, 1, 300, 1])
    again = editing.join([take(points, [0]), take(points, [1, 2]), take(points, [3])])
    np.testing.assert_array_equal(again.w, points.w)
    np.testing.assert_array_equal(again.places, points.places)
    np.testing.assert_array_equal(editing.show(model, again), editing.show(model, points))
    rows = editing.join([take(points, [1]), take(points, [3])], keep_places=False)
    assert rows.places.tolist() == [0, 1] and again.places[1] == again.places[3] == 1


def test_latents_that_do_not_fit_are_not_joined():
    one = at_rows(np.zeros((1, 4), np.float32), {})
    for other in (at_rows(np.zeros((1, 5), np.float32), {}), at_rows(one.w, {"label": np.zeros(1, np.int32)})):
        with pytest.raises(RunError, match="latents that differ in size, or in the fields"):
            editing.join([one, other])
    with pytest.raises(RunError, match="no latents are given"):
        editing.join([])
