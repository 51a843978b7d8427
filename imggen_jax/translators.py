"""Models that make a picture of a picture: upscale, restore, complete, translate, sketch.

    import imggen_jax
    larger = imggen_jax.upscale(photo, scale=2)              # uint8 [H,W,C] -> uint8 [2H,2W,C]
    imggen_jax.restore("scan.jpg").pixels                    # a file keeps its depth, alpha, color profile, metadata
"""
from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax import zoo
from imggen_jax.errors import RunError
from imggen_jax.game import Generator, PyTree
from imggen_jax.loading import find, load
from imggen_jax.model import Model
from imggen_jax.pictures import files, through, tiling
from imggen_jax.pictures.files import Picture
from imggen_jax.pictures.through import Tiled
from imggen_jax.provenance import policy, publishing
from imggen_jax.storage import checkpoint

KINDS = {"clean": "upscale", "photo": "photo"}  # what the picture is like -> the shipped models' names
SCALES = (2, 3, 4)
DIRECTIONS = {"a2b": "a_to_b", "b2a": "b_to_a"}

ModelLike = Model | str | os.PathLike[str]
Report = Callable[[float], object]


def _silent(share: float) -> None:
    """No progress."""


def _part(report: Report, number: int, steps: int, share: float) -> object:
    return report((number + share) / steps)


# The verbs. Each takes a NumPy array and gives one, or takes a `Picture` or the path of a file and gives a `Picture`.

@overload
def upscale(picture: np.ndarray, model: ModelLike | None = None, *, scale: int | None = None, kind: str = "clean",
            denoise: float | None = None, strength: float = 1.0, tile: int | None = None, report: Report = _silent
            ) -> np.ndarray: ...
@overload
def upscale(picture: Picture | str | os.PathLike[str], model: ModelLike | None = None, *, scale: int | None = None,
            kind: str = "clean", denoise: float | None = None, strength: float = 1.0, tile: int | None = None,
            report: Report = _silent) -> Picture: ...
def upscale(picture, model=None, *, scale=None, kind="clean", denoise=None, strength=1.0, tile=None, report=_silent):
    """A picture, larger by a whole factor (super-resolution).

    Args:
      picture: uint8 or uint16 [H,W] or [H,W,C], C: 1 gray, 2 with alpha, 3 color, 4 with alpha; or a `Picture`, or the
        path of a file.
      model: a model, or what `load` takes; None: the shipped one for scale and kind.
      scale: 2, 3 or 4; None: 2, or the model's.
      kind: "clean", for pictures without noise and compression, or "photo".
      denoise: from 0 to 1, how much noise is taken out, by a model that has this option: realesr-general-x4v3 with
        realesr-general-wdn-x4v3 beside it. None: the model's own.
      strength: from 0, bicubic interpolation, to 1, the model.
      tile: longest side in pixels that is worked at once; None: by the memory that the model takes.
      report: called with the share that is done, up to 1.

    Returns:
      Of an array an array of its dtype, [scale * H, scale * W(, C)]; else a `Picture` with the profile and metadata of
      the first.

    Raises:
      RunError: there is no such model, it does not do this, or a policy refuses it.
      PictureError: what is given is no picture.
    """
    return _result(picture, upscaler(model, scale, kind, denoise), strength=_share(strength, "strength"), tile=tile,
                   report=report)


@overload
def restore(picture: np.ndarray, model: ModelLike | None = None, *, denoise: float | None = None, dejpeg: bool = False,
            strength: float = 1.0, tile: int | None = None, report: Report = _silent) -> np.ndarray: ...
@overload
def restore(picture: Picture | str | os.PathLike[str], model: ModelLike | None = None, *, denoise: float | None = None,
            dejpeg: bool = False, strength: float = 1.0, tile: int | None = None, report: Report = _silent
            ) -> Picture: ...
def restore(picture, model=None, *, denoise=None, dejpeg=False, strength=1.0, tile=None, report=_silent):
    """A picture without its noise and compression artifacts, at its size.

    Args:
      picture, tile, report: as for `upscale`.
      model: a model of scale 1, or what `load` takes; None: the shipped one for what is asked.
      denoise: from 0 to 1, how much of the noise is taken out; None: not asked.
      dejpeg: take out what JPEG compression left. With `denoise`, this comes first, unless one model does both, as the
        one that ships: then it is `denoise` that says how much of its result is taken.
      strength: from 0, the picture itself, to 1, the model.

    Returns, raises: as `upscale`; of the size of the picture.
    """
    steps = restorers(model, denoise=denoise, dejpeg=dejpeg, strength=strength)
    for number, (tiled, share) in enumerate(steps):
        picture = _result(picture, tiled, strength=share, tile=tile,
                          report=functools.partial(_part, report, number, len(steps)))
    return picture


@overload
def complete(picture: np.ndarray, mask: np.ndarray, model: ModelLike, *, tile: int | None = None,
             report: Report = _silent) -> np.ndarray: ...
@overload
def complete(picture: Picture | str | os.PathLike[str], mask: np.ndarray, model: ModelLike, *, tile: int | None = None,
             report: Report = _silent) -> Picture: ...
def complete(picture, mask, model, *, tile=None, report=_silent):
    """A picture with a part made anew by a trained model (inpainting). What lies outside is returned to the bit.

    Args:
      picture, tile, report: as for `upscale`.
      mask: bool [H,W], true where the picture is made anew.
      model: a model that needs "source" and "mask", or what `load` takes.

    Returns, raises: as `upscale`; of the size of the picture.
    """
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.ndim != 2:
        raise RunError(f"the mask is {mask.dtype} {mask.shape}; give bool [H,W], true where the picture is made anew")
    return _result(picture, completer(model), mask=mask, tile=tile, report=report)


@overload
def translate(picture: np.ndarray, model: ModelLike, *, direction: str | None = None, tile: int | None = None,
              report: Report = _silent) -> np.ndarray: ...
@overload
def translate(picture: Picture | str | os.PathLike[str], model: ModelLike, *, direction: str | None = None,
              tile: int | None = None, report: Report = _silent) -> Picture: ...
def translate(picture, model, *, direction=None, tile=None, report=_silent):
    """A picture in another domain: a photograph of a facade from its plan, winter from summer.

    Args:
      picture, tile, report: as for `upscale`.
      model: a model that needs "source", or what `load` takes.
      direction: "a2b" or "b2a" for a model that was trained both ways; None: its main one.

    Returns, raises: as `upscale`; of the size of the picture.
    """
    return _result(picture, translator(model, direction), tile=tile, report=report)


@overload
def sketch(picture: np.ndarray, model: ModelLike, *, tile: int | None = None, report: Report = _silent
           ) -> np.ndarray: ...
@overload
def sketch(picture: Picture | str | os.PathLike[str], model: ModelLike, *, tile: int | None = None,
           report: Report = _silent) -> Picture: ...
def sketch(picture, model, *, tile=None, report=_silent):
    """A picture from a line drawing, by a model that was trained with the transform `edges`.

    Args:
      picture: the drawing; dark lines on a light ground or light ones on a dark ground. Else as for `upscale`.
      model: a model that needs "source", or what `load` takes.
      tile, report: as for `upscale`.

    Returns, raises: as `upscale`; of the size of the drawing, in the model's colors.
    """
    tiled = translator(model, None, "sketch")
    given, back = _given(picture)
    return back(_through(drawn(given), tiled, tile=tile, report=report))


def drawn(picture: Picture) -> Picture:
    """A drawing as the transform `edges` makes it: gray, dark lines on a light ground, opaque."""
    pixels, top = picture.pixels, np.iinfo(picture.pixels.dtype).max
    color = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1]
    gray = color.mean(-1, keepdims=True)
    if pixels.shape[-1] in (2, 4):                           # the ground may be transparent
        share = pixels[..., -1:] / top
        gray = gray * share + top * (1 - share)
    if gray.mean() < top / 2:
        gray = top - gray
    return picture._replace(pixels=np.rint(gray).astype(pixels.dtype), icc=None)


# Which model does it. A policy is asked before it is loaded.

def _allowed(verb: str, model: ModelLike | None) -> None:
    """Raises RunError where a policy refuses a verb. None: a shipped model, which has no policy of its own."""
    policy.check(None if model is None or isinstance(model, Model) else find(model), verb, {})


def upscaler(model: ModelLike | None, scale: int | None, kind: str, denoise: float | None = None) -> Tiled:
    """The model for `upscale`. Raises RunError where there is none."""
    if scale is not None and scale not in SCALES:
        raise RunError(f"the scale is {scale}; choose {', '.join(map(str, SCALES))}")
    if kind not in KINDS:
        raise RunError(f"the kind is {kind!r}; choose {' or '.join(KINDS)}")
    _allowed("upscale", model)
    options = {} if denoise is None else {"denoise": _share(denoise, "denoise")}
    tiled = opened(_shipped(f"{KINDS[kind]}_x{scale or 2}") if model is None else model, ("source",), options)
    if tiled.sight.scale == 1:
        raise RunError(f"{tiled.name} makes pictures of the same size; use restore, or another model")
    if scale not in (None, tiled.sight.scale):
        raise RunError(f"{tiled.name} makes pictures {tiled.sight.scale} times as large, not {scale}; choose scale "
                       f"{tiled.sight.scale} or another model")
    return tiled


def restorers(model: ModelLike | None, *, denoise: float | None, dejpeg: bool, strength: float = 1.0
              ) -> list[tuple[Tiled, float]]:
    """The models for `restore` and their strengths, in order. Raises RunError where there is none."""
    asked: list[tuple[Sequence[str], float]] = [(("dejpeg", "restore"), _share(strength, "strength"))] if dejpeg else []
    if denoise is not None:
        asked.append((("denoise", "restore"), _share(strength, "strength") * _share(denoise, "denoise")))
    asked = asked or [(("restore",), _share(strength, "strength"))]
    _allowed("restore", model)
    chosen = [(_shipped(*names) if model is None else model, share) for names, share in asked]
    if model is not None or len({name for name, _ in chosen}) == 1:  # for both: it goes over the picture once
        chosen = [(chosen[0][0], min(share for _, share in chosen))]
    return [(_of_one_size(opened(name, ("source",))), share) for name, share in chosen]


def _of_one_size(tiled: Tiled) -> Tiled:
    if tiled.sight.scale != 1:
        raise RunError(f"{tiled.name} makes pictures {tiled.sight.scale} times as large; use upscale, or another model")
    return tiled


def completer(model: ModelLike) -> Tiled:
    """The model for `complete`. Raises RunError where it is of another kind."""
    _allowed("complete", model)
    return opened(model, ("source", "mask"))


def translator(model: ModelLike, direction: str | None, verb: str = "translate") -> Tiled:
    """The model for `translate` or `sketch`. Raises RunError where it is of another kind or has no such direction."""
    _allowed(verb, model)
    if direction is None:
        return _of_one_size(opened(model, ("source",)))
    if direction not in DIRECTIONS:
        raise RunError(f"the direction is {direction!r}; choose {' or '.join(DIRECTIONS)}")
    loaded = model if isinstance(model, Model) else load(model)
    if DIRECTIONS[direction] not in loaded.game.models:
        raise RunError(f"the model has no direction {direction}; it has {', '.join(loaded.game.models)}. Leave the "
                       "direction out")
    return _of_one_size(opened(loaded._replace(name=DIRECTIONS[direction]), ("source",)))


def _shipped(*names: str) -> str:
    """The first of some models that ships."""
    there = zoo.names()
    for name in names:
        if name in there:
            return name
    family = names[0].rpartition("_x")[0]
    like = [name for name in there if family and name.startswith(f"{family}_x")]
    ships = f"of this kind, {', '.join(like)}" if like else f"there are {', '.join(there) or 'none'}"
    raise RunError(f"no model {names[0]} ships with the package; {ships}. Or name a model of your own")


_last: list[tuple[tuple[object, ...], tuple[object, ...], Tiled]] = []  # at most one: its weights stay on the device


def opened(model: ModelLike, needs: tuple[str, ...], options: Mapping[str, float] = {}) -> Tiled:
    """A model as a function of pictures of any size, compiled and with its weights on the device.

    Raises:
      RunError: it cannot be loaded, is no generator that needs these fields, or does not have these options.
    """
    if isinstance(model, Model):
        key, chosen = (model.weights, model.game, model.name, needs), tuple(options.items())
        if not _last or chosen != _last[0][1] or any(one is not other for one, other in zip(_last[0][0], key)):
            _last[:] = [(key, chosen, _opened(model, needs, "the model", options))]
        return _last[0][2]
    if str(model) in zoo.names() and not options:
        return _by_name(str(model), needs)
    return _opened(load(model), needs, str(model), options)


@functools.lru_cache(maxsize=4)
def _by_name(name: str, needs: tuple[str, ...]) -> Tiled:
    return _opened(load(name), needs, name, {})


def _opened(model: Model, needs: tuple[str, ...], name: str, options: Mapping[str, float]) -> Tiled:
    generator, masked = model.generator, "mask" in needs
    # A model back from the images reads what is called "image".
    pictures = [field for field in generator.needs if field != "mask" and model.spec[field].is_image]
    if len(pictures) != 1 or len(generator.needs) != len(needs) or masked != ("mask" in generator.needs):
        raise RunError(f"{name} makes pictures of {' and '.join(generator.needs) or 'nothing but seeds'}; this needs a "
                       f"model that makes them of {' and '.join(needs)}")
    source = model.spec[pictures[0]].shape[-1]
    assert source is not None, "channels are known"
    if strange := set(options) - set(generator.options):
        raise RunError(f"{name} has no option {min(strange)}; leave it out")
    options = {name: one.default for name, one in generator.options.items()} | dict(options)
    function, channels = functools.partial(_function, generator, pictures[0], source, options), source + masked
    try:
        sight = tiling.measure(function, model.weights, channels, masks=masked)
    except (TypeError, ValueError) as error:
        raise RunError(f"{name} cannot be applied to pictures of any size: {error}") from error
    image = jax.ShapeDtypeStruct((1, sight.least, sight.least, channels), np.float32)
    made = jax.eval_shape(function, model.weights, image).shape[-1]
    program, weights = jax.jit(function), jax.device_put(model.weights, jax.local_devices()[0])
    facts = {"model": checkpoint.fingerprint(model.weights), **publishing.training_facts(model.data)}
    return Tiled(functools.partial(program, weights), channels, made, masked, sight, name, facts)


def _function(generator: Generator, field: str, source: int, options: Mapping[str, float], weights: PyTree,
              images: jax.Array) -> jax.Array:
    """images: float32 [n,h,w,C], `source` channels in [-1,1] and, for some, the mask, 0 or 1 -> [n,s*h,s*w,C']."""
    fields = {field: images[..., :source]}
    if "mask" in generator.needs:
        fields["mask"] = (255 * images[..., source:]).astype(jnp.uint8)
    condition = generator.condition(weights, fields)
    z = generator.prior(jax.random.key(0), images.shape[0], condition)
    return generator.decode(weights, z, condition, options)


# Pictures of every form.

def _share(value: float, what: str) -> float:
    if not 0 <= value <= 1:
        raise RunError(f"{what} is {value}; it must be from 0 to 1")
    return float(value)


def _result(picture: Picture | np.ndarray | str | os.PathLike[str], tiled: Tiled, **options: Any) -> Any:
    given, back = _given(picture)
    return back(_through(given, tiled, **options))


def _through(picture: Picture, tiled: Tiled, **options: Any) -> Picture:
    mask = options.get("mask")
    if mask is not None and mask.shape != picture.pixels.shape[:2]:
        height, width, _ = picture.pixels.shape
        raise RunError(f"the mask is {mask.shape[1]}x{mask.shape[0]} and the picture {width}x{height}; they must be of "
                       "one size")
    pixels = through.collected(through.translated(picture, tiled, **options))
    same = (pixels.shape[2] >= 3) == (picture.pixels.shape[2] >= 3)
    return picture._replace(pixels=pixels, icc=picture.icc if same else None)


def _given(picture: Picture | np.ndarray | str | os.PathLike[str]
           ) -> tuple[Picture, Callable[[Picture], np.ndarray | Picture]]:
    """The picture, and what turns the result into the form in which it was given."""
    if isinstance(picture, Picture):
        return picture, lambda made: made
    if isinstance(picture, (str, os.PathLike)):
        return files.read(os.fspath(picture)), lambda made: made
    pixels = np.asarray(picture)
    flat = pixels.ndim == 2
    pixels = pixels[..., None] if flat else pixels
    fits = pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2 and pixels.ndim == 3 and 1 <= pixels.shape[-1] <= 4
    if not fits or not pixels.size:
        raise RunError(f"the picture is {pixels.dtype} {np.shape(picture)}; give uint8 or uint16 [H,W] or [H,W,C], C "
                       "from 1 to 4")
    return Picture(pixels), lambda made: made.pixels[..., 0] if flat and made.pixels.shape[-1] == 1 else made.pixels
