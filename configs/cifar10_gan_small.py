"""cifar10_gan for two CPU cores: the same losses and classes with DCGAN networks, which are ten times as fast there.

Makes: 32x32 photographs of ten classes. Expected: colors and layouts of the classes, objects only roughly.
Hardware and time: two CPU cores, 15 minutes.
Run: imggen train --config cifar10_gan_small
Data: cifar10, prepared once: imggen prepare --name cifar10
"""
from imggen_jax.config import merge
from imggen_jax.configs.cifar10_gan import get_config as parent


def get_config() -> dict:
    config = merge(parent(), {
        # A run as short as this has no use for the parent's schedules.
        "game": {"augment": (), "augment_rise": 0, "r1": 0.2, "r2": 0.2, "burn_in": 0, "penalty_final": 1.0},
        "players": {player: {"learning_rate": 5e-4, "b2_start": 0.0, "span": 0}
                    for player in ("generator", "discriminator")},
        "train": {"images": 160_000, "batch": 64, "dtype": "float32"},
        "ema": {"halflife": 10_000, "rampup": 0.05, "rise": 0},
        "log": {"every": 5_000, "show": 25_000, "save": 25_000, "keep_every": 0},
        "score": {"every": 50_000, "num": 2_000},
    })
    config["game"]["generator"] = {"name": "dcgan", "width": 48, "norm": "batch"}
    config["game"]["discriminator"] = {"name": "dcgan", "width": 48}
    return config
