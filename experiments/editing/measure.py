"""Measures every editing verb on trained runs of the avatars, whose truth a classifier of real pictures tells.

    python experiments/editing/measure.py runs/avatars_vae runs/avatars_gan

Writes results.json, tables.md and the pictures of this folder. Runs that are not named stay as they were.
"""
import json
import sys
import time
from pathlib import Path

import numpy as np

import imggen_jax
from imggen_jax import editing
from imggen_jax.editing import genes as genetics
from imggen_jax.editing import learning
from imggen_jax.pictures import grids

HERE = Path(__file__).parent
FACES, PAIRS, FRAMES = 500, 20, 24
ATTRIBUTES = ("expression", "glasses", "skin_tone", "hair_colour", "facial_hair")  # those with a bar
GOAL = 0.9


def edits(model, genes, labeller, points) -> dict:
    """For each gene of those with a bar: how often it reaches its goal, and how much of every other attribute stays."""
    genes = genes._replace(attributes={name: genes.attributes[name] for name in ATTRIBUTES}, directions={})
    return genetics.measure(model, points, genes, labeller.predict, list(labeller.names), labeller.values)


def by_attribute(measured: dict) -> dict:
    """{attribute: {"reached": of all its values, "kept": {other: share}}}, weighted by the faces."""
    found = {}
    for attribute in dict.fromkeys(gene.partition("=")[0] for gene in measured if "=" in gene):
        each = [one for gene, one in measured.items() if gene.startswith(f"{attribute}=")]
        faces = [one["faces"] for one in each]
        found[attribute] = {
            "reached": round(float(np.average([one["reached"] for one in each], weights=faces)), 4),
            "kept": {other: round(float(np.average([one["kept"][other] for one in each], weights=faces)), 4)
                     for other in each[0]["kept"]}}
    return found


def variations(model, labeller, points) -> dict:
    """{strength: {attribute: share of variations in which it stays}}, and by chance: two unrelated pictures agree."""
    before, found = labeller.predict(editing.show(model, points)), {}
    for strength in (0.1, 0.3, 0.6, 1.0):
        w = np.concatenate([editing.vary(model, points.take([i]), 1, strength=strength, seed=1000 + i).w
                            for i in range(len(points.w))])
        after = labeller.predict(editing.show(model, editing.Points(w, points.labels)))
        found[str(strength)] = dict(zip(labeller.names, np.mean(before == after, axis=0).round(4).tolist()))
    chance = [float(np.sum((np.bincount(before[:, k]) / len(before)) ** 2)) for k in range(before.shape[1])]
    found["chance"] = dict(zip(labeller.names, np.round(chance, 4).tolist()))
    return found


def interpolations(model) -> dict:
    """Largest over mean step, of the frames as they are made and evenly in the latent; perceptual path length."""
    ratios, plain, length = [], [], []
    for pair in range(PAIRS):
        points = editing.seeds(model, [2 * pair, 2 * pair + 1])
        for into, even in ((ratios, True), (plain, False)):
            step = editing.steps(editing.show(model, editing.interpolate(model, points, FRAMES, even=even)))
            into.append(float(step.max() / step.mean()))
        length.append(editing.path_length(model, points))
    return {"largest_over_mean_step": {"worst": max(ratios), "median": float(np.median(ratios))},
            "evenly_in_latent": {"worst": max(plain), "median": float(np.median(plain))},
            "path_length": float(np.mean(length))}


def projections(model, images) -> dict:
    """PSNR and distance of held-out test faces."""
    start = time.perf_counter()
    found = editing.project(model, images)
    return {"faces": len(images), "psnr_mean": float(found.psnr.mean()), "psnr_worst": float(found.psnr.min()),
            "share_of_20_db": float(np.mean(found.psnr >= 20)), "distance_mean": float(found.distance.mean()),
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
    """Strips, variations, children and projections to look at."""
    faces = editing.seeds(model, range(5))
    rows = [editing.show(model, faces)]
    chosen = ["expression=smiling", "expression=angry", "glasses=round", "skin_tone=dark", "hair_colour=blue",
              "hair_colour=blonde", "facial_hair=beard", "hair_style=long"]
    for gene in chosen:
        rows.append(editing.show(model, editing.edit(model, faces, {gene: None}, genes)))
    save(f"{name}_edits", np.stack(rows, 1).reshape(-1, *rows[0].shape[1:]), len(rows))
    face = editing.seeds(model, [3])
    strips = [editing.edit(model, face, {gene: float(amount)}, genes).w for gene in chosen for amount in range(-3, 4)]
    save(f"{name}_sliders", editing.show(model, editing.Points(np.concatenate(strips), None)), 7)
    vary = [editing.vary(model, face, 10, strength=strength).w for strength in (0.1, 0.3, 0.6, 1.0)]
    save(f"{name}_vary", editing.show(model, editing.Points(np.concatenate(vary), None)), 10)
    way = editing.interpolate(model, editing.seeds(model, [1, 2, 3, 4]), 40)
    save(f"{name}_interpolate", editing.show(model, way), 10)
    parents = editing.seeds(model, [1, 2])
    children = editing.breed(model, parents, 8, mutate=0.3, crossover=0.5)
    save(f"{name}_breed", np.concatenate([editing.show(model, parents), editing.show(model, children)]), 10)
    found = editing.project(model, test[:20])
    picture = grids.reconstruction_grid(test[:20], found.images, columns=20)
    grids.write_png(HERE / f"{name}_project.png", grids.upscale(picture, 2))


def save(name: str, images: np.ndarray, columns: int) -> None:
    grids.write_png(HERE / f"{name}.png", grids.upscale(grids.grid(images, columns=columns), 2))


def tables(results: dict) -> str:
    """The results as Markdown."""
    lines = []
    for run, one in results.items():
        for kind, title in (("seeds", "random seeds"), ("test", "held-out test faces")):
            if kind not in one["edits"]:
                continue
            table = one["edits"][kind]
            others = list(one["vary"]["chance"])
            lines += ["", f"**{run}, {title}**: edits to a goal, and how often each other attribute stays.", "",
                      "| edit | reached | " + " | ".join(name.replace("_", " ") for name in others) + " |",
                      "| --- " * (2 + len(others)) + "|"]
            for attribute, row in table.items():
                cells = ["" if name == attribute else mark(row["kept"][name]) for name in others]
                lines.append(f"| {attribute.replace('_', ' ')} | {mark(row['reached'])} | " + " | ".join(cells) + " |")
        lines += ["", f"**{run}**: how often an attribute stays in a variation.", "",
                  "| strength | " + " | ".join(name.replace("_", " ") for name in one["vary"]["chance"]) + " |",
                  "| --- " * (1 + len(one["vary"]["chance"])) + "|"]
        lines += [f"| {strength} | " + " | ".join(f"{share:.0%}" for share in row.values()) + " |"
                  for strength, row in one["vary"].items()]
    return "\n".join(lines).strip() + "\n"


def mark(share: float) -> str:
    return f"{share:.0%}" if share >= GOAL else f"**{share:.0%}**"


def main(workdirs: list[Path]) -> None:
    path = HERE / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}  # runs that are not named stay as they were
    for workdir in workdirs:
        model = imggen_jax.load(workdir)
        labeller = learning.labeller_of(model)
        genes, said = learning.learn(workdir, model, labeller=labeller)
        genetics.save(workdir, genes)
        test, truth = learning.held_out(model, FACES, labeller.names)
        points = {"seeds": editing.seeds(model, range(FACES))}
        if model.game.generator.amortised:
            points["test"] = editing.project(model, test).points
        results[workdir.name] = {
            "step": model.step, "weights": genes.weights, "said": said,
            "classifier": dict(labeller.accuracy),
            "genes": genes.measured,
            "edits": {kind: by_attribute(edits(model, genes, labeller, each)) for kind, each in points.items()},
            "vary": variations(model, labeller, points["seeds"]),
            "interpolate": interpolations(model),
            "project": projections(model, test if model.game.generator.amortised else test[:64]),
            "speed": speed(model),
        }
        draw(model, genes, labeller, workdir.name, test)
        path.write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "tables.md").write_text(tables(results))
        print(json.dumps({key: results[workdir.name][key] for key in ("interpolate", "project", "speed")}, indent=1))


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
