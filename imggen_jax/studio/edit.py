"""The page Edit: a picture under sliders, one's own photo in a model, ways between pictures, and children of them."""
from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from imggen_jax.errors import ImggenError, RunError
from imggen_jax.studio import bench, commands
from imggen_jax.studio.bench import Bench, Studio
from imggen_jax.studio.index import Asked, Picture

SLIDERS = 8
FAR = 1.5                 # of genes of words; learned ones go to 3
MOST_PARENTS = 5
# Sliders that a model of words begins with, as far as it knows these words.
PAIRS = ("smiling|sad", "glasses|no glasses", "a beard|no beard", "long hair|bald head", "blue hair|black hair",
         "dark skin|pale skin")
NO_PICTURE = '<div class="blank">Choose a picture on the page Create or Gallery and press Edit, or bring a photo.</div>'
FOREIGN = "This model has not made the picture: find it in the model first, under “A photo of yours”"
NO_TRAY = '<div class="blank">Press Breed below a picture, or choose some of these.</div>'


class Edit(NamedTuple):
    """The page, as far as others reach it."""

    bench: Bench
    enter: list[Any]         # outputs of `entered`
    tray: gr.Textbox
    gather: list[Any]        # outputs of `gathered`
    load: list[Any]          # outputs of `offered`


def page(studio: Studio) -> Edit:
    """Build the page."""
    makers = studio.makers()
    subject, genes, tray = (gr.Textbox(value, visible=False) for value in ("", "[]", ""))
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            model = gr.Dropdown(makers, value=makers[0][1] if makers else None, label="Model")
            with gr.Tabs(overflow_behavior="wrap"):
                with gr.Tab("Change"):
                    shown = gr.HTML(NO_PICTURE, elem_classes=["live"])
                    sliders = [gr.Slider(-3, 3, 0, step=0.1, label="slider", visible=False) for _ in range(SLIDERS)]
                    with gr.Accordion("A slider of your own", open=False):
                        with gr.Row():
                            towards = gr.Textbox(label="Towards", placeholder="curly hair", min_width=100)
                            against = gr.Textbox(label="Away from", placeholder="bald head", min_width=100)
                        add = gr.Button("Add it", size="sm")
                        learn = gr.Button("Find sliders without words", size="sm")
                    pair = bench.buttons("Keep this")
                    zero = gr.Button("All to the middle", size="sm")
                with gr.Tab("Breed and morph") as of_several:
                    trayed = gr.HTML(NO_TRAY)
                    clear = gr.Button("Empty the tray", size="sm")
                    recent = gr.HTML(js_on_load="window.studio.shelf(element, trigger)")
                    num = gr.Slider(1, 16, 6, step=1, label="Children")
                    mutate = gr.Slider(0, 1, 0.3, step=0.05, label="Mutation", info="away from their parents")
                    breeding, *ending = bench.buttons("Breed")
                    frames = gr.Slider(8, 60, 24, step=4, label="Frames")
                    morphing = gr.Button("Morph from each to the next")
                with gr.Tab("A photo of yours"):
                    photo_id, mine = gr.Textbox("", visible=False), gr.HTML()
                    photo = gr.File(label="Photo", file_types=["image"], height=140)
                    what = gr.Textbox(label="What it shows", info="in words that the model knows, if it takes words")
                    projecting, end = bench.buttons("Find it in the model")
                    ending.append(end)
        with gr.Column(scale=3, min_width=300):
            made = bench.bench(studio, "edit", pair, "What you keep, breed or find appears here.")
    enter, gather = [model, subject, shown, genes, photo_id, mine, *sliders], [tray, trayed, recent]

    def live(model: str, id: str | None, names: str, *amounts: float) -> Any:
        return live_html(studio, model, id or "", amounts_of(names, amounts))

    moving = [model, subject, genes, *sliders]
    for slider in sliders:
        slider.input(live, moving, [shown], show_progress="hidden", trigger_mode="always_last", queue=True)
    zero.click(lambda: [0.0] * SLIDERS, None, sliders).then(live, moving, [shown], show_progress="hidden")
    add.click(lambda names, a, b: added(names, a, b), [genes, towards, against], [genes, *sliders])
    model.change(lambda path, id: entered(studio, id, path), [model, subject], enter)

    def pick(known: str | None, event: gr.EventData) -> list[Any]:
        return gathered(studio, bench.id_of(event), known)

    def keep(model: str, id: str | None, names: str, *amounts: float) -> Iterator[list[Any]]:
        yield from bench.run(studio, lambda: start_edit(studio, model, id or "", amounts_of(names, amounts)))

    def breed(model: str, ids: str | None, num: float, mutate: float) -> Iterator[list[Any]]:
        yield from bench.run(studio, lambda: start_breed(studio, model, _ids(ids), int(num), mutate))

    def morph(model: str, ids: str | None, frames: float) -> Iterator[list[Any]]:
        yield from bench.run(studio, lambda: start_morph(studio, model, _ids(ids), int(frames)))

    def project(model: str, id: str | None, what: str | None) -> Iterator[list[Any]]:
        yield from bench.run(studio, lambda: start_project(studio, model, id or "", what or ""))

    def find(model: str) -> Iterator[list[Any]]:
        yield from bench.run(studio, lambda: start_learn(studio, model))

    photo.upload(lambda file: brought(studio, file), [photo], [photo_id, mine, photo])
    recent.click(pick, [tray], gather)
    of_several.select(lambda known: gathered(studio, "", known), [tray], gather, show_progress="hidden")
    clear.click(lambda: gathered(studio, "", ""), None, gather)
    made.make.click(keep, moving, made.outputs, show_progress="hidden")
    breeding.click(breed, [model, tray, num, mutate], made.outputs, show_progress="hidden")
    morphing.click(morph, [model, tray, frames], made.outputs, show_progress="hidden")
    projecting.click(project, [model, photo_id, what], made.outputs, show_progress="hidden")
    for end in ending:
        end.click(lambda: bench.cancel(studio, "edit"), None, None, queue=False)
    learn.click(find, [model], made.outputs).then(lambda path, id: entered(studio, id, path), [model, subject], enter)
    return Edit(made, enter, tray, gather, [*enter, recent])


def offered(studio: Studio) -> list[Any]:
    """Values of `Edit.load`: the models that there are, and pictures for the tray."""
    known = [path for _, path in studio.makers()]
    newest = next((one for one in studio.home.index.find(limit=24) if one.model in known), None)
    model, *rest = entered(studio, newest.id if newest else "")
    return [gr.Dropdown(studio.makers(), value=model) if isinstance(model, str) else model, *rest, _recent(studio)]


def entered(studio: Studio, id: str | None, model: str = "") -> list[Any]:
    """Values of `Edit.enter`: a picture to be edited, with the sliders of a model, or of the one that made it."""
    id = id or ""
    try:
        picture = studio.home.index.get(id) if id else None
        model = model or (picture.model if picture else "") or studio.makers()[0][1]
        names = genes_of(studio.facts(model))
    except (ImggenError, IndexError) as error:
        return [gr.skip(), id, bench.status_html("", error=str(error)), "[]", *[gr.skip()] * (2 + SLIDERS)]
    shown, photo = NO_PICTURE, [gr.skip(), gr.skip()]
    if picture is not None:
        shown = f'<img src="/pictures/{id}/view" alt="{html.escape(picture.title, quote=True)}">'
        if picture.model != model:
            shown += bench.status_html("", notes=[FOREIGN])
            photo = [id, _small(picture)]
    return [model, id, shown, json.dumps(names), *photo, *_sliders(names)]


def genes_of(facts: dict[str, Any]) -> list[str]:
    """The sliders that a model begins with: its learned genes, or pairs of words that it knows."""
    if facts["genes"]:
        return facts["genes"][:SLIDERS]
    known = set(facts["words"])
    return [pair for pair in PAIRS if facts["mixes"] and set(pair.replace("|", " ").split()) <= known]


def amounts_of(names: str, amounts: Sequence[float]) -> dict[str, float]:
    """What the sliders say: gene -> amount, of those that there are."""
    return dict(zip(json.loads(names or "[]"), map(float, amounts)))


def added(names: str, towards: str | None, against: str | None) -> list[Any]:
    """One more slider, of two texts; what is there already, or too much, changes nothing."""
    each = [(text or "").strip() for text in (towards, against)]
    known, new = json.loads(names or "[]"), "|".join(each)
    if all(each) and "|" not in "".join(each) and new not in known:
        known = [*known[:SLIDERS - 1], new]
    return [json.dumps(known), *map(_slider, known), *[gr.Slider(visible=False)] * (SLIDERS - len(known))]


def live_html(studio: Studio, model: str, id: str, amounts: dict[str, float]) -> str:
    """The picture as the sliders stand."""
    if not id:
        return NO_PICTURE
    try:
        answer = studio.jobs.ask("show", model=model, picture=_editable(studio, model, id), amounts=amounts)
    except ImggenError as error:
        return bench.status_html("", error=str(error))
    return f'<img src="data:image/png;base64,{answer["png"]}" alt="the picture as the sliders stand">'


def start_edit(studio: Studio, model: str, id: str, amounts: dict[str, float]) -> bench.Job:
    """Keep what the sliders show."""
    if not id:
        raise RunError("no picture is chosen; choose one on the page Create or Gallery and press Edit")
    if not any(amounts.values()):
        raise RunError("all sliders are in the middle, so there is nothing to keep; move one")
    return bench.start(studio, "edit", commands.edit(model, _editable(studio, model, id), amounts), {}, [id])


def _editable(studio: Studio, model: str, id: str) -> str:
    """The file of a picture. Raises RunError where a model that works with words has not made it, and knows none."""
    if "text" in studio.facts(model)["needs"] and studio.home.index.get(id).model != model:
        raise RunError(FOREIGN)
    return studio.file(id)


def start_breed(studio: Studio, model: str, ids: Sequence[str], num: int, mutate: float) -> bench.Job:
    """Children of the pictures in the tray."""
    files = _tray(studio, ids, 1)
    return bench.start(studio, "edit", commands.breed(model, files, num, mutate), {"expected": num}, ids)


def start_morph(studio: Studio, model: str, ids: Sequence[str], frames: int) -> bench.Job:
    """An animation from each picture in the tray to the next."""
    files = _tray(studio, ids, 2)
    return bench.start(studio, "edit", commands.interpolate(model, files, frames), {"expected": frames}, ids)


def start_project(studio: Studio, model: str, id: str, what: str) -> bench.Job:
    """The model's picture that is nearest to a photo."""
    if not id:
        raise RunError("no photo is given; drop one above")
    text = studio.takes_text(model)
    if text and not what.strip():
        raise RunError("this model works with words: say what the photo shows")
    return bench.start(studio, "edit", commands.project(model, studio.file(id), what if text else ""), {}, [id])


def start_learn(studio: Studio, model: str) -> bench.Job:
    """Learn sliders of a model without words."""
    if studio.takes_text(model):
        raise RunError("this model has sliders of words; make one of your own above")
    words = ["genes", "--model", model, "--learn", "--method", "pca", "--faces", "32"]
    return bench.start(studio, "edit", words, {"files": False, "then": lambda job: studio.forget_facts(model)})


def bring(studio: Studio, file: str) -> str:
    """The id of an uploaded picture, which is taken into the studio; the upload is removed."""
    path = Path(file)
    try:
        return studio.home.bring(path, path.name).id
    finally:
        path.unlink(missing_ok=True)


def brought(studio: Studio, file: str | None) -> list[Any]:
    """A dropped picture's id, what shows it, and the emptied field."""
    if not file:
        return [gr.skip(), gr.skip(), gr.skip()]
    try:
        picture = studio.home.index.get(bring(studio, file))
    except ImggenError as error:
        return ["", bench.status_html("", error=str(error)), None]
    return [picture.id, _small(picture), None]


def _small(picture: Picture) -> str:
    return (f'<div class="one"><img src="/pictures/{picture.id}/thumb" alt="" style="width:96px">'
            f"<span>{html.escape(picture.title)}</span></div>")


def gathered(studio: Studio, id: str, known: str | None) -> list[Any]:
    """Values of `Edit.gather`: the tray with one more picture; without an id, as it is."""
    ids = _ids(known)
    if id and id not in ids:
        ids = [*ids, id][-MOST_PARENTS:]
    found = []
    for each in ids:
        try:
            found.append(studio.home.index.get(each))
        except ImggenError:
            continue
    return [",".join(one.id for one in found), bench.shelf_html(found) if found else NO_TRAY, _recent(studio)]


def _recent(studio: Studio) -> str:
    return bench.shelf_html([one for one in studio.home.index.find(Asked(), limit=24) if one.model][:12],
                            "Pictures that you make can be chosen here.")


def _tray(studio: Studio, ids: Sequence[str], least: int) -> list[str]:
    if len(ids) < least:
        raise RunError(f"{'no picture is' if not ids else 'one picture is'} in the tray; choose at least {least}")
    return [studio.file(id) for id in ids]


def _ids(text: str | None) -> list[str]:
    return [each for each in (text or "").split(",") if each]


def _sliders(names: Sequence[str]) -> list[Any]:
    return [*(_slider(name, value=0) for name in names), *[gr.Slider(value=0, visible=False)] * (SLIDERS - len(names))]


def _slider(name: str, **more: Any) -> gr.Slider:
    """The slider of a gene; without a value, where it stands."""
    far = FAR if "|" in name else 3
    return gr.Slider(minimum=-far, maximum=far, label=_label(name), visible=True, **more)


def _label(name: str) -> str:
    towards, bar, against = name.partition("|")
    if found := re.fullmatch(r"pca(\d+)", name):  # learned without labels
        return f"direction {found[1]}"
    return f"{against}  ↔  {towards}" if bar else name.replace("=", ": ").replace("_", " ")
