"""Pictures from one picture: no dataset, no network, no weights. All verbs take and give NumPy pictures.

    from imggen_jax import patches
    larger = patches.texture(stone, (1024, 1024), tileable=True)     # uint8 [H,W,C] -> uint8 [1024,1024,C]
    without = patches.remove(photo, mask)
"""
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:                    # what __getattr__ finds, for editors and type checkers
    from imggen_jax.patches.errors import PatchError
    from imggen_jax.patches.measures import diversity, patch_distance, seam
    from imggen_jax.patches.pyramid import resize
    from imggen_jax.patches.retouching import edit, mix, outpaint, panorama, remove
    from imggen_jax.patches.scenes import retarget, variations
    from imggen_jax.patches.styles import recolor, stylize
    from imggen_jax.patches.textures import texture, tile
    from imggen_jax.patches.wasserstein import refine

_HOME = {
    "PatchError": "errors",
    "diversity": "measures", "patch_distance": "measures", "seam": "measures",
    "edit": "retouching", "mix": "retouching", "outpaint": "retouching", "panorama": "retouching",
    "remove": "retouching",
    "resize": "pyramid",
    "recolor": "styles", "stylize": "styles",
    "retarget": "scenes", "variations": "scenes",
    "texture": "textures", "tile": "textures",
    "refine": "wasserstein",
}
__all__ = ["PatchError", "diversity", "edit", "mix", "outpaint", "panorama", "patch_distance", "recolor", "refine",
           "remove", "resize", "retarget", "seam", "stylize", "texture", "tile", "variations"]


def __getattr__(name: str):
    # Late, so that the command line can say its help or an error without waiting for SciPy.
    if name in _HOME:
        return getattr(importlib.import_module(f"imggen_jax.patches.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
