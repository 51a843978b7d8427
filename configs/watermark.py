"""A learned watermark, 32 bits in pictures of 128x128: an encoder, a decoder, and what pictures go through in between.

Makes: pictures with bits in them that the eye hardly sees, and reads them again. Expected: test/accuracy, of bits after
handling, rising; it falls short of the watermark that ships, experiments/trust has both.
Hardware and time: one CPU core, 15 minutes by estimate (15 ms an image).
Run: imggen train --config watermark --config.data.folder=PHOTOGRAPHS
"""


def get_config() -> dict:
    return {
        "data": {"size": 128, "split": "train[:95%]", "test": "train[95%:]", "flip": True},
        "transforms": {"degrade": {"kind": "bicubic", "scale": 1}},
        "game": {"name": "watermark", "encoder": {"name": "marker", "width": 32, "blocks": 2},
                 "decoder": {"name": "classifier", "widths": (16, 32, 48, 64), "blocks": (0, 1, 1, 1),
                             "features": 256}},
        "players": {"marker": {"learning_rate": 1e-3, "warmup": 1_000, "b2": 0.99, "clip": 1.0, "final": 0.02}},
        "train": {"images": 48_000, "batch": 16},
        "ema": {"halflife": 2_000},
        "log": {"every": 1_000, "evaluate": 5_000, "show": 20_000, "save": 10_000, "keep": 2},
    }
