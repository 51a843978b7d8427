"""The page My pictures: a folder or zip of pictures looked through, trained on, and what became of it."""
from __future__ import annotations

import functools
import html
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from imggen_jax.errors import ImggenError, RunError
from imggen_jax.pictures.files import READ
from imggen_jax.studio import bench, commands, runs
from imggen_jax.studio.bench import Studio
from imggen_jax.studio.runs import PRESETS, State

EMPTY = '<div class="blank">No training yet. Bring pictures above, look through them, and press Train.</div>'
COLORS = ("#6366f1", "#e0325c", "#0f9f6e", "#d97706")


def page(studio: Studio) -> None:
    """Build the page."""
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            name = gr.Textbox("my pictures", label="Name", max_lines=1)
            drop = gr.File(label="Pictures, or a zip of them", file_count="multiple", height=140,
                           file_types=["image", ".zip", ".tar"])
            path = gr.Textbox(label="Or a folder on this computer", placeholder="~/Pictures/holiday", max_lines=1)
            looking = gr.Button("Look through them")
            preset = gr.Radio([(one.title, key) for key, one in PRESETS.items()], value="quick", label="Train for")
            expected = gr.HTML(expected_html(studio, "quick"), elem_classes=["told"])
            training, canceled = bench.buttons("Train")
        with gr.Column(scale=3, min_width=300):
            told = gr.HTML(elem_classes=["told"])
            found = gr.HTML('<div class="blank">What is found and what is left out is shown here.</div>')
            command = gr.Textbox(label="The command that does the same", interactive=False, buttons=["copy"], lines=1,
                                 max_lines=4)
    gr.Markdown("### Trainings")
    chosen = gr.CheckboxGroup([], label="Chosen", info="one, or several to compare")
    with gr.Row():
        stop, go_on = gr.Button("Stop", size="sm"), gr.Button("Go on", size="sm")
        export = gr.Button("Export", size="sm")
        new_name = gr.Textbox(show_label=False, placeholder="new name", container=False, max_lines=1, min_width=120)
        rename = gr.Button("Rename", size="sm")
    acted, exported = gr.HTML(elem_classes=["told"]), gr.File(label="Exported", visible=False, interactive=False)
    shown = gr.HTML(runs_html(studio, []))
    timer = gr.Timer(3.0)

    def look(name: str | None, files: list[str] | None, path: str | None, preset: str) -> Iterator[list[Any]]:
        yield from looked(studio, name or "", files, path or "", preset)

    def train(name: str | None, files: list[str] | None, path: str | None, preset: str) -> Iterator[list[Any]]:
        yield from trained(studio, name or "", files, path or "", preset)

    looking.click(look, [name, drop, path, preset], [told, found, command], show_progress="hidden")
    training.click(train, [name, drop, path, preset], [told, found, command], show_progress="hidden").then(
        lambda key: expected_html(studio, key), [preset], [expected], show_progress="hidden")
    canceled.click(lambda: cancel(studio), None, None, queue=False)
    preset.change(lambda key: expected_html(studio, key), [preset], [expected])
    listed = gr.State([])
    timer.tick(lambda picked, before: ticked(studio, picked, before), [chosen, listed], [shown, chosen, listed],
               show_progress="hidden")
    chosen.input(lambda picked: runs_html(studio, picked), [chosen], [shown])
    stop.click(lambda picked: _each(studio, picked, runs.stop, "is saving and ends then"), [chosen], [acted])
    go_on.click(lambda picked: _each(studio, picked, runs.go_on, "goes on"), [chosen], [acted])
    rename.click(lambda picked, text: _renamed(studio, picked, text or ""), [chosen, new_name], [acted, chosen])
    export.click(functools.partial(exporting, studio), [chosen], [acted, exported])


def looked(studio: Studio, name: str, files: Sequence[str] | None, path: str, preset: str) -> Iterator[list[Any]]:
    """Look through pictures: a line, what was found and left out, the command."""
    try:
        folder = source(studio, name, files, path)
        words = commands.look(str(folder), PRESETS[preset].size)
        job = bench.start(studio, "collection", words, {"files": False})
    except (ImggenError, OSError) as error:
        yield [bench.wrong_html(error), gr.skip(), gr.skip()]
        return
    while not job.done.wait(0.3):
        yield [bench.progress_html(job), gr.skip(), commands.shown(words)]
    yield [bench.done_html(job), found_html(job.said) if job.said else gr.skip(), commands.shown(words)]


def trained(studio: Studio, name: str, files: Sequence[str] | None, path: str, preset: str) -> Iterator[list[Any]]:
    """Measure this machine where that was not done yet, then begin a run: a line, nothing, the command."""
    chosen = PRESETS[preset]
    try:
        folder, workdir = source(studio, name, files, path), studio.home.named(studio.home.runs, name)
        if workdir.exists():
            raise RunError(f"there is a training {name.strip()!r} already; choose another name, or go on with it below")
        speed = runs.speed_of(studio.home.index, chosen)
        if speed is None:
            yield [bench.status_html("Measuring how fast this computer trains; about a minute ..."), gr.skip(), ""]
            studio.unmeasured.clear()
            speed = runs.measure(studio.home.index, chosen, str(folder), studio.home.cache, studio.unmeasured)
        images = runs.images_of(chosen, speed)
        words = runs.begin(workdir, chosen, str(folder), images)
    except (ImggenError, OSError) as error:
        yield [bench.wrong_html(error), gr.skip(), gr.skip()]
        return
    yield [bench.status_html(f"{name.strip()} is training: {images:,} pictures seen, at {speed:.0f} a second, take "
                             f"{runs.age(images / speed)}. It goes on when this page is closed."),
           gr.skip(), commands.shown(words)]


def cancel(studio: Studio) -> None:
    """End what the page looks through, exports or measures; a training that has begun has its own Stop."""
    studio.unmeasured.set()
    bench.cancel(studio, "collection")


def source(studio: Studio, name: str, files: Sequence[str] | None, path: str) -> Path:
    """The folder, zip or tar of pictures that the page means; uploads are moved to the studio's folder, once.

    Raises:
      RunError: nothing is named, or what is named is not there.
    """
    if path.strip():
        found = Path(path.strip()).expanduser()
        if not found.exists():
            raise RunError(f"there is no folder or file {path.strip()}")
        return found.absolute()
    place = studio.home.named(studio.home.collections, name)
    for each in map(Path, files or ()):
        if each.is_file():
            if each.suffix.lower() not in (*READ, ".zip", ".tar"):
                raise RunError(f"{each.name} is neither a picture nor a zip; leave it out")
            place.mkdir(parents=True, exist_ok=True)
            shutil.move(each, place / _free(place, each.name))
    inside = sorted(place.iterdir()) if place.is_dir() else []
    if not inside:
        raise RunError("no pictures are given; drop some, or name a folder")
    packed = [one for one in inside if one.suffix.lower() in (".zip", ".tar")]
    return packed[0] if len(packed) == len(inside) == 1 else place


def _free(folder: Path, name: str) -> str:
    """A name that is not taken in a folder, of the letters of another one."""
    kept = "".join(letter if letter.isalnum() or letter in " ._-" else "_" for letter in name).lstrip(".")[-100:]
    stem, suffix = Path(kept or "picture").stem, Path(kept).suffix
    tried, number = f"{stem}{suffix}", 1
    while (folder / tried).exists():
        number += 1
        tried = f"{stem}_{number}{suffix}"
    return tried


def expected_html(studio: Studio, preset: str) -> str:
    """What a preset means on this machine."""
    one = PRESETS[preset]
    speed = runs.speed_of(studio.home.index, one)
    by = "measured here" if speed else "by estimate; this computer is measured first"
    return (f"<p>{runs.images_of(one, speed):,} pictures are seen in {runs.age(60 * one.minutes)}, at "
            f"{speed or one.guess:.0f} a second ({by}).</p>")


def found_html(lines: Sequence[str]) -> str:
    """The lines of `imggen data` as a table."""
    rows = [(line[:18].strip(), line[18:].strip()) for line in lines if len(line) > 18]
    return ('<table class="facts"><tbody>' + "".join(
        f"<tr><td>{html.escape(key)}</td><td>{html.escape(value)}</td></tr>" for key, value in rows
        if key not in ("Train with it", "Dataset")) + "</tbody></table>")


def runs_html(studio: Studio, chosen: Sequence[str]) -> str:
    """The trainings, or those that are chosen, beside each other."""
    states = [one for one in runs.every(studio.home.runs) if not chosen or one.name in chosen]
    return f'<div class="runs">{"".join(map(run_html, states))}</div>' if states else EMPTY


def ticked(studio: Studio, chosen: Sequence[str], before: Sequence[str]) -> list[Any]:
    """The trainings as they are now; what may be chosen only where that is new, so that no click is undone."""
    names = [one.name for one in runs.every(studio.home.runs)]
    choices = _choices(studio, chosen) if set(names) != set(before) else gr.skip()
    return [runs_html(studio, chosen), choices, names]


def run_html(one: State) -> str:
    """A training: how far it is, its curve, its newest samples."""
    share = min(1.0, one.images / max(1, one.total))
    left = f", about {runs.age(one.left)} left" if one.left else ""
    speed = f", {one.speed:.0f} a second" if one.speed else ""
    said = one.said if one.state == "failed" else ""
    name = html.escape(one.name, quote=True)
    samples = f'<img src="{bench.inline(one.samples)}" alt="the newest samples of {name}">' if one.samples else ""
    return (f'<div class="run"><h3>{name}</h3><p>{one.state}: {one.images:,} of {one.total:,} pictures '
            f'({share:.0%}){speed}{left}</p>{f"<p>{html.escape(said)}</p>" if said else ""}'
            f"{curve_svg(one.losses)}{samples}</div>")


def curve_svg(losses: dict[str, list[tuple[int, float]]]) -> str:
    """Losses over pictures seen, each in its own range."""
    lines, named = [], []
    for color, (name, points) in zip(COLORS, losses.items()):
        if len(points) < 2:
            continue
        xs, ys = zip(*points)
        low, high, last = min(ys), max(ys), xs[-1] or 1
        path = " ".join(f"{4 + 292 * x / last:.1f},{96 - 88 * (y - low) / ((high - low) or 1):.1f}"
                        for x, y in points[::max(1, len(points) // 200)])
        lines.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.6"/>')
        named.append(f'<span style="border-left:4px solid {color};padding-left:5px;margin-right:10px">'
                     f"{html.escape(name)}: {ys[-1]:.4g}</span>")
    if not lines:
        return ""
    return (f'<svg viewBox="0 0 300 100" role="img" aria-label="losses, each in its own range">{"".join(lines)}</svg>'
            f'<p>{"".join(named)}</p>')


def exporting(studio: Studio, picked: Sequence[str]) -> Iterator[list[Any]]:
    """Export the chosen run: a line, and a zip to download."""
    try:
        if len(picked) != 1:
            raise RunError("choose one training to export")
        out, number = studio.home.exports / picked[0], 2
        while out.exists():
            out, number = studio.home.exports / f"{picked[0]} {number}", number + 1
        words = commands.export(str(studio.home.named(studio.home.runs, picked[0])), str(out))
        job = bench.start(studio, "collection", words, {"files": False})
        while not job.done.wait(0.3):
            yield [bench.progress_html(job), gr.skip()]
        if job.error:
            raise RunError(job.error)
        packed = runs.archive(out, studio.home.cache / "uploads")
    except (ImggenError, OSError) as error:
        yield [bench.wrong_html(error), gr.skip()]
        return
    yield [bench.status_html(f"Exported to {out}; it is among the models now. {commands.shown(words)}"),
           gr.File(str(packed), visible=True)]


def _each(studio: Studio, picked: Sequence[str], act: Callable[[Path], Any], said: str) -> str:
    if not picked:
        return bench.status_html("", error="choose a training first")
    lines = []
    for name in picked:
        try:
            act(studio.home.named(studio.home.runs, name))
            lines.append(f"{name} {said}.")
        except (ImggenError, OSError) as error:
            lines.append(str(error))
    return bench.status_html(" ".join(lines))


def _renamed(studio: Studio, picked: Sequence[str], text: str) -> list[Any]:
    try:
        if len(picked) != 1:
            raise RunError("choose one training to rename")
        runs.rename(studio.home.named(studio.home.runs, picked[0]), studio.home.named(studio.home.runs, text))
    except (ImggenError, OSError) as error:
        return [bench.wrong_html(error), gr.skip()]
    return [bench.status_html(f"{picked[0]} is called {text.strip()} now."), _choices(studio, [text.strip()])]


def _choices(studio: Studio, picked: Sequence[str]) -> Any:
    names = [one.name for one in runs.every(studio.home.runs)]
    return gr.CheckboxGroup(names, value=[name for name in picked if name in names])
