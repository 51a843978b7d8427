"""What the data decide about a model: the fields of one example. Nothing here needs JAX."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Field(NamedTuple):
    """One field of an example, without the batch axis."""

    shape: tuple[int | None, ...]  # image (H,W,C), label (), text (T,), mask (H,W,1); None stands for any size
    dtype: str                     # "uint8", "int32" or "float32"
    names: tuple[str, ...] = ()    # of a label's values; of a text's vocabulary, where there is one

    @property
    def classes(self) -> int:
        """Number of values of a label; 0 for any other field."""
        return len(self.names) if self.shape == () else 0

    @property
    def is_image(self) -> bool:
        """Whether it is a picture or a mask: (H,W,C)."""
        return len(self.shape) == 3


class Spec(Mapping[str, Field]):
    """An immutable, hashable mapping from the names of fields to the fields, in the order of the names."""

    def __init__(self, fields: Mapping[str, Field]):
        self._fields = dict(sorted(fields.items()))

    def __getitem__(self, name: str) -> Field:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __hash__(self) -> int:
        return hash(tuple(self._fields.items()))

    def __repr__(self) -> str:
        return f"Spec({self._fields})"


def make_spec(**fields: Field) -> Spec:
    """A Spec of fields given by name."""
    return Spec(fields)


def labels(spec: Spec) -> tuple[str, ...]:
    """Names of the label fields, in order."""
    return tuple(name for name, field in spec.items() if field.classes)


def image_shape(spec: Spec, name: str = "image") -> tuple[int, int, int]:
    """(H,W,C) of an image field of known size.

    Raises:
      ValueError: the field is missing or its size is not fixed.
    """
    if name not in spec:
        raise ValueError(f"the data have no field {name!r}; they have {', '.join(spec)}")
    sides = [side for side in spec[name].shape if side is not None]
    if len(sides) != 3 or len(spec[name].shape) != 3:
        raise ValueError(f"images of the field {name!r} differ in size, and this needs one size; set data.size or "
                         "data.crop")
    height, width, channels = sides
    return height, width, channels


def square(spec: Spec, name: str = "image") -> tuple[int, int]:
    """(side, channels) of an image field whose images are square.

    Raises:
      ValueError: they are not.
    """
    height, width, channels = image_shape(spec, name)
    if height != width:
        raise ValueError(f"the field {name!r} is {width}x{height}, and this needs square images; set data.size, to "
                         "which their central squares are resized, or data.crop, for random crops")
    return height, channels


def to_json(spec: Spec) -> dict[str, Any]:
    """A Spec as plain JSON; `from_json` gives it back."""
    return {name: {"shape": list(field.shape), "dtype": field.dtype, "names": list(field.names)}
            for name, field in spec.items()}


def from_json(content: Mapping[str, Any]) -> Spec:
    """The Spec that `to_json` wrote.

    Raises:
      KeyError, TypeError: it is not one.
    """
    return Spec({name: Field(tuple(field["shape"]), field["dtype"], tuple(field["names"]))
                 for name, field in content.items()})
