"""The studio: its pages, how one leads to another, and the server that shows them."""
from __future__ import annotations

import functools
import os
import shutil
import time
from collections.abc import Iterator
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"      # before Gradio is imported
os.environ["HF_HUB_OFFLINE"] = "1"

import fastapi
import gradio as gr
from gradio import themes

from imggen_jax.studio import bench, check, collection, create, edit, gallery, retouch, web
from imggen_jax.studio.bench import Studio

MOST_WAIT = 120       # seconds for the first pictures
STYLE = '<link rel="stylesheet" href="/studio/studio.css">'
# Gradio adds its `head` by a script; what is said where scripts fail has to be in the page itself.
HEAD = ('<script src="/studio/studio.js"></script>'
        "<noscript><p>The studio's pages need JavaScript: allow it for this address, which is this computer, and "
        "reload.</p></noscript>")
FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]     # of the reader's computer
MONO = ["ui-monospace", "Menlo", "Consolas", "monospace"]


def theme() -> themes.Base:
    """Colors with a contrast of AA, and no font from elsewhere."""
    return themes.Base(primary_hue="indigo", neutral_hue="slate", font=FONT, font_mono=MONO).set(
        block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700", block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700", block_title_text_color_dark="*neutral_200",
        body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300",
        input_placeholder_color="*neutral_500", input_placeholder_color_dark="*neutral_400",
        color_accent="#4338ca", block_radius="12px", button_large_radius="10px",
        button_small_radius="8px", button_medium_radius="10px", button_large_text_weight="600",
        input_border_width="1px", body_background_fill="*neutral_50", body_background_fill_dark="*neutral_950",
        input_background_fill="white", input_background_fill_dark="*neutral_800")


def pages(studio: Studio) -> gr.Blocks:
    """All pages as one Gradio application."""
    with gr.Blocks(title="imggen studio", analytics_enabled=False, delete_cache=(3600, 86400)) as blocks:
        gr.HTML('<div id="masthead"><h1>imggen studio</h1><p>Everything runs on this computer, and stays on it.</p>'
                '</div>')
        with gr.Tabs(overflow_behavior="wrap") as tabs:
            with gr.Tab("Create", id="create"):
                creating = create.page(studio)
            with gr.Tab("Edit", id="edit"):
                editing = edit.page(studio)
            with gr.Tab("Retouch", id="retouch"):
                retouching = retouch.page(studio)
            with gr.Tab("My pictures", id="collection"):
                collection.page(studio)
            with gr.Tab("Check", id="check"):
                check.page(studio)
            with gr.Tab("Gallery", id="gallery") as shown:
                all_of_them = gallery.page(studio)
        shown.select(None, None, None, js="() => { window.studio.refresh(); }")
        for picked, jumps in ((each.picked, each.jumps) for each in (
                creating.bench, editing.bench, retouching.bench, all_of_them)):
            _connect(studio, tabs, picked, jumps, creating, editing, retouching)
        for act, outputs in ((create.described, creating.load), (edit.offered, editing.load),
                             (first, [creating.bench.told, creating.bench.shelf])):
            blocks.load(functools.partial(act, studio), None, outputs, show_progress="hidden")
    return blocks


def first(studio: Studio) -> Iterator[list[Any]]:
    """The newest pictures, and those of a new studio as they come: what one sees first is not empty."""
    shown, end = 0, time.monotonic() + MOST_WAIT
    while True:
        newest = studio.home.index.find(limit=12)
        if len(newest) > shown:
            yield [bench.status_html(""), bench.shelf_html(newest)]
        elif not shown and studio.jobs.busy:
            yield [bench.status_html("Making the first pictures ..."), gr.skip()]
        shown = len(newest)
        if shown == 12 or not studio.jobs.busy or time.monotonic() > end:
            return
        time.sleep(0.5)


def _connect(studio: Studio, tabs: gr.Tabs, picked: gr.Textbox, jumps: dict[str, gr.Button], creating: create.Create,
             editing: edit.Edit, retouching: retouch.Retouch) -> None:
    """What the buttons beside a chosen picture do."""
    jumps["edit"].click(lambda id: [gr.Tabs(selected="edit"), *edit.entered(studio, id)], [picked],
                        [tabs, *editing.enter])
    jumps["breed"].click(lambda id, known: [gr.Tabs(selected="edit"), *edit.gathered(studio, id, known)],
                         [picked, editing.tray], [tabs, *editing.gather])
    jumps["style"].click(lambda id: [gr.Tabs(selected="create"), *2 * create.style_of(studio, id)], [picked],
                         [tabs, creating.style, creating.styled, *retouching.style])
    jumps["retouch"].click(lambda id: [gr.Tabs(selected="retouch"), *retouch.entered(studio, id)], [picked],
                           [tabs, *retouching.enter]).then(None, [picked], None, js=retouch.LOAD)


def serve(studio: Studio, host: str, port: int) -> fastapi.FastAPI:
    """The whole application of the server."""
    uploads = studio.home.cache / "uploads"
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    shutil.rmtree(uploads, ignore_errors=True)   # what an earlier studio, killed, has left
    uploads.mkdir(parents=True, exist_ok=True)
    app = web.routes(studio.home)
    app.add_middleware(web.Guard, hosts=web.hosts(host, port), head=HEAD)
    blocks = pages(studio).queue(default_concurrency_limit=4)
    return gr.mount_gradio_app(app, blocks, "/", server_name=host, server_port=port, allowed_paths=[],
                               max_file_size="1gb", show_error=True, footer_links=[], run_history=False,
                               ssr_mode=False, pwa=False, mcp_server=False, theme=theme(), head=STYLE)
