"""The learned watermark, config `watermark`, beside the one that ships: the same pictures, payloads and attacks.

    imggen train --config watermark --config.data.folder=FOLDER --workdir runs/watermark
    python experiments/trust/learned.py --data ../shared/data/folders --work runs/trust --model runs/watermark

Pictures of any size are marked at the model's size, and what it adds is resized. A learned mark counts as found where
26 of its 32 bits are right, which happens to an unmarked picture in 0.03% of the cases if bits are independent. So one
has to know which number to look for, which the detector of the mark that ships does not.
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from trust import ATTACKS, BARS, HERE, RATE, Pixels, mean, payload_of, pictures, ssim

import imggen_jax
from imggen_jax import provenance
from imggen_jax.provenance import coding
from imggen_jax.sampling import Latents

SETS = {"photos 128": 25, "photos 512": 15, "emoji 128": 30, "avatars 128": 30}    # that were not trained on
SEEN = ("none", "JPEG 90", *BARS, "JPEG 30", "screenshot")
RIGHT = 26


def bits_of(number: int) -> np.ndarray:
    """float32 [32] of -1 and 1."""
    return np.array([2 * int(bit) - 1 for bit in f"{payload_of(number):032b}"], np.float32)


def resized(image: Pixels, size: tuple[int, int]) -> Pixels:
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def hidden(model: Any, image: Pixels, number: int) -> Pixels:
    """The picture, uint8 [H,W,3], with the bits of a number."""
    side = model.spec["image"].shape[0]
    small = resized(image, (side, side))[None]
    latents = Latents(bits_of(number)[None], {"source": small}, np.zeros(1, np.int64))
    added = model.sampler.render(model.weights, latents)[0] - (small[0] / np.float32(127.5) - 1)
    planes = [Image.fromarray(127.5 * plane).resize(image.shape[1::-1], Image.Resampling.BICUBIC)
              for plane in np.moveaxis(added, -1, 0)]
    return np.clip(np.rint(image + np.stack(planes, -1)), 0, 255).astype(np.uint8)


def right(model: Any, image: Pixels, number: int) -> float:
    """The share of bits that are read rightly."""
    side = model.spec["image"].shape[0]
    small = resized(image, (side, side))[None]
    assert model.sampler.encode is not None
    read = np.asarray(model.sampler.encode(model.weights, small, {"source": small}))[0]
    return float(np.mean((read > 0) == (bits_of(number) > 0)))


def measure(model: Any, image: Pixels, number: int) -> dict:
    """What both marks cost a picture, and whether they are found after each attack."""
    out: dict = {"learned": {}, "ships": {}}
    marked = {"learned": hidden(model, image, number), "ships": provenance.mark(image, payload_of(number))}
    for which, changed in marked.items():
        error = np.mean((image.astype(float) - changed)**2)
        out[which] = {"psnr": 10 * np.log10(255**2 / error), "ssim": ssim(image, changed)}
    for name in SEEN:
        attacked = {which: ATTACKS[name](each, np.random.default_rng([2, number])) for which, each in marked.items()}
        share = right(model, attacked["learned"], number)
        out["learned"][name] = {"found": int(share * 32 >= RIGHT), "read": int(share == 1), "bits": share}
        found = provenance.detect(attacked["ships"], rate=RATE, search=name.startswith("crop"))
        out["ships"][name] = {"found": int(found.marked), "read": int(found.payload == payload_of(number)),
                              "bits": float(np.mean(np.sign(found.soft) == coding.encode(
                                  payload_of(number))))}
    return out


def summed(rows: list[dict]) -> dict:
    each = {which: [row[which] for row in rows] for which in ("ships", "learned")}
    return {which: {"psnr": mean(row["psnr"] for row in mine), "ssim": mean(row["ssim"] for row in mine),
                    "attacks": {name: {key: mean(row[name][key] for row in mine) for key in ("found", "read", "bits")}
                                for name in SEEN}} for which, mine in each.items()}


def table(results: dict) -> str:
    """A cell: of the mark that ships, then of the learned one."""
    lines = [f"| | {' | '.join(results)} |", "| --- |" + " --- |" * len(results)]
    for row in ("psnr", "ssim"):
        lines.append(f"| {row} | " + " | ".join(
            f"{each['ships'][row]:.4g}; {each['learned'][row]:.4g}" for each in results.values()) + " |")
    for name in SEEN:
        cells = [[each[which]["attacks"][name] for which in ("ships", "learned")] for each in results.values()]
        title = f"**{name}**" if name in BARS else name
        lines.append(f"| {title} | " + " | ".join("; ".join(
            f"{one['found']:.2f} / {one['read']:.2f} / {one['bits']:.2f}" for one in cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the archives")
    parser.add_argument("--work", type=Path, required=True, help="folder that avatars are drawn into")
    parser.add_argument("--model", type=Path, required=True, help="folder of the run")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    model = imggen_jax.load(args.model)
    results = {name: summed([measure(model, image, number) for number, image in enumerate(
        pictures(args.data, args.work, name, num))]) for name, num in SETS.items()}
    results = {"images": model.images_seen, "sets": results}
    (HERE / "learned.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "learned.md").write_text(table(results["sets"]))


if __name__ == "__main__":
    main()
