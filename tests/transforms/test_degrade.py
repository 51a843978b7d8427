"""The field `source`: of the size and the kind that is asked for, and what cannot be is refused."""
import jax
import numpy as np
import pytest

from imggen_jax import bicubic, transforms
from imggen_jax.game import Field, make_spec
from imggen_jax.transforms import degrade

SPEC = make_spec(image=Field((24, 24, 3), "uint8"))


def images(number=4):
    return np.random.default_rng(0).integers(60, 200, (number, 24, 24, 3), np.uint8)


def test_bicubic_sources_are_matlabs():
    made = degrade.make(SPEC, kind="bicubic", scale=3)
    assert made.spec["source"] == Field((8, 8, 3), "uint8") and made.spec["image"] == SPEC["image"]
    batch = made.apply({"image": images()}, jax.random.key(0))
    wanted = bicubic.resize(images().astype(np.float64), 8, 8)
    assert np.abs(np.asarray(batch["source"], np.float64) - wanted).max() <= 0.51
    np.testing.assert_array_equal(batch["image"], images())


@pytest.mark.parametrize("kind", ["noise", "jpeg", "mixed"])
def test_damage_differs_from_image_to_image(kind):
    apply = degrade.make(SPEC, kind=kind, scale=1).apply
    same = np.repeat(images(1), 12, axis=0)
    made = np.asarray(apply({"image": same}, jax.random.key(0))["source"])
    damage = np.abs(made.astype(int) - same).mean((1, 2, 3))
    assert made.dtype == np.uint8 and len(set(damage.round(3))) >= 10 and damage.min() > 0
    if kind == "noise":
        assert damage.max() < 45  # the mean of |N(0, 50)| is 40


def test_some_images_lose_their_color():
    apply = degrade.make(SPEC, kind="noise", scale=1, noise=0.0, gray=0.5).apply
    made = apply({"image": images(12)}, jax.random.key(0))
    gray = [bool((image == image[..., :1]).all()) for image in np.asarray(made["image"])]
    assert 0 < sum(gray) < 12
    for one, was, lost in zip(np.asarray(made["image"]), images(12), gray):
        wanted = np.round(was @ [0.299, 0.587, 0.114])[..., None] if lost else was
        assert np.abs(one - wanted).max() <= 1  # a tie may round either way
    np.testing.assert_array_equal(made["source"], made["image"])


def test_images_are_shrunk_by_factors_of_their_own():
    made = degrade.make(SPEC, kind="bicubic", scale=2, shrink=2)
    assert (made.spec["image"].shape, made.spec["source"].shape) == ((12, 12, 3), (6, 6, 3))
    assert degrade.make(made.spec, kind="bicubic", scale=2, shrink=2).spec == made.spec
    ramp = np.broadcast_to(8 * np.arange(24)[:, None, None], (6, 24, 24, 3)).astype(np.uint8)
    made = np.asarray(made.apply({"image": ramp}, jax.random.key(0))["image"])[:, 2:-2].astype(int)
    slopes = (made[:, -1, 0, 0] - made[:, 0, 0, 0]) / 7 / 8
    assert 1 <= slopes.min() and slopes.max() <= 2 and len(set(slopes.round(2))) > 3


def test_edges_are_sharpened_and_flat_parts_stay():
    step = np.full((1, 24, 24, 3), 80, np.uint8)
    step[:, :, 12:] = 160
    flat = np.full((1, 24, 24, 3), 80, np.uint8)
    made = degrade.make(SPEC, kind="noise", scale=1, noise=0.0, sharpen=0.5).apply(
        {"image": np.concatenate([step, flat])}, jax.random.key(0))
    image = np.asarray(made["image"]).astype(int)
    np.testing.assert_array_equal(image[1], flat[0])
    assert 80 < image[0, 12, 12:].min() and image[0, 12, 12, 0] > 170 and image[0, 12, 11, 0] < 70
    np.testing.assert_array_equal(made["source"], made["image"])


def test_a_chain_goes_by_names_and_keeps_its_own_spec():
    wanted = {"degrade": {"kind": "bicubic", "scale": 2}}
    chain = transforms.chain(SPEC, wanted)
    assert transforms.chain(chain.spec, wanted).spec == chain.spec
    assert transforms.chain(SPEC, {}).spec == SPEC


@pytest.mark.parametrize(("options", "says"), [
    ({"kind": "blurred"}, "choose one of bicubic"), ({"scale": 5}, "does not divide images of 24x24"),
    ({"shrink": 5}, "degrade.shrink 5"),
    ({"noise": -1.0}, "at least 0"),
    ({"gray": 1.5}, "share of images"),
    ({"sharpen": -1.0}, "degrade.sharpen"), ({"quality_low": 90.0, "quality_high": 10.0}, "rise within 1 to 100")])
def test_what_cannot_be_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        degrade.make(SPEC, **options)
