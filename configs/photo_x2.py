"""Twofold enlargement of photographs that arrive damaged: blurred, noisy, compressed (Real-ESRGAN's degradations).

Makes: pictures of twice the size, without noise and blocks. Expected: smooth and clean, with crisp edges; fine
texture goes with the noise. The model that ships is such a one: experiments/restore.
Hardware and time: one CPU core, ten minutes.
Run: imggen train --config photo_x2 --config.data.folder=PHOTOGRAPHS --config.init.workdir=upscale_x2
"""
from imggen_jax.config import merge
from imggen_jax.configs.upscale_x2 import get_config as parent


def get_config() -> dict:
    return merge(parent(), {
        "data": {"crop": 192},
        "transforms": {"degrade": {"kind": "real", "shrink": 2, "sharpen": 0.5}},
        "players": {"restorer": {"learning_rate": 4e-4}},
        "train": {"images": 9_000, "batch": 8},
        "ema": {"halflife": 2_000},
        "log": {"every": 800, "evaluate": 4_000, "show": 8_000, "save": 2_400},
    })
