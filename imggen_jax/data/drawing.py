"""Draw avatars of other numbers, sizes and skews than the built-in ones, as a dataset with a name of its own."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from imggen_jax.data import faces, sources
from imggen_jax.errors import DataError

Weights = Mapping[str, Sequence[float] | Mapping[str, float]]


def draw_avatars(config: str, *, size: int = 32, train: int = 20_000, test: int = 2_000,
                 weights: Weights | None = None, dir: str = "") -> str:
    """Draw cartoon faces as the dataset "avatars/CONFIG", once; the same call again finds them.

    Args:
      config: a name other than those of the built-in ones, such as "skewed".
      size: side of the pictures in pixels: 16, 32, or 64 or more.
      train, test: the number of faces of each split. Face i has the same number in every dataset, and so the same
        factors where they are not weighted.
      weights: factor -> a weight >= 0 for each of its values, in their order, or {value: weight}, where other values
        have none; a factor that is left out is drawn evenly. `class_labels(name="avatars/32x32")` lists all values.
      dir: TFDS data_dir to write to; "" for TFDS's own ($TFDS_DATA_DIR, or ~/tensorflow_datasets).

    Returns:
      The name, for `open_dataset` and config.data.name.

    Raises:
      DataError: a name or another argument that cannot be used, other faces under that name in `dir`, or a folder that
        cannot be written.
    """
    name = f"{sources.AVATARS}/{config}"
    wanted, root = sources.parse_name(name), sources.data_dir(dir)
    if wanted.config is None or wanted.version or config in sources.DRAWN:
        raise DataError(f"{config!r} cannot name avatars of your own; choose another name, such as 'skewed'")
    if min(train, test) < 1:
        raise DataError(f"train is {train} and test is {test}; draw at least 1 face for each")
    listed = {factor: _listed(factor, each) for factor, each in sorted((weights or {}).items())}
    try:
        faces.check(size, listed)
    except ValueError as error:
        raise DataError(f"{name} cannot be drawn: {error}") from error
    from imggen_jax.data import avatars  # here and not above: it needs tensorflow_datasets

    skew = f", weights {json.dumps(listed)}" if listed else ""
    kind = avatars.AvatarsConfig(name=config, size=size, train=train, test=test, weights=listed or None,
                                 description=f"{train} and {test} faces of {size} by {size} pixels{skew}.")
    folder = sources.find_prepared(wanted, root)
    if folder is None:
        folder = sources.write_avatars(avatars.own_builder(kind, str(root)), wanted, root)
    if sources.config_description(folder) != kind.description:
        raise DataError(f"{folder} already holds {name} of another kind; choose another name or another folder")
    return name


def _listed(factor: str, weights: Sequence[float] | Mapping[str, float]) -> list[float]:
    """A factor's weights in the order of its values."""
    if isinstance(weights, Mapping) and factor in faces.FACTORS:
        values = faces.FACTORS[factor]
        if unknown := [value for value in weights if value not in values]:
            raise DataError(f"factor {factor!r} has no value {unknown[0]!r}; its values are {', '.join(values)}")
        return [float(weights.get(value, 0.0)) for value in values]
    return [] if isinstance(weights, Mapping) else [float(weight) for weight in weights]
