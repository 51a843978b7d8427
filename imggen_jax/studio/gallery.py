"""The page Gallery: everything that was made or brought, searched and seen without loading all of it."""
from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr

from imggen_jax.errors import ImggenError
from imggen_jax.studio import bench
from imggen_jax.studio.bench import Studio
from imggen_jax.studio.index import Picture

FORM = """<div class="gallery"><form role="search" aria-label="search pictures">
<label>Words of the prompt, model or verb<input type="search" name="words" autocomplete="off"></label>
<label>Model<select name="model"><option value="">every model</option></select></label>
<label>From<input type="date" name="after"></label><label>To<input type="date" name="before"></label>
<button type="reset">Show all</button></form><p class="count" role="status" aria-live="polite"></p>
<div class="view" role="group" aria-label="pictures, the newest first"><div class="space"></div></div></div>"""


class Gallery(NamedTuple):
    """The page, as far as others reach it."""

    picked: gr.Textbox
    jumps: dict[str, gr.Button]


def page(studio: Studio) -> Gallery:
    """Build the page."""
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            grid = gr.HTML(FORM, js_on_load="window.studio.gallery(element, trigger)")
        with gr.Column(scale=2, min_width=280):
            picked, told = gr.Textbox(visible=False), gr.HTML(elem_classes=["told"])
            one = gr.HTML('<div class="blank">Choose a picture to see how it was made.</div>')
            with gr.Column(visible=False) as panel:
                with gr.Row():
                    jumps = {name: gr.Button(text, size="sm", min_width=80) for name, text in bench.JUMPS.items()}
                with gr.Row():
                    family = gr.Button("All of its family", size="sm", min_width=80)
                    delete = gr.Button("Delete", size="sm", min_width=80)
                    undo = gr.Button("Undo delete", size="sm", min_width=80, visible=False)
            tree = gr.HTML(js_on_load="window.studio.shelf(element, trigger)")
    outputs = [picked, panel, one, undo, tree]

    def choose(event: gr.EventData) -> list[Any]:
        id = bench.id_of(event)
        return [*bench.chosen(studio, id), tree_html(studio, id)]

    grid.click(choose, None, outputs)
    tree.click(choose, None, outputs)
    family.click(None, [picked], None, js="(id) => { window.studio.family(id); }")
    delete.click(lambda id: bench.deleted(studio, id), [picked], [told, one, undo]).then(
        None, None, None, js="() => { window.studio.refresh(); }")
    undo.click(lambda id: bench.restored(studio, id), [picked], [told, one, undo]).then(
        None, None, None, js="() => { window.studio.refresh(); }")
    return Gallery(picked, jumps)


def tree_html(studio: Studio, id: str) -> str:
    """A picture between what it was made from and what was made of it; each leads on."""
    try:
        self = studio.home.index.get(id)
    except ImggenError:
        return ""
    parents, children = studio.home.index.parents(id), studio.home.index.children(id)[:24]
    if not parents and not children:
        return ""

    def row(title: str, pictures: Sequence[Picture], kind: str = "") -> str:
        if not pictures:
            return ""
        return (f'<h3>{html.escape(title)}</h3><div class="row{kind}">'
                f'{"".join(bench.picture_html(one) for one in pictures)}</div>')

    return (f'<div class="tree">{row("Made from", parents)}{row("This picture", [self], " self")}'
            f'{row("Made of it", children)}</div>')
