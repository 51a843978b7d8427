"""A function of images applied to a picture of any size, in tiles of one compiled shape.

A convolutional network is a function [n,h,w,C] -> [n,s*h,s*w,C'] that sees a bounded neighborhood of each pixel. Tiles
overlap by what it sees, and of each tile only pixels are kept from which no edge of the tile is seen, except where that
edge is the picture's own. So the tiles together equal the function of the whole picture, its border included.

How far a function sees is measured: what depends on an input that is not a number is not a number either. So a product
with a matrix that is mostly zeros, as in jax.image.resize, counts as seeing everything.
"""
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

SHIFTS = (0, 1, 2, 4, 8, 16, 32)      # input pixels by which the function is tried for a period
STRIP = 32                            # shorter side of the strips that it is tried on, where it takes such
SHORT, LONG = 5, 16                   # their longer sides, in shorter ones
MEMORY = 400_000_000                  # bytes that a tile may take within the function
LARGEST = 2**18                       # pixels of a tile, where memory allows more
SIDES = (*range(32, 257, 32), 320, 384, 448, 512, 640, 768, 896, 1024)  # of tiles: a few, since each is compiled
COMPILING = 2**18                     # pixels that are computed in the time in which a shape is compiled
STARTING = 2**11                      # ... and in the time that a tile takes besides

Program = Callable[[Any, jax.Array], jax.Array]


class Sight(NamedTuple):
    """What a function of images takes, and what it depends on."""

    scale: int             # output pixels for an input pixel, along each side
    radius: int | None     # input pixels from an edge within which the edge is seen; None: the whole picture is seen
    bytes_per_pixel: int   # of memory, for a pixel of the input
    period: int = 1        # sides are multiples of it, and it commutes with shifts of the input by multiples of it
    least: int = 1         # pixels of a side


class Span(NamedTuple):
    """The place of a tile along one side of the picture, in input pixels."""

    start: int             # its first pixel
    keep: tuple[int, int]  # the pixels of the picture that are taken from it


class Plan(NamedTuple):
    """How a picture is covered: every combination of a row and a column is a tile."""

    height: int            # of each tile
    width: int
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]


def measure(program: Program, weights: Any, channels: int, *, masks: int = 0) -> Sight:
    """How far a function sees, at which shifts it repeats itself, and what memory it takes.

    The input is not a number on one side of a line; how far beyond the line the output is none either is the radius.
    This is done on strips, so what is seen must be seen along the sides too, as by convolutions; and on a CPU: other
    devices' convolutions by FFT would spread it everywhere.

    Args:
      program: (weights, images float32 [n,h,w,channels]) -> float32 [n,s*h,s*w,C'], to be compiled.
      weights: its first argument.
      channels: of the images.
      masks: so many of the last channels are masks, 0 or 1.

    Raises:
      ValueError: it takes images of few sizes only, or the output is not the input's size times a whole number.
    """
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:                                     # JAX was started without
        device = jax.local_devices()[0]
    weights = jax.device_put(weights, device)
    scale, granule, least = _sizes(program, weights, channels)
    unit, bytes_per_pixel = max(STRIP, least), 0

    def spoiled(images: np.ndarray) -> np.ndarray:
        nonlocal bytes_per_pixel
        compiled = jax.jit(program).lower(weights, images).compile()
        bytes_per_pixel = max(bytes_per_pixel, _memory(compiled) // (images.size // channels))
        return np.asarray(np.isnan(np.asarray(compiled(weights, jax.device_put(images, device)))).any(-1))

    if unit > 2 * STRIP:                                     # a deep pyramid: strips of its unit would be large
        spoiled(np.zeros((1, unit, unit, channels), np.float32))
        return Sight(scale, None, bytes_per_pixel, granule, least)
    for length in (SHORT * unit, LONG * unit):
        if length > SHORT * unit and spoiled(_strips(length, unit, channels, masks, unit, (0,))[:1]).all():
            break                                            # what it sees has no end
        sides = []
        for upright in (False, True):
            middle = length // 2 // unit * unit
            strips = _strips(length, unit, channels, masks, middle, SHIFTS)
            found = spoiled(np.ascontiguousarray(strips.swapaxes(1, 2)) if upright else strips)
            sides.append(_seen(np.asarray(found.any(2 if upright else 1)), middle, scale))
        known = [side for side in sides if side is not None]
        if len(known) == 2:
            period = math.lcm(granule, *(period for period, _ in known))
            return Sight(scale, max(radius for _, radius in known), bytes_per_pixel, period, least)
    return Sight(scale, None, bytes_per_pixel, granule, least)


def _sizes(program: Program, weights: Any, channels: int) -> tuple[int, int, int]:
    """(scale, what sides must be multiples of, the least side), by trying; nothing is computed."""
    def trial(height: int, width: int) -> tuple[int, ...]:
        return jax.eval_shape(program, weights, jax.ShapeDtypeStruct((1, height, width, channels), np.float32)).shape

    failed: Exception | None = None
    for granule in (2**k for k in range(10)):
        height, width = 512 + granule, 512 + 3 * granule
        try:
            shape = trial(height, width)
            break
        except (TypeError, ValueError) as error:             # what networks raise for sides that they cannot take
            failed = error
    else:
        raise ValueError(f"it takes only some sizes ({str(failed).splitlines()[0] if failed else ''})")
    scale = shape[1] // height
    if not scale or shape[1:3] != (scale * height, scale * width):
        raise ValueError(f"it makes {shape[2]}x{shape[1]} of {width}x{height}, which is no whole multiple")
    least = granule
    while True:
        try:
            if trial(least, least)[1:3] == (scale * least, scale * least):
                return scale, granule, least
        except (TypeError, ValueError):
            if least > 512:
                raise
        least *= 2


def _strips(length: int, unit: int, channels: int, masks: int, middle: int, shifts: Sequence[int]) -> np.ndarray:
    """float32: not a number up to the middle and each shift, and, in the last strip, from the middle on.

    Masks are 1 on every other line, so that what is masked and what is not depend on each other.
    """
    strips = np.zeros((len(shifts) + 1, unit, length, channels), np.float32)
    colors = strips[..., : channels - masks]
    strips[:, ::2, :, channels - masks :] = 1
    for strip, shift in zip(colors, shifts):
        strip[:, : middle + shift] = np.nan
    colors[-1, :, middle:] = np.nan
    return strips


def _seen(spoiled: np.ndarray, middle: int, scale: int) -> tuple[int, int] | None:
    """(period, radius) along one side, of lines bool [strips,pixels]; None where the strips do not show an end."""
    ends = [_last(line) for line in spoiled[:-1]]            # the first output pixel after what is spoiled
    begin = len(spoiled[-1]) - _last(spoiled[-1, ::-1])
    if max(ends) == len(spoiled[-1]) or begin == 0:
        return None
    fits = [end - ends[0] == scale * shift for end, shift in zip(ends, SHIFTS)]
    periods = [shift for k, shift in enumerate(SHIFTS) if k and all(fits[k:])]
    radius = math.ceil(max(ends[0] - scale * middle, scale * middle - begin, 0) / scale)
    return (periods[0], radius) if periods else None


def _last(line: np.ndarray) -> int:
    found = np.flatnonzero(line)
    return int(found[-1]) + 1 if len(found) else 0


def _memory(compiled: jax.stages.Compiled) -> int:
    try:
        found = compiled.memory_analysis()
    except (NotImplementedError, RuntimeError):              # not every backend says
        return 0
    return int(found.temp_size_in_bytes) if found else 0


def largest(sight: Sight) -> int:
    """Pixels that a tile may have so that the function stays within MEMORY."""
    return min(LARGEST, MEMORY // max(sight.bytes_per_pixel, 1))


def plan(sight: Sight, height: int, width: int, area: int) -> Plan:
    """The cheapest way to cover a picture of height x width input pixels by tiles of at most `area` pixels.

    A side that the function does not take is taken for a longer one. Where not even the smallest tile
    has so few pixels, the smallest is taken.
    """
    sides = [_candidates(sight, side) for side in (height, width)]
    found = []
    for (tall, rows, own), (wide, columns, same) in itertools.product(*sides):
        pixels = rows * columns * (tall * wide + STARTING) + (own or same) * COMPILING
        found.append((max(tall * wide - area, 0), pixels, tall, wide))
    over, least = min(found)[:2]
    # Of those that take about as long the squarest, so that pictures of similar sizes share one.
    near = [(max(tall, wide) / min(tall, wide), pixels, tall, wide) for more, pixels, tall, wide in found
            if more == over and pixels <= 1.05 * least]
    *_, tall, wide = min(near)
    return Plan(tall, wide, _spans(sight, height, tall), _spans(sight, width, wide))


def _whole(sight: Sight, side: int) -> int:
    """A side as the function takes it."""
    return -(-max(side, sight.least) // sight.period) * sight.period


def _candidates(sight: Sight, side: int) -> list[tuple[int, int, bool]]:
    """(side of a tile, number of tiles, whether it is a shape that other pictures hardly have)."""
    whole = _whole(sight, side)
    found = [(whole, 1, whole not in SIDES)]
    if sight.radius is not None:
        for tile in SIDES:
            step = _step(sight, tile)
            if sight.least <= tile < whole and tile % sight.period == 0 and step > 0:
                found.append((tile, 1 + -(-(whole - tile) // step), False))
    return found


def _step(sight: Sight, tile: int) -> int:
    assert sight.radius is not None
    return (tile - 2 * sight.radius) // sight.period * sight.period


def _spans(sight: Sight, side: int, tile: int) -> tuple[Span, ...]:
    whole = _whole(sight, side)
    if tile == whole:
        return (Span(0, (0, side)),)
    assert sight.radius is not None
    step, spans, begin = _step(sight, tile), [], 0
    for start in range(0, whole - tile, step):
        end = start + tile - sight.radius
        spans.append(Span(start, (begin, end)))
        begin = end
    return (*spans, Span(whole - tile, (begin, side)))


def tiles(apply: Callable[[np.ndarray], jax.Array], read: Callable[[slice, slice], np.ndarray], covered: Plan,
          scale: int, *, wanted: Callable[[slice, slice], bool] = lambda rows, columns: True,
          ) -> Iterator[tuple[slice, slice, np.ndarray | None]]:
    """The function of each tile, row by row.

    Args:
      apply: images float32 [n,h,w,C] -> [n,s*h,s*w,C'].
      read: (rows, columns) of the picture -> float32 [n,h,w,C]; they may reach past the right and lower border where
        the function has a period.
      covered: what `plan` gives.
      scale: s.
      wanted: (rows, columns) of the picture -> whether the function is needed there.

    Yields:
      (rows, columns, images): input rows and columns, which cover the picture once, and their part of the output,
      float32 [n,s*rows,s*columns,C']; None where it is not wanted.
    """
    waiting = None
    for row, column in itertools.product(covered.rows, covered.columns):
        rows, columns = slice(*row.keep), slice(*column.keep)
        made = None
        if wanted(rows, columns):
            made = apply(read(slice(row.start, row.start + covered.height),
                              slice(column.start, column.start + covered.width)))
        if waiting is not None:                              # computed while this tile was read
            yield _kept(waiting, scale)
        waiting = row, column, made
    if waiting is not None:
        yield _kept(waiting, scale)


def _kept(waiting: tuple[Span, Span, jax.Array | None], scale: int) -> tuple[slice, slice, np.ndarray | None]:
    row, column, made = waiting
    if made is None:
        return slice(*row.keep), slice(*column.keep), None
    inside = [slice(scale * (span.keep[0] - span.start), scale * (span.keep[1] - span.start)) for span in (row, column)]
    return slice(*row.keep), slice(*column.keep), np.asarray(made)[:, inside[0], inside[1]]
