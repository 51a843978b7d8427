"""Noise and JPEG's losses removed from photographs, by one network that is not told how strong they are.

Makes: cleaner pictures of the same size. Expected: without noise, with fewer blocks; the model that ships saw 28,000
images, and its figures stand in experiments/restore.
Hardware and time: two CPU cores, an hour by estimate.
Run: imggen train --config restore --config.data.folder=PHOTOGRAPHS
"""
from imggen_jax.config import merge
from imggen_jax.configs.upscale_x2 import get_config as parent


def get_config() -> dict:
    return merge(parent(), {
        "data": {"crop": 64},
        "transforms": {"degrade": {"kind": "mixed", "scale": 1, "gray": 0.2, "shrink": 1}},
        "game": {"scale": 1, "network": {"width": 64, "fold": 2}},
        "train": {"images": 80_000, "batch": 8},
        "log": {"evaluate": 10_000, "show": 25_000},
    })
