"""Every editing verb on every game, from the command line, and one clear line for whatever is wrong."""
import json
import shutil

import icc
import jax
import numpy as np
import pytest
import shell
import tensorflow_datasets as tfds
import tiny
from PIL import Image, PngImagePlugin

import imggen_jax
from imggen_jax import editing
from imggen_jax.editing import firstlayer, verbs
from imggen_jax.errors import RunError
from imggen_jax.provenance import records

# A game's first variant; and the GAN with a mapping network, whose space is another.
KINDS = ["vae", "gan", "mapped"]


@pytest.fixture(scope="session")
def runs(tmp_path_factory, short_run):
    """kind -> the folder of a run of two steps, where genes may be learned."""
    root, made = tmp_path_factory.mktemp("editing"), {}

    def run(kind):
        if kind not in made:
            if kind == "mapped":
                config = shell.config("gan", train={"images": 16})
                config["game"] = {"name": "gan", **tiny.GAMES["gan"].variants(tiny.LABELED)["hinge"]}
                imggen_jax.train(config, root / kind)
            else:
                shutil.copytree(short_run(kind), root / kind)
            made[kind] = root / kind
        return made[kind]

    return run


def labeled(workdir):
    return ["--label", "green"] if "label" in json.loads((workdir / "data.json").read_text())["spec"] else []


def call(verb, workdir, out, *words):
    result = shell.call(verb, *words, "--workdir", workdir, "--out", out)
    assert result.code == 0, result.err
    return result.out


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("kind", ["vae", pytest.param("gan", marks=pytest.mark.slow), "mapped"])
def test_every_verb_on_every_game(kind, runs, tmp_path):
    workdir, out = runs(kind), tmp_path
    label = labeled(workdir)
    way = call("interpolate", workdir, out / "way", "--seeds", "1,2", "--frames", 4, *label)
    assert "path_length" in way
    assert {path.name for path in (out / "way").iterdir()} == {
        "sheet.png", "animation.webp", "animation.gif", *(f"00{k}.png" for k in range(4))}
    for name in ("animation.webp", "animation.gif"):
        with Image.open(out / "way" / name) as film:
            assert film.n_frames >= 2 and min(film.size) >= 128
    call("vary", workdir, out / "varied", "--seed", 1, "--num", 18, "--strength", 0.8, *label)
    call("project", workdir, out / "found", "--image", out / "varied" / "003.png", *label)
    parents = f"2,{out / 'varied' / '017.png'},{out / 'found' / 'projection.png'}"
    call("breed", workdir, out / "bred", "--parents", parents, "--num", 3, "--crossover", 0.5, *label)
    told = shell.call("genes", "--workdir", workdir, "--learn", "--method", "pca", "--faces", 4)
    assert told.code == 0 and "pca1" in told.out, told.err
    call("edit", workdir, out / "edited", "--image", out / "bred" / "002.png", "--gene", "pca1:+1.5", *label)
    assert (out / "edited" / "strip_pca1.png").is_file()
    # Each of them can be made again to the bit, sheets too.
    for path in (out / "way" / "001.png", out / "varied" / "017.png", out / "found" / "projection.png",
                 out / "bred" / "002.png", out / "edited" / "edited.png", out / "varied" / "sheet.png",
                 out / "edited" / "sheet.png", out / "edited" / "strip_pca1.png"):
        assert '"same": true' in call("recall", workdir, out / "again", path), path
        assert np.array_equal(pixels(out / "again" / path.name), pixels(path))
    page = call("lineage", workdir, out / "tree", out / "edited" / "edited.png")
    assert '"people": 6' in page  # edited, its parent, its three parents, one of whom has a parent
    html = (out / "tree" / "lineage.html").read_text()
    assert html.count("data:image/png;base64,") == 6 and "http" not in html.replace("http-equiv", "")


@pytest.mark.parametrize("kind", KINDS)
def test_closed_form_directions_where_a_dense_layer_comes_first(kind, runs):
    model = imggen_jax.load(runs(kind))
    size = model.latent_size
    result = shell.call("genes", "--workdir", runs(kind), "--learn", "--method", "sefa", "--faces", 4)
    assert result.code == 0 and "sefa1" in result.out, result.err
    fields = {name: np.zeros(1, np.int32) for name in model.generator.needs}
    kernel = firstlayer.kernel(model.sampler.decode, model.weights, size, fields)
    assert kernel.shape[0] == size and any(
        leaf.shape[1:] == kernel.shape[1:] and np.array_equal(leaf[:size], kernel)
        for leaf in map(np.asarray, jax.tree.leaves(model.weights)) if leaf.ndim == 2)


def test_generated_pictures_can_be_recalled_and_have_children(runs, tmp_path):
    workdir = runs("gan")
    made = shell.call("generate", "--workdir", workdir, "--out", tmp_path / "made", "--num", 3, "--seed", 14,
                      "--truncation", 0.7)
    assert made.code == 0
    for name in ("000016.png", "grid.png"):
        assert '"same": true' in call("recall", workdir, tmp_path / "again", tmp_path / "made" / name)
    call("vary", workdir, tmp_path / "varied", "--image", tmp_path / "made" / "000016.png", "--strength", 0, "--num", 1)
    difference = pixels(tmp_path / "varied" / "000.png").astype(int) - pixels(tmp_path / "made" / "000016.png")
    assert np.abs(difference).max() <= 1


def refused(said, *words):
    result = shell.call(*words)
    assert result.code == 2, result
    assert result.err.startswith("error: ") and result.err.count("\n") == 1, result.err
    assert said in result.err, result.err
    return result


def test_a_picture_of_another_size_or_mode_is_converted_with_a_word(runs, tmp_path):
    Image.new("RGBA", (30, 20), (200, 40, 40, 128)).save(tmp_path / "mine.png")
    said = call("project", runs("vae"), tmp_path / "out", "--image", tmp_path / "mine.png")
    assert "mine.png is 30x20 RGBA; it was converted to 16x16 RGB" in said
    assert '"psnr"' in said and '"distance"' in said


def test_a_picture_enters_as_those_of_the_dataset_did(runs, tmp_path):
    colors = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)).resize((60, 45))
    deep = Image.fromarray(np.random.default_rng(1).integers(0, 65536, (45, 60)).astype(np.uint16))
    for name, picture, profile in (("p3.png", colors, icc.rgb(icc.DISPLAY_P3)), ("16.png", deep, None),
                                   ("adobe.png", colors, icc.rgb(icc.ADOBE_RGB)),
                                   ("cmyk.tif", colors.convert("CMYK"), icc.cmyk())):
        (tmp_path / "in").mkdir(exist_ok=True)
        picture.save(tmp_path / "in" / name, icc_profile=profile)
    made = imggen_jax.ingest(tmp_path / "in", size=16, fit="pad", background="#20a040", out=tmp_path / "out", workers=1)
    (split,) = tfds.builder_from_directory(made.folder).as_data_source().values()
    model = imggen_jax.load(runs("vae"))._replace(data={"card": made.card})
    for example in split:
        image, _ = editing.open_picture(model, tmp_path / "in" / example["name"].decode())
        assert np.array_equal(image, example["image"]), example["name"]
    assert len(split) == 4


def test_pictures_that_were_changed_since_are_projected(runs, tmp_path):
    workdir = runs("vae")
    call("vary", workdir, tmp_path / "v", "--seed", 1, "--num", 1)
    with Image.open(tmp_path / "v" / "000.png") as picture:
        kept = picture.text
        changed = picture.convert("RGB").point(lambda value: 255 - value // 2)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("imggen_jax", kept["imggen_jax"])
    changed.save(tmp_path / "changed.png", pnginfo=info)
    said = call("vary", workdir, tmp_path / "w", "--image", tmp_path / "changed.png", "--num", 1)
    assert "changed.png was changed since this run made it: its pixels are projected" in said
    assert '"same": false' in call("recall", workdir, tmp_path / "again", tmp_path / "changed.png")


def test_pictures_of_other_runs_and_other_weights_are_refused(runs, tmp_path):
    vae, gan = runs("vae"), runs("gan")
    call("vary", vae, tmp_path / "v", "--seed", 1, "--num", 1)
    picture = tmp_path / "v" / "000.png"
    common = ("--workdir", gan, "--out", tmp_path / "out")
    refused("was made with the run 'vae', not with 'gan'; project it first", "breed", "--parents", f"1,{picture}",
            "--label", "#0", *common)
    refused("was made with the run 'vae'", "recall", picture, *common)
    shutil.copytree(vae, tmp_path / "longer" / "vae")
    longer = tmp_path / "longer" / "vae"
    config = json.loads((longer / "config.json").read_text())
    config["train"]["images"] = 32
    imggen_jax.train(config, longer)
    refused("was made with other weights than vae has now", "vary", "--image", picture, "--workdir", longer, "--out",
            tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_labels_asked_for_genes_is_pointed_to_those_without(runs, tmp_path, monkeypatch):
    from imggen_jax import data

    def none(**where):
        raise data.DataError("dataset 'plain' has no class labels; this needs one with labels")

    monkeypatch.setattr(data, "class_labels", none)
    refused("genes --learn --method sefa, or --method pca", "genes", "--workdir", runs("vae"), "--learn")
    shutil.copytree(runs("vae"), tmp_path / "vae", ignore=shutil.ignore_patterns("genes.npz"))
    refused("has no genes yet; learn them", "genes", "--workdir", tmp_path / "vae")


WRONG = [
    (["vary", "--seed", -1], "seed is -1"),
    (["vary", "--seed", 1, "--num", 0], "num is 0"),
    (["vary", "--seed", 1, "--strength", "much"], "strength is much; it must be from 0 to 1, or one of subtle, strong"),
    (["vary", "--seed", 1, "--label", "red"], "'label' is given, but this model does not need it"),
    (["vary", "--image", "nowhere.png"], "picture nowhere.png is not there"),
    (["vary", "--image", "123"], "picture 123 is not there"),
    (["interpolate", "--seeds", "1"], "at least 2 images"),
    (["interpolate", "--seeds", "1,x"], "seed 'x' is not a whole number; files are given with --images"),
    (["interpolate", "--seeds", "1,2", "--frames", 1], "frames is 1"),
    (["breed", "--parents", "1,2,3,4,5,6"], "6 parents are given; breed takes 1 to 5"),
    (["breed", "--parents", "1,2", "--weights", "1"], "1 weights are given for 2 parents"),
    (["breed", "--parents", "1,2", "--weights", "a,b"], "weights 'a,b' are not numbers"),
    (["breed", "--parents", "1,2", "--crossover", 3], "crossover is 3"),
    (["breed", "--parents", "1,2", "--inherit", "hair"], "inherit 'hair' is not of the form attribute=parent"),
    (["project", "--image", __file__], "cannot be used: not a picture"),
    (["edit", "--seed", 1, "--gene", "pca1:x"], "'x' is not a number"),
    (["edit", "--seed", 1, "--gene", "nose=long"], "unknown gene 'nose=long'; known are"),
    (["edit", "--seed", 1, "--gene", "pca1"], "gene pca1 has no target"),
    (["recall", __file__], "is not a picture that can be read"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(map(str, words))[:60] for words, _ in WRONG])
def test_what_cannot_be_is_refused_in_one_line(words, said, runs, tmp_path):
    workdir = runs("vae")
    if "pca1" not in shell.call("genes", "--workdir", workdir).out:
        assert shell.call("genes", "--workdir", workdir, "--learn", "--method", "pca", "--faces", 2).code == 0
    refused(said, *words, "--workdir", workdir, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pictures_without_a_word_and_edited_words_are_refused(runs, tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "plain.png")
    common = ("--workdir", runs("vae"), "--out", tmp_path / "out")
    refused("has no metadata of this project", "recall", tmp_path / "plain.png", *common)
    refused("has no metadata of this project", "lineage", tmp_path / "plain.png", *common)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("imggen_jax", '{"format": 1, "picture": {"run": "../../etc"}}')
    Image.new("RGB", (16, 16)).save(tmp_path / "edited.png", pnginfo=info)
    for verb in ("recall", "lineage"):
        refused("the metadata of", verb, tmp_path / "edited.png", *common)
    refused("is damaged", "vary", "--image", tmp_path / "edited.png", *common)


def test_what_metadata_says_is_text_on_the_family_page(runs, tmp_path):
    workdir = runs("vae")
    call("vary", workdir, tmp_path / "v", "--seed", 1, "--num", 1)
    family = records.read(tmp_path / "v" / "000.png")
    evil = family.record._replace(verb="<script>x</script>", arguments={"note": "<img src=http://x>"})
    with Image.open(tmp_path / "v" / "000.png") as picture:
        picture.save(tmp_path / "evil.png", pnginfo=records.png_info(family._replace(record=evil)))
    call("lineage", workdir, tmp_path / "tree", tmp_path / "evil.png")
    html = (tmp_path / "tree" / "lineage.html").read_text()
    assert "<script" not in html and "<img src=http" not in html and "&lt;script&gt;" in html


def test_genes_are_parsed_as_they_are_written():
    assert verbs.parse_genes(["a=b:+1.5", "c=d", "sefa1:-2"]) == {"a=b": 1.5, "c=d": None, "sefa1": -2.0}
    with pytest.raises(ValueError, match="given twice"):
        verbs.parse_genes(["a=b:1", "a=b"])


def test_held_out_images_come_with_their_labels(runs):
    model = imggen_jax.load(runs("gan"))
    images, labels = editing.held_out(model, 3, ["label"])
    assert images.shape == (3, 16, 16, 3) and images.dtype == np.uint8
    assert labels.shape == (3, 1) and labels.dtype == np.int32
    assert editing.held_out(model, 2, [])[1].shape == (2, 0)
    with pytest.raises(RunError, match="number is 0"):
        editing.held_out(model, 0, [])
    data = {**model.config["data"], "test": ""}
    with pytest.raises(RunError, match="this run holds no images out"):
        editing.held_out(model._replace(config={**model.config, "data": data}, data={**model.data, "test": ""}), 3, [])
