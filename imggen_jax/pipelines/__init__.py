"""Text-to-image models that others published, as models of this package: Stable Diffusion 1.5, 2.1 and XL, FLUX.2."""
from imggen_jax.pipelines.adapted import is_pipeline, load
from imggen_jax.pipelines.adapting import with_adapter, with_lora, with_word
from imggen_jax.pipelines.flux2 import REFERENCES
from imggen_jax.pipelines.opening import recipe_of, resizable, resized, scheduled, with_decoder

__all__ = ["REFERENCES", "is_pipeline", "load", "recipe_of", "resizable", "resized", "scheduled", "with_adapter",
           "with_decoder", "with_lora", "with_word"]
