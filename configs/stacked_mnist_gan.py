"""Three random digits as red, green and blue: 1,000 modes, to see whether a GAN drops any.

Makes: 32x32 stacked digits. Expected: all 1,000 modes, see experiments/stacked_mnist.
Hardware and time: two CPU cores, 30 minutes.
Run: imggen train --config stacked_mnist_gan
"""


def get_config() -> dict:
    adam = {"learning_rate": 5e-4, "b1": 0.0, "b2": 0.99, "final": 0.2}
    return {
        "data": {"name": "stacked_mnist", "test": "test"},
        "game": {
            "name": "gan",
            "generator": {"name": "dcgan", "width": 32, "norm": "batch"},
            "discriminator": {"name": "dcgan", "width": 32},
            "burn_in": 250_000,
            "penalty_final": 0.1,
        },
        "players": {"generator": adam, "discriminator": adam},
        "train": {"images": 1_000_000},
        "ema": {"halflife": 20_000},
        "log": {"evaluate": 500_000, "show": 100_000, "save": 50_000},
        "score": {"every": 250_000},
    }
