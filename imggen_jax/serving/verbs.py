"""Pictures of pictures, and pictures that are looked at: requests as jobs, which the worker runs one at a time.

Each is checked, and a policy asked, before it is queued. Nothing of what was sent is kept.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imggen_jax import patches, translators
from imggen_jax.editing.sources import Open
from imggen_jax.errors import ImggenError, RunError, SaveError
from imggen_jax.pictures import files
from imggen_jax.pictures.files import Picture
from imggen_jax.prompting import revising, wishes
from imggen_jax.prompts import Text
from imggen_jax.provenance import detection, private, publishing, verifying
from imggen_jax.provenance.publishing import Origin
from imggen_jax.serving import asking, openai, sending, uploads
from imggen_jax.serving.batches import Seeds
from imggen_jax.serving.models import Entry, Models, Vanished
from imggen_jax.serving.openai import ApiError
from imggen_jax.serving.sending import Made
from imggen_jax.serving.shelf import Shelf
from imggen_jax.serving.uploads import Upload, mask_of
from imggen_jax.serving.worker import Job, Late, Ticket
from imggen_jax.spec import make_spec

NOTHING = make_spec()    # of verbs without a model


class Verbs:
    """Makes jobs of requests with pictures."""

    def __init__(self, models: Models, shelf: Shelf, seeds: Seeds):
        self._models, self._shelf, self._seeds = models, shelf, seeds

    def edit(self, owner: str, asked: openai.Edit, image: Upload, mask: Upload | None) -> Job:
        """A part of a picture, or all of it, made anew as a prompt says.

        Raises:
          ApiError, ImggenError: what is asked for cannot be.
        """
        entry, text = self._takes_pictures(asked), asking.text_of(asked.prompt)
        if openai.STEPS[asked.quality or "auto"] != 1:
            raise ApiError(400, "quality of an edit is auto; nothing else can be honored", code="invalid_value",
                           param="quality")
        if mask is None and image.picture.pixels.shape[-1] in (2, 4) and (image.picture.pixels[..., -1] == 0).any():
            mask = image                      # as OpenAI does: its own transparency marks what is edited
        change = None if mask is None else mask_of(mask, image)
        asking.ask_policy(entry.folder, "vary" if change is None else "fill", entry.model.spec, {wishes.TEXT: text})
        entry.model.check_given({wishes.TEXT: text}, 1, drawn=True)

        def make(ticket: Ticket, place: Path, run: Open, seed: int) -> list[Path]:
            common: dict[str, Any] = dict(prompt=text, num=asked.number, seed=seed)
            if change is None:
                path = self._remembered(owner, image, place, text)
                return revising.vary(run, place / "out", str(path), strength="strong", **common).files[1:]
            opaque = image.picture.pixels[..., :-1] if mask is image else image.picture.pixels
            source = uploads.put_pixels(place / "image.png",
                                        image.picture._replace(pixels=np.ascontiguousarray(opaque)))
            mark = uploads.put_pixels(place / "mask.png", Picture(np.uint8(255) * change[..., None]))
            return revising.fill(run, place / "out", source, mark, **common).files[1:]

        return self._revision("vary" if change is None else "fill", asked, entry, make, image.held)

    def variation(self, owner: str, asked: openai.Variation, image: Upload) -> Job:
        """Pictures that are like one. Raises ApiError and ImggenError where that cannot be."""
        entry = self._takes_pictures(asked)
        text = None if asked.prompt is None else asking.text_of(asked.prompt)
        given = {} if text is None else {wishes.TEXT: text}
        asking.ask_policy(entry.folder, "vary", entry.model.spec, given)
        if given:
            entry.model.check_given(given, 1, drawn=True)

        def make(ticket: Ticket, place: Path, run: Open, seed: int) -> list[Path]:
            path = self._remembered(owner, image, place, text)
            if text is None and wishes.TEXT in run.model.generator.needs and not _remembers(path):
                raise ApiError(400, "this model makes pictures of sentences, and image does not say which one it "
                               "shows; give it as prompt", code="missing_required_parameter", param="prompt")
            return revising.vary(run, place / "out", str(path), was=text, num=asked.number, seed=seed).files[1:]

        return self._revision("vary", asked, entry, make, image.held)

    def _takes_pictures(self, asked: openai.Variation | openai.Edit) -> Entry:
        entry = self._models.entry(asked.model)
        if asking.of_size(self._models, entry, asked.size) is not entry.model:
            raise ApiError(400, "a picture keeps its size here; leave size out", code="invalid_value", param="size")
        if any(entry.model.spec[need].is_image for need in entry.model.generator.needs):
            raise ApiError(400, f"the model {entry.id} makes pictures of pictures alone; use /v1/upscale, or another "
                           "model", code="invalid_value", param="model")
        if asked.seed is not None:
            entry.model.check_seeds(range(asked.seed, asked.seed + asked.number))
        return entry

    def _revision(self, verb: str, asked: openai.Variation | openai.Edit, entry: Entry,
                  make: Callable[[Ticket, Path, Open, int], list[Path]], held: int) -> Job:
        def run(ticket: Ticket, place: Path) -> Made:
            model = self._models.get(entry.id)
            seed = self._seeds.draw(asked.number) if asked.seed is None else asked.seed
            made = make(ticket, place, Open(model, entry.folder.name, entry.sha256), seed)
            ticket.check()
            if asked.format == "png":
                content = [path.read_bytes() for path in made]
            else:
                content = [sending.changed(place / f"as_{number}", files.read(path), Origin(verb, parent=path), asked)
                           for number, path in enumerate(made)]
            height, width = files.read(made[0]).pixels.shape[:2]
            return Made(content, [], (width, height))

        return self._alone(run, asked.number, held)

    def _remembered(self, owner: str, image: Upload, place: Path, text: Text | None) -> Path:
        """The picture as a file, beside the texts that this owner's pictures were made from.

        One whose text nobody remembers is taken by its pixels alone, where a text is given.
        """
        path = image.put(place, "image")
        private.keep(place, self._shelf.texts(owner))
        if text is not None and not _remembers(path):
            return uploads.put_pixels(place / "pixels.png", image.picture._replace(exif=None, xmp=None))
        return path

    def upscale(self, asked: openai.Upscale, image: Upload, most_pixels: int) -> Job:
        """A picture, larger. Raises ApiError and ImggenError where that cannot be."""
        entry = None if asked.model is None else self._models.entry(asked.model)
        scale, pixels = None if asked.scale is None else int(asked.scale), image.picture.pixels
        if pixels.shape[0] * pixels.shape[1] * (scale or 2) ** 2 > 4 * most_pixels:
            raise ApiError(400, f"the result would have more than {4 * most_pixels:,} pixels; send a smaller picture",
                           code="image_too_large", param="image")
        folder, spec = (None, NOTHING) if entry is None else (entry.folder, entry.model.spec)
        asking.ask_policy(folder, "upscale", spec, {})

        def run(ticket: Ticket, place: Path) -> Made:
            model = None if entry is None else self._models.get(entry.id)
            tiled = translators.upscaler(model, scale, "clean")
            made = translators.upscale(image.picture, model, scale=scale, strength=asked.strength, report=ticket.check)
            facts = {"arguments": {"scale": tiled.sight.scale, "strength": asked.strength}, **tiled.facts}
            return sending.changed_one(place, image, made, "upscale", facts, None, (), asked)

        return self._alone(run, 1, image.held)

    def remove(self, asked: openai.Remove, image: Upload, mask: Upload) -> Job:
        """A picture without what a mask marks. Raises ApiError and ImggenError where that cannot be."""
        change = mask_of(mask, image)
        asking.ask_policy(None, "remove", NOTHING, {})

        def run(ticket: Ticket, place: Path) -> Made:
            made = patches.remove(image.picture.pixels, change, seed=asked.seed, quality=asked.quality,
                                  report=ticket.check)
            facts = {"arguments": {"seed": asked.seed, "quality": asked.quality}, "number": 0}
            filled = image.picture._replace(pixels=made)
            return sending.changed_one(place, image, filled, "remove", facts, change, (), asked)

        return self._alone(run, 1, image.held)

    def stylize(self, asked: openai.Stylize, image: Upload, style: Upload) -> Job:
        """A picture painted as another is. Raises ApiError and ImggenError where that cannot be."""
        asking.ask_policy(None, "stylize", NOTHING, {})

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
            restyled = image.picture._replace(pixels=made)
            return sending.changed_one(place, image, restyled, "stylize", facts, None, (like,), asked)

        return self._alone(run, 1, image.held + style.held)

    def detect(self, image: Upload) -> Job:
        """What the watermark of a picture says."""
        return self._alone(lambda ticket, place: verifying.mark_facts(detection.detect(image.picture.pixels)), 1,
                           image.held)

    def verify(self, image: Upload) -> Job:
        """Who signed a picture, and whether it was changed since."""
        def run(ticket: Ticket, place: Path) -> dict[str, Any]:
            return verifying.verify(image.put(place, "image"))._asdict() | {"file": "image"}

        return self._alone(run, 1, image.held)

    def _alone(self, run: Callable[[Ticket, Path], Any], rows: int, held: int) -> Job:
        """A job that is not batched, with a folder while it runs. held: bytes of memory that wait with it."""
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

        return Job(None, rows, work, held=held)


def _remembers(path: Path) -> bool:
    """Whether a picture's file, with the texts beside it, says what the picture shows."""
    try:
        family = publishing.read(path)
    except RunError:                          # damaged metadata
        return False
    return family is not None and not any(private.is_hidden(value) for value in family.record.given.values())
