"""Looks for the watermark in a picture: as it is, mirrored, turned, or a part of what was marked.

The pattern is correlated with the picture at every position at once, and that is tried for sizes and angles, one at a
time. From the number of places that were tried follows the false-positive rate. The best place is refined, so that more
is tried than is looked at: how much more was measured on unmarked pictures (experiments/trust/falsely.py).
"""
from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
import scipy.special
from PIL import Image

from imggen_jax.provenance import coding, overview, waves
from imggen_jax.provenance.overview import resized
from imggen_jax.provenance.waves import REACHES, WORK

_fft: Any = scipy.fft            # whose types say nothing of what they return
_special: Any = scipy.special

RATE = 1e-3              # of unmarked pictures that are taken for marked ones, at most
_SCALES = tuple(float(each) for each in np.exp(np.arange(np.log(0.45), np.log(1.3), 0.02)) if abs(each - 1) > 0.005)
_ANGLES = tuple(float(each) for each in np.arange(-46, 47) if each)
# Positions that count as tried at each size and angle: those in half pixels, and again as many for what the refinement
# finds between the sizes and angles; twice that, for room.
_POSITIONS = 4 * (2 * WORK)**2
_REFINED = 2                         # times that the neighbors of the best place are tried
_DECODED = 8                         # places at which the bits are read


class Place(NamedTuple):
    """How a picture lies in the one that was marked."""

    height: float = 1.0          # as a share of the marked picture's
    width: float = 1.0
    angle: float = 0.0           # degrees, counterclockwise
    mirrored: bool = False
    down: float = 0.0            # of its middle from that of the marked picture, in WORK-ths of its sides
    right: float = 0.0


class Detection(NamedTuple):
    """What a picture's pixels say of a mark."""

    marked: bool
    payload: int | None          # None where its checksum does not hold
    false_positive_rate: float   # share of unmarked pictures that look at least as much like a marked one
    statistic: float             # standard deviations above the mean of unmarked pictures
    place: Place                 # where the pattern fits best
    soft: np.ndarray             # float [BITS]: the bits of the code, there


def detect(pixels: np.ndarray, *, rate: float = RATE, search: bool = True) -> Detection:
    """Look for a mark, in the picture as it is, mirrored, and as a crop or turned.

    Args:
      pixels: uint8 or uint16 [H,W,C], of any size.
      rate: share of unmarked pictures that may be taken for marked ones. A quarter of it is spent on the picture as it
        is, a quarter on all other places, and the rest on checksums that hold by chance.
      search: also look for a crop, a turned or a mirrored picture; it takes half a second, and the picture as it is
        takes milliseconds.
    """
    luma = _looked_at(pixels)
    found = _fits(luma, Place(), moved=False)
    best = _judged(found, rate)
    if search and (not best.marked or best.payload is None):
        small = resized(luma, WORK, WORK)           # that is turned, so that it is made once
        found += [fit for place in _places() for fit in _fits(small if place.angle else luma, place, moved=True)]
        for _ in range(_REFINED):
            top = max(found[len(REACHES):], key=lambda one: one.statistic).place
            found += [fit for place in _near(top) for fit in _fits(luma, place, moved=True)]
        found += _between(max(found[len(REACHES):], key=lambda one: one.statistic))
        best = _judged(found, rate)
    return best


def _places() -> Iterator[Place]:
    yield Place()
    yield Place(mirrored=True)
    for scale in _SCALES:
        yield Place(scale, scale)
    for angle in _ANGLES:
        yield Place(angle=angle)


class _Fit(NamedTuple):
    place: Place
    statistic: float
    tried: int                   # positions among which it counts as the best
    along: np.ndarray            # complex64 [n], the waves turned back by their phases, before the picture is moved


def _fits(luma: np.ndarray, place: Place, *, moved: bool) -> list[_Fit]:
    """How well marks of each reach fit a picture that lies so; `moved`: with its middle where it fits best."""
    along = waves.spectrum(_laid(luma, place))
    return [_moved(along[:end], place) if moved else _at(along[:end], place, 1) for end in waves.pattern().ends]


def _moved(along: np.ndarray, place: Place) -> _Fit:
    plan, sync = waves.pattern(), waves.sync(len(along))
    found, columns = along[sync], plan.columns[sync]
    half = np.zeros((WORK, WORK // 2 + 1), np.complex64)
    half[plan.rows[sync], columns] = found * np.where(columns > 0, np.float32(0.5), np.float32(1))
    statistics = _fft.irfft2(half, s=(WORK, WORK), norm="forward")    # at every position
    best = int(np.argmax(statistics))
    down, right = (float((side + WORK // 2) % WORK - WORK // 2) for side in divmod(best, WORK))
    value = float(statistics.flat[best]) / waves.deviation(found)
    return _Fit(place._replace(down=down, right=right), value, _POSITIONS, along)


def _at(along: np.ndarray, place: Place, tried: int) -> _Fit:
    """The fit at one place."""
    turned = along * _turn(place, len(along)) if place.down or place.right else along
    return _Fit(place, waves.statistic(turned), tried, along)


def _turn(place: Place, end: int) -> np.ndarray:
    """What moving a picture to its place multiplies its waves by: complex64 [end]."""
    plan = waves.pattern()
    return np.exp(np.complex64(2j * np.pi / WORK) * (plan.rows[:end] * place.down + plan.columns[:end] * place.right))


def _between(fit: _Fit) -> list[_Fit]:
    """The fits half a pixel of the working size around one, which were counted there."""
    return [_at(fit.along, fit.place._replace(down=fit.place.down + y, right=fit.place.right + x), 0)
            for y in (-0.5, 0, 0.5) for x in (-0.5, 0, 0.5) if y or x]


def _near(place: Place) -> Iterator[Place]:
    for height in (0.99, 1.0, 1.01):
        for width in (0.99, 1.0, 1.01):
            yield place._replace(height=place.height * height, width=place.width * width)
    yield place._replace(angle=place.angle - 0.5)
    yield place._replace(angle=place.angle + 0.5)


def _judged(found: list[_Fit], rate: float) -> Detection:
    """The decision over all places that were tried."""
    first = len(REACHES)
    tried = sum(one.tried for one in found[first:])
    rates = [min(1.0, (first if k < first else tried) * float(_special.ndtr(-one.statistic)))
             for k, one in enumerate(found)]
    order = np.argsort(rates, kind="stable")[:_DECODED]
    return min((_read(found[k], rates[k], rate) for k in order),
               key=lambda one: (one.payload is None, one.false_positive_rate))


def _read(fit: _Fit, rate: float, wanted: float) -> Detection:
    """The bits at a place; `rate`: of unmarked pictures, at which a place fits as well."""
    end = len(fit.along)
    bits = waves.pattern().bits[:end]
    data = bits >= 0
    soft = np.bincount(bits[data], np.real(fit.along * _turn(fit.place, end))[data], coding.BITS)
    payload, holds = coding.decode(soft)
    # A quarter each for the picture as it is and for all other places, half for checksums: up to twice _DECODED.
    chance = min(4 * rate, 4 * _DECODED * 2.0**-coding.CHECK if holds else 1.0, 1.0)
    return Detection(chance <= wanted, payload if holds else None, chance, fit.statistic, fit.place, soft)


def _laid(luma: np.ndarray, place: Place) -> np.ndarray:
    """float32 [WORK,WORK]: the normalized picture where it lay in the marked one, its middle in the middle."""
    height, width = (max(8, round(WORK * side)) for side in (place.height, place.width))
    luma = luma[:, ::-1] if place.mirrored else luma
    if place.angle:
        turned = Image.fromarray(resized(luma, WORK, WORK)).rotate(-place.angle, Image.Resampling.BICUBIC)
        normal = waves.normalized(resized(np.asarray(turned), height, width))[0] * _inside(place.angle, height, width)
    else:
        normal = waves.normalized(resized(luma, height, width))[0]
    if (height, width) == (WORK, WORK):
        return normal
    out = np.zeros((WORK, WORK), np.float32)
    (top, down), (left, right) = (_middle(WORK, min(side, WORK)) for side in (height, width))
    (above, below), (before, after) = (_middle(side, min(side, WORK)) for side in (height, width))
    out[top:down, left:right] = normal[above:below, before:after]
    return out


@functools.lru_cache(maxsize=256)
def _inside(angle: float, height: int, width: int) -> np.ndarray:
    """bool [H,W]: what a turned picture covers."""
    turned = Image.new("L", (WORK, WORK), 255).rotate(-angle, Image.Resampling.NEAREST)
    return np.asarray(turned.resize((width, height))) > 0


def _middle(whole: int, part: int) -> tuple[int, int]:
    """Begin and end of the middle `part` of `whole`."""
    return (whole - part) // 2, (whole - part) // 2 + part

def _looked_at(pixels: np.ndarray) -> np.ndarray:
    """The luma of a picture, float32, of at most 2 * WORK pixels a side."""
    luma = overview.luma(pixels)
    return resized(luma, *(min(side, 2 * WORK) for side in luma.shape))


def where(pixels: np.ndarray, found: Detection, blocks: int = 8) -> np.ndarray:
    """How much of a mark is in each part of a picture: float32 [blocks,blocks], standard deviations above none.

    Args:
      pixels: of the picture, as for `detect`.
      found: its detection.
      blocks: parts that each side is divided into; those outside the picture, where it was turned, are 0.
    """
    plan = waves.pattern()
    normal = _laid(_looked_at(pixels), found.place)
    signs = np.append(np.sign(found.soft) if found.payload is None else coding.encode(found.payload), 1)[plan.bits]
    wave = waves.summed(plan.phases * signs * _turn(found.place, len(plan.rows)).conj())
    height, width = (min(WORK, max(8, round(WORK * side))) for side in (found.place.height, found.place.width))
    top, left = (WORK - height) // 2, (WORK - width) // 2
    both = np.stack([normal * wave, (normal * wave)**2])[:, top:top + height, left:left + width]
    rows, columns = (np.arange(side) * blocks // side for side in (height, width))
    sums = np.zeros((2, blocks, blocks), np.float32)
    where: Any = (slice(None), rows[:, None], columns)
    np.add.at(sums, where, both)
    return sums[0] / np.sqrt(np.maximum(sums[1], 1e-9))
