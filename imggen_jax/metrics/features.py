"""Pictures to feature vectors: one compiled program, on all devices, never more than a few blocks in memory."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from imggen_jax.errors import MetricsError

PyTree = Any

# A feature's last bit depends on the shape of the program that computes it. So every picture goes through a program of
# this many pictures on one device, whatever the batches that come in and the number of devices.
BLOCK = 32
AHEAD = 2  # blocks in flight on each device


class Space(NamedTuple):
    """Where scores are computed: a network whose features are compared instead of pixels."""

    name: str        # "inception", "dinov2-vitb14", "classifier", ...
    dims: int        # D
    resize: str      # the recipe that brings pictures to the network's size; scores of two are not comparable
    sha256: str      # of the weight file, or of the weights themselves where they were trained here
    apply: Callable  # (weights, uint8 [B,H,W,C]) -> (features float32 [B,D], class logits float32 [B,K] or None)
    weights: PyTree


class Features(NamedTuple):
    """Features of some pictures in a space."""

    vectors: np.ndarray        # float32 [n,D]
    logits: np.ndarray | None  # float32 [n,K], for the Inception Score; None where the space has no classes


def stream(space: Space, images: Iterable[np.ndarray]) -> Iterator[Features]:
    """Features of an iterable of pictures, in order, a block at a time.

    Args:
      space: whose network to run.
      images: uint8 arrays, each [H,W,C] or a batch [n,H,W,C]; all of one H, W, C, with C 1 or 3.

    Raises:
      MetricsError: pictures of another dtype or rank, or of two sizes.
    """
    devices = jax.local_devices()
    weights = {}
    waiting: deque = deque()

    def read():
        count, (vectors, logits) = waiting.popleft()
        return Features(np.asarray(vectors)[:count], None if logits is None else np.asarray(logits)[:count])

    for i, block in enumerate(blocks(images, BLOCK)):
        device = devices[i % len(devices)]
        if device not in weights:
            weights[device] = jax.device_put(space.weights, device)
        full = np.concatenate([block, np.repeat(block[-1:], BLOCK - len(block), axis=0)])
        waiting.append((len(block), _compiled(space.apply)(weights[device], jax.device_put(full, device))))
        if len(waiting) >= AHEAD * len(devices):
            yield read()
    while waiting:
        yield read()


def extract(space: Space, images: Iterable[np.ndarray]) -> Features:
    """All features at once: [n,D], for scores that compare each picture with each. As `stream`, which see."""
    parts = list(stream(space, images))
    if not parts:
        raise MetricsError("no pictures; features need at least one")
    logits = [part.logits for part in parts if part.logits is not None]
    return Features(np.concatenate([part.vectors for part in parts]), np.concatenate(logits) if logits else None)


def blocks(images: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Batches of `size` of pictures and batches; the last one may be smaller. Raises MetricsError, see `stream`."""
    kept: list[np.ndarray] = []
    count, shape = 0, None
    for batch in images:
        batch = np.asarray(batch)
        batch = batch[None] if batch.ndim == 3 else batch
        if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[-1] not in (1, 3):
            raise MetricsError(f"features take pictures uint8 [n,H,W,1 or 3], not {batch.dtype} {list(batch.shape)}")
        shape = shape or batch.shape[1:]
        if batch.shape[1:] != shape:
            raise MetricsError(f"pictures of two sizes, {shape} and {batch.shape[1:]}; bring them to one size first")
        while len(batch):
            part, batch = batch[:size - count], batch[size - count:]
            kept.append(part)
            count += len(part)
            if count == size:
                yield np.concatenate(kept)
                kept, count = [], 0
    if count:
        yield np.concatenate(kept)


_programs: dict[Callable, Callable] = {}


def _compiled(apply: Callable) -> Callable:
    """One compiled program for each space, however often it is used."""
    if apply not in _programs:
        _programs[apply] = jax.jit(apply)
    return _programs[apply]
