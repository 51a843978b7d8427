"""A trained model: what it can do, and checks of what it is given. Images are NumPy, uint8 [n,H,W,C]."""
from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from imggen_jax import inversion, sampling, texts
from imggen_jax.augment import to_float
from imggen_jax.data.memory import free_memory
from imggen_jax.errors import RunError
from imggen_jax.game import SHARES, Classifier, Field, Game, Generator, PyTree, Spec
from imggen_jax.inversion import Space
from imggen_jax.sampling import Fields, Latents, Sampler

MOST_SEEDS = 2**32

Seeds = Sequence[int] | np.ndarray


class Model(NamedTuple):
    """A trained generator or classifier.

    What a generator is conditioned on is given by the names of its fields, `given={"label": "horse"}`: one value for
    all images, or one for each. A label is a name (str) or an index (int); a text is a str, or several that condition
    one image together, as `prompts.parse` gives them; images and masks are uint8 [H,W,C] or [n,H,W,C].
    """

    config: Mapping[str, Any]     # resolved
    spec: Spec           # fields of the examples that it was trained on
    step: int            # steps trained
    weights: PyTree      # averaged parameters, and those of pretrained networks
    game: Game
    name: str            # of the model among those of the game
    data: Mapping[str, Any] = {}  # what the run recorded about its dataset: name, fingerprint, card of a folder

    @property
    def part(self) -> Generator | Classifier:
        """The generator or classifier itself."""
        return self.game.models[self.name]

    @property
    def generator(self) -> Generator:
        """The generator. Raises RunError for a classifier."""
        if not isinstance(self.part, Generator):
            raise RunError("this model is a classifier and cannot generate images; load the run of a generator")
        return self.part

    @property
    def sampler(self) -> Sampler:
        """The generator's compiled functions. Raises RunError for a classifier."""
        return sampling.sampler(self.generator, self.spec)

    @property
    def images_seen(self) -> int:
        """Images seen in training."""
        return self.step * self.config["train"]["batch"]

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes that condition the model; () where there are none."""
        return self.spec["label"].names if "label" in self.spec else ()

    def sample(
        self, seeds: Seeds | None = None, given: Mapping[str, Any] | None = None, *, num: int | None = None,
        seed: int = 0, **options: float,
    ) -> np.ndarray:
        """New images; the image of a seed is the same in every call and from every command.

        Args:
          seeds: one for each image, 0 to 2^32-1; or `num` and `seed`, for seed, seed + 1, ...
          given: what the images are conditioned on. A label that is not given is drawn from each seed.
          num, seed: how many images, and the seed of the first one.
          **options: `truncation`, 0 to 1 for less variety and fewer failures, and the generator's own options, such as
            steps=32.

        Returns:
          uint8 [n,H,W,C]

        Raises:
          RunError: a seed, field or option that the model does not take, or one out of range.
        """
        numbers = self.check_seeds(seeds, num, seed)
        self._check_memory(len(numbers), given)
        latents = self.latents(numbers, given, truncation=options.pop("truncation", 1.0))
        return self.sampler.show(self.weights, latents, self.check_options(options))

    def latents(self, seeds: Seeds, given: Mapping[str, Any] | None = None, *, truncation: float = 1.0) -> Latents:
        """The latents of seeds: what `sample` makes images from.

        Raises:
          RunError: a seed, field or truncation that the model does not take.
        """
        numbers, truncation = self.check_seeds(seeds), check_truncation(truncation)
        fields = self.check_given(given, len(numbers), drawn=True)
        return self.sampler.draw(self.weights, numbers, fields, truncation)

    def encode(self, images: np.ndarray, given: Mapping[str, Any] | None = None) -> np.ndarray:
        """Latents of images: by the encoder, or by optimization for a generator without one.

        Args:
          images: uint8 [n,H,W,C].
          given: what the images are conditioned on.

        Returns:
          w, float32 [n,D].

        Raises:
          RunError: images or fields that this model does not take.
        """
        images = self.check_images(images)
        fields = self.check_given(given, len(images))
        if self.sampler.encode is not None:
            return np.asarray(self.sampler.encode(self.weights, images, fields))
        return inversion.invert(self.sampler, self.weights, images, fields, self.space())

    def decode(self, w: np.ndarray, given: Mapping[str, Any] | None = None, **options: float) -> np.ndarray:
        """Images of latents float32 [n,D]: uint8 [n,H,W,C].

        Raises:
          RunError: latents, fields or options that this model does not take.
        """
        w = self.check_latents(w)
        latents = sampling.at_rows(w, self.check_given(given, len(w)))
        return self.sampler.show(self.weights, latents, self.check_options(options))

    def reconstruct(self, images: np.ndarray, given: Mapping[str, Any] | None = None) -> np.ndarray:
        """decode(encode(images)): uint8 [n,H,W,C]; of a generator without an encoder, by optimization."""
        if self.sampler.encode is None:
            return self.decode(self.encode(images, given), given)
        images = self.check_images(images)
        return sampling.reconstruct(self.sampler, self.weights, images, self.check_given(given, len(images)))

    def classify(self, images: np.ndarray) -> np.ndarray:
        """The likeliest value of a classifier's first target: int [n].

        Args:
          images: uint8 [n,H,W,C].

        Raises:
          RunError: images that this model does not take, or a model that is a generator.
        """
        if not isinstance(self.part, Classifier):
            raise RunError("this model is a generator and cannot classify images; load the run of a classifier")
        return np.asarray(_classifier(self.part)(self.weights, self.check_images(images)))

    def space(self) -> Space:
        """Where the prior puts latents."""
        return inversion.measure_space(self.sampler, self.weights,
                                       behind_mapping=self.generator.edit_space is not None)

    # Checks of what comes from outside.

    def check_seeds(self, seeds: Seeds | None, num: int | None = None, seed: int = 0) -> np.ndarray | range:
        """Seeds as uint32 [n], or as a range, which takes no memory. Raises RunError for none, both forms, or one out
        of range."""
        if isinstance(seeds, range) and seeds.step == 1 and seeds:
            seeds, num, seed = None, len(seeds), seeds.start
        if seeds is None:
            num, seed = _whole("num", 1 if num is None else num), _whole("seed", seed)
            if num < 1:
                raise RunError(f"num is {num}; it must be at least 1")
            if num > MOST_SEEDS:
                raise RunError(f"num is {num}; there are {MOST_SEEDS} seeds")
            if not 0 <= seed <= MOST_SEEDS - num:
                raise RunError(f"seed is {seed}; for {num} images it must be from 0 to {MOST_SEEDS - num}")
            return range(seed, seed + num)
        if num is not None:
            raise RunError("both seeds and num are given; give seeds, or num and the first seed")
        if isinstance(seeds, (numbers.Number, str, bytes)) or not np.iterable(seeds):
            raise RunError(f"seeds is {seeds!r}; give a list of seeds, or num={seeds!r}")
        values = [_whole("seed", value) for value in seeds]
        if not values:
            raise RunError("no seed is given; give at least one")
        if wrong := [value for value in values if not 0 <= value < MOST_SEEDS]:
            raise RunError(f"seed is {wrong[0]}; it must be from 0 to {MOST_SEEDS - 1}")
        return np.array(values, np.uint32)

    def check_given(self, given: Mapping[str, Any] | None, n: int, *, drawn: bool = False) -> Fields:
        """What n images are conditioned on, as the generator takes it: {field: [n, *shape]}.

        Args:
          given: as for `sample`.
          n: number of images.
          drawn: whether a label may be left out, to be drawn.

        Raises:
          RunError: a field that the model does not need, a missing one, or a value that does not fit.
        """
        if given is not None and not isinstance(given, Mapping):
            raise RunError(f"given is {given!r:.100}; give values by the names of fields, as in "
                           'given={"label": "horse"}')
        given, needs, accepts = dict(given or {}), self.generator.needs, self.generator.accepts
        shares = [f"{name}{SHARES}" for name in self.generator.mixes if isinstance(given.get(name), np.ndarray)]
        if unknown := [name for name in given if name not in needs and name not in accepts and name not in shares]:
            takes = f"it takes {', '.join([*needs, *accepts])}" if needs else "it is not conditioned on anything"
            raise RunError(f"{unknown[0]!r} is given, but this model does not need it; {takes}")
        missing = [name for name in needs if given.get(name) is None and not (drawn and self.spec[name].classes)]
        if missing:
            raise RunError(f"this model needs {missing[0]!r}; give it, as in given={{{missing[0]!r}: ...}}")
        fields: dict[str, np.ndarray] = {}
        for name, value in given.items():
            if value is not None and name not in shares:
                field = self.spec[accepts.get(name, name)]
                made = {name: self._field(name, value, n)} if field.classes or field.is_image else texts.fields_of(
                    name, value, given.get(f"{name}{SHARES}"), field, n, name in self.generator.mixes)
                fields |= made
        if wrong := [name for name, made in fields.items() if len(made) != n]:
            raise RunError(f"{len(fields[wrong[0]])} values of {wrong[0]!r} are given for {n} images; give one for "
                           "each, or one for all")
        return fields

    def _field(self, name: str, value: Any, n: int) -> np.ndarray:
        """A label, image or mask, as the generator takes it."""
        field = self.spec[self.generator.accepts.get(name, name)]
        if field.classes:
            one = isinstance(value, str) or not np.iterable(value)
            values: list[Any] = [value] if one else list(value)
            made = np.array([self.label_index(each, name) for each in values], np.int32)
            return np.broadcast_to(made, n) if one else made
        made = np.asarray(value)
        made = np.broadcast_to(made, (n, *made.shape)) if made.ndim == 3 else made
        fits = made.ndim == 4 and all(b in (None, a) for a, b in zip(made.shape[1:], field.shape))
        if made.dtype != np.uint8 or not fits:
            raise RunError(f"{name} is {made.dtype} {np.shape(value)}; this model takes uint8 {_shape(field)}")
        return made

    def label_index(self, label: int | str | numbers.Number | np.ndarray, name: str = "label") -> int:
        """A label as its index: an int is an index, a str a name.

        Raises:
          RunError: there is no such label, or the model knows none.
        """
        known = self.spec[name].names if name in self.spec else ()
        if not known:
            raise RunError(f"{name} {label!r}: this model was trained without labels")
        value: Any = label.item() if isinstance(label, np.ndarray) and label.ndim == 0 else label
        if isinstance(value, str):
            if value in known:
                return known.index(value)
        elif isinstance(value, numbers.Integral) and not isinstance(value, bool) and 0 <= int(value) < len(known):
            return int(value)
        listed = ", ".join(known) if len(known) <= 20 else f"{known[0]}, {known[1]}, ..., {known[-1]}"
        raise RunError(f"{name} {label!r} is unknown; names are {listed}, indices 0 to {len(known) - 1}")

    def check_images(self, images: np.ndarray) -> np.ndarray:
        """The images, if they are uint8 [n,H,W,C] as this model takes them; else a RunError."""
        images, field = np.asarray(images), self.spec["image"]
        fits = images.ndim == 4 and all(b in (None, a) for a, b in zip(images.shape[1:], field.shape))
        if images.dtype != np.uint8 or not fits or not len(images):
            raise RunError(f"images are {images.dtype} {images.shape}; this model takes uint8 {_shape(field)}, n > 0")
        return images

    def check_latents(self, w: np.ndarray) -> np.ndarray:
        """Latents as float32 [n,D]; RunError where they do not fit the model or are not finite."""
        try:
            w = np.asarray(w)
            if w.dtype.kind not in "iuf" and w.dtype != object:
                raise TypeError(f"they are {w.dtype}")
            with np.errstate(over="ignore"):  # what is too large is not finite, as is said below
                w = w.astype(np.float32)
        except (TypeError, ValueError) as error:
            raise RunError(f"latents are not an array of numbers ({error})") from None
        size = self.latent_size
        if w.ndim != 2 or w.shape[1] != size or not len(w):
            raise RunError(f"latents are {w.shape}; this model takes (n, {size}) with n > 0")
        if not np.isfinite(w).all():
            raise RunError("latents are not all finite numbers")
        return w

    def _check_memory(self, n: int, given: Mapping[str, Any] | None) -> None:
        """Raises RunError where n images are more than memory can hold; memory that is only promised ends a process."""
        fields = given.values() if isinstance(given, Mapping) else ()
        sides = [each.shape[-3:] for each in fields if isinstance(each, np.ndarray)
                 and each.dtype == np.uint8 and each.ndim >= 3]
        pixels = math.prod(side or 1 for side in (sides[0] if sides else self.spec["image"].shape))
        needed, free = n * (pixels + 4 * self.latent_size), free_memory()
        if needed > free:
            raise RunError(f"{n:,} images take {needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB of memory are "
                           "free; sample fewer at a time, or let imggen_jax.generate write them to files")

    @property
    def latent_size(self) -> int:
        """D of the latents [n,D]."""
        return jax.eval_shape(functools.partial(self.sampler.prior, n=1), self.weights, jax.random.key(0),
                              fields={}).shape[1]

    def check_options(self, options: Mapping[str, float]) -> dict[str, float]:
        """The options, checked; RunError for one that the generator does not have or that is out of range."""
        known = self.generator.options
        for name, value in options.items():
            if name not in known:
                has = ", ".join(["truncation", *known])
                raise RunError(f"option {name!r} is unknown to this model; it has {has}")
            _check_range(name, value, known[name])
        return dict(options)


def check_truncation(value: float) -> float:
    """A factor on latents, checked. Raises RunError."""
    _check_range("truncation", value, sampling.TRUNCATION)
    return float(value)


def _check_range(name: str, value: float, option: sampling.Option) -> None:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if isinstance(option.default, int):
        number = number and float(value).is_integer()
    if not number or not math.isfinite(value) or not option.low <= value <= option.high:
        kind = "a whole number" if isinstance(option.default, int) else "a number"
        upto = f"to {option.high:g}" if math.isfinite(option.high) else "up"
        raise RunError(f"{name} is {value!r}; it must be {kind} from {option.low:g} {upto}")


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise RunError(f"{name} is {value!r}; it must be a whole number")
    return int(value)


def _shape(field: Field) -> str:
    return "(n, " + ", ".join("any" if side is None else str(side) for side in field.shape) + ")"


@functools.lru_cache(maxsize=8)
def _classifier(classifier: Classifier):
    return jax.jit(lambda weights, images: classifier.logits(weights, to_float(images))[0].argmax(-1))
