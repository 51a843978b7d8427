"""The perceptual hash, and the search for near pairs against comparing all with all."""
import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from imggen_jax.data.folders import similar


def scene(seed, size=(160, 120)) -> Image.Image:
    """Smooth colors with some edges."""
    rng = np.random.default_rng(seed)
    picture = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    x, y, w, h = rng.integers(10, 70, 4)
    picture.paste(tuple(rng.integers(0, 256, 3).tolist()), (x, y, x + w, y + h))
    return picture


def distance(a: Image.Image, b: Image.Image) -> int:
    return bin(similar.perceptual_hash(a) ^ similar.perceptual_hash(b)).count("1")


def saved_again(picture):
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=40)
    return Image.open(out)


@pytest.mark.parametrize("change", [
    saved_again, lambda picture: picture.resize((64, 48)), lambda picture: picture.convert("L"),
    lambda picture: ImageEnhance.Brightness(picture).enhance(0.9),
    lambda picture: ImageEnhance.Contrast(picture).enhance(1.1)],
    ids=["saved again", "resized", "gray", "darker", "contrast"])
def test_copies_differ_in_few_bits(change):
    assert np.mean([distance(scene(seed), change(scene(seed))) for seed in range(20)]) < 4


def test_other_pictures_differ_in_many():
    distances = [distance(scene(i), scene(j)) for i in range(20) for j in range(i)]
    assert np.mean(distances) > 20 and np.mean(np.array(distances) <= 7) < 0.01


def test_a_flat_picture_has_a_hash_that_rounding_does_not_decide():
    assert {similar.perceptual_hash(Image.new("RGB", (40, 40), (level,) * 3)) for level in range(0, 256, 5)} == {0}


def all_pairs(hashes, most):
    return {(i, j) for j in range(len(hashes)) for i in range(j)
            if bin(int(hashes[i]) ^ int(hashes[j])).count("1") <= most}


@pytest.mark.parametrize("most", range(similar.FURTHEST + 1))
def test_the_search_finds_every_pair_once(most):
    rng = np.random.default_rng(most)
    hashes = rng.integers(0, 2**64, 30, np.uint64)
    near = hashes[rng.integers(0, 30, 200)]
    for _ in range(4):
        near ^= np.uint64(1) << rng.integers(0, 64, 200).astype(np.uint64)
    hashes = np.unique(np.concatenate([hashes, near]))
    found = [(int(i), int(j)) for a, b in similar.near_pairs(hashes, most, 10**9) for i, j in zip(a, b)]
    assert len(found) == len(set(found)) and set(found) == all_pairs(hashes, most)


def test_the_search_in_many_small_portions_finds_the_same(monkeypatch):
    hashes = np.unique(np.random.default_rng(0).integers(0, 2**12, 300, np.uint64))
    whole = {tuple(pair) for a, b in similar.near_pairs(hashes, 2, 10**9) for pair in zip(a.tolist(), b.tolist())}
    monkeypatch.setattr(similar, "_AT_ONCE", 50)
    parts = {tuple(pair) for a, b in similar.near_pairs(hashes, 2, 10**9) for pair in zip(a.tolist(), b.tolist())}
    assert parts == whole == all_pairs(hashes, 2)


def test_the_search_ends_where_it_is_told():
    hashes = np.unique(np.random.default_rng(0).integers(0, 2**12, 300, np.uint64))
    assert sum(len(a) for a, _ in similar.near_pairs(hashes, 7, 100)) < len(all_pairs(hashes, 7))
    with pytest.raises(ValueError, match="up to 7 bits apart, not 8"):
        next(similar.near_pairs(hashes, 8, 10))


def test_groups():
    assert similar.groups(iter([(5, 9), (1, 2), (2, 7), (9, 5)])) == [[1, 2, 7], [5, 9]]
    assert similar.groups(iter([])) == []
