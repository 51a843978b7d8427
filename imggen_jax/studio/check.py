"""The page Check: whether a picture is signed, by whom, and whether it carries this project's mark. Nothing is kept."""
from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from imggen_jax.errors import ImggenError, RunError
from imggen_jax.studio import bench
from imggen_jax.studio.bench import Studio

SAID = {"Verb": "verb", "Model": "run", "Seed": "seed"}   # of what this project signs besides; the rest are hashes
EMPTY = ('<div class="blank">Drop a picture: from here, from elsewhere, or a screenshot. It is looked at on this '
         "computer and not kept.</div>")


def page(studio: Studio) -> None:
    """Build the page."""
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            file = gr.File(label="Picture to check", file_types=["image"], height=150)
        with gr.Column(scale=3, min_width=300):
            told, found = gr.HTML(elem_classes=["told"]), gr.HTML(EMPTY)
            command = gr.Textbox(label="The commands that do the same", interactive=False, buttons=["copy"], lines=2)

    def look(path: str | None) -> Iterator[list[Any]]:
        yield from checked(studio, path)

    file.upload(look, [file], [told, found, command, file], show_progress="hidden")


def checked(studio: Studio, path: str | None) -> Iterator[list[Any]]:
    """A line, what was found, the commands, and the emptied field; the file is removed."""
    if not path:
        return
    name = "".join(letter for letter in Path(path).name if letter.isprintable())
    yield [bench.status_html(f"Looking at {name}"), EMPTY, "", gr.skip()]
    try:
        answers = [_asked(studio, [verb, path, "--json"]) for verb in ("verify", "detect")]
        shown, told = verdict_html(name, *answers), bench.status_html("Done; the picture was not kept.")
    except (ImggenError, ValueError, IndexError) as error:
        shown, told = EMPTY, bench.status_html("", error=str(error).replace(path, name))
    finally:
        Path(path).unlink(missing_ok=True)
    yield [told, shown, f"imggen verify {name}\nimggen detect {name}", None]


def _asked(studio: Studio, words: list[str]) -> dict[str, Any]:
    """What a command says in JSON; its exit code only sums it up."""
    job = studio.jobs.start(words, files=False)
    job.done.wait()
    if not job.said:
        raise RunError(job.error or "nothing was found out")
    return json.loads(job.said[0])


def verdict_html(name: str, verdict: dict[str, Any], mark: dict[str, Any]) -> str:
    """What was found, in words: of the signature, and of the mark in the pixels."""
    signed = {"holds": "Signed, and unchanged since", "broken": "Changed since it was signed",
              "none": "Not signed", "unreadable": "Cannot be read"}[verdict["signature"]]
    signer = verdict["signer"]
    who = ", ".join(value for key in ("name", "organization") if (value := signer.get(key)))
    rows = {
        "Signature": signed, "Signed by": f"{who or 'nobody named'}" if signer else "",
        "Vouched for": ("" if not signer else "yes" if verdict["trusted"] else
                        "no anchor vouches for this name: anybody can sign by it"),
        "Signed at": signer.get("time", "no time stamp" if signer else ""), "Program": verdict["generator"],
        "What it says of itself": verdict["source_type"], "What was done": ", ".join(verdict["actions"]),
        "Made from": ", ".join(verdict["ingredients"]), "Pixels": verdict["pixels"] if signer else "",
        "Watermark of this project": "found" if mark["marked"] else "not found",
        "By chance": (f"a share of {mark['false_positive_rate']:.1g} of unmarked pictures looks as much like it"
                      if mark["marked"] else ""),
        **{name: str(verdict["made"].get(key, "")) for name, key in SAID.items()},
        "Problems": ", ".join(verdict["problems"])}
    told = "".join(f"<tr><td>{html.escape(key)}</td><td>{html.escape(value)}</td></tr>"
                   for key, value in rows.items() if value)
    made = verdict["source_type"].endswith("lgorithmicMedia") or mark["marked"]
    summary = "A machine made it, or a part of it" if made else "Nothing says that a machine made it"
    return (f'<div class="verdict"><h3>{html.escape(name)}: {summary}</h3><p>{signed}'
            f'{f" by {html.escape(who)}" if who else ""}; {"marked" if mark["marked"] else "no mark of this project"}.'
            f'</p><table class="facts"><tbody>{told}</tbody></table></div>')
