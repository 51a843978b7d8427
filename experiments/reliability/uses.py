"""Uses by chance: folders and tables of pictures, calls of the API, command lines and environments, from a seed each.

Every case is `make(chance, ...)` followed by a check of what came out. A check returns what is wrong, one line each:

- a traceback: an exception that the package does not raise on purpose, or more than one line for one;
- a silent loss: a file, caption, consent or license of which the reports say nothing, an input that was changed,
  or an image that is not the one of its seed and label;
- destructive advice: a message that says to delete, remove, erase or overwrite something.
"""
from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

# But for the verb `remove` in the list of verbs, and the flag --overwrite.
DESTRUCTIVE = re.compile(r"\b(delet|remov(?!e, outpaint)|eras|wip(e|ing)|rm -|(?<!--)overwrit|unlink|"
                         r"start(ing)? over\b(?! in another))",
                         re.IGNORECASE)
# Exceptions of Python itself for arguments of a wrong kind, before anything of the package runs.
PYTHON_S_OWN = re.compile(r"expected str, bytes or os.PathLike object|argument should be a str or an os.PathLike|"
                          r"unexpected keyword argument|"
                          r"required (positional|keyword-only) argument|positional arguments? but|multiple values for")
STRICT = ("no", "maybe", "yes")  # consents, the strictest first
KINDS = {"traceback": "tracebacks", "loss": "silent losses", "advice": "destructive advice"}


class Problem(NamedTuple):
    kind: str  # of KINDS
    what: str


def said_well(error: BaseException) -> list[Problem]:
    """What is wrong with an exception that reached the caller."""
    from imggen_jax.errors import ImggenError

    text = str(error)
    if isinstance(error, TypeError) and PYTHON_S_OWN.search(text):
        return []
    if not isinstance(error, ImggenError):
        return [Problem("traceback", f"{type(error).__name__}: {text}"[:300])]
    if "\n" in text.strip() or len(text) > 1000:
        return [Problem("traceback", f"not one line: {text!r}"[:300])]
    return advice(text)


def advice(text: str) -> list[Problem]:
    """Advice in a message that may destroy what is good."""
    found = DESTRUCTIVE.search(text)
    near = found and text[max(0, found.start() - 99):found.end() + 99]
    return [Problem("advice", f"{found[0]!r} in {near!r}")] if found else []


# ------------------------------------------------------------------------------------------------------------- folders

NAMES = ["a", "b c", "é", "e\u0301", "日本", "x'y", 'q"z', "-dash", "$HOME", "%41", "comma,name", "semi;colon", "#hash",
         "UPPER", "upper", "very" * 30, "line\nbreak", "tab\tname", "dot.dot", "1", "2", "007", "train", "mask",
         "smile😀"]
LAYOUTS = {
    "flat": ("",), "labels": ("cats/", "dogs/", "1/", "2/"), "numbers": ("1/", "2/", "3/"),
    "splits": ("train/", "test/"), "splits and labels": ("train/a/", "train/b/", "test/a/", "validation/b/"),
    "a stray": ("train/", "train/", "train/", "test/", "test/", ""), "nested": ("a/" * 40, "a/" * 20 + "b/"),
    "deep": ("d/" * 300, ""), "one class": ("only/",), "accents": ("café/", "cafe\u0301/"),
    "backslash": ("in\\side/", "")}
STRAYS: dict[str, bytes | str] = {
    ".DS_Store": b"\0\0\0\1Bud1", "._a.png": b"\0\5\26\7", "Thumbs.db": b"x", "notes.txt": "hello", "list.pdf": b"%PDF",
    "empty.png": b"", "cut.png": b"\x89PNG\r\n\x1a\n\0\0", "__MACOSX/._a.png": b"\0", ".hidden/h.png": b"picture",
    "runs/v/config.json": "{}", "runs/v/metrics.jsonl": "", "runs/v/pictures/0.png": b"picture",
    "x/1.0.0/features.json": "{}", "x/1.0.0/dataset_info.json": "{}", "film.mp4": b"\0\0\0\x18ftypmp42",
    "phone.heic": b"\0\0\0\x18ftypheic", "page.html": "<b>", "latin.txt": b"caf\xe9"}
PASSED_OVER = re.compile(r"(^|/)(\.[^/]*|__MACOSX|runs/v|x/1\.0\.0)/")


def pictures(seed: int = 0) -> list[tuple[str, bytes]]:
    """(ending, bytes) of good small pictures of several formats."""
    rng, made = np.random.default_rng(seed), []
    for ending, kind, mode in (
            (".png", "PNG", "RGB"), (".PNG", "PNG", "L"), (".jpg", "JPEG", "RGB"), (".gif", "GIF", "P"),
            (".webp", "WEBP", "RGB"), (".bmp", "BMP", "RGB"), (".png", "PNG", "RGBA"), (".jpeg", "JPEG", "CMYK"),
            (".tif", "TIFF", "RGB"), (".png", "PNG", "RGB")):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).convert(mode).save(out, kind)
        made.append((ending, out.getvalue()))
    return made


class Folder(NamedTuple):
    """What was drawn."""

    files: dict[str, bytes]           # name -> content, of everything but tables
    good: dict[str, int]              # pictures that can be used: name -> number of the picture
    texts: dict[str, str]             # captions beside pictures, by the picture's name
    rows: dict[str, dict[str, str]]   # what a table says, by the picture's name


def draw_folder(chance: random.Random, pool: list[tuple[str, bytes]]) -> Folder:
    """A tree of pictures with captions, strays and the rows of a table."""
    places, files, good, texts, rows = LAYOUTS[chance.choice(list(LAYOUTS))], {}, {}, {}, {}
    for number in range(chance.randint(2, 9)):
        which = chance.randrange(len(pool))
        ending, content = pool[which]
        base = chance.choice(NAMES) + chance.choice(["", str(number)])
        name = chance.choice(places) + base + ending
        stem = name[:-len(ending)]
        if any(other.rpartition(".")[0].casefold() == stem.casefold() for other in files) or base in ("train", "mask"):
            continue
        files[name], good[name] = content, which
        if chance.random() < 0.3:
            texts[name] = chance.choice(["a red hat", "été", "two words", "x" * 500])
            files[f"{stem}.txt"] = texts[name].encode()
        if chance.random() < 0.5:
            rows[name] = {key: chance.choice(values) for key, values in (
                ("text", ["a cat", "a dog", ""]), ("consent", [*STRICT, ""]), ("license", ["CC0", "CC BY-NC", ""]),
                ("age", ["3", "4.5", "old"])) if chance.random() < 0.7}
    for name in chance.sample(list(STRAYS), chance.choice([0, 0, 1, 3])):
        content = STRAYS[name]
        files[name] = pool[0][1] if content == b"picture" else content.encode() if isinstance(content, str) else content
    return Folder(files, good, texts, rows)


def table(chance: random.Random, rows: Mapping[str, Mapping[str, str]]) -> tuple[str, bytes, bool]:
    """(name, content, whether every row is written as it should be) of a table."""
    clean, odd = True, chance.random()
    written = [{"file_name": name, **row} for name, row in rows.items()]
    if odd < 0.4 and written:
        clean = False
        place = chance.randrange(len(written))
        name = written[place]["file_name"]
        match chance.choice(["nfd", "backslash", "case", "unknown", "twice", "surrogate", "nested", "no name"]):
            case "nfd":
                written[place]["file_name"] = unicodedata.normalize("NFD", name)
            case "backslash":
                written[place]["file_name"] = name.replace("/", "\\")
            case "case":
                written[place]["file_name"] = name.upper()
            case "unknown":
                written[place]["file_name"] = "nowhere/" + name
            case "twice":
                written.append({**written[place], "consent": "maybe"})
            case "surrogate":
                written[place]["text"] = "\ud800 broken"
            case "nested":
                written[place]["age"] = {"years": [1, 2]}
            case "no name":
                del written[place]["file_name"]
    if chance.random() < 0.5:
        text = "".join(json.dumps(row, ensure_ascii=chance.random() < 0.5) + "\n" for row in written)
        name = "metadata.jsonl"
    else:
        out, columns = io.StringIO(), list(dict.fromkeys(key for row in written for key in row)) or ["file_name"]
        writer = csv.DictWriter(out, columns, delimiter=chance.choice(",,,;\t"),
                                lineterminator=chance.choice(["\n", "\r\n"]))
        writer.writeheader(), writer.writerows(written)
        text, name = out.getvalue(), "metadata.csv"
    content = text.encode(chance.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"]), "replace")
    if chance.random() < 0.12:  # a quote that never ends, a byte too many, an end too early
        clean, place = False, chance.randrange(len(content) + 1)
        content = chance.choice([content[:place] + b'"' + content[place:], content[:place] + b"\xff" + content[place:],
                                 content[:place], content + b"\0", b""])
    return name, content, clean


def write_folder(root: Path, files: Mapping[str, bytes], chance: random.Random) -> Path:
    """The files as a folder, a zip or a tar; where they are."""
    match chance.choice(["folder"] * 4 + ["zip", "zip", "tar"]):
        case "zip":
            path = root / "pictures.zip"
            with zipfile.ZipFile(path, "w", chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
                                 ) as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
            return path
        case "tar":
            path = root / "pictures.tar.gz"
            with tarfile.open(path, chance.choice(["w", "w:gz", "w:xz"])) as archive:
                for name, content in files.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
            return path
    folder = root / "my pictures"
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    folder.mkdir(exist_ok=True)
    if chance.random() < 0.1:
        (folder / "link.png").symlink_to("a.png")
    if chance.random() < 0.1:
        os.mkfifo(folder / "pipe.png")
    return folder


def contents(path: Path) -> dict[str, bytes]:
    """What lies on the disk, without following anything."""
    if path.is_file():
        return {"": path.read_bytes()}
    paths = [Path(base, name) for base, _, names in os.walk(path) for name in names]
    return {str(each): each.read_bytes() if each.is_file() and not each.is_symlink() else b"" for each in paths}


def folder_case(chance: random.Random, root: Path, pool: list[tuple[str, bytes]], call: Callable) -> list[Problem]:
    """A folder is drawn, ingested by the function or by the verb, and compared with what the reports say.

    call: (words) -> (exit code, stdout, stderr), for the verb.
    """
    import imggen_jax

    drawn = draw_folder(chance, pool)
    name, content, clean = table(chance, drawn.rows)
    tabled = bool(drawn.rows) or chance.random() < 0.1
    place = write_folder(root, {**drawn.files, **({name: content} if tabled else {})}, chance)
    before, out = contents(place), root / "out"
    options = {"size": chance.choice([8, 16, 16, 32]), "fit": chance.choice(["crop", "pad"]),
               "background": chance.choice(["white", "#20a040", "white"])}
    found: list[Problem] = []
    made = None
    if chance.random() < 0.8:
        try:
            made = imggen_jax.ingest(place, out=out, workers=1, **options).folder
        except Exception as error:  # noqa: BLE001 - whatever comes is judged
            found += said_well(error)
    else:
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        code, _, said = call(["data", "--folder", place, "--out", out, *words])
        found += judged(code, said)
        made = next(out.glob("folder_*/1.*"), None) if code == 0 else None
    if contents(place) != before:
        found.append(Problem("loss", "the pictures' folder was changed"))
    return found + (accounted(made, drawn, clean or not tabled) if made else [])


def shown(name: str) -> str:
    """A name as the reports write it."""
    return re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\x{ord(match[0]):02x}", name)


def accounted(made: Path, drawn: Folder, clean: bool) -> list[Problem]:
    """Whether every picture and every statement is in the dataset or in its reports."""
    import tensorflow_datasets as tfds

    told = json.loads((made / "ingest.json").read_text("utf-8"))
    with open(made / "ledger.csv", newline="", encoding="utf-8") as file:
        kept = {row["name"]: row for row in csv.DictReader(file)}
    builder = tfds.builder_from_directory(made)
    stored = {each["name"].decode(): each for split in builder.info.splits for each in builder.as_data_source(split)}
    copies = {each["name"]: each["of"] for each in told["duplicates"]}
    out = {each["name"]: each["reason"] for each in told["left_out"]}
    found = [] if stored.keys() == kept.keys() else [Problem("loss", "ledger.csv and the dataset differ")]
    # Archives take a backslash for a slash, and what says a row about such a file is not known here.
    unsure = {which for name, which in drawn.good.items() if "\\" in name}
    good, texts, rows = ({shown(name): value for name, value in each.items()} for each in (
        drawn.good, drawn.texts, drawn.rows))
    usable = {name: which for name, which in good.items() if which not in unsure and not PASSED_OVER.search(name)}
    for name in usable:
        if name not in kept and name not in copies and out.get(name) not in ("outside the splits",):
            found.append(Problem("loss", f"{name}: {out.get(name, 'nothing is said of it')}"))
    conflicts = {each["name"] for each in told["conflicts"] if each["field"] == "caption"}  # whose caption counts
    for name in kept.keys() & usable.keys():
        # Files of the same bytes are one picture.
        group = [other for other, which in usable.items() if which == usable[name] and other not in out]
        consents = [rows[other]["consent"] for other in group if rows.get(other, {}).get("consent")]
        if clean and consents and kept[name]["consent"] != min(consents, key=STRICT.index):
            found.append(Problem("loss", f"{name}: consent {kept[name]['consent']!r} of {consents}"))
        captions = {rows.get(other, {}).get("text") or texts.get(other, "") for other in group} - {""}
        caption = stored[name].get("caption", b"").decode() if captions else ""
        if clean and captions and caption not in {unicodedata.normalize("NFC", each) for each in captions}:
            found.append(Problem("loss", f"{name}: caption {caption!r} of {sorted(captions)}"))
        if clean and len(captions) > 1 and not conflicts & set(group):
            found.append(Problem("loss", f"{name}: captions {sorted(captions)} and no conflict is listed"))
    return found


def judged(code: int, said: str) -> list[Problem]:
    """What is wrong with the exit code and the messages of a command."""
    lines = [line for line in said.splitlines() if line.strip()]
    if "Traceback" in said or code not in (0, 2):
        return [Problem("traceback", f"exit code {code}: {said[-300:]!r}")]
    if code == 2 and not (lines and "error: " in lines[-1] and len(lines[-1]) < 1000):
        return [Problem("traceback", f"no clear line: {said[-300:]!r}")]
    return advice(said)


# ----------------------------------------------------------------------------------------------------------- API calls

ODD: list[Any] = [
    None, True, False, -1, 0, 1, 2, 7, 250, 2**32, 2**64, -2**63, 10**9, 1.5, float("nan"), float("inf"), "", "x", "1",
    "#1", "~/nowhere", "nowhere", "\ud800", "a\0b", b"bytes", (), [], {}, [1], [1.5], ["x"], [None], {"label": 0},
    {"label": "1"}, {"label": [0, 1]}, {"x": 1}, np.uint8(250), np.int64(3), np.float32(0.5), np.nan, np.arange(3),
    np.array(3), np.zeros((0,)), np.zeros((2, 2)), np.full((1, 4), np.nan), np.zeros((1, 16, 16, 3), np.uint8),
    np.zeros((1, 16, 16, 3)), np.array(["a"]), object(), 1j, range(3), range(3, 0, -1), slice(2)]
NUMBERS = [1, 2, 3, 5, np.int64(2), np.uint8(3)]


def _seeds(chance: random.Random) -> dict:
    return chance.choice([{"num": chance.choice(NUMBERS), "seed": chance.choice([0, 5, 250, np.uint8(250), 2**32 - 9])},
                          {"seeds": chance.sample(range(300), chance.randint(1, 4))}, {"seeds": np.arange(2, 5)},
                          {"seeds": range(3, 6)}])


def _condition(chance: random.Random, model) -> dict:
    names = model.label_names
    return {} if not names else {"given": {"label": chance.choice([0, np.int64(1), names[0], names[-1]])}}


def requests(chance: random.Random, models: Mapping, root: Path) -> tuple[str, Callable, dict]:
    """(title, function, arguments that are right) of a call."""
    import imggen_jax

    name = chance.choice(list(models))
    model, workdir = models[name]
    latents = np.random.default_rng(chance.randrange(99)).normal(size=(2, model.latent_size)).astype(np.float32)
    images = model.sample([3, 4], _condition(chance, model).get("given"))
    condition = _condition(chance, model)
    calls = {
        "sample": (model.sample, {**_seeds(chance), **condition,
                                  "truncation": chance.choice([1.0, 0.5, np.float32(0.7), 0])}),
        "latents": (model.latents, {"seeds": [1, 2], **condition}),
        "decode": (model.decode, {"w": latents, **condition}),
        "label_index": (model.label_index, {"label": 0}),
        "classify": (model.classify, {"images": images}),
        "load": (imggen_jax.load, {"path": workdir}),
        "describe": (imggen_jax.describe, {"model": workdir}),
        "generate": (imggen_jax.generate, {"model": workdir, "out": root / "out", **_seeds(chance), **condition}),
        "export": (imggen_jax.export, {"model": workdir, "out": root / f"export{chance.randrange(10**9)}",
                                       "dtype": "float32"}),
        "evaluate": (imggen_jax.evaluate, {"model": workdir, "only": ["copying"], "num": 4, "out": root / "scores",
                                           "space": "inception", "resamples": 3, "samples": 5, "seed": 1}),
        "compare": (imggen_jax.compare, {"real": images, "fake": images, "space": "inception", "num": 2}),
        "read_config": (imggen_jax.read_config, {"name": "folder_vae", "overrides": ["--config.train.batch=8"]}),
        "ingest": (imggen_jax.ingest, {"folder": root / "none", "size": 16, "out": root / "data", "license": "CC0",
                                       "background": "white", "fit": "crop", "workers": 1, "min_side": 4, "pairs": ""}),
        "train": (imggen_jax.train, {"config": {"data": {"folder": "nowhere"}}, "workdir": root / "run"}),
        "prepare": (imggen_jax.prepare, {"name": "nonsense_dataset", "dir": str(root)}),
    }
    if model.sampler.encode is not None:
        calls["encode"] = (model.encode, {"images": images, **condition})
        calls["reconstruct"] = (model.reconstruct, {"images": images, **condition})
    weights = [6 if title in ("sample", "decode", "latents") else 1 for title in calls]
    title = chance.choices(list(calls), weights)[0]
    return f"{name}.{title}", *calls[title]  # evaluate and compare lack the weights of their space


def api_case(chance: random.Random, models: Mapping, root: Path) -> list[Problem]:
    """A call with one or two arguments exchanged for odd ones, or with none: a right result, or one clear line.

    models: {name: (model, workdir)}.
    """
    title, function, arguments = requests(chance, models, root)
    dear = title.partition(".")[2] in ("evaluate", "compare", "ingest", "export")  # take long when all is well
    for _ in range(chance.choice([1, 1, 2]) if dear else chance.choice([0, 1, 1, 1, 2])):
        arguments[chance.choice(list(arguments))] = chance.choice(ODD)
    if chance.random() < 0.05:
        arguments["odd"] = 1
    try:
        result = function(**arguments)
    except Exception as error:  # noqa: BLE001 - whatever comes is judged
        return [each._replace(what=f"{title}({arguments!r:.200}): {each.what}") for each in said_well(error)]
    wrong = wrong_images(title, models, arguments, result)
    return [Problem("loss", f"{title}({arguments!r:.200}): {what}") for what in wrong]


def wrong_images(title: str, models: Mapping, arguments: Mapping, result) -> list[str]:
    """What is wrong with images that were made without an error."""
    name, _, verb = title.partition(".")
    if verb not in ("sample", "decode", "reconstruct"):
        return []
    model, found = models[name][0], []
    if not (isinstance(result, np.ndarray) and result.dtype == np.uint8 and result.shape[1:] == (16, 16, 3)):
        return [f"it is {getattr(result, 'dtype', type(result))} {np.shape(result)}"]
    asked = {"sample": lambda: arguments["seeds"] if arguments.get("seeds") is not None else range(
        int(arguments.get("seed", 0)), int(arguments.get("seed", 0)) + int(arguments.get("num", 1) or 1)),
        "decode": lambda: arguments["w"], "reconstruct": lambda: arguments["images"]}[verb]()
    if len(result) != len(asked):
        found.append(f"{len(result)} images for {len(asked)}")
    if verb == "sample":  # the last one alone is the same image
        given = dict(arguments.get("given") or {})
        if isinstance(given.get("label"), int | np.integer):
            given["label"] = model.label_names[int(given["label"])]  # an index means the class of that name
        if not isinstance(given.get("label"), list):
            alone = model.sample([int(asked[len(asked) - 1])], given, truncation=arguments.get("truncation", 1.0))
            found += [] if np.array_equal(alone[0], result[-1]) else ["an image is not that of its seed and label"]
    return found


# ------------------------------------------------------------------------------------ command lines, environments

WORDS = ["", "x", "0", "-1", "1.5", "nan", "inf", "#0", "#9", ",", "a,b", "1,2", "=", "a=", "=b", "~", "~/x", ".",
         "\ud800", "\x01", "é", "a" * 300, "--", "--label", "None", "[]", "100%", "4294967296", "my pictures"]


def command_case(chance: random.Random, models: Mapping, picture: Path, root: Path) -> list[str]:
    """A command line of any verb but `train` and `prepare`, with words changed, dropped or doubled."""
    name = chance.choice(list(models))
    model, workdir = models[name]
    label = ["--label", model.label_names[0]] if model.label_names else []
    common = ["--model", workdir, "--out", root / f"out{chance.randrange(4)}"]
    lines = [
        ["generate", *common, "--num", 2, "--seed", 1, *label], ["generate", *common, "--num", 1, "--truncation", 0.5],
        ["vary", *common, "--seed", 1, "--num", 2, *label, "--strength", "strong"], ["describe", "--model", workdir],
        ["breed", *common, "--parents", "1,2", "--num", 2, "--weights", "1,2", *label],
        ["recall", picture, *common], ["lineage", picture, *common], ["genes", "--model", workdir],
        ["edit", *common, "--seed", 1, "--gene", "a=b:+1"], ["data", "--folder", root / "none", "--size", 16],
        ["export", *common], ["evaluate", "--model", workdir, "--only", "copying", "--num", 1, "--space", "inception"],
        ["evaluate", "--real", root / "none", "--fake", root / "none", "--space", "inception"],
        ["train", "--config", "folder_vae", "--workdir", root / "run", "--config.data.folder=nowhere"],
        ["interpolate", *common, "--seeds", "1,2", "--frames", 3, *label],
        ["project", *common, "--image", picture, "--steps", 1]]
    words = [str(word) for word in chance.choice(lines)]
    for _ in range(chance.choice([0, 1, 1, 2])):
        place = chance.randrange(1, len(words))
        match chance.choice(["change", "change", "drop", "double", "exchange"]):
            case "change":
                words[place] = chance.choice(WORDS)
            case "drop" if len(words) > 2:
                del words[place]
            case "double":
                words.insert(place, words[place])
            case "exchange":
                other = chance.randrange(1, len(words))
                words[place], words[other] = words[other], words[place]
    return words


ENVIRONMENTS: list[dict[str, str | None]] = [
    {"JAX_ENABLE_X64": "1"}, {"JAX_PLATFORMS": "nonsense"}, {"LC_ALL": "C"}, {"LC_ALL": "nonsense", "LANG": "x"},
    {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"PYTHONUTF8": "0", "LC_ALL": "C"},
    {"HOME": "/nonexistent"}, {"HOME": None}, {"IMGGEN_JAX_CACHE": "/dev/null"}, {"IMGGEN_JAX_CACHE": ""},
    {"TFDS_DATA_DIR": "/nonexistent"}, {"TMPDIR": "/nonexistent"}, {"PATH": ""}, {"MPLBACKEND": "nonsense"},
    {"COLUMNS": "0"}, {"COLUMNS": "x"}, {"TERM": "dumb"}, {"PYTHONWARNINGS": "always"}, {"NPROC": "1"},
    {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, {"JAX_COMPILATION_CACHE_DIR": "/dev/null"},
    {"IMGGEN_JAX_WEIGHTS": "/nonexistent"}, {"TZ": "nonsense"}]
STREAMS = ["", "", "", "2>&-", ">&-", "<&-", "| /usr/bin/head -c 1"]


def environment_case(chance: random.Random, models: Mapping, picture: Path, root: Path
                     ) -> tuple[list[str], dict[str, str | None], str]:
    """(words, changes of the environment, redirection of a stream) of a command in a process of its own."""
    workdir = models[chance.choice(list(models))][1]
    words = chance.choice([
        ["describe", "--model", workdir], ["generate", "--model", workdir, "--num", 2, "--out", root / "été"],
        ["recall", picture, "--model", models["gan"][1], "--out", root / "again"], ["genes", "--model", workdir],
        ["data", "--folder", picture.parent, "--size", 8], ["--config", "folder_vae", "--print-config"], ["--help"]])
    return [str(word) for word in words], chance.choice(ENVIRONMENTS), chance.choice(STREAMS)
