"""Cartoon faces by a GAN whose generator starts as the decoder of a VAE, and learns sharpness from a discriminator.

Makes: 32x32 faces from the built-in dataset. Expected: sharp, varied faces that edit and project as well as a VAE's.
Hardware and time: two CPU cores, 15 minutes, after 20 minutes of configs/avatars_vae.py, which has to be run first.
Run: python -m imggen_jax.main --config configs/avatars_vae_gan.py
"""
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    adam = {"optimizer": "adam", "b1": 0.0, "b2": 0.99, "warmup": 0, "decay": "cosine", "final": 0.05, "clip": 0.0}
    return ConfigDict({
        "seed": 0,
        "data": {"name": "avatars/32x32", "folder": "", "split": "train", "test": "test", "dir": "", "size": 0,
                 "label": "", "flip": False, "memory": "auto"},
        "init": {"workdir": "runs/avatars_vae", "freeze": ()},
        "game": {
            "name": "gan",
            "latent": 64,
            "mapping": 0,
            # That of configs/avatars_vae.py, whose decoder it starts from.
            "generator": {"name": "vae", "widths": (32, 64), "blocks": (1, 1), "hidden": 512, "dense_blocks": 3},
            "discriminator": {"name": "dcgan", "width": 48},
            "loss": "relativistic",
            "r1": 1.0,  # a smaller gamma gives grain
            "r2": 1.0,
            "burn_in": 0,
            "penalty_final": 1.0,
            "gradient_penalty": 0.0,
            "critic_moves": 1,
            "augment": (),
        },
        # The generator is trained already: it moves more slowly than its judge, which has everything to learn.
        "players": {"generator": dict(adam, learning_rate=2e-4), "discriminator": dict(adam, learning_rate=5e-4)},
        "train": {"images": 128_000, "batch": 64, "accumulate": 1, "dtype": "float32"},
        "ema": {"halflife": 10_000, "rampup": 0.05},
        "devices": {"engine": "jit", "count": 0, "steps_per_call": 8},
        "log": {"every": 5_000, "evaluate": 50_000, "show": 25_000, "save": 25_000, "keep": 3, "keep_every": 0},
        "score": {"every": 50_000, "num": 2_000, "space": "classifier", "share": 0.05},
    })
