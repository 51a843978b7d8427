"""Noise and JPEG's losses removed from photographs: the network of upscale_x2 at the picture's own size.

Makes: cleaner pictures of the same size. Expected: cleaner than the source; not trained to its end yet.
Hardware and time: two CPU cores, 70 minutes by estimate.
Run: imggen train --config restore --config.data.folder=PHOTOGRAPHS --config.init.workdir=runs/upscale_x2
"""
from imggen_jax.config import merge
from imggen_jax.configs.upscale_x2 import get_config as parent


def get_config() -> dict:
    return merge(parent(), {
        "transforms": {"degrade": {"kind": "mixed", "scale": 1}},
        "game": {"scale": 1},
        "train": {"images": 60_000},
        "log": {"evaluate": 10_000, "show": 25_000},
    })
