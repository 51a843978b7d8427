"""What pages that make pictures have in common: Make and Cancel, progress, results, and what to do with a result."""
from __future__ import annotations

import base64
import functools
import html
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from imggen_jax.errors import ImggenError, RunError
from imggen_jax.storage.files import disk_is_full
from imggen_jax.studio import commands, models
from imggen_jax.studio.home import Home
from imggen_jax.studio.index import ID, Picture
from imggen_jax.studio.jobs import CANCELED, Job, Jobs
from imggen_jax.studio.models import Known

TICK = 0.2            # seconds between looks at a job
JUMPS = {"edit": "Edit", "breed": "Breed", "style": "Use as style", "retouch": "Retouch"}


class Studio:
    """The studio's folder, its jobs, and where else models lie."""

    def __init__(self, home: Home, jobs: Jobs, folders: Sequence[Path] = ()):
        self.home, self.jobs = home, jobs
        self.folders = (home.runs, home.exports, home.models, *folders)
        self.current: dict[str, Job] = {}    # page -> what it makes, or made last
        self.unmeasured = threading.Event()  # set: the measurement of this machine is not wanted any more
        self._facts: dict[str, dict[str, Any]] = {}

    def models(self) -> list[Known]:
        """Those that are there now."""
        return models.known(self.folders)

    def makers(self) -> list[tuple[str, str]]:
        """(name, path) of models that make pictures."""
        return [(one.name, one.path) for one in models.makers(self.models())]

    def takes_text(self, path: str) -> bool:
        """Whether a model takes a prompt. Raises RunError where it is not there any more."""
        return self.model(path).text

    def model(self, path: str) -> Known:
        """A model by its path. Raises RunError where it is not there any more."""
        for one in self.models():
            if one.path == path:
                return one
        raise RunError(f"the model {Path(path or 'none').name} is not there any more; choose another, as avatars, "
                       "which ships")

    def facts(self, path: str) -> dict[str, Any]:
        """What `live.facts` says of a model; asked once."""
        if path not in self._facts:
            self._facts[path] = self.jobs.ask("facts", model=self.model(path).path)
        return self._facts[path]

    def forget_facts(self, path: str) -> None:
        """Ask anew next time, as genes were learned."""
        self._facts.pop(path, None)

    def file(self, id: str) -> str:
        """The file of a picture that a page names by its id. Raises RunError where there is none."""
        return str(self.home.path(self.home.index.get(id)))


class Bench(NamedTuple):
    """The widgets of one page."""

    page: str
    make: gr.Button
    cancel: gr.Button
    told: gr.HTML
    shelf: gr.HTML
    command: gr.Textbox
    picked: gr.Textbox       # id of the result that was chosen
    panel: gr.Column         # about it
    one: gr.HTML
    jumps: dict[str, gr.Button]

    @property
    def outputs(self) -> list[Any]:
        """What `follow` gives values of."""
        return [self.told, self.shelf, self.command]


def buttons(text: str) -> tuple[gr.Button, gr.Button]:
    """Make and Cancel."""
    with gr.Row():
        made = gr.Button(text, variant="primary", elem_classes=["make"], scale=3)
        canceled = gr.Button("Cancel", elem_classes=["cancel"], scale=1, min_width=96)
    return made, canceled


def bench(studio: Studio, page: str, pair: tuple[gr.Button, gr.Button], empty: str) -> Bench:
    """The results of a page, with what can be done with each.

    Args:
      page: its name.
      pair: of `buttons`.
      empty: what stands where no picture is yet.
    """
    told = gr.HTML(status_html(""), elem_classes=["told"])
    shelf = gr.HTML(f'<div class="blank">{html.escape(empty)}</div>',
                    js_on_load="window.studio.shelf(element, trigger); window.studio.compare(element)")
    picked = gr.Textbox(visible=False)
    with gr.Column(visible=False) as panel:
        one = gr.HTML()
        with gr.Row():
            vary = gr.Button("Vary", size="sm", min_width=80)
            enlarge = gr.Button("Enlarge x4", size="sm", min_width=80)
            jumps = {name: gr.Button(text, size="sm", min_width=80) for name, text in JUMPS.items()}
            delete = gr.Button("Delete", size="sm", min_width=80)
            undo = gr.Button("Undo delete", size="sm", min_width=80, visible=False)
    command = gr.Textbox(label="The command that does the same", interactive=False, buttons=["copy"], lines=1,
                         max_lines=4, elem_classes=["command"])
    made = Bench(page, *pair, told, shelf, command, picked, panel, one, jumps)
    choosing = [picked, panel, one, undo]

    def choose(event: gr.EventData) -> list[Any]:
        return chosen(studio, id_of(event))

    def again(verb: str, id: str) -> Iterator[list[Any]]:
        def words() -> tuple[list[str], Any]:
            if verb == "upscale":
                return commands.upscale(studio.file(id)), {"file": "enlarged.png"}
            picture = studio.home.index.get(id)
            if not picture.model:
                raise RunError("no model has made this picture; project it first, on the page Edit")
            draw = int(time.time()) % 100_000
            return commands.vary(picture.model, studio.file(id), draw=draw), {"expected": 6}

        yield from run(studio, lambda: start(studio, page, *words(), parents=[id]))

    shelf.click(choose, None, choosing)
    for button, verb in ((vary, "vary"), (enlarge, "upscale")):
        button.click(functools.partial(again, verb), [picked], made.outputs, show_progress="hidden")
    delete.click(lambda id: deleted(studio, id), [picked], [told, one, undo])
    undo.click(lambda id: restored(studio, id), [picked], [told, one, undo])
    made.cancel.click(lambda: cancel(studio, page), None, None, queue=False)
    return made


def start(studio: Studio, page: str, words: list[str], more: dict[str, Any], parents: Sequence[str] = ()) -> Job:
    """Begin a command for a page. Raises RunError while another one of the page runs."""
    running = studio.current.get(page)
    if running is not None and not running.done.is_set():
        raise RunError("this page is still making something; cancel it first, or wait")
    studio.current[page] = job = studio.jobs.start(words, parents=[id for id in parents if ID.fullmatch(id)], **more)
    return job


def cancel(studio: Studio, page: str) -> None:
    """End what a page makes."""
    if (job := studio.current.get(page)) is not None:
        studio.jobs.cancel(job)


def run(studio: Studio, begin: Callable[[], Job],
        results: Callable[[Job], str] | None = None) -> Iterator[list[Any]]:
    """Begin a job, and tell of it until it is done: values of `Bench.outputs`.

    Args:
      begin: gives the job; what it raises is told.
      results: HTML of what was made; None: a shelf.
    """
    try:
        job = begin()
    except (ImggenError, OSError) as error:
        yield [wrong_html(error), gr.skip(), gr.skip()]
        return
    command, before, drafted = commands.shown(job.words), None, False
    while not job.done.wait(TICK):
        now = progress_html(job, waiting=studio.jobs.busy and not job.share and job.took < TICK)
        drafts = drafts_html(job) if job.drafts and not drafted else gr.skip()
        if now != before:
            yield [now, drafts, command]
            drafted |= bool(job.drafts)
        before = now
    shown = (results or (lambda job: shelf_html(job.pictures)))(job) if job.pictures else gr.skip()
    yield [done_html(job), shown, command]


def id_of(event: gr.EventData) -> str:
    """The id of a picture that was chosen; "" where the event has none."""
    return str(getattr(event, "id", ""))


def texts(widgets: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Values of widgets, with "" for a text that is empty, of which Gradio says None."""
    return ["" if value is None and isinstance(widget, gr.Textbox) else value
            for widget, value in zip(widgets, values, strict=True)]


# ------------------------------------------------------------------------------------------------------------ as HTML


def status_html(text: str, *, error: str = "", notes: Sequence[str] = ()) -> str:
    """A line, or what is wrong; a screen reader says it."""
    wrong = f'<div class="wrong" role="alert">{html.escape(error)}</div>' if error else ""
    more = "".join(f'<div class="note">{html.escape(note)}</div>' for note in notes)
    return f'<div role="status" aria-live="polite">{html.escape(text)}{wrong}{more}</div>'


def wrong_html(error: ImggenError | OSError) -> str:
    """What is wrong, and a full disk by its name."""
    full = isinstance(error, OSError) and disk_is_full(error)
    return status_html("", error="the disk is full; make room, then do the same again" if full else str(error))


def progress_html(job: Job, *, waiting: bool = False) -> str:
    """How far a job is."""
    share, took = job.progress(), job.took
    left = f", about {max(1, round(job.seconds - took))} s left" if job.seconds and job.seconds > took + 1 else ""
    counted = f", {job.written()} of {job.expected} pictures" if job.expected > 1 and job.written() else ""
    text = "Waiting for what was begun before" if waiting else f"Making: {took:.0f} s{counted}{left}"
    return (f'<div role="status">{text}<div class="bar" role="progressbar" aria-label="progress" aria-valuemin="0" '
            f'aria-valuemax="100" aria-valuenow="{round(100 * share)}"><i style="width:{share:.0%}"></i></div></div>')


def done_html(job: Job) -> str:
    """How a job ended."""
    number = f"{len(job.pictures)} picture{'s' * (len(job.pictures) != 1)}"
    if job.code == CANCELED:
        kept = f"; {number} finished before, kept" if job.pictures else ""
        return status_html(f"Canceled{kept}.")
    if job.error:
        return status_html("", error=job.error, notes=job.notes)
    return status_html(f"{number} in {job.took:.1f} s." if job.pictures else f"Done in {job.took:.1f} s.",
                       notes=job.notes)


def shelf_html(pictures: Sequence[Picture], empty: str = "Nothing was made.") -> str:
    """Pictures to choose from."""
    if not pictures:
        return f'<div class="blank">{html.escape(empty)}</div>'
    few = " few" if len(pictures) <= 6 else ""
    return f'<ul class="shelf{few}">{"".join(f"<li>{picture_html(one)}</li>" for one in pictures)}</ul>'


def drafts_html(job: Job) -> str:
    """What will be made, as a draft of fewer steps shows it."""
    each = "".join(f'<li><img class="picture" src="data:image/png;base64,{base64.b64encode(one).decode()}" '
                   'alt="a draft"></li>' for one in job.drafts)
    return f'<p class="note">A draft, while the pictures are made:</p><ul class="shelf">{each}</ul>'


def picture_html(one: Picture) -> str:
    """A picture as a button."""
    title = html.escape(one.title, quote=True)
    return (f'<button type="button" class="picture" data-id="{one.id}" aria-label="{title}" title="{title}" '
            f'aria-pressed="false"><img src="/pictures/{one.id}/thumb" alt="" loading="lazy"></button>')


def one_html(one: Picture) -> str:
    """A picture with what is known of it."""
    rows = {"Prompt" if one.verb != "own" else "Name": one.prompt, "Seed": "" if one.seed is None else str(one.seed),
            "Made by": "you" if one.verb == "own" else one.verb,
            "Model": Path(one.model).name, "Size": f"{one.width} x {one.height}",
            "Date": time.strftime("%Y-%m-%d %H:%M", time.localtime(one.time)),
            "Command": "" if one.verb == "own" else commands.shown(one.command)}
    told = "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in rows.items() if value)
    title = html.escape(one.title, quote=True)
    return (f'<div class="one"><img src="/pictures/{one.id}/view" alt="{title}"><dl>{told}<dt>File</dt>'
            f'<dd><a href="/pictures/{one.id}/file" download>Download</a></dd></dl></div>')


def chosen(studio: Studio, id: str) -> list[Any]:
    """A picture was chosen: its id, the panel about it, and what that says, without Undo."""
    try:
        picture = studio.home.index.get(id)
        studio.home.path(picture)
    except ImggenError as error:
        return ["", gr.Column(visible=True), status_html("", error=str(error)), gr.Button(visible=False)]
    return [id, gr.Column(visible=True), one_html(picture), gr.Button(visible=False)]


def inline(path: Path) -> str:
    """A PNG file as the address of a picture."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def deleted(studio: Studio, id: str) -> list[Any]:
    """Delete a picture: a line, what stands in its place, and Undo."""
    try:
        studio.home.delete(studio.home.index.get(id))
    except (ImggenError, OSError) as error:
        return [wrong_html(error), gr.skip(), gr.skip()]
    return [status_html(f"Deleted: it lies in {studio.home.deleted} until you empty that folder."),
            '<div class="blank">Deleted.</div>', gr.Button(visible=True)]


def restored(studio: Studio, id: str) -> list[Any]:
    """Bring a deleted picture back: the same."""
    try:
        studio.home.restore_id(id)
        picture = studio.home.index.get(id)
    except (ImggenError, OSError) as error:
        return [wrong_html(error), gr.skip(), gr.skip()]
    return [status_html("It is back."), one_html(picture), gr.Button(visible=False)]
