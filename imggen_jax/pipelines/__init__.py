"""Text-to-image models that others published, as models of this package: Stable Diffusion 1.5, 2.1 and XL."""
from imggen_jax.pipelines.opening import is_folder, load, resized

__all__ = ["is_folder", "load", "resized"]
