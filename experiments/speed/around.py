"""What surrounds the step: a run's pace against the bare step's, start-up, --help, memory, donation; around.json.

    python experiments/speed/around.py

The bare step is one compiled step on a batch that lies on the device; the run is `imggen_jax.train` on the built-in
avatars, with its batches, scanned steps and logs. They alternate in one process, for a tiny and a real network.
"""
from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import cases  # noqa: E402

TURNS = 5
TINY = (("game.network.widths", (8, 8)), ("game.network.hidden", 32), ("game.latent", 8))
NETWORKS = {"tiny": (cases.CASES["vae_32"]._replace(overrides=TINY), 40_000),
            "real": (cases.CASES["vae_32"], 20_480)}


def main() -> None:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    results = {name: pace(case, images) for name, (case, images) in NETWORKS.items()}
    results["help_seconds"] = statistics.median(seconds("--help") for _ in range(5))
    results["first_step_seconds"] = first_step()
    for name, value in results.items():
        print(f"{name}: {value}")
    (HERE / "around.json").write_text(json.dumps(results, indent=1) + "\n")


def pace(case: cases.Case, images: int) -> dict:
    """Images/s of the bare step and of a run."""
    from imggen_jax.devices import use_compile_cache

    use_compile_cache()
    step, batch = bare(case)
    rates = {"bare": [], "run": []}
    for _ in range(TURNS):
        rates["bare"].append(batch / step())
        rates["run"].append(run(case, images))
    median = {name: statistics.median(rate) for name, rate in rates.items()}
    return {**median, "overhead": median["bare"] / median["run"] - 1, "all": rates}


def bare(case: cases.Case):
    import jax
    import ours

    import imggen_jax
    from imggen_jax import devices

    settings = cases.settings(case, devices__steps_per_call=1)
    built = imggen_jax.build(cases.read(case, devices__steps_per_call=1), case.spec)
    engine = devices.make("jit", devices.choose(settings.devices.count), built.play)
    batches = engine.put_batches(ours.noise(case.shape, 1, settings.train.batch))
    state, key = [engine.put_state(jax.jit(built.init)())], jax.random.key(0)
    pretrained = engine.put_state(built.pretrained)

    def step(number: int = 60) -> float:
        for i in range(number + 2):
            if i == 2:
                jax.block_until_ready(state)
                start = time.perf_counter()
            state[0], logs = engine.run(state[0], batches, key, pretrained)
        jax.block_until_ready((state, logs))
        return (time.perf_counter() - start) / number

    step(4)
    return step, settings.train.batch


def run(case: cases.Case, images: int) -> float:
    """Images/s that a run logs: the median over its lines of metrics but the first, which includes compilation."""
    import imggen_jax

    never = 10**9
    config = cases.read(case, train__images=images, data__test="", log__every=images // 5, log__show=never,
                        log__save=never, log__evaluate=never, score__every=0)
    with tempfile.TemporaryDirectory() as workdir:
        imggen_jax.train(config, workdir)
        lines = [json.loads(line) for line in (Path(workdir) / "metrics.jsonl").read_text().splitlines()]
    return statistics.median(line["images_per_second"] for line in lines[1:] if line.get("images_per_second"))


def seconds(*words: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "imggen_jax.main", *words], cwd=cases.ROOT, check=True, capture_output=True)
    return time.perf_counter() - start


def first_step() -> dict:
    """Seconds from the start of `make demo`'s training to its first logged steps, with a cold and a warm cache."""
    times = {}
    with tempfile.TemporaryDirectory() as home:
        for name in ("cold", "warm"):
            times[name] = demo(home, Path(home) / name)
    return times


def demo(home: str, workdir: Path) -> float:
    words = ["--config", "configs/demo.py", "--workdir", str(workdir), "--config.train.images=1024",
             "--config.log.every=1024", "--config.log.show=1000000", "--config.log.evaluate=1000000"]
    environment = os.environ | {"IMGGEN_JAX_CACHE": home}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "imggen_jax.main", *words], cwd=cases.ROOT, env=environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics, taken = workdir / "metrics.jsonl", None
    while process.poll() is None and taken is None:
        if metrics.exists() and metrics.read_text().strip():
            taken = time.perf_counter() - start
        time.sleep(0.02)
    process.wait()
    return taken or time.perf_counter() - start


if __name__ == "__main__":
    main()
