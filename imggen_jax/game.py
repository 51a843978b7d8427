"""The vocabulary: training is a game whose players take moves.

A VAE is a game with one player, a GAN a game with two; a frozen network is a player with no move. Everything that
trains here is a `Game`, everything that makes pictures is its `Generator`, and `step.train_step` plays any of them. A
game may also train something that makes no pictures: a `Classifier`, say, which tells how good those of others are.
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
#   label  int32 [B] in [0, classes), or [B,K] where `Spec.classes` is a tuple of K; absent where it is 0
#   seen   float32 scalar, the images seen before this round; `train_step` adds it, for warm-ups counted in images
Batch = Mapping[str, Array]

# (params, extra, batch, key) -> (the mean loss over the batch, (the new extra, scalars to log))
Loss = Callable[[Params, Extra, Batch, Key], tuple[Array, tuple[Extra, Scalars]]]


class Spec(NamedTuple):
    """What the data decide about a model; it comes from the dataset, never from a config."""

    size: int                       # side of the square images, in pixels
    channels: int                   # 1 or 3
    classes: int | tuple[int, ...]  # number of labels that condition the model, or that it tells apart; 0 for none.
    # A classifier of several attributes (skin tone, expression, ...) has a tuple: the number of values of each.


class Generator(NamedTuple):
    """What every trained model of pictures can do, whatever game trained it."""

    prior: Callable    # (key, n) -> z, a PyTree whose leaves have n as first axis
    decode: Callable   # (weights, z, condition) -> images float32 [n,H,W,C] in [-1,1]
    encode: Callable   # (weights, images float [n,H,W,C] in [-1,1], condition) -> z; for a GAN, by optimising z
    amortised: bool = False            # encode is one pass of a network, not an optimisation
    # A generator that first maps z to another latent w, in which editing is easier: decode is synthesis after mapping.
    mapping: Callable | None = None    # (weights, z) -> w, a PyTree whose leaves have n as first axis; None: w is z
    synthesis: Callable | None = None  # (weights, w, condition) -> images, as decode; None where mapping is
    # `condition` is int32 [n] where the model is class-conditional, None where it is not.


class Pretrained(NamedTuple):
    """A network that is used and never trained; it stands beside the training state."""

    weights: PyTree
    apply: Mapping[str, Callable]  # by name, such as "features": (weights, arrays) -> arrays
    sha256: str                    # of the weight file, 64 hex digits; stored with every run that uses it


class Classifier(NamedTuple):
    """What a trained classifier can do: name what it sees, and measure pictures by what it has learnt to see."""

    logits: Callable    # (weights, images float [n,H,W,C] in [-1,1]) -> a tuple of float32 [n,classes], one a label
    features: Callable  # (weights, images) -> float32 [n,D], the layer before the logits


class Game(NamedTuple):
    """Players, their moves in the order of play, and what is the point of it: a generator, or a classifier."""

    init: Callable                       # (key, example batch) -> (Params, Extra)
    moves: tuple[tuple[str, Loss], ...]  # who moves, by which loss; a name may repeat
    weights: Callable                    # (params, extra) -> what the trained model reads: a mapping; the step keeps
    #                                      its moving average, which everything below takes
    generator: Generator | None = None
    classifier: Classifier | None = None
    # (weights, batch, key) -> {name: float32 [B]}: figures of held-out examples, such as the ELBO in nats; or None
    evaluate: Callable | None = None
    # (weights, batch, key) -> a function key -> float32 [B], the log of an unbiased estimate of p(x) of each example,
    # in nats: log p(x, z) - log q(z|x) for a z that the function's key draws; the logarithm of the mean of many is a
    # tighter bound on log p(x) than the ELBO; or None
    importance: Callable | None = None
