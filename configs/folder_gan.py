"""Your own pictures by a DCGAN with the R3GAN losses: relativistic, with R1 and R2.

Makes: 64x64 pictures like those in a folder, a zip or a tar; --config.data.size=32 makes smaller ones, four times as
fast. Expected: the colors and layouts of the folder; objects need thousands of pictures and a longer run.
Hardware and time: two CPU cores, about 45 minutes by estimate (11 at 32x32, where 300 images/s were measured).
Run: imggen train --config folder_gan --config.data.folder=PATH
"""
from imggen_jax.config import merge
from imggen_jax.configs.avatars_gan import get_config as parent


def get_config() -> dict:
    return merge(parent(), {
        "data": {"name": "", "folder": "", "size": 64, "split": "train", "test": "", "flip": True},
        "game": {"burn_in": 0, "penalty_final": 1.0, "augment": ("color", "translation", "cutout")},
        "train": {"images": 200_000, "batch": 32},
        "log": {"show": 20_000, "save": 20_000},
        "score": {"every": 0},  # a folder may have no labels, for a classifier to learn
    })
