"""Class-conditional CIFAR-10 by R3GAN (arXiv 2501.05441) at the paper's width: relativistic, with R1 and R2.

Makes: 32x32 photographs of ten classes. Expected: the paper reports an FID of 1.96 after much longer training, with
adaptive augmentation and scheduled penalties; this config has not been run to its end, see experiments/first_runs for
its small sister.
Hardware and time: one modern GPU or TPU chip, many hours.
Run: python -m imggen_jax.main --config configs/cifar10_gan.py
Data: cifar10, prepared once: python -m imggen_jax.main prepare --name cifar10
"""
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    # Width, blocks, cardinality, latent, batch, learning rates and gamma of the paper's CIFAR-10 preset.
    network = {"name": "r3gan", "widths": (768,) * 4, "blocks": (2,) * 4, "cardinality": (96,) * 4, "expansion": 2}
    adam = {"optimizer": "adam", "learning_rate": 2e-4, "b1": 0.0, "b2": 0.99, "warmup": 0, "decay": "cosine",
            "final": 0.25, "clip": 0.0}
    return ConfigDict({
        "seed": 0,
        "data": {"name": "cifar10", "folder": "", "split": "train", "test": "test", "dir": "", "size": 0,
                 "label": "label", "flip": True, "memory": "auto"},
        "init": {"workdir": "", "freeze": ()},
        "game": {
            "name": "gan",
            "latent": 64,
            "mapping": 0,
            "generator": dict(network),
            "discriminator": dict(network),
            "loss": "relativistic",
            "r1": 0.05,
            "r2": 0.05,
            "burn_in": 0,
            "penalty_final": 1.0,
            "gradient_penalty": 0.0,
            "critic_moves": 1,
            "augment": ("colour", "translation", "cutout"),
        },
        "players": {"generator": dict(adam), "discriminator": dict(adam)},
        "train": {"images": 20_000_000, "batch": 512, "accumulate": 1, "dtype": "bfloat16"},
        "ema": {"halflife": 500_000, "rampup": 0.05},
        "devices": {"engine": "jit", "count": 0, "steps_per_call": 8},
        "log": {"every": 50_000, "evaluate": 1_000_000, "show": 500_000, "save": 500_000, "keep": 3,
                "keep_every": 5_000_000},
        "score": {"every": 1_000_000, "num": 10_000, "space": "classifier", "share": 0.05},
    })
