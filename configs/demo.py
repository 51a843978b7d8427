"""avatars_vae for `make demo`: as far as it gets in two minutes, to show training.

Makes: 32x32 faces from the built-in dataset. Expected: faces that are still blurred.
Hardware and time: two CPU cores, 2 minutes, with the drawing of the dataset.
Run: make demo
"""
from imggen_jax.config import merge
from imggen_jax.configs.avatars_vae import get_config as parent


def get_config() -> dict:
    return merge(parent(), {
        "train": {"images": 40_000},
        "game": {"network": {"hidden": 384, "dense_blocks": 1}, "beta": 1.0, "warmup": 10_000},
        "players": {"vae": {"warmup": 5_000}},
        "ema": {"halflife": 4_000},
        "log": {"every": 5_000, "evaluate": 20_000, "show": 10_000, "save": 20_000},
        "score": {"every": 0},  # the classifier that scores need takes minutes to train
    })
