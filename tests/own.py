"""Small folders of pictures for the tests of their ingestion."""
import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from imggen_jax.data.folders import ingest

SIZE = 16


def png(seed: int, size=(20, 20), mode: str = "RGB", **options) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(out, "PNG", **options)
    return out.getvalue()


def write(root, files) -> None:
    """files: {name: bytes, text, or the seed of a picture}"""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(content) if isinstance(content, int) else content if isinstance(content, bytes) else
                         content.encode())


def made(root, files, **options):
    write(root, files)
    return ingest(root, **dict(size=SIZE, out=root.parent / "out", workers=1) | options)


def examples(ingested, split=None) -> dict[str, dict]:
    """{name: example}, read by TFDS alone."""
    builder = tfds.builder_from_directory(ingested.folder)
    return {example["name"].decode(): example for each in ([split] if split else builder.info.splits)
            for example in builder.as_data_source(each)}
