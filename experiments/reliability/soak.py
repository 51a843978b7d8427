"""Is anything lost? Runs that are killed, disks that fill up, and inputs that were damaged, all by chance.

    python experiments/reliability/soak.py                                  # everything; README.md says how long
    python experiments/reliability/soak.py --parts kills words --scale 0.1  # two parts, a tenth of each

Each command line is given to a process of its own. Most are forked from this one, which has imported everything already
but never started JAX; every tenth is `python -m imggen_jax.main` itself. results.json is written anew after each part.
"""
from __future__ import annotations

import argparse
import contextlib
import copy
import fcntl
import io
import itertools
import json
import os
import pprint
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(HERE))  # for `import uses`, however this file is run

import uses  # noqa: E402 - stands beside this file

ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "MPLBACKEND": "Agg", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
               "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1", "PYTHONPATH": str(REPOSITORY),
               # These runs compile for longer than they compute, so the compiler tries less hard.
               "XLA_FLAGS": "--xla_backend_optimization_level=0"}
SLOW = 10     # seconds, after which an answer counts as a hang
GIVE_UP = 240  # seconds, after which it is waited for no longer
IMAGES, BATCH = 192, 8
chosen = ""   # what the name of a case has to hold
LINE = {"every": 16, "evaluate": 96, "show": 96, "save": 32, "keep": 3, "keep_every": 0}


# ---------------------------------------------------------------------------------------------------------- processes


class Process:
    """A command line in a process of its own; what it prints goes to files."""

    def __init__(self, words: list, log: Path, *, cache: Path, fresh: bool = False, environment: dict | None = None):
        self.words, self.log = [str(word) for word in words], log
        self.out, self.err = log.with_suffix(".out"), log.with_suffix(".err")
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), **(environment or {})}
        self._code = None
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            if fresh:
                self._popen = subprocess.Popen([sys.executable, "-m", "imggen_jax.main", *self.words],
                                               env=environment, stdout=out, stderr=err)
                self.pid = self._popen.pid
            else:
                self._popen = None
                sys.stdout.flush(), sys.stderr.flush()
                self.pid = os.fork()
                if self.pid == 0:
                    _become(self.words, environment, out.fileno(), err.fileno())

    def poll(self) -> int | None:
        if self._code is None:
            if self._popen is not None:
                self._code = self._popen.poll()
            else:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def send(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, limit: float = GIVE_UP) -> int | None:
        """The exit code; None if it had to be killed. `waited` says how long it took."""
        self.waited = 0.0
        while self.poll() is None:
            begun = time.monotonic()
            time.sleep(0.005)
            self.waited += min(time.monotonic() - begun, 0.1)  # not the time in which the machine was suspended
            if self.waited > limit:
                self.send(signal.SIGKILL)
                while self.poll() is None:
                    time.sleep(0.01)
                return None
        return self._code

    def said(self) -> str:
        return self.err.read_text(errors="replace")


def _become(words: list[str], environment: dict, out: int, err: int) -> None:
    """In a forked process: be `python -m imggen_jax.main`, and never return."""
    code = 70
    try:
        os.dup2(out, 1), os.dup2(err, 2)
        sys.stdout, sys.stderr = open(1, "w", buffering=1, closefd=False), open(2, "w", buffering=1, closefd=False)
        os.environ.clear(), os.environ.update(environment)
        code = _main(words)
        import atexit

        if code not in (1, 2):  # as main.py leaves: the others wait for what is to be done at the end
            atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - this is the end of the process
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def _main(words: list[str]) -> int:
    import jax

    from imggen_jax import main

    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    try:
        return main.main(words)
    except SystemExit as end:  # argparse's way
        return end.code or 0


def forked(work: Callable[[], object]) -> object:
    """The result of a function that starts JAX, computed in a forked process, so that this one never does."""
    reader, writer = os.pipe()
    sys.stdout.flush(), sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            with open(writer, "w") as file:
                json.dump(work(), file)
            code = 0
        except BaseException:  # noqa: BLE001 - this is the end of the process
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else None


class Answer(NamedTuple):
    code: int
    out: str
    err: str
    seconds: float  # but for those in which the process was ready and other programs had the cores


def kept_waiting() -> float:
    """Seconds that this process has been ready to run and was not, where the kernel counts them."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def ask(words: list) -> Answer:
    """A command line in this process, which has been forked for it. An exception that comes through is a traceback."""
    out, err = io.StringIO(), io.StringIO()
    begun = time.monotonic() - kept_waiting()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(GIVE_UP)
        try:
            code = _main([str(word) for word in words])
        except BaseException:  # noqa: BLE001 - it is what is being looked for
            code = 70
            traceback.print_exc()
        finally:
            signal.alarm(0)
    return Answer(code, out.getvalue(), err.getvalue(), time.monotonic() - kept_waiting() - begun)


def fault(answer: Answer) -> str:
    """What is wrong with an answer to a damaged input; "" for one clear line and exit code 2, or a result."""
    lines = [line for line in answer.err.splitlines() if line.strip()]
    if "Traceback" in answer.err or answer.code not in (0, 2):
        return f"exit code {answer.code}: {lines[-1] if lines else ''}"
    if answer.code == 2 and not (lines and ("error: " in lines[-1]) and len(lines[-1]) < 1000):
        return f"no clear line: {answer.err[-300:]!r}"
    return ""


# --------------------------------------------------------------------------------------------------------------- runs


class Case(NamedTuple):
    game: str       # "vae" or "gan"
    source: str     # "resident", "streamed" or "folder"
    processes: int

    @property
    def name(self) -> str:
        return f"{self.game}, {self.source}, {self.processes} process{'es' if self.processes > 1 else ''}"


def resolved(name: str) -> dict:
    """A shipped config with every key."""
    import imggen_jax

    return imggen_jax.read_config(name).to_dict()


def configuration(case: Case, folder: Path | None = None) -> dict:
    """A shipped config, shrunk to 24 rounds of a tiny game on a few small pictures."""
    shipped = resolved(f"avatars_{case.game}")
    data = {"split": "train[:64]", "test": "test[:16]", "size": 16}
    if case.source == "folder":
        data |= {"name": "", "folder": str(folder), "split": "train", "test": ""}
    else:
        data["memory"] = {"resident": "resident", "streamed": "stream"}[case.source]
    game = {"vae": {"latent": 3, "network": {**shipped["game"].get("network", {}), "widths": (4,), "blocks": (1,),
                                                 "hidden": 8, "dense_blocks": 1}},
            "gan": {"latent": 4, "generator": {**shipped["game"].get("generator", {}), "width": 4},
                    "discriminator": {**shipped["game"].get("discriminator", {}), "width": 4}}}[case.game]
    changes = {"data": data, "game": game, "train": {"images": IMAGES, "batch": BATCH}, "log": LINE,
               "devices": {"steps_per_call": 1}, "ema": {"halflife": 50}, "score": {"every": 0}}
    return {key: {**value, **changes[key]} if key in changes else value for key, value in shipped.items()}


def write_config(path: Path, content: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("from ml_collections import ConfigDict\n\n\ndef get_config():\n"
                    f"    return ConfigDict({pprint.pformat(content)})\n")
    return path


def cases() -> list[Case]:
    made = [Case(game, source, processes) for source in ("resident", "streamed", "folder") for processes in (1, 2)
            for game in ("vae", "gan")
            if (source, processes) != ("folder", 2) or game == "vae"]
    return [case for case in made if chosen in case.name]


class Runs:
    """The runs of one case: the twin that was never interrupted, and those that are."""

    def __init__(self, case: Case, root: Path):
        self.case, self.root = case, root / case.name.replace(", ", "-").replace(" ", "")
        self.root.mkdir(parents=True, exist_ok=True)
        self.cache = root / "compiled"
        self.folder = draw_folder(root / "pictures") if case.source == "folder" else None
        self.config = write_config(self.root / "configs" / "run.py", configuration(case, self.folder))
        self.flags = os.environ["XLA_FLAGS"]
        self._numbers = itertools.count()

    def start(self, workdir: Path, *, fresh: bool = False, cold: bool = False, words: tuple = ()) -> list[Process]:
        """All processes of the run; `cold` compiles everything anew, and ingests the folder anew."""
        number = next(self._numbers)
        cache = self.root / f"cold{number}" if cold else self.cache
        environment = {"XLA_FLAGS": self.flags}
        if self.case.source == "folder":
            home = workdir.with_name(f"{workdir.name}-data")
            environment["IMGGEN_JAX_CACHE"] = str(home)
            if not home.exists():  # a cache of its own, but for the compiled convolutions
                home.mkdir()
                (home / "native").symlink_to(Path.home() / ".cache" / "imggen_jax" / "native")
        command = ["--config", self.config, "--workdir", workdir, *words]
        if self.case.processes == 1:
            return [Process(command, self.root / f"log{number}", cache=cache, fresh=fresh, environment=environment)]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        return [Process([*command, "--coordinator", address, "--processes", 2, "--process", i, "--heartbeat", 600],
                        self.root / f"log{number}.{i}", cache=cache, fresh=fresh, environment=environment)
                for i in range(2)]

    def finish(self, workdir: Path) -> list[int | None]:
        return [process.wait() for process in self.start(workdir)]

    def facts(self, workdir: Path) -> dict:
        """All that a run leaves but what the clock decides."""
        process = Process(["describe", "--workdir", workdir], self.root / "describe", cache=self.cache)
        if process.wait() != 0:
            return {"describe": process.said()}
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        timing = ("seconds", "cpu_seconds", "images_per_second")
        import hashlib

        return {"sha256": json.loads(process.out.read_text())["sha256"],
                "metrics": [{key: value for key, value in line.items() if key not in timing} for line in lines],
                "pictures": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                             for path in sorted((workdir / "pictures").iterdir())},
                "report": (workdir / "report.html").is_file()}

    def twin(self) -> dict:
        workdir = self.root / "twin"
        codes = self.finish(workdir)
        assert codes == [0] * self.case.processes, (codes, [path.read_text() for path in self.root.glob("*.err")])
        return self.facts(workdir)


def draw_folder(folder: Path) -> Path:
    """Pictures of one's own: 24 of different sizes."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for number in range(24):
            smooth = rng.uniform(0, 255, (5, 5, 3)).astype(np.uint8)
            Image.fromarray(smooth).resize((64 + number, 80), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


# -------------------------------------------------------------------------------------------------------------- kills

MOMENTS = ("compile", "step", "save", "restore", "ingest", "random")


def lines_of(workdir: Path) -> int:
    path = workdir / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def saving(workdir: Path, left: set[str]) -> bool:
    """Whether a checkpoint is being written; `left` are those that lay there before, of a save that was killed."""
    return any(path.name not in left for path in (workdir / "checkpoints").glob("*.partial"))


def ingesting(workdir: Path) -> bool:
    """Whether a folder of pictures is half ingested; what is needed for that is removed at the end."""
    return any(workdir.with_name(f"{workdir.name}-data").glob("folders/.ingest/*/work.sqlite"))


def observe(workdir: Path, processes: list[Process], lines: int, resumed: bool, left: set[str]) -> str:
    """What a run is doing, seen from outside."""
    if ingesting(workdir):
        return "ingest"
    if saving(workdir, left):
        return "save"
    if resumed and "Resuming" not in processes[0].said():
        return "restore"  # or before it: the start of a run that is taken up again
    if not (workdir / "config.json").exists():
        return "start"
    return "compile" if lines_of(workdir) <= lines else "step"


def kill(runs: Runs, workdir: Path, moment: str, chance: random.Random, fresh: bool, usual: float) -> str | None:
    """Start a run and kill -9 all of its processes, or one of two, at a moment; None if it was quicker."""
    resumed, lines = any((workdir / "checkpoints").glob("[0-9]*")), lines_of(workdir)
    if moment == "ingest":  # anew, as by someone who cleared the cache
        shutil.rmtree(workdir.with_name(f"{workdir.name}-data"), ignore_errors=True)
    left = {path.name for path in (workdir / "checkpoints").glob("*.partial")}
    processes = runs.start(workdir, fresh=fresh, cold=moment == "compile")
    more = lines + chance.randint(1, 6)
    arrived = {
        "compile": lambda: (workdir / "config.json").exists() and (not resumed or "Resuming" in processes[0].said()),
        "step": lambda: lines_of(workdir) >= more,
        "save": lambda: saving(workdir, left),
        "restore": lambda: True,
        "ingest": lambda: ingesting(workdir),
        "random": lambda: True,
    }[moment]
    wait = chance.uniform(*{"compile": (0, 1.0), "step": (0, 0.05), "save": (0, 0.02), "restore": (0.1, 1.2),
                            "ingest": (0, 0.3), "random": (0, usual)}[moment])
    while not arrived() and all(process.poll() is None for process in processes):
        time.sleep(0.002)
    begun = time.monotonic()
    while time.monotonic() - begun < wait and all(process.poll() is None for process in processes):
        time.sleep(0.002)
    if any(process.poll() is not None for process in processes):
        for process in processes:
            process.wait()
        return None
    seen = observe(workdir, processes, lines, resumed, left)
    victims = processes if len(processes) == 1 or chance.random() < 0.5 else [chance.choice(processes)]
    for process in victims:
        process.send(signal.SIGKILL)
    for process in processes:
        process.wait()
    return seen


def part_kills(root: Path, chance: random.Random, number: int) -> dict:
    """Kills with -9; every run has to end as its twin that was never interrupted."""
    each, table = [], []
    everything = [Runs(case, root) for case in cases()]
    for runs, share in zip(everything, _shares(number, len(everything))):
        begun = time.monotonic()
        twin = runs.twin()
        usual = time.monotonic() - begun
        seen, wrong, done = Counter(), [], 0
        offered = [m for m in MOMENTS if m != "ingest" or runs.case.source == "folder"]
        moments = itertools.cycle(offered)
        while sum(seen.values()) < share:
            workdir = runs.root / f"run{done}"
            for _ in range(min(5, share - sum(seen.values()))):
                moment = next(moments)
                if moment == "restore" and not any((workdir / "checkpoints").glob("[0-9]*")):
                    moment = "save"
                what = kill(runs, workdir, moment, chance, fresh=chance.random() < 0.1, usual=usual)
                if what is None:
                    break
                seen[what] += 1
            codes = runs.finish(workdir)
            found = runs.facts(workdir)
            if codes != [0] * runs.case.processes or found != twin:
                differs = [key for key in twin if found.get(key) != twin[key]]
                wrong.append({"run": str(workdir), "codes": codes, "differs": differs})
            else:
                shutil.rmtree(workdir)
            done += 1
        each += wrong
        table.append({"case": runs.case.name, "kills": sum(seen.values()), "moments": dict(seen), "runs": done,
                      "as_the_twin": done - len(wrong)})
        print(table[-1], flush=True)
    total = Counter()
    for row in table:
        total.update(row["moments"])
    return {"kills": sum(total.values()), "moments": dict(total), "runs": sum(row["runs"] for row in table),
            "as_the_twin": sum(row["as_the_twin"] for row in table), "cases": table, "wrong": each}


def _shares(number: int, among: int) -> list[int]:
    return [number // among + (i < number % among) for i in range(among)]


# -------------------------------------------------------------------------------------------------------- checkpoints


def damage(folder: Path, chance: random.Random) -> str:
    """Something that happens to disks and to people, done to one checkpoint."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    file = chance.choice(files)
    content = file.read_bytes()
    kind = chance.choice(["bit", "bit", "cut", "cut", "lost", "zeros", "longer", "swapped", "empty folder",
                          "no file left", "folder for a file", "garbage", "emptied"])
    if kind == "bit" and content:
        place = chance.randrange(len(content))
        file.write_bytes(content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1:])
    elif kind == "zeros" and any(content):
        start = chance.randrange(len(content))
        file.write_bytes(content[:start] + bytes(min(512, len(content) - start)) + content[start + 512:])
        if file.read_bytes() == content:
            file.write_bytes(bytes(len(content)))
    elif kind == "longer":
        file.write_bytes(content + bytes([chance.randrange(256)]))
    elif kind == "swapped":
        other = chance.choice([path for path in files if path.read_bytes() != content])
        file.write_bytes(other.read_bytes()), other.write_bytes(content)
    elif kind == "empty folder":
        shutil.rmtree(folder), folder.mkdir()
    elif kind == "no file left":
        for path in files:
            path.unlink()
    elif kind == "folder for a file":
        file.unlink(), file.mkdir()
    elif kind == "garbage":
        file.write_bytes(chance.randbytes(chance.randrange(1, 4096)))
    elif kind == "emptied" and content:
        file.write_bytes(b"")
    elif kind == "cut" and content:
        file.write_bytes(content[:chance.randrange(len(content))])
    else:
        kind = "lost"
        file.unlink()
    return kind


def part_checkpoints(root: Path, chance: random.Random, number: int) -> dict:
    """Damaged checkpoints; the state before it has to be found, or one line, and going on ends as the twin."""
    made = {game: Runs(Case(game, "resident", 1), root) for game in ("vae", "gan")}
    shapes = {}
    for game, runs in made.items():
        twin = runs.twin()
        steps = sorted(int(path.name) for path in (runs.root / "twin" / "checkpoints").iterdir())
        shapes[game] = (twin["sha256"], steps)
    states = {game: forked(lambda runs=runs, game=game: _states(runs, shapes[game][1])) for game, runs in made.items()}
    kinds, wrong, outcome = Counter(), [], Counter()
    for block in range(0, number, 20):
        jobs = [(made[chance.choice(list(made))], chance.randrange(1 << 62)) for _ in range(min(20, number - block))]
        done = forked(lambda jobs=jobs: [_damaged(runs, states, shapes, seed, train=i % 4 == 0)
                                         for i, (runs, seed) in enumerate(jobs)])
        for runs_kinds, told, problem in done or [([], "the process died", f"block {block}")] * len(jobs):
            kinds.update(runs_kinds)
            outcome[told] += 1
            wrong += [problem] if problem else []
    return {"checkpoints": sum(outcome.values()), "kinds": dict(kinds), "outcomes": dict(outcome), "wrong": wrong}


def _states(runs: Runs, steps: list[int]) -> dict[str, str]:
    """{step: sha256} of a run's checkpoints, each looked at alone."""
    found = {}
    for step in steps:
        workdir = runs.root / f"alone{step}"
        shutil.copytree(runs.root / "twin", workdir, ignore=lambda _, names, step=step: [
            name for name in names if name.isdigit() and int(name) != step])
        found[str(step)] = json.loads(ask(["describe", "--workdir", workdir]).out)["sha256"]
        shutil.rmtree(workdir)
    return found


def _damaged(runs: Runs, states: dict, shapes: dict, seed: int, train: bool) -> tuple[list[str], str, str]:
    """Damage the newest checkpoints of a copy; look at it, and train on from it. ([kind], outcome, what was wrong)"""
    chance, game = random.Random(seed), runs.case.game
    sha, steps = shapes[game]
    workdir = runs.root / f"damaged{seed}"
    shutil.copytree(runs.root / "twin", workdir)
    many = chance.choice([1, 1, 1, 2, len(steps)])
    damaged = steps[-many:]
    kinds = [damage(workdir / "checkpoints" / str(step), chance) for step in damaged]
    good = steps[-many - 1] if many < len(steps) else None

    def problem(what: str, answer: Answer) -> str:
        return (f"{game}, seed {seed}, {kinds}: {what}: code {answer.code}, {answer.seconds:.1f} s, "
                f"{answer.err[-300:]!r}")

    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    looked = ask(["describe", "--workdir", workdir])
    if looked.seconds > SLOW:  # was it this, or what else the machine does?
        looked = ask(["describe", "--workdir", workdir])
    if said := fault(looked):
        return kinds, "wrong", problem(said, looked)
    if before != {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}:
        return kinds, "wrong", problem("describe changed the folder", looked)
    if looked.code != (2 if good is None else 0):
        return kinds, "wrong", problem("unexpected code of describe", looked)
    if good is not None and json.loads(looked.out)["sha256"] != states[game][str(good)]:
        return kinds, "wrong", problem("describe shows another state", looked)
    if looked.seconds > SLOW:
        return kinds, "wrong", problem("slow", looked)
    if good is not None and not train:  # a refusal costs little, training much
        shutil.rmtree(workdir)
        return kinds, "shown as the one before", ""
    trained = ask(["--config", runs.config, "--workdir", workdir])
    if (said := fault(trained)) or trained.code != (2 if good is None else 0):
        return kinds, "wrong", problem(said or "unexpected code of training", trained)
    if good is None:
        outcome = "refused in one line, nothing touched"
        if before != {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}:
            return kinds, "wrong", problem("the refusal changed the folder", trained)
    else:
        outcome = "went on from the one before, to the bits of the twin"
        named = all(f"checkpoints/{step} is damaged" in trained.err for step in damaged)
        ended = json.loads(ask(["describe", "--workdir", workdir]).out)
        if not named or ended["sha256"] != sha or len(list((workdir / "checkpoints").glob("damaged-*"))) != many:
            return kinds, "wrong", problem("ended with another state", trained)
    shutil.rmtree(workdir)
    return kinds, outcome, ""


# -------------------------------------------------------------------------------------------------------------- words


def part_words(root: Path, chance: random.Random, number: int) -> dict:
    """Mutated configs and command lines: a result, or one clear line and exit code 2."""
    made = {game: Runs(Case(game, "resident", 1), root) for game in ("vae", "gan")}
    for runs in made.values():
        if not (runs.root / "twin" / "report.html").exists():
            runs.twin()
    codes, wrong, slowest, alone = Counter(), [], 0.0, 0
    for block in range(0, number, 10):
        jobs = []
        for i in range(block, min(block + 10, number)):
            runs = made[chance.choice(list(made))]
            content, twin = configuration(runs.case), runs.root / "twin"
            jobs.append(mutated_words(i, content, runs.config, twin, root / f"words{i}", chance))
        done = forked(lambda jobs=jobs: [list(ask(words)) for words in jobs]) or []
        for i, words in enumerate(jobs):
            answer = Answer(*done[i]) if i < len(done) else Answer(70, "", "the process died", 0.0)
            if answer.seconds > SLOW and answer.code == 2:  # was it this, or what else the machine does?
                answer = Answer(*(forked(lambda words=words: list(ask(words))) or (70, "", "the process died", 0.0)))
            if i == 0:  # and once as a user's shell does it
                process = Process(words, root / f"log-words{block}", cache=root / "compiled", fresh=True)
                code = process.wait()
                alone += 1
                if code != answer.code:
                    wrong.append(f"{words}: {answer.code} here, {code} as a process: {process.said()[-300:]!r}")
            codes[str(answer.code)] += 1
            slowest = max(slowest, answer.seconds if answer.code == 2 else 0)
            said = fault(answer) or ("no result" if answer.code == 2 and answer.out else "") or (
                "a refusal took too long" if answer.code == 2 and answer.seconds > SLOW else "") or (
                not_finite(root / f"words{block + i}") if answer.code == 0 else "")
            if said:
                wrong.append(f"{[str(word) for word in words]}: {said}")
            if said or (answer.code == 2 and answer.seconds > SLOW / 2):
                print(f"{answer.seconds:.1f} s, {said or answer.err.strip()}: {[*map(str, words)]}", flush=True)
        for path in root.glob("words*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return {"command_lines": sum(codes.values()), "codes": dict(codes), "also_as_a_process": alone,
            "slowest_refusal_s": round(slowest, 1), "wrong": wrong}


def not_finite(workdir: Path) -> str:
    """What in a run's last checkpoint is no finite number; "" for nothing, and where no run is."""
    for path in sorted(workdir.glob("checkpoints/*/state.npz"))[-1:]:
        with np.load(path, allow_pickle=False) as state:
            for name in state.files:
                if state[name].dtype.kind == "f" and not np.isfinite(state[name]).all():
                    return f"trained to the end, and {name} is not finite"
    return ""


ODD = ["", "x", "0", "-1", "1.5", "nan", "inf", "-inf", "1e999", "99999999999999999999", "None", "True", "()", "[]",
       "{}", "(1,", "'", '"', "\\", "\x01", "é", "../..", "/", "/nonsense", "a" * 300, "--", "=", "1=2", "%s",
       "${HOME}", "*", "3", "7", "16", "0.5"]


def _set(key: str, value: object, chance: random.Random) -> str:
    return f"--config.{key}={value}" if chance.random() < 0.95 else f"--config.{key}"


def _flat(section: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in section.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def mutated_words(i: int, content: dict, config: Path, twin: Path, workdir: Path, chance: random.Random) -> list:
    """A command line in which something is wrong, as a rule: in the overrides, in the words, or in the config file.

    content: of `config`, with which the run in `twin` was trained; workdir: a new folder.
    """
    return [_odd_overrides, _odd_words, _odd_file][i % 3](content, config, twin, workdir, chance)


def _odd_overrides(content: dict, config: Path, twin: Path, workdir: Path, chance: random.Random) -> list:
    """A training command with one or two odd overrides. Short: 8 images."""
    del twin
    keys = list(_flat(content))
    words = ["--config", config, "--workdir", workdir, "--config.train.images=8"]
    for _ in range(chance.choice([1, 1, 2])):
        key = chance.choice([k for k in keys if k not in ("train.images", "log.save", "log.every")])
        if chance.random() < 0.2:
            place = chance.randrange(len(key))
            key = key[:place] + chance.choice("xz._-") + key[place + 1:]
        words.append(_set(key, chance.choice(ODD), chance))
    return words


def _odd_words(content: dict, config: Path, twin: Path, workdir: Path, chance: random.Random) -> list:
    """A command line with words missing, doubled, changed or exchanged."""
    del content
    lines = [["generate", "--workdir", twin, "--num", 2, "--out", workdir, "--seed", 1, "--truncation", 0.7],
             ["describe", "--workdir", twin],
             ["generate", "--workdir", twin, "--num", 1, "--out", workdir, "--label", 1],
             ["--config", config, "--workdir", twin], ["prepare", "--name", "mnist", "--dir", workdir],
             ["--config", config, "--workdir", twin, "--processes", 1, "--process", 0, "--heartbeat", 5]]
    words = [str(word) for word in chance.choice(lines)]
    for _ in range(chance.choice([1, 1, 2])):
        place = chance.randrange(len(words))
        match chance.choice(["change", "change", "drop", "double", "exchange", "letter"]):
            case "change":
                # Not so many pictures that they take long, which would be right.
                words[place] = chance.choice([odd for odd in ODD if not odd.startswith("999")])
            case "drop":
                del words[place]
            case "double":
                words.insert(place, words[place])
            case "exchange":
                other = chance.randrange(len(words))
                words[place], words[other] = words[other], words[place]
            case "letter":
                letters = list(words[place]) or ["x"]
                letters[chance.randrange(len(letters))] = chance.choice("abz-=/0")
                words[place] = "".join(letters)
        if not words:
            words = ["--help"]
    harmless = [word for word in words if word not in ("", "/", "../..")]  # not to write where one should not
    return harmless or ["--help"]


def _odd_file(content: dict, config: Path, twin: Path, workdir: Path, chance: random.Random) -> list:
    """A config file that someone edited badly, or a value in it of the wrong kind."""
    del config, twin
    path = workdir.with_name(f"{workdir.name}-config") / "configs" / "run.py"
    content = copy.deepcopy(content)
    content["train"]["images"] = 8
    if chance.random() < 0.6:
        section = content
        while True:
            key = chance.choice(list(section))
            if not isinstance(section[key], dict) or not section[key] or chance.random() < 0.2:
                break
            section = section[key]
        odd = [None, "", "x", -1, 0, 2, 1.5, float("nan"), float("inf"), True, (), [], {}, {"name": "x"}, [1, 2],
               (3, 3), (0,), "vae", 10**30, b"bytes"]
        match chance.choice(["value", "value", "drop", "add"]):
            case "value":
                if key != "images":
                    section[key] = chance.choice(odd)
            case "drop":
                del section[key]
            case "add":
                section[f"{key}s"] = chance.choice(odd)
        write_config(path, content)
        path.write_text(path.read_text().replace("nan", "float('nan')").replace(" inf", " float('inf')"))
    else:
        write_config(path, content)
        letters = list(path.read_text())
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(letters))
            # No digits: a number ten times as large may be right, and take long.
            letters[place] = chance.choice(["", "\n", "(", ")", ":", "'", "x", "\t", "#", ",", "\x00", "é"])
        path.write_text("".join(letters))
    return ["--config", path, "--workdir", workdir, "--config.train.images=8"]


# ----------------------------------------------------------------------------------------------------------- pictures


def part_pictures(root: Path, chance: random.Random, number: int) -> dict:
    """Mutated pictures among good ones: each is in the dataset as Pillow shows it, or left out with a reason."""
    fates, reasons, wrong, slowest = Counter(), Counter(), [], 0.0
    for block in range(0, number, 100):
        folder = root / f"pictures{block}"
        folder.mkdir()
        originals = _originals(chance)
        names = []
        for i in range(min(100, number - block)):
            kind, content = chance.choice(originals)
            names.append(f"{i:03d}.{kind}")
            (folder / names[-1]).write_bytes(mutate(content, chance))
        for kind, content in originals:
            (folder / f"good.{kind}").write_bytes(content)
        archive = chance.random() < 0.3
        if archive:
            with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as file:
                for path in sorted(folder.iterdir()):
                    file.write(path, path.name)
        path = folder.with_suffix(".zip") if archive else folder
        words = ["data", "--folder", path, "--size", 16, "--out", root / f"ingested{block}"]
        answer = Answer(*(forked(lambda words=words: list(ask(words))) or (70, "", "the process died", 0.0)))
        slowest = max(slowest, answer.seconds / (len(names) + len(originals)))
        if answer.code or fault(answer):
            wrong.append(f"block {block}: code {answer.code}: {answer.err[-300:]!r}")
            continue
        found = forked(lambda block=block, folder=folder: _fates(root / f"ingested{block}", folder)) or {}
        for name in [*names, *(f"good.{kind}" for kind, _ in originals)]:
            fate, reason = found.get(name, ("lost", ""))
            right = reason if fate == "wrong pixels" else ""
            if fate == "lost" or right or (name.startswith("good") and fate == "left out"):
                wrong.append(f"block {block}, {name}: {fate}, {reason}")
            if not name.startswith("good"):
                fates[fate] += 1
                reasons.update([reason] if fate == "left out" else [])
        if not wrong:
            shutil.rmtree(folder), shutil.rmtree(root / f"ingested{block}")
    return {"pictures": sum(fates.values()), "fates": dict(fates), "reasons": dict(reasons),
            "slowest_mean_s": round(slowest, 3), "wrong": wrong}


def _originals(chance: random.Random) -> list[tuple[str, bytes]]:
    """One picture of each format, of a size that needs resizing."""
    rng = np.random.default_rng(chance.randrange(1 << 32))
    smooth = Image.fromarray(rng.uniform(0, 255, (6, 6, 3)).astype(np.uint8)).resize((48, 40), Image.Resampling.BICUBIC)
    made = []
    for kind, picture, options in (
            ("png", smooth, {}), ("jpg", smooth, {"quality": 85}), ("webp", smooth, {"lossless": True}),
            ("gif", smooth.quantize(64), {}), ("bmp", smooth, {}), ("tiff", smooth, {"compression": "tiff_lzw"}),
            ("l.png", smooth.convert("L"), {}), ("a.png", smooth.convert("RGBA"), {}),
            ("p.png", smooth.quantize(32), {}), ("1.png", smooth.convert("1"), {}),
            ("cmyk.jpg", smooth.convert("CMYK"), {})):
        file = io.BytesIO()
        end = kind.split(".")[-1]
        picture.save(file, {"jpg": "JPEG"}.get(end, end.upper()), **options)
        made.append((kind, file.getvalue()))
    return made


def mutate(content: bytes, chance: random.Random) -> bytes:
    """Something that happens to files, or that someone does to them on purpose."""
    letters = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 4])):
        if not letters:
            break
        place = chance.randrange(len(letters))
        match chance.choice(["bit", "byte", "cut", "insert", "remove", "zeros", "header", "repeat", "number"]):
            case "bit":
                letters[place] ^= 1 << chance.randrange(8)
            case "byte":
                letters[place] = chance.randrange(256)
            case "cut":
                del letters[place:]
            case "insert":
                letters[place:place] = chance.randbytes(chance.randrange(1, 40))
            case "remove":
                del letters[place:place + chance.randrange(1, 40)]
            case "zeros":
                letters[place:place + 64] = bytes(len(letters[place:place + 64]))
            case "header":
                letters[min(chance.randrange(64), len(letters) - 1)] = chance.randrange(256)
            case "repeat":
                letters += letters[place:]
            case "number":  # a length or a size that is absurd
                letters[place:place + 4] = chance.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"])
    return bytes(letters)


def _fates(out: Path, folder: Path) -> dict[str, tuple[str, str]]:
    """{name: ("kept", "duplicate", "left out" or "wrong pixels", reason)} of an ingested folder."""
    import csv

    import tensorflow_datasets as tfds

    (told,) = out.rglob("ingest.json")
    facts = json.loads(told.read_text())
    fates = {entry["name"]: ("left out", entry["reason"]) for entry in facts["left_out"]}
    fates |= {entry["name"]: ("duplicate", "") for entry in facts["duplicates"]}
    ledger = told.parent / "ledger.csv"
    with open(ledger, newline="", encoding="utf-8") as file:
        kept = [row["name"] for row in csv.DictReader(file)]
    stored = tfds.builder_from_directory(told.parent).as_data_source("train")
    if sum(each["image"].shape == (16, 16, 3) for each in stored) != len(kept):
        return {}
    for picture in kept:
        fates[picture] = ("kept", "")
    # Whatever Pillow cannot read to its end has no place in a dataset.
    for picture in kept:
        try:
            with Image.open(folder / picture) as opened:
                opened.load()
        except Exception as error:  # noqa: BLE001 - by what is broken, of many types
            fates[picture] = ("wrong pixels", f"kept, but Pillow says {type(error).__name__}: {error}"[:200])
    return fates


# ---------------------------------------------------------------------------------------------------------------- uses

# Of a hundred: folders with tables, calls of the API, command lines, and commands in odd environments.
MIX = {"folders": 27, "calls": 55, "command lines": 15, "environments": 3}


def part_uses(root: Path, chance: random.Random, number: int) -> dict:
    """Folders, tables, environments and calls of the API by chance: no traceback, silent loss or destructive advice."""
    cache = root / "cache"
    cache.mkdir()
    (cache / "native").symlink_to(Path.home() / ".cache" / "imggen_jax" / "native")  # compiled convolutions
    os.environ["IMGGEN_JAX_CACHE"] = str(cache)
    models = _models(root)
    picture = root / "here" / "000001.png"
    made = Process(["generate", "--model", models["gan"], "--num", 3, "--out", picture.parent], root / "log-here",
                   cache=root / "compiled")
    assert made.wait() == 0, made.said()
    cases, wrong, seconds = Counter(), [], Counter()
    for name, share in MIX.items():
        seeds = [chance.randrange(1 << 62) for _ in range(max(1, round(number * share / 100)))]
        for start in range(0, len(seeds), 60):
            block, begun = seeds[start:start + 60], time.monotonic()
            found = forked(lambda name=name, block=block: _uses(name, block, models, picture, root / "use"))
            if found is None:
                found = [[block[0], [["traceback", "the process died at this case of its block or at a later one"]]]]
            for seed, problems in found:
                wrong += [{"part": name, "seed": seed, "kind": kind, "what": what} for kind, what in problems]
            cases[name] += len(block)
            seconds[name] += time.monotonic() - begun
            print(name, cases[name], f"{seconds[name]:.0f} s", *wrong[-3:], flush=True)
    kinds = Counter(each["kind"] for each in wrong)
    return {"uses": cases.total(), "cases": dict(cases), "wrong": wrong,
            **{title.replace(" ", "_"): kinds[kind] for kind, title in uses.KINDS.items()}}


def _models(root: Path) -> dict[str, Path]:
    """A VAE, and a GAN of classes that are called 1, 2 and 3: {name: workdir}."""
    for label in range(1, 4):
        folder = root / "numbers" / str(label)
        folder.mkdir(parents=True)
        for number, (ending, content) in enumerate(uses.pictures(label)[:6]):
            (folder / f"{number}{ending}").write_bytes(content)
    found = {}
    for game in ("vae", "gan"):
        content = configuration(Case(game, "folder", 1), root / "numbers")
        content["data"]["label"] = "label" if game == "gan" else ""
        content["train"]["images"] = 4 * BATCH
        config, found[game] = write_config(root / "configs" / f"{game}.py", content), root / "models" / game
        run = Process(["train", "--config", config, "--workdir", found[game]], root / f"log-{game}",
                      cache=root / "compiled")
        assert run.wait(5 * GIVE_UP) == 0, run.said()
    return found


def _uses(name: str, seeds: list[int], models: dict[str, Path], picture: Path, root: Path) -> list:
    """[(seed, problems)] of cases with problems, in this process, which has been forked for them."""
    import imggen_jax

    pool, found = uses.pictures(), []
    loaded = {game: (imggen_jax.load(workdir) if name in ("calls", "command lines") else None, workdir)
              for game, workdir in models.items()}

    def call(words: list) -> tuple[int, str, str]:
        answer = ask(words)
        return answer.code, answer.out, answer.err

    for seed in seeds:
        chance = random.Random(seed)
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        os.chdir(root)
        try:
            match name:
                case "folders":
                    problems = uses.folder_case(chance, root, pool, call)
                case "calls":
                    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
                        problems = uses.api_case(chance, loaded, root)
                case "command lines":
                    words = uses.command_case(chance, loaded, picture, root)
                    code, _, said = call(words)
                    problems = [each._replace(what=f"{words}: {each.what}") for each in uses.judged(code, said)]
                case _:
                    problems = _environment(*uses.environment_case(chance, loaded, picture, root))
        except Exception:  # noqa: BLE001 - a fault of the check is one too
            problems = [uses.Problem("traceback", traceback.format_exc()[-600:])]
        if problems:
            found.append((seed, problems))
    os.chdir(root.parent)
    return found


def _environment(words: list[str], changes: dict[str, str | None], stream: str) -> list[uses.Problem]:
    """A command in a process of its own, as a shell starts it."""
    environment = {**os.environ, **{key: value for key, value in changes.items() if value is not None}}
    for key in [key for key, value in changes.items() if value is None]:
        environment.pop(key, None)
    line = f"{shlex.join([sys.executable, '-m', 'imggen_jax.main', *words])} {stream}"
    done = subprocess.run(["/bin/bash", "-o", "pipefail", "-c", line], env=environment, capture_output=True,
                          timeout=GIVE_UP)
    said = done.stderr.decode(errors="replace")
    # A reader who leaves is answered with the code of SIGPIPE; a closed stderr cannot say why.
    code = 0 if stream.startswith("|") and done.returncode == 128 + signal.SIGPIPE else done.returncode
    problems = uses.judged(0 if stream == "2>&-" and code == 2 else code, said)
    return [each._replace(what=f"{changes} {words} {stream}: {each.what}") for each in problems]


# ----------------------------------------------------------------------------------------- signals, peers, disks, locks


def part_signals(root: Path, chance: random.Random, number: int) -> dict:
    """SIGTERM at random moments: how soon a run has saved and left, and whether it ends as its twin."""
    table, wrong = [], []
    everything = [Runs(case, root) for case in cases() if case.source == "resident"]
    for runs, share in zip(everything, _shares(number, len(everything))):
        begun = time.monotonic()
        twin = runs.twin()
        usual = time.monotonic() - begun
        codes, seconds = Counter(), []
        for i in range(share):
            workdir = runs.root / f"term{i}"
            processes = runs.start(workdir, cold=chance.random() < 0.3)
            wait, begun = chance.uniform(0, usual), time.monotonic()
            while time.monotonic() - begun < wait and all(process.poll() is None for process in processes):
                time.sleep(0.001)
            for process in processes:
                process.send(signal.SIGTERM)
            left = [process.wait() for process in processes]
            seconds.append(sum(process.waited for process in processes))
            codes.update(str(code) for code in left)
            # -15: before there was anything to save, the system's own answer, which a shell shows as 143.
            if not set(left) <= {0, 143, -15, 3} or seconds[-1] > 30:
                wrong.append(f"{runs.case.name}: {left} after {seconds[-1]:.1f} s: {processes[0].said()[-300:]!r}")
            if runs.finish(workdir) != [0] * runs.case.processes or runs.facts(workdir) != twin:
                wrong.append(f"{runs.case.name}: not as its twin")
            shutil.rmtree(workdir)
        table.append({"case": runs.case.name, "signals": share, "codes": dict(codes),
                     "longest_s": round(max(seconds, default=0), 1)})
        print(table[-1], flush=True)
    return {"signals": sum(row["signals"] for row in table), "longest_s": max(row["longest_s"] for row in table),
            "cases": table, "wrong": wrong}


def part_preemption(root: Path, chance: random.Random, number: int) -> dict:
    """SIGTERM while a run of full size compiles for the first time: 30 seconds is what platforms give."""
    table, wrong = [], []
    for game in ("vae", "gan"):
        runs = Runs(Case(game, "resident", 1), root)
        shipped = resolved(f"avatars_{game}")
        call = shipped["train"]["batch"] * shipped["devices"]["steps_per_call"]
        every = {name: call for name in ("every", "evaluate", "show")}
        length = 12 * call  # so long that the signal comes before the end
        content = {**shipped, "train": {**shipped["train"], "images": length},
                   "log": {**shipped["log"], **every, "save": length}, "score": {**shipped["score"], "every": 0}}
        runs.config, runs.flags = write_config(runs.root / "configs" / "full.py", content), ""
        twin = runs.twin()
        for i in range(number):
            workdir = runs.root / f"term{i}"
            for moment, expected in (("the first call", None), ("what looks at the pictures", 1),
                                     ("the first call of a run taken up again", 1)):
                lines = 1 if expected and not lines_of(workdir) else 0
                process = runs.start(workdir, cold=True)[0]
                while process.poll() is None and not (
                        lines_of(workdir) >= lines if lines else (workdir / "config.json").exists()
                        and (not expected or "Resuming" in process.said())):
                    time.sleep(0.001)
                time.sleep(chance.uniform(0.5, 4))
                process.send(signal.SIGTERM)
                code = process.wait()
                steps = [path.name for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()]
                table.append({"run": f"avatars_{game}", "compiling": moment, "code": code,
                              "seconds": round(process.waited, 1)})
                print(table[-1], flush=True)
                if code != 143 or process.waited > 30 or len(steps) != bool(expected):
                    wrong.append({**table[-1], "checkpoints": steps, "said": process.said()[-300:]})
            if runs.finish(workdir) != [0] or runs.facts(workdir) != twin:
                wrong.append(f"avatars_{game}: not as its twin")
    return {"signals": len(table), "longest_s": max(row["seconds"] for row in table), "cases": table, "wrong": wrong}


def part_peers(root: Path, chance: random.Random, number: int) -> dict:
    """One of two processes is killed: the other says which and leaves, and the restart ends as the twin."""
    runs = Runs(Case("vae", "resident", 2), root)
    twin = runs.twin()
    seconds, codes, named, wrong = [], Counter(), 0, []
    for i in range(number):
        workdir, lost = runs.root / f"peer{i}", i % 2
        processes = runs.start(workdir, words=("--config.train.images=1920",))
        while lines_of(workdir) < chance.randint(1, 6) and all(process.poll() is None for process in processes):
            time.sleep(0.001)
        processes[lost].send(signal.SIGKILL)
        code = processes[1 - lost].wait()
        processes[lost].wait()
        seconds.append(processes[1 - lost].waited)
        codes[f"process {lost} lost: {code}"] += 1
        said = processes[1 - lost].said()
        named += f"process {lost} of 2 was lost" in said
        if code not in (3, -6) or seconds[-1] > 60:
            wrong.append(f"code {code} after {seconds[-1]:.1f} s: {said[-300:]!r}")
        shutil.rmtree(workdir)
        if i < 2:  # and the same with the twin's length, to its end
            kill(runs, workdir, "step", chance, fresh=False, usual=1)
            if runs.finish(workdir) != [0, 0] or runs.facts(workdir) != twin:
                wrong.append("not as its twin")
    return {"lost": number, "named": named, "codes": dict(codes), "longest_s": round(max(seconds), 1), "wrong": wrong}


def part_disk(root: Path, chance: random.Random, number: int) -> dict:
    """A file system of a few megabytes: full at the start, and full later on."""
    del chance, number
    runs = Runs(Case("vae", "resident", 1), root)
    twin = runs.twin()
    mounted = root / "small"
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(mounted)], capture_output=True).returncode:
        return {"skipped": "mounting is not permitted here", "wrong": []}
    table, wrong = [], []
    try:
        for name, first in (("from the start", 0), ("after the first checkpoints", 64)):
            workdir = mounted / "run"
            if first:
                assert runs.start(workdir, words=(f"--config.train.images={first}",))[0].wait() == 0
            ballast = mounted / "ballast"
            with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            with open(ballast, "r+b") as file:
                file.truncate(max(0, ballast.stat().st_size - 40_000))
            process = runs.start(workdir)[0]
            code, said = process.wait(), process.said()
            kept = sorted(int(path.name) for path in (workdir / "checkpoints").glob("[0-9]*") if path.name.isdigit())
            ballast.unlink()
            again = runs.finish(workdir)
            # A run that first ended after 64 images was evaluated there too, so its lines are not the twin's.
            compared = ("sha256",) if first else ("sha256", "metrics")
            same = {key: value for key, value in runs.facts(workdir).items() if key in compared}
            table.append({"full": name, "code": code, "checkpoints_kept": kept, "last_line": said.splitlines()[-1],
                         "warnings": said.count("warning: ")})
            if code != 1 or "Traceback" in said or "No space left" not in said or again != [0] or (
                    same != {key: twin[key] for key in same}) or bool(first) != bool(kept):
                wrong.append({**table[-1], "again": again, "said": said[-1500:]})
            shutil.rmtree(workdir)
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
    return {"cases": table, "wrong": wrong}


def part_lock(root: Path, chance: random.Random, number: int) -> dict:
    """Two runs at once in one folder: one of them is refused, and the other ends as its twin."""
    del chance
    runs = Runs(Case("vae", "resident", 1), root)
    twin = runs.twin()
    refused, wrong = 0, []
    for i in range(number):
        workdir = runs.root / f"lock{i}"
        pair = [*runs.start(workdir), *runs.start(workdir)]
        codes = [process.wait() for process in pair]
        said = [process.said() for process in pair]
        refused += sorted(codes) == [0, 2] and any("is in use by process" in text for text in said)
        # Not at once on a busy machine: then the second one finds a complete run.
        if sorted(codes) not in ([0, 2], [0, 0]) or runs.facts(workdir) != twin:
            wrong.append(f"{codes}: {said}"[:600])
        shutil.rmtree(workdir)
    return {"pairs": number, "refused": refused, "wrong": wrong}


# -------------------------------------------------------------------------------------------------------------- table


def _words(counts: dict, between: str = ", ") -> str:
    return between.join(f"{number} {name}" for name, number in sorted(counts.items(), key=lambda item: -item[1]))


def rows(results: dict) -> list[tuple[str, str, str]]:
    """(what was done, how it ended, how often it was wrong) of each part."""
    made = []
    for part, result in results.items():
        match part:
            case "kills":
                what = f"{result['kills']} kills with -9 in {result['runs']} runs: {_words(result['moments'])}"
                how = f"{result['as_the_twin']} of {result['runs']} runs end as their twin"
            case "checkpoints":
                what, how = f"{result['checkpoints']} times damaged checkpoints", _words(result["outcomes"], "; ")
            case "words":
                codes = {f"with code {code}": number for code, number in result["codes"].items()}
                what = f"{result['command_lines']} mutated configs and command lines"
                how = f"{_words(codes)}; the slowest refusal took {result['slowest_refusal_s']} s"
            case "pictures":
                what, how = f"{result['pictures']} mutated pictures", _words(result.get("fates", {}))
            case "uses":
                what = f"{result['uses']} uses by chance: {_words(result['cases'])}"
                how = ", ".join(f"{result[title.replace(' ', '_')]} {title}" for title in uses.KINDS.values())
            case "signals":
                what, how = f"{result['signals']} SIGTERMs", f"saved and left after at most {result['longest_s']} s"
            case "preemption":
                what = f"{result['signals']} SIGTERMs while avatars_vae and avatars_gan compile, nothing cached"
                how = f"saved and left after at most {result['longest_s']} s"
            case "peers":
                what = f"one of two processes killed, {result['lost']} times"
                how = f"the other left after at most {result['longest_s']} s and named it {result['named']} times"
            case "lock":
                what = f"two runs at once in a folder, {result['pairs']} times"
                how = f"{result['refused']} times one was refused"
            case "disk":
                what = "a disk that is full"
                how = result.get("skipped") or "; ".join(
                    f"{case['full']}: code {case['code']}, {len(case['checkpoints_kept'])} checkpoints kept"
                    for case in result["cases"])
        made.append((what, how, str(len(result["wrong"]))))
    return made


def merge(old, new):
    """Two results of one part: counts are added, lists joined, times that say "at most" are the larger one."""
    if isinstance(old, dict):
        largest = {key: max(old[key], new[key]) for key in old if key in new and key.startswith(("longest", "slowest"))}
        return {**old, **new, **{key: merge(old[key], new[key]) for key in old if key in new}, **largest}
    return old if isinstance(old, str) else old + new


def write_table(results: dict) -> None:
    """Into README.md, between its two marks."""
    page = HERE / "README.md"
    before, _, rest = page.read_text().partition("<!-- results: written by soak.py -->\n")
    _, _, after = rest.partition("<!-- end -->")
    lines = ["| what was done | how it ended | wrong |", "| --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in rows(results)]
    page.write_text(f"{before}<!-- results: written by soak.py -->\n" + "\n".join(lines) + f"\n<!-- end -->{after}")


PARTS = {"disk": (part_disk, 1), "lock": (part_lock, 4), "peers": (part_peers, 6),
         "checkpoints": (part_checkpoints, 200), "words": (part_words, 300), "pictures": (part_pictures, 1000),
         "uses": (part_uses, 2000), "signals": (part_signals, 16), "preemption": (part_preemption, 1),
         "kills": (part_kills, 110)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the numbers (default: 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--add", action="store_true", help="add to the figures that are there")
    parser.add_argument("--cases", default="", help="only those whose name holds this, such as 'gan, streamed'")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="what is not run stays in it")
    parser.add_argument("--root", type=Path, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    above, out = Path(args.root or tempfile.gettempdir()).absolute(), args.out.absolute()
    os.environ |= ENVIRONMENT
    sys.path.insert(0, str(REPOSITORY))
    # For the processes that are forked. None of these starts JAX or a thread of its own.
    import grain  # noqa: F401
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401
    import tensorboardX  # noqa: F401
    import tensorflow_datasets  # noqa: F401

    import imggen_jax
    from imggen_jax import main  # noqa: F401 - the command line

    for name in imggen_jax.__all__:  # what is imported late
        getattr(imggen_jax, name)
    for name in ("avatars_vae", "avatars_gan"):
        imggen_jax.read_config(name)

    global chosen
    chosen = args.cases
    failed = False
    for part in args.parts:
        work, number = PARTS[part]
        root = Path(tempfile.mkdtemp(prefix=f"soak-{part}-", dir=above))
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(root / "compiled")
        os.chdir(root)  # odd words may name folders to write to
        begun = time.monotonic()
        result = work(root, random.Random(f"{part} {args.seed}"), max(1, round(number * args.scale)))
        result |= {"seeds": [args.seed], "minutes": round((time.monotonic() - begun) / 60, 1)}
        with open(out, "a+") as file:  # other parts may be running beside this one
            fcntl.lockf(file, fcntl.LOCK_EX)
            file.seek(0)
            results = json.loads(file.read() or "{}")
            results[part] = merge(results[part], result) if args.add and part in results else result
            file.truncate(0)
            file.write(json.dumps(results, indent=2) + "\n")
        if out.parent == HERE:
            write_table(results)
        print(part, json.dumps(result, indent=2), flush=True)
        failed |= bool(result["wrong"])
        if not result["wrong"]:
            os.chdir(above)
            shutil.rmtree(root, ignore_errors=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
