"""From a checked config and the fields of the data to what is run: game, optimizers, state, compiled step."""
from __future__ import annotations

import collections
import fnmatch
import functools
import importlib
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
import optax

from imggen_jax import augment, devices, optim, step, transforms
from imggen_jax.config import Settings, check_type
from imggen_jax.errors import ConfigError
from imggen_jax.game import Batch, Game, Key, Params, Pretrained, PyTree, Spec
from imggen_jax.storage.checkpoint import flatten


class Built(NamedTuple):
    """A run's parts, before any of them costs compute."""

    spec: Spec              # of the examples that the game sees: the dataset's, transformed
    game: Game
    optimizers: step.Optimizers
    init: Callable          # () -> TrainState, on one device
    shape: step.TrainState  # the state's shapes and dtypes
    play: Callable          # (axis or None) -> function (state, batches, key, pretrained) -> (state, logs)
    pretrained: Mapping[str, PyTree]  # network's name -> its weights, which no step changes
    # (batch of the dataset, key) -> batch of `spec`, without the flips and turns of training
    transform: Callable[[Batch, Key], Batch]


def build(settings: Settings, spec: Spec, pretrained: Mapping[str, Pretrained] | None = None) -> Built:
    """Make everything that a config names and work out every shape, without computing anything.

    Args:
      settings: the checked config.
      spec: the fields of an example of the dataset.
      pretrained: networks that the game uses and does not train, by name.

    Raises:
      ConfigError: an unknown game, network, player or option, or a size that the network cannot make.
    """
    pretrained = pretrained or {}
    transform = make_transform(settings, spec)
    spec = transform.spec
    game = make_game(settings, spec, pretrained)
    optimizers = _freeze(settings, game, spec, _optimizers(settings, game))

    def init():
        return step.init_state(game, optimizers, jax.random.key(settings.seed), spec)

    train_step = functools.partial(
        step.train_step, game, optimizers,
        _average_rate(settings),
        _prepare(settings, transform.apply),
    )

    def play(axis):
        return functools.partial(step.play, functools.partial(train_step, axis=axis))

    shape = _shapes(init)
    if settings.devices.engine == "pmap" and any(np.issubdtype(leaf.dtype, np.integer)
                                                 for leaf in jax.tree.leaves(shape.mutable)):
        # Under pmap each device has a copy of what changes, and what cannot be averaged would differ.
        raise ConfigError("this game remembers pictures (config.game.pool), which pmap cannot share between devices; "
                          "set config.devices.engine to jit")
    if both := set(shape.params) & set(pretrained):
        raise ConfigError(f"config.pretrained.{min(both)}: a player of this game has that name; choose another")
    for who, state in shape.opt.items():
        try:
            jax.eval_shape(optimizers[who].update, shape.params[who], state, shape.params[who])
        except (TypeError, ValueError) as error:
            raise ConfigError(f"config.players.{who}: {_one_line(error)}") from error
    return Built(spec, game, optimizers, init, shape, play, {name: one.weights for name, one in pretrained.items()},
                 transform.apply)


def _average_rate(settings: Settings) -> Callable[[jax.Array, int], jax.Array]:
    if settings.ema.rise > settings.train.images:
        raise ConfigError(f"config.ema.rise is {settings.ema.rise}, and the run has {settings.train.images} images; "
                          "choose at most so many, or 0")
    return optim.average_rate(halflife=settings.ema.halflife, rampup=settings.ema.rampup, rise=settings.ema.rise)


def make_transform(settings: Settings, spec: Spec) -> transforms.Transform:
    """The transforms of a config. Raises ConfigError where examples do not have what one needs."""
    for name, options in settings.transforms.items():
        _check_types(f"config.transforms.{name}", transforms.module(name).make, options)
    try:
        return transforms.chain(spec, settings.transforms)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"config.transforms: {_one_line(error)}") from error


def _prepare(settings: Settings, transform: Callable[[Batch, Key], Batch]) -> Callable[[Batch, Key], Batch]:
    """What is done to the examples of a step: flips, turns, transforms."""
    steps: list[Callable[[Batch, Key], Batch]] = []
    steps += [augment.flip_examples] * settings.data.flip + [augment.turn_examples] * settings.data.turn
    if settings.transforms:
        steps.append(transform)
    if len(steps) < 2:
        return steps[0] if steps else augment.unchanged

    def prepare(batch: Batch, key: Key) -> Batch:
        for place, each in enumerate(steps):
            batch = each(batch, jax.random.fold_in(key, place))
        return batch

    return prepare


_games: collections.OrderedDict[tuple, Game] = collections.OrderedDict()


def make_game(settings: Settings, spec: Spec, pretrained: Mapping[str, Pretrained]) -> Game:
    """The game of a config: one and the same for equal configs, so what was compiled for one run serves another."""
    key = (json.dumps([settings.game, settings.train.dtype]), spec,
           tuple(sorted((name, one.sha256) for name, one in pretrained.items())))
    if key not in _games:
        _games[key] = _game(dict(settings.game), settings.train.dtype, spec, pretrained)
        if len(_games) > 32:
            _games.popitem(last=False)
    return _games[key]


def game_module(name: str) -> types.ModuleType:
    """The module of a checked config's game: one of imggen_jax/games, or any other by its dotted name."""
    return importlib.import_module(name if "." in name else f"imggen_jax.games.{name}")


def _game(options: dict, dtype: str, spec: Spec, pretrained: Mapping[str, Pretrained]) -> Game:
    name = options.pop("name")
    make = game_module(name).make
    uses = "pretrained" in inspect.signature(make).parameters
    if pretrained and not uses:
        raise ConfigError(f"config.pretrained.{min(pretrained)}: the game {name!r} uses no pretrained networks")
    _check_types("config.game", make, options)
    try:
        return make(spec, dtype=dtype, **options, **({"pretrained": pretrained} if uses else {}))
    # AttributeError: a network's module without the class that the game wants of it; KeyError: a pretrained network
    # that the game needs and the config does not name.
    except (TypeError, ValueError, ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(f"config.game: {_one_line(error)}") from error
    except KeyError as error:
        raise ConfigError(f"config.game: the game {name!r} needs config.pretrained.{error.args[0]}") from error


def _optimizers(settings: Settings, game: Game) -> step.Optimizers:
    movers = {who for who, _ in game.moves}
    if movers != set(settings.players):
        raise ConfigError(f"config.players has {sorted(settings.players)}, but the players of this game that move are "
                          f"{sorted(movers)}")
    length = dict(images=settings.train.images, batch=settings.train.batch, accumulate=settings.train.accumulate)
    made = {}
    for who in sorted(movers):
        _check_types(f"config.players.{who}", optim.make, settings.players[who])
        try:
            made[who] = optim.make(**length, **settings.players[who])
        except (TypeError, ValueError) as error:
            raise ConfigError(f"config.players.{who}: {_one_line(error)}") from error
    return made


def _freeze(settings: Settings, game: Game, spec: Spec, optimizers: step.Optimizers) -> step.Optimizers:
    """The optimizers, updating only what config.init.freeze leaves free."""
    patterns = settings.init.freeze
    if not patterns:
        return optimizers
    params = _shapes(lambda key: game.init(key, spec), jax.random.key(settings.seed))[0]
    still = frozen(patterns, params)
    masks = {who: jax.tree.unflatten(jax.tree.structure(params[who]), [
        f"{who}.{name}" in still for name in flatten(params[who])]) for who in optimizers}
    if all(all(jax.tree.leaves(mask)) for mask in masks.values()):
        raise ConfigError("config.init.freeze leaves no parameter of any player to be trained")
    return {who: optax.selective_transform(one, freeze_mask=masks[who]) for who, one in optimizers.items()}


def frozen(patterns: Sequence[str], params: Params) -> set[str]:
    """Names, "player.network.layer.leaf", of the parameters that patterns with wildcards (`fnmatch`) stand for.

    Raises:
      ConfigError: a pattern that stands for none, with the names that there are.
    """
    names, still = list(flatten(params)), set()
    for pattern in patterns:
        hit = fnmatch.filter(names, pattern)
        if not hit:
            layers = dict.fromkeys(name.rsplit(".", 1)[0] for name in names)
            raise ConfigError(f"config.init.freeze: {pattern!r} is no parameter; write such as {next(iter(layers))}.*, "
                              f"of the layers {', '.join(layers)}")
        still |= set(hit)
    return still


def _shapes(function: Callable, *arguments) -> PyTree:
    try:
        return jax.eval_shape(function, *arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"config.game: {_one_line(error)}") from error


def _check_types(where: str, make: Callable, options: Mapping) -> None:
    """Options against the annotations of who takes them; unknown and missing ones are left to Python's call."""
    for key, kind in typing.get_type_hints(make).items():
        if key in options:
            check_type(f"{where}.{key}", options[key], typing.get_origin(kind) or kind)


def example_batch(spec: Spec, batch: int) -> Batch:
    """A batch of zeros of the shapes and dtypes that training sees.

    Raises:
      ConfigError: a field has no fixed size.
    """
    zeros = {}
    for name, field in spec.items():
        shape = [side for side in field.shape if side is not None]
        if len(shape) < len(field.shape):
            raise ConfigError(f"the field {name!r} has images of any size; set config.data.size, or config.data.crop "
                              "for random crops of that side")
        zeros[name] = np.zeros((batch, *shape), field.dtype)
    return zeros


def flops_per_step(settings: Settings, spec: Spec, built: Built) -> float:
    """Operations of one step over all devices, as XLA counts them: `devices.count_flops`."""
    batch = example_batch(spec, settings.train.batch)
    one_step = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), batch)
    return devices.count_flops(built.play(None), built.shape, one_step, jax.random.key(settings.seed),
                               built.pretrained)


def parameter_counts(params) -> dict[str, int]:
    """{player: number of parameters}"""
    return {who: sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree)) for who, tree in params.items()}


def check_devices(settings: Settings) -> list[devices.Device]:
    """The run's devices.

    Raises:
      ConfigError: there are not as many, or they cannot share the batch evenly.
    """
    try:
        found = devices.choose(settings.devices.count)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if settings.devices.engine not in devices.ENGINES:
        raise ConfigError(f"unknown config.devices.engine {settings.devices.engine!r}; choose one of "
                          f"{', '.join(devices.ENGINES)}")
    if settings.train.batch % len(found):
        raise ConfigError(f"config.train.batch is {settings.train.batch}, which {len(found)} devices cannot share "
                          f"evenly; choose a multiple of {len(found)}, or set config.devices.count")
    return found


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
