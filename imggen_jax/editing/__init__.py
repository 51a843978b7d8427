"""Edit with any trained generator: each verb is a function on a loaded model, latents in and images out.

    from imggen_jax import editing
    model = imggen_jax.load("runs/avatars_gan")
    face = editing.seeds(model, [7])                                   # or editing.project(model, images).latents
    many = editing.vary(model, face, 64, strength=0.4)
    images = editing.show(model, many)                                 # uint8 [64,32,32,3]
    genes, notes = editing.learn_genes("runs/avatars_gan", model)      # then editing.edit(model, face, {...}, genes)

`space` is the space of latents, `operations` move in it, `projection` finds images in it, `genes` are named directions
and `targets` guide latents along them; `verbs` are the commands, which write files, and `flags` their flags. Nothing
here knows what kind of game has trained the model.
"""
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imggen_jax.editing.genes import Genes, edit
    from imggen_jax.editing.genes import load as load_genes
    from imggen_jax.editing.genes import measure as measure_genes
    from imggen_jax.editing.genes import save as save_genes
    from imggen_jax.editing.learning import held_out, labeller_of
    from imggen_jax.editing.learning import learn as learn_genes
    from imggen_jax.editing.operations import breed, interpolate, path_length, steps, vary
    from imggen_jax.editing.projection import Projection, project
    from imggen_jax.editing.sources import open_picture
    from imggen_jax.editing.space import distance, fresh, join, seeds, show, take

_HOME = {
    "space": ("distance", "fresh", "join", "seeds", "show", "take"),
    "operations": ("breed", "interpolate", "path_length", "steps", "vary"),
    "projection": ("Projection", "project"),
    "sources": ("open_picture",),
    "genes": ("Genes", "edit", "load_genes", "measure_genes", "save_genes"),
    "learning": ("held_out", "labeller_of", "learn_genes"),
}
__all__ = ["Genes", "Projection", "breed", "distance", "edit", "fresh", "held_out", "interpolate", "join",
           "labeller_of", "learn_genes", "load_genes", "measure_genes", "open_picture", "path_length", "project",
           "save_genes", "seeds", "show", "steps", "take", "vary"]


def __getattr__(name: str) -> Any:
    # Late, so that the command line can read flags without waiting for JAX.
    for module, names in _HOME.items():
        if name in names:
            # Within its module, learn_genes is `learn`.
            return getattr(importlib.import_module(f"imggen_jax.editing.{module}"), name.removesuffix("_genes"))
    raise AttributeError(f"module 'imggen_jax.editing' has no attribute {name!r}")
