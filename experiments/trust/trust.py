"""Measure the watermark: what it costs, what it survives, and how often an unmarked picture is taken for a marked one.

    python experiments/trust/trust.py --data ../shared/data/folders --work runs/trust

Pictures are taken from photos.zip and emoji_fluent.zip in the folder, a style from paintings.zip, and avatars are drawn
by imggen_jax; nothing is downloaded. Each picture is a line of a file in --work, so that the same command goes on where
it was stopped; results.json and table.md, beside this file, are made of what is there.
"""
from __future__ import annotations

import argparse
import functools
import io
import itertools
import json
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from scipy.ndimage import gaussian_filter

import imggen_jax
from imggen_jax import data as datasets
from imggen_jax import patches, provenance
from imggen_jax.provenance import coding

HERE = Path(__file__).parent
RATE = 1e-3
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
SETS = {"photos 128": ("photos.zip", 128, 125), "photos 256": ("photos.zip", 256, 125),
        "photos 512": ("photos.zip", 512, 125), "emoji 128": ("emoji_fluent.zip", 128, 225),
        "avatars 64": (None, 64, 200), "avatars 128": (None, 128, 200)}     # file, size, how many

Pixels = np.ndarray   # uint8 [H,W,3]
Attack = Callable[[Pixels, np.random.Generator], Pixels]
MODEL = "avatars"     # shipped: makes pictures of 64 pixels of texts, in the latents of an autoencoder
STYLE = "040_vincent_van_gogh_vangogh-starry-night.jpg"     # in paintings.zip
Work = Iterator[tuple[str, Callable[[], dict]]]     # a key, and what is done for it


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


def upscaled(image: Pixels, rng) -> Pixels:
    return imggen_jax.upscale(image, scale=2)


def regenerated(image: Pixels, rng) -> Pixels:
    """Through the autoencoder, backwards through the flow to noise, and both again."""
    return model().reconstruct(image[None], {"text": ["a person"]})[0]


@functools.cache
def model():
    return imggen_jax.load(MODEL)


def stylized(strength: float, data: Path) -> Attack:
    return lambda image, rng: patches.stylize(image, style(data), strength=strength)


@functools.cache
def style(data: Path) -> Pixels:
    with zipfile.ZipFile(data / "paintings.zip") as archive:
        name = next(one for one in archive.namelist() if one.endswith(STYLE))
        return np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))


LIGHT, CONTRAST = ImageEnhance.Brightness, ImageEnhance.Contrast
GEOMETRY = both(turned(9), cropped(0.9), erased(0.05))
COLORS = both(enhanced(LIGHT, 1.3), enhanced(CONTRAST, 1.3))
DAMAGE = both(blurred(0.7), noised(4), saved(60))
BARS = ("JPEG 50", "half size", "double size", "brightness 0.7", "brightness 1.4", "contrast 0.7", "contrast 1.4",
        "blur 1", "noise 5", "crop to 80%")      # at each of which at least 95% are to be found
# What takes a search over places, of half a second: for the first pictures of a set. Others are seen as they are.
SEARCHED = {"crop to 80%": 60, **dict.fromkeys(
    ("crop to 71%", "crop to 50%", "rotation 9", "rotation 45", "mirrored", "geometric", "all three"), 12)}
# What takes seconds a picture: for the first ones, which are seen as they are.
REMADE = {"upscaled": 12, "regenerated": 12, "stylized 0.25": 3, "stylized 1": 3}
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


def remaking(data: Path) -> dict[str, Attack]:
    """By our own models, and by patches of a painting."""
    return {"upscaled": upscaled, "regenerated": regenerated,
            "stylized 0.25": stylized(0.25, data), "stylized 1": stylized(1, data)}


def pictures(data: Path, work: Path, name: str, num: int) -> Iterator[Pixels]:
    """uint8 [S,S,3], the same ones each time; avatars are drawn once, into `work`."""
    file, size, _ = SETS[name]
    if file is None:
        aside = work / f"avatars_{size}_{num}.npy"
        if not aside.exists():
            with tempfile.TemporaryDirectory() as folder:
                name = datasets.draw_avatars("measured", size=size, train=num, test=1, dir=folder)
                faces = datasets.open_dataset(name=name, split="train", dir=folder)
                np.save(aside, faces.read(np.arange(num))["image"])
        yield from np.load(aside)
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


def payload_of(number: int) -> int:
    return int(np.random.default_rng([1, number]).integers(0, 2**32))


def measure(image: Pixels, number: int) -> dict:
    """What the mark of one picture costs, and what it survives without a search."""
    start = time.process_time()
    marked = provenance.mark(image, payload_of(number))
    seconds = time.process_time() - start
    error = np.mean((image.astype(float) - marked)**2)
    out: dict = {"psnr": 10 * np.log10(255**2 / error), "ssim": ssim(image, marked), "mark_ms": 1000 * seconds}
    return out | {name: look_for(marked, number, name) for name in ATTACKS
                  if name not in SEARCHED | REMADE}


def look_for(marked: Pixels, number: int, name: str) -> dict:
    """Whether a mark is found after an attack."""
    changed = ATTACKS[name](marked, np.random.default_rng([2, number]))
    found = provenance.detect(changed, rate=RATE, search=name in SEARCHED)
    return {"found": int(found.marked), "payload": int(found.payload == payload_of(number)),
            "wrong": int(found.marked and found.payload not in (None, payload_of(number))),
            "bits": float(np.mean(np.sign(found.soft) == coding.encode(payload_of(number))))}


def summed(rows: Mapping[int, dict], searched: Mapping[str, Sequence[dict]]) -> dict:
    """The figures of a set, from those of its pictures."""
    each = list(rows.values())
    psnr = [row["psnr"] for row in each]
    out: dict = {"pictures": len(each), "psnr": mean(psnr), "psnr_least": round(min(psnr), 2),
                 "ssim": mean(row["ssim"] for row in each), "mark_ms": mean(row["mark_ms"] for row in each),
                 "attacks": {}}
    for name in ATTACKS:
        seen = searched.get(name, []) if name in SEARCHED | REMADE else [row[name] for row in each]
        if seen:
            found = {key: mean(one[key] for one in seen) for key in ("found", "payload", "wrong", "bits")}
            interval = wilson(sum(one["found"] for one in seen), len(seen))
            out["attacks"][name] = found | {"pictures": len(seen), "interval": interval}
    return out


def mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 4)


def wilson(found: int, n: int) -> list[float]:
    """The 95% interval of a share (E. B. Wilson, JASA 22, 1927)."""
    z, share = 1.96, found / n
    middle, half = (share + z * z / 2 / n) / (1 + z * z / n), z * (share * (1 - share) / n + (z / 2 / n)**2)**0.5
    return [round(max(0.0, middle - half / (1 + z * z / n)), 5), round(min(1.0, middle + half / (1 + z * z / n)), 5)]


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


def look(image: Pixels) -> dict:
    """What is said of an unmarked crop as it is; falsely.py looks everywhere."""
    found = provenance.detect(image, rate=RATE, search=False)
    return {"statistic": found.statistic, "marked": int(found.marked)}


def false_positives(rows: list[dict]) -> dict:
    """The share of unmarked crops that pass the first stage."""
    values, marked = [row["statistic"] for row in rows], sum(row["marked"] for row in rows)
    return {"statistic": {"mean": mean(values), "deviation": round(float(np.std(values)), 4)},
            "as it is": {"crops": len(rows), "taken for marked": marked, "rate": marked / len(rows),
                         "interval": wilson(marked, len(rows))}}


def table(results: dict) -> str:
    sets = list(results["sets"])
    lines = [f"| | {' | '.join(sets)} |", "| --- |" + " --- |" * len(sets)]
    for row in ("pictures", "psnr", "psnr_least", "ssim"):
        cells = [f"{results['sets'][one][row]:g}" for one in sets]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    for name in ATTACKS:
        cells = [results["sets"][one]["attacks"].get(name) for one in sets]
        title = f"**{name}**" if name in BARS else name
        title += f" ({min([c['pictures'] for c in cells if c], default=0)})" if name in SEARCHED | REMADE else ""
        lines.append(f"| {title} | " + " | ".join(
            f"{c['found']:.3f} / {c['payload']:.3f} / {c['bits']:.2f}" if c else "" for c in cells) + " |")
    return "\n".join(lines) + "\n"


def resumed(file: Path, work: Work) -> None:
    """Does what has no line in a file yet, and adds its line."""
    done = set(read(file))
    with file.open("a") as opened:
        for key, each in work:
            if key not in done:
                opened.write(json.dumps({"key": key, **each()}) + "\n")
                opened.flush()


def read(file: Path) -> Mapping[str, dict]:
    lines = file.read_text().splitlines() if file.exists() else []
    return {row["key"]: row for row in map(json.loads, lines)}


def in_turn(data: Path, work: Path, most: int) -> Iterator[tuple[str, Pixels, int]]:
    """(set, picture, its number): one of each set in turn."""
    each = [[(name, image, k) for k, image in enumerate(pictures(data, work, name, min(most, num)))]
            for name, (_, _, num) in SETS.items()]
    return (one for row in itertools.zip_longest(*each) for one in row if one is not None)


def attacked(data: Path, work: Path, most: int) -> Work:
    """All pictures, after the attacks that take no search."""
    for name, image, number in in_turn(data, work, most):
        yield f"{name} {number}", lambda image=image, number=number: measure(image, number)


def searched(data: Path, work: Path, most: int, counts: Mapping[str, int] = SEARCHED) -> Work:
    """The first pictures of each set, after attacks of which `counts` says how many; what most are wanted of first."""
    for attack in sorted(counts, key=lambda each: -counts[each]):
        for name, image, number in in_turn(data, work, min(most, counts[attack])):
            if attack == "regenerated" and image.shape[0] != 64:
                continue
            yield f"{attack}: {name} {number}", lambda image=image, number=number, attack=attack: look_for(
                provenance.mark(image, payload_of(number)), number, attack)


def unmarked(data: Path, num: int) -> Work:
    for k, image in enumerate(crops(data, num)):
        yield str(k), lambda image=image: look(image)


def report(work: Path) -> None:
    direct, more = read(work / "attacked.jsonl"), {**read(work / "searched.jsonl"), **read(work / "remade.jsonl")}
    results: dict = {"rate": RATE, "sets": {}}
    for name in SETS:
        rows = {int(key.rsplit(" ", 1)[1]): row for key, row in direct.items() if key.rsplit(" ", 1)[0] == name}
        found = {attack: [row for key, row in more.items() if key.rsplit(" ", 1)[0] == f"{attack}: {name}"]
                 for attack in SEARCHED | REMADE}
        if rows:
            results["sets"][name] = summed(rows, found)
    if first := list(read(work / "unmarked_as_is.jsonl").values()):
        results["false positives"] = false_positives(first)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "table.md").write_text(table(results))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the three archives")
    parser.add_argument("--work", type=Path, required=True, help="folder for one line a picture")
    parser.add_argument("--num", type=int, default=225, help="pictures of each set, at most")
    parser.add_argument("--crops", type=int, default=20_000, help="unmarked crops, looked at as they are")
    parser.add_argument("--report", action="store_true", help="only sum up what is in --work")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    ATTACKS.update(remaking(args.data))
    if not args.report:
        common = args.data, args.work, args.num
        resumed(args.work / "attacked.jsonl", attacked(*common))
        resumed(args.work / "unmarked_as_is.jsonl", unmarked(args.data, args.crops))
        resumed(args.work / "searched.jsonl", searched(*common))
        resumed(args.work / "remade.jsonl", searched(*common, REMADE))
    report(args.work)


if __name__ == "__main__":
    main()
