"""Scores with their spread, stored and compared."""
import functools
import json
import math

import numpy as np
import pytest
import reference_inputs as inputs

from imggen_jax.errors import MetricsError
from imggen_jax.metrics import scores
from imggen_jax.metrics.features import Features, Space

SPACE = Space("toy", 8, "none", "abc", None, None)


def some(seed, number, shift=0.0):
    vectors = inputs.features(seed, number, 8, shift)
    return Features(vectors, vectors[:, :4])


REAL = some(1, 120)
ABOUT = dict(real=120, fake=100, fingerprint="f")


@functools.cache
def measured(seed):
    return scores.measure(SPACE, REAL, [some(seed, 100, 0.2)])


def report(seed=2, space=SPACE, **changes):
    return scores.Report(measured(seed), scores.recipe(space, **{**ABOUT, **changes}), {}, {"imggen_jax": "0"})


def test_every_score_has_a_spread_over_three_resamples():
    found = scores.measure(SPACE, REAL, [some(2, 100)])
    assert set(found) == {"frechet_distance", "kid", "inception_score", "precision", "recall", "density", "coverage"}
    for score in found.values():
        assert len(score.resamples) == 3 and score.spread == pytest.approx(np.std(score.resamples, ddof=1))
        assert math.isfinite(score.value)
    assert "fid" in scores.measure(SPACE._replace(name="inception"), REAL, [some(2, 100)])
    assert "inception_score" not in scores.measure(SPACE, REAL, [Features(REAL.vectors, None)])


def test_of_several_sets_the_mean_is_told_and_their_deviation():
    sets = [some(seed, 100) for seed in (2, 3, 4)]
    found = scores.measure(SPACE, REAL, sets)
    each = [scores.measure(SPACE, REAL, [one])["frechet_distance"].value for one in sets]
    assert found["frechet_distance"].value == pytest.approx(np.mean(each))
    assert found["frechet_distance"].spread == pytest.approx(np.std(each, ddof=1))


@pytest.mark.slow
def test_the_spread_over_halves_is_about_that_over_samples():
    """So that a score of one set says how sure it is."""
    sets = [some(seed, 400) for seed in range(10, 22)]
    values = [scores.measure(SPACE, REAL, [one])["frechet_distance"].value for one in sets]
    told = np.mean([scores.measure(SPACE, REAL, [one], resamples=8)["frechet_distance"].spread for one in sets])
    assert 0.4 < told / np.std(values, ddof=1) < 2.5


def test_scores_do_not_depend_on_the_order_of_the_pictures():
    fake = some(2, 100)
    order = np.random.RandomState(0).permutation(100)
    a, b = (scores.measure(SPACE, REAL, [one]) for one in (fake, Features(fake.vectors[order], fake.logits[order])))
    for name in ("frechet_distance", "precision", "recall", "density", "coverage"):
        assert a[name].value == pytest.approx(b[name].value, rel=1e-9)
    assert a["kid"].value == pytest.approx(b["kid"].value, abs=3 * a["kid"].spread)  # other subsets are drawn


def test_a_report_comes_back_from_json():
    mine = report()
    again = scores.from_dict(json.loads(json.dumps(mine.as_dict(), allow_nan=False)))
    assert again.as_dict() == mine.as_dict()
    for wrong in ({}, {"scores": 3}, {"scores": {"fid": {}}}, []):
        with pytest.raises(MetricsError, match="no report of scores"):
            scores.from_dict(wrong)


def test_reports_of_one_recipe_compare():
    found = scores.compare(report(2), report(3))
    assert set(found) == set(report().scores)
    difference, deviation = found["frechet_distance"]
    a, b = (report(seed).scores["frechet_distance"] for seed in (2, 3))
    assert difference == pytest.approx(a.value - b.value) and deviation == pytest.approx(math.hypot(a.spread, b.spread))
    # The mean over three sets is surer than one set.
    means = [report(seed)._replace(pictures={"sets": 3}) for seed in (2, 3)]
    assert scores.compare(*means)["frechet_distance"][1] == pytest.approx(deviation / math.sqrt(3))


@pytest.mark.parametrize(("changes", "message"), [
    ({"real": 121}, "real: 120 here, 121 there"),
    ({"fake": 99}, "fake: 100 here, 99 there"),
    ({"fingerprint": "g"}, "real_fingerprint: 'f' here, 'g' there"),
    ({"space": SPACE._replace(resize="bilinear")}, "resize: 'none' here, 'bilinear' there"),
    ({"space": SPACE._replace(sha256="xyz")}, "weights_sha256: 'abc' here, 'xyz' there"),
])
def test_reports_of_two_recipes_are_not_comparable(changes, message):
    with pytest.raises(MetricsError, match=f"are not comparable.*{message}"):
        scores.compare(report(), report(**changes))


def test_what_is_not_a_score_is_refused():
    with pytest.raises(MetricsError, match="at least 3 resamples are needed to estimate a standard deviation, not 2"):
        scores.measure(SPACE, REAL, [some(2, 100), some(3, 100)])
    broken = Features(np.full((100, 8), np.nan, np.float32), None)
    with pytest.raises(MetricsError, match="not finite"):
        scores.measure(SPACE, REAL, [broken])
    scores.check_finite({"elbo": -1.0, "shares": [{"value": 0.5}], "page": "inf"})
    with pytest.raises(MetricsError, match="likelihood shares 1 value is inf, not a finite number"):
        scores.check_finite({"elbo": -1.0, "shares": [{"value": 0.5}, {"value": math.inf}]}, "likelihood")
    with pytest.raises(MetricsError, match="A has 8 pictures, but the feature space toy has 8 dimensions"):
        scores.check_counts("toy", 8, {"A": 8})
    with pytest.raises(MetricsError, match="A has 19 pictures; scores need at least 20"):
        scores.check_counts("toy", 8, {"A": 19})
    scores.check_counts("toy", 8, {"A": 20})


def test_the_same_pictures_have_a_distance_of_zero_that_is_never_negative():
    found = scores.measure(SPACE, REAL, [REAL])["frechet_distance"]
    assert 0 <= found.value < 1e-6


def test_a_table_has_a_line_for_each_score():
    text = scores.table(report())
    assert all(title in text for title in ("Frechet distance", "KID", "Precision", "Coverage", "120 real ones"))
    assert max(map(len, text.splitlines())) < 110
