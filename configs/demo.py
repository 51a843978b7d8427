"""avatars_vae for `make demo`: as far as it gets in a few minutes.

Makes: 32x32 faces from the built-in dataset. Expected: recognizable, varied faces, a little soft.
Hardware and time: two CPU cores, 4 minutes.
Run: make demo
"""
from imggen_jax.config import merge
from imggen_jax.configs.avatars_vae import get_config as parent


def get_config() -> dict:
    return merge(parent(), {
        "train": {"images": 100_000},
        "game": {"network": {"hidden": 384, "dense_blocks": 1}, "beta": 1.0},
        "log": {"show": 25_000, "save": 25_000},
        "score": {"every": 0},  # the classifier that scores need takes minutes to train
    })
