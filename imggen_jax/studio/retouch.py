"""The page Retouch: a part of a picture removed or made anew, a picture continued, restyled, tiled, enlarged, sketched.

The picture is marked in the browser; the mask comes with the request, is checked, and lies beside what is made of it.
"""
from __future__ import annotations

import base64
import binascii
import html
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from imggen_jax.errors import ImggenError, RunError
from imggen_jax.pictures import files
from imggen_jax.storage.files import write_atomic
from imggen_jax.studio import bench, commands
from imggen_jax.studio.bench import Bench, Studio
from imggen_jax.studio.edit import bring
from imggen_jax.studio.edit import brought as dropped

LOAD = "(id) => { window.studio.load('retouch', id); }"
MOST_MASK = 40_000_000    # characters of a mask as it comes
NO_PICTURE = '<div class="blank">Choose a picture and press Retouch, or bring one.</div>'
TASKS = {
    "Remove what is marked": "remove", "Replace it by words": "fill", "Continue beyond the edges": "outpaint",
    "Take over a style": "stylize", "Texture: more of the same": "texture", "Tile: make it repeat": "tile",
    "Enlarge": "upscale", "Translate with a model": "translate", "Sketch: paint a drawing": "sketch"}
HOW = {
    "remove": "Mark with the brush or the box what is to go.",
    "fill": "Mark what is made anew, and say what the whole picture shows. The model must make pictures of this size.",
    "outpaint": "Choose Edges and drag an edge outward, or type how many pixels to add.",
    "stylize": "Bring a painting below, or press Use as style below a picture.",
    "texture": "The picture's material, in another size.", "tile": "Its sides are made to fit; it is shown 3 x 3.",
    "upscale": "The result is shown over the picture, with a slider between them.",
    "translate": "A model that makes pictures of pictures.", "sketch": "Draw on the pad; a model paints it.",
}
TRAIN = {
    "translate": "No model for this is here yet. Train one on pairs of pictures: imggen train --config paired "
                 "--workdir {runs}/translate --config.data.folder=PAIRS",
    "sketch": "No model for this is here yet. Train one, of faces: imggen train --config sketch --workdir "
              "{runs}/sketch; or of your own pictures: add --config.data.folder=FOLDER",
}


class Retouch(NamedTuple):
    """The page, as far as others reach it."""

    bench: Bench
    enter: list[Any]         # outputs of `entered`
    style: list[Any]         # id of the painting, and what shows it


class Asked(NamedTuple):
    """What the page was told."""

    task: str
    id: str
    drawn: str               # JSON of the canvas: {"picture": a PNG as data URL, "sides": {...}}
    model: str
    words: str
    style_id: str
    strength: float
    width: float
    height: float
    scale: int
    quality: str


def page(studio: Studio) -> Retouch:
    """Build the page."""
    subject, drawn, style_id = (gr.Textbox("", visible=False) for _ in range(3))
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            with gr.Column() as on_picture:
                shown = gr.HTML(NO_PICTURE)
                gr.HTML("", elem_classes=["board"], js_on_load="window.studio.board(element, 'retouch')")
            with gr.Column(visible=False) as on_pad:
                gr.HTML("", elem_classes=["board"], js_on_load="window.studio.board(element, 'pad', true)")
            photo = gr.File(label="Bring a picture", file_types=["image"], height=140)
        with gr.Column(scale=2, min_width=300):
            task = gr.Dropdown(list(TASKS.items()), value="remove", label="What to do")
            how = gr.HTML(_how(studio, "remove"), elem_classes=["told"])
            model = gr.Dropdown([], label="Model", visible=False)
            words = gr.Textbox(label="What the picture shows", lines=2, visible=False)
            with gr.Column(visible=False) as styling:
                styled = gr.HTML()
                style = gr.File(label="Painting", file_types=["image"], height=140)
                strength = gr.Slider(0, 1, 1, step=0.05, label="Strength")
            with gr.Row(visible=False) as sizing:
                width = gr.Number(512, label="Width", precision=0, minimum=16, maximum=4096, min_width=90)
                height = gr.Number(512, label="Height", precision=0, minimum=16, maximum=4096, min_width=90)
            scale = gr.Radio([2, 3, 4], value=4, label="How many times as large", visible=False)
            quality = gr.Radio(["draft", "normal", "best"], value="draft", label="Quality", info="draft takes seconds")
            pair = bench.buttons("Make")
            made = bench.bench(studio, "retouch", pair, "What you make appears here.")
    enter = [subject, shown]
    task.change(lambda name: fitted(studio, name), [task],
                [how, model, words, styling, sizing, scale, quality, on_picture, on_pad]).then(
        None, [task], None, js="(task) => { window.studio.canvas('retouch').choose(task === 'outpaint' ? 'extend' : "
                               "'brush'); }")
    photo.upload(lambda file: brought(studio, file), [photo], [*enter, photo]).then(None, [subject], None, js=LOAD)
    inputs = [task, subject, drawn, model, words, style_id, strength, width, height, scale, quality]

    def make(*values: Any) -> Iterator[list[Any]]:
        asked = Asked(*bench.texts(inputs, values))
        yield from bench.run(studio, lambda: start(studio, asked), lambda job: result_html(asked, job))

    made.make.click(make, inputs, made.outputs, show_progress="hidden", js=(
        "(...all) => { const board = window.studio.canvas(all[0] === 'sketch' ? 'pad' : 'retouch'); "
        "all[2] = board ? board.data() : ''; return all; }"))
    style.upload(lambda file: dropped(studio, file), [style], [style_id, styled, style])
    return Retouch(made, enter, [style_id, styled])


def entered(studio: Studio, id: str) -> list[Any]:
    """Values of `Retouch.enter`: a picture to be retouched."""
    try:
        picture = studio.home.index.get(id)
    except ImggenError as error:
        return ["", bench.status_html("", error=str(error))]
    return [id, bench.status_html(f"{picture.title}, {picture.width} x {picture.height}")]


def brought(studio: Studio, file: str | None) -> list[Any]:
    """Values of `Retouch.enter`, and of the field that a picture was dropped in, which is emptied."""
    if not file:
        return [gr.skip(), gr.skip(), gr.skip()]
    try:
        return [*entered(studio, bring(studio, file)), None]
    except ImggenError as error:
        return ["", bench.status_html("", error=str(error)), None]


def fitted(studio: Studio, task: str) -> list[Any]:
    """The widgets that a task needs."""
    models = _models(studio, task)
    return [_how(studio, task),
            gr.Dropdown(models, value=models[0][1] if models else None, visible=bool(models)),
            gr.Textbox(visible=task == "fill"), gr.Column(visible=task == "stylize"), gr.Row(visible=task == "texture"),
            gr.Radio(visible=task == "upscale"),
            gr.Radio(visible=task in ("remove", "outpaint", "stylize", "texture", "tile")),
            gr.Column(visible=task != "sketch"), gr.Column(visible=task == "sketch")]


def start(studio: Studio, asked: Asked) -> bench.Job:
    """Begin to make what the page asks for. Raises RunError for what cannot be."""
    task, parents = asked.task, [asked.id] if asked.id else []
    if task not in HOW:
        raise RunError(f"the task {task[:40]!r} is unknown; choose one of the list")
    if task == "sketch":
        image = str(_drawing(studio, _canvas(asked.drawn), least=True))
        parents = []
    elif not asked.id:
        raise RunError("no picture is chosen; bring one, or choose one on another page and press Retouch")
    else:
        image = studio.file(asked.id)
    if task in TRAIN and not _models(studio, task):
        raise RunError(TRAIN[task].format(runs=studio.home.runs))
    if task == "stylize":
        if not asked.style_id:
            raise RunError("no painting is given; bring one, or press Use as style below a picture")
        return _begin(studio, commands.stylize(image, studio.file(asked.style_id), asked.strength, asked.quality),
                      [*parents, asked.style_id])
    return _begin(studio, _words(studio, asked, image), parents)


def _words(studio: Studio, asked: Asked, image: str) -> list[str]:
    match asked.task:
        case "remove":
            return commands.remove(image, _mask(studio, asked.drawn), asked.quality)
        case "fill":
            if not asked.words.strip():
                raise RunError("say what the whole picture is to show")
            return commands.fill(asked.model, image, _mask(studio, asked.drawn), asked.words)
        case "outpaint":
            sides = _sides(_canvas(asked.drawn))
            if not any(sides.values()):
                raise RunError("no edge was moved; choose Edges and drag one outward, or type how many pixels to add")
            return commands.outpaint(image, sides, asked.quality)
        case "texture":
            return commands.texture(image, int(asked.width), int(asked.height), asked.quality)
        case "tile":
            return commands.tile(image, asked.quality)
        case "upscale":
            return commands.upscale(image, int(asked.scale))
    return commands.translate(asked.task, image, asked.model)


def _begin(studio: Studio, words: list[str], parents: list[str]) -> bench.Job:
    more = {"expected": 4} if words[0] == "generate" else {"file": "made.png"}
    return bench.start(studio, "retouch", words, more, parents)


def result_html(asked: Asked, job: bench.Job) -> str:
    """What was made: over the picture before where it was enlarged, repeated where it is a tile."""
    shelf = bench.shelf_html(job.pictures)
    if asked.task == "upscale":
        return (f'<div class="compare"><img src="/pictures/{job.pictures[0].id}/view" alt="enlarged">'
                f'<img class="before" src="/pictures/{asked.id}/view" alt="before"><span class="line"></span>'
                f'<input type="range" min="0" max="100" value="50" aria-label="how much of the picture before is seen">'
                f"</div>{shelf}")
    if asked.task == "tile":
        return (f'<div class="tiled" role="img" aria-label="the tile, three by three" style="background-image:'
                f"url('/pictures/{job.pictures[0].id}/view')\"></div>{shelf}")
    return shelf


def _how(studio: Studio, task: str) -> str:
    text = HOW[task]
    if task in TRAIN and not _models(studio, task):
        text = TRAIN[task].format(runs=studio.home.runs)
    return f"<p>{html.escape(text)}</p>"


def _models(studio: Studio, task: str) -> list[tuple[str, str]]:
    kinds = {"translate": ("translator",), "sketch": ("sketch", "translator")}.get(task, ())
    return [(one.name, one.path) for one in studio.models()
            if one.kind in kinds or task == "fill" and one.kind == "maker" and one.text]


# ------------------------------------------------------------------------------------------- what the canvas has sent


def _canvas(drawn: str) -> dict[str, Any]:
    """What the canvas holds, checked. Raises RunError where it is none."""
    try:
        if len(drawn) > MOST_MASK:
            raise ValueError("too long")
        found = json.loads(drawn)
        head, comma, body = found["picture"].partition(",")
        if head != "data:image/png;base64" or not comma:
            raise ValueError("no PNG")
        return {"png": base64.b64decode(body, validate=True), "sides": dict(found["sides"])}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise RunError(f"the drawing did not arrive whole ({error}); reload the page and mark again") from None


def _sides(canvas: dict[str, Any]) -> dict[str, int]:
    try:
        found = {side: int(canvas["sides"].get(side, 0)) for side in ("left", "right", "top", "bottom")}
    except (TypeError, ValueError, OverflowError):
        raise RunError("the edges did not arrive whole; reload the page and drag again") from None
    if wrong := [side for side, pixels in found.items() if not 0 <= pixels <= 4096]:
        raise RunError(f"{found[wrong[0]]} pixels at the {wrong[0]} are out of range; add 0 to 4096")
    return found


def _mask(studio: Studio, drawn: str) -> str:
    return str(_drawing(studio, _canvas(drawn), least=True))


def _drawing(studio: Studio, canvas: dict[str, Any], *, least: bool) -> Path:
    """The file of what was drawn, in the studio's folder. least: refuse one that is all of one color."""
    picture = files.decoded(canvas["png"], "the drawing")
    if least and picture.pixels[..., :3].min() == picture.pixels[..., :3].max():
        raise RunError("nothing is drawn or marked; use the brush or the box")
    path = studio.home.cache / "drawn" / f"{secrets.token_hex(8)}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, canvas["png"])
    return path
