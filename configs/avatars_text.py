"""Faces from a sentence: a rectified flow with a text encoder, in the latents of avatars_vae_64.

Makes: 64x64 faces that a caption describes. Expected: clothes, hair, skin and mood as said, the color of the eyes not.
Hardware and time: one CPU core, 29 minutes, after 63 of avatars_vae_64, which has to be run first.
Run: imggen train --config avatars_vae_64 --workdir runs/avatars_vae_64 && imggen train --config avatars_text
"""


def get_config() -> dict:
    return {
        "data": {"name": "avatars/64x64", "test": "test", "text": "words:48"},
        "game": {
            "name": "flow",
            # Of a face there is one token, its latent, which reads the words of the caption.
            "network": {"name": "dit", "patch": 1, "width": 144, "layers": 4, "heads": 4},
            "draws": 4,
            # Captions of the dataset say everything; half of them are shortened, since people write less.
            "condition": {"width": 96, "layers": 2, "heads": 4, "parts": 0.5},
        },
        "pretrained": {"autoencoder": {"workdir": "runs/avatars_vae_64"}},
        "players": {"flow": {"optimizer": "adamw", "learning_rate": 2e-3, "b2": 0.99, "weight_decay": 1e-4,
                             "warmup": 8_000, "clip": 1.0}},
        "train": {"images": 160_000},
    }
