"""Your own pictures by a residual VAE with a Gaussian likelihood.

Makes: 64x64 pictures like those in a folder, a zip or a tar; --config.data.size=32 makes smaller ones, four times as
fast. Expected: the colours and layouts of the folder, soft; test/elbo is of the tenth of the pictures held out.
Hardware and time: two CPU cores, 16 minutes (211 images/s).
Run: python -m imggen_jax.main --config configs/folder_vae.py --config.data.folder=PATH
"""
from ml_collections import ConfigDict

from configs.avatars_vae import get_config as parent


def get_config() -> ConfigDict:
    config = parent()
    config.data.name, config.data.folder, config.data.size = "", "", 64
    config.data.split, config.data.test, config.data.flip = "train[:90%]", "train[90%:]", True
    config.game.network.widths, config.game.network.blocks = (32, 64, 64), (1, 1, 1)
    config.game.network.hidden, config.game.network.dense_blocks, config.game.beta = 384, 1, 1.0
    config.train.images, config.train.batch = 200_000, 64
    config.log.evaluate, config.log.show, config.log.save = 50_000, 20_000, 20_000
    config.score.every = 0  # a folder may have no labels, for a classifier to learn
    return config
