"""Fingerprints: how far a changed picture is from itself, and how near another one is.

    python experiments/trust/fingerprinted.py --data ../shared/data/folders --work runs/trust

Bits of 256 that differ; up to `provenance.fingerprints.NEAR` a picture is taken for one in the log. Writes
fingerprinted.md.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import trust

from imggen_jax.provenance import fingerprints

SETS = ("photos 128", "emoji 128", "avatars 128")
CHANGES = ("JPEG 50", "JPEG 10", "half size", "a third and back", "brightness 1.4", "contrast 1.4", "blur 4",
           "noise 25.5", "screenshot", "degradation", "erasing 25%", "crop to 80%", "rotation 9")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with photos.zip and emoji_fluent.zip")
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures that are drawn once")
    args = parser.parse_args()
    columns = []
    for name in SETS:
        images = list(trust.pictures(args.data, args.work, name, trust.SETS[name][2]))
        own = np.stack([fingerprints.fingerprint(image) for image in images])
        others = (own[:, None] != own[None]).sum(-1)[np.triu_indices(len(own), 1)]
        column = {"pictures": f"{len(own)}", "pairs of different pictures": f"{len(others):,}",
                  "least distance of a pair": f"{others.min()}",
                  "pairs taken for one picture": f"{int((others <= fingerprints.NEAR).sum())}"}
        for change in CHANGES:
            far = [int((bits != fingerprints.fingerprint(trust.ATTACKS[change](image, np.random.default_rng(k)))).sum())
                   for k, (image, bits) in enumerate(zip(images, own))]
            share = np.mean(np.array(far) <= fingerprints.NEAR)
            column[f"found after {change}"] = f"{share:.3f} (distance {np.mean(far):.0f}, at most {max(far)})"
        columns.append(column)
        print(name, column, flush=True)
    lines = [f"| | {' | '.join(SETS)} |", "| --- |" + " --- |" * len(SETS)]
    lines += [f"| {row} | " + " | ".join(column[row] for column in columns) + " |" for row in columns[0]]
    (trust.HERE / "fingerprinted.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
