"""Cartoon faces by a residual VAE with a Gaussian likelihood.

Makes: 32x32 faces from the built-in dataset. Expected: recognizable, varied faces, a little soft.
Hardware and time: two CPU cores, 15 minutes.
Run: imggen train --config avatars_vae
"""


def get_config() -> dict:
    return {
        "data": {"name": "avatars/32x32", "test": "test"},
        "game": {
            "name": "vae",
            "network": {"name": "vae", "widths": (32, 64), "blocks": (1, 1), "hidden": 512, "dense_blocks": 3},
            "mixtures": 0,
            "beta": 3.0,  # a prior without gaps, so that random faces and edited ones look as well as encoded ones
            "warmup": 50_000,
        },
        "players": {"vae": {"optimizer": "adamw", "learning_rate": 2e-3, "b2": 0.99, "weight_decay": 1e-4,
                            "warmup": 20_000, "clip": 10_000.0}},
        "train": {"images": 300_000, "batch": 128},
        "ema": {"halflife": 20_000},
        "log": {"every": 10_000, "show": 50_000, "save": 50_000},
        "score": {"every": 100_000},
    }
