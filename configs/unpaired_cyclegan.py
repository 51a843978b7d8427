"""Between pictures of two kinds without pairs, both ways, by CycleGAN: faces by night and by day.

Makes: 64x64 faces by day from those by night, and the other way round; for other pictures see configs/unpaired.py.
Expected: the same faces, other colors and light.
Hardware and time: two CPU cores, 90 minutes by estimate.
Run: imggen train --config unpaired_cyclegan
"""
from imggen_jax.config import merge
from imggen_jax.configs.unpaired import get_config as parent


def get_config() -> dict:
    return merge(parent(), {"game": {
        "method": "cyclegan", "loss": "least_squares", "r1": 0.0, "r2": 0.0, "pool": 50,
        "discriminator": {"norm": "instance"},
    }})
