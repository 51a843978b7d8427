"""The studio: its pages, how one leads to another, and the server that shows them."""
from __future__ import annotations

import os
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"      # before Gradio is imported
os.environ["HF_HUB_OFFLINE"] = "1"

import fastapi
import gradio as gr

from imggen_jax.studio import check, collection, create, edit, gallery, retouch, web
from imggen_jax.studio.bench import Studio

HEAD = ('<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<script src="/studio/studio.js"></script><link rel="stylesheet" href="/studio/studio.css">')
FONTS = {"font": ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
         "font_mono": ["ui-monospace", "Menlo", "Consolas", "monospace"]}  # of the reader's computer


def theme() -> gr.themes.Base:
    """Colors with a contrast of AA, and no font from elsewhere."""
    return gr.themes.Base(primary_hue="indigo", neutral_hue="slate", **FONTS).set(
        block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700", block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700", block_title_text_color_dark="*neutral_200",
        body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300",
        input_placeholder_color="*neutral_500", input_placeholder_color_dark="*neutral_400",
        color_accent="#4338ca", block_radius="12px")


def pages(studio: Studio) -> gr.Blocks:
    """All pages as one Gradio application."""
    with gr.Blocks(title="imggen studio", analytics_enabled=False, delete_cache=(3600, 86400)) as blocks:
        gr.HTML('<div id="masthead"><h1>imggen studio</h1><p>Everything runs on this computer, and stays on it.</p>'
                '</div>')
        with gr.Tabs() as tabs:
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
        blocks.load(lambda: create.described(studio, None), None, creating.load)
        blocks.load(lambda: gallery_first(studio), None, [creating.bench.shelf])
        blocks.load(lambda: edit.offered(studio), None, editing.load)
    return blocks


def gallery_first(studio: Studio) -> Any:
    """The newest pictures, where there are some: what one sees first is not empty."""
    from imggen_jax.studio import bench

    newest = studio.home.index.find(limit=12)
    return bench.shelf_html(newest) if newest else gr.skip()


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
    uploads.mkdir(parents=True, exist_ok=True)
    app = web.routes(studio.home)
    app.add_middleware(web.Guard, hosts=web.hosts(host, port))  # pyright: ignore[reportArgumentType]  an ASGI class
    blocks = pages(studio).queue(default_concurrency_limit=4)
    return gr.mount_gradio_app(app, blocks, "/", server_name=host, server_port=port, allowed_paths=[],
                               max_file_size="1gb", show_error=True, footer_links=[], run_history=False,
                               ssr_mode=False, pwa=False, mcp_server=False, theme=theme(), head=HEAD)
