"""Make datasets of datasets: parts, unions, pairs, and pictures made of pictures. Each is read like any other."""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from imggen_jax.data import resize as resizing
from imggen_jax.data.batches import permutation
from imggen_jax.data.cropping import mixed
from imggen_jax.data.dataset import Batch, Dataset, fixed_size, is_image, sha256
from imggen_jax.data.decoding import scales
from imggen_jax.errors import DataError
from imggen_jax.spec import Field, make_spec

_SEED = 2017  # of the order of partners in unaligned pairs; a fixed number


def take(dataset: Dataset, chosen: slice | np.ndarray) -> Dataset:
    """Some examples of a dataset, in the order given. chosen: a slice, or indices int [N] in [0, length).

    Raises DataError: no example, or an index outside the dataset.
    """
    rows = np.arange(dataset.length)[chosen] if isinstance(chosen, slice) else np.asarray(chosen)
    right = rows.ndim == 1 and len(rows) and rows.dtype.kind in "iu"
    if not right or rows.min() < 0 or rows.max() >= dataset.length:
        raise DataError(f"nothing is taken of {dataset.title}, or examples outside [0, {dataset.length})")
    rows = rows.astype(np.int64)
    rows.flags.writeable = False
    marks = {field: sha256("take", mark, sha256(rows.tobytes())) for field, mark in dataset.fingerprints.items()}
    return dataset._replace(length=len(rows), read=lambda indices, *bits: dataset.read(rows[indices], *bits),
                            fingerprints=marks)


def concatenate(*datasets: Dataset) -> Dataset:
    """The examples of several datasets, one dataset after the other.

    Raises DataError: their fields differ.
    """
    first, title = datasets[0], " and ".join(each.title for each in datasets)
    for each in datasets[1:]:
        if each.spec != first.spec:
            raise DataError(f"{first.title} and {each.title} cannot be joined: their fields are "
                            f"{_described(first)} and {_described(each)}")
    stops = np.cumsum([each.length for each in datasets])
    random = any(each.random for each in datasets)

    def read(indices: np.ndarray, *bits: np.ndarray) -> Batch:
        indices = np.asarray(indices)
        which = np.searchsorted(stops, indices, side="right")
        order, parts = [], []
        for number in np.unique(which) if len(indices) else [0]:
            rows = np.flatnonzero(which == number)
            each = datasets[number]
            parts.append(each.read(indices[rows] - (stops[number] - each.length),
                                   *(one[rows] for one in bits if each.random)))
            order.append(rows)
        return {field: _in_order(title, [part[field] for part in parts], np.concatenate(order)) for field in first.spec}

    marks = {field: sha256("concatenate", [(each.fingerprints[field], each.length) for each in datasets])
             for field in first.spec}
    return Dataset(first.spec, int(stops[-1]), read, marks, max(each.threads for each in datasets), title, random)


def select(dataset: Dataset, fields: Sequence[str], rename: Mapping[str, str] | None = None) -> Dataset:
    """Some fields of a dataset, under other names where `rename` gives them: {"image": "source"}.

    Raises DataError: no such field, or two of one name.
    """
    names = {field: (rename or {}).get(field, field) for field in fields}
    missing = [field for field in (*fields, *(rename or ())) if field not in dataset.spec]
    if missing or len(set(names.values())) < len(fields) or not fields:
        raise DataError(f"{dataset.title} has no field {missing[0]!r}; it has {', '.join(dataset.spec)}" if missing else
                        f"the fields of {dataset.title} must have different names; got {', '.join(names.values())}")

    def read(indices: np.ndarray, *bits: np.ndarray) -> Batch:
        batch = dataset.read(indices, *bits)
        return {name: batch[field] for field, name in names.items()}

    return dataset._replace(spec=make_spec(**{name: dataset.spec[field] for field, name in names.items()}), read=read,
                            fingerprints={name: dataset.fingerprints[field] for field, name in names.items()})


def zipped(*datasets: Dataset) -> Dataset:
    """Aligned examples: example i has the fields of example i of every dataset, as of a picture and its source.

    Crop the pairs, not the parts: `cropped(zipped(a, b), side)` cuts the same place out of both.

    Raises DataError: datasets of unequal length, a field that two of them have, or pictures that do not match in size.
    """
    title = " with ".join(each.title for each in datasets)
    for each in datasets[1:]:
        if each.length != datasets[0].length:
            raise DataError(f"{datasets[0].title} has {datasets[0].length:,} examples and {each.title} "
                            f"{each.length:,}; aligned pairs need equally many (unaligned ones do not)")
    spec = _united(datasets)
    sizes = {field: fixed_size(each) for field, each in spec.items() if is_image(each)}
    known = {field: size for field, size in sizes.items() if size is not None}
    if known:
        scales(title, known, 0)

    def read(indices: np.ndarray, *bits: np.ndarray) -> Batch:
        batch = {}
        for each in datasets:
            batch |= each.read(indices, *bits) if each.random else each.read(indices)
        return batch

    return Dataset(make_spec(**spec), datasets[0].length, read, _marks(datasets),
                   max(each.threads for each in datasets), title, any(each.random for each in datasets))


def unaligned(one: Dataset, other: Dataset) -> Dataset:
    """Pairs of two datasets that need not have equally many examples, as of two kinds of pictures.

    There are as many pairs as the longer one has examples. The shorter is repeated, and the partners from `other` come
    in another order each time: they are a function of the index alone. Of one dataset with a label "domain":

        domain = open_dataset(..., fields=("domain",)).read(np.arange(dataset.length))["domain"]
        photos, paintings = (take(dataset, np.flatnonzero(domain == value)) for value in (0, 1))
        pairs = unaligned(select(photos, ["image"], {"image": "source"}), select(paintings, ["image"]))

    Raises DataError: a field that both have.
    """
    length = max(one.length, other.length)
    passes = -(-length // other.length)
    partners = np.concatenate([permutation(other.length, _SEED, number) for number in range(passes)])[:length]

    def read(indices: np.ndarray, *bits: np.ndarray) -> Batch:
        return (one.read(np.asarray(indices) % one.length, *(bits if one.random else ()))
                | other.read(partners[indices], *(map(mixed, bits) if other.random else ())))

    marks = {field: sha256("unaligned", mark, [each.length for each in (one, other)], field in one.spec)
             for field, mark in _marks([one, other]).items()}
    return Dataset(make_spec(**_united([one, other])), length, read, marks, max(one.threads, other.threads),
                   f"{one.title} with {other.title}", one.random or other.random)


def side_by_side(dataset: Dataset, fields: Sequence[str] = ("source", "image"), field: str = "image") -> Dataset:
    """Two fields of one: a picture of two side by side becomes the left and the right one.

    fields: what to call the left and the right half. field: the picture, which is no field any more.

    Raises DataError: pictures of an odd width (where the spec does not say, when they are read), or another number of
    names than two.
    """
    if len(fields) != 2 or fields[0] == fields[1] or (set(fields) & set(dataset.spec)) - {field}:
        raise DataError(f"the halves of {dataset.title} need two names that no other field has; got "
                        f"{', '.join(fields)}")
    height, width, channels = _picture(dataset, field).shape

    def halves(batch: Batch) -> Batch:
        images = batch.pop(field)
        _even(dataset.title, images.shape[2])
        left, right = np.split(images, 2, axis=2)
        return batch | {fields[0]: np.ascontiguousarray(left), fields[1]: np.ascontiguousarray(right)}

    if width is not None:
        _even(dataset.title, width)
    half = Field((height, None if width is None else width // 2, channels), "uint8")
    return mapped(dataset, halves, {fields[0]: half, fields[1]: half}, of=(field,), recipe="side by side")


def resized(dataset: Dataset, size: int) -> Dataset:
    """All pictures cropped to their central squares and resized to a side of `size` pixels; see `resize`."""
    images = {field: each for field, each in dataset.spec.items() if is_image(each)}

    def resize(batch: Batch) -> Batch:
        return batch | {field: resizing.resize(batch[field], size) for field in images}

    if size < 1 or not images:
        raise DataError(f"pictures of {dataset.title} cannot be resized to a side of {size} pixels")
    made = mapped(dataset, resize, {field: Field((size, size, each.shape[2]), each.dtype)
                                    for field, each in images.items()}, recipe=f"{size} {resizing.RECIPE}")
    return made._replace(threads=os.cpu_count() or 1)


def stacked(dataset: Dataset, groups: np.ndarray,
            labels: Mapping[str, tuple[Callable[[np.ndarray], np.ndarray], Sequence[str]]], *, recipe: str) -> Dataset:
    """Three one-channel pictures as the red, green and blue of one.

    Args:
      dataset: "image" uint8 [H,W,1] of one size, where pictures are to be made, and "label" where labels are.
      groups: int [N,3], which examples are stacked in picture n.
      labels: field -> (a function of the labels int32 [B,3] of the three to one label [B], the names of its values).
      recipe: names what those functions do, for the fingerprint.
    """
    spec = {field: Field((), "int32", tuple(names)) for field, (_, names) in labels.items()}
    size = fixed_size(_picture(dataset, "image")) if "image" in dataset.spec else None
    if size is not None:
        spec["image"] = Field((*size, 3), "uint8")

    def read(indices: np.ndarray) -> Batch:
        three = groups[indices]
        batch = dataset.read(three.ravel())
        made: Batch = {field: change(batch["label"].reshape(three.shape)).astype(np.int32)
                       for field, (change, _) in labels.items()}
        if size is not None:
            images = batch["image"].reshape(*three.shape, *size)
            made["image"] = np.empty((len(images), *size, 3), np.uint8)
            for channel in range(3):  # five times as fast as moveaxis
                made["image"][..., channel] = images[:, channel]
        return made

    mark = sha256(recipe, np.asarray(groups, np.int64).tobytes())
    marks = {field: sha256(dataset.fingerprints["image" if field == "image" else "label"], field, mark)
             for field in spec}
    return Dataset(make_spec(**spec), len(groups), read, marks, dataset.threads, dataset.title)


def mapped(dataset: Dataset, change: Callable[[Batch], Batch], fields: Mapping[str, Field], *, recipe: str,
           of: Sequence[str] = ()) -> Dataset:
    """A dataset whose batches go through `change`, a pure function of each example.

    Args:
      dataset: pictures of any size are read and changed one by one.
      change: takes a batch, a dict that it may change, and returns one.
      fields: those that are new or different afterwards.
      recipe: names what `change` does, for the fingerprint.
      of: fields that are not there any more.
    """
    spec = {field: each for field, each in dataset.spec.items() if field not in of} | dict(fields)
    single = any(None in each.shape for each in dataset.spec.values())

    def read(indices: np.ndarray, *bits: np.ndarray) -> Batch:
        indices = np.asarray(indices)
        if not single or len(indices) < 2:
            return change(dict(dataset.read(indices, *bits)))
        made = [change(dict(dataset.read(indices[row:row + 1], *(one[row:row + 1] for one in bits))))
                for row in range(len(indices))]
        return {field: _in_order(dataset.title, [each[field] for each in made], np.arange(len(made))) for field in spec}

    base = sha256(recipe, sorted(dataset.fingerprints[field] for field in (of or set(fields) & set(dataset.spec))))
    marks = {field: sha256(base, field) if field in fields else dataset.fingerprints[field] for field in spec}
    return dataset._replace(spec=make_spec(**spec), read=read, fingerprints=marks)


def _in_order(title: str, parts: Sequence[np.ndarray], order: np.ndarray) -> np.ndarray:
    """Parts of a batch, whose rows belong to the places `order`, as one batch."""
    if len({part.shape[1:] for part in parts}) > 1:
        raise DataError(f"pictures of {title} differ in size; read them one by one, or crop or resize them")
    out = np.empty((len(order), *parts[0].shape[1:]), parts[0].dtype)
    out[order] = np.concatenate(parts)
    return out


def _united(datasets: Sequence[Dataset]) -> dict[str, Field]:
    spec: dict[str, Field] = {}
    for each in datasets:
        twice = sorted(set(spec) & set(each.spec))
        if twice:
            raise DataError(f"the field {twice[0]!r} of {each.title} is there already; rename it: "
                            f"select(dataset, [{twice[0]!r}], {{{twice[0]!r}: 'source'}})")
        spec |= each.spec
    return spec


def _marks(datasets: Sequence[Dataset]) -> dict[str, str]:
    return {field: mark for each in datasets for field, mark in each.fingerprints.items()}


def _picture(dataset: Dataset, field: str) -> Field:
    if field not in dataset.spec or not is_image(dataset.spec[field]):
        raise DataError(f"{dataset.title} has no pictures {field!r}; its fields are {', '.join(dataset.spec)}")
    return dataset.spec[field]


def _even(title: str, width: int) -> None:
    if width % 2:
        raise DataError(f"pictures of {title} are {width} pixels wide, which are not two of equal size side by side")


def _described(dataset: Dataset) -> str:
    return ", ".join(f"{field} {each.dtype}{list(each.shape)}" + (f" of {len(each.names)} values" if each.names else "")
                     for field, each in dataset.spec.items())
