"""Pictures of prompts, of a generator whose pictures are a linear function of latent and words: known answers."""
import c2pa
import numpy as np
import pytest
import shell
import worded
from PIL import Image

from imggen_jax import prompting, prompts
from imggen_jax.errors import RunError
from imggen_jax.prompting import Wishes, making
from imggen_jax.provenance import publishing, records

PLAIN, GUIDED, SINGLE = worded.model(), worded.model(guided=True), worded.model(mixes=False)
NEAR = dict(atol=0.05)  # pictures have 8 bits


def told(model, prompt, wishes=Wishes(), **options):
    """(latents, how often each word is said) of pictures of a prompt."""
    return worded.seen(prompting.sample(model, prompt, wishes, **options))


def test_parts_count_by_their_shares_and_alternatives_come_one_after_the_other():
    _, counts = told(PLAIN, "{smiling, sad} person::2 beard::-0.5", num=2)
    for row, mood in zip(counts, ("smiling", "smiling", "sad", "sad"), strict=True):
        np.testing.assert_allclose(row, 4 / 3 * worded.said(mood, "person") - 1 / 3 * worded.said("beard"), **NEAR)


def test_a_prompt_changes_no_latent():
    smiling, sad = (told(PLAIN, f"a {mood} person", num=3, seed=5)[0] for mood in ("smiling", "sad"))
    np.testing.assert_allclose(smiling, sad, **NEAR)
    np.testing.assert_allclose(smiling, PLAIN.latents([5, 6, 7], {"text": ""}).w, **NEAR)


def test_guidance_and_what_is_negative():
    wish = Wishes(guidance=1.5, negative="beard")
    wanted = 1.5 * worded.said("sad") - 0.5 * worded.said("beard")
    for model in (PLAIN, GUIDED):
        np.testing.assert_allclose(told(model, "sad", wish)[1][0], wanted, **NEAR)
    np.testing.assert_allclose(told(PLAIN, "sad", Wishes(negative="beard"))[1][0], wanted, **NEAR)
    np.testing.assert_allclose(told(GUIDED, "sad")[1][0], 2 * worded.said("sad"), **NEAR)
    np.testing.assert_allclose(told(PLAIN, "sad", Wishes(no="beard"))[1][0],
                               2 * worded.said("sad") - worded.said("beard"), **NEAR)


def test_words_of_midjourney_change_what_they_say():
    for model, own in ((PLAIN, 1), (GUIDED, 2)):
        follows = [told(model, "sad", Wishes(stylize=s))[1][0] @ worded.said("sad") for s in (0, 100, 400, 1000)]
        assert follows == pytest.approx([1.5 * own, own, own * 0.25 ** (1 / 3), 0.25 * own], abs=0.05)
        latents, counts = told(model, "sad", Wishes(chaos=80), num=64)
        kept = counts @ worded.said("sad") / own
        assert kept.min() < 0.35 and kept.max() > 0.9 and abs(kept.mean() - 0.6) < 0.1
        np.testing.assert_allclose(latents, told(model, "sad", num=64)[0], **NEAR)
    ordinary, weird = (np.abs(told(PLAIN, "sad", Wishes(weird=w), num=9)[0]).mean() for w in (0, 3000))
    assert weird == pytest.approx(1.5 * ordinary, rel=0.05)
    for wish, steps in ((Wishes(draft=True), 2), (Wishes(quality=0.5), 4), (Wishes(steps=3), 3)):
        assert prompting.settle(GUIDED, "sad", wish, [0]).options["steps"] == steps


def test_a_picture_is_that_of_its_seed_whatever_is_made_beside_it():
    wish = Wishes(chaos=50, weird=300)
    many = prompting.sample(PLAIN, ["a {smiling, sad} person", "hair::2 beard"], wish, num=4, seed=2)
    assert np.array_equal(prompting.sample(PLAIN, "a sad person", wish, seed=3)[0], many[5])
    assert np.array_equal(prompting.sample(PLAIN, "hair::2 beard", wish, seed=5)[0], many[11])


@pytest.mark.parametrize(("model", "wish", "said"), [
    (PLAIN, Wishes(chaos=101), "chaos is 101; it must be from 0 to 100"),
    (PLAIN, Wishes(stylize=-1), "stylize is -1"), (PLAIN, Wishes(weird=float("nan")), "weird is nan"),
    (GUIDED, Wishes(quality=3), "quality is 3; choose 0.25, 0.5, 1, 2, 4"),
    (PLAIN, Wishes(quality=2), "makes a picture in one step, so it cannot honor quality"),
    (PLAIN, Wishes(draft=True), "cannot honor draft"), (PLAIN, Wishes(steps=3), "cannot honor steps"),
    (GUIDED, Wishes(steps=3, draft=True), "steps and draft both say how many steps"),
    (GUIDED, Wishes(steps=99), "steps is 99"), (GUIDED, Wishes(guidance=30.0), "guidance is 30"),
    (PLAIN, Wishes(guidance=11.0), "guidance is 11; it must be from 0 to 10"),
    (PLAIN, Wishes(size=(32, 16)), "size is 32x16, and this model makes pictures of 16x16"),
    (PLAIN, Wishes(negative=" "), "the prompt is empty"), (PLAIN, Wishes(truncation=-1.0), "truncation is -1"),
    *((SINGLE, wish, f"takes one text for a picture, so it cannot honor {name}") for wish, name in (
        (Wishes(no="hair"), "no"), (Wishes(chaos=1), "chaos"), (Wishes(stylize=0), "stylize"),
        (Wishes(guidance=2), "guidance"), (Wishes(negative="hair"), "negative"))),
])
def test_what_a_model_cannot_honor_is_refused(model, wish, said):
    with pytest.raises(RunError, match=said):
        prompting.sample(model, "sad", wish)


def test_several_texts_are_refused_by_a_model_of_one():
    with pytest.raises(RunError, match="several texts are given as one text, by weights; this model takes one"):
        prompting.sample(SINGLE, "sad::2 hair")
    assert prompting.sample(SINGLE, "sad").shape == (1, 16, 16, 1)


# ----------------------------------------------------------------------------------------------------- the command line

def refused(result, said):
    assert result.code == 2 and said in result.err and result.err.count("\n") == 1, result


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))[None, ..., None]


def test_files_remember_their_prompts_and_are_made_again(command, tmp_path):
    made = command("generate", "--model", "plain", "--prompt", "a {smiling, sad} persn::2 beard::-0.5", "--chaos", 30,
                   "--num", 2, "--repeat", 2, "--weird", 10, "--out", "OUT/out")
    assert made.code == 0 and "001_*.png: a sad persn::2 beard::-0.5" in made.out, made
    assert made.err == "note: the model never saw the word 'persn' of the prompt; the nearest that it knows: person\n"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "grid.png", "prompts.jsonl", *(f"{prompt:03d}_{seed:06d}.png" for prompt in range(2) for seed in range(4))}
    family = publishing.read(tmp_path / "out" / "001_000003.png")
    text = records.text_of(family.record.given["text"])
    assert text.texts == ("a sad persn", "beard", "") and sum(text.shares) == pytest.approx(1)
    assert family.record.arguments["chaos"] == 30
    for name in ("001_000003.png", "grid.png"):
        again = command("recall", f"OUT/out/{name}", "--model", "plain", "--out", "OUT/again")
        assert '"same": true' in again.out, again
    one = command("generate", "--model", "guided", "--prompt", "sad", "--num", 1, "--draft", "--no", "hair", "--no",
                  "beard", "--negative", "blue", "--seed", 7, "--out", "OUT/one.png")
    assert (one.code, one.out) == (0, f"{tmp_path / 'one.png'}\n"), one
    again = command("recall", "OUT/one.png", "--model", "guided", "--out", "OUT/again")
    assert '"same": true' in again.out, again


def test_prompts_of_a_file(command, tmp_path):
    (tmp_path / "list.txt").write_text("a smiling person\n\n# no\na sad person\n")
    made = command("generate", "--model", "plain", "--prompts", "OUT/list.txt", "--num", 1, "--out", "OUT/out")
    assert made.code == 0 and "000_*.png: a smiling person\n001_*.png: a sad person\n" in made.out
    for name, content, said in (("none.txt", b"\n", "holds no prompts"), ("bytes.txt", b"\xff\xfe", "it is not UTF-8")):
        (tmp_path / name).write_bytes(content)
        refused(command("generate", "--model", "plain", "--prompts", f"OUT/{name}", "--out", "OUT/no"), said)
    refused(command("generate", "--model", "plain", "--prompts", "OUT/gone.txt", "--out", "OUT/no"), "cannot be read")


@pytest.mark.parametrize(("words", "said"), [
    (["--prompt", ""], "the prompt is empty"), (["--prompt", "x" * 10_000], "has 10,000 characters"),
    (["--prompt", "{a"], "has a brace"), (["--prompt", "a::b::2"], None), (["--prompt", "a::2::3"], "without words"),
    (["--prompt", "\u043f\u0440\u0438\u0432\u0435\u0442 \U0001f600"], None),
    (["--chaos", 3, "--num", 1], "--chaos says how a prompt is followed, and none is given"),
    (["--prompt", "a", "--size", "64"], "'64' is not WIDTHxHEIGHT"),
    (["--prompt", "a", "--repeat", 50], "repeat is 50"),
    (["--prompt", "a", "--given", "text=b"], "given twice, by --prompt and by --given"),
    (["--prompt", "a", "--num", 4097], "at most 4,096 are made at once"),
    (["--prompt", "a", "--num", 0], "num is 0"), (["--prompt", "a", "--label", "x"], "'label' is given"),
])
def test_bad_input_is_one_line(words, said, command, tmp_path):
    result = command("generate", "--model", "plain", *words, "--out", "OUT/out")
    if said is None:
        assert result.code == 0, result
    else:
        refused(result, said)
        assert not (tmp_path / "out").exists()


def test_a_model_without_text_takes_no_prompt(short_run, monkeypatch, tmp_path):
    import imggen_jax

    vae = imggen_jax.load(short_run("vae"))
    monkeypatch.setattr(making, "load", lambda name: vae)
    refused(shell.call("generate", "--model", "vae", "--prompt", "a", "--out", tmp_path / "out"),
            "this model was trained without captions, so it takes no prompt")


# -------------------------------------------------------------------------------------------------------- editing verbs

def test_a_way_between_sentences(command, tmp_path):
    made = command("interpolate", "--model", "plain", "--prompts", "a smiling person", "a sad::3 beard", "--seed", 4,
                   "--frames", 5, "--even", "latent", "--out", "OUT/way")
    assert made.code == 0, made
    latents, counts = worded.seen(np.concatenate([pixels(tmp_path / "way" / f"{k:03d}.png") for k in range(5)]))
    ends = worded.said("a", "smiling", "person"), 0.75 * worded.said("a", "sad") + 0.25 * worded.said("beard")
    np.testing.assert_allclose(counts, np.linspace(*ends, 5), **NEAR)
    np.testing.assert_allclose(latents, np.tile(PLAIN.latents([4], {"text": ""}).w, (5, 1)), **NEAR)
    for name in ("001.png", "004.png", "sheet.png"):
        assert '"same": true' in command("recall", f"OUT/way/{name}", "--model", "plain", "--out", "OUT/again").out
    refused(command("interpolate", "--model", "plain", "--prompts", "a", "--out", "OUT/no"), "at least 2 images")
    refused(command("interpolate", "--model", "plain", "--prompts", "a", "b", "--prompt", "c", "--out", "OUT/no"),
            "given twice")


def test_words_are_edited_and_the_latent_stays(command, tmp_path):
    assert command("generate", "--model", "plain", "--prompt", "a smiling person", "--num", 1, "--seed", 9, "--out",
                   "OUT/face.png").code == 0
    latents, _ = worded.seen(pixels(tmp_path / "face.png"))

    def edited(*words, image="OUT/face.png"):
        result = command("edit", "--model", "plain", "--image", image, *words, "--out", "OUT/edited")
        assert result.code == 0, result
        for name in ("edited.png", "sheet.png"):
            again = command("recall", f"OUT/edited/{name}", "--model", "plain", "--out", "OUT/again")
            assert '"same": true' in again.out, again
        found = worded.seen(pixels(tmp_path / "edited" / "edited.png"))
        np.testing.assert_allclose(found[0], latents, **NEAR)
        return found[1][0]

    np.testing.assert_allclose(edited("--swap", "smiling=sad"), worded.said("a", "sad", "person"), **NEAR)
    np.testing.assert_allclose(edited("--prompt", "blue hair"), worded.said("blue", "hair"), **NEAR)
    assert (tmp_path / "edited" / "strip_prompt.png").is_file()
    gene = edited("--gene", "beard|no beard:+1.5")
    np.testing.assert_allclose(gene, worded.said("a", "smiling", "person") - 1.5 * worded.said("no"), **NEAR)
    np.testing.assert_allclose(edited("--gene", "beard|hair"), worded.said("a", "smiling", "person", "beard")
                               - worded.said("hair"), **NEAR)
    # A child of an edited picture knows its words, too.
    assert command("vary", "--model", "plain", "--image", "OUT/edited/edited.png", "--num", 2, "--out",
                   "OUT/varied").code == 0
    counts = worded.seen(pixels(tmp_path / "varied" / "001.png"))[1][0]
    np.testing.assert_allclose(counts, worded.said("a", "smiling", "person", "beard") - worded.said("hair"), **NEAR)
    assert '"same": true' in command("recall", "OUT/varied/001.png", "--model", "plain", "--out", "OUT/again").out
    # Parents with one text and with several.
    assert command("breed", "--model", "plain", "--parents", "OUT/face.png,OUT/edited/edited.png", "--num", 2, "--out",
                   "OUT/bred").code == 0
    assert '"same": true' in command("recall", "OUT/bred/001.png", "--model", "plain", "--out", "OUT/again").out
    for words, said in ((["--swap", "angry=sad"], "the word 'angry' is not in the prompt 'a smiling person'"),
                        (["--swap", "angry"], "is not of the form WORD=WORD"),
                        (["--gene", "a|"], "is not of the form WORDS|WORDS"),
                        (["--gene", "a|b:9"], "is to go 9; give a number from -6 to 6"),
                        ([], "no gene is given")):
        refused(command("edit", "--model", "plain", "--image", "OUT/face.png", *words, "--out", "OUT/no"), said)
    refused(command("edit", "--model", "single", "--seed", 1, "--was", "a", "--gene", "a|b", "--out", "OUT/no"),
            "takes one text for a picture, so two words make no gene")
    refused(command("vary", "--model", "plain", "--seed", 1, "--out", "OUT/no"), "this model needs 'text'")


def test_an_edit_is_made_as_strictly_as_the_picture_was(command, tmp_path):
    assert command("generate", "--model", "guided", "--prompt", "sad", "--guidance", 1.5, "--num", 1, "--out",
                   "OUT/one.png").code == 0
    assert command("edit", "--model", "guided", "--image", "OUT/one.png", "--swap", "sad=smiling", "--out",
                   "OUT/two.png").code == 0
    np.testing.assert_allclose(worded.seen(pixels(tmp_path / "two.png"))[1][0], 1.5 * worded.said("smiling"), **NEAR)
    assert '"same": true' in command("recall", "OUT/two.png", "--model", "guided", "--out", "OUT/again").out


def test_a_picture_of_ones_own_needs_its_words(command, tmp_path):
    Image.fromarray(pixels_of_noise()).save(tmp_path / "mine.png")
    refused(command("vary", "--model", "plain", "--image", "OUT/mine.png", "--out", "OUT/no"),
            "say with --prompt what")
    made = command("vary", "--model", "plain", "--image", "OUT/mine.png", "--prompt", "a sad persn", "--num", 1,
                   "--out", "OUT/out")
    assert made.code == 0 and "the model never saw the word 'persn'" in made.out


def pixels_of_noise():
    return np.random.default_rng(0).integers(90, 160, (16, 16), np.uint8)


def test_a_text_that_is_signed_only_if_asked_for(command, tmp_path):
    for words, there in (([], False), (["--sign-prompt"], True)):
        assert command("generate", "--model", "plain", "--prompt", "a blue::2 hair", "--num", 1, *words, "--out",
                       "OUT/one.png").code == 0
        with c2pa.Reader(str(tmp_path / "one.png")) as reader:
            assert ("a blue" in reader.json()) == there
    assert prompts.show(prompts.parse("a blue::2 hair")) == "a blue::0.666667 hair::0.333333"


# ---------------------------------------------------------------------------------------- what is done to made pictures

def test_pictures_are_continued_and_made_again(command, tmp_path):
    for words, size, place in ((["--zoom-out", 1.5], (24, 24), (4, 4)), (["--pan", "left"], (16, 24), (0, 8)),
                               (["--pan", "down", "--zoom-out", 1.25], (28, 20), (2, 2)), (["--tile"], (16, 16), None)):
        made = command("generate", "--model", "plain", "--prompt", "a sad person", "--num", 1, "--seed", 3, *words,
                       "--out", "OUT/one.png")
        assert made.code == 0, made
        picture = pixels(tmp_path / "one.png")[0, ..., 0]
        assert picture.shape == size
        if place:
            inside = picture[place[0]:place[0] + 16, place[1]:place[1] + 16]
            assert np.array_equal(inside, PLAIN.sample([3], {"text": "a sad person"})[0, ..., 0])
        again = command("recall", "OUT/one.png", "--model", "plain", "--out", "OUT/again")
        assert '"same": true' in again.out, again


def test_a_style_is_painted_on_and_named(command, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)).save(tmp_path / "style.png")
    common = ("generate", "--model", "plain", "--prompt", "a sad person", "--num", 1, "--out")
    assert command(*common, "OUT/plain.png").code == 0
    for share, changes in ((0, False), (1, True)):
        assert command(*common, "OUT/one.png", "--style-of", f"OUT/style.png:{share}").code == 0
        assert changes != np.array_equal(pixels(tmp_path / "one.png"), pixels(tmp_path / "plain.png"))
    refused(command("recall", "OUT/one.png", "--model", "plain", "--out", "OUT/again"), "in the style of style.png")
    like = ("generate", "--model", "plain", "--like", "OUT/plain.png:1", "--prompt", "a smiling person", "--num", 1)
    assert command(*like, "--out", "OUT/like.png").code == 0
    latents, counts = worded.seen(pixels(tmp_path / "like.png"))
    np.testing.assert_allclose(counts[0], worded.said("a", "smiling", "person"), **NEAR)
    np.testing.assert_allclose(latents, worded.seen(pixels(tmp_path / "plain.png"))[0], **NEAR)


@pytest.mark.parametrize(("words", "said"), [
    (["--zoom-out", 3], "zoom-out is 3.0; it must be above 1, and at most 2"),
    (["--tile", "--pan", "up"], "goes with neither zoom-out nor pan"),
    (["--style-of", "OUT/gone.png"], "gone.png cannot be read"),
    (["--style-of", "a.png:2"], "is not a number from 0 to 1"),
    (["--like", "OUT/gone.png", "--image", "a.png"], "leave out --image"), (["--like", "OUT/gone.png"], "is not there"),
])
def test_what_cannot_be_done_to_pictures_is_refused(words, said, command, tmp_path):
    result = command("generate", "--model", "plain", "--prompt", "sad", *words, "--out", "OUT/out")
    refused(result, said)
    assert not (tmp_path / "out").exists()
