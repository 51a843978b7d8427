"""imggen_jax: train, score, edit with and serve image generators in JAX."""
