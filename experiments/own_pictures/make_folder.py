"""Write a folder as found on people's disks: photographs of a phone, screenshots and unusable files.

    python experiments/own_pictures/make_folder.py FOLDER [NUMBER]

The photographs are landscapes drawn by this program (NUMBER, 300 by default, of 1200x900 pixels, in three
subfolders), saved as phones do: JPEG with sensor noise, turned by EXIF, some in Display P3, some PNG, WebP or TIFF.
Beside them lie captions, a table, copies, and all kinds of files that cannot be used.
"""
import io
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 1200, 900
STEP = 3  # pixels between those that are computed
KINDS = ("beach", "meadow", "mountains")
SKIES = {"day": ((70, 130, 210), (190, 220, 245)), "sunset": ((60, 60, 120), (250, 160, 90)),
         "night": ((10, 14, 40), (50, 60, 100)), "gray": ((140, 150, 160), (205, 210, 215))}
GROUND = {"beach": ((28, 90, 130), (225, 200, 150)), "meadow": ((70, 130, 60), (120, 170, 70)),
          "mountains": ((90, 90, 110), (60, 80, 70))}
ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif"}


def ridge(rng, roughness: float) -> np.ndarray:
    """A skyline: float [WIDTH / STEP], about in [-1, 1]; a random walk by octaves."""
    line, x = np.zeros(WIDTH // STEP), np.linspace(0, 1, WIDTH // STEP)
    for octave in range(7):
        knots = rng.normal(size=2 ** octave + 2)
        line += np.interp(x, np.linspace(0, 1, len(knots)), knots) * roughness ** octave
    return line / 2


def landscape(rng, kind: str, sky: str) -> np.ndarray:
    """uint8 [HEIGHT,WIDTH,3]"""
    high, low = (np.array(color, float) for color in SKIES[sky])
    y, x = np.mgrid[:HEIGHT:STEP, :WIDTH:STEP]
    t = (y / HEIGHT)[..., None] ** 0.8
    image = high * (1 - t) + low * t
    if sky != "gray":  # sun or moon, with its glow
        cx, cy, radius = rng.uniform(150, WIDTH - 150), rng.uniform(80, 330), rng.uniform(30, 70)
        distance = np.hypot(x - cx, y - cy)
        color = np.array((255, 244, 214) if sky != "night" else (235, 235, 225))
        glow = np.exp(-np.maximum(distance - radius, 0) / 90)[..., None] * (0.7 if sky != "night" else 0.3)
        image += (color - image) * np.where(distance[..., None] < radius, 1, glow)
    light = {"day": 1.0, "sunset": 0.75, "night": 0.3, "gray": 0.85}[sky]
    back, front = (np.array(color, float) * light for color in GROUND[kind])
    horizon = rng.uniform(430, 560)
    layers = {"beach": ((0, 0.3, back, horizon), (40, 0.35, front, horizon + 210)),
              "meadow": ((60, 0.4, back * 0.8 + 20, horizon), (40, 0.35, front, horizon + 120)),
              "mountains": ((230, 0.52, back, horizon - 30), (150, 0.5, front, horizon + 150))}[kind]
    for height, rough, color, base in layers:
        line = base - height * ridge(rng, rough)
        below = y > line[None]
        shade = 1 + 0.25 * (y - line[None]) / HEIGHT + 0.05 * ridge(rng, 0.7)[None]
        image = np.where(below[..., None], color * shade[..., None], image)
        if kind == "mountains" and height > 200:  # snow
            snow = below & (y < line[None] + 45 + 25 * ridge(rng, 0.6)[None]) & (line[None] < base - 40)
            image = np.where(snow[..., None], 245.0 * light, image)
    if kind == "meadow":
        for _ in range(rng.integers(2, 8)):  # trees
            cx, cy, size = rng.uniform(0, WIDTH), rng.uniform(horizon + 60, HEIGHT - 120), rng.uniform(40, 110)
            crown = np.hypot((x - cx) / 0.8, y - cy + size) < size
            trunk = (abs(x - cx) < size / 8) & (y > cy - size / 2) & (y < cy + size / 2)
            image = np.where(trunk[..., None], np.array((90, 60, 40)) * light, image)
            image = np.where(crown[..., None], np.array((40, 95, 45)) * light * rng.uniform(0.8, 1.2), image)
    image = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    noise = 4 * rng.standard_normal((HEIGHT, WIDTH, 3), np.float32)  # of the sensor
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)


def display_p3() -> bytes:
    """A small ICC profile of Display P3 (primaries adapted to D50; a plain gamma of 2.2 for its curve)."""
    def xyz(*values):
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(2.2 * 256), 0)
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 11) + b"Display P3\0" + bytes(78),
            b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz(0.9642, 1, 0.8249), b"rXYZ": xyz(0.5151, 0.2412, -0.0011),
            b"gXYZ": xyz(0.2920, 0.6922, 0.0419), b"bXYZ": xyz(0.1571, 0.0666, 0.7841), b"rTRC": curve, b"gTRC": curve,
            b"bTRC": curve}
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s12s4s", start + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ",
                       struct.pack(">6H", 2020, 1, 1, 0, 0, 0), b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def photographs(folder: Path, number: int) -> list[tuple[str, str, str]]:
    """Saves them and gives [(name, kind, sky)]."""
    saved, profile = [], display_p3()
    for i in range(number):
        rng = np.random.default_rng([2026, i])
        kind, sky = KINDS[i % 3], list(SKIES)[rng.choice(4, p=(0.4, 0.3, 0.15, 0.15))]
        picture = Image.fromarray(landscape(rng, kind, sky))
        exif, options, format = Image.Exif(), {"quality": 90}, "JPEG"
        if i % 10 == 3:  # held upright: stored turned, and EXIF says so
            picture, exif[274] = picture.transpose(Image.Transpose.ROTATE_90), 6
        if i % 5 == 1:
            options["icc_profile"] = profile
        if i % 50 == 7:
            format, options = ("PNG", "WEBP", "TIFF")[i // 50 % 3], {}
        name = f"{kind}/IMG_{4000 + i}{ENDINGS[format]}"
        (folder / kind).mkdir(parents=True, exist_ok=True)
        picture.save(folder / name, format, exif=exif, **options)
        saved.append((name, kind, sky))
    return saved


def screenshot(seed: int) -> Image.Image:
    """A window with a title and lines of text, RGBA, as screenshots are."""
    rng = np.random.default_rng([7, seed])
    picture = Image.new("RGBA", (1080, 2160), (248, 248, 250, 255))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 1080, 180), fill=tuple(rng.integers(40, 200, 3).tolist()))
    for line in range(30):
        draw.rectangle((60, 260 + 60 * line, 60 + int(rng.integers(300, 960)), 285 + 60 * line), fill=(60, 60, 70))
    return picture


def clutter(folder: Path, photos: list[tuple[str, str, str]]) -> None:
    """Copies, near copies, and files that cannot be used."""
    first = (folder / photos[0][0]).read_bytes()
    for i in range(6):
        (folder / "screenshots").mkdir(exist_ok=True)
        screenshot(i).save(folder / "screenshots" / f"Screenshot_{i}.png")
    for i, (name, _, _) in enumerate(photos[:12]):
        shutil.copy(folder / name, folder / name.replace("IMG", f"copy ({i}) of IMG"))
        with Image.open(folder / photos[20 + i][0]) as picture:
            small = picture.convert("RGB").resize((picture.width // 2, picture.height // 2))
            shared = (folder / photos[20 + i][0].replace("IMG", "shared_IMG")).with_suffix(".jpg")
            small.save(shared, quality=60, exif=picture.getexif())
    for i, (name, _, _) in enumerate(photos[40:48]):
        data = (folder / name).read_bytes()
        (folder / f"download_{i}.jpg").write_bytes(data[:len(data) * (i + 1) // 10])
    (folder / "zero.jpg").write_bytes(b"")
    (folder / "renamed.jpg").write_text("<html>404 Not Found</html>")
    (folder / "movie.mov").write_bytes(b"\0\0\0\x14ftypqt  " + bytes(1000))
    (folder / "IMG_5001.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(1000))
    (folder / "letter.pdf").write_bytes(b"%PDF-1.7")
    (folder / "todo.txt").write_text("sort these")
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    Image.open(io.BytesIO(first)).resize((16, 12)).save(folder / "icon.png")
    (folder / "link.jpg").symlink_to(folder / photos[0][0])

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(
        b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b""))


def words(folder: Path, photos: list[tuple[str, str, str]]) -> None:
    """A table with sources, licenses and the weather, and captions beside some."""
    with open(folder / "metadata.csv", "w", encoding="utf-8") as table:
        table.write("file_name,sky,license,source,consent\n")
        for i, (name, _, sky) in enumerate(photos):
            table.write(f"{name},{sky},{'CC BY 4.0' if i % 4 else ''},my phone,no people in it\n")
    for name, kind, sky in photos[::3]:
        article = {"day": "a sunny", "sunset": "a", "night": "a", "gray": "a gray"}[sky]
        text = f"{article} {kind} at {sky}" if sky in ("sunset", "night") else f"{article} {kind}"
        (folder / name).with_suffix(".txt").write_text(text.replace("a mountains", "mountains"))


def main(folder: Path, number: int) -> None:
    photos = photographs(folder, number)
    clutter(folder, photos)
    words(folder, photos)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 300)
