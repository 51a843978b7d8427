"""Pictures from sentences, with any model that was trained with captions: prompts, and Midjourney's words for them.

    import imggen_jax
    from imggen_jax import prompting

    model = imggen_jax.load("runs/avatars_text")
    images = prompting.sample(model, "a {smiling, sad} person::2 beard::-0.5", num=4)    # uint8 [8,64,64,3]

`wishes` is what can be asked for beside a prompt and what each word means here; `making` makes pictures, `revising`
makes them from pictures, `describing` finds a picture's words; `flags` is the command line. `imggen_jax.prompts` reads
prompts.
"""
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imggen_jax.prompting.describing import Described, classify_file, describe, describe_file
    from imggen_jax.prompting.making import generate, sample
    from imggen_jax.prompting.revising import blend, fill, vary
    from imggen_jax.prompting.wishes import Settled, Wishes, settle

_HOME = {"making": ("generate", "sample"), "wishes": ("Settled", "Wishes", "settle"),
         "revising": ("blend", "fill", "vary"),
         "describing": ("Described", "classify_file", "describe", "describe_file")}
__all__ = ["Described", "Settled", "Wishes", "blend", "classify_file", "describe", "describe_file", "fill", "generate",
           "sample", "settle", "vary"]


def __getattr__(name: str) -> Any:
    # Late, so that the command line can read flags without waiting for JAX.
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"imggen_jax.prompting.{module}"), name)
    raise AttributeError(f"module 'imggen_jax.prompting' has no attribute {name!r}")
