"""Reading from disk against reading from memory: images a second, memory, and the bits of a trained run.

    python experiments/streaming/measure.py readers          # batches alone
    python experiments/streaming/measure.py runs             # whole runs, through the command line
    python experiments/streaming/measure.py order            # the permutations of large datasets

Each writes its part of results.json. Needs mnist prepared by TFDS; avatars are drawn on the first use.
"""
from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
BATCH = 128
REPEATS = 3
# Arguments of `data.open_dataset`; the last two enlarge the avatars, to 3.7 and 14.6 GiB for 20,000.
DATASETS = {
    "mnist, 28x28 PNG": dict(name="mnist", size=0),
    "avatars, 32x32 PNG": dict(name="avatars/32x32", size=0),
    "avatars, 64x64 PNG": dict(name="avatars/64x64", size=0),
    "avatars, 64x64 PNG to 256x256": dict(name="avatars/64x64", size=256),
    "avatars, 64x64 PNG to 512x512": dict(name="avatars/64x64", size=512),
}
# Two processes cannot be timed side by side on two cores, so the runs take turns.
RUNS = {
    "mnist_vae": ["--config=configs/mnist_vae.py", "--config.train.images=40960", "--config.data.test=",
                  "--config.log.save=40960", "--config.log.show=40960", "--config.log.every=4096",
                  "--config.score.every=0"],
    "avatars_vae at 64x64": ["--config=configs/avatars_vae.py", "--config.data.name=avatars/64x64",
                             "--config.game.network.widths=(16,32,64)", "--config.game.network.blocks=(0,1,1)",
                             "--config.train.images=5120", "--config.data.test=", "--config.log.save=200000",
                             "--config.log.show=200000", "--config.log.every=1024",
                             "--config.score.every=0"],
}


def peak() -> float:
    """MiB: the largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read(title: str, memory: str, threads: int) -> dict:
    """Images a second of BATCH random examples at a time, in a process of its own; the best and the median of a few."""
    from imggen_jax import data

    before, begun = peak(), time.perf_counter()
    dataset = data.open_dataset(split="train", memory=memory, **DATASETS[title])
    opened = time.perf_counter() - begun
    threads = threads or dataset.threads
    speeds, steps = [], 8 if DATASETS[title]["size"] else 40
    for repeat in range(REPEATS):
        batches = data.ahead(lambda step: data.read_batch(dataset, seed=0, step=step, batch=BATCH), repeat * steps,
                             (repeat + 1) * steps, threads=threads, buffer=16 + threads)
        clock, seen = time.perf_counter(), 0
        for batch in batches:
            seen += len(batch["image"])
        speeds.append(seen / (time.perf_counter() - clock))
    return {"dataset": title, "memory": memory, "threads": threads, "examples": dataset.length,
            "images_per_second": round(max(speeds)), "median": round(statistics.median(speeds)),
            "seconds_to_open": round(opened, 2), "peak_mib": round(peak()), "peak_mib_before": round(before)}


def readers() -> list[dict]:
    cases = [(title, memory, 0) for title in DATASETS for memory in ("resident", "stream")
             if (title, memory) != ("avatars, 64x64 PNG to 512x512", "resident")]
    cases += [("mnist, 28x28 PNG", "stream", 2), ("avatars, 64x64 PNG", "stream", 1)]
    results = []
    for case in cases:
        if case[1] == "resident":
            in_process("read", *case)  # decodes and caches; what is measured is a later start
        results.append(in_process("read", *case))
        print(results[-1], flush=True)
    return results


def in_process(verb: str, *words) -> dict:
    done = subprocess.run([sys.executable, __file__, verb, *map(str, words)], cwd=REPOSITORY, check=True, text=True,
                          stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def train(title: str, memory: str) -> dict:
    """Speed, memory and checksum of a whole run."""
    import imggen_jax

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "imggen_jax.main", *RUNS[title], f"--workdir={folder}/run",
                   f"--config.data.memory={memory}"]
        subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        lines = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_text().splitlines()]
        speeds = [line["images_per_second"] for line in lines if line.get("images_per_second")]
        return {"run": title, "memory": memory, "images_per_second": round(statistics.median(speeds)),
                "best": round(max(speeds)), "cpu_seconds": round(used.ru_utime + used.ru_stime),
                "peak_mib": round(used.ru_maxrss / 1024), "sha256": imggen_jax.describe(f"{folder}/run")["sha256"]}


def runs() -> list[dict]:
    results = []
    for title in RUNS:
        for memory in ("resident", "stream"):
            results.append(in_process("train", title, memory))
            print(results[-1], flush=True)
    return results


def order(number: int) -> dict:
    """Cost of the permutation of one epoch, in a process of its own."""
    from imggen_jax import data

    before, begun = peak(), time.perf_counter()
    data.batch_indices(number, seed=0, step=0, batch=BATCH)
    first, clock = time.perf_counter() - begun, time.perf_counter()
    for step in range(1000):
        data.batch_indices(number, seed=0, step=step, batch=BATCH)
    return {"examples": number, "seconds_for_an_epoch": round(first, 2), "peak_mib": round(peak() - before),
            "microseconds_for_a_batch": round((time.perf_counter() - clock) * 1000)}


def orders() -> list[dict]:
    return [in_process("order_of", number) for number in (10**6, 10**7, 10**8)]


def keep(name: str, results: list[dict]) -> None:
    path = HERE / "results.json"
    kept = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**kept, "cores": os.cpu_count(), name: results}, indent=2) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    verb, *rest = sys.argv[1:]
    match verb:
        case "readers" | "runs" | "order":
            keep(verb, {"readers": readers, "runs": runs, "order": orders}[verb]())
        case "read":
            print(json.dumps(read(rest[0], rest[1], int(rest[2]))))
        case "train":
            print(json.dumps(train(*rest)))
        case "order_of":
            print(json.dumps(order(int(rest[0]))))
