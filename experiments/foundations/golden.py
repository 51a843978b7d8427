"""Record what the command line computes, and compare with it after a change that should change nothing.

    python experiments/foundations/golden.py record FILE.json
    python experiments/foundations/golden.py compare FILE.json

Only the command line and the files that it writes are used, so one script serves code of before and after. All runs are
tiny: 20 steps of every shipped config, and of a few variants. `compare` runs everything again and prints a table: bits
equal, or the largest relative difference. It exits with 1 where an item differs or is missing.
"""
from __future__ import annotations

import argparse
import base64
import fnmatch
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BATCH, STEPS, SIDE = 8, 20, 8
NUMBER, SEED = 5, 3  # of the generated pictures
# Old name -> new name of what a refactoring renames: parts of the names of arrays, metrics and scores, between dots and
# slashes. Applied to both sides.
RENAMES = {"extra": "mutable", "healthy": "finite"}
# The compiler tries less hard and is done sooner. XLA_FLAGS, where `record` finds it in the environment, comes first.
FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
# Names of numbers that are not computed from the data: times, speeds, and where things are.
UNSTABLE = ("*seconds*", "images_per_second", "mfu", "versions.*", "*fingerprint*", "*sha256*", "pictures.*")

COMMON = {"train.batch": BATCH, "train.images": BATCH * STEPS, "log.every": BATCH, "log.evaluate": BATCH * STEPS,
          "log.show": BATCH * STEPS, "log.save": BATCH * STEPS, "score.every": 0, "devices.steps_per_call": 1,
          "devices.count": 1, "ema.halflife": 40}
SHORT = {"data.split": "train[:256]", "data.test": "test[:32]"}
VAE = {"game.network.widths": (8, 8), "game.network.blocks": (1, 1), "game.network.hidden": 16,
       "game.network.dense_blocks": 1, "game.warmup": 80, "players.vae.warmup": 40}
GAN = {"game.generator.width": 8, "game.discriminator.width": 8, "game.burn_in": 80}
DECODER = {"game.generator.widths": (8, 8), "game.generator.blocks": (1, 1), "game.generator.hidden": 16,
           "game.generator.dense_blocks": 1, "game.discriminator.width": 8}
R3GAN = {f"game.{who}.{key}": (value,) * 4 for who in ("generator", "discriminator")
         for key, value in (("widths", 8), ("blocks", 1), ("cardinality", 2))}
CIFAR10 = {**SHORT, "data.name": "cifar10_jpeg"}
FOLDER = {"data.folder": "{folder}", "data.size": 32}
WAVES = {"data.name": "waves", "data.split": "train[:256]", "data.test": "train[256:288]", "data.size": 16}
# Run -> (config, what it changes). A run may start from one above it.
RUNS = {
    "avatars_gan": ("avatars_gan", {**SHORT, **GAN}),
    "avatars_vae": ("avatars_vae", {**SHORT, **VAE}),
    "avatars_vae_gan": ("avatars_vae_gan", {**SHORT, **DECODER, "init.workdir": "{runs}/avatars_vae"}),
    "cifar10_gan": ("cifar10_gan", {**CIFAR10, **R3GAN}),
    "cifar10_gan_small": ("cifar10_gan_small", {**CIFAR10, **GAN}),
    "cifar10_vae": ("cifar10_vae", {**CIFAR10, **VAE}),
    "demo": ("demo", {**SHORT, **VAE, "devices.steps_per_call": 5}),
    "folder_gan": ("folder_gan", {**FOLDER, **GAN}),
    "folder_vae": ("folder_vae", {**FOLDER, **VAE, "game.network.widths": (8, 8, 8), "game.network.blocks": (1, 1, 1)}),
    "mnist_vae": ("mnist_vae", {**SHORT, **VAE}),
    "stacked_mnist_gan": ("stacked_mnist_gan", {**SHORT, **GAN}),
    # Ways through the code that no shipped config takes.
    "streamed_pmap": ("avatars_gan", {**SHORT, **GAN, "data.memory": "stream", "devices.engine": "pmap"}),
    "hinge": ("avatars_gan", {**WAVES, **GAN, "game.loss": "hinge", "data.label": "label", "game.critic_moves": 2}),
    "wasserstein": ("avatars_gan", {**WAVES, **GAN, "game.loss": "wasserstein", "game.gradient_penalty": 10.0,
                                    "game.r1": 0.0, "game.r2": 0.0, "game.generator.norm": "none"}),
    "non_saturating": ("avatars_gan", {**WAVES, **GAN, "game.loss": "non_saturating", "game.r2": 0.0,
                                       "train.accumulate": 2, "data.flip": True}),
    "labels": ("mnist_vae", {**WAVES, **VAE, "data.label": "label", "game.importance_samples": 3,
                             "init.freeze": ("vae.encoder.*",)}),
    "mixture_bfloat16": ("cifar10_vae", {**WAVES, **VAE, "game.free_bits": 0.1, "train.dtype": "bfloat16"}),
}
# Pictures -> (run, further flags of `generate`).
PICTURES = {
    **{name: (name, ()) for name in RUNS},
    "cifar10_gan, label": ("cifar10_gan", ("--label", "horse")),
    "labels, label": ("labels", ("--label", "two")),
    "avatars_gan, truncation": ("avatars_gan", ("--truncation", "0.7")),
    "avatars_vae, truncation": ("avatars_vae", ("--truncation", "0.7")),
}
# Edits -> (verb, run, flags).
EDITS = {
    "interpolate": ("interpolate", "avatars_vae", ("--seeds", "1,2", "--frames", "6")),
    "vary": ("vary", "avatars_gan", ("--seed", "7", "--strength", "0.4", "--num", "4")),
    "breed": ("breed", "avatars_vae", ("--parents", "1,2", "--mutate", "0.3", "--crossover", "0.5", "--num", "4")),
    "project, encoder": ("project", "avatars_vae", ("--image", "{folder}/007.png")),
    "project, optimized": ("project", "avatars_gan", ("--image", "{folder}/007.png", "--steps", "20")),
}
# Scores -> flags of `evaluate`. Those of two sets of pictures need weight files that are not here, or a classifier that
# takes minutes to train; golden values of theirs are in tests/metrics.
SCORES = {
    "likelihood, bernoulli": ("--workdir", "{runs}/mnist_vae", "--only", "likelihood", "--samples", "20", "--num",
                              "16"),
    "likelihood, mixture": ("--workdir", "{runs}/cifar10_vae", "--only", "likelihood", "--samples", "20", "--num",
                            "16"),
}


# ----------------------------------------------------------------------------------------------------------- the inputs


def waves(seed: int, number: int, side: int, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Smooth shapes uint8 [number,side,side,channels] and their classes int [number] in [0, 4)."""
    # RandomState is frozen (NumPy enhancement proposal 19): the same pictures with every release.
    random = np.random.RandomState(seed)
    label = random.randint(0, 4, number)
    phase = random.uniform(0, 2 * np.pi, (number, 1, 1, channels))
    x, y = np.meshgrid(*[np.linspace(0, 2 * np.pi, side)] * 2)
    images = np.sin((1 + label[:, None, None, None]) * x[..., None] + phase) * np.cos(y[..., None] + phase)
    noise = random.uniform(-12, 12, images.shape)
    return np.clip(np.round(127.5 + 110 * images + noise), 0, 255).astype(np.uint8), label


def prepare(work: Path, stock: Path, go_on: bool) -> dict[str, str]:
    """Make what the runs read; the names that the tables above use, with their paths."""
    data, folder, runs = (work / name for name in ("data", "folder", "runs"))
    for path in (runs, folder, work / "cache", work / "out"):
        if not go_on:
            shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True, exist_ok=True)
    data.mkdir(exist_ok=True)
    for name in ("mnist", "cifar10_jpeg"):
        if not (stock / name).is_dir():
            sys.exit(f"{stock / name} is missing; name the folder of prepared TFDS datasets with --data")
        if not (data / name).exists():
            (data / name).symlink_to((stock / name).resolve(), target_is_directory=True)
    for i, image in enumerate(waves(1, 80, 40)[0]):
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    write_dataset(data)
    return {"data": str(data), "folder": str(folder), "runs": str(runs)}


def write_dataset(data: Path) -> None:
    """A small labeled TFDS dataset, `waves`."""
    import tensorflow_datasets as tfds

    class Waves(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "waves"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            names = ("one", "two", "three", "four")
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({
                "image": tfds.features.Image(shape=(SIDE, SIDE, 3)), "label": tfds.features.ClassLabel(names=names)}))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(3, 2000)}

        def _generate_examples(self, seed, number):
            for i, (image, label) in enumerate(zip(*waves(seed, number, SIDE))):
                file = io.BytesIO()
                Image.fromarray(image).save(file, "PNG")  # TFDS itself would need TensorFlow to pack it
                file.seek(0)
                yield i, {"image": file, "label": int(label)}

    Waves(data_dir=data).download_and_prepare(file_format="array_record")


# ------------------------------------------------------------------------------------------------------------ recording


def call(work: Path, *words: str) -> str:
    """Standard output of a command line, in a process of its own and with low priority."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu", "IMGGEN_JAX_CACHE": str(work / "cache"), "TFDS_DATA_DIR": str(work / "data"),
        "JAX_COMPILATION_CACHE_DIR": str(work / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "MPLBACKEND": "Agg"}
    done = subprocess.run(["nice", "-n", "5", sys.executable, "-m", "imggen_jax.main", *words], cwd=ROOT, text=True,
                          env=environment, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}, {' '.join(words)}")
    return done.stdout


def measure(work: Path, stock: Path, only: str, go_on: bool, keep: Callable[[dict], None]) -> dict:
    """Everything that is recorded: {item: {name: value}}. An item that fails is {"error": what it says}.

    keep: is called with the items so far after each task.
    """
    places = prepare(work, stock, go_on)
    items = {}
    for name, one in tasks(work, places):
        if not fnmatch.fnmatch(name, only):
            continue
        start = time.monotonic()
        try:
            items |= one()
            told = "done"
        except (RuntimeError, OSError, ValueError) as error:
            items[name] = {"error": str(error)}
            told = str(error)
        keep(items)
        print(f"{name}: {told}, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return items


def tasks(work: Path, places: Mapping[str, str]) -> Iterator[tuple[str, Callable[[], dict]]]:
    """(title, a function that gives items), in the order in which they depend on each other."""
    runs = Path(places["runs"])

    def fill(words) -> list[str]:
        return [str(word).format_map(places) for word in words]

    def train(name: str) -> dict:
        config, changes = RUNS[name]
        words = [f"--config.{key}={value}" for key, value in ({**COMMON, "data.dir": "{data}"} | changes).items()]
        if "data.folder" in changes:
            words.remove("--config.data.dir={data}")
        call(work, *fill(["--config", f"configs/{config}.py", "--workdir", runs / name, *words]))
        return {f"train {name}": losses(runs / name), f"state {name}": state(runs / name)}

    def draw(name: str) -> dict:
        run, more = PICTURES[name]
        out = work / "out" / "pictures" / name
        files = [out / f"{seed:06d}.png" for seed in range(SEED, SEED + NUMBER)]
        if not all(file.is_file() for file in files):
            call(work, "generate", "--workdir", str(runs / run), "--num", str(NUMBER), "--seed", str(SEED), "--out",
                 str(out), *more)
        return {f"pictures {name}": hashes(files)}

    def edit(name: str) -> dict:
        verb, run, more = EDITS[name]
        out = work / "out" / "edits" / name
        call(work, verb, "--workdir", str(runs / run), "--out", str(out), *fill(more))
        return {f"edit {name}": hashes(sorted(path for path in out.rglob("*.png") if path.stem[-1].isdecimal()
                                              or path.stem == "projection"))}

    def score(name: str) -> dict:
        return {f"scores {name}": stable(numbers(json.loads(call(work, "evaluate", "--json", *fill(SCORES[name])))))}

    for title, one, table in (("train", train, RUNS), ("pictures", draw, PICTURES), ("edit", edit, EDITS),
                              ("scores", score, SCORES)):
        for name in table:
            yield f"{title} {name}", lambda one=one, name=name: one(name)


def losses(workdir: Path) -> dict[str, list]:
    """{metric: its value in each line of metrics.jsonl that has it}, with all of their digits."""
    found = {}
    for line in map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines()):
        for name, value in line.items():
            found.setdefault(name, []).append(value)
    return stable(found)


def state(workdir: Path) -> dict[str, list]:
    """{array: [first digits of its sha256, its norm]} of the last checkpoint.

    The arrays of a player's optimizer have one entry, which does not depend on their names and order.
    """
    last = max((path for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal()),
               key=lambda path: int(path.name))
    with np.load(last / "state.npz", allow_pickle=False) as arrays:
        found = {name: [digest(arrays[name]), norm(arrays[name])] for name in arrays.files}
    parts = {}
    for name in [name for name in found if name.startswith("opt.")]:
        parts.setdefault(".".join(name.split(".")[:2]), []).append(found.pop(name)[0])
    return found | {who: [digest(np.array(sorted(part))), float(len(part))] for who, part in parts.items()}


def digest(array: np.ndarray) -> str:
    text = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    text.update(np.ascontiguousarray(array).tobytes())
    return text.hexdigest()[:8]


def norm(array: np.ndarray) -> float | None:
    """Euclidean, with six digits; None for what NumPy has no numbers for."""
    return float(f"{np.linalg.norm(array.astype(np.float64)):.6g}") if array.dtype.kind in "fiub" else None


def hashes(paths: list[Path]) -> dict:
    """Of decoded pictures: a sha256 each, and a quarter of the pixels of the first, to tell a difference by."""
    if not paths:
        raise ValueError("no picture was written")
    images = [np.asarray(Image.open(path)) for path in paths]
    packed = base64.b85encode(zlib.compress(images[0][::2, ::2].tobytes(), 9)).decode()
    return {"sha256": {path.stem: digest(image) for path, image in zip(paths, images)}, "first": packed}


def numbers(tree, prefix: str = "") -> dict[str, float]:
    """{"scores.fid.value": 1.5, ...}: every number of some JSON."""
    if isinstance(tree, (dict, list)):
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {name: value for key, part in pairs for name, value in numbers(part, f"{prefix}{key}.").items()}
    return {prefix[:-1]: tree} if isinstance(tree, (int, float)) and not isinstance(tree, bool) else {}


def stable(found: Mapping) -> dict:
    return {name: value for name, value in found.items() if not any(fnmatch.fnmatch(name, form) for form in UNSTABLE)}


# ------------------------------------------------------------------------------------------------------------ comparing


def renamed(item: Mapping) -> dict:
    """With the new names of everything that RENAMES lists."""
    def name(text: str) -> str:
        return "/".join(".".join(RENAMES.get(part, part) for part in piece.split(".")) for piece in text.split("/"))

    return {name(key): value for key, value in item.items()}


def difference(old, new) -> float:
    """The largest relative difference of two numbers or lists of them; infinite where they are not alike."""
    if old is None or new is None:
        return 0.0 if old is new else np.inf
    old, new = (np.asarray([np.nan if value is None else value for value in np.ravel(each)], np.float64)
                for each in (old, new))
    if old.shape != new.shape:
        return np.inf
    equal = (old == new) | (np.isnan(old) & np.isnan(new))
    relative = np.abs(old - new) / np.maximum(np.maximum(np.abs(old), np.abs(new)), 1e-30)
    return float(np.max(np.where(equal, 0.0, np.where(np.isnan(relative), np.inf, relative)), initial=0.0))


def magnitude(value):
    """What two recorded values are compared by: of an array its norm, else the value itself."""
    return value[1] if isinstance(value, list) and isinstance(value[0], str) else value


def verdict(old: Mapping, new: Mapping) -> tuple[bool, str]:
    """(whether all bits are equal, what the table says) of one item."""
    if "error" in new or "error" in old:
        return False, f"failed: {new.get('error') or 'before: ' + old['error']}"
    if "first" in old:
        return pictures_verdict(old, new)
    old, new = renamed(old), renamed(new)
    gone, more = sorted(set(old) - set(new)), sorted(set(new) - set(old))
    # An array that has another name and the same bits has moved; that is no difference of what is computed.
    hashed = {name for name in (*gone, *more) if isinstance((old | new)[name], list) and
              isinstance((old | new)[name][0], str)}
    moved = {(a, b) for a in gone for b in more if {a, b} <= hashed and old[a] == new[b]}
    gone, more = ([name for name in names if not any(name in pair for pair in moved)] for names in (gone, more))
    both = [name for name in old if name in new]
    unequal = [name for name in both if old[name] != new[name]]
    told = [f"{len(both) - len(unequal)} of {len(both)} equal"]
    if unequal:
        worst = {name: difference(*map(magnitude, (old[name], new[name]))) for name in unequal}
        name = max(worst, key=worst.get)
        told.append(f"largest relative difference {worst[name]:.1e} ({name})")
    told += [f"{len(names)} {what}, such as {names[0]}" for what, names in (("missing", gone), ("new", more)) if names]
    told += [f"{len(moved)} renamed, such as {min(moved)[0]} to {min(moved)[1]}"] if moved else []
    return not (unequal or gone or more), "; ".join(told)


def pictures_verdict(old: Mapping, new: Mapping) -> tuple[bool, str]:
    names = sorted(set(old["sha256"]) | set(new["sha256"]))
    equal = [name for name in names if old["sha256"].get(name) == new["sha256"].get(name)]
    told = f"{len(equal)} of {len(names)} equal"
    if len(equal) == len(names):
        return True, told
    first = [np.frombuffer(zlib.decompress(base64.b85decode(each["first"])), np.uint8).astype(int)
             for each in (old, new)]
    if first[0].size != first[1].size:
        return False, f"{told}; the first is of another size"
    apart = np.abs(first[0] - first[1])
    return False, (f"{told}; in the first, pixels differ by {apart.max()} of 255 at most, {np.mean(apart > 0):.1%} of "
                   "them at all")


def compare(old: Mapping[str, Mapping], new: Mapping[str, Mapping]) -> bool:
    """Print the table of all items; whether all are equal to the bit."""
    good = True
    print("| item | bits | details |\n| --- | --- | --- |")
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new or name not in old:
            same, told = False, "missing" if name not in new else "new"
        else:
            same, told = verdict(old[name], new[name])
        good &= same
        print(f"| {name} | {'equal' if same else 'DIFFER'} | {told} |")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("record", "compare"))
    parser.add_argument("file", type=Path, help="JSON with the recorded values")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data",
                        help="TFDS data_dir with mnist and cifar10_jpeg (default: ../shared/data)")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "golden",
                        help="folder for runs, drawn avatars and compiled programs (default: runs/golden)")
    parser.add_argument("--only", default="*", help="some tasks alone: a pattern, such as 'train *' (default: all)")
    parser.add_argument("--go-on", action="store_true",
                        help="keep the runs and pictures that an earlier call, which was stopped, left in --work")
    args = parser.parse_args()
    recorded = json.loads(args.file.read_text()) if args.verb == "compare" else {}
    here = machine()
    here |= {"XLA_FLAGS": recorded["machine"]["XLA_FLAGS"]} if recorded else {}
    os.environ["XLA_FLAGS"] = here["XLA_FLAGS"]
    work = args.work.resolve()
    file = work / "compared.json" if recorded else args.file  # of a comparison, for a closer look
    items = measure(work, args.data, args.only, args.go_on, lambda items: write(file, here, items))
    if not recorded:
        return int(any("error" in item for item in items.values()))
    if other := {name: value for name, value in recorded["machine"].items() if value != here.get(name)}:
        print(f"Recorded on another machine or with other packages, which change bits: {other}\n")
    wanted = {name: item for name, item in recorded["items"].items() if args.only == "*" or name in items}
    return 0 if compare(wanted, items) else 1


def write(file: Path, here: Mapping, items: Mapping) -> None:
    content = json.dumps({"machine": here, "items": items}, separators=(",", ":"))
    file.write_text(content.replace('},"', '},\n"') + "\n")


def machine() -> dict[str, str]:
    """What the bits depend on beside the code."""
    from importlib.metadata import version

    return {"processor": processor(), "XLA_FLAGS": os.environ.get("XLA_FLAGS", FLAGS), "cores": str(os.cpu_count()),
            "python": platform.python_version(),
            **{name: version(name) for name in ("jax", "jaxlib", "numpy", "optax", "flax", "pillow")}}


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
