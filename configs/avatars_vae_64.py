"""Cartoon faces of 64x64 by a residual VAE, and the latents in which avatars_text draws.

Makes: 64x64 faces from the built-in dataset. Expected: recognizable faces, a little soft, with gray eyes.
Hardware and time: one CPU core, 63 minutes.
Run: imggen train --config avatars_vae_64
"""


def get_config() -> dict:
    return {
        "data": {"name": "avatars/64x64", "test": "test"},
        "game": {
            "name": "vae",
            "network": {"name": "vae", "widths": (32, 64, 96, 96), "blocks": (1, 2, 2, 1), "hidden": 384,
                        "dense_blocks": 1},
            "latent": 96,
            "mixtures": 0,
            "warmup": 20_000,
        },
        "players": {"vae": {"optimizer": "adamw", "learning_rate": 2e-3, "b2": 0.99, "weight_decay": 1e-4,
                            "warmup": 10_000, "clip": 10_000.0}},
        "train": {"images": 190_000},
        "log": {"every": 10_000, "evaluate": 50_000},
    }
