"""From features to scores with their standard deviations, and with all that decides whether two are comparable."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from imggen_jax.errors import MetricsError
from imggen_jax.metrics import kernel, neighbors
from imggen_jax.metrics.features import Features, Space
from imggen_jax.metrics.frechet import Moments, accumulate, frechet_distances
from imggen_jax.metrics.inception_score import SPLITS, inception_score

# Change it with anything that changes a score of the same pictures; scores of two versions are not comparable.
VERSION = 2
NEIGHBORS_AT_MOST = 10_000  # pictures on each side; the cost grows with the square
RESAMPLES = 3
LEAST = 2 * SPLITS            # pictures: half of them still fill the parts of an Inception Score
# name -> (what to call it in a table, whether more is better)
TABLE = {
    "fid": ("FID", False), "frechet_distance": ("Frechet distance", False), "kid": ("KID", False),
    "inception_score": ("Inception Score", True), "precision": ("Precision", True), "recall": ("Recall", True),
    "density": ("Density", True), "coverage": ("Coverage", True),
}


class Score(NamedTuple):
    """A number and its uncertainty."""

    value: float
    spread: float               # standard deviation over resamples, of one such value
    resamples: tuple[float, ...]


class Report(NamedTuple):
    """Scores of one set of pictures against another, as plain values: `as_dict` is JSON."""

    scores: Mapping[str, Score]
    recipe: Mapping[str, Any]    # all that must be equal for two reports to compare
    pictures: Mapping[str, Any]  # what was scored: titles, seeds, fingerprint of the fakes, sets that were averaged
    versions: Mapping[str, str]

    def as_dict(self) -> dict:
        scores = {name: score._asdict() | {"resamples": list(score.resamples)} for name, score in self.scores.items()}
        return {"scores": scores, "recipe": dict(self.recipe), "pictures": dict(self.pictures),
                "versions": dict(self.versions)}


def from_dict(content: Mapping) -> Report:
    """The inverse of `as_dict`. Raises MetricsError for anything else."""
    try:
        scores = {name: Score(each["value"], each["spread"], tuple(each["resamples"]))
                  for name, each in content["scores"].items()}
        return Report(scores, dict(content["recipe"]), dict(content["pictures"]), dict(content["versions"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise MetricsError(f"this is no report of scores ({type(error).__name__}: {error})") from error


def check_counts(space: str, dims: int, counts: Mapping[str, int]) -> None:
    """Check that there are enough pictures for every score of a space, before any feature is computed.

    A covariance of D dimensions needs more than D pictures; of fewer it is singular, and the distance an artifact. And
    no score takes fewer than LEAST.

    Raises:
      MetricsError: naming the set that is too small.
    """
    for title, count in counts.items():
        if count <= dims:
            raise MetricsError(f"{title} has {count:,} pictures, but the feature space {space} has {dims:,} dimensions "
                               f"and needs more than {dims:,}; give more pictures, choose another --space, or "
                               "evaluate with --only, which needs no scores")
        if count < LEAST:
            raise MetricsError(f"{title} has {count} pictures; scores need at least {LEAST}")


def check_resamples(number: int) -> None:
    """Raise MetricsError for fewer than a standard deviation is estimated from."""
    if number < RESAMPLES:
        raise MetricsError(f"at least {RESAMPLES} resamples are needed to estimate a standard deviation, not {number}")


def check_finite(found: object, name: str = "") -> None:
    """Raise MetricsError naming the first number, in dicts and sequences, that is not finite."""
    if isinstance(found, (list, tuple)):
        found = dict(enumerate(found))
    if isinstance(found, Mapping):
        for key, value in found.items():
            check_finite(value, f"{name} {key}".strip())
    elif isinstance(found, float) and not math.isfinite(found):
        raise MetricsError(f"{name} is {found}, not a finite number; the pictures or the weights are broken")


def measure(space: Space, real: Features, fakes: Sequence[Features], *, seed: int = 0,
            resamples: int = RESAMPLES) -> dict[str, Score]:
    """All scores of generated pictures.

    Args:
      space: that the features are of; its classes, where it has some, are those of the Inception Score.
      real: features of real pictures.
      fakes: one set of generated pictures, or several equally large ones that are drawn independently.
      seed: of the subsets, parts and halves that are drawn.
      resamples: halves of a single set; at least 3.

    Returns:
      {name: Score}. Of several sets, the value is the mean of theirs and the spread their standard deviation. Of one
      set, the value is that of the whole, and the spread the standard deviation over random halves, which is that of
      the whole set too (the delete-d jackknife with d = n/2: Shao and Wu 1989, eq. 2.2).

    Raises:
      MetricsError: fewer than three resamples, or a score that is not finite.
    """
    number = len(fakes) if len(fakes) > 1 else resamples
    check_resamples(number)
    if len(fakes) > 1:
        found = _all(space, real, fakes, seed)
        values = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
        resampled = found
    else:
        rng = np.random.default_rng([seed, 2])
        n = len(fakes[0].vectors)
        halves = [_rows(fakes[0], np.sort(rng.choice(n, n // 2, replace=False))) for _ in range(number)]
        values, *resampled = _all(space, real, [fakes[0], *halves], seed)
    scores = {name: Score(value, float(np.std([each[name] for each in resampled], ddof=1)),
                          tuple(each[name] for each in resampled)) for name, value in values.items()}
    for name, score in scores.items():
        check_finite(score._asdict(), name)
    return scores


def _rows(features: Features, rows: np.ndarray) -> Features:
    return Features(features.vectors[rows], None if features.logits is None else features.logits[rows])


def _all(space: Space, real: Features, fakes: Sequence[Features], seed: int) -> list[dict[str, float]]:
    """{name: value} for each set of fakes."""
    distances = frechet_distances(_moments([real])[0], _moments(fakes))
    first = "fid" if space.name.startswith("inception") else "frechet_distance"
    return [{first: distance, **_rest(real, fake, seed)} for distance, fake in zip(distances, fakes)]


def _moments(sets: Sequence[Features]) -> list[Moments]:
    """In blocks, so that no copy of all features in float64 is made."""
    return [accumulate([each.vectors]) for each in sets]


def _rest(real: Features, fake: Features, seed: int) -> dict[str, float]:
    rng = np.random.default_rng([seed, 3])
    size = subset_size(len(real.vectors), len(fake.vectors))
    subsets = kernel.draw_subsets(len(real.vectors), len(fake.vectors), size=size, seed=seed)
    found = {"kid": float(kernel.kid(real.vectors, fake.vectors, subsets).mean())}
    if fake.logits is not None:
        order = rng.permutation(len(fake.logits))
        found["inception_score"] = float(inception_score(fake.logits[order]).mean())
    few = [each[np.sort(rng.permutation(len(each))[:NEIGHBORS_AT_MOST])] for each in (real.vectors, fake.vectors)]
    near, far = neighbors.several_neighbors(few[0], few[1], (neighbors.PRECISION_K, neighbors.DENSITY_K))
    return found | {"precision": near.precision, "recall": near.recall, "density": far.density,
                    "coverage": far.coverage}


def subset_size(real: int, fake: int) -> int:
    """Pictures in KID's subsets: 1,000, or half of the smaller set where that is less."""
    return max(2, min(kernel.SUBSET, real // 2, fake // 2))


def recipe(space: Space, *, real: int, fake: int, fingerprint: str) -> dict[str, object]:
    """All that must be equal for two scores to compare: the network, resizing, numbers, and the real pictures.

    real, fake: how many pictures each value is computed from. fingerprint: of the real ones.
    """
    return {
        "version": VERSION, "space": space.name, "resize": space.resize, "weights_sha256": space.sha256,
        "real": real, "fake": fake, "real_fingerprint": fingerprint,
        "kid": f"cubic kernel, {kernel.SUBSETS} subsets of {subset_size(real, fake)}",
        "inception_score": f"{SPLITS} parts",
        "neighbors": f"k = {neighbors.PRECISION_K} for precision and recall, {neighbors.DENSITY_K} for density and "
                      f"coverage, at most {NEIGHBORS_AT_MOST} pictures",
    }


def compare(mine: Report, other: Report) -> dict[str, tuple[float, float]]:
    """{score: (mine - other, the standard deviation of that difference)}, for reports of one recipe.

    Raises:
      MetricsError: naming what differs in the recipes; such scores are not comparable.
    """
    keys = sorted({*mine.recipe, *other.recipe})
    differ = [f"{key}: {mine.recipe.get(key)!r} here, {other.recipe.get(key)!r} there" for key in keys
              if mine.recipe.get(key) != other.recipe.get(key)]
    if differ:
        raise MetricsError("these scores are not comparable, since they were computed differently "
                           f"({'; '.join(differ)}); compute both with the same --space, --num and real pictures")
    return {name: (score.value - other.scores[name].value, math.hypot(_error(mine, name), _error(other, name)))
            for name, score in mine.scores.items() if name in other.scores}


def _error(report: Report, name: str) -> float:
    """The standard deviation of a value, which is the mean over so many sets."""
    return report.scores[name].spread / math.sqrt(report.pictures.get("sets", 1))


def table(report: Report) -> str:
    """A table for display: one score a line, with its standard deviation, and what it was computed from."""
    recipe = report.recipe
    lines = [f"{'score':<18}{'value':>12}  {'spread':>10}  better"]
    for name, score in report.scores.items():
        title, more = TABLE.get(name, (name, True))
        lines.append(f"{title:<18}{score.value:>12.5g}  {'+-' + format(score.spread, '.2g'):>10}  "
                     f"{'more' if more else 'less'}")
    lines += [f"space     {recipe['space']} (weights {str(recipe['weights_sha256'])[:12]}; {recipe['resize']})",
              f"pictures  {recipe['fake']:,} against {recipe['real']:,} real ones"]
    return "\n".join(lines)
