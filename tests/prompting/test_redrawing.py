"""Pictures redrawn by a model that takes them up in the middle: what stays, and what is refused."""
import jax
import numpy as np
import pytest
import reference_pipelines as reference
from PIL import Image

import imggen_jax
from imggen_jax.editing import sources
from imggen_jax.errors import RunError
from imggen_jax.prompting import redrawing

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny model, whose networks alone are compiled."""
    folder = reference.write(tmp_path_factory.mktemp("models") / "sd", "sd")
    model = reference.compiled(imggen_jax.load(folder))
    with jax.disable_jit():
        yield sources.open_run(folder, model)


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (41, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png", pixels


def test_a_picture_is_redrawn_in_its_own_proportions(run, photo, tmp_path):
    done = redrawing.whole(run, tmp_path / "out", photo[0], prompt="a cat", strength=0.05, num=1, seed=3, given={})
    assert [path.name for path in done.files] == ["sheet.png", "000.png"]
    made = Image.open(tmp_path / "out" / "000.png")
    assert made.size == (72, 58)  # about 64x64 in number, in the proportions of 50x41, sides even
    with pytest.raises(RunError, match="redraws a picture under a prompt; add --prompt"):
        redrawing.whole(run, tmp_path / "out", photo[0], prompt=None, strength=0.5, num=1, seed=3, given={})


@pytest.mark.slow  # tests/pipelines/test_models.py does it every day, without files
def test_a_part_is_made_anew_and_the_rest_is_kept_to_the_bit(run, photo, tmp_path):
    mask = np.zeros((41, 50), np.uint8)
    mask[10:30, 20:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    redrawing.part(run, tmp_path / "out", photo[0], tmp_path / "mask.png", prompt="a cat", num=1, seed=3, given={})
    made = np.asarray(Image.open(tmp_path / "out" / "000.png"))
    assert made.shape == photo[1].shape and (made[mask > 0] != photo[1][mask > 0]).mean() > 0.5
    assert (made[mask == 0] == photo[1][mask == 0]).all()
    Image.fromarray(mask[1:]).save(tmp_path / "mask.png")
    with pytest.raises(RunError, match="the mask .* is 50x40 and .* 50x41; they must be of one size"):
        redrawing.part(run, tmp_path / "out", photo[0], tmp_path / "mask.png", prompt="a cat", num=1, seed=3, given={})
