"""What the service holds: `batching`, `load`, `memory` and `killed`, each against a service that it starts itself.

    python experiments/service/load.py batching
    python experiments/service/load.py load --seconds 600
    python experiments/service/load.py memory
    python experiments/service/load.py killed

Each prints its figures as JSON and adds them to results.json.
"""
from __future__ import annotations

import argparse
import base64
import collections
import contextlib
import io
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

import imggen_jax

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
WORDS = ["a smiling person with blue hair", "a sad person with glasses", "an angry person with a beard",
         "a smiling person with long pink hair"]
SEEDS = 8                # of each prompt, for `load`: known pictures
LATE = 1200              # seconds for an answer


@contextlib.contextmanager
def service(*words: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """A service in a process of its own, warm: the process and its address."""
    command = [sys.executable, "-m", "imggen_jax.main", "serve", "--port", "0", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://[\d.]+:\d+", line)
        assert found, f"the service did not start: {line}"
        with httpx.Client(base_url=found[0], timeout=LATE) as client:
            for model in client.get("/v1/models").json()["data"]:
                ask(client, model["id"], WORDS[0] if "text" in model["needs"] else "", 0)
        yield process, found[0]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


def ask(client: httpx.Client, model: str, prompt: str, seed: int | None, **more: Any) -> httpx.Response:
    """A request for new pictures."""
    fields = {"model": model, "prompt": prompt, **({} if seed is None else {"seed": seed}), **more}
    return client.post("/v1/images/generations", json=fields)


def pixels(answer: dict) -> list[np.ndarray]:
    """The pictures of an answer."""
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each["b64_json"])))) for each in answer["data"]]


def resident(process: subprocess.Popen) -> float:
    """Megabytes of memory that the process holds."""
    with open(f"/proc/{process.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def busy(process: subprocess.Popen) -> float:
    """Seconds of processor time that the process has used."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_parallel(clients: int, work: Callable[[int], Any]) -> list[Any]:
    """work(k) of each client, at once."""
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(work, range(clients)))


def batching() -> dict[str, Any]:
    """Pictures per second, and per second of processor time, of avatars: asked for by one client, and by eight."""
    def rate(address: str, process: subprocess.Popen, clients: int, each: int) -> tuple[float, float]:
        def one(k: int) -> None:
            with httpx.Client(base_url=address, timeout=LATE) as client:
                for turn in range(each):
                    assert ask(client, "avatars", WORDS[k % 4], None).status_code == 200, turn

        begun, used = time.monotonic(), busy(process)
        in_parallel(clients, one)
        made = clients * each
        return made / (time.monotonic() - begun), made / (busy(process) - used)

    alone, together = [], []
    with service("--models", "avatars") as (process, address):
        for _ in range(3):                   # in turn, since other work on the machine comes and goes
            alone.append(rate(address, process, 1, 2))
            together.append(rate(address, process, 8, 2))

    def medians(rates: list[tuple[float, float]]) -> tuple[float, ...]:
        return tuple(statistics.median(each) for each in zip(*rates))

    (wall_1, cpu_1), (wall_8, cpu_8) = medians(alone), medians(together)
    return {"pictures_per_second": {"1 client": round(wall_1, 3), "8 clients": round(wall_8, 3)},
            "pictures_per_processor_second": {"1 client": round(cpu_1, 3), "8 clients": round(cpu_8, 3)},
            "factor": round(wall_8 / wall_1, 2), "factor_of_processor_time": round(cpu_8 / cpu_1, 2)}


def known() -> dict[tuple[str, str, int], np.ndarray]:
    """(model, prompt, seed) -> the picture that Python makes."""
    found = {}
    for name in ("avatars", "avatars_32"):
        model = imggen_jax.load(name)
        for prompt in WORDS if name == "avatars" else [""]:
            made = model.sample(num=SEEDS, seed=0, given={"text": prompt} if prompt else None)
            found |= {(name, prompt, seed): image for seed, image in enumerate(made)}
    return found


def load(seconds: float, clients: int = 64) -> dict[str, Any]:
    """Mixed requests of many clients: new pictures, streams, edits, looks; each picture is compared with the known one.
    """
    expected = known()
    took: dict[str, list[float]] = collections.defaultdict(list)
    statuses: collections.Counter = collections.Counter()
    faults: list[str] = []
    lock = threading.Lock()

    def check(model: str, prompt: str, seed: int, answer: dict) -> None:
        for place, image in enumerate(pixels(answer)):
            right = expected[model, prompt, seed + place]
            # What is written is marked: it differs from the pixels by a little, and from other pictures by much.
            if np.abs(image.astype(int) - right).mean() > 4:
                faults.append(f"{model} {prompt} {seed + place} is another picture")

    def one(draw: random.Random, client: httpx.Client, photo: bytes) -> tuple[str, httpx.Response]:
        seed, prompt = draw.randrange(SEEDS - 1), draw.choice(WORDS)
        kind = draw.choices(["avatars", "avatars_32", "stream", "vary", "detect", "url"], [6, 6, 1, 1, 1, 1])[0]
        if kind in ("avatars", "avatars_32", "url"):
            model = "avatars" if kind == "avatars" else "avatars_32"
            prompt = prompt if model == "avatars" else ""
            answer = ask(client, model, prompt, seed, n=draw.choice([1, 2]),
                         response_format="url" if kind == "url" else "b64_json")
            if answer.status_code == 200 and kind == "url":
                found = client.get(answer.json()["data"][0]["url"])
                content = base64.b64encode(found.content).decode()
                check(model, prompt, seed, {"data": [{"b64_json": content}]})
            elif answer.status_code == 200:
                check(model, prompt, seed, answer.json())
        elif kind == "stream":
            answer = ask(client, "avatars", prompt, seed, stream=True, partial_images=0)
            if answer.status_code == 200:
                said = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
                check("avatars", prompt, seed, {"data": [said[-1]]})
        elif kind == "vary":
            answer = client.post("/v1/images/variations", files={"image": photo}, data={"model": "avatars_32"})
        else:
            answer = client.post("/v1/detect", files={"image": photo})
        return kind, answer

    def work(k: int) -> None:
        draw, until = random.Random(k), time.monotonic() + seconds
        out = io.BytesIO()
        Image.fromarray(expected["avatars_32", "", k % SEEDS]).save(out, "PNG")
        with httpx.Client(base_url=address, timeout=LATE) as client:
            while time.monotonic() < until:
                begun = time.monotonic()
                kind, answer = one(draw, client, out.getvalue())
                with lock:
                    statuses[answer.status_code] += 1
                    if answer.status_code == 200:
                        took[kind].append(time.monotonic() - begun)
                    elif answer.status_code != 429:
                        faults.append(f"{kind}: {answer.status_code} {answer.text[:200]}")
                if answer.status_code == 429:
                    time.sleep(float(answer.headers["retry-after"]))

    with service("--seconds", str(LATE)) as (process, address):
        begun, used, before = time.monotonic(), busy(process), resident(process)
        in_parallel(clients, work)
        spent = time.monotonic() - begun
        text = httpx.get(f"{address}/metrics", timeout=LATE).text
        pictures = sum(int(float(count)) for count in re.findall(r"imggen_pictures_total\S+ (\S+)", text))
        after, processor = resident(process), busy(process) - used
    every = [value for each in took.values() for value in each]
    return {"clients": clients, "seconds": round(spent), "statuses": dict(sorted(statuses.items())),
            "faults": faults[:10], "requests": sum(statuses.values()), "pictures": pictures,
            "pictures_per_second": round(pictures / spent, 2), "processors_used": round(processor / spent, 2),
            "seconds_of_a_request": {f"p{share}": round(float(np.percentile(every, share)), 1)
                                     for share in (50, 95, 99)},
            "by_kind_p50": {kind: round(statistics.median(each), 1) for kind, each in sorted(took.items())},
            "memory_mb": {"before": round(before), "after": round(after)}}


def memory(requests: int, clients: int = 50, unsigned: bool = False) -> dict[str, Any]:
    """The memory of the service after a tenth of some small requests, more of them, and all. unsigned: not signed."""
    first = requests // 10
    with service("--models", "avatars_32", *(["--no-credentials"] if unsigned else [])) as (process, address):
        done, at = 0, {}
        for stage in (first, 2 * first, 4 * first, requests):
            def work(k: int, number: int = (stage - done) // clients) -> None:
                with httpx.Client(base_url=address, timeout=LATE) as client:
                    for turn in range(number):
                        kind = "url" if turn % 10 == 0 else "b64_json"
                        answer = ask(client, "avatars_32", "", None, response_format=kind)
                        assert answer.status_code == 200, answer.text
            in_parallel(clients, work)
            done = stage
            at[stage] = resident(process)
    return {"signed": not unsigned,
            "megabytes": {f"after {number:,} requests": round(value, 1) for number, value in at.items()},
            "growth": round(at[requests] / at[first] - 1, 4)}


def killed() -> dict[str, Any]:
    """kill -9 while requests are under way: what clients see, what is left on the disk, and whether the next starts."""
    cache = Path(os.environ["IMGGEN_JAX_CACHE"]) / "service"
    seen: list[str] = []
    with service("--models", "avatars") as (process, address):
        def work(k: int) -> None:
            with httpx.Client(base_url=address, timeout=LATE) as client:
                try:
                    seen.append(str(ask(client, "avatars", WORDS[k % 4], k).status_code))
                except httpx.HTTPError as error:
                    seen.append(type(error).__name__)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
        for thread in threads:
            thread.start()
        with httpx.Client(base_url=address, timeout=LATE) as client:
            waiting = 0
            while waiting < 4 and any(map(threading.Thread.is_alive, threads)):   # some are under way, others wait
                waiting = int(re.search(r"imggen_waiting_requests (\d+)", client.get("/metrics").text)[1])
        process.kill()
        for thread in threads:
            thread.join()
    left = len(list(cache.glob("run_*")))
    with service("--models", "avatars") as (process, address):
        answer = ask(httpx.Client(base_url=address, timeout=LATE), "avatars", WORDS[0], 3).status_code
        folders = len(list(cache.glob("run_*")))
    return {"clients_saw": dict(collections.Counter(seen)), "folders_left_by_the_killed": left,
            "folders_while_the_next_runs": folders, "folders_after_it": len(list(cache.glob("run_*"))),
            "the_next_answers": answer}


def main() -> None:
    """One of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("batching", "load", "memory", "killed"))
    parser.add_argument("--seconds", type=float, default=600, help="of `load`")
    parser.add_argument("--requests", type=int, default=5000, help="of `memory`; compared with a tenth of them")
    parser.add_argument("--unsigned", action="store_true", help="for `memory`: without credentials")
    args = parser.parse_args()
    found = {"batching": batching, "load": lambda: load(args.seconds), "killed": killed,
             "memory": lambda: memory(args.requests, unsigned=args.unsigned)}[args.what]()
    found["load_average"] = round(os.getloadavg()[0], 1)     # of the machine, which other work may share
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**results, args.what: found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
