"""Measures super-resolution and restoration; each part adds to results.json, and pages to look at go beside it.

    python experiments/restore/measure.py PART --data FOLDER [--models FOLDER] [--scales 2 3 4] [--megapixels 2 12 24]

PART: kernel, sr, jpeg, noise, speed, memory, page, restored_page, photo_page. FOLDER holds sr_tests.zip,
jpeg_tests.zip and kodak24.zip. `--models` holds runs or exported models of the names of the shipped ones,
upscale_x2 to upscale_x4, photo_x2 and restore, which are measured without it. `speed` compares with PyTorch, if that
is installed.
"""
from __future__ import annotations

import argparse
import functools
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

import imggen_jax
from imggen_jax import bicubic
from imggen_jax.metrics.similarity import psnr, ssim

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
SETS = ("Set5", "Set14", "BSD100")


class Zip:
    """Pictures in a zip, read by name."""

    def __init__(self, path: Path):
        self.file = zipfile.ZipFile(path)
        self.names = [name for name in self.file.namelist() if name.endswith((".webp", ".png", ".jpg"))]

    def read(self, name: str) -> np.ndarray:
        """uint8 [H,W,3]"""
        return np.asarray(Image.open(io.BytesIO(self.file.read(name))).convert("RGB"))


def luma(picture: np.ndarray) -> np.ndarray:
    """Y of MATLAB's rgb2ycbcr, rounded as there: uint8 [H,W,3] -> uint8 [1,H,W,1]."""
    y = 16 + picture.astype(np.float64) @ [65.481, 128.553, 24.966] / 255
    return np.round(y).astype(np.uint8)[None, ..., None]


def scored(made: np.ndarray, true: np.ndarray, border: int) -> tuple[float, float]:
    """PSNR in dB and SSIM of Y without a border of pixels."""
    pair = [luma(each)[:, border:each.shape[0] - border, border:each.shape[1] - border] for each in (true, made)]
    return float(psnr(*pair)[0]), float(ssim(*pair)[0])


def pairs(zip_: Zip, name: str, scale: int):
    """(low resolution, high resolution) of a test set; for x3, which it lacks, made by the tested kernel."""
    for path in sorted(each for each in zip_.names if each.startswith(f"{name}/HR/")):
        high = zip_.read(path)
        if scale == 3:
            high = high[:high.shape[0] // 3 * 3, :high.shape[1] // 3 * 3]
            yield bicubic.resize_uint8(high, high.shape[0] // 3, high.shape[1] // 3), high
            continue
        other = path.replace("/HR/", f"/HRx{scale}/")
        high = zip_.read(other) if other in zip_.names else high
        yield zip_.read(path.replace("/HR/", f"/LRx{scale}/")), high


def restored(model, picture: np.ndarray) -> np.ndarray:
    return imggen_jax.restore(picture, model)


def kernel(args) -> dict:
    """The given low-resolution files against our kernel: they have to be equal."""
    zip_, differing = Zip(args.data / "sr_tests.zip"), 0
    cases = [(low, high) for name in SETS for scale in (2, 4) for low, high in pairs(zip_, name, scale)]
    for low, high in cases:
        differing += int((bicubic.resize_uint8(high, *low.shape[:2]) != low).sum())
    return {"files": len(cases), "differing_values": differing}


def sr(args) -> dict:
    """PSNR and SSIM of bicubic enlargement and of the models on the test sets."""
    zip_, found = Zip(args.data / "sr_tests.zip"), {}
    for scale in args.scales:
        model = args.model(f"upscale_x{scale}")
        for name in SETS:
            rows = []
            for low, high in pairs(zip_, name, scale):
                plain = bicubic.resize_uint8(low, *high.shape[:2])
                made = imggen_jax.upscale(low, model, scale=scale)
                rows.append((*scored(plain, high, scale), *scored(made, high, scale)))
            means = [round(float(each), 4) for each in np.mean(rows, 0)]
            found[f"x{scale} {name}"] = dict(zip(("bicubic", "bicubic_ssim", "ours", "ours_ssim"), means))
            print(f"x{scale} {name}", found[f"x{scale} {name}"], flush=True)
    return found


def jpeg(args) -> dict:
    """LIVE1's luma after JPEG, as ARCNN's table: files and what `restore` makes of them."""
    zip_, found = Zip(args.data / "jpeg_tests.zip"), {}
    for quality in (10, 20, 40):
        rows = []
        for name in zip_.names:
            gray = luma(zip_.read(name))[0, ..., 0]
            damaged = _coded(gray, quality)
            made = restored(args.model("restore"), damaged)
            rows.append([float(score(gray[None, ..., None], each[None, ..., None])[0])
                         for each in (damaged, made.reshape(gray.shape)) for score in (psnr, ssim)])
        found[f"quality {quality}"] = dict(zip(("file", "file_ssim", "ours", "ours_ssim"),
                                               np.mean(rows, 0).round(4).tolist()))
        print(found, flush=True)
    return found


def noise(args) -> dict:
    """Gaussian noise on Kodak's pictures, clipped and rounded as files are; PSNR over all channels."""
    zip_, found = Zip(args.data / "kodak24.zip"), {}
    for sigma in (15, 25, 50):
        rows = []
        for number, name in enumerate(zip_.names):
            true = zip_.read(name)
            noisy = true + np.random.default_rng(number).normal(0, sigma, true.shape)
            noisy = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
            made = restored(args.model("restore"), noisy)
            rows.append([float(psnr(true[None], each[None])[0]) for each in (noisy, made)])
        found[f"sigma {sigma}"] = dict(zip(("noisy", "ours"), np.mean(rows, 0).round(3).tolist()))
        print(found, flush=True)
    return found


def speed(args) -> dict:
    """Seconds of `upscale` from half a megapixel to two, and of the same network in PyTorch eager, alternating."""
    picture = np.random.default_rng(0).integers(0, 256, (576, 896, 3), np.uint8)
    model = args.model("upscale_x2")
    torch_net = _in_torch(model)
    times: dict[str, list[float]] = {"ours": [], "torch": []}
    imggen_jax.upscale(picture, model)  # compiles
    for _ in range(args.repeats):
        for name, run in (("ours", lambda: imggen_jax.upscale(picture, model)), ("torch", torch_net(picture))):
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(each) for name, each in times.items() if each}
    return {"seconds": {name: round(value, 3) for name, value in medians.items()},
            "ours_over_torch": round(medians["ours"] / medians["torch"], 3),
            "megapixels_a_second": round(4 * picture.shape[0] * picture.shape[1] / 1e6 / medians["ours"], 3)}


def _in_torch(model):
    """The same network in PyTorch, channels last: picture -> a function that enlarges it, whole."""
    import torch
    from torch.nn import functional as F

    weights = model.weights["restorer"]
    kernels = {name: (torch.tensor(np.asarray(each["kernel"])).permute(3, 2, 0, 1).contiguous(
        memory_format=torch.channels_last), torch.tensor(np.asarray(each["bias"])))
        for name, each in _convolutions(weights)}
    blocks = sum(name.startswith("Block_") for name in weights)

    def conv(x, name):
        return F.conv2d(x, *kernels[name], padding=1)

    def run(picture):
        x = torch.tensor(picture)[None].permute(0, 3, 1, 2).float().div(127.5).sub(1)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            first = h = conv(x, "Conv_0")
            for block in range(blocks):
                h = h + conv(F.silu(conv(h, f"Block_{block}/Conv_0")), f"Block_{block}/Conv_1")
            out = F.pixel_shuffle(conv(conv(h, "Conv_1") + first, "Conv_2"), 2)
            base = F.interpolate(x, scale_factor=2, mode="bicubic")
            return (out + base).clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()

    return lambda picture: lambda: run(picture)


def _convolutions(tree, prefix=""):
    for name, each in tree.items():
        if "kernel" in each:
            yield prefix + name, each
        else:
            yield from _convolutions(each, f"{prefix}{name}/")


def memory(args) -> dict:
    """Peak memory of the commands, and what they say beforehand, for pictures of some megapixels of noise."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in args.megapixels:
            picture, height = Path(folder) / "in.png", round((size * 2e6 / 3) ** 0.5)
            pixels = np.random.default_rng(0).integers(0, 256, (height, height * 3 // 2, 3), np.uint8)
            Image.fromarray(pixels).save(picture, compress_level=1)
            for name in ("upscale_x2", "restore"):
                command = [sys.executable, "-m", "imggen_jax.main", name.split("_")[0], str(picture), "--overwrite",
                           "--out", f"{folder}/out.png", "--model", str(args.models / name if args.models else name)]
                start = time.perf_counter()
                process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                said = process.stdout.read() if process.stdout else ""
                _, status, used = os.wait4(process.pid, 0)
                if status:
                    raise SystemExit(f"{' '.join(command)} failed")
                promised = next(line for line in said.splitlines() if "at most" in line)
                found[f"{name} {size} MP"] = {
                    "peak_gb": round(used.ru_maxrss * 1024 / 1e9, 2), "said": promised.split(": ", 1)[1],
                    "seconds": round(time.perf_counter() - start), "cpu_seconds": round(used.ru_utime + used.ru_stime)}
                print(f"{name} {size} MP", found[f"{name} {size} MP"], flush=True)
    return found


def page(args) -> dict:
    """Details of Kodak's pictures, made four times smaller: bicubic, ours, true. upscale.jpg beside this file."""
    zip_, rows = Zip(args.data / "kodak24.zip"), []
    for number, (top, left) in ((1, (170, 240)), (8, (150, 300)), (19, (110, 220)), (23, (80, 60))):
        whole = zip_.read(next(name for name in zip_.names if name.split("/")[-1] == f"{number}.webp"))
        low = bicubic.resize_uint8(whole, whole.shape[0] // 4, whole.shape[1] // 4)
        plain = bicubic.resize_uint8(low, *whole.shape[:2])
        made = imggen_jax.upscale(low, args.model("upscale_x4"), scale=4)
        rows.append(np.hstack([each[top:top + 192, left:left + 256] for each in (plain, made, whole)]))
    Image.fromarray(np.vstack(rows)).save(HERE / "upscale.jpg", quality=88)
    return {}


def restored_page(args) -> dict:
    """Details of Kodak's pictures: damaged, restored, the original. restore.jpg beside this file."""
    zip_, rows = Zip(args.data / "kodak24.zip"), []
    for number, (top, left), sigma, quality in ((4, (90, 160), 0, 10), (8, (150, 300), 25, 0), (15, (60, 240), 15, 20),
                                                (23, (80, 60), 50, 0)):
        whole = zip_.read(next(name for name in zip_.names if name.split("/")[-1] == f"{number}.webp"))
        damaged = whole + np.random.default_rng(number).normal(0, sigma, whole.shape)
        damaged = np.clip(np.round(damaged), 0, 255).astype(np.uint8)
        damaged = _coded(damaged, quality) if quality else damaged
        made = restored(args.model("restore"), damaged)
        rows.append(np.hstack([each[top:top + 192, left:left + 256] for each in (damaged, made, whole)]))
    Image.fromarray(np.vstack(rows)).save(HERE / "restore.jpg", quality=92)
    return {}


def photo_page(args) -> dict:
    """Kodak's pictures as they arrive, enlarged twofold: bicubic, for clean pictures, for photographs, the original.

    photo.jpg beside this file; and the PSNR of each, in dB over all channels of the whole pictures.
    """
    zip_, rows, found = Zip(args.data / "kodak24.zip"), [], {}
    for number, (top, left), (name, damage) in zip((4, 8, 15, 19, 23), PLACES, DAMAGE.items()):
        whole = zip_.read(next(each for each in zip_.names if each.split("/")[-1] == f"{number}.webp"))
        small = bicubic.resize_uint8(whole, whole.shape[0] // 2, whole.shape[1] // 2)
        low = damage(small, np.random.default_rng(number))
        made = {"bicubic": bicubic.resize_uint8(low, *whole.shape[:2]),
                "clean": imggen_jax.upscale(low, args.model("upscale_x2")),
                "photo": imggen_jax.upscale(low, args.model("photo_x2"))}
        found[name] = {what: round(float(psnr(whole[None], each[None])[0]), 2) for what, each in made.items()}
        rows.append(np.hstack([each[top:top + 176, left:left + 224] for each in (*made.values(), whole)]))
    Image.fromarray(np.vstack(rows)).save(HERE / "photo.jpg", quality=88)
    return found


PLACES = ((90, 160), (150, 300), (60, 240), (110, 220), (80, 60))  # upper left corners of details


def _old_jpeg(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Saved small by a camera of 2000, and once more by a site."""
    del rng
    return _coded(_coded(picture, 40), 30)


def _screenshot(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shown at another size by a browser, photographed from the screen into a file, and sent."""
    del rng
    height, width = picture.shape[:2]
    shown = Image.fromarray(picture).resize((width * 2 // 3, height * 2 // 3), Image.Resampling.BILINEAR)
    return _coded(np.asarray(shown.resize((width, height), Image.Resampling.BILINEAR)), 75)


def _dim_room(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Photons are few: noise that grows with brightness, and what the camera's file leaves of it."""
    noisy = picture + rng.normal(0, 1, picture.shape) * np.sqrt(60 + 2.0 * picture)
    return _coded(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), 85)


def _scan(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A print, a little soft, with the grain of its paper, yellowed not at all; the scanner's JPEG."""
    soft = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(0.8)), float)
    grain = np.asarray(Image.fromarray(rng.normal(128, 40, picture.shape[:2]).clip(0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(0.7)), float) - 128
    return _coded(np.clip(np.rint(soft + 0.6 * grain[..., None]), 0, 255).astype(np.uint8), 80)


def _shaken(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Out of focus, noisy, sharpened by the camera, and compressed by a messenger."""
    soft = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.2))
    noisy = np.asarray(soft) + rng.normal(0, 8, picture.shape)
    sharp = Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)).filter(ImageFilter.UnsharpMask(2, 80, 0))
    return _coded(np.asarray(sharp), 50)


DAMAGE = {"old JPEG": _old_jpeg, "screenshot": _screenshot, "dim room": _dim_room, "scan": _scan, "shaken": _shaken}


def _coded(picture: np.ndarray, quality: int) -> np.ndarray:
    """uint8 [H,W] or [H,W,3] -> the same, from a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


PARTS = {part.__name__: part for part in (kernel, sr, jpeg, noise, speed, memory, page, restored_page, photo_page)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--scales", type=int, nargs="+", default=(2, 3, 4))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--megapixels", type=int, nargs="+", default=(2, 12, 24))
    args = parser.parse_args()
    args.model = functools.cache(lambda name: imggen_jax.load(args.models / name if args.models else name))
    found = PARTS[args.part](args)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if found:
        results[args.part] = {**results.get(args.part, {}), **found}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
