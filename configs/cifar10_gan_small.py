"""cifar10_gan for two CPU cores: the same losses and classes with DCGAN networks, which are ten times as fast there.

Makes: 32x32 photographs of ten classes. Expected: colours and layouts of the classes, objects only roughly.
Hardware and time: two CPU cores, 15 minutes.
Run: python -m imggen_jax.main --config configs/cifar10_gan_small.py
Data: cifar10, prepared once: python -m imggen_jax.main prepare --name cifar10
"""
from ml_collections import ConfigDict

from configs.cifar10_gan import get_config as parent


def get_config() -> ConfigDict:
    config = parent()
    config.game.generator = {"name": "dcgan", "width": 48, "norm": "batch"}
    config.game.discriminator = {"name": "dcgan", "width": 48}
    config.game.augment = ()
    config.game.r1 = config.game.r2 = 0.2
    config.train.images = 160_000
    config.train.batch = 64
    config.train.dtype = "float32"
    for player in config.players.values():
        player.learning_rate = 5e-4
    config.ema.halflife = 10_000
    config.score.every, config.score.num = 50_000, 2_000
    config.log.every, config.log.show, config.log.save, config.log.keep_every = 5_000, 25_000, 25_000, 0
    return config
