"""What a request asks a model for, in the words of the package, and whether a policy lets it."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imggen_jax import pipelines, prompts
from imggen_jax.errors import RunError
from imggen_jax.model import Model
from imggen_jax.prompting import wishes
from imggen_jax.prompting.wishes import Wishes
from imggen_jax.prompts import Text
from imggen_jax.provenance import policy
from imggen_jax.serving import openai
from imggen_jax.serving.models import Entry, Models
from imggen_jax.serving.openai import ApiError
from imggen_jax.spec import Spec


def settled(model: Model, prompt: str, factor: float, seeds: range) -> tuple[dict[str, Sequence[Any]], dict[str, Any]]:
    """What a model is given for a prompt, a value for each seed, and its options.

    Args:
      model: a generator; its weights are not needed.
      prompt: as it was sent.
      factor: of the sampler's steps.
      seeds: of the pictures.

    Raises:
      ApiError, RunError: the model cannot honor it.
    """
    needs = model.generator.needs
    if wishes.TEXT in needs:
        found = wishes.settle(model, text_of(prompt), Wishes(quality=factor), seeds)
        return dict(found.given), dict(found.options)
    if pictures := [need for need in needs if model.spec[need].is_image]:
        raise ApiError(400, f"this model makes pictures of a {pictures[0]}, not of prompts; use /v1/upscale or another "
                       "model", code="invalid_value", param="model")
    if prompt.strip() and not needs:
        raise ApiError(400, "this model takes no prompt; send an empty one, or name a model that takes sentences",
                       code="invalid_value", param="prompt")
    options = {}
    if factor != 1:
        if wishes.STEPS not in model.generator.options:
            raise ApiError(400, "this model makes a picture in one step; leave quality out", code="invalid_value",
                           param="quality")
        options[wishes.STEPS] = max(1, round(factor * model.generator.options[wishes.STEPS].default))
    return ({needs[0]: [prompt.strip()] * len(seeds)} if prompt.strip() else {}), options


def text_of(prompt: str) -> Text:
    """What a prompt says. Raises ApiError and RunError where it is none, or stands for several."""
    found = prompts.expand(prompt)
    if len(found) > 1:
        raise ApiError(400, f"the prompt stands for {len(found)} prompts; send a request for each",
                       code="invalid_value", param="prompt")
    return prompts.parse(found[0])


def of_size(models: Models, entry: Entry, text: str | None) -> Model:
    """A model, without weights, for pictures of the size that is asked for. Raises ApiError and RunError."""
    size = openai.size_of(text)
    height, width, _ = entry.model.spec["image"].shape
    if size in (None, (width, height)):
        return entry.model
    if not pipelines.resizable(entry.model):
        raise ApiError(400, f"size is {size[0]}x{size[1]}; the model {entry.id} makes pictures of {width}x{height}, "
                       "and /v1/upscale enlarges them", code="invalid_value", param="size")
    return models.sized(entry, size)


def ask_policy(folder: Path | None, verb: str, spec: Spec, given: Mapping[str, Any], drawn: tuple[str, ...] = ()
               ) -> None:
    """Whether a policy lets a verb do what is asked for. folder: of the model; given, drawn: as for `policy.check`.

    Raises:
      ApiError: it refuses, or cannot be read; the message does not tell where the policy is.
    """
    try:
        found = policy.in_force(folder)
    except RunError:
        raise ApiError(503, "the policy of this service cannot be read", code="policy_unreadable",
                       headers={"x-should-retry": "false"}) from None
    try:
        policy.check(folder, verb, spec, given, drawn=drawn)
    except RunError as error:
        said = str(error)
        for one in found:
            said = said.replace(f"the policy {one.file}", "the policy of this service")
        raise ApiError(400, said, code="content_policy_violation", param="prompt") from None
