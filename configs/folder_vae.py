"""Your own pictures by a residual VAE with a Gaussian likelihood.

Makes: 64x64 pictures like those in a folder, a zip or a tar; --config.data.size=32 makes smaller ones, four times as
fast. Expected: the colors and layouts of the folder, soft; test/elbo is of the tenth of the pictures held out.
Hardware and time: two CPU cores, 16 minutes (211 images/s).
Run: imggen train --config folder_vae --config.data.folder=PATH
"""
from imggen_jax.config import merge
from imggen_jax.configs.avatars_vae import get_config as parent


def get_config() -> dict:
    return merge(parent(), {
        "data": {"name": "", "folder": "", "size": 64, "split": "train[:90%]", "test": "train[90%:]", "flip": True},
        "game": {"network": {"widths": (32, 64, 64), "blocks": (1, 1, 1), "hidden": 384, "dense_blocks": 1},
                 "beta": 1.0},
        "train": {"images": 200_000, "batch": 64},
        "log": {"evaluate": 50_000, "show": 20_000, "save": 20_000},
        "score": {"every": 0},  # a folder may have no labels, for a classifier to learn
    })
