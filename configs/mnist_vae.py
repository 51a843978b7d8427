"""Handwritten digits by a residual VAE with a Bernoulli likelihood.

Makes: 28x28 digits.  Expected: test ELBO of -93 nats per image or better.
Hardware and time: two CPU cores, 20 minutes.
Run: python -m imggen_jax.main --config configs/mnist_vae.py
"""
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({
        "seed": 0,
        "data": {"name": "mnist", "split": "train", "test": "test", "dir": "", "size": 0, "label": "", "flip": False},
        "game": {
            "name": "vae", "latent": 32,
            "network": {"name": "vae", "widths": (32, 64, 128), "blocks": 1},
            "likelihood": "bernoulli", "mixtures": 0, "beta": 1.0, "free_bits": 0.0, "warmup": 0,
        },
        "players": {
            "vae": {"optimizer": "adam", "learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "warmup": 10_000,
                    "decay": "cosine", "final": 0.05, "clip": 100.0},
        },
        "train": {"images": 3_000_000, "batch": 128, "accumulate": 1, "dtype": "float32"},
        "ema": {"halflife": 50_000, "rampup": 0.05},
        "devices": {"engine": "jit", "count": 0, "steps_per_call": 16},
        "log": {"every": 20_000, "evaluate": 300_000, "show": 300_000, "save": 300_000, "keep": 3, "keep_every": 0},
    })
