"""From pictures of one kind to another without pairs, by CUT: faces by night to faces by day.

Makes: 64x64 faces by day. For a folder with the kinds A and B, empty config.data.name and source and set
config.data.folder and size. Expected: the same faces in other colors and another light.
Hardware and time: two CPU cores, 60 minutes by estimate. Published, for 256x256 pictures on a GPU: width 64, 9 blocks,
discriminator 64, batch 1.
Run: imggen train --config unpaired
"""


def get_config() -> dict:
    adam = {"learning_rate": 5e-4, "b1": 0.5, "b2": 0.99, "decay": "linear", "final": 0.05}
    return {
        "data": {"name": "avatars/64x64", "source": "avatars/64x64_night", "pairs": "unaligned", "test": "test"},
        "game": {
            "name": "unpaired",
            "generator": {"name": "resnet", "width": 16, "halvings": 2, "blocks": 4},
            "discriminator": {"name": "patchgan", "width": 24},
            "loss": "relativistic",
            "r1": 1.0,
            "r2": 1.0,
            "patches": 128,
            "heads": 64,
        },
        "players": {"generator": adam, "discriminator": adam},
        "train": {"images": 60_000, "batch": 16},
    }
