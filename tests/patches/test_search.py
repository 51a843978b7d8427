"""Both searches find the same, and what is nearest."""
import numpy as np
import pytest

from imggen_jax.patches import features, search


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(0)
    return rng.standard_normal((500, 12), np.float32), rng.standard_normal((300, 12), np.float32)


@pytest.mark.parametrize("k", [1, 3])
def test_both_backends_agree_with_all_distances(points, k):
    keys, queries = points
    true = np.square(queries[:, None] - keys[None]).sum(-1)
    for backend in ("exact", "tree"):
        distances, found = search.nearest(keys, k=k, backend=backend)(queries)
        np.testing.assert_array_equal(found, np.argsort(true, 1)[:, :k], err_msg=backend)
        np.testing.assert_allclose(distances, np.sort(true, 1)[:, :k], rtol=1e-5, err_msg=backend)


def test_exact_in_blocks_is_exact(points, monkeypatch):
    keys, queries = points
    whole = search.exact(keys)(queries)
    monkeypatch.setattr(search, "_BLOCK", 500 * 70)          # five blocks of 64, the last not full
    distances, found = search.exact(keys)(queries)
    np.testing.assert_array_equal(found, whole[1])
    np.testing.assert_allclose(distances, whole[0], rtol=1e-5)


def test_the_tree_keeps_its_promise_when_told_to_hurry(points):
    keys, queries = points
    best = search.tree(keys)(queries)[0]
    assert (search.tree(keys, eps=1.0)(queries)[0] <= best * 4.0001).all()


def test_unknown_backend(points):
    with pytest.raises(ValueError, match="exact, tree"):
        search.nearest(points[0], backend="fast")


def test_all_components_leave_patches_as_they_are():
    picture = np.random.default_rng(0).random((20, 25, 3), np.float32)
    at = np.arange(14 * 19)
    basis = features.principal(picture, 7, at, 7 * 7 * 3, np.random.default_rng(0))
    np.testing.assert_array_equal(features.project(picture, basis, at), features.cut(picture, 7, at // 19, at % 19))


def test_few_components_keep_most_of_the_distance(stones):
    picture = stones.astype(np.float32) / 255
    at, rng = np.arange(58 * 74), np.random.default_rng(0)
    points = features.project(picture, features.principal(picture, 7, at, 16, rng), at)
    all_of_it = features.cut(picture, 7, at // 74, at % 74)
    assert 0.75 * all_of_it.var(0).sum() < points.var(0).sum() < all_of_it.var(0).sum()


def test_places_of_patches():
    known = np.ones((9, 10), bool)
    known[4, 5] = False
    assert features.whole(known, 3).sum() == 7 * 8 - 9
    assert features.touched(~known, 3).sum() == 9
    known[0, 0] = False                                      # over the edges its patches are nine as well
    assert features.touched(~known, 3, (True, True)).sum() == 18
