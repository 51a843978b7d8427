"""Twofold enlargement of photographs that arrive damaged: blurred, noisy, compressed (Real-ESRGAN's degradations).

Makes: pictures of twice the size, without noise and blocks. Expected: smooth and clean; not trained yet.
Hardware and time: two CPU cores, two hours by estimate.
Run: imggen train --config photo_x2 --config.data.folder=PHOTOGRAPHS --config.init.workdir=runs/upscale_x2
"""
from imggen_jax.config import merge
from imggen_jax.configs.upscale_x2 import get_config as parent


def get_config() -> dict:
    return merge(parent(), {
        "data": {"crop": 128},
        "transforms": {"degrade": {"kind": "real"}},
        "train": {"images": 30_000, "batch": 8},
        "log": {"evaluate": 10_000, "show": 25_000},
    })
