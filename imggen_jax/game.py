"""The vocabulary: training is a game whose players take moves.

A VAE is a game with one player, a GAN a game with two; a frozen network is a player with no move. Everything that
trains here is a `Game`, everything that makes pictures is its `Generator`, and `step.train_step` plays any of them.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

Array = jax.Array
Key = jax.Array
PyTree = Any
Params = Mapping[str, PyTree]   # player's name -> its parameters, float32
Extra = Mapping[str, PyTree]    # what changes without being trained: running statistics, an image pool, ...
Scalars = Mapping[str, Array]   # name -> float32 scalar, for the log

# What one round is played on:
#   image  uint8 or float [B,H,W,C]; float images are in [-1,1]
#   label  int32 [B] in [0, classes); present only where `Spec.classes` > 0
#   seen   float32 scalar, the images seen before this round; `train_step` adds it, for warm-ups counted in images
Batch = Mapping[str, Array]

# (params, extra, batch, key) -> (the mean loss over the batch, (the new extra, scalars to log))
Loss = Callable[[Params, Extra, Batch, Key], tuple[Array, tuple[Extra, Scalars]]]


class Spec(NamedTuple):
    """What the data decide about a model; it comes from the dataset, never from a config."""

    size: int       # side of the square images, in pixels
    channels: int   # 1 or 3
    classes: int    # number of labels that condition the model; 0 for none


class Generator(NamedTuple):
    """What every trained model can do, whatever game trained it."""

    prior: Callable    # (key, n) -> z, a PyTree whose leaves have n as first axis
    decode: Callable   # (weights, z, condition) -> images float32 [n,H,W,C] in [-1,1]
    encode: Callable   # (weights, images float [n,H,W,C] in [-1,1], condition) -> z; for a GAN, by optimising z
    weights: Callable  # (params, extra) -> what decode and encode read: a mapping; the step keeps its moving average
    # A generator that first maps z to another latent w, in which editing is easier: decode is synthesis after mapping.
    mapping: Callable | None = None    # (weights, z) -> w, a PyTree whose leaves have n as first axis; None: w is z
    synthesis: Callable | None = None  # (weights, w, condition) -> images, as decode; None where mapping is
    # `condition` is int32 [n] where the model is class-conditional, None where it is not.


class Game(NamedTuple):
    """Players, their moves in the order of play, and the generator that is the point of it."""

    init: Callable                       # (key, example batch) -> (Params, Extra)
    moves: tuple[tuple[str, Loss], ...]  # who moves, by which loss; a name may repeat
    generator: Generator
    # (weights, batch, key) -> {name: float32 [B]}: figures of held-out examples, such as the ELBO in nats; or None
    evaluate: Callable | None = None
