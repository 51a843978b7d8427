"""Our training step and sampling against PyTorch's on this machine: table, results.json, chart.

    pip install -r experiments/speed/requirements.txt
    python experiments/speed/speed.py            # all cases, eager and torch.compile
    python experiments/speed/speed.py --quick    # under three minutes: fewer turns, no torch.compile

Each side of a case is a process of its own, so that neither's idle threads slow the other, and takes its turn while
the others wait: A B C A B C ...; a figure is the median over its turns. Before that, `check` shows that twin and ours
agree.
"""
from __future__ import annotations

import argparse
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
NUMBER = 256  # pictures in a request


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under three minutes; prints, and writes nothing")
    parser.add_argument("--turns", type=int, help="of each side (default: 9, quick: 3)")
    parser.add_argument("--cases", default="", help="some of them, separated by commas")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for results.json and the chart")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(*args.worker)
    import cases

    wanted = args.cases.split(",") if args.cases else list(cases.CASES)
    if unknown := set(wanted) - set(cases.CASES):
        sys.exit(f"unknown case {min(unknown)!r}; choose from {', '.join(cases.CASES)}")
    sides = SIDES[:2] if args.quick else SIDES
    turns = args.turns or (3 if args.quick else 9)
    results = [row for name in wanted for row in compare(name, sides, turns)]
    print("\n" + table(results))
    if not args.quick:
        write(args.out, results)


def compare(name: str, sides: tuple[str, ...], turns: int) -> list[dict]:
    """Results of one case, a row for training and one for sampling."""
    workers = {side: Worker(side, name) for side in sides}
    facts = {side: worker.answer() for side, worker in workers.items()}
    difference = facts["torch_eager"]["difference"]
    print(f"{name}: largest relative difference of losses and gradients {difference:.1e}", flush=True)
    if not difference <= facts["torch_eager"]["tolerance"]:
        sys.exit(f"{name}: the twin is another computation; nothing was timed")
    rows = []
    for what in WHAT:
        milliseconds = {side: [] for side in sides}
        print(f"  {what} ...", flush=True)
        able = [side for side in sides if workers[side].ask(prepare=what)["ok"]]
        for _ in range(turns):
            for side in able:
                milliseconds[side].append(workers[side].ask(run=what)["ms"])
        median = {side: statistics.median(m) if m else None for side, m in milliseconds.items()}
        row = {"case": name, "what": what, "device": device(), "turns": turns,
               **{f"{side}_ms": median.get(side) for side in SIDES},
               "ratio": median["ours"] / median["torch_eager"],
               "all_ms": milliseconds}
        rows.append(row)
        print("  " + line(row), flush=True)
    for side, worker in workers.items():
        rows[0].setdefault("peak_mib", {})[side] = worker.ask(stop=True)["peak_mib"]
        worker.close()
    return rows


class Worker:
    """One side of one case in a process of its own; it works while it is asked, and sleeps otherwise."""

    def __init__(self, side: str, name: str):
        words = [sys.executable, str(Path(__file__).resolve()), "--worker", side, name]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
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


def work(side: str, name: str) -> None:
    """A worker's life."""
    import cases

    case, ready = cases.CASES[name], {"ok": True}
    if side == "ours":
        import ours

        from imggen_jax.devices import use_compile_cache
        use_compile_cache()
    else:
        if side == "torch_eager":  # the check needs both, and its JAX is gone before anything is timed
            ready |= json.loads(subprocess.run(
                [sys.executable, "-c", f"import cases, check, json; print(json.dumps({{'tolerance': check.TOLERANCE, "
                 f"'difference': check.check(cases.CASES[{name!r}])}}))"],
                cwd=HERE, check=True, capture_output=True, text=True).stdout)
        import twins
    calls = {}

    def prepare(what: str) -> None:
        compiled = side == "torch_compile"
        if what == "train":
            calls[what] = ours.training(case) if side == "ours" else twins.training(case, compiled)
        else:
            made = ours.sampling(case, NUMBER) if side == "ours" else twins.sampling(case, compiled, NUMBER)
            calls[what] = made, 1
        for _ in range(2):  # compiles, and fills caches
            calls[what][0]()

    print(json.dumps(ready), flush=True)
    for text in sys.stdin:
        asked = json.loads(text)
        if "prepare" in asked:
            calls.clear()
            try:
                prepare(asked["prepare"])
                reply = {"ok": True}
            except Exception as error:  # torch.compile cannot differentiate twice; whatever it says is the result
                if side != "torch_compile":
                    raise
                print(error, file=sys.stderr)
                reply = {"ok": False}
        elif "run" in asked:
            call, steps = calls[asked["run"]]
            reply = {"ms": 1e3 * call() / steps}
        else:
            reply = {"peak_mib": peak_mib()}
        print(json.dumps(reply), flush=True)


def peak_mib() -> int:
    """The largest resident size so far, as the kernel counts it."""
    return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024


def device() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.is_file() else None
    vectors = re.findall(r"\b(avx512f|avx2)\b", info.read_text()) if info.is_file() else []
    return f"{found[1] if found else platform.processor()}, {os.cpu_count()} cores, {max(vectors, default='no AVX2')}"


def line(row: dict) -> str:
    def show(side):
        return f"{row[f'{side}_ms']:.1f}" if row.get(f"{side}_ms") else "-"

    return (f"{row['case']:10} {row['what']:6} ours {show('ours')} ms, eager {show('torch_eager')} ms, "
            f"compile {show('torch_compile')} ms, ours/eager {row['ratio']:.2f}")


def table(results: list[dict]) -> str:
    """Markdown."""
    lines = ["| case | what | ours, ms | torch eager, ms | torch.compile, ms | ours / eager | peak MiB: ours, eager |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for row in results:
        peak = row.get("peak_mib")
        figures = [f"{row[f'{side}_ms']:.1f}" if row[f"{side}_ms"] else "not possible" for side in SIDES]
        lines.append(f"| {row['case']} | {row['what']} | {' | '.join(figures)} | {row['ratio']:.2f} | "
                     f"{', '.join(str(peak[s]) for s in SIDES[:2]) if peak else ''} |")
    return "\n".join(lines)


def write(out: Path, results: list[dict]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    for axis, what in zip(axes, WHAT):
        rows = [row for row in results if row["what"] == what]
        for i, (side, label) in enumerate(zip(SIDES, ("imggen_jax", "PyTorch eager", "torch.compile"))):
            heights = [(row[f"{side}_ms"] or 0) / row["torch_eager_ms"] for row in rows]
            axis.bar([x + 0.27 * (i - 1) for x in range(len(rows))], heights, 0.25, label=label,
                     color=("#1b6ca8", "#d97b29", "#c9c9c9")[i])
        axis.axhline(1, color="black", linewidth=0.7)
        axis.set_xticks(range(len(rows)), [row["case"] for row in rows])
        axis.set_title({"train": "Training step", "sample": f"{NUMBER} pictures"}[what])
        axis.set_ylabel("time, PyTorch eager = 1")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.suptitle(results[0]["device"], fontsize=9)
    figure.savefig(out / "speed.png", dpi=110)


if __name__ == "__main__":
    main()
