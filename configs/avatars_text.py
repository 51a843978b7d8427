"""Faces from a sentence: a rectified flow with a text encoder, in the latents of avatars_autoencoder.

Makes: 64x64 faces that a caption describes. Expected: not known yet, since it was not trained yet.
Hardware and time: two CPU cores, 120 minutes by estimate, after those of avatars_autoencoder.
Run: imggen train --config avatars_autoencoder --workdir runs/avatars_autoencoder && imggen train --config avatars_text
"""


def get_config() -> dict:
    return {
        "data": {"name": "avatars/64x64", "test": "test", "text": "words:32"},
        "game": {
            "name": "flow",
            "network": {"name": "dit", "patch": 1, "width": 192, "layers": 6, "heads": 3},
            "condition": {"width": 96, "layers": 2, "heads": 3},
        },
        "pretrained": {"autoencoder": {"workdir": "runs/avatars_autoencoder"}},
        "players": {"flow": {"optimizer": "adamw", "learning_rate": 1e-3, "b2": 0.99, "weight_decay": 1e-4,
                             "warmup": 10_000, "clip": 1.0}},
        "train": {"images": 500_000},
        "ema": {"halflife": 20_000},
    }
