"""Scores during training, which take at most a share of the run's time; each is stored in scores/ of the run."""
from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from imggen_jax import data
from imggen_jax.config import Settings
from imggen_jax.evaluation import scores, store
from imggen_jax.game import PyTree
from imggen_jax.metrics import scores as metric_scores
from imggen_jax.metrics import spaces
from imggen_jax.model import Model
from imggen_jax.training.build import Built


def check(settings: Settings) -> None:
    """Refuse what cannot be scored before anything starts; cheap.

    Raises:
      MetricsError: an unknown feature space, or one whose weight file is missing.
    """
    if settings.score.every:
        spaces.check_there(settings.score.space)


def scorer(settings: Settings, built: Built, train_set: data.Dataset, workdir: Path) -> Callable:
    """A function (average, *, step, images) -> {"score/<name>": value} for `training.train`.

    It returns {} where a score would take more than config.score.share of the time since now. What needs no step of
    training is computed now: a classifier, and the features of real images.

    Raises:
      DataError, MetricsError, RunError: it cannot be scored, and why.
    """
    wanted = settings.score
    name = next(name for name, model in built.game.models.items() if model is built.game.main)
    reference = scores.Reference(train_set, f"{settings.data.name}, {settings.data.split}", wanted.num)
    reference.check(scores.outline(wanted.space))  # before a classifier is trained
    space = scores.load_space(wanted.space, settings)

    def score(average, step, images):
        model = Model({}, built.spec, step, {**average, **built.pretrained}, built.game, name)
        report = reference.score(space, scores.sample_of(model, train_set), seed=0, resamples=metric_scores.RESAMPLES,
                                 about={"step": step, "images": images})
        store.write(workdir / "scores", scores.stem(report), report.as_dict(), images)
        return {f"score/{name}": each.value for name, each in report.scores.items()}

    return Watch(score, lambda: reference.extract(space), wanted.share)


class Watch:
    """Calls a function that scores, as long as that takes at most a share of the time since the start."""

    def __init__(self, score: Callable, prepare: Callable, share: float):
        """score: (average, step, images) -> scores. prepare: () -> None, takes about as long as a set of images."""
        self.score, self.share = score, share
        self.start = time.monotonic()
        prepare()
        self.spent = time.monotonic() - self.start
        # Seconds that scoring takes; before the first time, an estimate from as many images as are in a set.
        self.longest = metric_scores.RESAMPLES * self.spent

    def due(self) -> bool:
        """Whether another score, as long as the longest, keeps to the share."""
        elapsed = time.monotonic() - self.start
        return self.spent + self.longest <= self.share * (elapsed + self.longest)

    def __call__(self, average: PyTree, *, step: int, images: int) -> dict[str, float]:
        """The scores; {} where they would take more than their share."""
        if not self.due():
            return {}
        start = time.monotonic()
        scored = self.score(average, step, images)
        took = time.monotonic() - start
        self.spent, self.longest = self.spent + took, max(self.longest, took)
        return scored
