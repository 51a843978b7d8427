"""A model of the full size of Stable Diffusion 1.5 with random weights: what it takes to load, and to make a picture.

    python experiments/open_weights/full.py FOLDER            # writes 2 GB there, loads it, makes a picture in 2 steps
    python experiments/open_weights/full.py FOLDER --theirs   # a step of the U-Net, ours and that of diffusers

Times are of the CPU, not of the clock, so that what else the machine does counts less. Prints JSON. With one core,
`taskset -c 1` before the command, both use one thread.
"""
from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import reference_pipelines as reference  # noqa: E402

import imggen_jax  # noqa: E402
from imggen_jax import pipelines  # noqa: E402
from imggen_jax.weights import ldm, published, tensors  # noqa: E402

SIDE = 64  # of latents: pictures of 512x512
ROUNDS = 3


def write(folder: Path) -> None:
    """The folder, in float16, unless it is there."""
    if (folder / "model_index.json").is_file():
        return
    configs = {name: dict(ldm.SD[name]) for name in ("unet", "vae", "text_encoder")}
    parts = {"unet": [published.unet(configs["unet"], "float32")],
             "vae": list(published.autoencoder(configs["vae"], "float32")),
             "text_encoder": [published.clip(configs["text_encoder"], "float32", projected=False)]}
    rng = np.random.default_rng(0)
    for name, config in configs.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(config))
        state = {}
        for part in parts[name]:
            for key, shape in tensors.stored_shapes(part.wanted).items():
                # Around transformers, a U-Net of 1.5 has 1x1 convolutions where this package has dense layers.
                shape += (1, 1) if name == "unet" and key.endswith((".proj_in.weight", ".proj_out.weight")) else ()
                if len(shape) == 1:
                    state[key] = np.full(shape, key.endswith("weight"), np.float16)
                else:
                    spread = 0.02 if "embedding" in key else (np.prod(shape[1:])) ** -0.5
                    state[key] = (rng.standard_normal(shape, np.float32) * spread).astype(np.float16)
        stem = "model" if name == "text_encoder" else "diffusion_pytorch_model"
        save_file(state, folder / name / f"{stem}.safetensors")
    reference.write_tokenizer(folder / "tokenizer")
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(ldm.SD["scheduler"]))
    index = {"_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "DDIMScheduler"],
             "tokenizer": ["transformers", "CLIPTokenizer"], "safety_checker": [None, None],
             **{name: list(reference.COMPONENTS[name]) for name in configs}}
    (folder / "model_index.json").write_text(json.dumps(index))


def peak() -> float:
    """GiB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(function, *args):
    """(seconds of the CPU, result)."""
    start = time.process_time()
    result = jax.block_until_ready(function(*args))
    return time.process_time() - start, result


def ours(folder: Path) -> dict:
    """Load, and make a picture in two steps."""
    before = peak()
    seconds, model = timed(imggen_jax.load, folder)
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(model.weights)) / 2**30
    facts = {"weights_gib": weights, "peak_after_load_gib": peak(), "before_gib": before, "load_s": seconds}
    print(json.dumps(facts), flush=True)
    made = []
    facts["first_picture_s"], _ = timed(lambda: made.append(model.sample(seeds=[1], given={"text": "a cat"}, steps=2)))
    Image.fromarray(made[0][0]).save(folder / "picture.png")
    facts |= {"peak_gib": peak(), "picture": list(made[0].shape), "spread": float(made[0].std())}
    return facts


def step(folder: Path) -> dict:
    """One step of the U-Net, ours and diffusers', on the same weights, in turn."""
    import diffusers
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    z, text = rng.standard_normal((1, SIDE, SIDE, 4), np.float32), rng.standard_normal((1, 77, 768), np.float32)
    recipe = pipelines.recipe_of(model := imggen_jax.load(folder))
    params = {"params": model.weights["unet"]}
    seconds, program = timed(lambda: jax.jit(recipe.unet.apply).lower(params, z, jnp.ones(1), text).compile())
    print(json.dumps({"compile_s": seconds}), flush=True)
    net = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval()
    inputs = torch.from_numpy(z.transpose(0, 3, 1, 2).copy()), torch.ones(1), torch.from_numpy(text)
    times: dict[str, list[float]] = {"ours_s": [], "theirs_s": []}
    with torch.no_grad():
        for _ in range(ROUNDS):
            seconds, found = timed(program, params, z, jnp.ones(1), text)
            times["ours_s"].append(seconds)
            start = time.process_time()
            theirs = net(*inputs).sample
            times["theirs_s"].append(time.process_time() - start)
            print(json.dumps(times), flush=True)
    found = np.asarray(found)
    medians = {name: float(np.median(each)) for name, each in times.items()}
    return {**medians, "ratio": medians["ours_s"] / medians["theirs_s"], "spread": float(found.std()),
            "difference": float(np.abs(theirs.numpy().transpose(0, 2, 3, 1) - found).max())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--theirs", action="store_true")
    args = parser.parse_args()
    write(args.folder)
    print(json.dumps(step(args.folder) if args.theirs else ours(args.folder)))


if __name__ == "__main__":
    main()
