"""Cartoon faces by a rectified flow in pixels: a small U-Net that turns noise into faces step by step.

Makes: 32x32 faces from the built-in dataset. Expected: not known yet, since it was not trained yet.
Hardware and time: two CPU cores, 60 minutes by estimate.
Run: imggen train --config avatars_flow
"""


def get_config() -> dict:
    return {
        "data": {"name": "avatars/32x32", "test": "test"},
        "game": {
            "name": "flow",
            "network": {"name": "unet_flow", "patch": 2, "widths": (64, 128), "blocks": (1, 2)},
        },
        "players": {"flow": {"optimizer": "adamw", "learning_rate": 1e-3, "b2": 0.99, "weight_decay": 1e-4,
                             "warmup": 5_000, "clip": 1.0}},
        "train": {"images": 300_000},
        "score": {"every": 100_000},
    }
