"""Text-to-image models that others published, as models of this package: Stable Diffusion and FLUX.2 klein."""
from imggen_jax.pipelines.adapted import is_pipeline, load
from imggen_jax.pipelines.adapting import with_adapter, with_lora, with_word
from imggen_jax.pipelines.flux2 import REFERENCES
from imggen_jax.pipelines.opening import recipe_of, resizable, resized, scheduled, with_decoder
from imggen_jax.pipelines.previewing import previews
from imggen_jax.pipelines.spreading import spread

__all__ = ["REFERENCES", "is_pipeline", "load", "previews", "recipe_of", "resizable", "resized", "scheduled", "spread",
           "with_adapter", "with_decoder", "with_lora", "with_word"]
