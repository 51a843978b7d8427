"""Cartoon faces drawn with NumPy, in three styles: the pictures of the built-in dataset `avatars`.

A face is a choice of named factors (`FACTORS`) and a face number, which fixes all that has no name: position, tilt,
size and proportions. So one face can be drawn again with another expression and nothing else changed. Every part is a
signed distance, negative inside, in units of 1/64 of the picture's side; a pixel is covered by half a pixel minus the
distance (antialiasing without supersampling).

The same pixels come out on every machine. Only operations that IEEE 754 rounds exactly reach a pixel (+, -, *, /, sqrt,
minimum, maximum, floor, comparisons), in float64 and in a fixed order; rotations are rational instead of sines and
cosines; random numbers are raw words of the counter-based generator Philox (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3"), whose stream never changes between NumPy releases (NEP 19).
"""
# ruff: noqa: E731  (a shape is one formula, and reads best as a named lambda)
from __future__ import annotations

import functools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

FACTORS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "skin_tone": ("pale", "fair", "olive", "tan", "brown", "dark"),
    "hair_style": ("bald", "short", "spiky", "curly", "bob", "long", "bun"),
    "hair_colour": ("black", "brown", "ginger", "blonde", "grey", "pink", "blue"),
    "face_shape": ("round", "oval", "square", "heart"),
    "eye_colour": ("brown", "blue", "green", "grey", "amber"),
    "expression": ("smiling", "neutral", "sad", "surprised", "angry"),
    "glasses": ("none", "round", "square"),
    "facial_hair": ("none", "moustache", "beard"),
    "clothing_colour": ("red", "blue", "green", "yellow", "purple", "white"),
    "background_colour": ("sky blue", "mint green", "lemon", "peach", "lavender", "coral"),
})

_COLORS = {
    "skin_tone": ("#ffe1d0", "#f7c8a4", "#dfae7b", "#c58a57", "#95603a", "#643f2b"),
    "hair_colour": ("#2a2630", "#68432c", "#cf5f2b", "#f0c564", "#a9adb8", "#f07fb0", "#3f78d2"),
    "eye_colour": ("#6b4026", "#3b86dd", "#3a9a57", "#7b8a99", "#dd9620"),
    "clothing_colour": ("#e5484d", "#3b6fd8", "#2f9e69", "#f2b632", "#8654c9", "#f3f4f7"),
    "background_colour": ("#9bd4f5", "#a5e3c4", "#f8e58c", "#ffcba6", "#cfbdf3", "#f79a8e"),
}
_INK, _WHITE, _MOUTH, _TONGUE, _TEAR = "#2b2331", "#ffffff", "#7c2230", "#ee6f7c", "#6cc4f7"
_FRAMES = ("#2b2b3a", "#7a4a2a", "#b3364a", "#31508f")  # spectacle frames; not a factor

_STREAMS = ("factors", "jitter", "words", "stars")  # independent random streams of one face number
_EPS = 1e-9


def uniform(face: int, stream: str, count: int) -> np.ndarray:
    """Random numbers that belong to a face. float64 [count] in [0, 1).

    face: the face's number, in [0, 2**64). stream: one of "factors", "jitter", "words" and "stars", which are
    independent.
    """
    bits = np.random.Philox(counter=[0, 0, 0, face], key=[_STREAMS.index(stream), 2026]).random_raw(count)  # uint64
    return (bits >> np.uint64(11)) * 2.0 ** -53


def sample_factors(face: int, weights: Mapping[str, Sequence[float]] | None = None) -> dict[str, int]:
    """The factors of a face, by its number: every factor independent of the others and, without weights, uniform.

    weights: factor -> one weight >= 0 per value, in the order of FACTORS; for a dataset with a known skew.
    Raises ValueError for an unknown factor, or weights of the wrong number or sign.
    """
    weights = weights or {}
    for name, w in weights.items():
        if name not in FACTORS:
            raise ValueError(f"unknown factor {name!r}; the factors are {', '.join(FACTORS)}")
        if len(w) != len(FACTORS[name]) or not all(0 <= x < math.inf for x in w) or sum(w) <= 0:
            raise ValueError(f"factor {name!r} needs {len(FACTORS[name])} weights, none negative, not all zero")
    factors = {}
    for (name, values), r in zip(FACTORS.items(), uniform(face, "factors", len(FACTORS)).tolist()):
        w = weights.get(name, (1,) * len(values))
        r, i = r * sum(w), 0
        while r >= w[i] and i + 1 < len(w):
            r, i = r - w[i], i + 1
        factors[name] = i
    return factors


def draw(factors: Mapping[str, int], face: int, size: int = 64, style: str = "plain") -> np.ndarray:
    """Draw one face. uint8 [size, size, 3], RGB.

    factors: an index into FACTORS[name] for every name. face: the number that fixes the unnamed variation.
    size: 64 or more; or 32 or 16, then the picture of 64 averaged over squares of 2 or 4 pixels.
    style: one of STYLES; the same face has the same outlines in all of them, pixel by pixel.
    Raises ValueError for a missing or unknown factor, an index out of range, another size or style.
    """
    _check_style(style)
    if set(factors) != set(FACTORS):
        raise ValueError(f"draw needs exactly the factors {', '.join(FACTORS)}; it got {', '.join(factors) or 'none'}")
    for name, i in factors.items():
        if not 0 <= i < len(FACTORS[name]):
            raise ValueError(f"factor {name!r} is {i}; it must be in [0, {len(FACTORS[name])})")
    _check_size(size)
    paint = functools.partial(_STYLES[style], {name: FACTORS[name][i] for name, i in factors.items()},
                              {name: _rgb(_COLORS[name][factors[name]]) for name in _COLORS})
    image = paint(_jitter(face), uniform(face, "stars", _STARS).reshape(-1, 4), max(size, 64))
    image = np.floor(image.transpose(1, 2, 0) + 0.5).astype(np.uint8)
    return image if size >= 64 else shrink(image, 64 // size)


def _check_size(size: int) -> None:
    if size < 64 and size not in (16, 32):
        raise ValueError(f"size is {size}; it must be 16, 32, or 64 or more")


def check(size: int, weights: Mapping[str, Sequence[float]] | None) -> None:
    """Raises ValueError for what `draw_many` refuses."""
    _check_size(size)
    sample_factors(0, weights)


def _check_style(style: str) -> None:
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r} of avatars; choose from {', '.join(STYLES)}")


def shrink(image: np.ndarray, times: int) -> np.ndarray:
    """Average over squares of `times` pixels, rounded half up, in integers.

    uint8 [S,S,3] -> uint8 [S/times,S/times,3]; times must divide S."""
    side = image.shape[0] // times
    total = image.reshape(side, times, side, times, 3).sum(axis=(1, 3), dtype=np.int64)
    return ((2 * total + times ** 2) // (2 * times ** 2)).astype(np.uint8)


def draw_many(numbers: range, size: int = 64, weights: Mapping[str, Sequence[float]] | None = None,
              workers: int | None = None, style: str = "plain") -> Iterator[tuple[dict[str, int], np.ndarray]]:
    """The factors (`sample_factors`) and the picture (`draw`) of many faces, in order, drawn by several processes.

    The workers run this file as a script rather than being forked or spawned by multiprocessing: that is safe beside
    the threads of JAX, and needs no `if __name__ == "__main__"` in the user's script. A worker whose reader has gone
    ends by itself. workers: None for one a core, eight at most.
    Raises ValueError as `sample_factors` and `draw` do, and RuntimeError if a worker dies.
    """
    check(size, weights)  # before a process is started
    _check_style(style)
    weights = {name: [float(x) for x in w] for name, w in (weights or {}).items()}
    workers = min(workers or min(os.cpu_count() or 1, 8), len(numbers))
    shares = [numbers[i::workers] for i in range(workers)]
    jobs = [json.dumps({"numbers": [r.start, r.stop, r.step], "size": size, "weights": weights,
                        "style": style}) for r in shares]
    start = functools.partial(subprocess.Popen, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    children = [start([sys.executable, "-P", __file__, job]) for job in jobs]
    try:
        for i, number in enumerate(numbers):
            child = children[i % workers]
            assert child.stdout is not None
            pixels = child.stdout.read(size * size * 3)
            if len(pixels) < size * size * 3:
                raise RuntimeError(f"a process that draws faces ended early, with exit code {child.wait()}")
            yield sample_factors(number, weights), np.frombuffer(pixels, np.uint8).reshape(size, size, 3)
    finally:
        for child in children:
            if child.stdout is not None:
                child.stdout.close()
            child.kill()
            child.wait()


def _work(numbers: Sequence[int], size: int, weights: Mapping[str, Sequence[float]] | None, style: str) -> None:
    """What a worker of `draw_many` does: writes the pixels of its faces to standard output."""
    try:
        for number in range(*numbers):
            sys.stdout.buffer.write(draw(sample_factors(number, weights), number, size, style).tobytes())
        sys.stdout.buffer.flush()
    except (BrokenPipeError, KeyboardInterrupt):  # nobody reads any more
        os._exit(1)


class _Jitter(NamedTuple):
    """What varies without a name. Each is uniform in the range given in `_RANGES`."""

    x: float             # the head's center
    y: float
    tilt: float          # the tangent of half the angle
    scale: float
    width: float         # head, relative
    height: float
    eye_gap: float
    eye_size: float
    eye_y: float
    gaze_x: float
    gaze_y: float
    brow_y: float
    brow_weight: float
    nose_size: float
    nose_y: float
    mouth_width: float
    mouth_y: float
    hair_volume: float
    parting: float
    blush: float
    shoulders: float
    neckline: float      # three kinds: crew neck, V-neck, collar
    frame: float         # the color of spectacle frames


_RANGES: dict[str, tuple[float, float]] = dict(
    x=(30.6, 33.4), y=(30.8, 33.0), tilt=(-0.05, 0.05), scale=(0.98, 1.09), width=(0.96, 1.04), height=(0.97, 1.03),
    eye_gap=(6.5, 7.5), eye_size=(0.93, 1.08), eye_y=(0.2, 1.4), gaze_x=(-0.8, 0.8), gaze_y=(-0.3, 0.5),
    brow_y=(-0.5, 0.5), brow_weight=(0.95, 1.3), nose_size=(0.8, 1.25), nose_y=(5.4, 6.2), mouth_width=(0.9, 1.12),
    mouth_y=(10.7, 11.6), hair_volume=(0.0, 1.0), parting=(-1.0, 1.0), blush=(0.15, 0.5), shoulders=(20.0, 24.0),
    neckline=(0, 3), frame=(0, len(_FRAMES)))


def _jitter(face: int) -> _Jitter:
    ranges = [_RANGES[name] for name in _Jitter._fields]
    return _Jitter(*(low + r * (high - low) for (low, high), r
                     in zip(ranges, uniform(face, "jitter", len(ranges)).tolist())))


# ---------------------------------------------------------------------------------------------------------------------
# Colors and paint

Color = np.ndarray  # float64 [3,1,1], RGB, 0 to 255
Length = float | np.ndarray  # in units of a frame; float64 [h,w] where it varies
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (u, v) float64 [h,w] -> signed distance float64 [h,w]


@functools.cache
def _rgb(code: str) -> Color:
    return np.array([float(int(code[i:i + 2], 16)) for i in (1, 3, 5)]).reshape(3, 1, 1)


def _mix(a: Color, b: Color, t: float | np.ndarray) -> Color:
    return a + t * (b - a)


class _Frame(NamedTuple):
    """Coordinates laid over the picture: u to the right, v down, turned and scaled about an origin."""

    u: np.ndarray   # float64 [S,S]
    v: np.ndarray   # float64 [S,S]
    origin: tuple[float, float]
    turn: tuple[float, float]   # cosine, sine
    scale: float    # units of the picture (1/64 of its side) per unit of the frame


def _frame(size: int, origin: tuple[float, float], tilt: float, scale: float) -> _Frame:
    at = (np.arange(size) + 0.5) * (64.0 / size)
    c, s = (1 - tilt * tilt) / (1 + tilt * tilt), 2 * tilt / (1 + tilt * tilt)
    dx, dy = (at - origin[0]) / scale, ((at - origin[1]) / scale)[:, None]
    return _Frame(dx * c + dy * s, dy * c - dx * s, origin, (c, s), scale)


def _window(frame: _Frame, box: tuple[float, float, float, float]) -> tuple[slice, slice]:
    """The rows and columns of pixels that can touch a box (left, top, right, bottom) of the frame."""
    (left, top, right, bottom), size, (c, s) = box, frame.u.shape[0], frame.turn
    unit, zoom = size / 64.0, frame.scale * size / 128.0
    u, v, a, b, tilt = left + right, top + bottom, right - left, bottom - top, abs(s)
    x, y = frame.origin[0] * unit + zoom * (u * c - v * s), frame.origin[1] * unit + zoom * (u * s + v * c)
    a, b = zoom * (a * c + b * tilt), zoom * (a * tilt + b * c)
    return (slice(max(int(y - b), 0), max(int(y + b) + 2, 0)), slice(max(int(x - a), 0), max(int(x + a) + 2, 0)))


class _Canvas(NamedTuple):
    """What is painted on, in place."""

    pixels: np.ndarray              # float64 [C,S,S], in [0,255]
    cover: np.ndarray | None = None  # float64 [S,S], in [0,1]: how much of a pixel has been painted over
    pencil: bool = False            # shapes are hatched, as dark as their colors are, and have outlines


def _fill(canvas: _Canvas, frame: _Frame, box: tuple[float, float, float, float], shape: Distance,
          color: Color | float, alpha: float = 1.0, blur: float = 0.0) -> None:
    """Paint a shape over the picture. box: holds the shape.
    blur: the width of the soft edge, in units of the frame, beyond the pixel that antialiasing takes."""
    rows, cols = _window(frame, box)
    edge = blur + 64.0 / (frame.u.shape[0] * frame.scale)
    cover = np.minimum(np.maximum(0.5 - shape(frame.u[rows, cols], frame.v[rows, cols]) / edge, 0.0), 1.0)
    if alpha != 1.0:
        cover *= alpha
    patch = canvas.pixels[:, rows, cols]
    patch += cover * ((_hatched(color, rows, cols, frame.u.shape[0]) if canvas.pencil else color) - patch)
    if canvas.cover is not None:
        canvas.cover[rows, cols] += cover * (1.0 - canvas.cover[rows, cols])


def _line(canvas: _Canvas, frame: _Frame, box: tuple[float, float, float, float], shape: Distance) -> None:
    """Draw along the inside of a shape's edge, in pencil; other styles have no lines."""
    if canvas.pencil:
        rows, cols = _window(frame, box)
        distance = np.abs(shape(frame.u[rows, cols], frame.v[rows, cols]) + _LINE) - _LINE
        cover = np.minimum(np.maximum(0.5 - distance * (frame.u.shape[0] * frame.scale / 64.0), 0.0), 1.0)
        canvas.pixels[:, rows, cols] += 0.85 * cover * (_rgb(_GRAPHITE) - canvas.pixels[:, rows, cols])


# ---------------------------------------------------------------------------------------------------------------------
# Signed distances

def _ellipse(u: np.ndarray, v: np.ndarray, x: Length, y: Length, a: Length, b: Length) -> np.ndarray:
    """First-order distance to an ellipse about (x, y) with half axes a, b."""
    p, q = (u - x) / a, (v - y) / b
    k = np.sqrt(p * p + q * q)
    p, q = p / a, q / b
    return (k - 1.0) * (k + _EPS * min(a, b)) / (np.sqrt(p * p + q * q) + _EPS)


def _circle(u: np.ndarray, v: np.ndarray, x: Length, y: Length, r: Length) -> np.ndarray:
    p, q = u - x, v - y
    return np.sqrt(p * p + q * q) - r


def _box(u: np.ndarray, v: np.ndarray, x: Length, y: Length, a: Length, b: Length, r: Length) -> np.ndarray:
    """A box about (x, y) with half sides a, b and corners of radius r."""
    p, q = np.abs(u - x) - (a - r), np.abs(v - y) - (b - r)
    m, n = np.maximum(p, 0.0), np.maximum(q, 0.0)
    return np.sqrt(m * m + n * n) + np.minimum(np.maximum(p, q), 0.0) - r


def _curve(u: np.ndarray, v: np.ndarray, x: tuple[float, float], y: Sequence[float], r: Length) -> np.ndarray:
    """A stroke of half width r along the parabola with heights y = (left, middle, right) over x = (left, right)."""
    middle, half = (x[0] + x[1]) / 2, (x[1] - x[0]) / 2
    slope, bend = (y[2] - y[0]) / 2, (y[0] + y[2]) / 2 - y[1]
    t = np.minimum(np.maximum((u - middle) / half, -1.0), 1.0)
    p, q = u - middle - half * t, v - (y[1] + t * (slope + bend * t))
    steep = (slope + 2 * bend * t) / half
    return np.sqrt(p * p + q * q / (1.0 + steep * steep)) - r


def _cut(d: np.ndarray, *away: np.ndarray) -> np.ndarray:
    """The part of a shape outside others."""
    for other in away:
        d = np.maximum(d, -other)
    return d


_SHAPES = {"round": (16.6, 16.4, 0.1, 0.0), "oval": (14.7, 18.2, 0.0, 0.06),
           "square": (15.6, 16.6, 0.8, 0.0), "heart": (16.6, 17.6, 0.1, 0.24)}  # half width, half height, square, taper


def _head(shape: str, jitter: _Jitter) -> Distance:
    """The outline of the head: between an ellipse and a superellipse of power 4, narrowing towards the chin."""
    a, b, square, taper = _SHAPES[shape]
    a, b = a * jitter.width, b * jitter.height

    def distance(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        y = v / b
        t = np.maximum(y, 0.0)
        x = u / a * (1.0 + taper * (t + t * t))
        x, y = x * x, y * y
        gauge = np.sqrt(x + y)
        if square:
            gauge = gauge + square * (np.sqrt(np.sqrt(x * x + y * y)) - gauge)
        return (gauge - 1.0) * min(a, b)

    return distance


# ---------------------------------------------------------------------------------------------------------------------
# The parts of a face, from back to front

class _Face(NamedTuple):
    """What every part needs: the picture being painted, its frames, the names and colors chosen."""

    image: _Canvas
    head: _Frame        # origin in the middle of the head; turns with it
    body: _Frame        # origin at the pit of the neck
    outline: Distance
    is_: Mapping[str, str]
    color: Mapping[str, Color]
    jitter: _Jitter


Names = Mapping[str, str]


def _plain(names: Names, color: Mapping[str, Color], jitter: _Jitter, stars: np.ndarray, size: int) -> np.ndarray:
    """The picture of a style: float64 [3,size,size] in [0,255]. stars: float64 [N,4] in [0,1)."""
    del stars
    image = np.empty((3, size, size))
    image[:] = color["background_colour"]
    image += _disc(size) * (_mix(color["background_colour"], _rgb(_WHITE), 0.38) - image)
    _paint(_Canvas(image), names, color, jitter)
    return image


def _paint(canvas: _Canvas, names: Names, color: Mapping[str, Color], jitter: _Jitter) -> None:
    """Head and shoulders, over what is there."""
    j, size = jitter, canvas.pixels.shape[1]
    bottom = j.y + 22.0 * j.scale
    face = _Face(canvas, _frame(size, (j.x, j.y), j.tilt, j.scale),
                 _frame(size, ((j.x + 32) / 2, bottom), 0.0, j.scale), _head(names["face_shape"], j), names, color, j)
    for part in (_hair_behind, _body, _skull, _beard, _nose, _mouth, _moustache, _eyes, _hair_front, _brows, _glasses):
        part(face)


@functools.lru_cache(maxsize=4)
def _disc(size: int) -> np.ndarray:
    """How much the pale disc behind every face covers. float64 [size,size] in [0, 1]."""
    disc = np.zeros((1, size, size))
    _fill(_Canvas(disc), _frame(size, (32.0, 32.0), 0.0, 1.0), (-28, -28, 28, 28),
          lambda u, v: _circle(u, v, 0, 0, 27.0), 1.0)
    return disc[0]


# ---------------------------------------------------------------------------------------------------------------------
# Other styles

_PAPER, _GRAPHITE, _LINE = "#faf7ef", "#34323a", 0.5  # the half width of a pencil line, in units of a frame
_MOON, _STARS = (55.5, 9.0, 4.6), 4 * 14               # x, y, radius; numbers for the stars of a face


def _luminance(color: np.ndarray) -> np.ndarray:
    """[3,...] in [0,255] -> [...] in [0,1]."""
    return (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) / 255.0


def _hatched(color: Color | float, rows: slice, cols: slice, size: int) -> np.ndarray:
    """Paper hatched as dark as a color is, float64 [3,h,w]: strokes that rise to the right, broader in the dark."""
    assert isinstance(color, np.ndarray)
    at, tone = (np.arange(size) + 0.5) * (64.0 / size), 1.0 - _luminance(color)
    strokes = np.minimum(np.maximum(2.0 * (tone - _zigzag(at[rows, None] + at[None, cols], 3.0)), 0.0), 1.0)
    return _mix(_rgb(_PAPER), _rgb(_GRAPHITE), 0.9 * tone * tone * tone * tone + 0.22 * strokes)


def _sketch(names: Names, color: Mapping[str, Color], jitter: _Jitter, stars: np.ndarray, size: int) -> np.ndarray:
    """Pencil on paper: outlines, hatched as dark as the colors are."""
    del stars
    image = np.empty((3, size, size))
    image[:] = _rgb(_PAPER)
    _paint(_Canvas(image, pencil=True), names, color, jitter)
    return image


def _night(names: Names, color: Mapping[str, Color], jitter: _Jitter, stars: np.ndarray, size: int) -> np.ndarray:
    """The same by night: a sky of its background's color with a moon and stars, in whose light all colors darken."""
    at, ground = (np.arange(size) + 0.5) * (64.0 / size), color["background_colour"]
    deep, low = ground * _rgb("#1f2438") / 255.0 + _rgb("#050818"), ground * _rgb("#3b4068") / 255.0 + _rgb("#0a0c22")
    sky = deep + (at[:, None] / 64.0 + 0.35 * _disc(size)) * (low - deep)
    frame = _frame(size, (0.0, 0.0), 0.0, 1.0)
    for x, y, radius, light in stars.tolist():
        x, y, radius = 64.0 * x, 44.0 * y, 0.45 + 0.4 * radius * radius
        _fill(_Canvas(sky), frame, (x - 2, y - 2, x + 2, y + 2), lambda u, v: _circle(u, v, x, y, radius),
              _rgb("#e8edff"), alpha=0.35 + 0.6 * light)
    x, y, radius = _MOON
    moon = lambda u, v: _cut(_circle(u, v, x, y, radius), _circle(u, v, x - 2.4, y - 1.2, radius - 0.6))
    _fill(_Canvas(sky), frame, (x - 14, y - 14, x + 14, y + 14), lambda u, v: _circle(u, v, x, y, 4.0),
          _rgb("#b9c6ff"), alpha=0.3, blur=14.0)
    _fill(_Canvas(sky), frame, (x - 6, y - 6, x + 6, y + 6), moon, _rgb("#fff6d8"))
    figure, cover = np.zeros((3, size, size)), np.zeros((size, size))
    _paint(_Canvas(figure, cover), names, color, jitter)
    # Less colorful, bluer, and brighter towards the moon; and a rim of light where nothing is between.
    lit = _mix(figure, 255.0 * _luminance(figure)[None], 0.22) * _rgb("#6a78a8") / 255.0
    lit *= 1.25 - 0.65 * (64.0 - at[None, :] + at[:, None]) / 128.0
    step = size // 64
    rim = sum(np.maximum(cover - _shifted(cover, k * step), 0.0) for k in (1, 2)) / 2
    return sky * (1.0 - cover) + lit + 0.5 * rim * (_rgb("#cfdcff") - lit)


def _shifted(cover: np.ndarray, pixels: int) -> np.ndarray:
    """What lies so many pixels to the right and up of each one; at the borders, what is there: [S,S] -> [S,S]."""
    up = np.concatenate([np.repeat(cover[:1], pixels, axis=0), cover[:-pixels]])
    return np.concatenate([up[:, pixels:], np.repeat(up[:, -1:], pixels, axis=1)], axis=1)


_STYLES = {"plain": _plain, "sketch": _sketch, "night": _night}
STYLES = tuple(_STYLES)


# ---------------------------------------------------------------------------------------------------------------------
# The parts themselves

def _shade(skin: Color) -> Color:
    """Skin in the shade: darker and redder."""
    return skin * _rgb("#dbc2bd") / 255.0


def _body(face: _Face) -> None:
    skin, cloth, j = face.color["skin_tone"], face.color["clothing_colour"], face.jitter
    dark = _mix(cloth, _rgb(_INK), 0.22)
    fill = lambda box, shape, color, **how: _fill(face.image, face.body, box, shape, color, **how)
    torso = lambda u, v: _box(u, v, 0, 20, j.shoulders, 20.5, 13.0)
    fill((-25, -1, 25, 20), torso, cloth)
    fill((-25, 4, 25, 20), lambda u, v: np.maximum(torso(u, v), 15.5 - np.abs(u) + 0.12 * v), dark, alpha=0.5)
    _line(face.image, face.body, (-25, -1, 25, 20), torso)
    neck = lambda u, v: _box(u, v, 0, -5, 5.6, 9.5, 4.0)
    kind = int(j.neckline)
    if kind == 0:    # crew neck
        fill((-9, -4, 9, 6), lambda u, v: _ellipse(u, v, 0, 0.4, 8.4, 5.2), dark)
        fill((-9, -4, 9, 6), lambda u, v: _ellipse(u, v, 0, -0.4, 6.9, 4.4), skin)
        _line(face.image, face.body, (-9, -4, 9, 6), lambda u, v: _ellipse(u, v, 0, 0.4, 8.4, 5.2))
    elif kind == 1:  # V-neck
        vee = lambda u, v: np.maximum((np.abs(u) + 0.72 * (v - 9.0)) * 0.81, -1.5 - v)
        fill((-11, -3, 11, 12), lambda u, v: vee(u, v) - 1.4, dark)
        fill((-11, -3, 11, 12), vee, skin)
        _line(face.image, face.body, (-11, -3, 11, 12), vee)
    else:            # collar
        pale = _mix(cloth, _rgb(_WHITE), 0.55) if face.is_["clothing_colour"] != "white" else _rgb("#c9d3e6")
        vee = lambda u, v: (np.abs(u) + 0.8 * (v - 6.5)) * 0.78
        fill((-9, -3, 9, 8), lambda u, v: np.maximum(vee(u, v), -2.5 - v), skin)
        flap = lambda u, v: np.maximum(np.maximum(-vee(u, v), np.abs(u) - 9.2 + 0.3 * v),
                                       np.maximum(-2.6 - v, v - 9.0 + 0.55 * np.abs(u)))
        fill((-11, -3, 11, 10), lambda u, v: flap(u, v - 0.8), dark, alpha=0.6)
        fill((-11, -3, 11, 9), flap, pale)
        _line(face.image, face.body, (-11, -3, 11, 9), flap)
    fill((-7, -15, 7, 5), neck, skin)
    fill((-7, -12, 7, 5), lambda u, v: np.maximum(neck(u, v), _ellipse(u, v, 0, -8.5, 10.0, 7.4)), _shade(skin))
    _line(face.image, face.body, (-7, -15, 7, 0), neck)


def _skull(face: _Face) -> None:
    skin, j = face.color["skin_tone"], face.jitter
    shade, a = _shade(skin), _SHAPES[face.is_["face_shape"]][0] * j.width
    fill = lambda box, shape, color, **how: _fill(face.image, face.head, box, shape, color, **how)
    if face.is_["hair_style"] != "long":  # which hides the ears
        fill((-22, -4, 22, 8), lambda u, v: _ellipse(np.abs(u), v, a + 0.6, 1.6, 3.2, 4.3), skin)
        fill((-22, -4, 22, 8), lambda u, v: _ellipse(np.abs(u), v, a + 1.0, 1.8, 1.6, 2.5), shade)
        _line(face.image, face.head, (-22, -4, 22, 8), lambda u, v: _ellipse(np.abs(u), v, a + 0.6, 1.6, 3.2, 4.3))
    fill((-18, -19, 18, 19), face.outline, shade)
    fill((-18, -19, 18, 19), lambda u, v: np.maximum(face.outline(u, v), face.outline(u + 1.3, v + 1.1) + 0.3), skin)
    rose = _mix(skin, _rgb("#f2545b"), 0.55)
    fill((-15, 3, 15, 11), lambda u, v: _ellipse(np.abs(u), v, 10.4, 6.9, 2.3, 1.6), rose, alpha=j.blush, blur=1.6)
    _line(face.image, face.head, (-18, -19, 18, 19), face.outline)


def _beard(face: _Face) -> None:
    if face.is_["facial_hair"] != "beard":
        return
    hair, j, out = face.color["hair_colour"], face.jitter, face.outline
    fill = lambda box, shape, color, **how: _fill(face.image, face.head, box, shape, color, **how)
    cheeks = lambda u, v: _box(u, v, 0, -3.0, 13.8, 13.4, 9.0)
    beard = lambda u, v: _cut(np.maximum(out(u, v - 1.6) - 0.5, -2.0 - v), cheeks(u, v))
    fill((-20, -3, 20, 22), beard, _mix(hair, _rgb(_INK), 0.16))
    fill((-20, -3, 20, 22), lambda u, v: np.maximum(beard(u, v), out(u + 1.6, v) + 0.6), hair)
    _line(face.image, face.head, (-20, -3, 20, 22), beard)
    fill((-8, 5, 8, 16), lambda u, v: _ellipse(u, v, 0, j.mouth_y, 6.4 * j.mouth_width, 3.1), face.color["skin_tone"])


def _nose(face: _Face) -> None:
    skin, j = face.color["skin_tone"], face.jitter
    fill = lambda box, shape, color, **how: _fill(face.image, face.head, box, shape, color, **how)
    n = j.nose_size
    shade, light = _mix(_shade(skin), _rgb("#a03c3c"), 0.16), _mix(skin, _rgb(_WHITE), 0.14)
    fill((-4, 3, 4, 9), lambda u, v: _ellipse(u, v, 0.3, j.nose_y + 0.3, 2.3 * n, 1.55 * n), shade)
    fill((-4, 2, 4, 9), lambda u, v: _ellipse(u, v, -0.1, j.nose_y - 0.7, 2.0 * n, 1.4 * n), light)
    _line(face.image, face.head, (-4, 2, 4, 9), lambda u, v: np.maximum(
        _ellipse(u, v, 0.3, j.nose_y + 0.3, 2.3 * n, 1.55 * n), j.nose_y - 0.2 - v))


def _mouth(face: _Face) -> None:
    j, ink, mouth = face.jitter, _rgb("#471a24"), _rgb(_MOUTH)
    w, y = j.mouth_width, j.mouth_y
    lips = _mix(face.color["skin_tone"], _rgb("#d8505e"), 0.5)
    fill = lambda shape, color: _fill(face.image, face.head, (-8, y - 5, 8, y + 6), shape, color)
    line = lambda shape: _line(face.image, face.head, (-8, y - 5, 8, y + 6), shape)
    match face.is_["expression"]:
        case "smiling":
            grin = lambda u, v: np.maximum(_ellipse(u, v, 0, y - 2.4, 6.8 * w, 6.0), y - 1.9 - 0.022 * u * u - v)
            fill(grin, mouth)
            fill(lambda u, v: np.maximum(grin(u, v) + 0.7, _ellipse(u, v, 0, y + 4.2, 4.4, 2.9)), _rgb(_TONGUE))
            fill(lambda u, v: np.maximum(grin(u, v) + 0.5, v - (y + 0.1)), _rgb(_WHITE))
            line(grin)
            line(lambda u, v: np.maximum(grin(u, v), v - (y + 0.6)))
        case "neutral":
            fill(lambda u, v: _curve(u, v, (-2.9 * w, 2.9 * w), (y + 0.9, y + 1.3, y + 0.9), 1.2), lips)
            closed = lambda u, v: _curve(u, v, (-4.4 * w, 4.4 * w), (y, y + 0.2, y), 0.85)
            fill(closed, ink)
            line(closed)
        case "sad":
            fill(lambda u, v: _curve(u, v, (-2.8 * w, 2.8 * w), (y + 1.4, y + 0.3, y + 1.4), 1.3), lips)
            bent = lambda u, v: _curve(u, v, (-5.0 * w, 5.0 * w), (y + 2.5, y - 1.5, y + 2.5), 1.0)
            fill(bent, ink)
            line(bent)
        case "surprised":
            round_ = lambda u, v: _ellipse(u, v, 0, y + 0.6, 3.5 * w, 4.2)
            fill(round_, mouth)
            tongue = lambda u, v: _ellipse(u, v, 0, y + 4.0, 3.0, 2.4)
            fill(lambda u, v: np.maximum(_ellipse(u, v, 0, y + 0.6, 2.8 * w, 3.5), tongue(u, v)), _rgb(_TONGUE))
            line(round_)
        case "angry":
            teeth = lambda u, v: _box(u, v + 0.05 * u * u - 0.4, 0, y + 0.5, 5.9 * w, 2.7, 2.0)
            fill(teeth, ink)
            fill(lambda u, v: np.maximum(teeth(u, v) + 0.85, 0.35 - np.abs(v + 0.05 * u * u - y - 0.9)), _rgb(_WHITE))
            line(teeth)
            line(lambda u, v: np.maximum(teeth(u, v), np.abs(v + 0.05 * u * u - y - 0.9) - 0.35))


def _moustache(face: _Face) -> None:
    if face.is_["facial_hair"] == "none":
        return
    hair, y = face.color["hair_colour"], face.jitter.nose_y + 2.2
    lobe = lambda u, v: _curve(np.abs(u), v, (0.2, 6.0), (y, y - 0.5, y + 1.7), 1.5 - 0.07 * np.abs(u))
    _fill(face.image, face.head, (-9, y - 3, 9, y + 5), lobe, _mix(hair, _rgb(_INK), 0.12))
    _line(face.image, face.head, (-9, y - 3, 9, y + 5), lobe)


class _Look(NamedTuple):
    """Brows and eyes of an expression; heights from the middle of the eye, (inner, outer) or (inner, middle, outer)."""

    brow: tuple[float, float, float]
    open: float                  # height of the eye, relative
    iris: float                  # size of the iris, relative
    upper: tuple[float, float]   # the edge of the upper lid
    lower: float                 # the edge of the lower lid


_LOOKS = {
    "smiling": _Look((-6.9, -8.6, -6.6), 1.0, 1.0, (-9.0, -9.0), 2.5),
    "neutral": _Look((-6.4, -7.1, -6.3), 0.95, 1.0, (-2.9, -2.9), 9.0),
    "sad": _Look((-9.0, -7.0, -4.9), 0.95, 1.0, (-4.6, -0.2), 9.0),
    "surprised": _Look((-9.6, -11.4, -9.4), 1.2, 0.78, (-9.0, -9.0), 9.0),
    "angry": _Look((-3.6, -5.6, -8.8), 0.95, 0.9, (0.2, -4.4), 3.4),
}


def _eyes(face: _Face) -> None:
    j, look = face.jitter, _LOOKS[face.is_["expression"]]
    x, y, a, b = j.eye_gap, j.eye_y, 4.1 * j.eye_size, 4.6 * j.eye_size * look.open
    box = (-x - 6, y - 8, x + 6, y + 7)
    fill = lambda shape, color, **how: _fill(face.image, face.head, box, shape, color, **how)
    slope = (look.upper[1] - look.upper[0]) / (2 * a)

    def eye(u: np.ndarray, v: np.ndarray, lift: float = 0.0) -> np.ndarray:
        lid = y + look.upper[0] + slope * (np.abs(u) - (x - a)) - lift - v
        low = v - (y + look.lower) - 0.06 * (np.abs(u) - x) * (np.abs(u) - x)
        return np.maximum(_ellipse(np.abs(u), v, x, y - lift * 0.7, a + lift * 0.4, b), np.maximum(lid, low))

    fill(lambda u, v: eye(u, v, 1.1), _rgb(_INK))
    fill(eye, _rgb(_WHITE))
    window = _window(face.head, box)
    inside, centered = eye(face.head.u[window], face.head.v[window]), face.head.u[window]
    centered = centered - np.where(centered > 0, x + j.gaze_x, j.gaze_x - x)   # both eyes look the same way
    iris, gy, color = 3.2 * j.eye_size * look.iris, y + 0.2 + j.gaze_y, face.color["eye_colour"]
    for up, right, radius, paint in ((0.0, 0.0, iris, _mix(color, _rgb(_INK), 0.3)), (-0.3, 0.0, iris - 0.6, color),
                                     (0.0, 0.0, iris * 0.52, _rgb(_INK)), (1.0, -0.9, 0.95, _rgb(_WHITE))):
        fill(lambda u, v: np.maximum(inside, _circle(centered, v, right, gy - up, radius)), paint)
        if radius > 1.0:  # all but the light in it
            ring = lambda u, v: np.maximum(inside, _circle(centered, v, right, gy - up, radius))
            _line(face.image, face.head, box, ring)
    _line(face.image, face.head, box, lambda u, v: np.maximum(eye(u, v, 1.1), -eye(u, v)))
    if face.is_["expression"] == "sad":
        tear = lambda u, v: _ellipse(u, v, x + 2.4, y + 6.0, 1.25, 1.9)
        _fill(face.image, face.head, (x, y + 3, x + 5, y + 9), tear, _rgb(_TEAR))
        _line(face.image, face.head, (x, y + 3, x + 5, y + 9), tear)


def _brows(face: _Face) -> None:
    j, look = face.jitter, _LOOKS[face.is_["expression"]]
    color = _mix(face.color["hair_colour"], _rgb(_INK), 0.35)
    y = tuple(j.eye_y + j.brow_y + h for h in look.brow)
    brow = lambda u, v: _curve(np.abs(u), v, (j.eye_gap - 3.9, j.eye_gap + 4.3), y, j.brow_weight)
    _fill(face.image, face.head, (-14, min(y) - 2, 14, max(y) + 2), brow, color)
    _line(face.image, face.head, (-14, min(y) - 2, 14, max(y) + 2), brow)


def _glasses(face: _Face) -> None:
    if face.is_["glasses"] == "none":
        return
    j, color = face.jitter, _rgb(_FRAMES[int(face.jitter.frame)])
    x, y = j.eye_gap + 0.1, j.eye_y + 0.4
    a = _SHAPES[face.is_["face_shape"]][0] * j.width
    if face.is_["glasses"] == "round":
        lens = lambda u, v: _circle(np.abs(u), v, x, y, 5.8)
    else:
        lens = lambda u, v: _box(np.abs(u), v, x, y, 5.8, 5.0, 1.3)
    fill = lambda box, shape, color, **how: _fill(face.image, face.head, box, shape, color, **how)
    box = (-x - 8, y - 7, x + 8, y + 7)
    gleam = lambda u, v: np.abs(u - np.where(u > 0, x, -x) + 0.7 * (v - y) + 3.4) - 0.9
    fill(box, lambda u, v: np.maximum(lens(u, v), gleam(u, v)), _rgb(_WHITE), alpha=0.4)
    fill(box, lambda u, v: np.abs(lens(u, v)) - 0.6, color)
    _line(face.image, face.head, box, lambda u, v: np.abs(lens(u, v)) - 0.6)
    arms = lambda u, v: np.maximum(np.abs(v - y + 1.2) - 0.6, np.maximum(x + 5.8 - np.abs(u), np.abs(u) - a - 0.4))
    bridge = lambda u, v: _curve(u, v, (6.0 - x, x - 6.0), (y - 0.8, y - 1.4, y - 0.8), 0.65)
    fill((-a - 1, y - 3, a + 1, y + 1), lambda u, v: np.minimum(arms(u, v), bridge(u, v)), color)
    _line(face.image, face.head, (-a - 1, y - 3, a + 1, y + 1), lambda u, v: np.minimum(arms(u, v), bridge(u, v)))


# ---------------------------------------------------------------------------------------------------------------------
# Hair

_CURLS = ((-16.2, 1.5, 4.4), (-18.0, -5.0, 5.0), (-15.5, -12.0, 5.2), (-9.5, -17.0, 5.6), (-1.8, -19.0, 5.8),
          (6.2, -18.4, 5.6), (12.6, -14.6, 5.4), (17.0, -8.4, 5.0), (17.6, -1.2, 4.6))   # x, y, radius; clockwise
_FRINGE = ((-12.0, -9.5, 4.0), (-6.6, -12.2, 4.2), (-0.4, -12.6, 4.4), (5.8, -12.4, 4.2), (11.4, -10.0, 4.0))


def _circles(u: np.ndarray, v: np.ndarray, circles: Sequence[tuple[float, float, float]], grow: float) -> np.ndarray:
    return np.minimum.reduce([_circle(u, v, x, y, r + grow) for x, y, r in circles])


def _zigzag(u: np.ndarray, period: float) -> np.ndarray:
    """A triangle wave between 0 (at multiples of the period) and 1."""
    t = u / period
    return 2.0 * np.abs(t - np.floor(t + 0.5))


def _hair_behind(face: _Face) -> None:
    hair, j = face.color["hair_colour"], face.jitter
    dark, w = _mix(hair, _rgb(_INK), 0.25), 1.2 * j.hair_volume

    def fill(box: tuple[float, float, float, float], shape: Distance, color: Color | float, outlined: bool = True):
        _fill(face.image, face.head, box, shape, color)
        if outlined:
            _line(face.image, face.head, box, shape)

    match face.is_["hair_style"]:
        case "curly":
            fill((-26, -28, 26, 10), lambda u, v: _circles(u, v, _CURLS, w), dark)
        case "bob":
            fill((-23, -21, 23, 16), lambda u, v: _box(u, v, 0, -2.5, 18.6 + w + 0.06 * v, 17.2, 10.0), dark)
        case "long":
            fill((-24, -21, 24, 36), lambda u, v: _box(u, v, 0, 7.0, 17.8 + w + 0.05 * v, 26.5, 15.0), dark)
        case "bun":
            box, shine = (-9, -30, 9, -12), _mix(hair, _rgb(_WHITE), 0.3)
            fill(box, lambda u, v: _circle(u, v, 0, -20.4, 5.8 + w), hair)
            fill(box, lambda u, v: _curve(u, v, (-4.5, 3.0), (-21.5, -24.6, -23.6), 0.7), shine, outlined=False)
            fill(box, lambda u, v: _curve(u, v, (-5.0, 5.0), (-17.6, -16.6, -17.6), 1.0), dark)


def _front(style: str, out: Distance, j: _Jitter) -> Distance | None:
    """The outline of the hair over the forehead."""
    w, part = 0.9 * j.hair_volume, 2.5 * j.parting
    cap = lambda u, v: out(u, v + 0.7) - 1.4 - w
    match style:
        case "short":
            quiff = lambda u, v: _ellipse(u, v, 1.5 + part * 0.6, -14.6, 13.0, 5.4 + w)
            line = lambda u, v: 0.9 * (v + 10.6 - 0.018 * (u + 5.0 + part) * (u + 5.0 + part))
            return lambda u, v: np.maximum(np.minimum(cap(u, v), quiff(u, v)), line(u, v))
        case "spiky":
            rise = lambda v: np.minimum(np.maximum(-0.2 - 0.1 * v, 0.0), 1.0)
            wave = lambda u, v: rise(v) * _zigzag(u + 0.5 * part + 0.02 * u * v, 7.4)
            spikes = lambda u, v: out(u, v + 0.5) - 0.4 - (3.8 + 2 * w) * wave(u, v)
            line = lambda u, v: v + 7.4 + 2.8 * _zigzag(u + part, 7.0) - 0.014 * u * u
            return lambda u, v: 0.65 * np.maximum(spikes(u, v), line(u, v))
        case "curly":
            return lambda u, v: np.minimum(_circles(u, v, _FRINGE, 0.4 * w), np.maximum(cap(u, v), v + 12.0))
        case "bob":
            fringe = lambda u, v: np.maximum(cap(u, v), v + 7.4 - 0.008 * u * u)
            strand = lambda u, v: _curve(v, np.abs(u), (-7.0, 11.0), (15.0, 16.4, 15.6), 2.6 + 0.5 * w)
            return lambda u, v: np.minimum(fringe(u, v), strand(u, v))
        case "long":
            fall = lambda u, v: _box(u, v, 0, 5.0, 17.6 + w + 0.04 * v, 23.5, 15.0)
            opening = lambda u, v: _ellipse(np.abs(u - part), v, -6.0, 7.0, 20.0, 21.5)
            return lambda u, v: _cut(np.maximum(np.minimum(fall(u, v), cap(u, v)), 0.35 * (v - 17.0)), opening(u, v))
        case "bun":
            return lambda u, v: np.maximum(cap(u, v) + 0.4, (v + 10.8 - 0.03 * u * u) * 0.85)
    return None


def _hair_front(face: _Face) -> None:
    style, hair, j, out = face.is_["hair_style"], face.color["hair_colour"], face.jitter, face.outline
    fill = lambda box, shape, color, **how: _fill(face.image, face.head, box, shape, color, **how)
    shine = lambda u, v: _curve(u, v, (-10.5, -2.5), (-11.6, -14.4, -15.4), 0.9)
    shape = _front(style, out, j)
    if shape is None:
        fill((-12, -17, 0, -9), lambda u, v: shine(u, v + 0.2), _rgb(_WHITE), alpha=0.3, blur=0.8)
        return
    bottom = {"bob": 15, "long": 19}.get(style, 1)
    shadow = lambda u, v: np.maximum(shape(u, v - 1.3), out(u, v))
    fill((-19, -18, 19, bottom), shadow, _shade(face.color["skin_tone"]))
    fill((-24, -28, 24, bottom), shape, hair)
    _line(face.image, face.head, (-24, -28, 24, bottom), shape)
    gleam = lambda u, v: np.maximum(shine(u, v), shape(u, v))
    fill((-13, -18, 0, -9), gleam, _mix(hair, _rgb(_WHITE), 0.35), alpha=0.8)
    if style == "long":
        part = 2.5 * j.parting
        line = lambda u, v: np.maximum(_curve(v, u, (-21.0, -13.0), (part, part * 0.9, part), 0.4), shape(u, v))
        fill((-6, -21, 6, -11), line, _mix(hair, _rgb(_INK), 0.3))


if __name__ == "__main__":
    _work(**json.loads(sys.argv[1]))
