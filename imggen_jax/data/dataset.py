"""What a dataset is, however it is stored or made."""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from imggen_jax.errors import DataError
from imggen_jax.spec import Field, Spec, make_spec

Batch = dict[str, np.ndarray]  # field -> values of the examples of a batch, [B, *shape]


class Dataset(NamedTuple):
    """Numbered examples, in memory, on disk, or made from those of other datasets.

    `read` takes indices int [B] in [0, length), in any order and with repetitions, and returns exactly the fields of
    `spec`, each a NumPy array [B, *shape]; many threads may call it at once. It raises DataError, naming the example,
    for one that cannot be read. A dataset with `random` takes a second argument, uint64 [B] of random bits, one for
    each example, which choose where its pictures are cropped; without it they are cropped at the center. Pictures of
    a field of any size (None in its shape) are read together only where they have one size.
    """

    spec: Spec                       # the fields of an example
    length: int                      # > 0
    read: Callable[..., Batch]       # see above
    fingerprints: Mapping[str, str]  # field -> sha256 hex over what decides its values and their order
    threads: int = 1                 # how many read faster than one
    title: str = "the dataset"       # what to call it in a message
    random: bool = False             # whether `read` takes random bits

    @property
    def fingerprint(self) -> str:
        """sha256 hex over what decides the values of the fields and the order of the examples, and nothing else."""
        return sha256(sorted(self.fingerprints.items()))


def is_image(field: Field) -> bool:
    """Whether a field holds pictures, uint8 [H,W,C]; masks are pictures too."""
    return field.dtype == "uint8" and len(field.shape) == 3


def fixed_size(field: Field) -> tuple[int, int] | None:
    """Height and width of the pictures of a field; None where they differ."""
    height, width = field.shape[:2]
    return None if height is None or width is None else (height, width)


def sha256(*parts: object) -> str:
    """sha256 hex over the `repr` of the parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def from_arrays(*, title: str = "the arrays", names: Mapping[str, tuple[str, ...]] | None = None,
                **fields: np.ndarray) -> Dataset:
    """A dataset of arrays in memory, one a field, each [N, *shape]; they must not change afterwards.

    Integers of one axis are labels, and all integers but those of pictures become int32. names: of the values of each
    label, or the words of a text field; labels without are called "0", "1", ...

    Raises DataError: no field, no example, or arrays of unequal length.
    """
    arrays = {key: _array(value) for key, value in fields.items()}
    lengths = {key: len(value) for key, value in arrays.items()}
    if not lengths or len(set(lengths.values())) > 1 or not min(lengths.values()):
        raise DataError(f"the fields of {title} must have one length, at least 1; got {lengths or 'no field'}")
    spec = {key: Field(value.shape[1:], str(value.dtype), tuple((names or {}).get(key, ())) or _numbers(value))
            for key, value in arrays.items()}
    marks = {key: hashlib.sha256(f"{value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes())
             .hexdigest() for key, value in arrays.items()}

    def read(indices: np.ndarray) -> Batch:
        return {key: value[indices] for key, value in arrays.items()}

    return Dataset(make_spec(**spec), min(lengths.values()), read, marks, title=title)


def _array(value: np.ndarray) -> np.ndarray:
    array = np.asarray(value)
    number = array.dtype.kind in "iu" and (array.dtype != np.uint8 or array.ndim == 1)
    array = array.astype(np.int32) if number else array.view()
    array.flags.writeable = False
    return array


def _numbers(value: np.ndarray) -> tuple[str, ...]:
    is_label = value.ndim == 1 and value.dtype == np.int32 and len(value)
    return tuple(str(number) for number in range(int(value.max()) + 1)) if is_label else ()
