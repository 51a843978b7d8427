"""imggen_jax: train, score, edit with and serve image generators in JAX.

    import imggen_jax
    model = imggen_jax.load("runs/avatars_vae")
    images = model.sample(num=16, seed=0)        # uint8 [16,32,32,3]
"""
import importlib
from typing import TYPE_CHECKING, Any

from imggen_jax import threads

if TYPE_CHECKING:
    from imggen_jax.api import build, compare, describe, evaluate, export, forget, generate, load, train
    from imggen_jax.config import read as read_config
    from imggen_jax.data import ingest, prepare
    from imggen_jax.translators import complete, restore, sketch, translate, upscale

__version__ = "0.1.0"
__all__ = ["build", "compare", "complete", "describe", "evaluate", "export", "forget", "generate", "ingest", "load",
           "prepare", "read_config", "restore", "sketch", "train", "translate", "upscale"]

_HOME = {
    "build": "imggen_jax.api",
    "compare": "imggen_jax.api",
    "complete": "imggen_jax.translators",
    "describe": "imggen_jax.api",
    "evaluate": "imggen_jax.api",
    "export": "imggen_jax.api",
    "forget": "imggen_jax.api",
    "generate": "imggen_jax.api",
    "ingest": "imggen_jax.data",
    "load": "imggen_jax.api",
    "prepare": "imggen_jax.data",
    "restore": "imggen_jax.translators",
    "sketch": "imggen_jax.translators",
    "train": "imggen_jax.api",
    "translate": "imggen_jax.translators",
    "upscale": "imggen_jax.translators",
}

threads.provide()  # before JAX starts


def __getattr__(name: str) -> Any:
    # Late, so that the command line can say its help or an error without waiting for JAX.
    if name == "read_config":
        return importlib.import_module("imggen_jax.config").read
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'imggen_jax' has no attribute {name!r}")
