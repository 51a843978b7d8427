"""Speed of ingestion, memory for many files, and the effect of decoding JPEGs at a reduced size.

    python experiments/own_pictures/measure.py SCRATCH

Writes results.json beside this file. Needs two cores to itself for three minutes, and a GB in SCRATCH.
"""
import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from make_folder import landscape
from PIL import Image

from imggen_jax import data

HERE = Path(__file__).parent
PHOTOS, TINY = 1000, (20_000, 60_000)
PROGRAM = """
import json, sys, time
from imggen_jax import ingest
begun = time.perf_counter()
dataset = ingest(sys.argv[1], size=int(sys.argv[2]), out=sys.argv[3])
print(json.dumps({"seconds": time.perf_counter() - begun, "pictures": dataset.card["pictures"],
                  "near_duplicates": dataset.card["near_duplicates"]}))
"""


def megapixels(folder: Path) -> Path:
    """PHOTOS photographs of 1152x868, one megapixel: landscapes, each also mirrored, upside down and both."""
    if folder.exists():
        return folder
    folder.mkdir(parents=True)
    for i in range(PHOTOS // 4):
        rng = np.random.default_rng([1, i])
        image = landscape(rng, ("beach", "meadow", "mountains")[i % 3], ("day", "sunset", "gray")[i % 3])[:868, :1152]
        for j, turned in enumerate((image, image[::-1], image[:, ::-1], image[::-1, ::-1])):
            Image.fromarray(turned).save(folder / f"{i}_{j}.jpg", quality=90)
    return folder


def tiny(folder: Path, number: int) -> Path:
    """Distinct files of 16x16 pixels."""
    if folder.exists():
        return folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(number)
    for i in range(number):
        if i % 1000 == 0:
            (folder / f"{i // 1000:04d}").mkdir()
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(
            folder / f"{i // 1000:04d}" / f"{i:07d}.png", compress_level=0)
    return folder


def run(folder: Path, size: int, out: Path) -> dict:
    """Ingest in a process of its own: its figures, and the peak memory of it and its workers together."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder), str(size), str(out)], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    peak = [0.0]

    def watch():
        while process.poll() is None:
            peak[0] = max(peak[0], sum(map(resident, [process.pid, *children(process.pid)])))
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    figures = json.loads(process.communicate()[0])
    watcher.join()
    return figures | {"peak_mb": peak[0]}


def children(number: int) -> list[int]:
    return [int(each) for task in Path(f"/proc/{number}/task").glob("*")
            for each in (task / "children").read_text().split()]


def resident(number: int) -> float:
    """Resident memory of a process, MB."""
    try:
        return int(Path(f"/proc/{number}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except FileNotFoundError:
        return 0.0


def draft(photos: Path) -> dict:
    """Difference in levels of 255 between decoding at a reduced size and in full, and between two resize filters."""
    differences = {}
    files = [path.read_bytes() for path in sorted(photos.glob("?_0.jpg")) + sorted(photos.glob("1?_0.jpg"))]
    for size in (32, 64, 128, 256):
        small = np.stack([data.open_picture(file, size=size).image.astype(float) for file in files])
        whole = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        exact, lanczos = (np.stack([np.asarray(center(picture).resize((size, size), filter), float)
                                    for picture in whole]) for filter in (Image.Resampling.BICUBIC,
                                                                          Image.Resampling.LANCZOS))
        differences[size] = {"mean_difference": np.abs(small - exact).mean(), "psnr_db": psnr(small, exact),
                       "lanczos_instead_psnr_db": psnr(lanczos, exact)}
    return differences


def center(picture: Image.Image) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.square(a - b).mean(), 1e-9)))


def main(scratch: Path) -> None:
    photos = megapixels(scratch / "photos")
    results = {"photo_kb": sum(path.stat().st_size for path in photos.iterdir()) / PHOTOS / 1000,
               "cores": os.cpu_count(), "draft": draft(photos), "speed": {}, "many": {}}
    for size in (64, 128, 256):
        figures = run(photos, size, scratch / f"out_{size}")
        results["speed"][size] = figures | {"photos_per_second": figures["pictures"] / figures["seconds"]}
    for number in TINY:
        results["many"][number] = run(tiny(scratch / f"tiny_{number}", number), 16, scratch / f"out_tiny_{number}")
    few, more = (results["many"][number] for number in TINY)
    slope = (more["peak_mb"] - few["peak_mb"]) / (TINY[1] - TINY[0])
    results["million_files_mb_extrapolated"] = more["peak_mb"] + slope * (10**6 - TINY[1])
    (HERE / "results.json").write_text(json.dumps(rounded(results), indent=2) + "\n")


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main(Path(sys.argv[1]))
