"""Do faces obey the sentence that they are made from? Their ten factors are read back by a classifier.

    python experiments/text/text.py RUN_OR_ZOO_MODEL... [--num 2000]

The captions of the held-out faces name all ten factors; each makes one face, which the classifier of avatars/32x32
reads (a face of 64x64, averaged over squares of two pixels, is a face of that dataset). Beside it: what the classifier
reads in the true faces, the same of shuffled captions (the control, whose share is that of chance), and sentences that
name one factor only. results.json and pages of faces are written beside this file.
"""
from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import imggen_jax
from imggen_jax import data, editing
from imggen_jax.main import main

HERE = Path(__file__).parent
FACES = "avatars/{size}x{size}"
# Sentences that name one value of one factor, in the words of the captions.
SENTENCES = {
    "skin_tone": "a person with {} skin",
    "hair_style": {"bald": "a person with a bald head", "short": "a person with short hair",
                   "spiky": "a person with spiky hair", "curly": "a person with curly hair",
                   "bob": "a person with hair in a bob", "long": "a person with long hair",
                   "bun": "a person with hair in a bun"},
    "hair_colour": "a person with {} hair",
    "face_shape": {"round": "a person with a round face", "oval": "a person with an oval face",
                   "square": "a person with a square face", "heart": "a person with a heart-shaped face"},
    "eye_colour": "a person with {} eyes",
    "expression": {"smiling": "a smiling person", "neutral": "a neutral-looking person", "sad": "a sad person",
                   "surprised": "a surprised person", "angry": "an angry person"},
    "glasses": {"none": "a person with no glasses", "round": "a person with round glasses",
                "square": "a person with square glasses"},
    "facial_hair": {"none": "a person with no facial hair", "moustache": "a person with a moustache",
                    "beard": "a person with a beard"},
    "clothing_colour": "a person in a {} shirt",
    "background_colour": "a person on a {} background",
}
# "grey" is the word of the captions of this dataset.
SHOWN = ("a smiling person with curly ginger hair and round glasses",
         "an angry person with a beard in a red shirt",
         "a surprised person with long blue hair on a lemon background",
         "a sad person with a bald head, brown skin and no glasses",
         "a neutral-looking person with pink hair in a bun and square glasses",
         "a smiling person with dark skin and short grey hair in a yellow top")

WAYS = {3: ("a smiling person with long pink hair", "a sad person with a bald head and a beard"),
        8: ("an angry person with spiky black hair on a coral background",
            "a smiling person with spiky blonde hair and round glasses on a sky blue background")}


def sentence(label: str, value: str) -> str:
    form = SENTENCES[label]
    return form.format(value) if isinstance(form, str) else form[value]


def small(images: np.ndarray) -> np.ndarray:
    """uint8 [n,S,S,3] -> [n,32,32,3], averaged over squares, as the faces of the smaller dataset are."""
    n, side, times = len(images), images.shape[1], images.shape[1] // 32
    if times == 1:
        return images
    total = images.reshape(n, side // times, times, side // times, times, 3).sum((2, 4), dtype=np.int64)
    return ((2 * total + times**2) // (2 * times**2)).astype(np.uint8)


def shares(read: np.ndarray, wanted: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    """Of each factor the share that is as wanted, their mean and least, and the share of faces with all ten."""
    right = read == wanted
    each = dict(zip(names, right.mean(0)))
    found = {"mean": right.mean(), "least": min(each.values()), "all ten": right.all(1).mean(), **each}
    return {name: round(float(value), 4) for name, value in found.items()}


def measure(model, labeller, num: int, batch: int = 250) -> dict:
    size, length = model.spec["image"].shape[0], model.spec["text"].shape[0]
    captions = data.open_dataset(name=FACES.format(size=size), split="test", text=f"words:{length}")
    text = np.concatenate([captions.read(np.arange(k, min(k + batch, num)))["text"] for k in range(0, num, batch)])
    truth, wanted = editing.held_out(imggen_jax.load("avatars_32"), num, labeller.names)

    def made(tokens: np.ndarray) -> np.ndarray:
        parts = [small(model.sample(range(k, min(k + batch, num)), {"text": tokens[k:k + batch]}))
                 for k in range(0, num, batch)]
        return labeller.predict(np.concatenate(parts))

    found = {"faces": num, "images_seen": model.images_seen,
             "real": shares(labeller.predict(truth), wanted, labeller.names),
             "captions": shares(made(text), wanted, labeller.names),
             "shuffled": shares(made(text[np.random.default_rng(0).permutation(num)]), wanted, labeller.names)}
    alone = {}
    for k, label in enumerate(labeller.names):
        values = labeller.values[k]
        said = [sentence(label, values[i % len(values)]) for i in range(batch)]
        read = labeller.predict(small(model.sample(range(batch), {"text": said})))[:, k]
        alone[label] = round(float(np.mean(read == np.arange(batch) % len(values))), 4)
    found["one factor said"] = {"mean": round(float(np.mean(list(alone.values()))), 4), **alone}
    model.sample(num=16, given={"text": SHOWN[0]})
    begin = time.perf_counter()
    model.sample(num=16, given={"text": SHOWN[0]})
    found["seconds for 16"] = round(time.perf_counter() - begin, 3)
    return found


def page(model, path: Path) -> None:
    """A row of faces for each sentence of SHOWN, twice as large."""
    rows = [np.concatenate(list(model.sample(num=10, given={"text": said})), axis=1) for said in SHOWN]
    save(rows, path)


def save(rows: list[np.ndarray], path: Path) -> None:
    """Rows of faces, uint8 [64,W,3] each, twice as large."""
    sheet = Image.fromarray(np.concatenate(rows))
    sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.BICUBIC).save(path, quality=90)


def ways(name: str, path: Path) -> None:
    """A row of faces for each pair of WAYS: from the one sentence to the other, at the latent of one seed."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for seed, pair in WAYS.items():
            if main(["interpolate", "--model", name, "--seed", str(seed), "--frames", "10", "--prompts", *pair, "--out",
                     f"{place}/{seed}"]):
                raise SystemExit("failed: interpolate")
            frames = [np.asarray(Image.open(f"{place}/{seed}/{k:03d}.png").convert("RGB")) for k in range(10)]
            rows.append(np.concatenate(frames, axis=1))
    save(rows, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="runs, exported folders or names of zoo models")
    parser.add_argument("--num", type=int, default=2000, help="held-out captions, at most 2000")
    args = parser.parse_args()
    stored = HERE / "results.json"
    results = json.loads(stored.read_text()) if stored.is_file() else {}
    judge = editing.labeller_of(imggen_jax.load("avatars_32"))
    for name in args.models:
        loaded = imggen_jax.load(name)
        results[Path(name).name] = measure(loaded, judge, args.num)
        page(loaded, HERE / f"{Path(name).name}.jpg")
        ways(name, HERE / f"{Path(name).name}_ways.jpg")
        stored.write_text(json.dumps(results, indent=1) + "\n")
        print(name, json.dumps(results[Path(name).name], indent=1))
