"""avatars_vae for `make demo`: as far as it gets in a few minutes.

Makes: 32x32 faces from the built-in dataset. Expected: recognisable, varied faces, a little soft.
Hardware and time: two CPU cores, 4 minutes.
Run: make demo
"""
from ml_collections import ConfigDict

from configs.avatars_vae import get_config as parent


def get_config() -> ConfigDict:
    config = parent()
    config.train.images = 100_000
    config.game.network.hidden, config.game.network.dense_blocks, config.game.beta = 384, 1, 1.0
    config.log.show = config.log.save = 25_000
    config.score.every = 0  # the classifier that scores need takes minutes to train
    return config
