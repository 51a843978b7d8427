"""Weight files by name. Nothing is downloaded: where a file is missing, one line says which and where to put it."""
from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from imggen_jax.errors import WeightsError
from imggen_jax.game import Pretrained
from imggen_jax.storage.cache import WEIGHTS_VARIABLE, cache_folder
from imggen_jax.weights import dinov2, inception
from imggen_jax.weights.checks import sha256


class Known(NamedTuple):
    """A published weight file."""

    file: str         # its name
    published: str    # where, and as what
    sha256: str = ""  # the first digits, where the file's name promises them
    size: tuple[int, int, int] | None = None  # width, layers and heads of a transformer


KNOWN = {
    # torch-fidelity's file has another name and the same bytes.
    "inception": Known("pt_inception-2015-12-05-6726825d.pth", "of pytorch-fid's release fid_weights, 91 MB",
                       sha256="6726825d"),
    "dinov2-vitb14": Known("dinov2-base.safetensors", "the model.safetensors of facebook/dinov2-base",
                           size=(768, 12, 12)),
    "dinov2-vitl14": Known("dinov2-large.safetensors", "the model.safetensors of facebook/dinov2-large",
                           size=(1024, 24, 16)),
}


def find(name_or_path: str | os.PathLike) -> Path:
    """Return the path of a weight file, which exists.

    Args:
      name_or_path: a name of KNOWN, whose file is looked for in `cache_folder("weights")`; or a path.

    Raises:
      WeightsError: there is no such file. For a known name it says where to get the file and where to put it.
    """
    known = KNOWN.get(str(name_or_path))
    if known is None:
        path = Path(os.path.expanduser(name_or_path))
        if not path.is_file():
            raise WeightsError(f"there is no weight file {path}; give the path of one, or a name: {', '.join(KNOWN)}")
        return path
    path = cache_folder("weights") / known.file
    if not path.is_file():
        raise WeightsError(f"{name_or_path} needs the weight file {known.file} ({known.published}); put it into "
                           f"{path.parent}, or set {WEIGHTS_VARIABLE} to its folder")
    return path


def load(name_or_path: str | os.PathLike) -> Pretrained:
    """Read a weight file by the reader that its name chooses.

    Args:
      name_or_path: as for `find`; a path must end in the name of a file of KNOWN.

    Returns:
      Pretrained; its `apply` is described where the reader is: weights/inception.py, weights/dinov2.py.

    Raises:
      WeightsError: no such file, one that no reader knows, is damaged, or holds another network.
    """
    path = find(name_or_path)
    name = name_or_path if name_or_path in KNOWN else next(
        (name for name, known in KNOWN.items() if known.file == path.name), None)
    if name is None:
        raise WeightsError(f"no reader for the weight file {path}: its name must be one of "
                           f"{', '.join(known.file for known in KNOWN.values())}")
    known = KNOWN[str(name)]
    if known.sha256 and not (digest := sha256(path)).startswith(known.sha256):
        raise WeightsError(f"{path} is not the file that its name promises: its sha256 is {digest[:8]}..., not "
                           f"{known.sha256}...; download it again")
    if known.size:
        width, layers, heads = known.size
        return dinov2.load(path, width=width, layers=layers, heads=heads)
    return inception.load(path)
