"""From line drawings to pictures: pix2pix whose sketches are made from the pictures, so that no pairs are collected.

Makes: 64x64 faces from sketches of them; any dataset or folder of pictures works. Expected: the lines of the sketch, in
colors that go together. See experiments/translate for figures.
Hardware and time: two CPU cores, 100 minutes by estimate.
Run: imggen train --config sketch
"""


def get_config() -> dict:
    adam = {"learning_rate": 5e-4, "b1": 0.5, "b2": 0.99, "final": 0.05}
    return {
        "data": {"name": "avatars/64x64", "test": "test", "flip": True},
        "transforms": {"edges": {}},
        "game": {
            "name": "paired",
            "generator": {"name": "unet", "widths": (24, 48, 96, 128, 128), "norm": "none"},
            "discriminator": {"name": "patchgan", "width": 32},
            "l1": 10.0,
        },
        "players": {"generator": adam, "discriminator": adam},
        "train": {"images": 150_000, "batch": 32},
    }
