"""How many of the 1,000 modes of stacked MNIST a generator finds (Srivastava et al., arXiv 1705.07761, section 4)."""
from __future__ import annotations

import numpy as np

from imggen_jax.errors import RunError
from imggen_jax.evaluation.context import Context, generate, labeller, over_sets, require_classifier
from imggen_jax.metrics import counts

DATASET, DIGITS = "stacked_mnist", ("red", "green", "blue")


def check(context: Context) -> None:
    """Raises RunError for any other dataset."""
    if context.settings.data.name != DATASET:
        raise RunError(f"modes are counted on {DATASET}, not on {context.settings.data.name}")
    require_classifier(context, "modes")


def evaluate(context: Context) -> dict:
    """modes, 1 to 1,000, and kl, KL(generated || even) in nats, by a classifier of each of the three digits."""
    classifier, terms = labeller(context), context.terms
    columns = [classifier.names.index(name) for name in DIGITS]

    def one(seed):
        digits = classifier.predict(generate(context, terms.num, seed))[:, columns]
        counted = counts.modes(digits @ np.array([100, 10, 1]), 1000)
        return {"modes": counted.found, "kl": counted.kl}

    return over_sets(one, terms) | {
        "pictures": terms.num, "classifier_accuracy": float(np.mean([classifier.accuracy[name] for name in DIGITS])),
        "recipe": {"weights_sha256": classifier.sha256}}
