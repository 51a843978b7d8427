"""CIFAR-10 by a residual VAE with a discretised logistic mixture: a likelihood of the 8-bit values themselves.

Makes: 32x32 photographs. Expected: blurred, as those of a VAE are; test/bits_per_dim has not been measured yet.
Hardware and time: two CPU cores, two hours by estimate (80 images/s on one core of an AMD EPYC).
Run: python -m imggen_jax.main --config configs/cifar10_vae.py
Data: cifar10, prepared once: python -m imggen_jax.main prepare --name cifar10
"""
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({
        "seed": 0,
        "data": {"name": "cifar10", "folder": "", "split": "train", "test": "test", "dir": "", "size": 0,
                 "label": "", "flip": True, "memory": "auto"},
        "init": {"workdir": "", "freeze": ()},
        "game": {
            "name": "vae",
            "latent": 128,
            "network": {"name": "vae", "widths": (64, 128), "blocks": (2, 2), "hidden": 512, "dense_blocks": 2},
            "likelihood": "logistic_mixture",
            "mixtures": 5,
            "beta": 1.0,
            "free_bits": 0.0,
            "warmup": 50_000,
            "importance_samples": 1,
        },
        "players": {
            "vae": {"optimizer": "adamw", "learning_rate": 1e-3, "b2": 0.99, "weight_decay": 1e-4,
                    "warmup": 20_000, "decay": "cosine", "final": 0.01, "clip": 1_000.0},
        },
        "train": {"images": 1_000_000, "batch": 64, "accumulate": 1, "dtype": "float32"},
        "ema": {"halflife": 20_000, "rampup": 0.05},
        "devices": {"engine": "jit", "count": 0, "steps_per_call": 8},
        "log": {"every": 10_000, "evaluate": 100_000, "show": 100_000, "save": 50_000, "keep": 3, "keep_every": 0},
        "score": {"every": 200_000, "num": 5_000, "space": "classifier", "share": 0.05},
    })
