"""Fingerprints: a picture is found in the log after what pictures go through, and no other is."""
import io
import json
import stat

import numpy as np
import pytest
import shell
from PIL import Image, ImageEnhance, ImageFilter

from imggen_jax.errors import RunError
from imggen_jax.pictures.files import Picture
from imggen_jax.provenance import fingerprints, publishing
from imggen_jax.provenance.publishing import Origin, Settings


def scene(seed, height=150, width=200):
    coarse = np.random.default_rng(seed).integers(50, 200, (12, 12, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def saved(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def test_a_fingerprint_is_the_signs_of_the_lowest_waves():
    """By the definition of the discrete cosine transform, written out."""
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 1), np.uint8)
    at = np.arange(32)
    cosines = np.cos(np.pi * (2 * at + 1) * at[:, None] / 64)
    cosines[0] /= 2**0.5                                   # so that all waves have one norm
    waves = cosines @ image[..., 0] @ cosines.T
    lowest = sorted(((u, v) for u in range(32) for v in range(32) if u or v), key=lambda w: (w[0] + w[1], w[0]))[:256]
    values = np.array([waves[w] for w in lowest])
    assert np.array_equal(fingerprints.fingerprint(image), values > np.median(values))


@pytest.mark.parametrize("change", [
    lambda p: saved(p, 30), lambda p: p.resize((90, 70)), lambda p: p.resize((500, 375)),
    lambda p: ImageEnhance.Brightness(p).enhance(0.6), lambda p: ImageEnhance.Contrast(p).enhance(1.4),
    lambda p: p.filter(ImageFilter.GaussianBlur(2)), lambda p: p.convert("L").convert("RGB")],
    ids=["JPEG", "smaller", "larger", "dark", "contrast", "blur", "gray"])
def test_a_changed_picture_is_near(change):
    changed = np.asarray(change(Image.fromarray(scene(3))))
    assert (fingerprints.fingerprint(scene(3)) != fingerprints.fingerprint(changed)).sum() <= fingerprints.NEAR


def test_another_picture_is_far():
    each = np.stack([fingerprints.fingerprint(scene(seed)) for seed in range(40)])
    distances = (each[:, None] != each[None]).sum(-1)[np.triu_indices(40, 1)]
    assert distances.min() > 1.5 * fingerprints.NEAR and abs(distances.mean() - 128) < 10


def test_what_is_written_is_found_again(tmp_path):
    log = tmp_path / "made.jsonl"
    with publishing.using(Settings(fingerprints=str(log))):
        publishing.write_png(tmp_path / "a.png", scene(1), Origin("generate", facts={"model": "abc"}))
        publishing.write(tmp_path / "b.jpg", Picture(scene(2)), Origin("upscale"))
        publishing.write_film(tmp_path / "c.gif", np.stack([scene(3), scene(4)]), Origin("interpolate"), duration=50)
    publishing.write_png(tmp_path / "d.png", scene(5), Origin("generate"))
    assert stat.S_IMODE(log.stat().st_mode) == 0o600 and len(log.read_text().splitlines()) == 4
    log.write_text('{"fingerprint": "ab"}\n[3]\nnothing\n' + log.read_text() + '{"fingerprint": 3}\n')
    known = fingerprints.read(log)
    (found,) = known.whose(scene(1))
    assert not found.mirrored and found.made["file"] == str(tmp_path / "a.png")
    assert (found.made["verb"], found.made["model"]) == ("generate", "abc") and "T" in found.made["time"]
    assert known.whose(scene(2)[:, ::-1])[0].mirrored and known.whose(scene(4)) and not known.whose(scene(5))


def test_whose_from_the_command_line(tmp_path):
    Image.fromarray(scene(1)).save(tmp_path / "a.png")
    log = tmp_path / "made.jsonl"
    told = shell.call("recolor", tmp_path / "a.png", "--like", tmp_path / "a.png", "--out", tmp_path / "b.jpg",
                      "--quiet", "--fingerprints", log)
    assert told.code == 0, told.err
    Image.open(tmp_path / "b.jpg").resize((111, 80)).save(tmp_path / "c.jpg", quality=60)
    told = shell.call("whose", tmp_path / "c.jpg", "--log", log)
    assert told.code == 0 and "in the log" in told.out and "b.jpg, by recolor" in told.out
    Image.fromarray(scene(2)).save(tmp_path / "d.png")
    told = shell.call("whose", tmp_path / "d.png", "--log", log, "--json")
    assert told.code == 1 and json.loads(told.out)["found"] == []


def test_one_line_for_a_log_that_is_none(tmp_path):
    (tmp_path / "empty").write_text("nothing\n")
    Image.fromarray(scene(1)).save(tmp_path / "a.png")
    for log, says in (("empty", "holds no fingerprint"), ("none", "cannot be read")):
        told = shell.call("whose", tmp_path / "a.png", "--log", tmp_path / log)
        assert told.code == 2 and says in told.err and told.err.count("\n") == 1
    with pytest.raises(RunError, match="cannot be written to"), publishing.using(Settings(fingerprints=str(tmp_path))):
        raise AssertionError("nothing is written")
