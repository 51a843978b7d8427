"""The vocabulary: training is a game whose players take moves.

A VAE is a game with one player, a GAN a game with two; the players of a translator may each hold several networks.
Everything that trains here is a `Game`; what it trains are its `models`: generators, and classifiers, which judge what
generators make. `step.train_step` plays any of them. A translator is a conditional generator: super-resolution is
p(sharp | source), inpainting p(image | source, mask), text to image p(image | text).

A network that is used and never trained is `Pretrained`. Its weights stand beside the training state, without an
optimizer, an average or a copy in every checkpoint; losses and models find them under the network's name in `params`
and `weights`.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from imggen_jax.spec import Field, Spec, make_spec

__all__ = ["Array", "Batch", "Classifier", "Clock", "Condition", "EditSpace", "Field", "Game", "Generator", "Key",
           "Loss", "Mutable", "Option", "Options", "Params", "Pretrained", "PyTree", "SHARES", "Scalars", "Spec",
           "Weights", "make_spec"]

Array = jax.Array
Key = jax.Array
PyTree = Any
Params = Mapping[str, PyTree]    # player's name -> its parameters, float32
Mutable = Mapping[str, PyTree]   # what changes without being trained: running statistics, a pool of images, ...
Scalars = Mapping[str, Array]    # name -> float32 scalar, for the log
Batch = Mapping[str, Array]      # the Spec's fields, [B, *shape], and nothing else; images uint8, or float in [-1,1]
Condition = PyTree               # leaves [n, ...]; None for nothing
Weights = Mapping[str, PyTree]   # what models read: those of `Game.weights`, and of pretrained networks
Options = Mapping[str, Any]      # what `Generator.decode` is told: name -> number, or scalar of a traced program


SHARES = "_shares"  # follows the name of a text field, in that of the shares of its parts


class Clock(NamedTuple):
    """What warm-ups and schedules are counted in."""

    step: Array         # int32, steps taken before this one
    images_seen: Array  # float32, images seen before this step


# (params, mutable, batch, clock, key) -> (the mean loss over the batch, (the new mutable, scalars to log))
Loss = Callable[[Params, Mutable, Batch, Clock, Key], tuple[Array, tuple[Mutable, Scalars]]]


class Option(NamedTuple):
    """Something that a generator's `decode` can be told, such as the number of steps of a sampler.

    A program is compiled for each value of an option whose default is an int; floats are inputs of one program.
    """

    default: float
    low: float
    high: float
    help: str = ""


class EditSpace(NamedTuple):
    """A latent w in which editing is easier than in z, as behind a mapping network."""

    enter: Callable[[Weights, PyTree], PyTree]  # (weights, z) -> w, a PyTree whose leaves have n as first axis
    # (weights, w, condition, options) -> images, as `Generator.decode` of the z that w came from
    decode: Callable[[Weights, PyTree, Condition, Options], Array]


class Generator(NamedTuple):
    """What every trained model of images can do, whatever game trained it."""

    # (key, n, condition) -> z, a PyTree whose leaves have n as first axis; () where nothing is drawn. Behind an edit
    # space it is also called without a condition, to find the middle of w.
    prior: Callable[[Key, int, Condition], PyTree]
    # (weights, z, condition, options) -> images float32 [n,H,W,C] in [-1,1]
    decode: Callable[[Weights, PyTree, Condition, Options], Array]
    # (weights, fields of `needs`) -> Condition
    condition: Callable[[Weights, Mapping[str, Array]], Condition] = lambda weights, fields: None
    needs: tuple[str, ...] = ()                # fields of its condition: ("label",), ("text",), ("source", "mask")
    options: Mapping[str, Option] = {}         # what `decode` can be told
    # (weights, images, condition) -> z; None: by optimization, inversion.py
    encode: Callable[[Weights, Array, Condition], PyTree] | None = None
    edit_space: EditSpace | None = None        # None: z itself
    # Fields that may be given to `condition` beside those that it needs, each the like of a field of the data:
    # {"negative": "text"}
    accepts: Mapping[str, str] = {}
    # Texts of which several may condition one picture. `condition` then takes the field as [n,K,T], beside it a field
    # with `SHARES` after its name: float32 [n,K], how much each counts, of sum 1 and perhaps below 0.
    mixes: tuple[str, ...] = ()
    batch: int | None = None                   # pictures that one program makes; None: as many as their size allows


class Classifier(NamedTuple):
    """What a trained classifier can do: name what it sees, and measure images by what it has learned to see."""

    targets: tuple[str, ...]  # label fields that it predicts
    # (weights, images float [n,H,W,C] in [-1,1]) -> float32 [n,classes], one for each target
    logits: Callable[[Weights, Array], Sequence[Array]]
    # (weights, images) -> float32 [n,D], the layer before the logits
    features: Callable[[Weights, Array], Array]


class Pretrained(NamedTuple):
    """A network that is used and not trained."""

    weights: PyTree
    apply: Mapping[str, Callable[..., Any]]  # such as "encode": (weights, images) -> latents [n,h,w,c]
    sha256: str                    # of the weights; kept with every run that uses them


class Game(NamedTuple):
    """Players, their moves in the order of play, and the models that they train."""

    init: Callable[[Key, Spec], tuple[Params, Mutable]]  # players that move, and no others
    moves: tuple[tuple[str, Loss], ...]  # who moves, by which loss; a name may repeat
    # (params, mutable) -> what the models read; the step keeps its moving average, which everything below takes
    weights: Callable[[Params, Mutable], Weights]
    models: Mapping[str, Generator | Classifier]  # {"main": ...}, or {"a_to_b": ..., "b_to_a": ...}
    # (weights, batch, key) -> {name: float32 [B]}: metrics of held-out examples, such as the ELBO in nats; or None
    metrics: Callable[[Weights, Batch, Key], Mapping[str, Array]] | None = None
    # (weights, batch, key) -> a function key -> float32 [B], the log of an unbiased estimate of p(x) of each example,
    # in nats: log p(x, z) - log q(z|x) for a z that the function's key draws; the logarithm of the mean of many is a
    # tighter bound on log p(x) than the ELBO; or None
    importance: Callable[[Weights, Batch, Key], Callable[[Key], Array]] | None = None

    @property
    def main(self) -> Generator | Classifier:
        """The model called "main", or the first one."""
        return self.models.get("main") or next(iter(self.models.values()))
