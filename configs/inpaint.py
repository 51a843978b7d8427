"""Pictures with holes, completed: boxes and brush strokes, filled by a U-Net against a discriminator of patches.

Makes: what is missing of 64x64 faces; any dataset or folder of pictures works. Expected: fillings that fit what is
around them. See experiments/translate for figures.
Hardware and time: two CPU cores, 100 minutes by estimate.
Run: imggen train --config inpaint
"""


def get_config() -> dict:
    adam = {"learning_rate": 5e-4, "b1": 0.5, "b2": 0.99, "final": 0.05}
    return {
        "data": {"name": "avatars/64x64", "test": "test", "flip": True},
        "transforms": {"mask": {}},
        "game": {
            "name": "inpaint",
            "generator": {"name": "unet", "widths": (24, 48, 96, 128, 128), "norm": "none"},
            "discriminator": {"name": "patchgan", "width": 32},
        },
        "players": {"generator": adam, "discriminator": adam},
        "train": {"images": 150_000, "batch": 32},
    }
