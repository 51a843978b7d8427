"""Our training step and sampling against PyTorch's on this machine: table, results.json, chart.

    pip install -r experiments/speed/requirements.txt
    python experiments/speed/speed.py                  # all cases, eager and torch.compile
    python experiments/speed/speed.py --quick          # under three minutes: some cases, fewer turns, no torch.compile
    python experiments/speed/speed.py --accelerator    # the large cases on a GPU, in bfloat16

Each side of a case is a process of its own, so that neither's idle threads slow the other, and takes its turn while
the others wait: A B C A B C ...; a figure is the median over its turns. Before that, `check` shows that twin and ours
agree.
"""
from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
SIDES = ("ours", "torch_eager", "torch_compile")
WHAT = ("train", "sample")
QUICK = ("dcgan_32", "mnist_vae", "vae_32")
NUMBER = 256    # images in a request
BURST = 8       # seconds of a turn at most, where steps are slow
PATIENCE = 150  # seconds that all turns of a row may take


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under three minutes; prints, and writes nothing")
    parser.add_argument("--accelerator", action="store_true", help="the large cases, on a GPU")
    parser.add_argument("--cases", default="", help="some of them, separated by commas")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for results.json and the chart")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(*args.worker)
    import cases

    known = cases.ON_ACCELERATORS if args.accelerator else cases.CASES
    names = args.cases.split(",") if args.cases else list(QUICK if args.quick else known)
    if unknown := set(names) - set(known):
        sys.exit(f"unknown case {min(unknown)!r}; choose from {', '.join(known)}")
    sides = SIDES[:2] if args.quick else SIDES
    platform_name = "cuda" if args.accelerator else "cpu"
    results = [row for name in names for row in compare(name, sides, 3 if args.quick else 9, platform_name)]
    if not args.quick:
        results = write(args.out, results)
    print("\n" + table(results))


def compare(name: str, sides: tuple[str, ...], turns: int, where: str) -> list[dict]:
    """Results of one case, a row for training and, on a CPU, one for sampling."""
    workers = {side: Worker(side, name, where) for side in sides}
    facts = {side: worker.answer() for side, worker in workers.items()}
    if where == "cpu":  # the large cases are the same networks in another size
        difference = facts["torch_eager"]["difference"]
        print(f"{name}: largest relative difference of losses and gradients {difference:.1e}", flush=True)
        if not difference <= facts["torch_eager"]["tolerance"]:
            sys.exit(f"{name}: the twin computes something else; nothing was timed")
    rows = []
    for what in WHAT if where == "cpu" else WHAT[:1]:
        able = {side: reply for side in sides if (reply := workers[side].ask(prepare=what))["ok"]}
        print(f"  {what} ...", flush=True)
        milliseconds = {side: [] for side in sides}
        # A slow case takes fewer turns; three at least.
        for _ in range(int(max(3, min(turns, PATIENCE / sum(reply["seconds"] for reply in able.values()))))):
            for side in able:
                milliseconds[side].append(workers[side].ask(run=what)["ms"])
        median = {side: statistics.median(m) if m else None for side, m in milliseconds.items()}
        rows.append({"case": name, "what": what, "device": facts["ours"]["device"],
                     **{f"{side}_ms": median.get(side) for side in SIDES},
                     "ratio": median["ours"] / median["torch_eager"], "all_ms": milliseconds,
                     **{key: able["ours"][key] for key in ("batch", "gflop") if key in able["ours"]}})
        print("  " + line(rows[-1]), flush=True)
    for side, worker in workers.items():
        reply = worker.ask(stop=True)
        rows[0].setdefault("peak_mib", {})[side] = reply["peak_mib"]
        if "matmul_gflops" in reply:
            rows[0]["matmul_gflops"] = reply["matmul_gflops"]
        worker.close()
    return rows


class Worker:
    """One side of one case in a process of its own; it works on request, and sleeps otherwise."""

    def __init__(self, side: str, name: str, where: str):
        words = [sys.executable, str(Path(__file__).resolve()), "--worker", side, name, where]
        environment = os.environ | {"JAX_PLATFORMS": where}
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment, stderr=None if os.environ.get("SPEED_DEBUG") else
                                        subprocess.DEVNULL)

    def answer(self) -> dict:
        while text := self.process.stdout.readline():
            if text.startswith("{"):
                return json.loads(text)
        sys.exit(f"{' '.join(self.process.args[2:])} died; see why with SPEED_DEBUG=1")

    def ask(self, **what) -> dict:
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def work(side: str, name: str, where: str) -> None:
    """Serve requests on stdin, as a worker process."""
    import cases

    case, ready = (cases.CASES | cases.ON_ACCELERATORS)[name], {"ok": True}
    if side == "ours":
        import jax
        import ours

        from imggen_jax.devices import use_compile_cache
        use_compile_cache()
        ready["device"] = device() if where == "cpu" else jax.devices()[0].device_kind
    else:
        if side == "torch_eager" and where == "cpu":  # the check needs both; its JAX is gone before anything is timed
            ready |= json.loads(subprocess.run(
                [sys.executable, "-c", f"import cases, check, json; print(json.dumps({{'tolerance': check.TOLERANCE, "
                 f"'difference': check.check(cases.CASES[{name!r}])}}))"],
                cwd=HERE, check=True, capture_output=True, text=True).stdout)
        import twins
    calls = {}

    def prepare(what: str) -> dict:
        """Compiles, fills caches, and finds how many steps make a turn."""
        compiled = side == "torch_compile"
        if what == "train" and side == "ours":
            call, steps = ours.training(case)
            facts = ours.facts(case)
        elif what == "train":
            call, steps, facts = *twins.training(case, compiled, where), {}
        else:
            call = ours.sampling(case, NUMBER) if side == "ours" else twins.sampling(case, compiled, NUMBER)
            steps, facts = 1, {}
        call()
        seconds = call()
        if what == "train" and side != "ours" and seconds > BURST:
            steps = max(1, int(BURST * steps / seconds))
            call = functools.partial(call, steps)
            seconds = call()
        calls[what] = call, steps
        return {"ok": True, "seconds": seconds, **facts}

    print(json.dumps(ready), flush=True)
    for text in sys.stdin:
        request = json.loads(text)
        if "prepare" in request:
            calls.clear()
            try:
                reply = prepare(request["prepare"])
            except Exception as error:  # torch.compile cannot differentiate twice; whatever it says is the result
                if side != "torch_compile":
                    raise
                print(error, file=sys.stderr)
                reply = {"ok": False}
        elif "run" in request:
            call, steps = calls[request["run"]]
            reply = {"ms": 1e3 * call() / steps}
        else:
            reply = {"peak_mib": peak_mib()} | ({"matmul_gflops": ours.matmul_gflops()} if side == "ours" else {})
        print(json.dumps(reply), flush=True)


def peak_mib() -> int:
    """The largest resident size so far, as the kernel counts it."""
    return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024


def device() -> str:
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.is_file() else None
    vectors = re.findall(r"\b(avx512f|avx2)\b", info.read_text()) if info.is_file() else []
    return f"{model[1] if model else platform.processor()}, {os.cpu_count()} cores, {max(vectors, default='no AVX2')}"


def line(row: dict) -> str:
    def show(side):
        return f"{row[f'{side}_ms']:.1f}" if row.get(f"{side}_ms") else "-"

    return (f"{row['case']:10} {row['what']:6} ours {show('ours')} ms, eager {show('torch_eager')} ms, "
            f"compile {show('torch_compile')} ms, ours/eager {row['ratio']:.2f}")


def table(results: list[dict]) -> str:
    """Markdown."""
    lines = ["| case | what | ours, ms | torch eager, ms | torch.compile, ms | ours / eager | images/s, ours | "
             "peak MiB: ours, eager |", "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in results:
        if row["ours_ms"] is None:
            lines.append(f"| {row['case']} | {row['what']} |" + " not measured |" * 4 + " | |")
            continue
        missing = {side: "not possible" if side in row["all_ms"] else "not run" for side in SIDES}
        figures = [f"{row[f'{side}_ms']:.1f}" if row[f"{side}_ms"] else missing[side] for side in SIDES]
        pace, peak = 1e3 * row.get("batch", NUMBER) / row["ours_ms"], row.get("peak_mib")
        lines.append(f"| {row['case']} | {row['what']} | {' | '.join(figures)} | {row['ratio']:.2f} | {pace:.0f} | "
                     f"{', '.join(str(peak[side]) for side in SIDES[:2]) if peak else ''} |")
    return "\n".join(lines)


def write(out: Path, results: list[dict]) -> list[dict]:
    """Puts the new rows beside those of other cases that an earlier run measured; returns all, in order."""
    import cases

    file = out / "results.json"
    rows = {(row["case"], row["what"]): row for row in (json.loads(file.read_text()) if file.exists() else [])}
    for name in cases.ON_ACCELERATORS:
        rows.setdefault((name, "train"), {"case": name, "what": "train", "device": "not measured", "ratio": None,
                                          **{f"{side}_ms": None for side in SIDES}})
    rows |= {(row["case"], row["what"]): row for row in results}
    order = [*cases.CASES, *cases.ON_ACCELERATORS]
    results = sorted(rows.values(), key=lambda row: (order.index(row["case"]), WHAT.index(row["what"])))
    file.write_text(json.dumps(results, indent=1) + "\n")
    chart(out / "speed.png", [row for row in results if row["case"] in cases.CASES])
    return results


def chart(path: Path, results: list[dict]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    for axis, what in zip(axes, WHAT):
        rows = [row for row in results if row["what"] == what]
        for i, (side, label) in enumerate(zip(SIDES, ("imggen_jax", "PyTorch eager", "torch.compile"))):
            heights = [(row[f"{side}_ms"] or 0) / row["torch_eager_ms"] for row in rows]
            axis.bar([x + 0.27 * (i - 1) for x in range(len(rows))], heights, 0.25, label=label,
                     color=("#1b6ca8", "#d97b29", "#c9c9c9")[i])
        axis.axhline(1, color="black", linewidth=0.7)
        axis.set_xticks(range(len(rows)), [row["case"] for row in rows])
        axis.set_title({"train": "Training step", "sample": f"{NUMBER} images"}[what])
        axis.set_ylabel("time, PyTorch eager = 1")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.suptitle(results[0]["device"], fontsize=9)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
