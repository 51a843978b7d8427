"""What the worker runs: requests as jobs. Each is checked, and a policy asked, before it is queued.

Pictures leave as every verb's do, through `provenance.publishing`: with record, credentials and watermark, also partial
ones. A job's value is what `Made` holds; those of `look` are JSON.
"""
from __future__ import annotations

import functools
import itertools
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imggen_jax import generating, patches, pipelines, prompts, translators
from imggen_jax.editing.sources import Open
from imggen_jax.errors import ImggenError, RunError, SaveError
from imggen_jax.model import MOST_SEEDS, Model
from imggen_jax.pictures import files
from imggen_jax.pictures.files import Picture
from imggen_jax.prompting import revising, wishes
from imggen_jax.prompting.wishes import Wishes
from imggen_jax.prompts import Text
from imggen_jax.provenance import policy, private, publishing, verifying, watermark
from imggen_jax.provenance.publishing import Origin
from imggen_jax.sampling import Fields
from imggen_jax.serving import openai
from imggen_jax.serving.models import Entry, Models, Vanished
from imggen_jax.serving.openai import ApiError
from imggen_jax.serving.shelf import Shelf
from imggen_jax.serving.uploads import Upload, mask_of
from imggen_jax.serving.worker import Canceled, Job, Late, Ticket
from imggen_jax.spec import Spec, make_spec

NOTHING = make_spec()    # of verbs without a model
WATCHED = 50_000_000     # bytes of weights from which a program is stopped between steps, at the price that it is not
                         # kept on the disk when it is compiled; smaller models make a batch in a second or two
DRAFTS = (0.5, 0.25, 0.125)  # shares of the steps of partial pictures, the last one first


class Made(NamedTuple):
    """Pictures of a request."""

    files: list[bytes]
    seeds: list[int]         # of each; [] where no seed makes them
    size: tuple[int, int]    # width, height


class Rows(NamedTuple):
    """A checked request for new pictures."""

    entry: Entry
    model: Model             # of the size that is asked for, without weights
    asked: openai.Generation
    seeds: range
    fields: Fields
    given: Mapping[str, Sequence[Any]]
    options: Mapping[str, Any]


class Seeds:
    """Seeds for requests without one: unforeseeable, and such that those of requests in turn fit into one batch.

    A picture is made at a place of the batch that the low bits of its seed give, see `sampling`: these are counted.
    """

    def __init__(self):
        self._lock, self._next = threading.Lock(), 0

    def draw(self, n: int) -> int:
        """The first of n seeds in a row."""
        with self._lock:
            low, self._next = self._next % 256, self._next + n
        return secrets.randbelow(MOST_SEEDS // 256 - 1) * 256 + low


class Jobs:
    """Makes jobs of requests."""

    def __init__(self, models: Models, shelf: Shelf, count: Callable[[str, int, int], object] = lambda *_: None):
        """count: is called with a model's id, pictures and requests of each batch."""
        self._models, self._shelf, self._count, self._seeds = models, shelf, count, Seeds()
        self._sized: dict[tuple[str, tuple[int, int]], Model] = {}

    # New pictures, in batches.

    def generation(self, asked: openai.Generation) -> Job:
        """New pictures of a prompt.

        Raises:
          ApiError, ImggenError: what is asked for cannot be.
        """
        entry = self._models.entry(asked.model)
        model = self._of_size(entry, openai.size_of(asked.size))
        first = self._seeds.draw(asked.number) if asked.seed is None else asked.seed
        seeds = range(first, first + asked.number)
        model.check_seeds(seeds)
        factor = openai.STEPS[asked.quality or "auto"]
        given, options = _settled(model, asked.prompt, factor, seeds)
        _ask_policy(entry, generating.VERB, model, given, drawn=model.generator.needs)
        fields = model.check_given(given, len(seeds), drawn=True)
        options = {"truncation": options.pop("truncation", 1.0), **model.check_options(options)}
        partial = asked.partial_images or 0 if asked.stream else 0
        kind = ("generate", entry.id, asked.size, partial, tuple(sorted(options.items())),
                tuple((name, value.shape[1:]) for name, value in sorted(fields.items())))
        return Job(kind, len(seeds), self._generate, Rows(entry, model, asked, seeds, fields, given, options))

    def warming(self, name: str) -> Job:
        """One picture of a model, so that its programs are compiled."""
        entry = self._models.entry(name)
        needs, spec = entry.model.generator.needs, entry.model.spec
        if any(spec[need].is_image for need in needs):
            return Job(None, 1, lambda tickets: tickets[0].done(None))
        word = next((word for word in spec["text"].names if word.isalpha()), "a") if "text" in needs else ""
        return self.generation(openai.Generation(prompt=word, model=name, seed=0))

    def _of_size(self, entry: Entry, size: tuple[int, int] | None) -> Model:
        height, width, _ = entry.model.spec["image"].shape
        if size in (None, (width, height)):
            return entry.model
        if not pipelines.resizable(entry.model):
            raise ApiError(400, f"size is {size[0]}x{size[1]}; the model {entry.id} makes pictures of "
                           f"{width}x{height}, and /v1/upscale enlarges them", code="invalid_value", param="size")
        if (entry.id, size) not in self._sized:       # kept, since programs belong to it
            self._sized[entry.id, size] = pipelines.resized(entry.model, size[1], size[0])
        return self._sized[entry.id, size]

    def _generate(self, tickets: Sequence[Ticket]) -> None:
        """Makes the pictures of some tickets of one kind: drafts for those that stream, then the pictures."""
        rows: Rows = tickets[0].job.about
        model = rows.model._replace(weights=self._models.get(rows.entry.id).weights)
        option = model.generator.options.get(wishes.STEPS)
        steps = rows.options.get(wishes.STEPS, None if option is None else option.default)
        drafts = DRAFTS[:(rows.asked.partial_images or 0) if rows.asked.stream else 0][::-1]
        counts = dict.fromkeys(max(1, round(share * steps)) for share in drafts) if steps is not None else {}
        for number, count in enumerate(count for count in counts if count < (steps or 0)):
            self._round(model, _wanted(tickets), {**rows.options, wishes.STEPS: count},
                        lambda ticket, made, number=number: ticket.partial((number, made)))
        live = _wanted(tickets)
        self._round(model, live, rows.options, lambda ticket, made: ticket.done(made))
        self._count(rows.entry.id, sum(ticket.job.rows for ticket in live), len(live))

    def _round(self, model: Model, tickets: Sequence[Ticket], options: Mapping[str, Any],
               tell: Callable[[Ticket, Made], None]) -> None:
        """Makes every picture of some tickets with the same options, and tells each ticket its own."""
        if not tickets:
            return
        each: list[Rows] = [ticket.job.about for ticket in tickets]
        seeds = np.array([seed for one in each for seed in one.seeds], np.uint32)
        fields = {name: np.concatenate([one.fields[name] for one in each]) for name in each[0].fields}
        given = {name: [value for one in each for value in one.given[name]] for name in each[0].given}
        check = functools.partial(_check, tickets) if each[0].entry.size > WATCHED else None
        made = generating.images(model, each[0].entry.folder.name, seeds, fields, given, options, check=check)
        facts = publishing.training_facts(model.data)
        for ticket, one in zip(tickets, each):
            pictures = list(itertools.islice(made, len(one.seeds)))
            try:
                content = []
                with self._shelf.workplace() as place:
                    for seed, (image, family) in zip(one.seeds, pictures):
                        origin = Origin(generating.VERB, family, facts)
                        self._shelf.remember(ticket.owner, private.hidden(family)[1])
                        content.append(_new(place / f"{seed:06d}", image, origin, one.asked))
                height, width = pictures[0][0].shape[:2]
                tell(ticket, Made(content, list(one.seeds), (width, height)))
            except (ImggenError, OSError) as error:   # its own: the others go on
                ticket.failed(error)

    # Pictures of pictures, one at a time.

    def edit(self, owner: str, asked: openai.Edit, image: Upload, mask: Upload | None) -> Job:
        """A part of a picture, or all of it, made anew as a prompt says.

        Raises:
          ApiError, ImggenError: what is asked for cannot be.
        """
        entry, text = self._takes_pictures(asked), _text(asked.prompt)
        if openai.STEPS[asked.quality or "auto"] != 1:
            raise ApiError(400, "quality of an edit is auto; nothing else can be honored", code="invalid_value",
                           param="quality")
        if mask is None and image.picture.pixels.shape[-1] in (2, 4) and (image.picture.pixels[..., -1] == 0).any():
            mask = image                      # as OpenAI does: its own transparency marks what is edited
        change = None if mask is None else mask_of(mask, image)
        _ask_policy(entry, "vary" if change is None else "fill", entry.model, {wishes.TEXT: text})
        entry.model.check_given({wishes.TEXT: text}, 1, drawn=True)

        def make(ticket: Ticket, place: Path, run: Open, seed: int) -> list[Path]:
            common: dict[str, Any] = dict(prompt=text, num=asked.number, seed=seed)
            if change is None:
                path = self._remembered(owner, image, place, text)
                return revising.vary(run, place / "out", str(path), strength="strong", **common).files[1:]
            opaque = image.picture.pixels[..., :-1] if mask is image else image.picture.pixels
            files.write(place / "image.png", image.picture._replace(pixels=np.ascontiguousarray(opaque)))
            files.write(place / "mask.png", Picture(np.uint8(255) * change[..., None]))
            return revising.fill(run, place / "out", place / "image.png", place / "mask.png", **common).files[1:]

        return self._revision("vary" if change is None else "fill", asked, entry, make)

    def variation(self, owner: str, asked: openai.Variation, image: Upload) -> Job:
        """Pictures that are like one. Raises ApiError and ImggenError where that cannot be."""
        entry = self._takes_pictures(asked)
        text = None if asked.prompt is None else _text(asked.prompt)
        given = {} if text is None else {wishes.TEXT: text}
        _ask_policy(entry, "vary", entry.model, given)
        if given:
            entry.model.check_given(given, 1, drawn=True)

        def make(ticket: Ticket, place: Path, run: Open, seed: int) -> list[Path]:
            path = self._remembered(owner, image, place, text)
            if text is None and wishes.TEXT in run.model.generator.needs and not _remembers(path):
                raise ApiError(400, "this model makes pictures of sentences, and image does not say which one it "
                               "shows; give it as prompt", code="missing_required_parameter", param="prompt")
            return revising.vary(run, place / "out", str(path), was=text, num=asked.number, seed=seed).files[1:]

        return self._revision("vary", asked, entry, make)

    def _takes_pictures(self, asked: openai.Variation | openai.Edit) -> Entry:
        entry = self._models.entry(asked.model)
        self._of_size(entry, openai.size_of(asked.size))
        if any(entry.model.spec[need].is_image for need in entry.model.generator.needs):
            raise ApiError(400, f"the model {entry.id} makes pictures of pictures alone; use /v1/upscale, or another "
                           "model", code="invalid_value", param="model")
        if asked.seed is not None:
            entry.model.check_seeds(range(asked.seed, asked.seed + asked.number))
        return entry

    def _revision(self, verb: str, asked: openai.Variation | openai.Edit, entry: Entry,
                  make: Callable[[Ticket, Path, Open, int], list[Path]]) -> Job:
        def run(ticket: Ticket, place: Path) -> Made:
            model = self._models.get(entry.id)
            seed = self._seeds.draw(asked.number) if asked.seed is None else asked.seed
            made = make(ticket, place, Open(model, entry.folder.name, entry.sha256), seed)
            ticket.check()
            if asked.format == "png":
                content = [path.read_bytes() for path in made]
            else:
                content = [_changed(place / f"as_{number}", files.read(path), Origin(verb, parent=path), asked)
                           for number, path in enumerate(made)]
            height, width = files.read(made[0]).pixels.shape[:2]
            return Made(content, [], (width, height))

        return self._alone(run, asked.number)

    def _remembered(self, owner: str, image: Upload, place: Path, text: Text | None) -> Path:
        """The picture as a file, beside the texts that this owner's pictures were made from.

        One whose text nobody remembers is taken by its pixels alone, where a text is given.
        """
        path = image.put(place, "image")
        private.keep(place, self._shelf.texts(owner))
        if text is not None and not _remembers(path):
            path = place / "pixels.png"
            files.write(path, image.picture._replace(exif=None, xmp=None))
        return path

    def upscale(self, asked: openai.Upscale, image: Upload, most_pixels: int) -> Job:
        """A picture, larger. Raises ApiError and ImggenError where that cannot be."""
        entry = None if asked.model is None else self._models.entry(asked.model)
        scale, pixels = None if asked.scale is None else int(asked.scale), image.picture.pixels
        if pixels.shape[0] * pixels.shape[1] * (scale or 2) ** 2 > 4 * most_pixels:
            raise ApiError(400, f"the result would have more than {4 * most_pixels:,} pixels; send a smaller picture",
                           code="image_too_large", param="image")
        policy_of = None if entry is None else entry.folder
        _ask(policy_of, "upscale", NOTHING if entry is None else entry.model.spec, {})

        def run(ticket: Ticket, place: Path) -> Made:
            model = None if entry is None else self._models.get(entry.id)
            tiled = translators.upscaler(model, scale, "clean")
            made = translators.upscale(image.picture, model, scale=scale, strength=asked.strength, report=ticket.check)
            facts = {"arguments": {"scale": tiled.sight.scale, "strength": asked.strength}, **tiled.facts}
            return _one(place, image, made, "upscale", facts, None, (), asked)

        return self._alone(run, 1)

    def remove(self, asked: openai.Remove, image: Upload, mask: Upload) -> Job:
        """A picture without what a mask marks. Raises ApiError and ImggenError where that cannot be."""
        change = mask_of(mask, image)
        _ask(None, "remove", NOTHING, {})

        def run(ticket: Ticket, place: Path) -> Made:
            made = patches.remove(image.picture.pixels, change, seed=asked.seed, quality=asked.quality,
                                  report=ticket.check)
            facts = {"arguments": {"seed": asked.seed, "quality": asked.quality}, "number": 0}
            return _one(place, image, image.picture._replace(pixels=made), "remove", facts, change, (), asked)

        return self._alone(run, 1)

    def stylize(self, asked: openai.Stylize, image: Upload, style: Upload) -> Job:
        """A picture painted as another is. Raises ApiError and ImggenError where that cannot be."""
        _ask(None, "stylize", NOTHING, {})

        def run(ticket: Ticket, place: Path) -> Made:
            like = style.put(place, "style")
            painted = files.in_profile(style.picture, image.picture.icc)
            if painted.dtype != image.picture.pixels.dtype:
                painted = (painted.astype(np.uint16) * 257 if painted.dtype == np.uint8 else
                           (painted // 257).astype(np.uint8))
            made = patches.stylize(image.picture.pixels, [painted], strength=asked.strength, seed=asked.seed,
                                   quality=asked.quality, report=ticket.check)
            facts = {"arguments": {"seed": asked.seed, "quality": asked.quality, "strength": asked.strength},
                     "number": 0}
            return _one(place, image, image.picture._replace(pixels=made), "stylize", facts, None, (like,), asked)

        return self._alone(run, 1)

    # Pictures that are looked at; nothing of them is kept.

    def detect(self, image: Upload) -> Job:
        """What the watermark of a picture says."""
        return self._alone(lambda ticket, place: verifying.mark_facts(watermark.detect(image.picture.pixels)), 1)

    def verify(self, image: Upload) -> Job:
        """Who signed a picture, and whether it was changed since."""
        def run(ticket: Ticket, place: Path) -> dict[str, Any]:
            return verifying.verify(image.put(place, "image"))._asdict() | {"file": "image"}

        return self._alone(run, 1)

    def _alone(self, run: Callable[[Ticket, Path], Any], rows: int) -> Job:
        """A job that is not batched, with a folder while it runs."""
        def work(tickets: Sequence[Ticket]) -> None:
            ticket, = tickets
            ticket.check()
            with self._shelf.workplace() as place:
                try:
                    ticket.done(run(ticket, place))
                except (Late, Vanished, SaveError):
                    raise
                except ImggenError as error:
                    raise RunError(str(error).replace(f"{place}/", "")) from error   # a folder that says nothing

        return Job(None, rows, work)


def _settled(model: Model, prompt: str, factor: float, seeds: range) -> tuple[dict[str, Sequence[Any]], dict[str, Any]]:
    """What a model is given for a prompt, a value for each seed, and its options."""
    needs = model.generator.needs
    if wishes.TEXT in needs:
        settled = wishes.settle(model, _text(prompt), Wishes(quality=factor), seeds)
        return dict(settled.given), dict(settled.options)
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


def _text(prompt: str) -> Text:
    found = prompts.expand(prompt)
    if len(found) > 1:
        raise ApiError(400, f"the prompt stands for {len(found)} prompts; send a request for each",
                       code="invalid_value", param="prompt")
    return prompts.parse(found[0])


def _ask_policy(entry: Entry, verb: str, model: Model, given: Mapping[str, Any], drawn: tuple[str, ...] = ()) -> None:
    _ask(entry.folder, verb, model.spec, given, drawn)


def _ask(folder: Path | None, verb: str, spec: Spec, given: Mapping[str, Any], drawn: tuple[str, ...] = ()) -> None:
    try:
        policy.check(folder, verb, spec, given, drawn=drawn)
    except RunError as error:
        said = str(error)
        for one in policy.in_force(folder):
            said = said.replace(f"the policy {one.file}", "the policy of this service")
        raise ApiError(400, said, code="content_policy_violation", param="prompt") from None


def _wanted(tickets: Sequence[Ticket]) -> list[Ticket]:
    """Those that somebody still waits for, whose time is not over."""
    found = []
    for ticket in tickets:
        try:
            if ticket.wanted:
                ticket.check()
                found.append(ticket)
        except Canceled:
            pass
        except Late as error:
            ticket.failed(error)
    return found


def _check(tickets: Sequence[Ticket]) -> None:
    """Raises Canceled where nobody waits for any of the tickets."""
    if not _wanted(tickets):
        raise Canceled


def _remembers(path: Path) -> bool:
    """Whether a picture's file, with the texts beside it, says what the picture shows."""
    try:
        family = publishing.read(path)
    except RunError:                          # damaged metadata
        return False
    return family is not None and not any(private.is_hidden(value) for value in family.record.given.values())


def _new(path: Path, image: np.ndarray, origin: Origin, asked: openai.Output) -> bytes:
    """The file of a picture that a model made: uint8 [H,W,C]."""
    if asked.format == "png":
        publishing.write_png(path.with_suffix(".png"), image, origin)
        return path.with_suffix(".png").read_bytes()
    return _changed(path, Picture(image), origin, asked)


def _changed(path: Path, picture: Picture, origin: Origin, asked: openai.Output) -> bytes:
    """The file of any picture."""
    path = path.with_suffix(f".{asked.format}")
    publishing.write(path, picture, origin, quality=None if asked.format == "png" else asked.output_compression)
    return path.read_bytes()


def _one(place: Path, image: Upload, made: Picture, verb: str, facts: Mapping[str, Any], part: np.ndarray | None,
         others: Sequence[Path], asked: openai.Output) -> Made:
    origin = Origin(verb, facts=facts, parent=image.put(place, "image"), others=others, part=part)
    height, width = made.pixels.shape[:2]
    return Made([_changed(place / "made", made, origin, asked)], [], (width, height))
