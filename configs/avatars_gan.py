"""Cartoon faces by a DCGAN with the R3GAN losses: relativistic, with R1 and R2.

Makes: 32x32 faces from the built-in dataset. Expected: sharp, varied faces.
Hardware and time: two CPU cores, 25 minutes.
Run: imggen train --config avatars_gan
"""


def get_config() -> dict:
    adam = {"learning_rate": 5e-4, "b1": 0.0, "b2": 0.99, "final": 0.2}
    return {
        "data": {"name": "avatars/32x32", "test": "test"},
        "game": {
            "name": "gan",
            "mapping": 4,
            "generator": {"name": "dcgan", "width": 48, "norm": "batch"},
            "discriminator": {"name": "dcgan", "width": 48},
            "r1": 0.5,
            "r2": 0.5,
            "burn_in": 128_000,
            "penalty_final": 0.1,
        },
        "players": {"generator": adam, "discriminator": adam},
        "train": {"images": 256_000},
        "score": {"every": 100_000},
    }
