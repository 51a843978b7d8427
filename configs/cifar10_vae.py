"""CIFAR-10 by a residual VAE with a discretized logistic mixture: a likelihood of the 8-bit values themselves.

Makes: 32x32 photographs. Expected: blurred, as those of a VAE are; test/bits_per_dim has not been measured yet.
Hardware and time: two CPU cores, two hours by estimate (80 images/s on one core of an AMD EPYC).
Run: imggen train --config cifar10_vae
Data: cifar10, prepared once: imggen prepare --name cifar10
"""


def get_config() -> dict:
    return {
        "data": {"name": "cifar10", "test": "test", "flip": True},
        "game": {
            "name": "vae",
            "latent": 128,
            "network": {"name": "vae", "widths": (64, 128), "blocks": (2, 2), "hidden": 512, "dense_blocks": 2},
            "likelihood": "logistic_mixture",
            "warmup": 50_000,
        },
        "players": {"vae": {"optimizer": "adamw", "learning_rate": 1e-3, "b2": 0.99, "weight_decay": 1e-4,
                            "warmup": 20_000, "clip": 1_000.0}},
        "train": {"images": 1_000_000},
        "ema": {"halflife": 20_000},
        "log": {"every": 10_000, "show": 100_000, "save": 50_000},
        "score": {"every": 200_000, "num": 5_000},
    }
