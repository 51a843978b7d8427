"""Class-conditional CIFAR-10 by R3GAN (arXiv 2501.05441) at the paper's width: relativistic, with R1 and R2.

Makes: 32x32 photographs of ten classes. Expected: the paper reports an FID of 1.96 after much longer training with
these schedules: over 20 million images, along half a cosine, gamma, learning rate, b2, the average's half-life and the
probability of augmentation go to their last values. This config has not been run to its end, see
experiments/first_runs for its small sister.
Hardware and time: one modern GPU or TPU chip, many hours.
Run: imggen train --config cifar10_gan
Data: cifar10, prepared once: imggen prepare --name cifar10
"""


def get_config() -> dict:
    # Width, blocks, cardinality, latent, batch and schedules of the paper's CIFAR-10 preset.
    schedule = 20_000_000
    network = {"name": "r3gan", "widths": (768,) * 4, "blocks": (2,) * 4, "cardinality": (96,) * 4, "expansion": 2}
    adam = {"learning_rate": 2e-4, "b1": 0.0, "b2": 0.99, "b2_start": 0.9, "final": 0.25, "span": schedule}
    return {
        "data": {"name": "cifar10", "test": "test", "label": "label", "flip": True},
        "game": {"name": "gan", "latent": 64, "generator": network, "discriminator": network, "r1": 0.05, "r2": 0.05,
                 "burn_in": schedule, "penalty_final": 0.1, "augment": ("geometry", "recolor", "erase"),
                 "augment_strength": 0.55, "augment_rise": schedule},
        "players": {"generator": adam, "discriminator": adam},
        "train": {"images": 20_000_000, "batch": 512, "dtype": "bfloat16"},
        "ema": {"halflife": 5_000_000, "rampup": 0.0, "rise": schedule},
        "log": {"every": 50_000, "evaluate": 1_000_000, "show": 500_000, "save": 500_000, "keep_every": 5_000_000},
        "score": {"every": 1_000_000, "num": 10_000},
    }
