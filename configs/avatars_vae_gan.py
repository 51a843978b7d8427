"""Cartoon faces by a GAN whose generator starts as the decoder of a VAE, and learns sharpness from a discriminator.

Makes: 32x32 faces from the built-in dataset. Expected: sharp, varied faces that edit and project as well as a VAE's.
Hardware and time: two CPU cores, 15 minutes, after 20 minutes of configs/avatars_vae.py, which has to be run first.
Run: imggen train --config avatars_vae_gan
"""


def get_config() -> dict:
    adam = {"b1": 0.0, "b2": 0.99, "final": 0.05}
    return {
        "data": {"name": "avatars/32x32", "test": "test"},
        "init": {"workdir": "runs/avatars_vae"},
        "game": {
            "name": "gan",
            # That of configs/avatars_vae.py, whose decoder it starts from.
            "generator": {"name": "vae", "widths": (32, 64), "blocks": (1, 1), "hidden": 512, "dense_blocks": 3},
            "discriminator": {"name": "dcgan", "width": 48},
            "r1": 1.0,  # a smaller gamma gives grain
            "r2": 1.0,
        },
        # The generator is trained already: it moves more slowly than its judge, which has everything to learn.
        "players": {"generator": {**adam, "learning_rate": 2e-4}, "discriminator": {**adam, "learning_rate": 5e-4}},
        "train": {"images": 128_000},
        "log": {"evaluate": 50_000},
        "score": {"every": 50_000},
    }
