"""The built-in avatars: even factors, pinned pixels, honest captions, and a TFDS dataset that reads back."""
import hashlib
import json
import socket
import subprocess
import sys

import numpy as np
import pytest

from imggen_jax import data
from imggen_jax.data import avatars, faces, sources

# sha256 over the decoded pixels of the first eight faces of train and of test.
PIXELS = {64: "c7bfb427d32d404d7444e03ea89b43eadc676a216e6d9a09df7d1a48ca4dacd4",
          32: "775b911344a5a004d6381c72d6d7b2c957913b31e1dbcb3de28dc0767de28de5"}


# The same of the first four of each, in the other styles.
STYLES = {"sketch": "57e14304120de51b16ea7f4b707aea1d426cb0c059b07e7d4e6c16af3b4cc278",
          "night": "c4cecb915d753040571132fa7fa47ab94192c9618fa6f5dfafb33b5e3104fbde"}


def some_faces(split, number):
    numbers = [avatars.face_number(split, i) for i in range(number)]
    return [(n, faces.sample_factors(n)) for n in numbers]


@pytest.fixture(scope="module")
def table():
    """int [8000,10], the factors of as many faces."""
    return np.array([list(factors.values()) for _, factors in some_faces("train", 8000)])


# ---- factors

def test_every_value_of_every_factor_is_equally_likely(table):
    for column, (name, values) in zip(table.T, faces.FACTORS.items()):
        p, counts = 1 / len(values), np.bincount(column, minlength=len(values))
        assert len(counts) == len(values), name
        assert np.all(np.abs(counts - p * len(table)) < 4.5 * np.sqrt(p * (1 - p) * len(table))), name


def test_factors_are_independent(table):
    """Pearson's chi-squared of each pair of factors, in standard deviations from its mean under independence."""
    sizes = [len(values) for values in faces.FACTORS.values()]
    for i in range(len(sizes)):
        for k in range(i):
            pair = table[:, i] * sizes[k] + table[:, k]
            joint = np.bincount(pair, minlength=sizes[i] * sizes[k]).reshape(sizes[i], sizes[k])
            expected = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True) / len(table)
            freedom = (sizes[i] - 1) * (sizes[k] - 1)
            assert ((joint - expected) ** 2 / expected).sum() < freedom + 5 * np.sqrt(2 * freedom)


def test_weights_skew_one_factor_and_leave_the_others():
    skewed = [faces.sample_factors(n, {"glasses": (1, 0, 3)}) for n in range(2000)]
    counts = np.bincount([f["glasses"] for f in skewed], minlength=3)
    assert counts[1] == 0 and abs(counts[2] - 1500) < 4.5 * np.sqrt(2000 * 0.75 * 0.25)
    even = [faces.sample_factors(n) for n in range(2000)]
    assert all({**f, "glasses": 0} == {**g, "glasses": 0} for f, g in zip(skewed, even))


@pytest.mark.parametrize("weights, words", [({"hat": (1, 1)}, "unknown factor 'hat'"),
                                            ({"glasses": (1, 1)}, "needs 3 weights"),
                                            ({"glasses": (1, -1, 1)}, "none negative"),
                                            ({"glasses": (0, 0, 0)}, "not all zero")])
def test_wrong_weights_are_refused(weights, words):
    with pytest.raises(ValueError, match=words):
        faces.sample_factors(0, weights)
    with pytest.raises(ValueError, match=words):
        next(faces.draw_many(range(2), 64, weights))


# ---- pictures

@pytest.mark.parametrize("style", STYLES)
def test_other_styles_are_the_same_everywhere_and_have_the_same_outlines(style):
    digest = hashlib.sha256()
    for number, factors in some_faces("train", 4) + some_faces("test", 4):
        image, plain = (faces.draw(factors, number, 64, each).astype(int) for each in (style, "plain"))
        digest.update(image.astype(np.uint8).tobytes())
        if style == "sketch":  # where nothing is drawn there is paper
            assert (image[(plain == plain[0, 0]).all(-1)] == (250, 247, 239)).mean() > 0.99
        else:  # where the plain face has an edge, so has this one, within a pixel
            edges = [np.abs(np.diff(one.sum(-1), axis=1))[16:60, 8:56] > least
                     for one, least in ((plain, 150), (image, 45))]
            near = edges[1] | np.roll(edges[1], 1, axis=1) | np.roll(edges[1], -1, axis=1)
            assert near[edges[0]].mean() > 0.9
    assert digest.hexdigest() == STYLES[style]


def test_a_style_that_there_is_not():
    with pytest.raises(ValueError, match="unknown style 'oil' of avatars; choose from plain, sketch, night"):
        faces.draw(faces.sample_factors(0), 0, 64, "oil")


@pytest.mark.parametrize("size", [64, 32])
def test_pixels_are_the_same_everywhere(size):
    digest = hashlib.sha256()
    for number, factors in some_faces("train", 8) + some_faces("test", 8):
        image = faces.draw(factors, number, size)
        assert image.shape == (size, size, 3) and image.dtype == np.uint8
        digest.update(image.tobytes())
    assert digest.hexdigest() == PIXELS[size]


def test_the_small_picture_is_the_area_average_of_the_large_one():
    for number, factors in some_faces("train", 5):
        large = faces.draw(factors, number, 64).astype(np.float64)
        for size in (32, 16):
            mean = large.reshape(size, 64 // size, size, 64 // size, 3).mean(axis=(1, 3))
            assert np.abs(faces.draw(factors, number, size) - mean).max() <= 0.5


def test_a_large_picture_shows_the_same_face():
    for number, factors in some_faces("train", 5):
        small = faces.shrink(faces.draw(factors, number, 256), 4).astype(int)
        assert np.abs(small - faces.draw(factors, number, 64)).mean() < 2.0


def test_changing_the_expression_changes_brows_eyes_and_mouth_alone():
    for number, factors in some_faces("train", 12):
        pictures = [faces.draw({**factors, "expression": e}, number).astype(int) for e in range(5)]
        for i in range(5):
            for k in range(i):
                rows, columns = np.nonzero(np.abs(pictures[i] - pictures[k]).max(-1))
                assert 14 <= rows.min() and rows.max() <= 52 and 14 <= columns.min() and columns.max() <= 49
                changed = np.abs(pictures[i] - pictures[k]).max(-1)[:, 18:46].max(-1) > 20
                brows_and_eyes, mouth = changed[16:37].sum(), changed[38:51].sum()
                assert brows_and_eyes >= 8 and mouth >= 3, (number, i, k)


@pytest.mark.parametrize("name", faces.FACTORS)
def test_every_value_of_every_factor_is_seen(name):
    """Nothing hides a factor entirely; the hair colour of the bald shows in their brows."""
    for number, factors in some_faces("train", 3):
        pictures = [faces.draw({**factors, name: i}, number).astype(int) for i in range(len(faces.FACTORS[name]))]
        for i in range(len(pictures)):
            for k in range(i):
                assert (np.abs(pictures[i] - pictures[k]).max(-1) > 16).sum() >= 8, (name, i, k)


def test_all_faces_differ_within_and_between_splits():
    drawn = [faces.draw(f, n, 32).tobytes() for n, f in some_faces("train", 100) + some_faces("test", 100)]
    assert len(set(drawn)) == 200
    one = some_faces("train", 1)[0][1]
    assert len({faces.draw(one, n, 32).tobytes() for n in range(20)}) == 20   # the same factors, other proportions


def test_the_corners_are_background():
    for number, factors in some_faces("train", 20):
        assert len({tuple(faces.draw(factors, number)[y, x]) for y, x in ((0, 0), (0, 63), (20, 0), (20, 63))}) == 1


@pytest.mark.parametrize("change, words", [({"hat": 1}, "exactly the factors"), ({"glasses": 3}, r"in \[0, 3\)"),
                                           ({"glasses": -1}, r"in \[0, 3\)")])
def test_wrong_factors_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        faces.draw({**faces.sample_factors(0), **change}, 0)


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="size is 48"):
        faces.draw(faces.sample_factors(0), 0, 48)
    with pytest.raises(ValueError, match="size is 48"):
        next(faces.draw_many(range(2), 48))


# ---- many faces at once

@pytest.mark.parametrize("workers", [1, 3])
def test_workers_draw_what_draw_draws_in_order(workers):
    numbers = range(100, 107)
    many = list(faces.draw_many(numbers, 32, {"skin_tone": np.arange(6)}, workers=workers))
    assert len(many) == 7
    for number, (factors, image) in zip(numbers, many):
        assert factors == faces.sample_factors(number, {"skin_tone": np.arange(6)})
        np.testing.assert_array_equal(image, faces.draw(factors, number, 32))
    assert list(faces.draw_many(range(0))) == []


def test_a_worker_without_a_reader_ends_by_itself():
    job = json.dumps({"numbers": [0, 1_000_000, 1], "size": 64, "weights": {}})
    worker = subprocess.Popen([sys.executable, "-P", faces.__file__, job], stdout=subprocess.PIPE)
    worker.stdout.read(64 * 64 * 3)
    worker.stdout.close()
    assert worker.wait(timeout=60) == 1


def test_a_dead_worker_is_an_error_and_not_a_hang(monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(RuntimeError, match="ended early"):
        next(faces.draw_many(range(4), 32))


# ---- captions

SAID = {"bald": "bald head", "heart": "heart-shaped"}


def test_captions_name_every_factor():
    for number, factors in some_faces("train", 400):
        text = avatars.caption(factors, number)
        for name, i in factors.items():
            value = faces.FACTORS[name][i]
            said = {"skin_tone": f"{value} skin", "eye_colour": f"{value} eyes",
                    "face_shape": f"{SAID.get(value, value)} face", "background_colour": f"{value} background",
                    "glasses": "no glasses" if value == "none" else f"{value} glasses",
                    "facial_hair": "no facial hair" if value == "none" else f"a {value}"}
            assert said.get(name, SAID.get(value, value)).lower() in text.lower(), (name, value, text)


def test_captions_are_well_formed_and_varied():
    texts = [avatars.caption(f, n) for n, f in some_faces("train", 400)]
    for text in texts:
        assert text[0].isupper() and text.endswith(".") and text.count(".") == 1 and "none" not in text
        words = text.lower().replace(",", "").split()
        for article, word in zip(words, words[1:]):
            if article in ("a", "an"):
                assert (article == "an") == (word[0] in "aeiou"), text
    one = some_faces("train", 1)[0][1]
    assert len({avatars.caption(one, n) for n in range(300)}) > 100


# ---- the TFDS dataset

def tiny(folder, name="tiny", **changes):
    config = avatars.AvatarsConfig(name=name, **{"size": 32, "train": 12, "test": 5, **changes})
    return avatars.Avatars(config=config, data_dir=folder)


def test_prepared_without_network_and_read_back(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"the network was asked for {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    builder = tiny(tmp_path)
    builder.download_and_prepare(file_format="array_record")
    for split, number in (("train", 12), ("test", 5)):
        source = builder.as_data_source(split)
        assert len(source) == number
        for i in range(number):
            face = avatars.face_number(split, i)
            factors, example = faces.sample_factors(face), source[i]
            np.testing.assert_array_equal(example["image"], faces.draw(factors, face, 32))
            assert {name: example[name] for name in factors} == factors
            assert example["label"] == factors["expression"]
            assert example["caption"].decode() == avatars.caption(factors, face)
    assert builder.info.features["label"].names == list(faces.FACTORS["expression"])


def test_a_config_with_a_skew_and_the_other_size(tmp_path):
    builder = tiny(tmp_path, "large", size=64, test=1, weights={"expression": (1, 0, 0, 0, 0)})
    builder.download_and_prepare(file_format="array_record")
    smiling = faces.FACTORS["expression"].index("smiling")
    for i, example in enumerate(builder.as_data_source("train")):
        assert example["label"] == smiling
        factors = {**faces.sample_factors(i), "expression": smiling}
        np.testing.assert_array_equal(faces.shrink(example["image"], 2), faces.draw(factors, i, 32))


def test_a_killed_preparation_is_done_again(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(avatars, "caption", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        tiny(tmp_path).download_and_prepare(file_format="array_record")
    assert not (tmp_path / "avatars" / "tiny" / "1.0.0").exists()
    builder = tiny(tmp_path)
    builder.download_and_prepare(file_format="array_record")
    assert len(builder.as_data_source("train")) == 12


def test_the_two_configs(tmp_path):
    for name, size in (("64x64", 64), ("32x32", 32)):
        builder = avatars.builder(name, str(tmp_path))
        assert builder.info.features["image"].shape == (size, size, 3)
        assert (builder.builder_config.train, builder.builder_config.test) == (20_000, 2_000)
    assert sorted(avatars.Avatars.builder_configs) == sorted(sources.DRAWN)
    assert avatars.Avatars(data_dir=tmp_path).builder_config.name == "64x64"
    with pytest.raises(ValueError, match="it has 64x64, 32x32, 64x64_sketch, 32x32_sketch, 64x64_night, 32x32_night"):
        avatars.builder("48x48", str(tmp_path))


# ---- avatars of one's own

def test_avatars_with_a_skew_are_a_dataset_by_name(tmp_path, caplog):
    def draw(folder, **changes):
        return data.draw_avatars("skewed", dir=str(tmp_path / folder),
                                 **{"size": 16, "train": 6, "test": 2, "weights": {"glasses": (0, 1, 0)}, **changes})

    name = draw("a")
    assert name == draw("a") == draw("a", weights={"glasses": {faces.FACTORS["glasses"][1]: 1}}) == "avatars/skewed"
    dataset = data.open_dataset(name=name, split="train", label="glasses", dir=str(tmp_path / "a"), cache=None)
    batch = dataset.read(np.arange(dataset.length))
    assert batch["image"].shape == (6, 16, 16, 3) and (batch["label"] == 1).all() and not caplog.messages
    draw("b", weights={"glasses": (0, 1, 1)})
    other = data.open_dataset(name=name, split="train", label="glasses", dir=str(tmp_path / "b"), cache=None)
    assert other.fingerprint != dataset.fingerprint  # what is cached of one is not taken for the other
    with pytest.raises(data.DataError, match="already holds avatars/skewed of another kind; choose another name"):
        draw("a", weights=None)


@pytest.mark.parametrize("config, changes, words", [
    ("32x32", {}, "'32x32' cannot name avatars of your own"), ("a:1.0.0", {}, "cannot name avatars"),
    ("a b", {}, "is not of the form"), ("a", {"train": 0}, "train is 0"), ("a", {"size": 48}, "size is 48"),
    ("a", {"weights": {"hat": {"top": 1}}}, "unknown factor 'hat'"),
    ("a", {"weights": {"glasses": {"cubic": 1}}}, "'glasses' has no value 'cubic'; its values are none"),
    ("a", {"weights": {"glasses": (1, float("nan"), 1)}}, "none negative")])
def test_avatars_that_cannot_be_drawn_are_one_clear_line(config, changes, words, tmp_path):
    with pytest.raises(data.DataError, match=words):
        data.draw_avatars(config, dir=str(tmp_path), **changes)
    assert not any(tmp_path.iterdir())
