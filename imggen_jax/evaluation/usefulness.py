"""Whether generated images are of use to learn from: the classification accuracy score.

The accuracy on real held-out images of a classifier that was trained on generated ones alone (Ravuri and Vinyals, arXiv
1905.10887), beside that of the dataset's own classifier, which was trained on the real ones.
"""
from __future__ import annotations

import numpy as np

from imggen_jax.errors import RunError
from imggen_jax.evaluation import classifier
from imggen_jax.evaluation.context import Context, batches, generate, labeller, require_classifier, require_held_out
from imggen_jax.game import make_spec


def check(context: Context) -> None:
    """Raises RunError for a run that is not class-conditional, has no held-out images, or whose data have no labels."""
    require_held_out(context, "usefulness")
    if "label" not in context.model.generator.needs:
        raise RunError("usefulness needs generated images with labels; this run is not class-conditional")
    require_classifier(context, "usefulness")


def evaluate(context: Context) -> dict:
    """accuracy_from_generated, its standard error over held-out images, and accuracy_from_real; shares, 0 to 1."""
    model, terms, test_set = context.model, context.terms, require_held_out(context, "usefulness")
    field = model.spec["label"]
    labels = np.arange(terms.num, dtype=np.int32) % field.classes
    images = generate(context, terms.num, terms.seed, given={"label": labels})
    spec = make_spec(image=model.spec["image"], label=field)
    weights = classifier.train_classifier(
        spec, lambda rows: {"image": images[rows], "label": labels[rows]}, terms.num, classifier.RECIPE,
        title="classifier of generated images")
    trained = classifier.make_labeller(spec, weights, classifier.RECIPE)
    predicted = np.concatenate([trained.predict(each)[:, 0] for each in batches(test_set)])
    right = predicted == test_set.read(np.arange(len(predicted)))["label"]
    real = labeller(context)
    return {"accuracy_from_generated": float(np.mean(right)),
            "accuracy_from_generated_error": float(np.std(right) / len(right) ** 0.5),
            "accuracy_from_real": real.accuracy[_name_of_label(real, context)],
            "pictures": terms.num, "held_out": len(right), "recipe": {"weights_sha256": real.sha256}}


def _name_of_label(real: classifier.Labeller, context: Context) -> str:
    """What the dataset's classifier calls the label that conditions the model."""
    name = context.settings.data.label
    if name in real.names:
        return name
    # A feature "label" that repeats another one is left out.
    return next(other for other, values in zip(real.names, real.values) if values == context.model.spec["label"].names)
