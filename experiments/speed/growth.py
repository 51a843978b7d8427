"""How cost grows: images/s of our training step against batch, side, width and devices; table, growth.json, plot.

    python experiments/speed/growth.py

Each point is a process of its own. The share is the rate of operations, as XLA counts them, over the rate of
a 2048x2048 float32 matmul that the same process measures right after.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
AXES = {  # of the DCGAN with R1 and R2: two moves, second derivatives
    "batch": (8, 32, 128, 512), "side": (16, 32, 64, 128), "width": (16, 32, 64, 128), "devices": (1, 2, 4),
}
DEFAULT = {"batch": 32, "side": 32, "width": 32, "devices": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for growth.json and the plot")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        return measure(**json.loads(args.point))
    measured, results = {}, []
    for axis, values in AXES.items():
        for value in values:
            point = DEFAULT | {axis: value}
            key = tuple(point.values())
            measured[key] = measured.get(key) or run(point)
            results.append({"axis": axis, **measured[key]})
            print(line(results[-1]), flush=True)
    print("\n" + table(results))
    (args.out / "growth.json").write_text(json.dumps(results, indent=1) + "\n")
    plot(args.out / "growth.png", results)


def run(point: dict) -> dict:
    environment = os.environ | {"JAX_PLATFORMS": "cpu",
                                "XLA_FLAGS": f"--xla_force_host_platform_device_count={point['devices']}"}
    done = subprocess.run([sys.executable, str(Path(__file__).resolve()), "--point", json.dumps(point)],
                          env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(batch: int, side: int, width: int, devices: int) -> None:
    import cases
    import ours

    from imggen_jax.devices import use_compile_cache

    use_compile_cache()
    case = cases.Case("", "cifar10_gan_small.py", (
        ("data.label", ""), ("game.generator.width", width), ("game.discriminator.width", width),
        ("train.batch", batch), ("devices.count", devices), ("devices.steps_per_call", 4)), cases.Shape(side, 3, 0))
    flops = 1e9 * ours.facts(case)["gflop"]
    call, steps = ours.training(case)
    call()
    start, seconds = time.perf_counter(), []
    while len(seconds) < 5 or time.perf_counter() - start < 2:
        seconds.append(call() / steps)
    step = statistics.median(seconds)  # of one step
    peak = 1e9 * ours.matmul_gflops()
    print(json.dumps({"batch": batch, "side": side, "width": width, "devices": devices, "ms": 1e3 * step,
                      "images_per_second": batch / step, "gflop_per_image": flops / batch / 1e9,
                      "matmul_gflops": peak / 1e9, "share": flops / step / peak}))


def line(row: dict) -> str:
    return (f"| {row['axis']} | {row[row['axis']]} | {row['ms']:.0f} | {row['images_per_second']:.0f} | "
            f"{row['gflop_per_image']:.3f} | {row['matmul_gflops']:.0f} | {100 * row['share']:.0f}% |")


def table(results: list[dict]) -> str:
    return "\n".join(["| axis | value | ms a step | images/s | GFLOP an image | matmul, GFLOP/s | share of it |",
                      "| --- | --- | --- | --- | --- | --- | --- |", *map(line, results)])


def plot(path: Path, results: list[dict]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained")
    for plotted, axis in zip(axes, AXES):
        rows = [row for row in results if row["axis"] == axis]
        x = [row[axis] for row in rows]
        plotted.plot(x, [row["images_per_second"] for row in rows], "o-", color="#1b6ca8")
        plotted.set_xscale("log", base=2)
        plotted.set_yscale("log")
        plotted.set_xticks(x, [str(value) for value in x])
        plotted.set_xlabel(axis)
        plotted.spines[["top", "right"]].set_visible(False)
        other = plotted.twinx()
        other.plot(x, [100 * row["share"] for row in rows], "s--", color="#d97b29", markersize=4, linewidth=1)
        other.set_ylim(0, 110)
        other.spines["top"].set_visible(False)
        other.tick_params(axis="y", colors="#d97b29")
    axes[0].set_ylabel("images/s", color="#1b6ca8")
    other.set_ylabel("% of the matmul rate", color="#d97b29")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
