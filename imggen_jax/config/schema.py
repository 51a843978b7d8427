"""Every key of a config, with its type, default, unit and range.

Two groups of keys are declared where they are used. The options of a game are the keyword arguments of
imggen_jax/games/NAME.py `make`, and the further options of a player are those of its optax optimizer; their defaults
are the defaults of these functions.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


def key(
    default: T, *, least: float | None = None, most: float | None = None, choices: tuple[str, ...] = (),
    pattern: str = "", free: bool = False
) -> T:
    """A key of a section.

    Args:
      default: the value of a config that does not name the key.
      least: the smallest allowed value.
      most: the largest allowed value.
      choices: the allowed strings.
      pattern: regular expression that the whole string matches.
      free: whether the key may change when a run is resumed. True for lengths, places and intervals, and for how fast
        the optimizers move; False for what a run is.
    """
    limits = {"least": least, "most": most, "choices": choices, "pattern": pattern, "free": free}
    return dataclasses.field(default=default, metadata=limits)


@dataclass(frozen=True)
class Data:
    """The dataset, and the part of it that is read."""

    name: str = key("")
    """TFDS name, optionally with config and version: "mnist", "avatars/32x32". "" with `folder`."""

    folder: str = key("", free=True)
    """A folder, zip or tar of pictures, ingested on first use. "" for a dataset named by `name`."""

    opt_out: str = key("", free=True)
    """A list of pictures of the folder that must not be trained on: a line each, sha256 or path. "" for
    $IMGGEN_JAX_OPT_OUT, or none."""

    split: str = key("train")
    """TFDS split to train on, such as "train" or "train[:90%]"."""

    test: str = key("")
    """TFDS split of held-out pictures; "" for none."""

    dir: str = key("", free=True)
    """TFDS data_dir; "" for the default of TFDS."""

    size: int = key(0, least=0)
    """Side in pixels to which pictures are resized; 0 keeps the dataset's own size."""

    label: str = key("")
    """ClassLabel feature that conditions the model; "" for none."""

    flip: bool = key(False)
    """Mirror each picture with probability 1/2 whenever it is drawn."""

    turn: bool = key(False)
    """Turn each picture by a random multiple of 90 degrees whenever it is drawn; pictures must be square."""

    memory: str = key("auto", choices=("auto", "resident", "stream"), free=True)
    """"resident" decodes once and keeps all in memory, "stream" decodes on demand, "auto" streams large datasets."""

    text: str = key("", pattern=r"|(bytes|words):[1-9]\d{0,6}")
    """Tokenizer and number of tokens of a caption: "bytes:128" or "words:32"; "" for no text."""

    crop: int = key(0, least=0)
    """Side in pixels of random crops of pictures at their own size, which needs `size` 0; 0 for whole pictures."""

    fields: tuple[str, ...] = key(())
    """Further fields of an example that the model reads, by name."""

    pairs: str = key("", choices=("", "side-by-side", "aligned", "unaligned"))
    """How a folder holds source and target pictures: two halves of one file, two folders of equal names, or two
    unaligned folders. With `source`, whether example i belongs to example i ("", "aligned") or to none ("unaligned").
    "" for single pictures."""

    source: str = key("")
    """Another dataset, named as by `name`, whose pictures are the field "source"; "" for none."""


@dataclass(frozen=True)
class Init:
    """The weights that a run starts from."""

    workdir: str = key("")
    """Folder of a run or of an exported model, or the name of a shipped one, whose weights this run starts from; "" for
    random ones."""

    freeze: tuple[str, ...] = key(())
    """Names of parameters that are not trained, with wildcards: "vae.encoder.*"."""


@dataclass(frozen=True)
class Train:
    """Length and arithmetic of a run."""

    images: int = key(300_000, least=1, free=True)
    """Length of the run, in images."""

    batch: int = key(64, least=1)
    """Images per step, over all devices."""

    accumulate: int = key(1, least=1)
    """Steps per update of the parameters, whose gradients are averaged."""

    dtype: str = key("float32", choices=("float32", "bfloat16"))
    """Of the computations inside the networks; parameters stay float32."""


@dataclass(frozen=True)
class Ema:
    """The moving average of the parameters, which pictures are made from."""

    halflife: int = key(10_000, least=0)
    """In images; 0 for the parameters themselves."""

    rampup: float = key(0.05, least=0)
    """Share of the images seen so far that bounds the half-life; 0 for no bound."""

    rise: int = key(0, least=0)
    """Images over which the half-life rises from 0 along half a cosine, as R3GAN's does; 0: it is there at once."""


@dataclass(frozen=True)
class Devices:
    """Where a run computes."""

    engine: str = key("jit", choices=("jit", "pmap"), free=True)
    """"jit" over a mesh of devices, or "pmap"."""

    count: int = key(0, least=0, free=True)
    """Number of devices; 0 for all."""

    steps_per_call: int = key(8, least=1, free=True)
    """Steps compiled into one call."""


@dataclass(frozen=True)
class Log:
    """Intervals of what a run writes, in images."""

    every: int = key(5_000, least=1, free=True)
    """Images between lines of metrics."""

    evaluate: int = key(100_000, least=1, free=True)
    """Images between evaluations on held-out pictures, for games with metrics."""

    show: int = key(25_000, least=1, free=True)
    """Images between grids of pictures."""

    save: int = key(25_000, least=1, free=True)
    """Images between checkpoints."""

    keep: int = key(3, least=1, free=True)
    """Number of most recent checkpoints that are kept."""

    keep_every: int = key(0, least=0, free=True)
    """Images between checkpoints that are kept for good; 0 for none."""


@dataclass(frozen=True)
class Score:
    """Scores of the generator's pictures during the run."""

    every: int = key(0, least=0, free=True)
    """Images between scores; 0 for none."""

    num: int = key(2_000, least=2, free=True)
    """Pictures in each of three sets, and at most as many real ones."""

    space: str = key("classifier", free=True)
    """Feature space: "classifier", trained on the dataset's labels, or one of imggen_jax/metrics/spaces.py."""

    share: float = key(0.05, least=0, free=True)
    """Share of the run's time that scores may take; a score that would exceed it is skipped."""


@dataclass(frozen=True)
class Player:
    """The optimizer of one player. Further keys are options of the optax optimizer, such as b1 or weight_decay."""

    optimizer: str = key("adam")
    """Name of an optax optimizer."""

    learning_rate: float = key(2e-4, least=0, free=True)
    """The largest learning rate."""

    warmup: int = key(0, least=0, free=True)
    """Images over which the learning rate rises linearly from 0."""

    decay: str = key("cosine", choices=("constant", "cosine", "linear"), free=True)
    """How the learning rate falls between the warm-up and the end of the run."""

    final: float = key(0.01, least=0, free=True)
    """The last learning rate as a share of the largest; not read if `decay` is "constant"."""

    span: int = key(0, least=0, free=True)
    """Images over which the learning rate, and b2, go to their last values; 0 for the whole run."""

    b2_start: float = key(0.0, least=0, most=1)
    """b2 at the start, which goes along half a cosine to the option `b2`; 0: it is `b2` throughout."""

    clip: float = key(0.0, least=0, free=True)
    """Largest global norm of the gradient; 0 for none."""


@dataclass(frozen=True)
class Settings:
    """A checked config."""

    seed: int = key(0, least=0, most=2**32 - 1)
    """Of the initial parameters, the order of the data and all noise."""

    data: Data = Data()
    init: Init = Init()
    train: Train = Train()
    ema: Ema = Ema()
    devices: Devices = Devices()
    log: Log = Log()
    score: Score = Score()

    transforms: Mapping = dataclasses.field(default_factory=dict)
    """{module of imggen_jax/transforms: keyword arguments of its `make`}: what is done to examples on the device, in
    the order of the names."""

    game: Mapping = dataclasses.field(default_factory=dict)
    """`name`, a module of imggen_jax/games, and keyword arguments of its `make`."""

    players: Mapping = dataclasses.field(default_factory=dict)
    """{player: the keys of `Player` and options of the optax optimizer}"""

    pretrained: Mapping = dataclasses.field(default_factory=dict)
    """Networks that are used and not trained: {name: {"weights": NAME or PATH}} or {name: {"workdir": FOLDER}}."""


SECTIONS = {"data": Data, "init": Init, "train": Train, "ema": Ema, "devices": Devices, "log": Log, "score": Score}
