"""A text-to-image model with adapters or a size of its own, as a small folder that names what it is made of.

    adapted.json    the model that it is made from, the files below and their strengths, the size of pictures, the place
                    of a small decoder
    *.safetensors   copies of the adapters
"""
from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imggen_jax.errors import RunError, WeightsError
from imggen_jax.model import Model
from imggen_jax.pipelines import adapting, opening
from imggen_jax.pipelines.spreading import Devices
from imggen_jax.storage.files import given_path, write_atomic
from imggen_jax.weights import tensors

FACTS = "adapted.json"
FORMAT = 1


def is_pipeline(path: Path) -> bool:
    """Whether a path is a text-to-image model of others: a folder or checkpoint of theirs, or one of `write`."""
    return opening.is_pipeline(path) or (path / FACTS).is_file()


def load(path: Path, name: str | None = None, devices: Devices | None = None) -> Model:
    """`opening.load`, or the model that a folder of `write` stands for. Raises WeightsError, DataError or RunError."""
    if not (path / FACTS).is_file():
        return opening.load(path, name, devices)
    facts = tensors.read_json(path / FACTS)
    try:
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}; this version reads {FORMAT}")
        base, size, options = Path(path / facts["base"]), facts["size"], dict(facts["options"])
        decoder = facts.get("decoder")
        loras = [(path / Path(one["file"]).name, float(one["strength"])) for one in facts["loras"]]
        words = [(path / Path(one["file"]).name, str(one["word"])) for one in facts["words"]]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path / FACTS} is damaged, or of another version ({error}); make it again") from error
    if not is_pipeline(base):
        raise RunError(f"{path} is made from the model {base}, which is not there; put it back")
    model = load(base, devices=devices)
    for file, strength in loras:
        model, _ = adapting.with_lora(model, file, strength)
    for file, word in words:
        model, _, _ = adapting.with_word(model, file, word)
    if size is not None:
        model = opening.resized(model, size[1], size[0])
    if decoder is not None:
        model = opening.with_decoder(model, path / decoder)
    return opening.with_defaults(model, options)._replace(name=name or model.name)


def write(
    model: str | os.PathLike[str], out: str | os.PathLike[str], *, loras: Sequence[tuple[str, float]] = (),
    words: Sequence[tuple[str, str | None]] = (), size: tuple[int, int] | None = None,
    options: Mapping[str, float] = {}, decoder: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Write a model with adapters as a folder, which `load` takes; its weights are not copied.

    Args:
      model: a text-to-image model of others; it must stay where it is.
      out: folder; made, and must be empty or new.
      loras: safetensors files and their strengths.
      words: safetensors files of textual inversion and how prompts name them; None: as the file does.
      size: width and height of the pictures; None: the model's.
      options: defaults of the generator's options, such as steps and guidance.
      decoder: folder of a small decoder (`opening.with_decoder`); it must stay where it is.

    Returns:
      Lines that say what matched and what did not.

    Raises:
      WeightsError: a file that cannot be read, or of which nothing matches the model.
      RunError: no such model, or a folder that cannot be written.
    """
    base, out = given_path(model, "the model"), given_path(out, "the adapted model")
    if not is_pipeline(base):
        raise RunError(f"{base} is no text-to-image model of others; name a folder in diffusers' layout")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} is not empty; choose another --out")
    loaded, said = load(base), []
    files = [Path(file) for file, _ in (*loras, *words)]
    if twice := [file.name for number, file in enumerate(files) if file.name in [one.name for one in files[:number]]]:
        raise RunError(f"two files are called {twice[0]}; rename one of them")
    named: list[dict[str, Any]] = []
    for file, strength in loras:
        loaded, line = adapting.with_lora(loaded, file, strength)
        said.append(line)
    for file, word in words:
        loaded, line, word = adapting.with_word(loaded, file, word)
        named.append({"file": Path(file).name, "word": word})
        said.append(line)
    if size is not None:
        loaded = opening.resized(loaded, size[1], size[0])
        height, width, _ = (int(side or 0) for side in loaded.spec["image"].shape)
        if (width, height) != size:
            said.append(f"size {size[0]}x{size[1]} is rounded to {width}x{height}, as the autoencoder needs")
        size = width, height
    if decoder is not None:
        loaded = opening.with_decoder(loaded, decoder)
        said.append(f"pictures are decoded by {Path(decoder).name}")
    options = opening.with_defaults(loaded, options).check_options(options)
    facts = {"format": FORMAT, "options": options, "base": os.path.abspath(base), "words": named, "size": size,
             "decoder": None if decoder is None else os.path.abspath(decoder),
             "loras": [{"file": Path(file).name, "strength": strength} for file, strength in loras]}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(file, out / file.name)
        write_atomic(out / FACTS, json.dumps(facts, indent=2) + "\n")
    except OSError as error:
        raise RunError(f"cannot write to {out} ({error.strerror or error}); choose another --out") from error
    return said
