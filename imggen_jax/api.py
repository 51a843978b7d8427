"""Verbs as functions: train, load, generate, evaluate, compare, describe; `data` has prepare and ingest."""
from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from imggen_jax.augment import to_float
from imggen_jax.config import check
from imggen_jax.errors import RunError
from imggen_jax.game import Game, PyTree, Spec
from imggen_jax.pictures import grids
from imggen_jax.provenance import records
from imggen_jax.sampling import sampler, seed_range, to_uint8
from imggen_jax.storage import checkpoint
from imggen_jax.training.build import parameter_counts
from imggen_jax.training.saved import open_run
from imggen_jax.training.train import ingested, train

__all__ = ["Model", "RunError", "compare", "describe", "evaluate", "generate", "load", "train"]


class Model(NamedTuple):
    """A trained generator, or classifier. Images are NumPy, uint8 [n,S,S,C]; labels are integers in [0, classes)."""

    config: Mapping
    spec: Spec
    label_names: tuple[str, ...]
    step: int                    # rounds trained
    state: PyTree                # the whole training state, as NumPy arrays
    game: Game
    functions: Mapping[str, Callable]

    @property
    def weights(self) -> PyTree:
        """The averaged parameters, which pictures are made from."""
        return self.state.average

    @property
    def images(self) -> int:
        """Images seen in training."""
        return self.step * self.config["train"]["batch"]

    def sample(self, num: int, *, seed: int = 0, label: int | str | None = None, truncation: float = 1.0) -> np.ndarray:
        """New pictures: number k is made from seed + k, and is the same whatever `num`.

        Args:
          num: how many.
          seed: of the first one, 0 to 2^32-1.
          label: condition for all of them, a number or a name; None draws one for each from its seed.
          truncation: factor on the latents, 0 to 1 for less variety and fewer failures.

        Returns:
          uint8 [num,S,S,C]

        Raises:
          RunError: a number, seed, label or truncation out of range.
        """
        if not (truncation >= 0 and math.isfinite(truncation)):
            raise RunError(f"truncation is {truncation}; it must be a number from 0 up, as a rule at most 1")
        if num < 1:
            raise RunError(f"num is {num}; it must be at least 1")
        if not 0 <= seed <= 2**32 - num:
            raise RunError(f"seed is {seed}; for {num} pictures it must be from 0 to {2**32 - num}")
        seeds = seed_range(seed, num)
        number = self.label_number(label)
        labels = None if number is None else np.full(num, number)
        return self._function("sample")(self.weights, seeds, labels, truncation)

    def encode(self, images: np.ndarray, labels: Sequence[int] | None = None) -> PyTree:
        """Latents of pictures; for a GAN found by optimisation.

        Args:
          images: uint8 [n,S,S,C].
          labels: int [n], for a class-conditional model only.

        Returns:
          z, float32 NumPy arrays whose first axis is n.

        Raises:
          RunError: images or labels that this model cannot take.
        """
        images = self.check_images(images)
        z = self._function("encode")(self.weights, images, self.condition(labels, len(images)))
        return jax.tree.map(np.asarray, z)

    def decode(self, z: PyTree, labels: Sequence[int] | None = None) -> np.ndarray:
        """Pictures of latents: uint8 [n,S,S,C].

        Raises:
          RunError: latents or labels that this model cannot take.
        """
        number = self._latents(z)
        return np.asarray(self._function("decode")(self.weights, z, self.condition(labels, number)))

    def reconstruct(self, images: np.ndarray, labels: Sequence[int] | None = None) -> np.ndarray:
        """decode(encode(images)): uint8 [n,S,S,C]."""
        return self.decode(self.encode(images, labels), labels)

    def classify(self, images: np.ndarray) -> np.ndarray:
        """What a classifier takes pictures for: int [n], the likeliest label of each.

        Args:
          images: uint8 [n,S,S,C].

        Raises:
          RunError: images that this model cannot take, or a model that is no classifier.
        """
        classify = self._function("classify")
        return np.asarray(classify(self.weights, self.check_images(images)))

    def _function(self, name: str) -> Callable:
        if name not in self.functions:
            does, not_ = ("names pictures", "make") if self.game.generator is None else ("makes pictures", "name")
            raise RunError(f"this model {does} and cannot {not_} them; load another run")
        return self.functions[name]

    def label_number(self, label: int | str | None) -> int | None:
        """A label as its number.

        Raises:
          RunError: there is no such label, or the model knows none.
        """
        if label is None:
            return None
        if not self.spec.classes:
            raise RunError(f"label {label!r}: this model was trained without labels")
        if str(label) in self.label_names:
            return self.label_names.index(str(label))
        if str(label).isdecimal() and int(label) < self.spec.classes:
            return int(label)
        known = ", ".join(self.label_names) if 0 < len(self.label_names) <= 20 else f"0 to {self.spec.classes - 1}"
        raise RunError(f"label {label!r} is out of range; known are {known}")

    def check_images(self, images: np.ndarray) -> np.ndarray:
        """The images, if they are uint8 [n,S,S,C] as this model takes them; else a RunError."""
        images, wanted = np.asarray(images), (self.spec.size, self.spec.size, self.spec.channels)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != wanted or not len(images):
            raise RunError(f"images are {images.dtype} {images.shape}; this model takes uint8 (n, {wanted[0]}, "
                           f"{wanted[1]}, {wanted[2]}) with n > 0")
        return images

    def _latents(self, z: PyTree) -> int:
        """How many there are, after a check of their shapes."""
        leaves, structure = jax.tree.flatten(z)
        number = len(leaves[0]) if leaves and np.ndim(leaves[0]) else 0
        wanted = jax.eval_shape(lambda: self.game.generator.prior(jax.random.key(0), number))
        shapes = [leaf.shape for leaf in jax.tree.leaves(wanted)]
        if not number or structure != jax.tree.structure(wanted) or [np.shape(leaf) for leaf in leaves] != shapes:
            raise RunError(f"latents are {[np.shape(leaf) for leaf in leaves]}; this model takes {shapes}, with the "
                           "number of pictures, above 0, first")
        return number

    def condition(self, labels: Sequence[int] | None, number: int) -> np.ndarray | None:
        """Labels as decode and encode take them: int32 [number], or None where the model has no classes.

        Raises:
          RunError: they are missing, too many or few, unknown, or given to a model without classes.
        """
        if not self.spec.classes:
            if labels is not None:
                raise RunError("labels are given, but this model was trained without labels")
            return None
        if labels is None or len(labels) != number:
            raise RunError(f"this model is class-conditional: give {number} labels, one for each picture")
        return np.array([self.label_number(label) for label in labels], np.int32)


def load(workdir: str | os.PathLike) -> Model:
    """The newest checkpoint of a run; one that is damaged is named on stderr, and the one before it is loaded.

    Nothing on disk is changed: the run may be training at this moment.

    Raises:
      RunError: there is no run, nothing has been saved yet, or a file of it is damaged beyond that.
    """
    run = open_run(Path(workdir))
    return Model(run.config, run.spec, run.label_names, run.step, run.state, run.built.game,
                 _functions(run.built.game, run.spec))


@functools.lru_cache(maxsize=32)
def _functions(game: Game, spec: Spec) -> Mapping[str, Callable]:
    """What a model can do, compiled on first use, once for all runs of one game."""
    generator, classifier = game.generator, game.classifier

    def encode(weights, images, condition):
        return generator.encode(weights, to_float(images), condition)

    def decode(weights, z, condition):
        return to_uint8(generator.decode(weights, z, condition))

    def classify(weights, images):
        return classifier.logits(weights, to_float(images))[0].argmax(-1)

    functions = {"classify": jax.jit(classify)} if classifier else {}
    if generator:
        functions |= {"sample": sampler(generator, spec), "encode": jax.jit(encode), "decode": jax.jit(decode)}
    return MappingProxyType(functions)


def generate(workdir, out, *, num: int, seed: int = 0, label: int | str | None = None, truncation: float = 1.0) -> Path:
    """Write pictures of a run: out/<seed of the picture, 6 digits>.png, and out/grid.png with all of them.

    Returns:
      The path of the grid.

    Raises:
      RunError: the run cannot be loaded, cannot give what is asked for, or `out` cannot be written to.
    """
    model = load(workdir)
    images = model.sample(num, seed=seed, label=label, truncation=truncation)
    weights, out = checkpoint.fingerprint(model.weights), Path(out)
    families = [records.Family(records.Record(
        "generate", Path(workdir).resolve().name, weights, b"", model.label_number(label), 0,
        {"seed": number, "truncation": truncation}, ()), {}) for number in seed_range(seed, num)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number, image, family in zip(seed_range(seed, num), images, families, strict=True):
            grids.write_png(out / f"{number:06d}.png", image, records.png_info(family))
        grids.write_png(out / "grid.png", grids.grid(images), records.png_info(records.sheet(families)))
    except OSError as error:
        raise RunError(f"cannot write pictures to {out} ({error.strerror or error}); choose another folder") from error
    return out / "grid.png"


ALSO = ("likelihood", "usefulness", "modes", "copying", "balance")


def evaluate(workdir, *, num: int | None = None, space: str = "classifier", seed: int = 0, resamples: int = 3,
             also: Sequence[str] = (), only: Sequence[str] = (), samples: int = 500, out=None, against=None) -> dict:
    """Scores of a trained run against its training pictures; these and all answers are stored in workdir/scores too.

    Args:
      workdir: of the run.
      num: pictures in each set, and at most as many real ones; None for 10,000, or all where there are fewer.
      space: "classifier", or one of metrics.spaces.NAMES.
      seed: of the first picture; the sets take seed, seed + 1, ...
      resamples: sets, at least 3; a score is the mean over them, with their standard deviation, and so are the answers
        to "modes" and "copying".
      also: further questions, of ALSO.
      only: the same, without the scores, which need more pictures than the space has dimensions.
      samples: for "likelihood", samples a picture.
      out: folder for pages and charts; None for workdir/scores.
      against: path of a stored report to compare with; of the same recipe.

    Returns:
      JSON: scores, recipe, pictures, versions, and figures of held-out pictures, where the game has some, unless `only`
      is given; one entry for each question; and `difference`, with `against`.

    Raises:
      RunError, DataError, MetricsError: it cannot be done, and why.
    """
    from imggen_jax.evaluation import questions, score
    from imggen_jax.metrics import scores, spaces

    spaces.check_there(space)
    scores.check_resamples(resamples)
    model = load(workdir)
    if model.game.generator is None:
        raise RunError(f"{workdir} trained a classifier, which makes no pictures to be scored")
    if (also or against is not None) and only:
        raise RunError("questions are asked either beside the scores or without them; give also or only, and a report "
                       "to compare with beside scores alone")
    asked = (*also, *only)
    if unknown := set(asked) - set(ALSO):
        raise RunError(f"unknown question {min(unknown)!r}; choose from {', '.join(ALSO)}")
    settings = ingested(check(model.config))
    other = score.read_report(against) if against is not None else None
    sets = questions.datasets(settings.data)
    num = min(score.MOST, sets[0].shape[0]) if num is None else num
    if num < 2 or seed < 0 or seed + num * resamples > 2**32:
        raise RunError(f"num is {num} and seed {seed}; {resamples} sets of at least 2 pictures have seeds from 0 to "
                       f"{2**32 - 1}")
    terms = questions.Terms(num, seed, resamples, samples, space, Path(out or Path(workdir) / "scores"))
    questions.check(asked, model, settings.data, sets[1], terms)
    about = {"workdir": str(workdir), "step": model.step, "images": model.images}
    found = {"pictures": about, "versions": score.versions()}
    if not only:
        report = _scores(model, settings, sets[0], terms, about)
        found = report.as_dict() | {"figures": questions.figures(model, settings, sets[1])}
        scores.check_finite(found["figures"])
        score.store(Path(workdir), score.stem(report), found, model.images)
        found |= _difference(report, other)
    for name in asked:
        answer = questions.answer(name, model, settings, *sets, terms)
        scores.check_finite(answer, name)
        score.store(Path(workdir), questions.stem(name, terms),
                    {"pictures": about, "versions": score.versions(), name: answer}, model.images)
        found[name] = answer
    return found


def _scores(model: Model, settings, train_set, terms, about: Mapping):
    """The report of a run's scores."""
    from imggen_jax.evaluation import score

    title = f"{settings.data.name}, {settings.data.split}"
    reference = score.Reference(score.space_of(terms.space, settings.data), train_set, title, terms.num)

    def sample(seeds):
        return model.functions["sample"](model.weights, seeds)

    return score.score_run(reference, sample, num=terms.num, seed=terms.seed, resamples=terms.resamples, about=about)


def compare(real, fake, *, dir: str = "", space: str = "classifier", seed: int = 0, resamples: int = 3,
            against=None) -> dict:
    """Scores of one set of pictures against another: folders, .npz files, or TFDS datasets "NAME[@SPLIT]".

    Args:
      real, fake: the two sets, of one size.
      dir: TFDS data_dir; "" for TFDS's own.
      space, against: as for `evaluate`; "classifier" needs a TFDS dataset with labels as `real`.
      seed: of what is drawn.
      resamples: random halves of the fakes, whose spread is told; at least 3.

    Returns:
      JSON: scores, recipe, pictures, versions; and `difference`, with `against`.

    Raises:
      RunError, DataError, MetricsError: it cannot be done, and why.
    """
    from imggen_jax.evaluation import score
    from imggen_jax.metrics import scores, spaces

    spaces.check_there(space)
    scores.check_resamples(resamples)
    other = score.read_report(against) if against is not None else None
    sets = [score.open_pictures(str(what), dir=dir) for what in (real, fake)]
    network = score.classifier_of(str(real), dir=dir) if space == score.CLASSIFIER else spaces.load(space)
    report = score.score_pictures(*sets, network, seed=seed, resamples=resamples)
    return report.as_dict() | _difference(report, other)


def _difference(report, other) -> dict:
    if other is None:
        return {}
    from imggen_jax.metrics import scores

    return {"difference": {name: {"value": value, "deviation": deviation}
                           for name, (value, deviation) in scores.compare(report, other).items()}}


def score_table(found: Mapping) -> str:
    """What `evaluate` or `compare` gave, for people."""
    from imggen_jax.metrics import scores

    lines = [scores.table(scores.from_dict(found))] if "scores" in found else []
    if found.get("difference"):
        lines.append("difference to the other report:")
        lines += [f"  {scores.TABLE[name][0]:<16}{each['value']:>+12.5g}  +-{each['deviation']:.2g}"
                  for name, each in found["difference"].items()]
    for name in ("figures", *ALSO):
        for key, value in (found.get(name) or {}).items():
            if not isinstance(value, (dict, list)):
                shown = f"{value:.5g}" if isinstance(value, float) else value
                lines.append(f"{name if name != 'figures' else 'held-out'}: {key} {shown}")
    return "\n".join(lines)


def describe(workdir) -> dict:
    """Facts of a run: step, images, parameters per player, sha256 over the whole training state, config."""
    model = load(workdir)
    return {
        "step": model.step,
        "images": model.images,
        "parameters": parameter_counts(model.state.params),
        "sha256": checkpoint.fingerprint(model.state),
        "config": model.config,
    }
