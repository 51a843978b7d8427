"""report.html needs nothing but itself, shows what a run left, leaves out what it did not, and trusts no text."""
import base64
import io
import json
import os
import re
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from imggen_jax.pictures import grids
from imggen_jax.training import report

HOSTILE = "<script>alert(1)</script>\"'&"


class _Page(HTMLParser):
    """Tags with their attributes, and the text between."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag, **wanted):
        return [attributes for name, attributes in self.tags
                if name == tag and all(attributes.get(key) == value for key, value in wanted.items())]


def _spec(*names):
    """28x28 gray images, with a label of these names."""
    label = {"label": {"shape": [], "dtype": "int32", "names": list(names)}} if names else {}
    return {"image": {"shape": [28, 28, 1], "dtype": "uint8", "names": []}, **label}


def _run(folder, *, steps=50, kinds=("samples", "reconstructions"), times=20, config=None, data=None, side=32):
    """A run's folder with a VAE's curves and pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "config.json": {"seed": 3, "data": {"name": "mnist"}, "game": {"name": "vae", "network": {"widths": [8, 16]}},
                        "train": {"images": 64_000}} | (config or {}),
        "data.json": {"name": "mnist", "split": "train", "spec": _spec(), "fingerprint": "f",
                      "examples": 32_000} | (data or {}),
        "run.json": {"players": {"vae": 1_234_567}, "devices": "1 x cpu", "seed": 3,
                     "versions": {"imggen_jax": "0.1.0", "jax": "0.10.2"}},
    }
    for name, content in facts.items():
        (folder / name).write_text(json.dumps(content))
    with (folder / "metrics.jsonl").open("w") as file:
        for k in range(1, steps + 1):
            at = {"step": 10 * k, "images": 1280 * k}
            file.write(json.dumps(at | {"seconds": 2.5 * k, "images_per_second": 512.0, "vae/loss": 1 / k,
                                        "vae/elbo": -100 - 100 / k}) + "\n")
            if k % 10 == 0:
                file.write(json.dumps(at | {"test/elbo": -101.5 - 100 / k}) + "\n")
    rng = np.random.default_rng(0)
    for kind in kinds:
        for k in range(1, times + 1):
            image = rng.integers(0, 256, (side, side, 3), np.uint8)
            grids.write_png(folder / "pictures" / f"{kind}_{1000 * k:09d}.png", image)
    return folder


def _page(folder):
    path = report.write(folder)
    assert path == folder / "report.html"
    return _Page(path.read_text(encoding="utf-8"))


def test_page_needs_nothing_but_itself(tmp_path):
    folder = _run(tmp_path / "mnist_vae")
    page = _page(folder)
    links = [value for _, attributes in page.tags for key, value in attributes.items()
             if key in ("src", "href", "xlink:href", "data", "srcset", "action")]
    assert links and all(link.startswith(("data:image/", "#")) for link in links)
    assert not page.all("link") and not page.all("iframe")
    html = (folder / "report.html").read_text()
    assert "@import" not in html and not re.search(r"url\((?!#)", html)
    # An XML namespace is a name; any other address would be a place to go to.
    assert set(re.findall(r"https?://[^\s\"'<>]*", html)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_page_shows_all_that_a_run_left(tmp_path):
    page = _page(_run(tmp_path / "mnist_vae"))
    for text in (
        "mnist_vae", "variational autoencoder of 28×28 gray images", "64,000, each picture 2 times", "2 min 5 s",
        "512 images/s", "1,234,567", "1 x cpu", "test/elbo", "−103.5", "Reconstructions", "Curves",
        "ELBO, nats per image", "Loss", "Speed, images per second", "network.widths", "8, 16", "jax 0.10.2",
        f"imggen generate --model {tmp_path / 'mnist_vae'} --num 64",
    ):
        assert text in page.text, text
    assert len(page.all("svg")) == 3
    assert len(page.all("figure", **{"class": "film"})) == 2


def test_a_run_that_is_not_over_says_so(tmp_path):
    assert "12,800 of 64,000" in _page(_run(tmp_path, steps=10)).text


def test_at_most_twelve_points_in_time_with_the_first_and_the_last(tmp_path):
    page = _page(_run(tmp_path, kinds=("samples",), times=30))
    shown = [int(image["alt"].split()[-2]) for image in page.all("img") if image["alt"]]
    assert len(shown) == 12 and shown == sorted(set(shown)) and shown[0] == 1000 and shown[-1] == 30_000
    visible = [image["alt"] for image in page.all("img") if image["alt"] and "hidden" not in image]
    assert visible == ["Samples after 30000 images"]  # the last, also where scripts are off
    assert len(page.all("button")) == 12 and page.all("input")[0]["max"] == "11"


def test_small_pictures_are_embedded_as_they_are(tmp_path):
    page = _page(_run(tmp_path, kinds=("samples",), times=1))
    kind, content = page.all("img", alt="Samples after 1000 images")[0]["src"].split(",")
    assert kind == "data:image/png;base64"
    shown = Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")
    original = Image.open(tmp_path / "pictures" / "samples_000001000.png").convert("RGB")
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(original))
    assert not page.all("input") and not page.all("button")  # one point in time has nothing to slide over


def test_large_pictures_do_not_make_a_large_page(tmp_path):
    path = report.write(_run(tmp_path, times=12, side=300))  # noise, 3.2 MB of it as PNG
    assert path.stat().st_size < 3_000_000


@pytest.mark.parametrize("missing, gone", [
    ("metrics.jsonl", ("Curves", "Training time", "Images seen", "test/elbo")),
    ("pictures", ("Reconstructions",)),
    ("config.json", ("Config", "network.widths")),
    ("run.json", ("Parameters of", "Made with", "Devices")),
    ("data.json", ("Dataset", "28×28")),
])
def test_what_is_missing_is_left_out(tmp_path, missing, gone):
    folder = _run(tmp_path / "run", times=2)
    before = _page(folder).text
    (folder / missing).rename(tmp_path / "away")
    after = _page(folder).text
    for text in gone:
        assert text in before and text not in after


def test_runs_without_held_out_lines_reconstructions_or_lines_at_all(tmp_path):
    folder = _run(tmp_path, steps=5, kinds=("samples",), times=1)
    text = _page(folder).text
    assert "test/" not in text and "Reconstructions" not in text and "Curves" in text
    (folder / "metrics.jsonl").write_text("")
    assert "Curves" not in _page(folder).text


def test_an_empty_folder_still_makes_a_page(tmp_path):
    page = _page(tmp_path)
    assert "Use it" in page.text and not page.all("img") and not page.all("svg")


def test_text_from_files_is_shown_and_never_run(tmp_path):
    folder = _run(
        tmp_path / "a<b>&", times=1,
        config={"game": {"name": HOSTILE, HOSTILE: HOSTILE}, HOSTILE: 1},
        data={"name": HOSTILE, "spec": _spec(HOSTILE, "</dd><img src=x onerror=alert(1)>")},
    )
    with (folder / "metrics.jsonl").open("a") as file:
        for step in (600, 700):
            file.write(json.dumps({"step": step, "images": 64_000, f"{HOSTILE}/$x^2$ {HOSTILE}": 1.0}) + "\n")
    page = _page(folder)
    assert len(page.all("script")) == 1
    assert not page.all("img", src="x") and not page.all("b>&")
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert page.text.count(HOSTILE) >= 4


def test_values_that_were_not_finite_leave_a_gap_and_no_error(tmp_path):
    folder = _run(tmp_path, steps=4, kinds=())
    line = {"step": 50, "images": 6400, "seconds": 11.0, "images_per_second": None, "vae/loss": None, "x/y": None}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    page = _page(folder)
    assert "0.25" in page.text and len(page.all("svg")) == 3


def test_what_own_pictures_were_made_of_is_told_with_their_ledger(tmp_path):
    def column(stated, missing, values):
        return {"stated": stated, "missing": missing, "different": len(values), "values": values}

    ledger = {"source": column(90, 0, {f"https://a.example/{i}": 15 for i in range(6)}),
              "licence": column(80, 10, {"CC0": 50, HOSTILE: 30}), "consent": column(0, 90, {})}
    card = {"path": "/pictures/pets", "pictures": 90, "quarantined": {"broken": 3, "too small": 4}, "duplicates": 2,
            "ledger": ledger}
    page = _page(_run(tmp_path, data={"card": card}))
    assert "/pictures/pets: 90 pictures, 7 files left out, 2 duplicates dropped" in page.text
    assert f"CC0 (50), {HOSTILE} (30), not stated (10)" in page.text and "not stated (90)" in page.text
    assert "https://a.example/4 (15), 1 more" in page.text and "a.example/5" not in page.text
    assert len(page.all("script")) == 1


def test_a_thousand_classes_are_not_all_written_out(tmp_path):
    names = [f"class-{k:03d}" for k in range(1000)]
    text = _page(_run(tmp_path, kinds=(), data={"spec": _spec(*names)})).text
    assert "1,000 classes" in text and "class-039 and 960 more" in text and "class-040" not in text
    assert "--label=#0" in text


def test_scalars_of_one_kind_share_a_chart_and_a_player_keeps_its_color():
    lines = [{"step": k, "images": k, "discriminator/loss": 1.0, "generator/loss": 2.0, "discriminator/r1": 3.0,
              "discriminator/r2": 4.0, "generator/path_length": 5.0} for k in range(5)]
    charts = {chart.title: chart.series for chart in report._charts(lines)}
    assert {title: [s.name for s in series] for title, series in charts.items()} == {
        "Loss": ["discriminator/loss", "generator/loss"],
        "Gradient penalties": ["discriminator/r1", "discriminator/r2"],
        "Path length": ["generator/path_length"],
    }
    loss, penalties, path = charts.values()
    assert loss[0].color == penalties[0].color == penalties[1].color != loss[1].color == path[0].color
    assert penalties[0].dash != penalties[1].dash


def test_thinned_curves_keep_their_extremes():
    x, y = np.arange(5000), np.random.default_rng(0).normal(size=5000)
    y[1234], y[4321] = 50.0, -50.0
    thin_x, thin_y = report._envelope(x, y, bins=100)
    assert len(thin_x) <= 200 and (np.diff(thin_x) > 0).all()
    assert dict(zip(thin_x, thin_y, strict=True)).items() >= {1234: 50.0, 4321: -50.0}.items()


def test_smoothing_keeps_a_constant_and_follows_the_middle_of_a_line():
    assert report._smooth(np.full(100, 2.5), 0) == pytest.approx(2.5)
    assert report._smooth(np.arange(100.0), 50) == pytest.approx(50.0)
    noise = np.random.default_rng(0).normal(size=4000)
    assert np.std([report._smooth(noise, k) for k in range(0, 4000, 40)]) < 0.2


def test_the_start_does_not_hide_what_follows():
    x = np.arange(1, 101)
    y = np.where(x < 5, -1e6, -100.0 + x / 100)
    low, high = report._range([report.Series("vae/elbo", x, y, 0, 0, False)])
    assert -100 <= low < high <= -99


def test_names_that_are_not_text_do_not_break_the_page(tmp_path):
    folder = tmp_path / os.fsdecode(b"run \xff'")
    _run(folder, data={"spec": _spec("a\ud800", "b")})
    page = _page(folder)
    assert "run \N{REPLACEMENT CHARACTER}'" in page.text and "a\N{REPLACEMENT CHARACTER}, b" in page.text
    (quoted,) = set(re.findall(r"--model (\$'.*?') --num", page.text))
    echoed = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True).stdout
    assert echoed == os.fsencode(folder)
