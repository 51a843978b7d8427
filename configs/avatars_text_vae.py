"""Faces from a sentence in one step: a residual VAE whose decoder reads a caption beside its latent.

Makes: 64x64 faces that a caption describes. Expected: not known yet, since it is being trained.
Hardware and time: one CPU core, 95 minutes by estimate.
Run: imggen train --config avatars_text_vae
"""


def get_config() -> dict:
    return {
        "data": {"name": "avatars/64x64", "test": "test", "text": "words:48"},
        "game": {
            "name": "vae",
            "network": {"name": "vae", "widths": (32, 64, 96, 128), "blocks": (1, 2, 2, 2), "hidden": 384,
                        "dense_blocks": 1},
            # The caption says all that has a name; what is left, place, tilt and proportions, takes few numbers.
            "latent": 64,
            "mixtures": 0,
            "warmup": 50_000,
            # Captions of the dataset say everything; half of them are shortened, since people write less.
            "condition": {"width": 128, "layers": 2, "heads": 4, "parts": 0.5},
        },
        "players": {"vae": {"optimizer": "adamw", "learning_rate": 2e-3, "b2": 0.99, "weight_decay": 1e-4,
                            "warmup": 20_000, "clip": 10_000.0}},
        "train": {"images": 300_000, "batch": 64},
        "ema": {"halflife": 20_000},
        "log": {"every": 10_000, "show": 25_000, "save": 25_000, "evaluate": 100_000},
    }
