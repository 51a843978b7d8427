"""Handwritten digits by a residual VAE with a Bernoulli likelihood, binarised anew each time they are seen.

Makes: 28x28 digits. Expected: test ELBO of -91 nats per image.
Hardware and time: two CPU cores, 10 minutes.
Run: python -m imggen_jax.main --config configs/mnist_vae.py
"""
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({
        "seed": 0,
        "data": {"name": "mnist", "folder": "", "split": "train", "test": "test", "dir": "", "size": 0,
                 "label": "", "flip": False, "memory": "auto"},
        "init": {"workdir": "", "freeze": ()},
        "game": {
            "name": "vae",
            "latent": 32,
            "network": {"name": "vae", "widths": (16, 32), "blocks": (0, 1), "hidden": 512, "dense_blocks": 1},
            "likelihood": "bernoulli",
            "mixtures": 0,
            "beta": 1.0,
            "free_bits": 0.0,
            "warmup": 60_000,
            "importance_samples": 1,
        },
        "players": {
            "vae": {"optimizer": "adamw", "learning_rate": 2e-3, "b2": 0.999, "weight_decay": 1e-4,
                    "warmup": 60_000, "decay": "cosine", "final": 0.01, "clip": 200.0},
        },
        "train": {"images": 900_000, "batch": 128, "accumulate": 1, "dtype": "float32"},
        "ema": {"halflife": 60_000, "rampup": 0.05},
        "devices": {"engine": "jit", "count": 0, "steps_per_call": 16},
        "log": {"every": 20_000, "evaluate": 200_000, "show": 200_000, "save": 200_000, "keep": 3, "keep_every": 0},
        "score": {"every": 300_000, "num": 2_000, "space": "classifier", "share": 0.05},
    })
