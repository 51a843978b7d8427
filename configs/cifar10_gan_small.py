"""cifar10_gan for two CPU cores: the same game with narrow networks and float32.

Makes: 32x32 photographs of ten classes. Expected: colours and layouts of the classes, objects only roughly.
Hardware and time: two CPU cores, 40 minutes.
Run: python -m imggen_jax.main --config configs/cifar10_gan_small.py
Data: cifar10, prepared once: python -m imggen_jax.main prepare --name cifar10
"""
from ml_collections import ConfigDict

from configs.cifar10_gan import get_config as parent


def get_config() -> ConfigDict:
    config = parent()
    # Thin where the pictures are large: there a channel costs most.
    up = {"widths": (64, 64, 48, 32), "cardinality": (8, 8, 6, 4), "blocks": (1,) * 4}
    config.game.generator.update(up)
    config.game.discriminator.update({name: values[::-1] for name, values in up.items()})
    config.train.images = 200_000
    config.train.batch = 64
    config.train.dtype = "float32"
    for player in config.players.values():
        player.learning_rate = 5e-4
    config.ema.halflife = 10_000
    config.log.every, config.log.show, config.log.save, config.log.keep_every = 5_000, 25_000, 25_000, 0
    return config
