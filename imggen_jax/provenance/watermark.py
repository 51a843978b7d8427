"""An invisible mark in a picture's pixels: 32 bits, spread over its spectrum, found again after crops and resizes.

The mark is a fixed pattern at a fixed working size, laid over the whole picture whatever its size: a sum of waves of
pseudo-random phase (I. J. Cox et al., Secure spread spectrum watermarking for multimedia, IEEE TIP 6(12), 1997). Some
waves are always the same and are what is looked for; the signs of the others are the bits of a code. What the picture
itself says along the waves is known when they are added, and made up for (H. S. Malvar, D. A. F. Florencio, Improved
spread spectrum, IEEE TSP 51(4), 2003). Flat areas, where the eye sees most, have a limit of their own (C. I. Podilchuk,
W. Zeng, Image-adaptive watermarking using visual models, IEEE JSAC 16(4), 1998).

The detector divides a picture by its local variance, as is best for a known signal in noise of that variance, whitens
it, and correlates it with the pattern at every position at once. The phases are independent of any picture, so that
the statistic of an unmarked one is a sum of independent terms of mean 0 and known variance: its false-positive rate
follows, and has to be measured only as a check.
"""
# pyright: reportAttributeAccessIssue=false
# NumPy's types do not know that arrays of any dtype have a real and an imaginary part.
from __future__ import annotations

import functools
import hashlib
import io
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
import scipy.special
from PIL import Image, ImageChops
from scipy import ndimage

from imggen_jax.provenance import coding

_fft: Any = scipy.fft            # whose types say nothing of what they return
_special: Any = scipy.special
_ndimage: Any = ndimage

SMALLEST = 64            # pixels of the shorter side that carry a mark
RATE = 1e-3              # of unmarked pictures that are taken for marked ones, at most
WORK = 128               # side of the working size
_LOW, _REACHES = 4, (20, 40, 56)     # waves across a picture: at least, and at most in small to large ones
_SYNC = 0.4              # share of the waves that are always the same
_KEY = b"imggen_jax watermark 1"

# Detection.
_WINDOW, _FLOOR = 5, 1.5             # pixels over which variance is local; gray levels that are added to its root
_SMOOTH, _LIMIT = 7, 2.0             # waves over which a spectrum is smoothed; most that one counts, of their mean
_SCALES = tuple(float(each) for each in np.exp(np.arange(np.log(0.45), np.log(1.3), 0.02)) if abs(each - 1) > 0.005)
_ANGLES = tuple(float(each) for each in np.arange(-46, 47) if each)
_INDEPENDENT = (2 * _REACHES[-1] + 1)**2    # positions: as many as the waves allow to differ
_REFINED = 2                         # times that the neighbors of the best place are tried
_DECODED = 8                         # places at which the bits are read

# Marking: root mean squares are in gray levels of 255.
_STRENGTH, _WEAKEST, _STRONGEST = 2.0, 1.5, 4.0   # at first, at least, and at most
_FLAT, _HIDDEN = (1.6, 2.8), 0.12    # most where nothing hides it, and what a gray level of contrast hides besides
_ROUNDS = 2
_AMOUNTS = (0.3, 2.5)                # of a group of waves, relative to the others
_MAKE_UP = 0.7                       # share of what a picture says against a bit that is made up for in a round
_UNTOUCHED, _BRIGHT, _COMPRESSED = 12.0, 6.0, 7.0    # statistics that are aimed at, as it is and after damage
_KEPT = 0.8                          # share of the statistic that outlives the way to a larger size and back


class Pattern(NamedTuple):
    """The waves, as places in the half spectrum of the working size."""

    rows: np.ndarray     # int [n]
    columns: np.ndarray  # int [n]
    phases: np.ndarray   # complex64 [n], of size 1
    bits: np.ndarray     # int [n]: of the code, -1 for what is always the same
    ends: np.ndarray     # int: how many of them, the longest first, a mark of each reach holds


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


@functools.cache
def pattern() -> Pattern:
    """The waves that all marks of this project are made of."""
    rows, columns = np.meshgrid(np.fft.fftfreq(WORK, 1 / WORK).astype(int), np.arange(WORK // 2 + 1), indexing="ij")
    radius = np.hypot(rows, columns)
    inside = (radius >= _LOW) & (radius <= _REACHES[-1]) & ((columns > 0) | (rows > 0))
    order = np.lexsort((columns[inside], rows[inside], radius[inside]))
    rows, columns = rows[inside][order], columns[inside][order]
    # Bits, and what is always the same, get their share of each octave.
    roles = np.r_[np.arange(coding.BITS), np.full(round(coding.BITS * _SYNC / (1 - _SYNC)), -1)]
    blocks = -(-len(rows) // len(roles))
    bits = roles[_words(b"roles", blocks * len(roles)).reshape(blocks, -1).argsort(1, kind="stable")]
    phases = np.exp(2j * np.pi * _words(b"phases", len(rows)) / 2**32).astype(np.complex64)
    ends = np.searchsorted(np.hypot(rows, columns), _REACHES, side="right")
    return Pattern(rows, columns, phases, bits.reshape(-1)[:len(rows)], ends)


def _words(name: bytes, n: int) -> np.ndarray:
    """uint32 [n] from SHA-256; the streams of NumPy's generators may change with its version."""
    blocks = [hashlib.sha256(_KEY + name + k.to_bytes(4, "big")).digest() for k in range(-(-n // 8))]
    return np.frombuffer(b"".join(blocks), "<u4")[:n]


# ------------------------------------------------------------------------------------------------------------- marking


def mark(pixels: np.ndarray, payload: int, *, part: np.ndarray | None = None) -> np.ndarray:
    """A picture with a mark: of the same shape and dtype; alpha is unchanged.

    Args:
      pixels: uint8 or uint16 [H,W,C], C 1 to 4, an even C with alpha; both sides at least SMALLEST.
      payload: 0 to 2^32 - 1.
      part: bool [H,W], true where pixels may change; None for everywhere.

    Raises:
      ValueError: the picture is too small.
    """
    height, width, _ = pixels.shape
    if min(height, width) < SMALLEST:
        raise ValueError(f"a picture of {width}x{height} cannot carry a watermark; it takes {SMALLEST}x{SMALLEST}")
    seen = Overview(height, width)
    seen.add(pixels)
    return Layer(seen, payload).on(pixels, 0, part)


class Overview:
    """What `Layer` has to know of a picture, from its bands."""

    def __init__(self, height: int, width: int):
        self.height, self.width = height, width
        self._factors = _factors(height, width, 2 * WORK)
        self._reduced: list[np.ndarray] = []
        self._rest = np.zeros((0, width), np.uint8)

    def add(self, band: np.ndarray) -> None:
        """The next rows: uint8 or uint16 [rows,W,C]."""
        rows = np.concatenate([self._rest, np.asarray(_gray(band))])
        whole = len(rows) - len(rows) % self._factors[0]
        self._reduce(rows[:whole])
        self._rest = rows[whole:]

    def luma(self) -> np.ndarray:
        """float32 [h,w], of the whole picture."""
        self._reduce(self._rest)
        self._rest = self._rest[:0]
        return np.concatenate(self._reduced).astype(np.float32)

    def _reduce(self, rows: np.ndarray) -> None:
        if len(rows):
            self._reduced.append(np.asarray(_reduced(Image.fromarray(rows), self._factors)))


class Layer:
    """The mark of one picture, laid over it in bands."""

    def __init__(self, seen: Overview, payload: int):
        self._height, self._width = seen.height, seen.width
        fitted = _fitted(seen.luma(), payload, pattern().ends[_reach(min(seen.height, seen.width))])
        self._added = Image.fromarray(fitted)

    def on(self, band: np.ndarray, top: int, part: np.ndarray | None = None) -> np.ndarray:
        """The marked rows from `top` on. band: [rows,W,C]; part: bool [rows,W], as for `mark`."""
        rows, channels = len(band), band.shape[-1]
        box = 0, top * WORK / self._height, WORK, (top + rows) * WORK / self._height
        added = np.asarray(self._added.resize((self._width, rows), Image.Resampling.BICUBIC, box))
        if part is not None:
            added = added * part
        if channels in (2, 4):
            added = added * (band[..., -1] > 0)
        return _added(band, added)


def _added(pixels: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Pixels and what is added to each of their colors, rounded and clipped."""
    color = pixels.shape[-1] - (pixels.shape[-1] + 1) % 2
    out = pixels.copy()
    if pixels.dtype == np.uint16:
        out[..., :color] = np.clip(pixels[..., :color] + np.rint(added * 257)[..., None], 0, 65535)
        return out
    step = Image.fromarray((added + 128.5).astype(np.uint8))   # Pillow adds with saturation, in a tenth of the time
    for k in range(color):
        plane = Image.fromarray(np.ascontiguousarray(pixels[..., k]))
        out[..., k] = np.asarray(ImageChops.add(plane, step, offset=-128))
    return out


def _reach(side: int) -> int:
    """Which of the reaches the mark of a picture has: a third of its pixels, so that it lives at half the size."""
    return sum(0.32 * side >= reach for reach in _REACHES[1:])


def _fitted(luma: np.ndarray, payload: int, end: int) -> np.ndarray:
    """float32 [WORK,WORK]: what is added to a picture of the working size, in gray levels.

    Waves that the picture speaks against are made stronger. All of them are as strong as it takes to be found in the
    picture as it is and after what costs most: bright colors that are clipped, and JPEG where the picture is small.

    Args:
      luma: float32 [h,w], 0 to 255.
      payload: 32 bits.
      end: how many of the waves are used.
    """
    plan = Pattern(*(each[:end] for each in pattern()))
    groups = plan.bits % (coding.BITS + 1)                     # the last: what is always the same
    phases = plan.phases * np.append(coding.encode(payload), 1)[groups]
    work, size = _resized(luma, WORK, WORK), np.bincount(groups)
    hidden = _HIDDEN * _normalized(work)[1]
    amount, strength, flat = np.ones(coding.BITS + 1, np.float32), _STRENGTH, _FLAT[0]
    for _ in range(_ROUNDS):
        added = _waves(plan, phases * amount[groups]) * np.minimum(flat + hidden, strength)
        found = _spectrum(_normalized(np.clip(work + added, 0, 255))[0])[:end]
        said = np.bincount(groups, (found * phases.conj()).real) / size
        change = 1 + _MAKE_UP * (1 - said / max(said.mean(), 0.05))
        amount = np.clip(amount * np.clip(change, 0.5, 2), *_AMOUNTS)
    waves = _waves(plan, phases * amount[groups])
    small = min(luma.shape) < 2 * WORK
    for _ in range(_ROUNDS if small else 1):
        lacks = _lack(luma if small else work, waves * np.minimum(flat + hidden, strength), end, small)
        strength = float(np.clip(strength * lacks, _WEAKEST, _STRONGEST))
        flat = float(np.clip(flat * lacks, *_FLAT))
    return waves * np.minimum(flat + hidden, strength)


def _lack(luma: np.ndarray, added: np.ndarray, end: int, small: bool) -> float:
    """How many times as strong a mark had to be; luma: float32 [h,w], added: float32 [WORK,WORK].

    A large picture is looked at in the working size, where it says more than it will; JPEG leaves it alone.
    """
    marked = np.clip(luma + _resized(added, *luma.shape), 0, 255)
    lacks = max(_UNTOUCHED / _statistic(marked, end), _BRIGHT / _statistic(np.minimum(1.4 * marked, 255), end))
    if not small:
        return lacks / _KEPT
    file = io.BytesIO()
    Image.fromarray(np.rint(marked).astype(np.uint8)).save(file, "JPEG", quality=50)
    return max(lacks, _COMPRESSED / _statistic(np.asarray(Image.open(file), np.float32), end))


def _statistic(luma: np.ndarray, end: int) -> float:
    """What the detector says of a picture as it is, at least 1: float32 [h,w]."""
    along = _spectrum(_normalized(_resized(luma, WORK, WORK))[0])[:end] * pattern().phases[:end].conj()
    return max(1.0, _at(along, Place(), 1).statistic)


def _waves(plan: Pattern, values: np.ndarray) -> np.ndarray:
    """float32 [WORK,WORK], of mean square 1: a sum of waves of these amplitudes and phases."""
    half = np.zeros((WORK, WORK // 2 + 1), np.complex64)
    half[plan.rows, plan.columns] = values
    edge = plan.columns == 0
    half[-plan.rows[edge], 0] = values[edge].conj()
    added = _fft.irfft2(half, s=(WORK, WORK))
    return added / np.sqrt(np.mean(added**2))


# ----------------------------------------------------------------------------------------------------------- detection


def detect(pixels: np.ndarray, *, rate: float = RATE, search: bool = True) -> Detection:
    """Look for a mark, in the picture as it is, mirrored, and as a crop or turned.

    Args:
      pixels: uint8 or uint16 [H,W,C], of any size.
      rate: share of unmarked pictures that may be taken for marked ones. A quarter of it is spent on the picture as it
        is, a quarter on all other places, and the rest on checksums that hold by chance.
      search: also look for a crop, a turned or a mirrored picture; it takes half a second, and the picture as it is
        takes milliseconds.
    """
    luma = _luma(pixels, 2 * WORK)
    luma = _resized(luma, *(min(side, 2 * WORK) for side in luma.shape))
    found = _fits(luma, Place(), moved=False)
    best = _judged(found, rate)
    if search and (not best.marked or best.payload is None):
        small = _resized(luma, WORK, WORK)           # that is turned, so that it is made once
        found += [fit for place in _places() for fit in _fits(small if place.angle else luma, place, moved=True)]
        for _ in range(_REFINED):
            top = max(found[len(_REACHES):], key=lambda one: one.statistic).place
            found += [fit for place in _near(top) for fit in _fits(luma, place, moved=True)]
        found += _between(max(found[len(_REACHES):], key=lambda one: one.statistic))
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
    tried: int                   # independent positions among which it is the best
    along: np.ndarray            # complex64 [n], the waves turned back by their phases, before the picture is moved


def _fits(luma: np.ndarray, place: Place, *, moved: bool) -> list[_Fit]:
    """How well marks of each reach fit a picture that lies so; `moved`: with its middle where it fits best."""
    plan = pattern()
    along = _spectrum(_laid(luma, place)) * plan.phases.conj()
    return [_moved(along[:end], place) if moved else _at(along[:end], place, 1) for end in plan.ends]


def _moved(along: np.ndarray, place: Place) -> _Fit:
    plan, sync = pattern(), _sync(len(along))
    waves, columns = along[sync], plan.columns[sync]
    half = np.zeros((WORK, WORK // 2 + 1), np.complex64)
    half[plan.rows[sync], columns] = waves * np.where(columns > 0, np.float32(0.5), np.float32(1))
    statistics = _fft.irfft2(half, s=(WORK, WORK), norm="forward")    # at every position
    best = int(np.argmax(statistics))
    down, right = (float((side + WORK // 2) % WORK - WORK // 2) for side in divmod(best, WORK))
    value = float(statistics.flat[best]) / _deviation(waves)
    return _Fit(place._replace(down=down, right=right), value, _INDEPENDENT, along)


def _at(along: np.ndarray, place: Place, tried: int) -> _Fit:
    """The fit at one place."""
    waves = (along * _turn(place, len(along)))[_sync(len(along))]
    return _Fit(place, float(waves.real.sum()) / _deviation(waves), tried, along)


@functools.cache
def _sync(end: int) -> np.ndarray:
    """Places among the first `end` waves of those that are always the same."""
    return np.flatnonzero(pattern().bits[:end] < 0)


def _deviation(waves: np.ndarray) -> float:
    """The standard deviation of the sum of the waves' real parts, if their phases are random."""
    return math.sqrt(max(float(np.sum(waves.real**2 + waves.imag**2)) / 2, 1e-12))


def _turn(place: Place, end: int) -> np.ndarray:
    """What moving a picture to its place multiplies its waves by: complex64 [end]."""
    plan = pattern()
    return np.exp(np.complex64(2j * np.pi / WORK) * (plan.rows[:end] * place.down + plan.columns[:end] * place.right))


def _between(fit: _Fit) -> list[_Fit]:
    """The fits half a pixel of the working size around one."""
    return [_at(fit.along, fit.place._replace(down=fit.place.down + y, right=fit.place.right + x), 1)
            for y in (-0.5, 0, 0.5) for x in (-0.5, 0, 0.5) if y or x]


def _near(place: Place) -> Iterator[Place]:
    for height in (0.99, 1.0, 1.01):
        for width in (0.99, 1.0, 1.01):
            yield place._replace(height=place.height * height, width=place.width * width)
    yield place._replace(angle=place.angle - 0.5)
    yield place._replace(angle=place.angle + 0.5)


def _judged(found: list[_Fit], rate: float) -> Detection:
    """The decision over all places that were tried."""
    first = len(_REACHES)
    tried = sum(one.tried for one in found[first:])
    rates = [min(1.0, (first if k < first else tried) * float(_special.ndtr(-one.statistic)))
             for k, one in enumerate(found)]
    order = np.argsort(rates, kind="stable")[:_DECODED]
    return min((_read(found[k], rates[k], rate) for k in order),
               key=lambda one: (one.payload is None, one.false_positive_rate))


def _read(fit: _Fit, rate: float, wanted: float) -> Detection:
    """The bits at a place; `rate`: of unmarked pictures, at which a place fits as well."""
    end = len(fit.along)
    bits = pattern().bits[:end]
    data = bits >= 0
    soft = np.bincount(bits[data], (fit.along * _turn(fit.place, end)).real[data], coding.BITS)
    payload, holds = coding.decode(soft)
    # A quarter each for the picture as it is and for all other places, half for checksums: up to twice _DECODED.
    chance = min(4 * rate, 4 * _DECODED * 2.0**-coding.CHECK if holds else 1.0, 1.0)
    return Detection(chance <= wanted, payload if holds else None, chance, fit.statistic, fit.place, soft)


def _laid(luma: np.ndarray, place: Place) -> np.ndarray:
    """float32 [WORK,WORK]: the normalized picture where it lay in the marked one, its middle in the middle."""
    height, width = (max(8, round(WORK * side)) for side in (place.height, place.width))
    luma = luma[:, ::-1] if place.mirrored else luma
    if place.angle:
        turned = Image.fromarray(_resized(luma, WORK, WORK)).rotate(-place.angle, Image.Resampling.BICUBIC)
        normal = _normalized(_resized(np.asarray(turned), height, width))[0] * _inside(place.angle, height, width)
    else:
        normal = _normalized(_resized(luma, height, width))[0]
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


# -------------------------------------------------------------------------------------------------------------- shared


def _luma(pixels: np.ndarray, most: int) -> np.ndarray:
    """float32 [h,w], 0 to 255, over mid gray where the picture is transparent (ITU-R BT.601 weights).

    Large pictures are reduced by whole factors, to no less than `most` pixels a side.
    """
    return np.asarray(_reduced(_gray(pixels), _factors(pixels.shape[0], pixels.shape[1], most))).astype(np.float32)


def _factors(height: int, width: int, most: int) -> tuple[int, int]:
    return max(1, height // most), max(1, width // most)


def _reduced(picture: Image.Image, factors: tuple[int, int]) -> Image.Image:
    return picture.reduce((factors[1], factors[0])) if max(factors) > 1 else picture


def _gray(pixels: np.ndarray) -> Image.Image:
    """The luma in 8 bits, over mid gray where the picture is transparent."""
    eight = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    channels = eight.shape[-1]
    picture = (Image.fromarray(np.ascontiguousarray(eight[..., :3])).convert("L") if channels >= 3
               else Image.fromarray(np.ascontiguousarray(eight[..., 0])))
    if channels in (2, 4) and eight[..., -1].min() < 255:
        alpha = Image.fromarray(np.ascontiguousarray(eight[..., -1]))
        picture = Image.composite(picture, Image.new("L", picture.size, 128), alpha)
    return picture


def _resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """float32 [H,W] of another size, without aliasing."""
    if values.shape == (height, width):
        return values
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC))


def _normalized(work: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture without its local mean, by its local variance; and the root of that in gray levels. float32 [H,W]."""
    detail = work - _ndimage.uniform_filter(work, _WINDOW, mode="reflect")
    contrast = np.sqrt(np.maximum(_ndimage.uniform_filter(detail * detail, _WINDOW, mode="reflect"), 0))
    return detail / (contrast + _FLOOR)**2, contrast


def _spectrum(normal: np.ndarray) -> np.ndarray:
    """The waves of the pattern in a normalized picture, whitened and limited: complex64 [n]."""
    plan = pattern()
    whole = _fft.rfft2(normal)
    power = _ndimage.uniform_filter(whole.real**2 + whole.imag**2, _SMOOTH, mode=("wrap", "nearest"))
    found = whole[plan.rows, plan.columns] / (np.sqrt(power[plan.rows, plan.columns]) + 1e-6)
    return found / np.maximum(1, np.abs(found) / _LIMIT)


def where(pixels: np.ndarray, found: Detection, blocks: int = 8) -> np.ndarray:
    """How much of a mark is in each part of a picture: float32 [blocks,blocks], standard deviations above none.

    Args:
      pixels: of the picture, as for `detect`.
      found: its detection.
      blocks: parts that each side is divided into; those outside the picture, where it was turned, are 0.
    """
    plan = pattern()
    luma = _luma(pixels, 2 * WORK)
    normal = _laid(_resized(luma, *(min(side, 2 * WORK) for side in luma.shape)), found.place)
    signs = np.append(np.sign(found.soft) if found.payload is None else coding.encode(found.payload), 1)[plan.bits]
    wave = _waves(plan, plan.phases * signs * _turn(found.place, len(plan.rows)).conj())
    height, width = (min(WORK, max(8, round(WORK * side))) for side in (found.place.height, found.place.width))
    top, left = (WORK - height) // 2, (WORK - width) // 2
    both = np.stack([normal * wave, (normal * wave)**2])[:, top:top + height, left:left + width]
    rows, columns = (np.arange(side) * blocks // side for side in (height, width))
    sums = np.zeros((2, blocks, blocks), np.float32)
    where: Any = (slice(None), rows[:, None], columns)
    np.add.at(sums, where, both)
    return sums[0] / np.sqrt(np.maximum(sums[1], 1e-9))
