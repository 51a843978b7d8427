"""Time and memory of the Frechet distance of two sets of 50,000 features of 2,048 dimensions."""
from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import numpy as np

from imggen_jax.metrics import frechet

PICTURES, DIMS, BATCH = 50_000, 2_048, 64


def batches(seed):
    """Features as a network gives them: non-negative, correlated, and never all in memory."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).standard_normal((64, DIMS), np.float32)
    for start in range(0, PICTURES, BATCH):
        count = min(BATCH, PICTURES - start)
        noise = rng.standard_normal((count, DIMS), np.float32)
        yield np.maximum(rng.standard_normal((count, 64), np.float32) @ mixing / 8 + 0.5 * noise + 0.01 * seed, 0)


def main() -> None:
    start = time.perf_counter()
    drawing = sum(len(batch) for seed in (1, 2) for batch in batches(seed)) and time.perf_counter() - start
    start = time.perf_counter()
    a, b = (frechet.accumulate(batches(seed)) for seed in (1, 2))
    moments = time.perf_counter() - start - drawing
    start = time.perf_counter()
    distance = frechet.frechet_distance(a, b)
    distances = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kB on Linux
    results = {"pictures": PICTURES, "dims": DIMS, "cores": os.cpu_count(),
             "seconds_moments_of_both_sets": round(moments, 1),
             "seconds_distance": round(distances, 1), "seconds": round(moments + distances, 1),
             "peak_memory_gib": round(memory, 2), "distance": distance}
    print(json.dumps(results, indent=2))
    (Path(__file__).parent / "frechet_speed.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
