"""Evaluation of generators: scores against real images, and one module an evaluator. Nothing here needs JAX."""
from __future__ import annotations

from collections.abc import Mapping

# Module of this folder -> what it finds out, in one line. Each module has
#   check(context) -> None      raises RunError where it cannot be evaluated; cheap
#   evaluate(context) -> dict   JSON
#   stem(terms) -> str          optional: what its results depend on beside num, resamples and seed, for file names
EVALUATORS: Mapping[str, str] = {
    "likelihood": "bounds on the likelihood of held-out images, in nats and bits (VAEs)",
    "usefulness": "accuracy of a classifier trained on generated images alone (class-conditional models)",
    "modes": "modes of stacked MNIST that are generated, of 1,000, and how evenly",
    "copying": "whether generated images are copies of training images, with the closest pairs",
    "balance": "how often each value of each label is generated, beside the data, with a chart",
}
