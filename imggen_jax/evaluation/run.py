"""Evaluate a trained model, or compare two sets of images: check all that is cheap, compute, store."""
from __future__ import annotations

import hashlib
import importlib
import numbers
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from imggen_jax.config import Settings
from imggen_jax.errors import RunError
from imggen_jax.evaluation import EVALUATORS, classifier, inputs, scores, store
from imggen_jax.evaluation.context import Context, Terms, fingerprint, image_shape, require_classifier
from imggen_jax.metrics import scores as metric_scores
from imggen_jax.metrics import spaces
from imggen_jax.metrics.pictures import Pictures
from imggen_jax.metrics.scores import Report
from imggen_jax.model import MOST_SEEDS, Model
from imggen_jax.storage.files import given_path
from imggen_jax.training.dataset import of_run, open_split, transformed

CHANGED = "changed_data"  # key under which results say that the data are not those of the training


def evaluate(model: Model | str | os.PathLike, *, num: int | None = None, space: str = scores.CLASSIFIER, seed: int = 0,
             resamples: int = 3, also: Sequence[str] = (), only: Sequence[str] = (), samples: int = 500, out=None,
             against=None, allow_changed: bool = False, where: str = "") -> dict:
    """Evaluate a trained generator on the data that it was trained on. All that is cheap is checked first.

    Args:
      model: the folder of a run, or a loaded model.
      num: images in each set, and at most as many real ones; None for 10,000, or all where there are fewer.
      space: feature space of the scores: "classifier", or one of metrics.spaces.NAMES.
      seed: of the first image; the sets take seed, seed + 1, ...
      resamples: sets, at least 3; a score is the mean over them, with their standard deviation, and so are the results
        of "modes" and "copying".
      also: evaluators to run beside the scores, of `evaluation.EVALUATORS`.
      only: evaluators to run without the scores, which need more images than the space has dimensions.
      samples: for "likelihood", latents for each image.
      out: folder for reports, pages and charts; None for scores/ in the run's folder, and for nowhere with a loaded
        model. What cannot be written there is returned all the same, and a note on stderr says so.
      against: path of a stored report, of the same recipe, to subtract.
      where: where the dataset is now, if it was moved: a TFDS data_dir, or a folder, zip or tar of images.
      allow_changed: evaluate although the images are not those that the run was trained on; the results say so.

    Returns:
      JSON: scores, recipe, pictures, versions, and figures of held-out examples, unless `only` is given; an entry for
      each evaluator; and `difference`, with `against`.

    Raises:
      RunError, DataError, MetricsError: it cannot be done, and why.
    """
    _check_whole(num=num, seed=seed, resamples=resamples, samples=samples)
    spaces.check_there(space)
    metric_scores.check_resamples(resamples)
    evaluators = _evaluators(also, only, against)
    other = store.read_report(against) if against is not None else None
    model, workdir = inputs.open_model(model)
    folder = given_path(out, "the reports") if out is not None else workdir and workdir / "scores"
    context, changes = _context(model, workdir, allow_changed, where, dict(
        num=num, seed=seed, resamples=resamples, samples=samples, space=space, out=folder))
    reference = None if only else _reference(context, other)
    for module in evaluators.values():
        module.check(context)
    if out is not None and context.terms.out is not None:
        store.check_folder(context.terms.out)

    origin = {"workdir": str(workdir)} if workdir else {}
    about = {**origin, "step": model.step, "images": model.images_seen, **changes}
    results = {"pictures": about, "versions": scores.versions()}
    if reference is not None:
        results = _scored(context, reference, other, about)
    for name, module in evaluators.items():
        results[name] = _result(module, context)
        metric_scores.check_finite(results[name], name)
        _store(context, _stem(name, module, context.terms), changes,
               {"pictures": about, "versions": scores.versions(), name: results[name]})
    return results


def _check_whole(**values) -> None:
    """Raises RunError for a number that is neither whole nor None."""
    for name, value in values.items():
        if value is not None and (not isinstance(value, numbers.Integral) or isinstance(value, bool)):
            raise RunError(f"{name} is {value!r}; it must be a whole number")


def _evaluators(also: Sequence[str], only: Sequence[str], against) -> dict[str, ModuleType]:
    """{name: module}, in the order asked for."""
    for name, value in (("also", also), ("only", only)):
        if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
            one = value if isinstance(value, str) else "likelihood"
            raise RunError(f"{name} is {value!r:.100}; give a list of evaluators, as in {name}=[{one!r}]")
    if (also or against is not None) and only:
        raise RunError("evaluators run either beside the scores or without them; give also or only, and a report to "
                       "compare with beside scores alone")
    if unknown := [name for name in (*also, *only) if name not in EVALUATORS]:
        raise RunError(f"unknown evaluator {unknown[0]!r}; choose from {', '.join(EVALUATORS)}")
    return {name: importlib.import_module(f"imggen_jax.evaluation.{name}") for name in (*also, *only)}


def _context(model: Model, workdir: Path | None, allow_changed: bool, where: str, terms: dict) -> tuple[Context, dict]:
    """What evaluators are given, and what of the data has changed since the training.

    Raises:
      RunError, DataError: a classifier, no data, other data, or numbers out of range.
    """
    model.generator  # a classifier has none
    settings = of_run(model.config, model.data, where)
    train_set = open_split(settings, settings.data.split)
    test_set = open_split(settings, settings.data.test) if settings.data.test else None
    num = min(inputs.MOST, train_set.length) if terms["num"] is None else terms["num"]
    if num < 2 or terms["seed"] < 0 or terms["seed"] + num * terms["resamples"] > MOST_SEEDS:
        raise RunError(f"num is {num} and seed {terms['seed']}; {terms['resamples']} sets of at least 2 images have "
                       f"seeds from 0 to {MOST_SEEDS - 1}")
    changes = _changes(model, settings, train_set, test_set, allow_changed)
    test_set = test_set and transformed(settings, test_set)
    train_set = transformed(settings, train_set)
    return Context(model, settings, train_set, test_set, Terms(**{**terms, "num": int(num)})), changes


def _changes(model: Model, settings: Settings, train_set, test_set, allow_changed: bool) -> dict:
    """{} for the data of the training; else under CHANGED the fingerprints, after a warning on stderr.

    Raises:
      RunError: they are others and that was not allowed.
    """
    facts = model.data
    sets = {"fingerprint": train_set, "held_out_fingerprint": test_set}
    changed = {name: {"of_the_training": facts[name], "now": each.fingerprint} for name, each in sets.items()
               if facts and each is not None and facts.get(name) and facts[name] != each.fingerprint}
    if not changed:
        return {}
    where = settings.data.folder or settings.data.name
    which = "held-out examples" if "fingerprint" not in changed else "examples"
    message = f"the {which} of {where!r} are not those that the model was trained with"
    if not allow_changed:
        raise RunError(f"{message}, so that what is held out may not be; put the dataset back, or evaluate on what is "
                       "there now with --changed-data (allow_changed=True), which the results will say")
    print(f"warning: {message}; the results say so", file=sys.stderr, flush=True)
    return {CHANGED: changed}


def _reference(context: Context, other: Report | None) -> scores.Reference:
    """The real images of the scores, after all checks that need no network."""
    terms, settings = context.terms, context.settings
    image_shape(context.model.spec)
    if terms.space == scores.CLASSIFIER:
        require_classifier(context, "the feature space classifier", "; choose another --space")
    reference = scores.Reference(context.train_set, f"{settings.data.name}, {settings.data.split}", terms.num)
    outline = scores.outline(terms.space, other.recipe.get("weights_sha256", "") if other else "")
    scores.check_comparable(reference.check(outline), other)
    return reference


def _scored(context: Context, reference: scores.Reference, other: Report | None, about: Mapping) -> dict:
    """Scores, held-out figures, and the difference to another report; stored."""
    model, terms = context.model, context.terms
    space = scores.load_space(terms.space, context.settings)
    scores.check_comparable(reference.check(space), other)
    report = reference.score(space, scores.sample_of(model, context.train_set), seed=terms.seed,
                             resamples=terms.resamples, about=about)
    results = report.as_dict() | {"figures": scores.held_out_figures(context)}
    metric_scores.check_finite(results["figures"])
    _store(context, scores.stem(report), about, results)
    return results | _difference(report, other)


def _result(module: ModuleType, context: Context) -> dict:
    """What an evaluator returns, and under "recipe" all that it depends on beside the model."""
    results, terms = module.evaluate(context), context.terms
    recipe = {"num": terms.num, "seed": terms.seed, "train_fingerprint": fingerprint(context.train_set),
              "held_out_fingerprint": fingerprint(context.test_set) if context.test_set is not None else None}
    return {**results, "recipe": recipe | results.get("recipe", {})}


def _stem(name: str, module: ModuleType, terms: Terms) -> str:
    """The name of a stored result: everything that it depends on beside the model is in it."""
    more = f"_{module.stem(terms)}" if hasattr(module, "stem") else ""
    return f"{name}_{terms.num}x{terms.resamples}_seed{terms.seed}{more}"


def _store(context: Context, stem: str, about: Mapping, content: Mapping) -> None:
    marked = f"{stem}_changed-data" if CHANGED in about else stem
    store.write(context.terms.out, marked, content, context.model.images_seen)


def compare(real, fake, *, dir: str = "", space: str = scores.CLASSIFIER, held_out: str = "", num: int | None = None,
            seed: int = 0, resamples: int = 3, against=None, out=None) -> dict:
    """Scores of one set of images against another. All that is cheap is checked first.

    Args:
      real, fake: the sets, of one size: arrays uint8 [n,H,W,C], iterables of images or batches, folders, .npz files,
        TFDS datasets "NAME[@SPLIT]", `data.Dataset`s, models or the folders of runs.
      dir: TFDS data_dir; "" for TFDS's own.
      space: as for `evaluate`; "classifier" needs the name of a TFDS dataset with labels as `real`.
      held_out: split of `real` on which the classifier's accuracy is measured; "" takes the last 5% of its split.
      num: None compares all images, and takes the spread over random halves of the fakes. A number compares as
        `evaluate` does: that many real images against `resamples` sets of that many fakes.
      seed: of what is drawn, and of the first image of a model.
      resamples: random halves, or sets; at least 3.
      against: path of a stored report, of the same recipe, to subtract.
      out: folder to store the report in; None for nowhere.

    Returns:
      JSON: scores, recipe, pictures, versions; and `difference`, with `against`.

    Raises:
      RunError, DataError, MetricsError: it cannot be done, and why.
    """
    _check_whole(num=num, seed=seed, resamples=resamples)
    spaces.check_there(space)
    metric_scores.check_resamples(resamples)
    other = store.read_report(against) if against is not None else None
    if space == scores.CLASSIFIER:
        _check_named(real)
    first, second = (inputs.open_images(what, title, dir=dir, seed=seed, num=num and num * resamples)
                     for what, title in ((real, "the set of real images"), (fake, "the set of fake images")))
    _check_pair(first, second, space, num, resamples, other)
    if out is not None:
        store.check_folder(given_path(out, "the report"))
    if space == scores.CLASSIFIER:
        name, split = inputs.split_name(str(real))
        network = classifier.dataset_classifier(name=name, split=split, held_out=held_out, dir=dir, size=0).space
    else:
        network = spaces.load(space)
    scores.check_comparable(scores.check_pair(first, second, network, num, resamples), other)
    report = scores.score_pair(first, second, network, seed=seed, resamples=resamples, num=num)
    if out is not None:
        both = hashlib.sha256(f"{first.fingerprint} {second.fingerprint}".encode()).hexdigest()
        store.write(Path(out).expanduser(),
                    f"compare_{space}_{report.recipe['fake']}_seed{seed}_{both[:12]}", report.as_dict())
    return report.as_dict() | _difference(report, other)


def _check_named(real) -> None:
    """Raises RunError unless it is the name of a dataset, whose labels a classifier can learn."""
    if not isinstance(real, str) or inputs.is_path(real):
        what = str(real) if isinstance(real, (str, os.PathLike)) else "the set of real images"
        raise RunError(f"the feature space classifier is trained on labels, and {what} has none; name a TFDS dataset "
                       f"with labels for --real, or choose another --space ({', '.join(spaces.NAMES)})")


def _check_pair(real: Pictures, fake: Pictures, space: str, num: int | None, resamples: int, other: Report | None
                ) -> None:
    """All checks that need no network."""
    outline = scores.outline(space, other.recipe.get("weights_sha256", "") if other else "")
    scores.check_comparable(scores.check_pair(real, fake, outline, num, resamples), other)


def _difference(report: Report, other: Report | None) -> dict:
    if other is None:
        return {}
    return {"difference": {name: {"value": value, "deviation": deviation}
                           for name, (value, deviation) in metric_scores.compare(report, other).items()}}


def score_table(results: Mapping) -> str:
    """Results of `evaluate` or `compare` as text, one a line."""
    lines = [metric_scores.table(metric_scores.from_dict(results))] if "scores" in results else []
    if CHANGED in results["pictures"]:
        lines.append("warning   the data are not those that the run was trained with")
    if results.get("difference"):
        lines.append("difference to the other report:")
        lines += [f"  {metric_scores.TABLE[name][0]:<16}{each['value']:>+12.5g}  +-{each['deviation']:.2g}"
                  for name, each in results["difference"].items()]
    for name in ("figures", *EVALUATORS):
        for key, value in (results.get(name) or {}).items():
            if not isinstance(value, (dict, list)):
                shown = f"{value:.5g}" if isinstance(value, float) else value
                lines.append(f"{name if name != 'figures' else 'held-out'}: {key} {shown}")
    return "\n".join(lines)
