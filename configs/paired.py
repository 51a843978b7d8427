"""From a picture to its partner by pix2pix, learned from pairs: moonlit faces by day.

Makes: 64x64 faces by day from the same faces by night. For a folder of pairs, empty config.data.name and source and set
config.data.folder, pairs (side-by-side or aligned) and size. Expected: nearly the true pictures.
Hardware and time: two CPU cores, 60 minutes by estimate.
Run: imggen train --config paired
"""


def get_config() -> dict:
    adam = {"learning_rate": 5e-4, "b1": 0.5, "b2": 0.99, "final": 0.05}
    return {
        "data": {"name": "avatars/64x64", "source": "avatars/64x64_night", "test": "test", "flip": True},
        "game": {
            "name": "paired",
            "generator": {"name": "unet", "widths": (24, 48, 96, 128, 128), "norm": "none"},
            "discriminator": {"name": "patchgan", "width": 32},
        },
        "players": {"generator": adam, "discriminator": adam},
        "train": {"images": 80_000, "batch": 32},
        "log": {"evaluate": 20_000},
    }
