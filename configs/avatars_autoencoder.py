"""An autoencoder of 64x64 cartoon faces with a map of latents, 8x8x8, in which avatars_text draws.

Makes: no new faces; it encodes and decodes. Expected: not known yet, since it was not trained yet.
Hardware and time: two CPU cores, 40 minutes by estimate.
Run: imggen train --config avatars_autoencoder --workdir runs/avatars_autoencoder
"""


def get_config() -> dict:
    adam = {"learning_rate": 1e-3, "b2": 0.99, "warmup": 4_000, "clip": 1.0}
    return {
        "data": {"name": "avatars/64x64", "test": "test", "flip": True},
        "game": {
            "name": "autoencoder",
            "network": {"name": "spatial", "widths": (32, 64, 128), "blocks": (1, 2, 2)},
            "latents": 8,
        },
        "players": {"autoencoder": adam},
        "train": {"images": 200_000, "batch": 32},
        "log": {"evaluate": 50_000},
    }
