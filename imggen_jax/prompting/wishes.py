"""What can be asked for beside a prompt, and what it means to a model of this package.

Midjourney's words have one meaning each here. What a model cannot honor is refused, never passed over.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imggen_jax import prompts
from imggen_jax import spec as specs
from imggen_jax.editing import finishing
from imggen_jax.errors import RunError
from imggen_jax.model import Model, check_truncation
from imggen_jax.prompts import Text

TEXT, NEGATIVE, GUIDANCE, STEPS = "text", "negative", "guidance", "steps"
NO = -0.5            # the weight of what `no` names, beside a prompt of weight 1
AVOIDING = 1.5       # guidance away from a negative prompt, where nothing is asked for and the model has no default
STYLIZE = 100        # at which guidance is the model's own
WEIRDEST = 0.5       # by how much the latents of the weirdest pictures are longer
QUALITIES = (0.25, 0.5, 1.0, 2.0, 4.0)
DRAFT = 0.25         # of the steps


class Wishes(NamedTuple):
    """What is asked for beside a prompt; None and the defaults change nothing.

    Ranges and meanings stand in docs/text_to_image.md.
    """

    negative: str | None = None
    no: str | None = None
    guidance: float | None = None
    steps: int | None = None
    chaos: float = 0.0            # 0 to 100
    stylize: float = STYLIZE      # 0 to 1000
    weird: float = 0.0            # 0 to 3000
    quality: float = 1.0          # of QUALITIES
    draft: bool = False
    size: tuple[int, int] | None = None  # width, height
    truncation: float = 1.0
    zoom_out: float | None = None # above 1, to 2: done by patches, as are the next ones
    pan: str | None = None        # left, right, up or down
    tile: bool = False
    style: str | None = None      # file of a picture
    style_strength: float = 1.0   # 0 to 1


class Settled(NamedTuple):
    """A prompt and wishes as a model takes them: `model.sample(seeds, given, **options)`."""

    given: Mapping[str, Sequence[Text]]  # a text for each seed
    options: Mapping[str, float]         # "truncation" among them


def settle(model: Model, text: Text, wishes: Wishes, seeds: Sequence[int], other: Mapping[str, float] = {}) -> Settled:
    """What a model is given for a prompt.

    Args:
      model: a loaded generator that takes a text.
      text: a prompt, as `prompts.parse` gives it.
      wishes: what is asked for besides.
      seeds: of the pictures; `chaos` draws from each.
      other: further options of the generator.

    Raises:
      RunError: the model takes no text, or cannot honor a wish, or one is out of range.
    """
    check(model, wishes, other)
    options = dict(other)
    guidance = _strictness(model, wishes._replace(guidance=options.get(GUIDANCE, wishes.guidance)))
    if wishes.no is not None:
        text = prompts.combine([text, wishes.no], [1 / (1 + NO), NO / (1 + NO)])
    if GUIDANCE in model.generator.options:
        options |= {} if guidance is None else {GUIDANCE: guidance}
    elif guidance is not None and guidance != 1:
        text = prompts.combine([text, wishes.negative or ""], [guidance, 1 - guidance])
    if (steps := _steps(model, wishes)) is not None:
        options[STEPS] = steps
    options["truncation"] = wishes.truncation * (1 + WEIRDEST * wishes.weird / 3000)
    each = [_chaotic(text, wishes.chaos / 100, seed) for seed in seeds]
    given: dict[str, Sequence[Text]] = {TEXT: each}
    if wishes.negative is not None and NEGATIVE in model.generator.accepts:
        given[NEGATIVE] = [wishes.negative] * len(each)
    return Settled(given, options)


def check(model: Model, wishes: Wishes, other: Mapping[str, float] = {}) -> None:
    """Raises RunError for wishes that a model cannot honor, or that are out of range."""
    if TEXT not in model.generator.needs:
        needs = f"it is conditioned on {', '.join(model.generator.needs)}" if model.generator.needs else "it takes none"
        raise RunError(f"this model was trained without captions, so it takes no prompt; {needs}. Train one with "
                       "config.data.text, as avatars_text is")
    for name, value, low, high in (("chaos", wishes.chaos, 0, 100), ("stylize", wishes.stylize, 0, 1000),
                                   ("weird", wishes.weird, 0, 3000)):
        if not low <= value <= high:
            raise RunError(f"{name} is {value:g}; it must be from {low} to {high}")
    if wishes.quality not in QUALITIES:
        raise RunError(f"quality is {wishes.quality:g}; choose {', '.join(f'{q:g}' for q in QUALITIES)}")
    check_truncation(wishes.truncation)
    finishing.check(finishes(wishes))
    if not 0 <= wishes.style_strength <= 1:
        raise RunError(f"the strength of the style is {wishes.style_strength:g}; it must be from 0 to 1")
    for text in (wishes.negative, wishes.no):
        if text is not None:
            prompts.check(text)
    _check_mixing(model, wishes)
    _check_steps(model, wishes, other)
    if wishes.size is not None:
        height, width, _ = specs.image_shape(model.spec)
        if wishes.size != (width, height):
            raise RunError(f"size is {wishes.size[0]}x{wishes.size[1]}, and this model makes pictures of {width}x"
                           f"{height}; leave it out, and enlarge them with imggen upscale")


def _check_mixing(model: Model, wishes: Wishes) -> None:
    """Wishes that need several texts in one picture, of which a share is left to nothing."""
    own = GUIDANCE in model.generator.options
    asked = {"no": wishes.no is not None, "chaos": wishes.chaos > 0, "stylize": wishes.stylize != STYLIZE and not own,
             GUIDANCE: wishes.guidance not in (None, 1) and not own,
             NEGATIVE: wishes.negative is not None and NEGATIVE not in model.generator.accepts}
    if TEXT not in model.generator.mixes and (names := [name for name, given in asked.items() if given]):
        raise RunError(f"this model takes one text for a picture, so it cannot honor {names[0]}; leave it out")
    if wishes.guidance is not None and not own and not 0 <= wishes.guidance <= prompts.FARTHEST:
        raise RunError(f"guidance is {wishes.guidance:g}; it must be from 0 to {prompts.FARTHEST:g}")


def _check_steps(model: Model, wishes: Wishes, other: Mapping[str, float]) -> None:
    """Wishes about the steps of a sampler, of which one can be granted."""
    asked = [name for name, given in (("steps", wishes.steps is not None or STEPS in other), ("draft", wishes.draft),
                                      ("quality", wishes.quality != 1)) if given]
    if asked and STEPS not in model.generator.options:
        raise RunError(f"this model makes a picture in one step, so it cannot honor {asked[0]}; leave it out")
    if len(asked) > 1:
        raise RunError(f"{asked[0]} and {asked[1]} both say how many steps are taken; leave out one of them")


def _strictness(model: Model, wishes: Wishes) -> float | None:
    """How strictly the prompt is followed; None: as the model does by default."""
    option = model.generator.options.get(GUIDANCE)
    default = option.default if option else AVOIDING if wishes.negative is not None else 1.0
    if wishes.stylize == STYLIZE:
        return default if wishes.guidance is None and option is None else wishes.guidance
    # From half as much again, over the model's own at 100, to a quarter.
    low = wishes.stylize < STYLIZE
    factor = 1.5 ** (1 - wishes.stylize / STYLIZE) if low else 0.25 ** ((wishes.stylize - STYLIZE) / (1000 - STYLIZE))
    return factor * (default if wishes.guidance is None else wishes.guidance)


def _steps(model: Model, wishes: Wishes) -> int | None:
    if wishes.steps is not None:
        return wishes.steps
    factor = DRAFT if wishes.draft else wishes.quality
    return None if factor == 1 else max(1, math.ceil(factor * model.generator.options[STEPS].default))


def _chaotic(text: Text, most: float, seed: int) -> Text:
    """A text of which a share, drawn from the seed, up to `most`, is left to nothing."""
    if most == 0:
        return text
    share = float(most * np.random.default_rng([seed, 3]).uniform())
    parts = prompts.of(text)
    return prompts.Mixture((*parts.texts, ""), (*((1 - share) * each for each in parts.shares), share))


def asked(wishes: Wishes) -> dict[str, Any]:
    """What a record says of wishes, beside the options that they became: those that are no defaults, without texts."""
    told = {name: getattr(wishes, name) for name in ("chaos", "stylize", "weird", "quality", "draft")}
    told |= finishes(wishes)
    if wishes.style is not None:
        told["style"] = Path(wishes.style).name[:100]
    return {name: value for name, value in told.items() if value != Wishes._field_defaults[name]}


def finishes(wishes: Wishes) -> dict[str, Any]:
    """What is to be done to pictures after the model has made them, as `finishing` takes it."""
    return {name: getattr(wishes, name) for name in finishing.KEYS}
