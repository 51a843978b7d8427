"""The audit of a model: what is known is told with its verdict, what is not with the command that finds it out."""
import html
import json
import re

import pytest
import shell
from PIL import Image

import imggen_jax
from imggen_jax.errors import RunError
from imggen_jax.evaluation import audit
from imggen_jax.provenance import policy, publishing

SHARES = [{"value": 0.5, "low": 0.4, "high": 0.6}, {"value": 0.5, "low": 0.4, "high": 0.6}]
SKEWED = [{"value": 0.9, "low": 0.8, "high": 0.95}, {"value": 0.1, "low": 0.05, "high": 0.2}]


def balance(shares):
    generated = [{"truncation": t, "shares": shares, "total_variation": 0.4, "by_chance": 0.1} for t in (0.5, 1.0)]
    return {"truncations": [0.5, 1.0], "pictures": 100, "chart": "elsewhere/scores/chart.png",
            "attributes": {"hair": {"values": ["red", "gray"], "data": SHARES, "generated": generated}}}


def run(folder, *, missing=0, copies=False):
    """What a run and its evaluations leave, as far as the page reads it."""
    (folder / "scores").mkdir(parents=True)
    ledger = {"license": {"stated": 40 - missing, "missing": missing, "values": {"CC0 <b>": 40 - missing}}}
    data = {"name": "folder_x", "split": "train", "examples": 40, "fingerprint": "ab" * 32,
            "card": {"ledger": ledger, "opted_out": 3}}
    copying = {"z": -9.0 if copies else 1.5, "copies": copies, "nearer_than_held_out": 0.5, "pictures": 100,
               "page": None}
    for name, content in {"config.json": {"game": {"name": "gan"}}, "data.json": data,
                          "scores/copying_x.json": {"copying": copying},
                          "scores/balance_x.json": {"balance": balance(SKEWED)}}.items():
        (folder / name).write_text(json.dumps(content))
    Image.new("RGB", (4, 4)).save(folder / "scores" / "chart.png")
    return folder


def answers(page):
    text = page.read_text()
    return re.findall(r'<section class="(\w+)">', text), text


def test_what_is_known_is_told(tmp_path, monkeypatch):
    folder = run(tmp_path / "faces")
    (folder / policy.FILE).write_text('intended = "tests"\n[refuse]\nwords = ["gun"]\n')
    with pytest.raises(RunError):
        policy.check(folder, "generate", imggen_jax.load("avatars_32").spec, {"text": "a gun"})
    states, page = answers(audit.write(folder))
    assert states == ["good", "good", "bad", "good", "good"]
    assert "CC0 &lt;b&gt;" in page and "CC0 <b>" not in page and "3 pictures were left out" in page
    assert "hair" in page and "0.400" in page and page.count("data:image/png") == 1
    assert "meant for: tests" in page and "word gun" in page and "1 requests were refused" in page


def test_what_is_bad_is_told_as_bad(tmp_path):
    states, page = answers(audit.write(run(tmp_path / "faces", missing=2, copies=True), tmp_path / "page.html"))
    assert states[:2] == ["bad", "bad"] and "2 pictures have no license" in page and "It copies." in page
    with publishing.using(publishing.Settings(watermark=False)):
        states, page = answers(audit.write(tmp_path / "faces"))
    assert states[3] == "bad" and "not both signed and marked" in page


def test_what_was_not_measured_is_told_with_its_command(tmp_path):
    folder = tmp_path / "with a space"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    states, page = answers(audit.write(folder))
    page, place = html.unescape(page), f"'{folder}"
    assert states == ["open", "open", "open", "good", "open"]
    assert f"--model {place}' --only copying" in page and f"--model {place}' --only balance" in page
    assert f"imggen policy --example > {place}/policy.toml'" in page
    # The package's own folder is not written to; its pictures of 32 pixels can carry no mark.
    states, page = answers(audit.write("avatars_32", out=tmp_path / "audit.html"))
    assert states[3] == "open" and "of 32x32 pixels it is too small for the watermark" in page
    page = html.unescape(page)
    assert "--model avatars_32 --only copying" in page and "export IMGGEN_JAX_POLICY=$PWD/policy.toml" in page


def test_from_the_command_line(tmp_path):
    told = shell.call("audit", "--workdir", run(tmp_path / "faces"))
    assert told.code == 0 and (tmp_path / "faces" / "audit.html").exists()
    told = shell.call("audit", "--workdir", tmp_path)
    assert told.code == 2 and "neither the folder of a run nor an exported model" in told.err
    told = shell.call("audit", "--workdir", "avatars_32")
    assert told.code == 2 and "name the page with --out" in told.err


def test_a_card_tells_use_and_bias_and_an_export_takes_the_policy_along(short_run, tmp_path):
    import shutil

    shutil.copytree(short_run("vae"), tmp_path / "run")
    card = (imggen_jax.export(tmp_path / "run", tmp_path / "plain") / "README.md").read_text()
    assert "Nothing was said of what it is for" in card and "It was not measured" in card
    (tmp_path / "run" / policy.FILE).write_text('intended = "tests"\nnot_for = ["money"]\n[refuse]\nverbs = ["vary"]\n')
    (tmp_path / "run" / "scores").mkdir(exist_ok=True)
    (tmp_path / "run" / "scores" / "balance_x.json").write_text(json.dumps({"balance": balance(SKEWED)}))
    out = imggen_jax.export(tmp_path / "run", tmp_path / "out")
    card = (out / "README.md").read_text()
    assert "Intended: tests" in card and "Not for: money." in card and "refuses 1 words" in card
    assert "| hair | red | 50.0% | **90.0%** |" in card
    assert policy.read(out / policy.FILE).intended == "tests"
