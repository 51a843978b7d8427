"""Draw the picture of this folder: ingested photographs, and samples of two short runs.

    python experiments/own_pictures/collect.py DATASET_FOLDER runs/folder_vae runs/folder_gan
"""
import io
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import imggen_jax
from imggen_jax import data

HERE = Path(__file__).parent


def block(images: np.ndarray, side: int = 64) -> np.ndarray:
    """36 pictures of any size as six rows of six, `side` pixels each."""
    large = [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)) for image in images]
    return np.concatenate([np.concatenate(large[row:row + 6], axis=1) for row in range(0, 36, 6)])


def main(dataset: Path, workdirs: list[Path]) -> None:
    source = data.open_folder(dataset, split="train[:36]")
    blocks = [block(source.read(np.arange(36))["image"])]
    blocks += [block(imggen_jax.load(workdir).sample(num=36)) for workdir in workdirs]
    gap = np.full((blocks[0].shape[0], 12, 3), 255, np.uint8)
    picture = np.concatenate([part for each in blocks for part in (each, gap)][:-1], axis=1)
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=88)
    (HERE / "pictures.jpg").write_bytes(out.getvalue())
    runs = {}
    for workdir in workdirs:
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        speeds = [line["images_per_second"] for line in lines if line.get("images_per_second")]
        runs[workdir.name] = {"images": lines[-1]["images"], "images_per_second": round(float(np.median(speeds)), 1)}
    results = json.loads((HERE / "results.json").read_text())
    card = json.loads((dataset / "card.json").read_text())
    results["phone"] = {key: card[key] for key in ("files", "pictures", "quarantined", "duplicates", "near_duplicates")}
    (HERE / "results.json").write_text(json.dumps(results | {"runs": runs}, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
