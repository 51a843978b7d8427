"""The page Create: pictures from a prompt, or from the labels and options of a model without one."""
from __future__ import annotations

import html
import secrets
from collections.abc import Iterator
from typing import Any, NamedTuple

import gradio as gr

from imggen_jax.errors import ImggenError, RunError
from imggen_jax.studio import bench, commands
from imggen_jax.studio.bench import Bench, Studio
from imggen_jax.studio.commands import Wanted
from imggen_jax.studio.web import dumps

FIRST = "a smiling person with {blue, ginger} hair and round glasses"
EMPTY = "Write what the pictures show, and press Make, or Ctrl+Enter. Words in braces are alternatives: {red, blue}."
MOST = 64


class Create(NamedTuple):
    """The page, as far as others reach it."""

    bench: Bench
    style: gr.Textbox        # id of the picture whose style is taken
    styled: gr.HTML
    model: gr.Dropdown
    load: list[Any]          # outputs of `described`


def page(studio: Studio) -> Create:
    """Build the page."""
    makers = studio.makers()
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            model = gr.Dropdown(makers, value=makers[0][1] if makers else None, label="Model")
            prompt = gr.Textbox(FIRST, label="Prompt", lines=3, max_lines=8, elem_id="prompt",
                                info="A sentence; arrow down reaches the words that the model knows")
            known = gr.HTML(_known([]), js_on_load="window.studio.words(element)")
            label = gr.Dropdown(["any"], value="any", label="Kind", visible=False)
            with gr.Row():
                num = gr.Slider(1, 36, 4, step=1, label="Pictures", info="of each alternative")
                seed = gr.Number(1, label="Seed", precision=0, minimum=0, maximum=2**32 - 1,
                                 info="the same one gives the same pictures")
            with gr.Accordion("More", open=False):
                truncation = gr.Slider(0, 1.5, 1, step=0.05, label="Variety", info="1: as the model learned")
                with gr.Group() as of_text:
                    negative = gr.Textbox(label="Not this", info="what the pictures are kept from")
                    guidance = gr.Number(None, label="Guidance", info="how strictly the prompt is followed; empty: as "
                                                                      "the model does", minimum=0)
                    steps = gr.Number(None, label="Steps", precision=0, minimum=1, info="empty: as the model does")
                    chaos = gr.Slider(0, 100, 0, step=5, label="Chaos", info="how far each may leave the prompt")
                    stylize = gr.Slider(0, 1000, 100, step=10, label="Stylize", info="above 100: the model's own taste")
                    weird = gr.Slider(0, 3000, 0, step=100, label="Weird")
                    tile = gr.Checkbox(False, label="Make the sides fit each other (a tile)")
            style, styled = gr.Textbox("", visible=False), gr.HTML("")
            unstyle = gr.Button("Without a style", size="sm", visible=False)
            pair = bench.buttons("Make")
            new = gr.Button("Make with another seed", size="sm")
        with gr.Column(scale=3, min_width=300):
            made = bench.bench(studio, "create", pair, EMPTY)
    inputs = [model, prompt, label, num, seed, truncation, negative, guidance, steps, chaos, stylize, weird, tile,
              style]

    def make(*values: Any) -> Iterator[list[Any]]:
        yield from bench.run(studio, lambda: start(studio, *bench.texts(inputs, values)))

    made.make.click(make, inputs, made.outputs, show_progress="hidden")
    new.click(lambda: secrets.randbelow(2**32), None, [seed], show_progress="hidden").then(
        make, inputs, made.outputs, show_progress="hidden")
    load = [model, prompt, known, label, of_text]
    model.change(lambda path: described(studio, path)[1:], [model], load[1:])
    unstyle.click(lambda: style_of(studio, ""), None, [style, styled])
    return Create(made, style, styled, model, load)


def start(studio: Studio, model: str, prompt: str, label: str, num: float, seed: float, truncation: float,
          negative: str, guidance: float | None, steps: float | None, chaos: float, stylize: float, weird: float,
          tile: bool, style: str) -> bench.Job:
    """Begin to make what the page asks for. Raises RunError for what cannot be."""
    known = studio.model(model)
    if known.text and not prompt.strip():
        raise RunError("the prompt is empty; write what the pictures show")
    if not 1 <= num <= MOST:
        raise RunError(f"{num:g} pictures are asked for; from 1 to {MOST} are made at once")
    wanted = Wanted(prompt, int(num), int(seed or 0), negative, guidance, None if steps is None else int(steps), chaos,
                    stylize, weird, truncation, tile, studio.file(style) if style and known.text else "",
                    "" if label in ("any", None) else label)
    words = commands.generate(model, known.text, wanted)
    more: dict[str, Any] = {"expected": int(num) * _alternatives(prompt, known.text)}
    if known.text and wanted.steps is None and "steps" in studio.facts(model)["options"]:
        more["draft"] = ["--draft"]
    return bench.start(studio, "create", words, more, [style] if wanted.style else [])


def _alternatives(prompt: str, text: bool) -> int:
    from imggen_jax import prompts

    return len(prompts.expand(prompt)) if text else 1


def described(studio: Studio, path: str | None = None) -> list[Any]:
    """Values of `Create.load`: the models that there are, and what the chosen one takes."""
    makers = studio.makers()
    paths = [each for _, each in makers]
    path = path if path in paths else paths[0] if paths else None
    models = gr.Dropdown(makers, value=path)
    if path is None:
        return [models, gr.skip(), "", gr.skip(), gr.skip()]
    try:
        facts = studio.facts(path)
    except ImggenError as error:
        return [models, gr.skip(), bench.status_html("", error=str(error)), gr.skip(), gr.skip()]
    text = "text" in facts["needs"]
    labels = ["any", *facts["labels"]] if "label" in facts["needs"] else ["any"]
    return [models, gr.Textbox(visible=text), _known(facts["words"]),
            gr.Dropdown(labels, value="any", visible=len(labels) > 1), gr.Group(visible=text)]


def style_of(studio: Studio, id: str) -> list[Any]:
    """Values of `Create.style` and `Create.styled`: a picture whose style is taken, or none."""
    try:
        picture = studio.home.index.get(id) if id else None
    except ImggenError:
        picture = None
    if picture is None:
        return ["", ""]
    return [id, f'<div class="one" style="align-items:center"><img src="/pictures/{id}/thumb" alt="" '
                f'style="width:64px"><span>In the style of: {html.escape(picture.title)}</span></div>']


def _known(words: list[str]) -> str:
    return (f'<div class="known" role="group" aria-label="words that the model knows" data-words="'
            f'{html.escape(dumps(sorted(words)), quote=True)}"></div>')
