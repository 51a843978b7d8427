"""An invisible mark in a picture's pixels: 32 bits, spread over its spectrum, found again after crops and resizes.

The mark is a fixed pattern at a fixed working size, laid over the whole picture whatever its size: a sum of waves of
pseudo-random phase (I. J. Cox et al., Secure spread spectrum watermarking for multimedia, IEEE TIP 6(12), 1997). Some
waves are always the same and are what is looked for; the signs of the others are the bits of a code. What the picture
itself says along the waves is known when they are added, and made up for (H. S. Malvar, D. A. F. Florencio, Improved
spread spectrum, IEEE TSP 51(4), 2003). Flat areas, where the eye sees most, have a limit of their own (C. I. Podilchuk,
W. Zeng, Image-adaptive watermarking using visual models, IEEE JSAC 16(4), 1998).
"""
from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageChops

from imggen_jax.provenance import coding, waves
from imggen_jax.provenance.overview import Overview, resized
from imggen_jax.provenance.waves import REACHES, WORK

SMALLEST = 64            # pixels of the shorter side that carry a mark

# Root mean squares are in gray levels of 255.
_STRENGTH, _WEAKEST, _STRONGEST = 2.0, 1.5, 4.0   # at first, at least, and at most
_FLAT, _HIDDEN = (1.6, 2.8), 0.12    # most where nothing hides it, and what a gray level of contrast hides besides
_ROUNDS = 2
_AMOUNTS = (0.3, 2.5)                # of a group of waves, relative to the others
_MAKE_UP = 0.7                       # share of what a picture says against a bit that is made up for in a round
_UNTOUCHED, _BRIGHT, _COMPRESSED = 12.0, 6.0, 7.0    # statistics that are aimed at, as it is and after damage
_HOPELESS = 1.1 * _STRONGEST / _STRENGTH     # lack from which a mark is as strong as it may be, whatever else it lacks
_STEPS = 7                           # of a gray level: what is added to 8 bits is resized in bytes, a third of the work
_ROUNDED = [128 + round((value - 128) / _STEPS) for value in range(256)]
_KEPT = 0.8                          # share of the statistic that outlives the way to a larger size and back


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


class Layer:
    """The mark of one picture, laid over it in bands."""

    def __init__(self, seen: Overview, payload: int):
        self._height, self._width = seen.height, seen.width
        self._fitted = _fitted(seen.luma(), payload, waves.pattern().ends[_reach(min(seen.height, seen.width))])

    def on(self, band: np.ndarray, top: int, part: np.ndarray | None = None) -> np.ndarray:
        """The marked rows from `top` on. band: [rows,W,C]; part: bool [rows,W], as for `mark`."""
        rows, eight, channels = len(band), band.dtype == np.uint8, band.shape[-1]
        box = 0, top * WORK / self._height, WORK, (top + rows) * WORK / self._height
        values = np.clip(np.rint(self._fitted * _STEPS) + 128, 0, 255).astype(np.uint8) if eight else self._fitted
        large = Image.fromarray(values).resize((self._width, rows), Image.Resampling.BICUBIC, box)
        added = np.asarray(large.point(_ROUNDED) if eight else large)
        if channels in (2, 4):
            part = band[..., -1] > 0 if part is None else part & (band[..., -1] > 0)
        if part is not None:
            added = np.where(part, added, added.dtype.type(128 if eight else 0))
        return _added(band, added)


def _added(pixels: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Pixels and what is added to each of their colors, clipped.

    added: of uint8 pixels what is added and 128, uint8 [H,W]; of uint16 ones gray levels of 255, float32.
    """
    color = pixels.shape[-1] - (pixels.shape[-1] + 1) % 2
    out = pixels.copy()
    if pixels.dtype == np.uint16:
        out[..., :color] = np.clip(pixels[..., :color] + np.rint(added * 257)[..., None], 0, 65535)
        return out
    step = Image.fromarray(added)    # Pillow adds with saturation, in a tenth of the time
    for k in range(color):
        plane = Image.fromarray(np.ascontiguousarray(pixels[..., k]))
        out[..., k] = np.asarray(ImageChops.add(plane, step, offset=-128))
    return out


def _reach(side: int) -> int:
    """Which of the reaches the mark of a picture has: a third of its pixels, so that it lives at half the size."""
    return sum(0.32 * side >= reach for reach in REACHES[1:])


def _fitted(luma: np.ndarray, payload: int, end: int) -> np.ndarray:
    """float32 [WORK,WORK]: what is added to a picture of the working size, in gray levels.

    Waves that the picture speaks against are made stronger. All of them are as strong as it takes to be found in the
    picture as it is and after what costs most: bright colors that are clipped, and JPEG where the picture is small.

    Args:
      luma: float32 [h,w], 0 to 255.
      payload: 32 bits.
      end: how many of the waves are used.
    """
    plan = waves.pattern()
    groups = plan.bits[:end] % (coding.BITS + 1)               # the last: what is always the same
    signs = np.append(coding.encode(payload), 1).astype(np.float32)[groups]
    phases = plan.phases[:end] * signs
    work, size = resized(luma, WORK, WORK), np.bincount(groups)
    hidden = _HIDDEN * waves.normalized(work)[1]
    amount, strength, flat = np.ones(coding.BITS + 1, np.float32), _STRENGTH, _FLAT[0]
    for _ in range(_ROUNDS):
        added = waves.summed(phases * amount[groups]) * np.minimum(flat + hidden, strength)
        found = waves.spectrum(waves.normalized(np.clip(work + added, 0, 255))[0], end)
        said = np.bincount(groups, np.real(found) * signs) / size
        change = 1 + _MAKE_UP * (1 - said / max(said.mean(), 0.05))
        amount = np.clip(amount * np.clip(change, 0.5, 2), *_AMOUNTS)
    mark = waves.summed(phases * amount[groups])
    small = min(luma.shape) < 2 * WORK
    for _ in range(_ROUNDS if small else 1):
        lacks = _lack(luma if small else work, mark * np.minimum(flat + hidden, strength), end, small)
        strength = float(np.clip(strength * lacks, _WEAKEST, _STRONGEST))
        flat = float(np.clip(flat * lacks, *_FLAT))
        if lacks >= _HOPELESS:
            break
    return mark * np.minimum(flat + hidden, strength)


def _lack(luma: np.ndarray, added: np.ndarray, end: int, small: bool) -> float:
    """How many times as strong a mark had to be; luma: float32 [h,w], added: float32 [WORK,WORK].

    A large picture is looked at in the working size, where it says more than it will; JPEG leaves it alone.
    """
    marked = np.clip(luma + resized(added, *luma.shape), 0, 255)
    most, kept = 0.0, 1.0 if small else _KEPT
    for wanted, damaged in _damaged(marked, small):
        most = max(most, wanted / _statistic(damaged, end) / kept)
        if most >= _HOPELESS:
            break
    return most


def _damaged(marked: np.ndarray, small: bool) -> Iterator[tuple[float, np.ndarray]]:
    """Statistics that are aimed at, and what they are of: the dearest first."""
    if small:
        file = io.BytesIO()
        Image.fromarray(np.rint(marked).astype(np.uint8)).save(file, "JPEG", quality=50)
        yield _COMPRESSED, np.asarray(Image.open(file), np.float32)
    yield _BRIGHT, np.minimum(1.4 * marked, 255)
    yield _UNTOUCHED, marked


def _statistic(luma: np.ndarray, end: int) -> float:
    """What the detector says of a picture as it is, at least 1: float32 [h,w]."""
    return max(1.0, waves.statistic(waves.spectrum(waves.normalized(resized(luma, WORK, WORK))[0], end)))
