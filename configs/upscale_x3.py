"""upscale_x2 for three times the size, from its trunk.

Makes: pictures of three times the size. Expected: sharper than bicubic enlargement, test/psnr above its.
Hardware and time: one CPU core, 45 minutes by estimate.
Run: imggen train --config upscale_x3 --config.data.folder=PHOTOGRAPHS --config.init.workdir=upscale_x2
"""
from imggen_jax.config import merge
from imggen_jax.configs.upscale_x2 import get_config as parent


def get_config() -> dict:
    return merge(parent(), {
        "data": {"crop": 288},
        "transforms": {"degrade": {"scale": 3}},
        "game": {"scale": 3},
        "players": {"restorer": {"learning_rate": 6e-4}},
        "train": {"images": 50_000},
        "log": {"evaluate": 10_000, "show": 25_000},
    })
