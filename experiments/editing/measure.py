"""Measure every editing verb on runs trained on the avatars, judged by a classifier trained on real images.

    python experiments/editing/measure.py runs/avatars_vae runs/avatars_gan

Writes results.json, tables.md and the pictures of this folder. Entries of other runs are kept.
"""
import json
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

import imggen_jax
from imggen_jax import editing

HERE = Path(__file__).parent
FACES, PAIRS, FRAMES = 500, 20, 24
ATTRIBUTES = ("expression", "glasses", "skin_tone", "hair_colour", "facial_hair")  # those with a bar
BAR = 0.9  # below this a share is in bold


def edits(model, genes, labeller, latents) -> dict:
    """For each gene with a bar: how often edits reach the target, and how often each other attribute is kept."""
    genes = genes._replace(attributes={name: genes.attributes[name] for name in ATTRIBUTES}, directions={})
    return editing.measure_genes(model, latents, genes, labeller)


def by_attribute(measured: dict) -> dict:
    """{attribute: {"reached": of all its values, "kept": {other: share}}}, weighted by the faces."""
    table = {}
    for attribute in dict.fromkeys(gene.partition("=")[0] for gene in measured if "=" in gene):
        each = [one for gene, one in measured.items() if gene.startswith(f"{attribute}=")]
        faces = [one["faces"] for one in each]
        table[attribute] = {
            "reached": round(float(np.average([one["reached"] for one in each], weights=faces)), 4),
            "kept": {other: round(float(np.average([one["kept"][other] for one in each], weights=faces)), 4)
                     for other in each[0]["kept"]}}
    return table


def variations(model, labeller, latents) -> dict:
    """{strength: {attribute: share of variations that keep it}}, and "chance": the share for two unrelated images."""
    before, shares = labeller.predict(editing.show(model, latents)), {}
    for strength in (0.1, 0.3, 0.6, 1.0):
        varied = [editing.vary(model, editing.take(latents, [i]), 1, strength=strength, seed=1000 + i)
                  for i in range(len(latents.w))]
        after = labeller.predict(editing.show(model, joined(varied)))
        shares[str(strength)] = dict(zip(labeller.names, np.mean(before == after, axis=0).round(4).tolist()))
    chance = [float(np.sum((np.bincount(before[:, k]) / len(before)) ** 2)) for k in range(before.shape[1])]
    shares["chance"] = dict(zip(labeller.names, np.round(chance, 4).tolist()))
    return shares


def joined(parts):
    """Several latents as one, to be shown in few calls."""
    return editing.join(parts, keep_places=False)


def interpolations(model) -> dict:
    """Ratio of the largest to the mean step, with even steps in the image and in the latent; perceptual path length."""
    ratios, plain, length = [], [], []
    for pair in range(PAIRS):
        ends = editing.seeds(model, [2 * pair, 2 * pair + 1])
        for into, even in ((ratios, True), (plain, False)):
            step = editing.steps(editing.show(model, editing.interpolate(model, ends, FRAMES, even=even)))
            into.append(float(step.max() / step.mean()))
        length.append(editing.path_length(model, ends))
    return {"largest_over_mean_step": {"worst": max(ratios), "median": float(np.median(ratios))},
            "evenly_in_latent": {"worst": max(plain), "median": float(np.median(plain))},
            "path_length": float(np.mean(length))}


def projections(model, images) -> dict:
    """PSNR and distance of held-out test faces."""
    start = time.perf_counter()
    projection = editing.project(model, images)
    psnr = projection.psnr
    return {"faces": len(images), "psnr_mean": float(psnr.mean()), "psnr_worst": float(psnr.min()),
            "share_of_20_db": float(np.mean(psnr >= 20)), "distance_mean": float(projection.distance.mean()),
            "seconds_each": (time.perf_counter() - start) / len(images)}


def speed(model) -> dict:
    """Seconds of 64 variations, and of projecting one picture, after compiling."""
    face, took = editing.seeds(model, [7]), {}
    image = editing.show(model, face)
    for name, call in (("vary_64", lambda: editing.show(model, editing.vary(model, face, 64, strength=0.3))),
                       ("project_1", lambda: editing.project(model, image))):
        call()
        start = time.perf_counter()
        call()
        took[name] = round(time.perf_counter() - start, 3)
    return took


def draw(model, genes, labeller, name: str, test) -> None:
    """Save edits, sliders, variations, an interpolation, children and projections as pictures."""
    faces = editing.seeds(model, range(5))
    rows = [editing.show(model, faces)]
    chosen = ["expression=smiling", "expression=angry", "glasses=round", "skin_tone=dark", "hair_colour=blue",
              "hair_colour=blonde", "facial_hair=beard", "hair_style=long"]
    for gene in chosen:
        rows.append(editing.show(model, editing.edit(model, faces, {gene: None}, genes)))
    save(f"{name}_edits", np.stack(rows, 1).reshape(-1, *rows[0].shape[1:]), len(rows))
    face = editing.seeds(model, [3])
    sliders = [editing.edit(model, face, {gene: float(amount)}, genes) for gene in chosen for amount in range(-3, 4)]
    save(f"{name}_sliders", editing.show(model, joined(sliders)), 7)
    varied = [editing.vary(model, face, 10, strength=strength) for strength in (0.1, 0.3, 0.6, 1.0)]
    save(f"{name}_vary", editing.show(model, joined(varied)), 10)
    path = editing.interpolate(model, editing.seeds(model, [1, 2, 3, 4]), 40)
    save(f"{name}_interpolate", editing.show(model, path), 10)
    parents = editing.seeds(model, [1, 2])
    children = editing.breed(model, parents, 8, mutate=0.3, crossover=0.5)
    save(f"{name}_breed", np.concatenate([editing.show(model, parents), editing.show(model, children)]), 10)
    projected = editing.project(model, test[:20]).images
    save(f"{name}_project", np.concatenate([test[:20], projected]), 20)


def save(name: str, images: np.ndarray, columns: int) -> None:
    """Write images in rows of `columns`, with gaps of 2 pixels, at twice their size."""
    padded = np.pad(images, ((0, 0), (0, 2), (0, 2), (0, 0)), constant_values=255)  # [n,H+2,W+2,C]
    rows = padded.reshape(-1, columns, *padded.shape[1:]).swapaxes(1, 2)            # [rows,H+2,columns,W+2,C]
    sheet = rows.reshape(-1, columns * padded.shape[2], images.shape[3])[:-2, :-2].squeeze()
    Image.fromarray(sheet.repeat(2, axis=0).repeat(2, axis=1)).save(HERE / f"{name}.png", optimize=True)


def tables(results: dict) -> str:
    """Format the results as Markdown."""
    lines = []
    for run, one in results.items():
        for kind, title in (("seeds", "random seeds"), ("test", "held-out test faces")):
            if kind not in one["edits"]:
                continue
            table = one["edits"][kind]
            others = list(one["vary"]["chance"])
            lines += ["", f"**{run}, {title}**: edits to a target, and how often each other attribute is kept.", "",
                      "| edit | reached | " + " | ".join(name.replace("_", " ") for name in others) + " |",
                      "| --- " * (2 + len(others)) + "|"]
            for attribute, row in table.items():
                cells = ["" if name == attribute else mark(row["kept"][name]) for name in others]
                lines.append(f"| {attribute.replace('_', ' ')} | {mark(row['reached'])} | " + " | ".join(cells) + " |")
        lines += ["", f"**{run}**: how often a variation keeps an attribute.", "",
                  "| strength | " + " | ".join(name.replace("_", " ") for name in one["vary"]["chance"]) + " |",
                  "| --- " * (1 + len(one["vary"]["chance"])) + "|"]
        lines += [f"| {strength} | " + " | ".join(f"{share:.0%}" for share in row.values()) + " |"
                  for strength, row in one["vary"].items()]
    return "\n".join(lines).strip() + "\n"


def mark(share: float) -> str:
    return f"{share:.0%}" if share >= BAR else f"**{share:.0%}**"


def main(workdirs: list[Path]) -> None:
    path = HERE / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for workdir in workdirs:
        model = imggen_jax.load(workdir)
        labeller = editing.labeller_of(model)
        genes, notes = editing.learn_genes(workdir, model, labeller=labeller)
        editing.save_genes(workdir, genes)
        test, _ = editing.held_out(model, FACES, labeller.names)
        latents = {"seeds": editing.seeds(model, range(FACES))}
        encodes = model.generator.encode is not None
        if encodes:
            latents["test"] = editing.project(model, test).latents
        results[workdir.name] = {
            "step": model.step, "weights": genes.weights, "notes": notes,
            "classifier": dict(labeller.accuracy),
            "genes": genes.measured,
            "edits": {kind: by_attribute(edits(model, genes, labeller, each)) for kind, each in latents.items()},
            "vary": variations(model, labeller, latents["seeds"]),
            "interpolate": interpolations(model),
            "project": projections(model, test if encodes else test[:64]),
            "speed": speed(model),
        }
        draw(model, genes, labeller, workdir.name, test)
        path.write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "tables.md").write_text(tables(results))
        print(json.dumps({key: results[workdir.name][key] for key in ("interpolate", "project", "speed")}, indent=1))


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
