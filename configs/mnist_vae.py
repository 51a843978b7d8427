"""Handwritten digits by a residual VAE with a Bernoulli likelihood, binarized again each time they are seen.

Makes: 28x28 digits. Expected: test ELBO of -91 nats per image.
Hardware and time: two CPU cores, 10 minutes.
Run: imggen train --config mnist_vae
"""


def get_config() -> dict:
    return {
        "data": {"name": "mnist", "test": "test"},
        "game": {
            "name": "vae",
            "latent": 32,
            "network": {"name": "vae", "widths": (16, 32), "blocks": (0, 1), "hidden": 512, "dense_blocks": 1},
            "likelihood": "bernoulli",
            "mixtures": 0,
            "warmup": 60_000,
        },
        "players": {"vae": {"optimizer": "adamw", "learning_rate": 2e-3, "weight_decay": 1e-4, "warmup": 60_000,
                            "clip": 200.0}},
        "train": {"images": 900_000, "batch": 128},
        "ema": {"halflife": 60_000},
        "devices": {"steps_per_call": 16},
        "log": {"every": 20_000, "evaluate": 200_000, "show": 200_000, "save": 200_000},
        "score": {"every": 300_000},
    }
