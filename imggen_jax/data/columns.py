"""Which features of a prepared dataset become which fields of an example."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from imggen_jax.errors import DataError

CAPTIONS = ("text", "caption")  # features that hold captions, the first that is there
IMAGE = "image"


class Column(NamedTuple):
    """One feature that is read."""

    feature: str                                        # its name in the dataset
    kind: str                                           # "image", "label" or "text"
    shape: tuple[int | None, int | None] = (None, None)  # of a picture as declared: height and width, None for any
    channels: int = 3                                   # of a picture: 1 or 3
    names: tuple[str, ...] = ()                         # of a label's values


def choose(title: str, features: Mapping[str, Any], *, label: str, text: bool,
           fields: Sequence[str]) -> dict[str, Column]:
    """Field -> the feature that it is read from.

    fields: names of image features and class labels; () for the picture alone, the feature "image" or the only image
            feature there is. label: a class label, read as the field "label"; "" for none. text: whether to read
            captions, as the field "text".

    Raises DataError: no such feature, or not of a kind that can be read.
    """
    chosen = {}
    for field in fields or (IMAGE,):
        if field == IMAGE:
            chosen[field] = _image(title, features, "")
        elif isinstance(features.get(field), _kinds()["image"]):
            chosen[field] = _image(title, features, field)
        elif field in class_labels(features):
            chosen[field] = _label(title, features, field)
        else:
            raise DataError(f"{title} has no picture and no class label {field!r}; its pictures are: "
                            f"{', '.join(_images(features)) or 'none'}; its class labels: "
                            f"{', '.join(class_labels(features)) or 'none'}")
    if label:
        chosen["label"] = _label(title, features, label)
    if label not in ("", "label") and "label" in fields:
        raise DataError(f"data.label is {label!r} and fields name 'label' too, which would be two fields of one name; "
                        f"name {label!r} among the fields instead")
    if text:
        chosen["text"] = _text(title, features)
    return chosen


def class_labels(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """{class label: the names of its values}, in the order of the names."""
    return {key: tuple(feature.names) for key, feature in sorted(features.items())
            if isinstance(feature, _kinds()["label"]) and feature.num_classes}


def _kinds() -> dict[str, type]:
    import tensorflow_datasets as tfds

    return {"image": tfds.features.Image, "label": tfds.features.ClassLabel, "text": tfds.features.Text}


def _image(title: str, features: Mapping[str, Any], name: str) -> Column:
    if not name:
        images = _images(features)
        if IMAGE not in images and len(images) != 1:
            raise DataError(f"{title} has {len(images) or 'no'} image features"
                            + (f" ({', '.join(images)}) and none named 'image'" if images else "")
                            + f"; its features are {', '.join(sorted(features))}")
        name = IMAGE if IMAGE in images else images[0]
    dtype = np.dtype(features[name].np_dtype)
    if dtype != np.uint8:
        raise DataError(f"{title} has pictures of {dtype}; only 8-bit pictures can be read")
    height, width, channels = features[name].shape
    return Column(name, "image", (height, width), 1 if channels == 1 else 3)


def _images(features: Mapping[str, Any]) -> list[str]:
    return sorted(key for key, feature in features.items() if isinstance(feature, _kinds()["image"]))


def _label(title: str, features: Mapping[str, Any], name: str) -> Column:
    labels = class_labels(features)
    if name not in labels:
        kind = "is not a class label" if name in features else "is not there"
        raise DataError(f"label {name!r} of {title} {kind}; class labels are: {', '.join(labels) or 'none'}")
    return Column(name, "label", names=labels[name])


def _text(title: str, features: Mapping[str, Any]) -> Column:
    for name in CAPTIONS:
        if isinstance(features.get(name), _kinds()["text"]):
            return Column(name, "text")
    raise DataError(f"{title} has no captions: no text feature named {' or '.join(CAPTIONS)}; its features are "
                    f"{', '.join(sorted(features))}; set data.text to ''")
