"""A published watermark under the same attacks: DWT-DCT and DWT-DCT-SVD of the package invisible-watermark.

    pip install --no-deps --target other invisible-watermark==0.2.0 opencv-python-headless PyWavelets
    PYTHONPATH=other python experiments/trust/published.py --data ../shared/data/folders --work runs/trust

Both hide 32 bits in the chrominance of pictures from 256x256 up, and take no weights. A mark counts as found where at
least 26 of the 32 bits, which are known, are right: by chance so are 0.03% of pictures. A picture that an attack has
resized is brought back to its size first, as nothing in these schemes looks for it. Writes published.md.
"""
from __future__ import annotations

import argparse
import importlib
import sys
import types
from pathlib import Path

import numpy as np
import trust
from PIL import Image

LEAST = 26      # right bits of 32


def scheme():
    """The package's encoder and decoder, without PyTorch, which only its third scheme takes."""
    sys.modules.setdefault("torch", types.ModuleType("torch"))
    package = importlib.import_module("imwatermark")
    return package.WatermarkEncoder, package.WatermarkDecoder


def marked(image: np.ndarray, bits: list[int], method: str) -> np.ndarray:
    encoder = scheme()[0]()
    encoder.set_watermark("bits", bits)
    return encoder.encode(image[..., ::-1].copy(), method)[..., ::-1]      # BGR


def right_bits(image: np.ndarray, bits: list[int], method: str, shape: tuple[int, ...]) -> int:
    if image.shape != shape:
        image = np.asarray(Image.fromarray(image).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
    found = scheme()[1]("bits", 32).decode(image[..., ::-1].copy(), method)
    return int(np.sum(np.asarray(found, int) == bits))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with photos.zip")
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures that are drawn once")
    parser.add_argument("--num", type=int, default=40, help="photographs of 256x256")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    columns = []
    for method in ("dwtDct", "dwtDctSvd"):
        psnr, ssim, found = [], [], {name: [] for name in trust.ATTACKS}
        for number, image in enumerate(trust.pictures(args.data, args.work, "photos 256", args.num)):
            bits = np.random.default_rng([1, number]).integers(0, 2, 32).tolist()
            out = marked(image, bits, method)
            psnr.append(10 * np.log10(255**2 / np.mean((image.astype(float) - out)**2)))
            ssim.append(trust.ssim(image, out))
            for name, attack in trust.ATTACKS.items():
                changed = attack(out, np.random.default_rng([2, number]))
                found[name].append(right_bits(changed, bits, method, image.shape) >= LEAST)
        columns.append((method, np.mean(psnr), np.mean(ssim), found))
        print(method, f"{np.mean(psnr):.2f} dB", flush=True)
    lines = ["| | " + " | ".join(column[0] for column in columns) + " |", "| --- |" + " --- |" * len(columns),
             f"| photographs | {' | '.join(str(args.num) for _ in columns)} |",
             "| psnr | " + " | ".join(f"{column[1]:.2f}" for column in columns) + " |",
             "| ssim | " + " | ".join(f"{column[2]:.4f}" for column in columns) + " |"]
    for name in trust.ATTACKS:
        title = f"**{name}**" if name in trust.BARS else name
        lines.append(f"| {title} | " + " | ".join(f"{np.mean(column[3][name]):.3f}" for column in columns) + " |")
    (trust.HERE / "published.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
