"""Pictures from pictures and words, of a generator whose pictures are a linear function of latent and words."""
import numpy as np
import pytest
import worded
from PIL import Image

from imggen_jax.prompting import revising
from imggen_jax.provenance import records

PLAIN = worded.model()
NEAR = dict(atol=0.05)


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))[None, ..., None]


def done(result):
    assert result.code == 0, result
    return result


@pytest.fixture
def face(command, tmp_path):
    """The file of the picture of seed 9 and "a smiling person"."""
    done(command("generate", "--model", "plain", "--prompt", "a smiling person", "--num", 1, "--seed", 9, "--out",
                 "OUT/face.png"))
    return tmp_path / "face.png"


def same(command, name):
    assert '"same": true' in command("recall", name, "--model", "plain", "--out", "OUT/again").out


def test_variations_of_a_picture_under_its_own_words_and_others(command, face, tmp_path):
    latents, _ = worded.seen(pixels(face))
    common = ("generate", "--model", "plain", "--image", face, "--out")
    done(command(*common, "OUT/none", "--strength", 0, "--prompt", "a sad person", "--num", 2))
    found = worded.seen(pixels(tmp_path / "none" / "001.png"))
    np.testing.assert_allclose(found[0], latents, **NEAR)
    np.testing.assert_allclose(found[1][0], worded.said("a", "sad", "person"), **NEAR)
    done(command(*common, "OUT/some", "--strength", 0.8, "--num", 2, "--seed", 3))
    first, second = (worded.seen(pixels(tmp_path / "some" / f"00{k}.png")) for k in range(2))
    assert np.abs(first[0] - latents).max() > 0.3 and np.abs(first[0] - second[0]).max() > 0.3
    np.testing.assert_allclose(first[1][0], worded.said("a", "smiling", "person"), **NEAR)
    same(command, "OUT/some/001.png")
    same(command, "OUT/none/001.png")


def test_what_a_mask_marks_is_made_anew_and_the_rest_is_kept_to_the_bit(command, face, tmp_path):
    picture, change = pixels(face)[0, ..., 0], np.zeros((16, 16), bool)
    change[:4, :10] = change[8:] = True       # two numbers of the latent, and all words
    Image.fromarray(np.where(change, 255, 0).astype(np.uint8)).save(tmp_path / "mask.png")
    done(command("generate", "--model", "plain", "--image", face, "--mask", "OUT/mask.png", "--prompt", "a sad person",
                 "--num", 2, "--out", "OUT/filled"))
    made = [pixels(tmp_path / "filled" / f"00{k}.png") for k in range(2)]
    for one in made:
        assert np.array_equal(one[0, ~change, 0], picture[~change])
        np.testing.assert_allclose(worded.seen(one)[1][0], worded.said("a", "sad", "person"), **NEAR)
    assert not np.array_equal(*made)
    assert records.read(tmp_path / "filled" / "000.png") is None  # no latent makes it


def test_a_model_without_an_encoder_searches_the_latent(face):
    model, picture, change = worded.model(encodes=False), pixels(face)[0], np.zeros((16, 16), bool)
    change[:4, :10] = change[8:] = True
    fields = model.check_given({"text": "a sad person"}, 1)
    made = revising._completed(model, picture, change, fields, [5])
    assert np.array_equal(made[0, ~change], picture[~change])
    np.testing.assert_allclose(worded.seen(made)[1][0], worded.said("a", "sad", "person"), **NEAR)


def test_blends_of_pictures_and_prompts(command, face, tmp_path):
    done(command("generate", "--model", "plain", "--prompt", "sad hair", "--num", 1, "--seed", 2, "--out",
                 "OUT/two.png"))
    done(command("generate", "--model", "plain", "--blend", f"{face},OUT/two.png,blue beard", "--weights", "2,1,1",
                 "--num", 1, "--out", "OUT/blend.png"))
    latents = [worded.seen(pixels(path))[0][0] for path in (face, tmp_path / "two.png")]
    found = worded.seen(pixels(tmp_path / "blend.png"))
    wanted = (0.5 * worded.said("a", "smiling", "person") + 0.25 * worded.said("sad", "hair")
              + 0.25 * worded.said("blue", "beard"))
    np.testing.assert_allclose(found[1][0], wanted, **NEAR)
    mean = np.array([2 / 3, 1 / 3]) @ latents
    cosine = mean @ found[0][0] / np.linalg.norm(mean) / np.linalg.norm(found[0])
    assert cosine > 0.999                     # a mixture has the mean length of its parents
    same(command, "OUT/blend.png")
    done(command("generate", "--model", "plain", "--blend", "a sad person, beard", "--num", 2, "--seed", 4, "--out",
                 "OUT/words"))
    found = worded.seen(pixels(tmp_path / "words" / "001.png"))
    np.testing.assert_allclose(found[1][0], (worded.said("a", "sad", "person") + worded.said("beard")) / 2, **NEAR)
    np.testing.assert_allclose(found[0], PLAIN.latents([5], {"text": ""}).w, **NEAR)
    same(command, "OUT/words/001.png")


@pytest.mark.parametrize(("words", "said"), [
    (["--mask", "OUT/m.png", "--prompt", "a"], "--mask goes with --image"),
    (["--strength", "1", "--prompt", "a"], "--strength goes with --image or --blend"),
    (["--image", "FACE", "--mask", "OUT/m.png"], "--mask needs --prompt"),
    (["--image", "FACE", "--mask", "OUT/small.png", "--prompt", "a"], "must be of one size"),
    (["--image", "FACE", "--mask", "OUT/black.png", "--prompt", "a"], "marks no pixel"),
    (["--image", "OUT/small.png", "--mask", "OUT/black.png", "--prompt", "a"], "is 8x8, and this model makes"),
    (["--image", "FACE", "--mask", "OUT/gone.png", "--prompt", "a"], "gone.png cannot be read: No such file"),
    (["--image", "FACE", "--strength", "2"], "strength is 2; it must be from 0 to 1"),
    (["--image", "FACE", "--chaos", "3"], "--chaos does not go with --image"),
    (["--image", "FACE", "--prompt", "{a,b}"], "several prompts are given for one picture"),
    (["--image", "OUT/small.png"], "say with --prompt what"),
    (["--blend", "FACE"], "1 pictures or prompts are given; blend takes 2 to 5"),
    (["--blend", "FACE,FACE", "--weights", "1,x"], "weights '1,x' are not numbers"),
    (["--blend", "FACE,FACE", "--weights", "1"], "1 weights are given for 2 pictures and prompts"),
    (["--image", "FACE", "--blend", "FACE,FACE"], "both given"),
    (["--image", "FACE", "--option", "steps=3"], "--option steps does not go with --image"),
], ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None)
def test_what_cannot_be_is_refused_in_one_line(words, said, command, face, tmp_path):
    Image.new("L", (8, 8), 255).save(tmp_path / "small.png")
    Image.new("L", (16, 16)).save(tmp_path / "black.png")
    result = command("generate", "--model", "plain", *(word.replace("FACE", str(face)) for word in words), "--out",
                     "OUT/no")
    assert result.code == 2 and said in result.err and result.err.count("\n") == 1, result
    assert not (tmp_path / "no").exists()
