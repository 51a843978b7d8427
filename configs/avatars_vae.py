"""Cartoon faces by a residual VAE with a Gaussian likelihood.

Makes: 32x32 faces from the built-in dataset. Expected: recognisable, varied faces, a little soft.
Hardware and time: two CPU cores, 15 minutes.
Run: python -m imggen_jax.main --config configs/avatars_vae.py
"""
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({
        "seed": 0,
        "data": {"name": "avatars/32x32", "folder": "", "split": "train", "test": "test", "dir": "", "size": 0,
                 "label": "", "flip": False, "memory": "auto"},
        "init": {"workdir": "", "freeze": ()},
        "game": {
            "name": "vae",
            "latent": 64,
            "network": {"name": "vae", "widths": (32, 64), "blocks": (1, 1), "hidden": 512, "dense_blocks": 3},
            "likelihood": "gaussian",
            "mixtures": 0,
            "beta": 3.0,  # a prior without gaps, so that random faces and edited ones look as well as encoded ones
            "free_bits": 0.0,
            "warmup": 50_000,
            "importance_samples": 1,
        },
        "players": {
            "vae": {"optimizer": "adamw", "learning_rate": 2e-3, "b2": 0.99, "weight_decay": 1e-4,
                    "warmup": 20_000, "decay": "cosine", "final": 0.01, "clip": 10_000.0},
        },
        "train": {"images": 300_000, "batch": 128, "accumulate": 1, "dtype": "float32"},
        "ema": {"halflife": 20_000, "rampup": 0.05},
        "devices": {"engine": "jit", "count": 0, "steps_per_call": 8},
        "log": {"every": 10_000, "evaluate": 100_000, "show": 50_000, "save": 50_000, "keep": 3, "keep_every": 0},
        "score": {"every": 100_000, "num": 2_000, "space": "classifier", "share": 0.05},
    })
