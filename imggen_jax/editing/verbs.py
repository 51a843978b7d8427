"""The verbs that write files: pictures that say where they came from, sheets, strips, animations and family trees."""
from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imggen_jax import prompts
from imggen_jax.editing import genes as genetics
from imggen_jax.editing import learning, lineages, operations, sources, words
from imggen_jax.editing.sources import Open
from imggen_jax.editing.space import join
from imggen_jax.editing.writing import (
    Done,
    again,
    explained,
    make,
    names_of,
    opened,
    origin_of,
    said,
    write,
)
from imggen_jax.errors import RunError
from imggen_jax.loading import find
from imggen_jax.model import Model
from imggen_jax.pictures import grids
from imggen_jax.prompts import Text
from imggen_jax.provenance import publishing, records
from imggen_jax.provenance.publishing import Origin
from imggen_jax.sampling import Latents
from imggen_jax.storage.files import write_atomic

SHOWN = 128             # CSS pixels: smaller pictures are enlarged in animations, by whole factors
SLIDER = (-3, -2, -1, 0, 1, 2, 3)
FRAME_MS = 60


def interpolate(
    workdir, out, names: Sequence[str], *, frames: int = 24, even: bool = True, given=None, truncation: float = 1.0
) -> Done:
    """Frames 000.png, ..., sheet.png, animation.webp and animation.gif of a way through pictures.

    `given` is what they are conditioned on, or a list with that of each: a way between sentences.
    """
    run = opened(workdir, "interpolate", given, names)
    latents, found = sources.many(run, names, given=given, truncation=truncation)
    path = operations.interpolate(run.model, latents, frames, even=even)
    asked = {"pictures": list(names_of(found)), "frames": frames, "even": even}
    images, families = make(run, "interpolate", path, asked, found)
    step = operations.steps(images)
    figures = {"largest_over_mean_step": round(float(step.max() / max(step.mean(), 1e-9)), 3)}
    if run.model.generator.batch is None:  # else a picture takes so long that many more are not made for a figure
        figures = {"path_length": round(operations.path_length(run.model, latents), 4), **figures}
    files = write(run, out, images, families, found)
    with explained(out):
        files += animate(Path(out), images, origin_of(run, families[0], found))
    return Done(files, said(found), figures)


def vary(
    workdir, out, name: str, *, num: int = 16, strength: float | str = "subtle", draw: int = 0, given=None,
    truncation: float = 1.0,
) -> Done:
    """Variations 000.png, ... and sheet.png of a picture."""
    run = opened(workdir, "vary", given, [name])
    latents, found = sources.many(run, [name], given=given, truncation=truncation)
    varied = operations.vary(run.model, latents, num, strength=strength, seed=draw, truncation=truncation)
    asked = {"strength": operations.strength_of(strength), "draw": draw, "truncation": truncation}
    images, families = make(run, "vary", varied, asked, found)
    return Done(write(run, out, images, families, found), said(found), {})


def breed(
    workdir, out, names: Sequence[str], *, num: int = 16, weights: Sequence[float] | None = None,
    mutate: float | str = "subtle", crossover: float = 0.0, inherit: Sequence[str] = (), draw: int = 0, given=None,
    truncation: float = 1.0,
) -> Done:
    """Children 000.png, ... and sheet.png of one to five pictures; `inherit` as "hair_colour=2": of the second one."""
    run = opened(workdir, "breed", given, names)
    latents, found = sources.many(run, names, given=given, truncation=truncation)
    parts = _inherited(workdir, run, inherit, len(names))
    children = operations.breed(run.model, latents, num, weights=weights, mutate=mutate, crossover=crossover,
                                inherit=parts, seed=draw, truncation=truncation)
    asked = {"weights": None if weights is None else list(weights), "mutate": operations.strength_of(mutate),
             "crossover": crossover, "inherit": list(inherit), "draw": draw, "truncation": truncation}
    images, families = make(run, "breed", children, asked, found)
    return Done(write(run, out, images, families, found), said(found), {})


def project(workdir, out, name: str, *, given=None, steps: int | None = None) -> Done:
    """projection.png, and sheet.png with the picture before it, of a user's own picture; PSNR and distance are told."""
    run = opened(workdir, "project", given)
    found = sources.by_pixels(run, Path(name), given=given, steps=steps)
    projection, image = found.projection, found.image
    assert projection is not None and image is not None, "sources.by_pixels keeps both"
    files = write(run, out, projection.images, [found.family], [found], names=["projection"], before=(image, None))
    record = found.family.record.arguments
    return Done(files, list(found.said), {"psnr": record["psnr"], "distance": record["distance"]})


def edit(
    workdir, out, name: str, wanted: Sequence[str] = (), *, prompt: Text | None = None, swap: str | None = None,
    given=None, truncation: float = 1.0
) -> Done:
    """edited.png, sheet.png with the picture before and after it, and for each gene a strip from -3 to +3.

    Under a new prompt, or with a word of the old one swapped, as "smiling=sad", the latent stays; a strip goes from the
    old words to the new ones. Genes come first.
    """
    run = opened(workdir, "edit", given, [name])
    learned = None if all(map(words.gene, wanted)) else genetics.load(find(workdir), run.model)
    amounts = parse_genes(wanted, () if learned is None else learned.names()) if wanted or not (prompt or swap) else {}
    latents, found = sources.many(run, [name], given=given, truncation=truncation)
    before, after = found[0].family, _along_genes(run.model, latents, amounts, learned)
    if swap is not None:
        prompt = words.swapped(sources.text_of(found[0], name) if prompt is None else prompt, swap)
    if prompt is not None:
        after = words.say(run.model, after, prompt)
    told = [*([] if prompt is None else prompts.of(prompt).texts), *(
        text for gene in amounts for text in words.gene(gene) or ())]
    images, families = make(run, "edit", after, {"genes": list(wanted)}, found, told)
    files = write(run, out, images, families, found, names=["edited"], before=(again(run, before, name), before))
    strips = {gene: join([_along_genes(run.model, latents, {gene: float(amount)}, learned) for amount in SLIDER],
                         keep_places=False) for gene in amounts}
    if prompt is not None:
        strips["prompt"] = operations.interpolate(run.model, join(sources.alike(
            run.model, [latents, words.say(run.model, latents, prompt)])), len(SLIDER), even=False)
    for strip_name, strip in strips.items():
        images, families = make(run, "edit", strip, {"slider": strip_name}, found, told)
        with explained(out):
            path = Path(out) / f"strip_{''.join(c if c.isalnum() else '_' for c in strip_name)[:80]}.png"
            publishing.write_png(path, grids.grid(images, columns=len(SLIDER)),
                                 origin_of(run, records.sheet(families, len(SLIDER)), found))
        files.append(path)
    unread = () if prompt is None else sources.unread(run.model, {words.TEXT: prompt})
    return Done(files, list(dict.fromkeys([*said(found), *unread])), {})


def _along_genes(model: Model, latents: Latents, amounts: Mapping[str, float | None], learned: genetics.Genes | None
                 ) -> Latents:
    """Latents moved along genes, in their order: of words, or learned ones."""
    for name, amount in amounts.items():
        pair = words.gene(name)
        if pair is not None:
            latents = words.lean(model, latents, *pair, words.GOAL if amount is None else amount)
        else:
            assert learned is not None, "loaded where a gene is not of words"
            latents = genetics.edit(model, latents, {name: amount}, learned)
    return latents


def genes(workdir, *, learn: bool = False, **options) -> tuple[genetics.Genes, list[str]]:
    """The genes of a run, and lines that tell them; `learn` learns them first, with the options of `learning.learn`."""
    model, folder = opened(workdir).model, find(workdir)
    if learn:
        learned, said = learning.learn(folder, model, **options)
        genetics.save(folder, learned)
    else:
        learned, said = genetics.load(folder, model), []
    return learned, [*said, *table(learned)]


def recall(workdir, out, name: str) -> Done:
    """Makes a picture again, from what it says of itself; tells whether every bit is the same."""
    run = opened(workdir, "recall")
    family = publishing.read(name)
    if family is None:
        raise RunError(f"{name} has no metadata of this project; nothing is known of how it was made")
    image = again(run, family, name)
    stored, out = sources.stored(Path(name)), Path(out)
    looks = publishing.looks(image, family) if stored.shape[:2] == image.shape[:2] else []
    same = [np.array_equal(sources.color(stored), sources.color(look)) for look in looks]
    plain = publishing.settings()._replace(watermark=False)
    with explained(out):
        path = out / f"{Path(name).stem}.png"
        if path.exists() and path.samefile(name):
            raise RunError(f"{path} is the picture itself; choose another folder")
        # What was written without a watermark is written so again.
        with publishing.using(plain) if same and same[0] else contextlib.nullcontext():
            publishing.write_png(path, image, origin_of(run, family, ()))
    said = "is the same in every bit" if any(same) else "differs: another machine made it, or it was changed since"
    return Done([path], [f"{name} {said}"], {"same": any(same)})


def lineage(workdir, out, name: str) -> Done:
    """lineage.html: the family tree of a picture, on one page that needs nothing but itself."""
    run = opened(workdir, "lineage")
    family = publishing.read(name)
    if family is None:
        raise RunError(f"{name} has no metadata of this project; nothing is known of its family")
    sources.latents_of(run, family, name)  # refuses another run's picture, and a sheet
    path = Path(out) / "lineage.html"
    page = lineages.page(family, lambda one: again(run, one, "an ancestor"), title=Path(name).name)
    with explained(out):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, page)
    return Done([path], [], {"people": 1 + len(family.ancestors)})


# ------------------------------------------------------------------------------------------------------------- helpers


def parse_genes(each: Sequence[str], known: Sequence[str] = ()) -> dict[str, float | None]:
    """"expression=smiling:+1.5" -> {"expression=smiling": 1.5}; without a number, None: to the gene's goal.

    A word that is one of the known names is a gene without a number, whatever colons it has.

    Raises:
      RunError: no gene, one twice, or an amount that is no number.
    """
    if not each:
        raise RunError("no gene is given, as in --gene expression=smiling:+1.5, and no new prompt")
    found: dict[str, float | None] = {}
    for word in each:
        name, colon, amount = word.rpartition(":") if ":" in word and word not in known else (word, "", "")
        try:
            value = float(amount) if colon else None
        except ValueError:
            raise RunError(f"gene {word!r}: {amount!r} is not a number; as in {name}:+1.5") from None
        if name in found:
            raise RunError(f"gene {name!r} is given twice")
        found[name] = value
    return found


def animate(out: Path, images: np.ndarray, origin: Origin) -> list[Path]:
    """animation.webp and animation.gif: there and back, for ever."""
    factor = max(1, -(-SHOWN // images.shape[1]))
    frames = [grids.upscale(np.broadcast_to(image, (*image.shape[:2], 3)), factor) for image in images]
    frames += frames[-2:0:-1]
    paths = [out / "animation.webp", out / "animation.gif"]
    publishing.write_film(paths[0], np.stack(frames), origin, lossless=True, duration=FRAME_MS, loop=0)
    publishing.write_film(paths[1], np.stack(frames), origin, duration=FRAME_MS, loop=0)
    return paths


def table(learned: genetics.Genes) -> list[str]:
    """A line a gene: how often it reaches its goal, and what it changes besides."""
    lines = []
    for name in learned.names():
        one = learned.measured.get(name)
        if not one:
            lines.append(f"{name:32} not measured")
            continue
        leaks = sorted(((1 - kept, other) for other, kept in one["kept"].items()), reverse=True)[:3]
        told = ", ".join(f"{other} {share:.0%}" for share, other in leaks if share > 0) or "nothing else"
        if "change" in one:
            lines.append(f"{name:32} +2 changes pixels by {one['change']:g} of 255, root mean square")
        elif "reached" in one:
            lines.append(f"{name:32} reached in {one['reached']:.0%} of {one['faces']}; changes {told}")
        else:
            lines.append(f"{name:32} +2 changes {told}, in {one['faces']}")
    return lines


def _inherited(workdir, run: Open, asked: Sequence[str], parents: int) -> dict[int, np.ndarray]:
    if not asked:
        return {}
    learned = genetics.load(find(workdir), run.model)
    parts: dict[int, list[np.ndarray]] = {}
    for word in asked:
        name, _, number = word.rpartition("=")
        if not (number.isdecimal() and 1 <= int(number) <= parents):
            raise RunError(f"inherit {word!r} is not of the form attribute=parent, parent from 1 to {parents}")
        parts.setdefault(int(number) - 1, []).append(genetics.subspace(name, learned))
    return {place: np.linalg.qr(np.concatenate(each).T)[0].T for place, each in parts.items()}


def figures_line(figures: Mapping[str, Any]) -> str:
    """Figures as one JSON line."""
    return json.dumps(dict(figures))
