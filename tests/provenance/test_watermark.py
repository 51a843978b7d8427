"""The watermark: hidden, read again after what pictures go through, and not found where there is none."""
import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from imggen_jax.provenance import coding, detection, watermark, waves

PAYLOAD = 0x89ABCDEF
CRC = 4275930342          # of the pattern's waves and bits


def scene(size=192, seed=0):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(20, 236, (6, 6, 3), np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)).filter(ImageFilter.GaussianBlur(1))
    return np.asarray(Image.blend(coarse, fine, 0.15))


@pytest.fixture(scope="module")
def marked():
    return watermark.mark(scene(), PAYLOAD)


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b)**2))


def test_a_code_word_is_read_through_noise_and_nothing_else_passes_for_one():
    rng = np.random.default_rng(0)
    for payload in (0, 1, PAYLOAD, 2**32 - 1):
        word = coding.encode(payload)
        assert word.shape == (coding.BITS,) and set(np.unique(word)) <= {-1, 1}
        assert coding.decode(word + rng.normal(0, 0.8, coding.BITS)) == (payload, True)
    assert not any(coding.decode(rng.normal(0, 1, coding.BITS))[1] for _ in range(60))


def test_the_pattern_never_changes():
    """Pictures marked today are to be read in years."""
    plan = waves.pattern()
    assert len(plan.bits) == plan.ends[-1] == 4900 and np.bincount(plan.bits + 1).min() >= 18
    said = np.concatenate([plan.rows, plan.columns, plan.bits]).astype("<i4").tobytes()
    assert zlib.crc32(said) == CRC
    np.testing.assert_allclose(plan.phases[[0, 1, -1]], [0.37677 + 0.92631j, 0.98431 + 0.17645j, 0.134 - 0.99098j],
                               atol=1e-4)


@pytest.mark.parametrize("shape", [(64, 64, 3), (64, 200, 3), (130, 90, 1), (300, 200, 4), (128, 128, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_size_depth_and_number_of_channels(shape, dtype):
    height, width, channels = shape
    pixels = np.asarray(Image.fromarray(scene(max(shape[:2]))).crop((0, 0, width, height)))
    pixels = np.dstack([pixels, pixels[..., :1]])[..., [0, 1, 2, 3][:channels] if channels > 2 else [0, 3][:channels]]
    pixels = (pixels.astype(dtype) * (257 if dtype == np.uint16 else 1)).copy()
    if channels in (2, 4):
        pixels[..., -1] = np.iinfo(dtype).max
        pixels[:9, :9, -1] = 0
    marked = watermark.mark(pixels, PAYLOAD)
    assert marked.dtype == dtype and marked.shape == shape and not np.array_equal(marked, pixels)
    if channels in (2, 4):
        assert np.array_equal(marked[..., -1], pixels[..., -1]) and np.array_equal(marked[:9, :9], pixels[:9, :9])
    scale = 257 if dtype == np.uint16 else 1
    assert psnr(pixels / scale, marked / scale) > 36
    found = detection.detect(marked, search=False)
    assert found.marked and found.payload == PAYLOAD


def saved(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


ATTACKS = {
    "JPEG": lambda a: saved(a, 50),
    "half size": lambda a: np.asarray(Image.fromarray(a).resize((96, 96), Image.Resampling.BICUBIC)),
    "dark": lambda a: np.asarray(ImageEnhance.Brightness(Image.fromarray(a)).enhance(0.7)),
    "contrast": lambda a: np.asarray(ImageEnhance.Contrast(Image.fromarray(a)).enhance(1.4)),
    "blur": lambda a: np.asarray(Image.fromarray(a).filter(ImageFilter.GaussianBlur(1))),
    "noise": lambda a: np.clip(a + np.random.default_rng(0).normal(0, 5, a.shape), 0, 255).astype(np.uint8),
    "crop": lambda a: np.asarray(Image.fromarray(a[20:174, 30:184]).resize((192, 192), Image.Resampling.BICUBIC)),
    "turned": lambda a: np.asarray(Image.fromarray(a).rotate(9, Image.Resampling.BICUBIC)),
    "mirrored": lambda a: a[:, ::-1],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_it_lives_through(marked, attack):
    assert psnr(scene(), marked) > 40
    changed = ATTACKS[attack](marked)
    found = detection.detect(changed)
    assert found.marked and found.payload == PAYLOAD
    assert found.place.mirrored == (attack == "mirrored")
    if attack == "turned":
        assert abs(found.place.angle - 9) < 1.1
    if attack == "crop":
        assert abs(found.place.height - 154 / 192) < 0.03 and detection.where(changed, found).min() > -3


def test_the_statistic_of_unmarked_pictures_is_what_it_is_said_to_be():
    """The best of three of mean 0 and deviation 1 over pictures, from which the false-positive rate follows."""
    sizes = np.random.default_rng(0).integers(64, 150, 60)
    found = [detection.detect(scene(int(size), seed), search=False) for seed, size in enumerate(sizes)]
    values = [one.statistic for one in found]
    assert -0.4 < np.mean(values) < 1.3 and 0.5 < np.std(values) < 1.5 and max(values) < 4.2
    assert not any(one.marked for one in found)
    assert not detection.detect(scene(100, 5)).marked


def test_where_a_mark_was_painted_over_is_told(marked):
    changed = marked.copy()
    changed[:, 96:] = scene(seed=9)[:, 96:]
    found = detection.detect(changed)
    assert found.payload == PAYLOAD
    blocks = detection.where(changed, found)
    assert blocks[:, :4].mean() > 3 * abs(blocks[:, 4:].mean())


def test_a_second_mark_takes_the_place_of_the_first(marked):
    again = watermark.mark(marked, 77)
    assert detection.detect(again, search=False).payload == 77


def test_only_the_part_that_was_made_is_marked():
    part = np.zeros((192, 192), bool)
    part[:, 60:] = True
    marked = watermark.mark(scene(), PAYLOAD, part=part)
    assert np.array_equal(marked[:, :60], scene()[:, :60])
    assert detection.detect(marked, search=False).payload == PAYLOAD


def test_small_pictures_are_refused_by_the_marker_and_not_by_the_detector():
    with pytest.raises(ValueError, match="a picture of 63x64 cannot carry a watermark"):
        watermark.mark(scene(64)[:, :63], PAYLOAD)
    for shape, search in (((1, 1, 3), True), ((1, 70, 1), False), ((9, 5, 4), False), ((80, 80, 3), False)):
        assert not detection.detect(np.full(shape, 255, np.uint8), search=search).marked
