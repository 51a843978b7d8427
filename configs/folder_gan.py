"""Your own pictures by a DCGAN with the R3GAN losses: relativistic, with R1 and R2.

Makes: 64x64 pictures like those in a folder, a zip or a tar; --config.data.size=32 makes smaller ones, four times as
fast. Expected: the colours and layouts of the folder; objects need thousands of pictures and a longer run.
Hardware and time: two CPU cores, about 45 minutes by estimate (11 at 32x32, where 300 images/s were measured).
Run: python -m imggen_jax.main --config configs/folder_gan.py --config.data.folder=PATH
"""
from ml_collections import ConfigDict

from configs.avatars_gan import get_config as parent


def get_config() -> ConfigDict:
    config = parent()
    config.data.name, config.data.folder, config.data.size = "", "", 64
    config.data.split, config.data.test, config.data.flip = "train", "", True
    config.game.burn_in, config.game.penalty_final = 0, 1.0
    config.game.augment = ("colour", "translation", "cutout")
    config.train.images, config.train.batch = 200_000, 32
    config.log.show = config.log.save = 20_000
    config.score.every = 0  # a folder may have no labels, for a classifier to learn
    return config
