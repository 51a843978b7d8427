"""A classifier of kinds of pictures: the space in which translated photographs are held against real ones.

Run: see photographs.py
"""


def get_config() -> dict:
    return {
        "data": {"label": "label", "flip": True},
        "game": {"name": "classifier", "augment": ("translation", "color"),
                 "network": {"name": "classifier", "widths": (16, 32, 64, 64), "blocks": (1, 1, 1, 0), "features": 32}},
        "players": {"classifier": {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05, "warmup": 1_000,
                                   "decay": "cosine", "final": 0.01, "clip": 1.0}},
        "train": {"images": 24_000, "batch": 32},
        "ema": {"halflife": 2_000},
    }
