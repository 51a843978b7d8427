"""Scores of generators and of sets of images: which images, in which feature space; `metrics` does the sums."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

import imggen_jax
from imggen_jax import data, sampling
from imggen_jax import spec as specs
from imggen_jax.config import Settings
from imggen_jax.errors import MetricsError
from imggen_jax.evaluation import classifier
from imggen_jax.evaluation.context import CHUNK, Context, batches, dataset_of, example_fields, fingerprint
from imggen_jax.metrics import features, pictures, similarity, spaces
from imggen_jax.metrics import scores as metric_scores
from imggen_jax.metrics.features import Space
from imggen_jax.metrics.scores import Report
from imggen_jax.model import Model
from imggen_jax.training.heldout import evaluator

CLASSIFIER = "classifier"
RECONSTRUCTED = 1_000  # held-out images, at most

Sample = Callable[[Sequence[int]], np.ndarray]  # seeds -> uint8 [n,H,W,C]


def load_space(name: str, settings: Settings) -> Space:
    """A feature space for the images of a run: its dataset's classifier, or one from a weight file.

    Raises:
      DataError, MetricsError: there is none.
    """
    return classifier.dataset_classifier(**dataset_of(settings)).space if name == CLASSIFIER else spaces.load(name)


def outline(name: str, sha256: str = "") -> Space:
    """What is known of a space before its classifier is trained; cheap. sha256: of the weights, to be assumed."""
    if name != CLASSIFIER:
        return spaces.load(name)
    return Space(CLASSIFIER, classifier.RECIPE["network"]["features"], classifier.RESIZE, sha256, _untrained, None)


def _untrained(weights, images):
    raise AssertionError("an outline has no network")


def check_comparable(recipe: Mapping, other: Report | None) -> None:
    """Raises MetricsError where scores of a recipe do not compare with a report's."""
    if other is not None:
        metric_scores.compare(Report({}, recipe, {}, {}), other)


class Reference:
    """Real images to compare with: chosen at once, their features computed once, by `extract` or the first `score`."""

    def __init__(self, dataset: data.Dataset, title: str, num: int):
        """num: images, drawn without repetition; all, where there are fewer."""
        total = dataset.length
        self.count = min(num, total)
        rows = np.sort(np.random.default_rng(0).permutation(total)[:self.count])
        self.num, self.title = num, title
        self.fingerprint = f"{fingerprint(dataset)}, {self.count} of {total}"
        self._batches = lambda: batches(dataset, rows)
        self._features: features.Features | None = None

    def check(self, space: Space) -> dict[str, object]:
        """The recipe of scores in a space.

        Raises:
          MetricsError: too few images for the space.
        """
        metric_scores.check_counts(space.name, space.dims, {
            f"the dataset ({self.title})": self.count, "what is to be generated": self.num})
        return metric_scores.recipe(space, real=self.count, fake=self.num, fingerprint=self.fingerprint)

    def extract(self, space: Space) -> None:
        """Compute the features of the real images."""
        self._features = features.extract(space, self._batches())

    def score(self, space: Space, sample: Sample, *, seed: int, resamples: int, about: Mapping) -> Report:
        """Scores of a generator, each the mean over sets of `num` images.

        Args:
          space: where features are compared.
          sample: seeds -> images.
          seed: of the first image; the sets take seed, seed + 1, ...
          resamples: sets, at least 3.
          about: what else to store with the scores, such as the step.
        """
        recipe = self.check(space)
        if self._features is None:
            self._features = features.extract(space, self._batches())
        starts = range(seed, seed + resamples * self.num, self.num)
        made = [features.extract(space, _made(sample, range(start, start + self.num))) for start in starts]
        measured = metric_scores.measure(space, self._features, made)
        seeds = [[start, start + self.num - 1] for start in starts]
        return Report(measured, recipe, {"real": self.title, "seeds": seeds, "sets": resamples, **about}, versions())


def _made(sample: Sample, seeds: range) -> Iterator[np.ndarray]:
    for start in range(0, len(seeds), CHUNK):
        yield sample(seeds[start:start + CHUNK])


def sample_of(model: Model, train_set: data.Dataset) -> Sample:
    """A function from seeds to images of a model."""
    def sample(seeds):
        fields = example_fields(model.generator, model.spec, train_set, seeds)
        return model.sampler.sample(model.weights, seeds, fields)

    return sample


def versions() -> dict[str, str]:
    """Of this package and of JAX."""
    return {"imggen_jax": imggen_jax.__version__, "jax": jax.__version__}


def stem(report: Report) -> str:
    """The name of a run's report: everything that its values depend on, but for the weights, is in it."""
    (first, last), *_ = report.pictures["seeds"]
    return f"{report.recipe['space']}_{last - first + 1}x{report.pictures['sets']}_seed{first}"


def held_out_figures(context: Context) -> dict[str, float]:
    """Metrics of the game on held-out examples, and PSNR and SSIM of their reconstructions; {} without examples."""
    if context.test_set is None:
        return {}
    model, settings = context.model, context.settings
    metrics = evaluator(model.game, context.test_set, settings.train.batch, settings.seed)(model.weights)
    return {name.removeprefix("test/"): value for name, value in metrics.items()} | reconstruction(
        model, context.test_set)


def reconstruction(model: Model, held_out: data.Dataset) -> dict[str, float]:
    """PSNR in dB and SSIM of reconstructed held-out images; {} for generators without an encoder."""
    if model.generator.encode is None:
        return {}
    examples = held_out.read(np.arange(min(RECONSTRUCTED, held_out.length)))
    originals = examples["image"]
    made = sampling.reconstruct(model.sampler, model.weights, originals,
                                {name: examples[name] for name in model.generator.needs})
    ratios = similarity.psnr(originals, made)
    figures = {"psnr": float(ratios[np.isfinite(ratios)].mean())} if np.isfinite(ratios).any() else {}
    if min(originals.shape[1:3]) > 2 * similarity.REACH:
        figures["ssim"] = float(similarity.ssim(originals, made).mean())
    return figures


# Of two sets of images.

def check_pair(real: pictures.Pictures, fake: pictures.Pictures, space: Space, num: int | None, resamples: int
               ) -> dict[str, object]:
    """The recipe of scores of one set against another; arguments as for `score_pair`.

    Raises:
      MetricsError: images of two sizes, or too few of them.
    """
    if real.shape != fake.shape:
        raise MetricsError(
            f"{real.title} holds images of {_size(real.shape)}, {fake.title} of {_size(fake.shape)}; bring them to one "
            "size and one number of channels first")
    reals, fakes, mark = real.count, fake.count, real.fingerprint
    if num is not None:
        if num < 1 or fake.count < num * resamples:
            raise MetricsError(f"num is {num}, but {fake.title} has {fake.count:,} images, which are not "
                                             f"{resamples} sets of so many; give more, or a smaller num")
        reals, fakes = min(num, real.count), num
        mark = f"{mark}, {reals} of {real.count}"
    for title, count in ((real.title, reals), (fake.title, fakes)):
        metric_scores.check_counts(space.name, space.dims, {title: count})
    return metric_scores.recipe(space, real=reals, fake=fakes, fingerprint=mark)


def score_pair(real: pictures.Pictures, fake: pictures.Pictures, space: Space, *, seed: int = 0,
               resamples: int = metric_scores.RESAMPLES, num: int | None = None) -> Report:
    """Scores of one set of images against another.

    Args:
      real, fake: the sets, of one size.
      space: where features are compared.
      seed: of the subsets and halves that are drawn.
      resamples: random halves of the fakes, or sets of them; at least 3.
      num: None takes all images; a number takes so many real ones, drawn as `evaluate` draws them, and the first
        `resamples` sets of so many fakes, whose scores are averaged.

    Raises:
      MetricsError: images of two sizes, or too few of them.
    """
    recipe = check_pair(real, fake, space, num, resamples)
    about = {"real": real.title, "fake": fake.title, "fake_fingerprint": fake.fingerprint}
    if num is None:
        measured = metric_scores.measure(
            space, features.extract(space, real.batches()), [features.extract(space, fake.batches())], seed=seed,
            resamples=resamples)
        about |= {"seeds": [seed], "spread": f"over {resamples} random halves"}
        return Report(measured, recipe, about, versions())
    rows = np.sort(np.random.default_rng(0).permutation(real.count)[:num])
    chosen = features.extract(space, _rows(real, rows))
    sets = [features.extract(space, _rows(fake, np.arange(k * num, (k + 1) * num))) for k in range(resamples)]
    measured = metric_scores.measure(space, chosen, sets, seed=seed)
    return Report(measured, recipe, {**about, "seeds": [seed], "sets": resamples}, versions())


def _rows(images: pictures.Pictures, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Some images of a set, in ascending order."""
    start = 0
    for batch in images.batches():
        first, last = np.searchsorted(rows, [start, start + len(batch)])
        if first < last:
            yield batch[rows[first:last] - start]
        start += len(batch)


def _size(shape: tuple[int, int, int]) -> str:
    return f"{shape[1]}x{shape[0]} {'gray' if shape[2] == 1 else 'RGB'}"


def dataset_pictures(dataset: data.Dataset, title: str) -> pictures.Pictures:
    """A dataset as images to be scored."""
    return pictures.Pictures(title, dataset.length, specs.image_shape(dataset.spec), fingerprint(dataset),
                             lambda: batches(dataset))
