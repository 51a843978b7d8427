"""upscale_x2 for four times the size, from its trunk.

Makes: pictures of four times the size. Expected: sharper than bicubic enlargement, test/psnr above its.
Hardware and time: one CPU core, an hour by estimate: 20 images a second.
Run: imggen train --config upscale_x4 --config.data.folder=PHOTOGRAPHS --config.init.workdir=upscale_x2
"""
from imggen_jax.config import merge
from imggen_jax.configs.upscale_x2 import get_config as parent


def get_config() -> dict:
    return merge(parent(), {
        "data": {"crop": 384},
        "transforms": {"degrade": {"scale": 4}},
        "game": {"scale": 4},
        "players": {"restorer": {"learning_rate": 6e-4}},
        "train": {"images": 70_000},
        "log": {"evaluate": 10_000, "show": 25_000},
    })
