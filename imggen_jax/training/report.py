"""report.html: what a run did, on one page that needs nothing but itself."""
from __future__ import annotations

import base64
import io
import json
import os
import re
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from imggen_jax.config import flatten, shipped
from imggen_jax.storage import templates
from imggen_jax.storage.files import write_atomic
from imggen_jax.training.log import read_metrics

_TEMPLATE = Path(__file__).with_name("report.html.jinja")
FRAMES = 12                 # most points in time shown of one kind of picture
PICTURE_BYTES = 1_600_000   # of all pictures together; base64 adds a third, and the page stays below 3 MB
STAGE = 730                 # CSS pixels that a large picture may take
LABELS = 40                 # class names written out

# A scalar's last name -> the title of its chart, in the order of the page; scalars of one title share a chart.
CHARTS = {
    "elbo": "ELBO, nats per image",
    "bits_per_dim": "Bits per dimension",
    "loss": "Loss",
    "cross_entropy": "Cross-entropy, nats per image",
    "accuracy": "Accuracy",
    "fid": "FID",
    "frechet_distance": "Frechet distance",
    "kid": "KID",
    "inception_score": "Inception Score",
    "precision": "Shares of pictures near the others",
    "recall": "Shares of pictures near the others",
    "coverage": "Shares of pictures near the others",
    "density": "Density",
    "real": "Discriminator's mean output",
    "fake": "Discriminator's mean output",
    "reconstruction": "Reconstruction, nats per image",
    "kl": "KL divergence, nats per image",
    "r1": "Gradient penalties",
    "r2": "Gradient penalties",
    "gradient_penalty": "Gradient penalties",
    "grad_norm": "Norm of the gradient",
}
SPEED = "Speed, images per second"
COLORS, DASHES = 8, ((), (4, 2), (1, 1.5))


class Frame(NamedTuple):
    images: int  # seen when it was made
    src: str     # data URI
    thumb: str   # data URI of its upper left corner


class Film(NamedTuple):
    """One kind of picture over the run."""

    title: str
    caption: str
    frames: tuple[Frame, ...]
    width: int   # CSS pixels, a whole multiple of the picture's own where it is enlarged
    crisp: bool  # show its pixels as squares


class Series(NamedTuple):
    name: str
    x: np.ndarray  # int64 [n], images seen
    y: np.ndarray  # float64 [n], finite
    color: int     # which of the page's colors
    dash: int      # which of DASHES
    dots: bool     # held-out: few points, each of which counts


class Chart(NamedTuple):
    title: str
    svg: str
    series: tuple[Series, ...]


def write(workdir: str | Path) -> Path:
    """Write `workdir`/report.html from the files that a run leaves there; parts that are missing are left out.

    Reads config.json, data.json, run.json, init.json, metrics.jsonl and pictures/<name>_<images>.png. The page embeds
    all it shows, so it can be moved, mailed, and opened without a network.

    Args:
      workdir: the run's folder. The page shows it in its commands as it is given here.

    Returns:
      The path of the page.
    """
    folder = Path(workdir)
    config, data, run, init = (_read(folder / f"{name}.json") for name in ("config", "data", "run", "init"))
    lines = read_metrics(folder / "metrics.jsonl")
    name = folder.resolve().name
    page = templates.render(
        _TEMPLATE,
        short=_short,
        figure=_figure,
        name=name,
        summary=_summary(config, data, lines),
        scores=_scores(lines),
        facts=_facts(config, data, run, init, lines),
        films=_films(folder / "pictures", data.get("size", 32)),
        charts=_charts(lines),
        config=_sections(config),
        versions=run.get("versions", {}),
        commands=_commands(name, str(workdir), config, data),
    )
    # Names of files and classes may hold bytes that are not text, which Python keeps as lone surrogates.
    write_atomic(folder / "report.html", re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", page))
    return folder / "report.html"


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


# Words and numbers


def _summary(config: Mapping, data: Mapping, lines: Sequence[Mapping]) -> str:
    if not data:
        return ""
    kind = {"vae": "variational autoencoder", "gan": "generative adversarial network"}
    game = config.get("game", {}).get("name", "")
    height, width, channels = data["spec"]["image"]["shape"]
    tone = "gray" if channels == 1 else "color"
    text = f"A {kind.get(game, game or 'generator')} of {width}×{height} {tone} images"
    return text + (f", after {_short(lines[-1]['images'])} images." if lines else ".")


def _scores(lines: Sequence[Mapping]) -> list[tuple[str, float]]:
    """The last of each held-out figure."""
    last = {name: value for line in lines for name, value in line.items() if name.startswith(("test/", "score/"))}
    return [(name, value) for name, value in last.items() if value is not None]


def _facts(
    config: Mapping, data: Mapping, run: Mapping, init: Mapping, lines: Sequence[Mapping]
) -> list[tuple[str, str]]:
    facts = []
    if data:
        facts.append(("Dataset", f"{data['name']}, {data['split']}: {data['examples']:,} pictures"))
    facts += _own_pictures(data.get("card"))
    for field, names in ((name, each["names"]) for name, each in data.get("spec", {}).items() if not each["shape"]):
        more = f" and {len(names) - LABELS:,} more" if len(names) > LABELS else ""
        listed = f": {', '.join(names[:LABELS])}{more}" if names else ""
        facts.append(("Conditioned on", f"{field}, {len(names):,} classes{listed}"))
    if init:
        carried, total = (sum(player[key] for player in init["players"].values()) for key in (
            "carried_over", "parameters"))
        facts.append(("Started from", f"{init['workdir']} at {init['images']:,} images: {carried:,} of {total:,} "
                      "parameters carried over"))
    if lines:
        seen, total = lines[-1]["images"], config.get("train", {}).get("images", 0)
        of = f" of {total:,}" if seen < total else ""
        times = f", each picture {seen / data['examples']:.3g} times" if data else ""
        facts.append(("Images seen", f"{seen:,}{of}{times}"))
    if seconds := [line["seconds"] for line in lines if "seconds" in line]:
        facts.append(("Training time", _duration(seconds[-1])))
    if speeds := [line["images_per_second"] for line in lines if line.get("images_per_second")]:
        facts.append(("Speed", f"{_figure(statistics.median(speeds))} images/s (median)"))
    facts += [(f"Parameters of {player}", f"{count:,}") for player, count in run.get("players", {}).items()]
    facts += [(label, str(run[key])) for label, key in (("Devices", "devices"), ("Seed", "seed")) if key in run]
    return facts


def _own_pictures(card: Mapping | None) -> list[tuple[str, str]]:
    """What the card of an ingested folder says, the ledger first of all."""
    if not card:
        return []
    left_out = sum(card["quarantined"].values())
    facts = [("Made from", f"{card['path']}: {card['pictures']:,} pictures, {left_out:,} files left out, "
              f"{card['duplicates']:,} duplicates dropped")]
    for key, column in card["ledger"].items():
        values = [f"{value} ({count:,})" for value, count in list(column["values"].items())[:5]]
        more = [f"{column['different'] - len(values):,} more"] if column["different"] > len(values) else []
        missing = [f"not stated ({column['missing']:,})"] if column["missing"] else []
        facts.append((key.capitalize(), ", ".join(values + more + missing)))
    return facts


def _sections(config: Mapping) -> list[tuple[str, list[tuple[str, str]]]]:
    """[(section, [(key within it, value)])]; what stands in no section comes first, under ""."""
    plain = {key: value for key, value in config.items() if not isinstance(value, Mapping)}
    sections = {"": plain}
    sections |= {key: flatten(value) for key, value in config.items() if isinstance(value, Mapping)}
    return [(name, [(key, _value(value)) for key, value in rows.items()]) for name, rows in sections.items() if rows]


def _value(value) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(_value(each) for each in value)
    return value if isinstance(value, str) and value else json.dumps(value)


def _commands(name: str, workdir: str, config: Mapping, data: Mapping) -> list[tuple[str, str]]:
    at = f"--model {_quote(workdir)}"
    train = f"imggen train --config {shlex.quote(name if name in shipped() else 'CONFIG')} --workdir {_quote(workdir)}"
    makes = config.get("game", {}).get("name") != "classifier"
    commands = [("Make pictures with it", f"imggen generate {at} --num 64 --seed 0 --out pictures")] if makes else []
    if makes and "label" in data.get("spec", {}):
        commands.append(("Make pictures of one class", f"imggen generate {at} --num 64 --label=#0 --out pictures"))
    commands.append(("Go on after an interruption: the command that began it", train))
    if images := config.get("train", {}).get("images"):
        commands.append(("Train it twice as long", f"{train} --config.train.images={2 * images}"))
    return commands


def _quote(path: str) -> str:
    """As `shlex.quote`; bytes that are not text as bash, zsh and ksh read them."""
    if not re.search("[\ud800-\udfff]", path):
        return shlex.quote(path)
    plain = re.compile(rb"[^\x20-\x7e]|[\\']")
    return "$'" + plain.sub(lambda match: b"\\x%02x" % match[0][0], os.fsencode(path)).decode() + "'"


def _short(images: int) -> str:
    """1234567 as 1.23M."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if images >= size:
            return f"{images / size:.3g}{unit}" if images < 1000 * size else f"{images / size:,.0f}{unit}"
    return str(images)


def _figure(value: float) -> str:
    """Four significant digits, with a true minus sign."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "−")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


# Pictures


def _films(folder: Path, size: int) -> list[Film]:
    """Every kind of picture in the folder, samples first, each with at most FRAMES points in time."""
    kinds: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(folder.glob("*.png")):
        if match := re.fullmatch(r"(.+)_(\d+)", path.stem):
            kinds.setdefault(match[1], []).append((int(match[2]), path))
    chosen = {kind: _evenly(sorted(kinds[kind])) for kind in sorted(kinds, key=lambda kind: (kind != "samples", kind))}
    count = sum(len(frames) for frames in chosen.values())
    return [_film(kind, frames, size, PICTURE_BYTES // count) for kind, frames in chosen.items()]


def _evenly(frames: list) -> list:
    return [frames[k] for k in sorted(set(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)))]


def _film(kind: str, frames: Sequence[tuple[int, Path]], size: int, limit: int) -> Film:
    from PIL import Image

    pictures = [Image.open(path).convert("RGB") for _, path in frames]
    natural = pictures[-1].width
    factor = max(1, STAGE // natural)
    corner = min(pictures[-1].size + (max(3 * (size + 2), 96),))
    caption = {
        "samples": "Drawn from the averaged weights, from the same latents each time.",
        "reconstructions": "In each pair, the original is above and its reconstruction below.",
    }
    return Film(
        title=kind.replace("_", " ").capitalize(),
        caption=caption.get(kind, ""),
        frames=tuple(
            Frame(
                images,
                _uri("png", path.read_bytes()) if path.stat().st_size <= limit else _embed(picture, limit),
                _embed(picture.crop((0, 0, corner, corner)), limit // 8),
            )
            for (images, path), picture in zip(frames, pictures, strict=True)
        ),
        width=min(STAGE, natural * factor),
        crisp=factor > 1,
    )


def _embed(picture, limit: int) -> str:
    """A JPEG of at most `limit` bytes, of lower quality and then of fewer pixels until it fits."""
    for quality in (92, 85, 70):
        file = io.BytesIO()
        picture.save(file, format="jpeg", quality=quality, subsampling=0)
        if file.tell() <= limit:
            break
    else:
        if min(picture.size) > 64:
            return _embed(picture.reduce(2), limit)
    return _uri("jpeg", file.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


# Charts


def _charts(lines: Sequence[Mapping]) -> list[Chart]:
    """One chart for each family of scalars, in the order of CHARTS, then the others, and speed at the end."""
    names = dict.fromkeys(name for line in lines for name in line if "/" in name)
    titles: dict[str, list[str]] = {title: [] for title in CHARTS.values()}
    for name in names:
        last = name.rpartition("/")[2]
        titles.setdefault(CHARTS.get(last) or last.replace("_", " ").capitalize(), []).append(name)
    titles[SPEED] = ["images_per_second"]
    owners = list(dict.fromkeys(name.rpartition("/")[0] for name in names))  # a player keeps its color in all charts
    charts = []
    for title, members in titles.items():
        drawn: list[Series] = []
        for name in members:
            x, y = _points(lines, name)
            if len(x) > 1:
                owner = name.rpartition("/")[0]
                color = owners.index(owner) % COLORS if owner in owners else 0
                dash = sum(other.color == color for other in drawn) % len(DASHES)
                drawn.append(Series(name, x, y, color, dash, dots=owner in ("test", "score")))
        if drawn:
            charts.append(Chart(title, _svg(title, drawn), tuple(drawn)))
    return charts


def _points(lines: Sequence[Mapping], name: str) -> tuple[np.ndarray, np.ndarray]:
    found = [(line["images"], line[name]) for line in lines if line.get(name) is not None]
    return np.array([x for x, _ in found], np.int64), np.array([y for _, y in found], np.float64)


def _svg(title: str, drawn: Sequence[Series]) -> str:
    """The chart as inline SVG whose colors are the page's CSS variables, so that it follows the page into the dark."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    ink, faint = "#0a0b0c", "#0a0b0d"  # stand-ins, as are the series' colors; replaced below
    style = {"svg.fonttype": "none", "svg.hashsalt": title, "text.parse_math": False, "font.size": 10,
             "text.color": ink, "axes.edgecolor": faint, "axes.linewidth": 0.8, "xtick.color": faint,
             "xtick.labelcolor": ink, "ytick.color": faint, "ytick.labelcolor": ink, "path.simplify_threshold": 0.5}
    with matplotlib.rc_context(cast(Any, style)):
        # The same margins in every chart, wide enough for the longest figures: their axes stand below each other, and
        # a layout that measures each label takes as long as the rest of the chart.
        figure = Figure(figsize=(4.6, 2.6))
        axes = figure.add_axes((0.18, 0.11, 0.785, 0.85))
        for series in drawn:
            _draw(axes, series)
        low, high = _range(drawn)
        if low > 0 and high / low > 30:
            axes.set_yscale("log")
            axes.set_ylim(low / 1.2, high * 1.2)
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            margin = 0.06 * (high - low) or 0.06 * abs(low) or 1.0
            axes.set_ylim(low - margin, high + margin)
            axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _figure(y)))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _short(round(x)) if x >= 0 else ""))
        axes.set_xlim(0, max(1, *(series.x[-1] for series in drawn)))
        axes.grid(axis="y", color=faint, linewidth=0.6)
        axes.tick_params(length=3)
        axes.spines[["top", "right", "left"]].set_visible(False)
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return _for_page(file.getvalue(), ink, faint)


def _for_page(svg: str, ink: str, faint: str) -> str:
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # such names repeat from chart to chart, and nothing refers to them
    svg = svg.replace(ink, "var(--ink)").replace(faint, "var(--rule)")
    return re.sub(r"#0a0c([0-9a-f]{2})", lambda match: f"var(--c{int(match[1], 16)})", svg)


def _draw(axes, series: Series) -> None:
    color = f"#0a0c{series.color:02x}"
    line = dict(color=color, linewidth=1.5, dashes=DASHES[series.dash], solid_capstyle="round")
    if series.dots:
        axes.plot(series.x, series.y, marker="o", markersize=3, zorder=3, **line)
    elif len(series.x) < 40:
        axes.plot(series.x, series.y, **line)
    else:
        axes.plot(*_envelope(series.x, series.y), color=color, linewidth=0.7, alpha=0.3)
        some = np.unique(np.linspace(0, len(series.x) - 1, 200).astype(int))
        axes.plot(series.x[some], [_smooth(series.y, k) for k in some], **line)


def _smooth(y: np.ndarray, k: int) -> float:
    """Weighted mean around point k, over a twentieth of the run and at its ends over half as much."""
    reach = len(y) // 40
    near = np.arange(max(0, k - reach), min(len(y), k + reach + 1))
    weights = 1 + np.cos(np.pi * (near - k) / (reach + 1))
    return float(weights @ y[near] / weights.sum())


def _envelope(x: np.ndarray, y: np.ndarray, bins: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """At most two points for each of `bins` stretches, its least and its greatest: what the eye sees of all of them."""
    if len(x) <= 2 * bins:
        return x, y
    picks = []
    for part in np.array_split(np.arange(len(x)), bins):
        picks += sorted({part[np.argmin(y[part])], part[np.argmax(y[part])]})
    return x[picks], y[picks]


def _range(drawn: Sequence[Series]) -> tuple[float, float]:
    """What the vertical axis spans: the first twentieth of the run and rare spikes would hide all that follows."""
    start = 0.05 * max(series.x[-1] for series in drawn)
    later = [series.y[series.x >= start] for series in drawn]
    low = min(np.quantile(y, 0.003) for y in later if len(y))
    high = max(np.quantile(y, 0.997) for y in later if len(y))
    return float(low), float(high)
