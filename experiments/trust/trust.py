"""Measure the watermark: what it costs, what it survives, and how often an unmarked picture is taken for a marked one.

    python experiments/trust/trust.py --data ../shared/data/folders --num 20 --crops 2000 --full 200

Writes results.json, and table.md, beside this file. Pictures are taken from photos.zip and emoji_fluent.zip in the
folder, and from the avatars that imggen_jax draws; nothing is downloaded.
"""
from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from scipy.ndimage import gaussian_filter

from imggen_jax import data as datasets
from imggen_jax import provenance
from imggen_jax.provenance import coding

HERE = Path(__file__).parent
RATE = 1e-3
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
SETS = {"photos 128": ("photos.zip", 128), "photos 256": ("photos.zip", 256), "photos 512": ("photos.zip", 512),
        "emoji 128": ("emoji_fluent.zip", 128), "avatars 64": (None, 64), "avatars 128": (None, 128)}

Pixels = np.ndarray   # uint8 [H,W,3]
Attack = Callable[[Pixels, np.random.Generator], Pixels]


def saved(quality: int) -> Attack:
    def attack(image, rng):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))
    return attack


def scaled(factor: float) -> Attack:
    def attack(image, rng):
        picture = Image.fromarray(image)
        size = (round(picture.width * factor), round(picture.height * factor))
        return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
    return attack


def there_and_back(factor: float) -> Attack:
    return lambda image, rng: scaled(1 / factor)(scaled(factor)(image, rng), rng)


def cropped(side: float) -> Attack:
    """Crop to a share of both sides, anywhere, and resize to what it was."""
    def attack(image, rng):
        height, width = (round(each * side) for each in image.shape[:2])
        top, left = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(image.shape, (height, width)))
        part = Image.fromarray(image[top:top + height, left:left + width])
        return np.asarray(part.resize(image.shape[1::-1], Image.Resampling.BICUBIC))
    return attack


def turned(degrees: float) -> Attack:
    return lambda image, rng: np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC))


def erased(share: float) -> Attack:
    def attack(image, rng):
        image = image.copy()
        height, width = (round(each * share**0.5) for each in image.shape[:2])
        top, left = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(image.shape, (height, width)))
        image[top:top + height, left:left + width] = rng.integers(0, 256, (height, width, 3))
        return image
    return attack


def enhanced(kind: type, factor: float) -> Attack:
    return lambda image, rng: np.asarray(kind(Image.fromarray(image)).enhance(factor))


def blurred(sigma: float) -> Attack:
    return lambda image, rng: np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def noised(sigma: float) -> Attack:
    return lambda image, rng: np.clip(np.rint(image + rng.normal(0, sigma, image.shape)), 0, 255).astype(np.uint8)


def gamma(power: float) -> Attack:
    return lambda image, rng: np.rint(255 * (image / 255)**power).astype(np.uint8)


def mirrored(image: Pixels, rng) -> Pixels:
    return np.ascontiguousarray(image[:, ::-1])


def both(*attacks: Attack) -> Attack:
    def attack(image, rng):
        for one in attacks:
            image = one(image, rng)
        return image
    return attack


LIGHT, CONTRAST = ImageEnhance.Brightness, ImageEnhance.Contrast
GEOMETRY = both(turned(9), cropped(0.9), erased(0.05))
COLORS = both(enhanced(LIGHT, 1.3), enhanced(CONTRAST, 1.3))
DAMAGE = both(blurred(0.7), noised(4), saved(60))
BARS = ("JPEG 50", "half size", "double size", "brightness 0.7", "brightness 1.4", "contrast 0.7", "contrast 1.4",
        "blur 1", "noise 5", "crop to 80%")      # at each of which at least 95% are to be found
ATTACKS: dict[str, Attack] = {
    "none": lambda image, rng: image,
    "JPEG 90": saved(90), "JPEG 70": saved(70), "JPEG 50": saved(50), "JPEG 30": saved(30), "JPEG 10": saved(10),
    "half size": scaled(0.5), "double size": scaled(2), "a third and back": there_and_back(1 / 3),
    "brightness 0.7": enhanced(LIGHT, 0.7), "brightness 1.4": enhanced(LIGHT, 1.4), "brightness 2": enhanced(LIGHT, 2),
    "contrast 0.7": enhanced(CONTRAST, 0.7), "contrast 1.4": enhanced(CONTRAST, 1.4),
    "contrast 2": enhanced(CONTRAST, 2),
    "blur 1": blurred(1), "blur 4": blurred(4), "blur 20": blurred(20),
    "noise 5": noised(5), "noise 25.5": noised(25.5), "erasing 25%": erased(0.25),
    "crop to 80%": cropped(0.8), "crop to 71%": cropped(0.5**0.5), "crop to 50%": cropped(0.5),
    "rotation 9": turned(9), "rotation 45": turned(45), "mirrored": mirrored,
    "screenshot": both(scaled(0.8), gamma(0.9), saved(75)),
    "geometric": GEOMETRY, "photometric": COLORS, "degradation": DAMAGE, "all three": both(GEOMETRY, COLORS, DAMAGE),
}


def pictures(data: Path, name: str, num: int) -> Iterator[Pixels]:
    """uint8 [S,S,3], the same ones each time."""
    file, size = SETS[name]
    if file is None:
        with tempfile.TemporaryDirectory() as folder:
            name = datasets.draw_avatars("measured", size=size, train=num, test=1, dir=folder)
            faces = datasets.open_dataset(name=name, split="train", dir=folder)
            yield from (faces.read(np.array([face]))["image"][0] for face in range(num))
        return
    with zipfile.ZipFile(data / file) as archive:
        names = sorted(one for one in archive.namelist() if one.lower().endswith(PICTURES))
        for k in np.random.default_rng(0).permutation(len(names))[:num]:
            picture = Image.open(io.BytesIO(archive.read(names[k]))).convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
            side = min(picture.size)
            left, top = (picture.width - side) // 2, (picture.height - side) // 2
            yield np.asarray(picture.crop((left, top, left + side, top + side)).resize((size, size),
                                                                                      Image.Resampling.LANCZOS))


def ssim(a: Pixels, b: Pixels) -> float:
    """Structural similarity of the luma (Wang et al. 2004): Gaussian window of deviation 1.5."""
    x, y = (np.asarray(Image.fromarray(each).convert("L"), np.float64) for each in (a, b))
    mean_x, mean_y = (gaussian_filter(each, 1.5) for each in (x, y))
    var_x, var_y = (gaussian_filter(each**2, 1.5) - mean**2 for each, mean in ((x, mean_x), (y, mean_y)))
    both_ = gaussian_filter(x * y, 1.5) - mean_x * mean_y
    c1, c2 = 6.5025, 58.5225
    return float(np.mean((2 * mean_x * mean_y + c1) * (2 * both_ + c2)
                         / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))))


def measure(images: list[Pixels]) -> dict:
    """What marks cost, and what they survive."""
    payloads = [int(word) for word in np.random.default_rng(1).integers(0, 2**32, len(images))]
    start = time.process_time()
    marked = [provenance.mark(image, payload) for image, payload in zip(images, payloads)]
    seconds = (time.process_time() - start) / len(images)
    errors = [np.mean((a.astype(float) - b)**2) for a, b in zip(images, marked)]
    psnr = [10 * np.log10(255**2 / error) for error in errors]
    out = {"pictures": len(images), "psnr": mean(psnr), "psnr_least": round(float(min(psnr)), 2),
           "ssim": mean([ssim(a, b) for a, b in zip(images, marked)]), "mark_ms": round(1000 * seconds, 2),
           "attacks": {}}
    for name, attack in ATTACKS.items():
        rng = np.random.default_rng(2)
        found = [provenance.detect(attack(image, rng), rate=RATE) for image in marked]
        bits = [np.mean(np.sign(one.soft) == coding.encode(payload)) for one, payload in zip(found, payloads)]
        out["attacks"][name] = {"found": mean([one.marked for one in found]),
                                "payload": mean([one.payload == payload for one, payload in zip(found, payloads)]),
                                "wrong": mean([one.payload not in (None, payload) and one.marked
                                               for one, payload in zip(found, payloads)]),
                                "bits": mean(bits)}
        print(f"    {name:18}{out['attacks'][name]}", flush=True)
    return out


def mean(values) -> float:
    return round(float(np.mean(values)), 4)


def crops(data: Path, num: int) -> Iterator[Pixels]:
    """Unmarked: random crops of 64 to 256 pixels of all photos, and every tenth an avatar."""
    rng = np.random.default_rng(3)
    with zipfile.ZipFile(data / "photos.zip") as archive:
        names = sorted(one for one in archive.namelist() if one.lower().endswith(PICTURES))
        each = -(-num // len(names))
        for k in range(num):
            if k % each == 0:
                whole = np.asarray(Image.open(io.BytesIO(archive.read(names[k // each]))).convert("RGB"))
            side = int(rng.integers(64, min(257, *(length + 1 for length in whole.shape[:2]))))
            top, left = (int(rng.integers(0, length - side + 1)) for length in whole.shape[:2])
            yield whole[top:top + side, left:left + side]


def false_positives(data: Path, as_is: int, full: int) -> dict:
    """The share of unmarked crops that pass: of the first stage alone, for many, and of all of it, for fewer."""
    first = [provenance.detect(image, rate=RATE, search=False) for image in crops(data, as_is)]
    every = [provenance.detect(image, rate=RATE) for image in crops(data, full)]
    return {"as it is": interval(first), "everywhere": interval(every),
            "statistic": {"mean": mean([one.statistic for one in first]),
                          "deviation": round(float(np.std([one.statistic for one in first])), 4)}}


def interval(found: list[provenance.Detection]) -> dict:
    """With Wilson's 95% interval."""
    n, k, z = len(found), sum(bool(one.marked) for one in found), 1.96
    middle, half = (k + z * z / 2) / (n + z * z), z * (k * (n - k) / n + z * z / 4)**0.5 / (n + z * z)
    return {"crops": n, "taken for marked": k, "rate": k / n, "interval": [max(0.0, middle - half), middle + half]}


def table(results: dict) -> str:
    sets = list(results["sets"])
    lines = [f"| | {' | '.join(sets)} |", "| --- |" + " --- |" * len(sets)]
    for row in ("pictures", "psnr", "psnr_least", "ssim", "mark_ms"):
        cells = [f"{results['sets'][one][row]:g}" for one in sets]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    for name in ATTACKS:
        cells = [results["sets"][one]["attacks"][name] for one in sets]
        title = f"**{name}**" if name in BARS else name
        lines.append(f"| {title} | " + " | ".join(f"{c['found']:.2f} / {c['payload']:.2f}" for c in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with photos.zip and emoji_fluent.zip")
    parser.add_argument("--num", type=int, default=200, help="pictures of each set")
    parser.add_argument("--crops", type=int, default=20_000, help="unmarked crops, looked at as they are")
    parser.add_argument("--full", type=int, default=2_000, help="unmarked crops, looked at everywhere")
    parser.add_argument("--only", choices=("attacks", "false positives"), help="one part; the other stays as it was")
    args = parser.parse_args()
    file = HERE / "results.json"
    results = json.loads(file.read_text()) if args.only and file.exists() else {"rate": RATE, "sets": {}}
    for name in SETS if args.only != "false positives" else ():
        print(name, flush=True)
        results["sets"][name] = measure(list(pictures(args.data, name, args.num)))
        file.write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "table.md").write_text(table(results))
    if args.only != "attacks":
        results["false positives"] = false_positives(args.data, args.crops, args.full)
        file.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
