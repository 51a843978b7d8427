"""Three random digits as red, green and blue: 1,000 modes, to see whether a GAN drops any.

Makes: 32x32 stacked digits. Expected: all 1,000 modes, see experiments/stacked_mnist.
Hardware and time: two CPU cores, 30 minutes.
Run: python -m imggen_jax.main --config configs/stacked_mnist_gan.py
"""
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    adam = {"optimizer": "adam", "learning_rate": 5e-4, "b1": 0.0, "b2": 0.99, "warmup": 0, "decay": "cosine",
            "final": 0.2, "clip": 0.0}
    return ConfigDict({
        "seed": 0,
        "data": {"name": "stacked_mnist", "folder": "", "split": "train", "test": "test", "dir": "", "size": 0,
                 "label": "", "flip": False, "memory": "auto"},
        "init": {"workdir": "", "freeze": ()},
        "game": {
            "name": "gan",
            "latent": 64,
            "mapping": 0,
            "generator": {"name": "dcgan", "width": 32, "norm": "batch"},
            "discriminator": {"name": "dcgan", "width": 32},
            "loss": "relativistic",
            "r1": 1.0,
            "r2": 1.0,
            "burn_in": 250_000,
            "penalty_final": 0.1,
            "gradient_penalty": 0.0,
            "critic_moves": 1,
            "augment": (),
        },
        "players": {"generator": dict(adam), "discriminator": dict(adam)},
        "train": {"images": 1_000_000, "batch": 64, "accumulate": 1, "dtype": "float32"},
        "ema": {"halflife": 20_000, "rampup": 0.05},
        "devices": {"engine": "jit", "count": 0, "steps_per_call": 8},
        "log": {"every": 5_000, "evaluate": 500_000, "show": 100_000, "save": 50_000, "keep": 3, "keep_every": 0},
        "score": {"every": 250_000, "num": 2_000, "space": "classifier", "share": 0.05},
    })
