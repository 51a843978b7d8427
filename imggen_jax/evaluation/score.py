"""Scores of runs and of sets of pictures: which pictures, in which space, with which seeds; the sums are metrics'."""
from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

import imggen_jax
from imggen_jax import data
from imggen_jax.augment import to_float
from imggen_jax.config import Data, Settings
from imggen_jax.errors import MetricsError, RunError
from imggen_jax.evaluation import classifier
from imggen_jax.game import Game, PyTree, Spec
from imggen_jax.metrics import features, pictures, scores, similarity, spaces
from imggen_jax.metrics.features import Space
from imggen_jax.metrics.scores import Report
from imggen_jax.sampling import to_uint8

CLASSIFIER = "classifier"
MOST = 10_000        # pictures, where no number is given
CHUNK = 512          # pictures made at a time
RECONSTRUCTED = 1_000  # held-out pictures, at most

Sampler = Callable[[Sequence[int]], np.ndarray]  # seeds -> uint8 [n,S,S,C]


# Of a run.

def space_of(name: str, wanted: Data) -> Space:
    """A feature space for a run's pictures: its dataset's classifier, or one from a weight file.

    Raises:
      DataError, MetricsError: there is none.
    """
    if name != CLASSIFIER:
        return spaces.load(name)
    return classifier.obtain(name=wanted.name, split=wanted.split, test=wanted.test, dir=wanted.dir,
                             size=wanted.size).space


class Reference:
    """Real pictures in a feature space: computed once, compared with as often as wished."""

    def __init__(self, space: Space, train_set: data.Dataset | data.Streamed, title: str, num: int):
        """num: real pictures to compare with, drawn without repetition; all, where there are fewer."""
        total = train_set.shape[0]
        count = min(num, total)
        rows = np.sort(np.random.default_rng(0).permutation(total)[:count])
        scores.check_counts(space.name, space.dims, {f"the dataset ({title})": count, "what is to be generated": num})
        self.space, self.count, self.title = space, count, title
        self.fingerprint = f"{train_set.fingerprint}, {count} of {total}"
        self.features = features.extract(space, chunks(train_set, rows))

    def score(self, sample: Sampler, *, num: int, seed: int, resamples: int) -> tuple[Mapping, Mapping]:
        """({score: Score}, recipe) of `resamples` sets of `num` pictures, from seeds seed, seed + 1, ..."""
        made = [features.extract(self.space, _made(sample, range(start, start + num)))
                for start in range(seed, seed + resamples * num, num)]
        return (scores.measure(self.space, self.features, made),
                scores.recipe(self.space, real=self.count, fake=num, fingerprint=self.fingerprint))


def chunks(dataset: data.Dataset | data.Streamed, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Pictures of a dataset, those of `rows` or all, uint8 [n,S,S,C] with n at most CHUNK."""
    rows = np.arange(dataset.shape[0]) if rows is None else rows
    for start in range(0, len(rows), CHUNK):
        yield dataset.read(rows[start:start + CHUNK])[0]


def _made(sample: Sampler, seeds: range) -> Iterator[np.ndarray]:
    for start in range(0, len(seeds), CHUNK):
        yield sample(seeds[start:start + CHUNK])


def versions() -> dict[str, str]:
    return {"imggen_jax": imggen_jax.__version__, "jax": jax.__version__}


def score_run(reference: Reference, sample: Sampler, *, num: int, seed: int, resamples: int, about: Mapping) -> Report:
    """Scores of a generator.

    Args:
      reference: the real pictures.
      sample: makes pictures from seeds.
      num: pictures in a set.
      seed: of the first picture.
      resamples: sets, at least 3; each from seeds of its own.
      about: what else to store with the scores, such as the step.
    """
    found, recipe = reference.score(sample, num=num, seed=seed, resamples=resamples)
    seeds = [[start, start + num - 1] for start in range(seed, seed + resamples * num, num)]
    return Report(found, recipe, {"real": reference.title, "seeds": seeds, "sets": resamples, **about}, versions())


def reconstruction(game: Game, spec: Spec, weights: PyTree, held_out: data.Dataset | data.Streamed) -> dict[str, float]:
    """PSNR in dB and SSIM of reconstructed held-out pictures; {} for games that encode by optimisation."""
    if game.generator is None or game.evaluate is None:
        return {}

    @jax.jit
    def again(weights, images, condition):
        z = game.generator.encode(weights, to_float(images), condition)
        return to_uint8(game.generator.decode(weights, z, condition))

    originals, labels = held_out.read(np.arange(min(RECONSTRUCTED, held_out.shape[0])))
    labels = labels if spec.classes else None
    size = 100
    made = []
    for start in range(0, len(originals), size):
        rows = np.arange(start, start + size) % len(originals)
        images = again(weights, originals[rows], None if labels is None else labels[rows])
        made.append(np.asarray(images)[:len(originals) - start])
    made = np.concatenate(made)
    ratios = similarity.psnr(originals, made)
    found = {"psnr": float(ratios[np.isfinite(ratios)].mean())} if np.isfinite(ratios).any() else {}
    if spec.size > 2 * similarity.REACH:
        found["ssim"] = float(similarity.ssim(originals, made).mean())
    return found


# During training.

class Watch:
    """Scores in the course of a run that take at most a share of its time; each is stored in scores/.

    The share is of the time since the run was started or taken up, without the training of a classifier.
    """

    def __init__(self, settings: Settings, train_set: data.Dataset | data.Streamed, sample: Callable, workdir: Path):
        """sample: (weights, seeds) -> pictures. What needs no round of training is computed now."""
        wanted = settings.score
        self.num, self.share, self.sample, self.workdir = wanted.num, wanted.share, sample, workdir
        space = space_of(wanted.space, settings.data)
        self.began = time.monotonic()
        self.reference = Reference(space, train_set, f"{settings.data.name}, {settings.data.split}", wanted.num)
        self.spent = time.monotonic() - self.began
        # Seconds that one scoring takes; before the first one, the features of as many pictures tell about how many.
        self.longest = scores.RESAMPLES * self.spent

    def due(self) -> bool:
        """Whether another one, as long as the longest, leaves the share unbroken."""
        elapsed = time.monotonic() - self.began
        return self.spent + self.longest <= self.share * (elapsed + self.longest)

    def __call__(self, weights: PyTree, *, step: int, images: int) -> dict[str, float]:
        """{"score/<name>": value}; {} where it would take more than its share of the run's time."""
        if not self.due():
            return {}
        start = time.monotonic()
        report = score_run(self.reference, lambda seeds: self.sample(weights, seeds), num=self.num, seed=0,
                           resamples=scores.RESAMPLES, about={"step": step, "images": images})
        store(self.workdir, stem(report), report.as_dict(), images)
        took = time.monotonic() - start
        self.spent, self.longest = self.spent + took, max(self.longest, took)
        return {f"score/{name}": score.value for name, score in report.scores.items()}


def stem(report: Report) -> str:
    """What a run's report is called: everything that its values depend on, but for the weights, is in the name."""
    (first, last), *_ = report.pictures["seeds"]
    return f"{report.recipe['space']}_{last - first + 1}x{report.pictures['sets']}_seed{first}"


def store(workdir: Path, stem: str, content: Mapping, images: int) -> Path:
    """Write JSON as workdir/scores/<stem>_<images seen, 9 digits>.json; whole or not at all."""
    name = f"{stem}_{images:09d}.json"
    path = workdir / "scores" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{name}.{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(part, path)
    return path


def read_report(path: str | Path) -> Report:
    """A stored report. Raises MetricsError where there is none."""
    try:
        return scores.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise MetricsError(f"{path} cannot be read as a report of scores ({error})") from error


# Of two sets of pictures.

def open_pictures(what: str, *, dir: str) -> pictures.Pictures:
    """A folder, a .npz file, or a TFDS dataset "name[/config][:version][@split]", the split being train unless named.

    Raises:
      MetricsError, DataError: it is not there, or not fit to be scored.
    """
    if Path(what).exists() or what.endswith(".npz") or os.sep in what and not re.match(r"\w[\w.-]*/\w", what):
        return pictures.read(what)
    name, _, split = what.partition("@")
    found = data.open_dataset(name=name, split=split or "train", dir=dir, size=0, label="", memory="auto")
    return pictures.Pictures(what, found.shape[0], tuple(found.shape[1:]), found.fingerprint, lambda: chunks(found))


def score_pictures(real: pictures.Pictures, fake: pictures.Pictures, space: Space, *, seed: int = 0,
                   resamples: int = scores.RESAMPLES) -> Report:
    """Scores of one set of pictures against another.

    Raises:
      MetricsError: pictures of two sizes, or too few of them.
    """
    if real.shape != fake.shape:
        raise MetricsError(f"{real.title} holds pictures of {_says(real.shape)}, {fake.title} of {_says(fake.shape)}; "
                           "bring them to one size and one number of channels first")
    scores.check_counts(space.name, space.dims, {real.title: real.count, fake.title: fake.count})
    found = scores.measure(space, features.extract(space, real.batches()), [features.extract(space, fake.batches())],
                           seed=seed, resamples=resamples)
    recipe = scores.recipe(space, real=real.count, fake=fake.count, fingerprint=real.fingerprint)
    about = {"real": real.title, "fake": fake.title, "fake_fingerprint": fake.fingerprint, "seeds": [seed],
             "spread": f"over {resamples} random halves"}
    return Report(found, recipe, about, versions())


def _says(shape: tuple[int, int, int]) -> str:
    return f"{shape[1]}x{shape[0]} {'grey' if shape[2] == 1 else 'RGB'}"


def classifier_of(real: str, *, dir: str) -> Space:
    """The classifier space for a comparison whose real pictures are a TFDS dataset with labels.

    Raises:
      RunError: they are a folder or a file, which has no labels to learn.
    """
    if Path(real).exists():
        raise RunError(f"the feature space classifier is trained on labels, and {real} has none; name a TFDS dataset "
                       f"with labels for --real, or choose another --space ({', '.join(spaces.NAMES)})")
    name, _, split = real.partition("@")
    return classifier.obtain(name=name, split=split or "train", test="", dir=dir, size=0).space
