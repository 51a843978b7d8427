"""Edit with any trained generator: each verb is a function on a loaded model, latents in and images out.

    from imggen_jax import editing
    model = imggen_jax.load("runs/avatars_gan")
    face = editing.seeds(model, [7])                                   # or editing.project(model, images).latents
    many = editing.vary(model, face, 64, strength=0.4)
    images = editing.show(model, many)                                 # uint8 [64,32,32,3]

`space` is the space of latents, `operations` move in it, `projection` finds images in it, `genes` are named directions
and `targets` guide latents along them; `verbs` are the commands, which write files, and `flags` their flags. Nothing
here knows what kind of game has trained the model.
"""
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imggen_jax.editing.genes import Genes, edit
    from imggen_jax.editing.operations import breed, interpolate, path_length, steps, vary
    from imggen_jax.editing.projection import Projection, project
    from imggen_jax.editing.space import distance, fresh, seeds, show, take

_HOME = {
    "space": ("distance", "fresh", "seeds", "show", "take"),
    "operations": ("breed", "interpolate", "path_length", "steps", "vary"),
    "projection": ("Projection", "project"),
    "genes": ("Genes", "edit"),
}
__all__ = ["Genes", "Projection", "breed", "distance", "edit", "fresh", "interpolate", "path_length", "project",
           "seeds", "show", "steps", "take", "vary"]


def __getattr__(name: str) -> Any:
    # Late, so that the command line can read flags without waiting for JAX.
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"imggen_jax.editing.{module}"), name)
    raise AttributeError(f"module 'imggen_jax.editing' has no attribute {name!r}")
