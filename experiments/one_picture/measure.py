"""Measures the verbs of one picture; each part adds to results.json, and pages to look at go beside it.

    python experiments/one_picture/measure.py PART --data FOLDER [--pictures N]

PART: time, growth, holes, tiles, style, gpdm, worst. FOLDER holds kodak24/, paintings/ and panoramas/. `holes` needs
the packages of requirements.txt. `--pictures` takes the first N of each set only.
"""
from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import earth
import numpy as np
from PIL import Image
from scipy import ndimage

from imggen_jax import patches

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
PATCH = dict(samples=4096, projections=64)


def kodak(data: Path, number: int) -> np.ndarray:
    """Without the gray frame of the scan: uint8 [496,752,3] or [752,496,3]."""
    return np.asarray(Image.open(data / "kodak24" / f"{number}.webp").convert("RGB"))[8:-8, 8:-8]


def halved(picture: np.ndarray) -> np.ndarray:
    """At half of its size, to measure more of them in the same time."""
    return np.asarray(Image.fromarray(picture).reduce(2))


def timed(function):
    """(result, seconds, seconds of processor time)."""
    start, used = time.perf_counter(), time.process_time()
    made = function()
    return made, time.perf_counter() - start, time.process_time() - used


def store(part: str, found) -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[part] = found
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def page(name: str, rows: list[list[np.ndarray]], height: int = 200) -> None:
    """Rows of pictures, as one JPEG."""
    lines = []
    for row in rows:
        scaled = [Image.fromarray(p).resize((round(p.shape[1] * height / p.shape[0]), height)) for p in row]
        line = Image.new("RGB", (sum(p.width + 4 for p in scaled), height + 4), "white")
        x = 0
        for p in scaled:
            line.paste(p, (x, 0))
            x += p.width + 4
        lines.append(line)
    sheet = Image.new("RGB", (max(line.width for line in lines), sum(line.height for line in lines)), "white")
    y = 0
    for line in lines:
        sheet.paste(line, (0, y))
        y += line.height
    sheet.thumbnail((1400, 2400))
    for quality in (85, 75, 65, 50):
        sheet.save(HERE / f"{name}.jpg", quality=quality)
        if (HERE / f"{name}.jpg").stat().st_size < 295_000:
            return


# ------------------------------------------------------------------------------------------------------ time and memory


def photo(data: Path, megapixels: float) -> np.ndarray:
    one = Image.fromarray(kodak(data, 12))
    scale = (megapixels * 1e6 / (one.width * one.height)) ** 0.5
    return np.asarray(one.resize((round(one.width * scale), round(one.height * scale)), Image.Resampling.LANCZOS))


def hole(picture: np.ndarray) -> np.ndarray:
    """A tenth of the picture."""
    mask = np.zeros(picture.shape[:2], bool)
    height, width = mask.shape
    mask[height // 10 : int(height * 0.78), int(width * 0.26) : int(width * 0.406)] = True
    return mask


def _style(data):
    return np.asarray(Image.open(data / "paintings" / "040_vincent_van_gogh_vangogh-starry-night.jpg").convert("RGB"))


RUNS = {
    "texture 512 to 1024": lambda d: patches.texture(earth.cracked(512), (1024, 1024)),
    "texture 512 to 4096x4096": lambda d: patches.texture(earth.cracked(512), (4096, 4096)),
    "remove 10% of 1 MP": lambda d: patches.remove(photo(d, 1), hole(photo(d, 1))),
    "remove 10% of 16 MP": lambda d: patches.remove(photo(d, 16), hole(photo(d, 16))),
    "stylize 1 MP": lambda d: patches.stylize(photo(d, 1), _style(d)),
    "stylize 16 MP": lambda d: patches.stylize(photo(d, 16), _style(d)),
}


SIZES = (0.5, 1, 2, 4, 8, 16)  # megapixels
GROWTH = {f"{verb} {size} MP": functools.partial(run, size) for size in SIZES for verb, run in {
    "remove": lambda size, d: patches.remove(photo(d, size), hole(photo(d, size))),
    "stylize": lambda size, d: patches.stylize(photo(d, size), _style(d)),
    "texture": lambda size, d: patches.texture(earth.cracked(512), (round((size * 1e6) ** 0.5),) * 2),
    "recolor": lambda size, d: patches.recolor(photo(d, size), _style(d)),
}.items()}


def measure_time(data: Path, count: int, part: str = "time", runs: Iterable[str] = RUNS) -> None:
    found = {}
    for name in runs:
        line = subprocess.run([sys.executable, __file__, "one", "--data", data, "--run", name], check=True,
                              stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
        found[name] = json.loads(line) | {"load": os.getloadavg()[0]}
        print(name, found[name], flush=True)
        store(part, found)


def measure_growth(data: Path, count: int) -> None:
    measure_time(data, count, "growth", GROWTH)


def one(data: Path, name: str) -> None:
    import resource

    _, seconds, used = timed(lambda: (RUNS | GROWTH)[name](data))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": round(seconds, 1), "processor": round(used, 1), "GiB": round(peak, 2)}))


# ---------------------------------------------------------------------------------------------------------------- holes


def masks(shape: tuple[int, int], seed: int) -> dict[str, np.ndarray]:
    """Five holes: three of 1% of the picture, one of 3%, one of 10%."""
    rng = np.random.default_rng(seed)
    height, width = shape

    def box(share):
        side = round((share * height * width) ** 0.5)
        y, x = rng.integers(height // 10, height - height // 10 - side), rng.integers(10, width - 10 - side)
        mask = np.zeros(shape, bool)
        mask[y : y + side, x : x + side] = True
        return mask

    def threshold(field, share):
        return field > np.quantile(field, 1 - share)

    def blob(share):
        near = np.exp(-((np.indices(shape) - np.array([[[rng.uniform(0.3, 0.7) * n]] for n in shape])) ** 2).sum(0)
                      / (2 * (0.2 * height) ** 2))
        noise = ndimage.gaussian_filter(rng.standard_normal(shape), 6)
        return threshold(near * (1 + noise / noise.std() * 0.3), share)

    def scratches(share):
        field = ndimage.gaussian_filter(rng.standard_normal(shape), 10)
        return threshold(-np.abs(field), share)

    return {"1% box": box(0.01), "1% blob": blob(0.01), "1% scratches": scratches(0.01), "3% blob": blob(0.03),
            "10% box": box(0.10)}


def measure_holes(data: Path, count: int) -> None:
    import cv2
    from skimage.metrics import structural_similarity
    from skimage.restoration import inpaint_biharmonic

    methods = {
        "ours": lambda p, m: patches.remove(p, m),
        "TELEA": lambda p, m: cv2.inpaint(p, m.astype(np.uint8), 5, cv2.INPAINT_TELEA),
        "NS": lambda p, m: cv2.inpaint(p, m.astype(np.uint8), 5, cv2.INPAINT_NS),
        "biharmonic": lambda p, m: np.rint(255 * np.clip(inpaint_biharmonic(
            p.astype(np.float64) / 255, m, split_into_regions=True, channel_axis=-1), 0, 1)).astype(np.uint8),
    }
    found, shown = [], []
    for number in range(1, count + 1):
        picture = halved(kodak(data, number))
        for name, mask in masks(picture.shape[:2], number).items():
            spoiled = np.where(mask[..., None], 0, picture).astype(np.uint8)
            around = ndimage.binary_dilation(mask, iterations=30) & ~mask
            row, made = {"picture": number, "hole": name}, {}
            regions = dict(first_mask=mask, second_mask=around)
            inside = dict(first_mask=mask, second_mask=ndimage.binary_dilation(mask, np.ones((3, 3)), 6))
            row["truth"] = round(patches.patch_distance(picture, picture, **regions, **PATCH), 5)
            for method, fill in methods.items():
                made[method], seconds, used = timed(lambda fill=fill, spoiled=spoiled, mask=mask: fill(spoiled, mask))
                _, similar = structural_similarity(picture, made[method], channel_axis=-1, full=True)
                error = np.mean((made[method][mask].astype(float) - picture[mask]) ** 2)
                row[method] = {
                    "PSNR": round(float(10 * np.log10(255**2 / max(error, 1e-9))), 2),
                    "SSIM": round(float(similar[mask].mean()), 4),
                    "patches": round(patches.patch_distance(made[method], picture, **regions, **PATCH), 5),
                    "content": round(patches.patch_distance(made[method], picture, **inside, **PATCH), 5),
                    "seconds": round(used, 2)}
            found.append(row)
            shown.append((row["ours"]["content"] / min(row[m]["content"] for m in methods if m != "ours"),
                          [spoiled, made["ours"], made["TELEA"], made["biharmonic"], picture]))
            print(row, flush=True)
            store("holes", found)
    shown.sort(key=lambda pair: -pair[0])
    page("worst_holes", [row for _, row in shown[:10]])
    table_of_holes(found)


def table_of_holes(found) -> None:
    names = list(dict.fromkeys(row["hole"] for row in found))
    for measure in ("PSNR", "SSIM", "patches", "content", "seconds"):
        print(f"\n| {measure} | " + " | ".join(("ours", "TELEA", "NS", "biharmonic")) + " |")
        for name in names:
            rows = [row for row in found if row["hole"] == name]
            print(f"| {name} | " + " | ".join(f"{np.mean([r[m][measure] for r in rows]):.3f}" for m in
                                               ("ours", "TELEA", "NS", "biharmonic")) + " |")
    print("\n| patches of the truth | " + " | ".join(
        f"{name} {np.mean([r['truth'] for r in found if r['hole'] == name]):.3f}" for name in names) + " |")
    best = sum(r["ours"]["patches"] <= min(r[m]["patches"] for m in ("TELEA", "NS", "biharmonic")) for r in found)
    print(f"ours nearest to the surroundings: {best} of {len(found)}")
    best = sum(r["ours"]["content"] <= min(r[m]["content"] for m in ("TELEA", "NS", "biharmonic")) for r in found)
    print(f"ours nearest to what was there: {best} of {len(found)}")


# ---------------------------------------------------------------------------------------------------------------- tiles

CROPS = [  # (folder, file, left, upper, width, height)
    ("kodak24", "13.webp", 20, 330, 400, 160), ("kodak24", "1.webp", 60, 330, 250, 130),
    ("kodak24", "12.webp", 20, 360, 260, 130), ("kodak24", "16.webp", 20, 330, 400, 160),
    ("kodak24", "22.webp", 20, 430, 500, 70), ("kodak24", "5.webp", 150, 20, 400, 200),
    ("kodak24", "6.webp", 400, 250, 300, 200), ("kodak24", "11.webp", 20, 330, 300, 150),
    ("kodak24", "20.webp", 10, 420, 400, 80), ("kodak24", "24.webp", 250, 60, 200, 110),
] + [("paintings", name, 100, 60, 280, 220) for name in (
    "002_paul_cezanne_cezanne-mont-sainte.jpg", "015_claude_monet_monet-water-lilies.jpg",
    "039_vincent_van_gogh_vangogh-irises.jpg", "040_vincent_van_gogh_vangogh-starry-night.jpg",
    "045_vincent_van_gogh_landscape-with-ploughed-fields.jpg",
    "065_vincent_van_gogh_thatched-cottages-at-cordeville.jpg",
    "082_vincent_van_gogh_15.jpg", "138_francis_picabia_edtaonisl.jpg")]


def materials(data: Path) -> dict[str, np.ndarray]:
    """Twenty: two made by `earth`, eighteen cut from photographs and paintings."""
    found = {"cracked earth": earth.cracked(256, 40), "web": earth.web(256, 50)}
    for folder, name, x, y, w, h in CROPS:
        picture = Image.open(data / folder / name).convert("RGB")
        found[f"{Path(name).stem[:24]} {x},{y}"] = np.asarray(picture.crop((x, y, x + w, y + h)))
    return found


def ordinary(picture: np.ndarray) -> float:
    """The share of a picture's inner lines whose gradient is within 10% of that around them, as a seam's is to be."""
    rows, columns = picture.shape[:2]
    seams = [patches.seam(np.roll(picture, -k, 0))[0] for k in range(rows // 4, rows - rows // 4, 3)]
    seams += [patches.seam(np.roll(picture, -k, 1))[1] for k in range(columns // 4, columns - columns // 4, 3)]
    return round(float(np.mean([0.9 <= s <= 1.1 for s in seams])), 3)


def measure_tiles(data: Path, count: int) -> None:
    found, shown = {}, []
    for name, picture in list(materials(data).items())[:count]:
        made, _, used = timed(lambda p=picture: patches.tile(p))
        more = patches.texture(picture, (256, 256), tileable=True)
        found[name] = {"before": patches.seam(picture), "tile": patches.seam(made), "texture": patches.seam(more),
                       "changed": round(float((np.abs(made.astype(int) - picture).max(-1) > 8).mean()), 3),
                       "lines within 10%": ordinary(picture), "seconds": round(used, 1)}
        shown.append((max(abs(np.log(np.maximum(s, 1e-3))) for s in found[name]["tile"]),
                      [np.tile(picture, (2, 2, 1)), np.tile(made, (2, 2, 1)), np.tile(more, (2, 2, 1))]))
        print(name, found[name], flush=True)
        store("tiles", found)
    panoramas = {}
    for path in sorted((data / "panoramas").glob("*.jpg"))[::4][: min(count, 10)]:
        half = halved(np.asarray(Image.open(path).convert("RGB"))[96:416, 256:768])   # half of the way around
        made, _, used = timed(lambda p=half: patches.panorama(p, 512, wrap=True))
        panoramas[path.stem] = {"before": patches.seam(half)[1], "after": patches.seam(made)[1],
                                "seconds": round(used, 1)}
        shown.append((abs(np.log(panoramas[path.stem]["after"])), [np.roll(made, 256, 1)]))
        print(path.stem, panoramas[path.stem], flush=True)
        store("panoramas", panoramas)
    shown.sort(key=lambda pair: -pair[0])
    page("worst_tiles", [row for _, row in shown[:10]])


# ---------------------------------------------------------------------------------------------------------------- style

PAIRS = ((21, "040_vincent_van_gogh_vangogh-starry-night"), (15, "015_claude_monet_monet-water-lilies"),
         (4, "154_wassily_kandinsky_composition_vii"), (23, "021_camille_pissarro_pissarro-harvest"),
         (7, "160_katsushika_hokusai_wave"), (5, "039_vincent_van_gogh_vangogh-irises"))


def measure_style(data: Path, count: int) -> None:
    found, shown = {}, []
    for number, name in PAIRS[:count]:
        picture = halved(kodak(data, number))
        style = np.asarray(Image.open(data / "paintings" / f"{name}.jpg").convert("RGB"))
        made = {s: patches.stylize(picture, style, strength=s) for s in (0, 0.25, 0.5, 0.75, 1)}
        found[f"{number}, {name[4:]}"] = {
            "same at 0": bool(np.array_equal(made[0], picture)),
            "own style is itself": bool(np.array_equal(patches.stylize(picture, picture), picture)),
            # One draw of patches and directions is off by 0.0006 to 0.002, more than some steps of strength.
            "patches": {s: round(float(np.mean([patches.patch_distance(m, style, **PATCH, seed=k)
                                                for k in range(8)])), 4) for s, m in made.items()}}
        shown.append([picture, style, made[0.25], made[0.5], made[1]])
        print(name, found[f"{number}, {name[4:]}"], flush=True)
        store("style", found)
        page("styles", shown)


# ----------------------------------------------------------------------------------------------------------------- GPDM


def gpdm(picture: np.ndarray, seed: int, steps: int = 300) -> np.ndarray:
    """Plain, at its published settings: all 7x7 patches, 64 projections, a pyramid of 0.85 from 21 pixels, 300 steps of
    Adam with 0.01 at each level, noise of 1.5 in [-1,1] at the start. In NumPy, whose sort is the fastest on a CPU."""
    full = picture.astype(np.float32) / 127.5 - 1
    rng, sizes = np.random.default_rng(seed), [min(picture.shape[:2])]
    while sizes[-1] * 0.85 >= 21:
        sizes.append(round(sizes[-1] * 0.85))
    now = None
    for short in reversed(sizes):
        size = tuple(round(n * short / sizes[0]) for n in picture.shape[:2])
        level = patches.resize(full, size)
        now = (level + 1.5 * rng.standard_normal(level.shape, np.float32) if now is None else patches.resize(now, size))
        first, second = np.zeros_like(now), np.zeros_like(now)
        for step in range(1, steps + 1):
            slope = sliced_slope(now, level, rng)
            first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
            now = now - 0.01 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return np.rint(np.clip(now + 1, 0, 2) * 127.5).astype(np.uint8)


def sliced_slope(picture: np.ndarray, source: np.ndarray, rng: np.random.Generator, size: int = 7, count: int = 64,
                 ) -> np.ndarray:
    """The gradient of the mean absolute difference between sorted projections of all patches, by the picture.

    It is what GPDM descends (arXiv 2203.11862). Pictures: float32 [H,W,C], of one shape.
    """
    directions = rng.standard_normal((count, size, size, picture.shape[-1]), np.float32)
    directions /= np.sqrt(np.square(directions).sum((1, 2, 3), keepdims=True))
    a, b = (np.einsum("hwcyx,nyxc->nhw", np.lib.stride_tricks.sliding_window_view(one, (size, size), (0, 1)),
                      directions, optimize=True).reshape(count, -1) for one in (picture, source))
    order = a.argsort(1)
    signs = np.empty_like(a)
    np.put_along_axis(signs, order, np.sign(np.take_along_axis(a, order, 1) - np.sort(b, 1)), 1)
    height, width = (n - size + 1 for n in picture.shape[:2])
    slope, signs = np.zeros_like(picture), np.ascontiguousarray(signs.T / np.float32(signs.size))
    for dy, dx in np.ndindex(size, size):
        slope[dy : dy + height, dx : dx + width] += (signs @ directions[:, dy, dx]).reshape(height, width, -1)
    return slope


def measure_gpdm(data: Path, count: int, num: int = 2) -> None:
    """Beside `variations`: GPDM at its 300 steps, and at as many as ten times our time allows."""
    found, shown = {}, []
    patches.variations(halved(kodak(data, 13)), 1)           # what is loaded once is nobody's time
    for number in (13, 16, 21)[:count]:
        small = np.asarray(Image.fromarray(kodak(data, number)).resize((96, 64), Image.Resampling.LANCZOS))

        def judged(run):
            made, _, used = timed(run)
            near = [patches.patch_distance(m, small, **PATCH, seed=k) for m in made for k in range(4)]
            return made, {"patches": round(float(np.mean(near)), 4), "diversity": round(patches.diversity(made), 3),
                          "seconds": round(used / num, 2)}

        ours, row = judged(lambda p=small: patches.variations(p, num, strength=0.7))
        theirs, slow = judged(lambda p=small: [gpdm(p, seed) for seed in range(num)])
        steps = max(1, round(300 * 10 * row["seconds"] / slow["seconds"]))
        bounded, fast = judged(lambda p=small, steps=steps: [gpdm(p, seed, steps) for seed in range(num)])
        found[f"kodak {number}"] = {"ours": row, "GPDM": slow, "GPDM at ten times our time": fast | {"steps": steps}}
        shown.append([small, *ours[:2], *theirs[:2], *bounded[:2]])
        print(number, found[f"kodak {number}"], flush=True)
        store("gpdm", found)
        page("gpdm", shown)


# ---------------------------------------------------------------------------------------------- the worst ten of a verb


def worse(made: np.ndarray, source: np.ndarray) -> float:
    """How far the patches of a result are from those of the picture that it is made of."""
    return patches.patch_distance(made, source, **PATCH)


def _painted(picture: np.ndarray) -> np.ndarray:
    """A rough edit: a piece of the picture pasted at another place."""
    height, width = picture.shape[:2]
    paint = picture.copy()
    paint[height // 2 :, : width // 3] = picture[: height - height // 2, width - width // 3 :]
    return paint


# verb -> (picture, another one, style) -> (the result, what its patches are to be like, what is shown before it)
VERBS = {
    "variations": lambda p, q, s: (patches.variations(p, 1, strength=0.6)[0], p, [p]),
    "retarget": lambda p, q, s: (patches.retarget(p, (p.shape[0], p.shape[1] * 5 // 4)), p, [p]),
    "panorama": lambda p, q, s: (patches.panorama(p, p.shape[1] * 3 // 2), p, [p]),
    "outpaint": lambda p, q, s: (patches.outpaint(p, left=p.shape[1] // 4, top=p.shape[0] // 8), p, [p]),
    "mix": lambda p, q, s: (patches.mix(p, q), np.concatenate([p, q[:p.shape[0], :p.shape[1]]], 1), [p, q]),
    "edit": lambda p, q, s: (patches.edit(p, _painted(p)), p, [_painted(p)]),
    "stylize": lambda p, q, s: (patches.stylize(p, s), s, [p, s]),
    "recolor": lambda p, q, s: (patches.recolor(p, s), s, [p, s]),
}


def measure_worst(data: Path, count: int, verbs: Iterable[str] = VERBS) -> None:
    paintings = sorted((data / "paintings").glob("*.jpg"))
    every = [halved(kodak(data, number)) for number in range(1, 25)]
    wide = [picture for picture in every if picture.shape[1] > picture.shape[0]]
    found = json.loads(RESULTS.read_text()).get("worst", {})
    for verb in verbs:
        judged = []
        for k, picture in enumerate(wide[:count]):
            style = np.asarray(Image.open(paintings[8 * k % len(paintings)]).convert("RGB"))
            made, source, before = VERBS[verb](picture, wide[(k + 1) % len(wide)], style)
            judged.append((worse(made, source), [*before, made]))
        judged.sort(key=lambda pair: -pair[0])
        found[verb] = [round(distance, 4) for distance, _ in judged]
        print(verb, found[verb], flush=True)
        store("worst", found)
        rows = [row for _, row in judged[:10]]
        page(f"worst_{verb}", [left + right for left, right in zip(rows[::2], rows[1::2])], height=180)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("time", "growth", "holes", "tiles", "style", "gpdm", "worst", "one"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--run", metavar="VERBS", help="of `worst`: only these verbs, separated by commas")
    args = parser.parse_args()
    if args.part == "one":
        one(args.data, args.run)
    elif args.part == "worst" and args.run:
        measure_worst(args.data, args.pictures, args.run.split(","))
    else:
        globals()[f"measure_{args.part}"](args.data, args.pictures)
