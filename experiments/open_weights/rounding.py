"""Is what differs from diffusers rounding? The same pictures in float32 and in float64, at guidance 4 and more.

    python experiments/open_weights/rounding.py              # float32
    python experiments/open_weights/rounding.py --double     # float64, here and there

In float64 whatever diffusers asks to be float32 is float64 too: the tables of its schedules, what its schedulers and
embeddings compute in between. If the formulas are the same, what remains is about 1e-9 times what float32 leaves.
"""
from __future__ import annotations

import contextlib
import importlib
import sys
import tempfile
from pathlib import Path
from unittest import mock

import jax
import numpy as np

DOUBLE = "--double" in sys.argv
jax.config.update("jax_enable_x64", DOUBLE)

import check  # noqa: E402
import klein  # noqa: E402
import reference_pipelines as reference  # noqa: E402
import torch  # noqa: E402
from common import difference, turned  # noqa: E402

from imggen_jax import pipelines, schedules  # noqa: E402

GUIDANCE = 4.0
SPREAD = 0.3  # of a random LoRA
SCHEDULERS = ("euler_discrete", "dpmsolver_multistep", "flow_match_euler_discrete")


class Wide:
    """NumPy, whose float32 is float64."""

    float32 = np.float64

    def __getattr__(self, name):
        return getattr(np, name)


@contextlib.contextmanager
def doubled():
    """Here and there, float32 is float64."""
    if not DOUBLE:
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch, "float32", torch.float64))
        stack.enter_context(mock.patch.object(torch.Tensor, "float", torch.Tensor.double))
        theirs = (importlib.import_module(f"diffusers.schedulers.scheduling_{name}") for name in SCHEDULERS)
        for module in (schedules, *theirs):
            stack.enter_context(mock.patch.object(module, "np", Wide()))
        yield


def five_steps(pair, sampler, **keys):
    """The largest difference of a picture after five steps."""
    with doubled():
        trained, scheduler = check.with_scheduler(pair, sampler, **keys)
        pair.model = pipelines.scheduled(pair.model, trained)
        noise = noise_of(3)
        options = {"steps": 5, "sampler": schedules.SAMPLERS.index(sampler), "guidance": GUIDANCE}
        ours = pair.ours("a red cat", noise, **options)
        theirs = pair.theirs("a red cat", noise, scheduler, latents=turned(noise), num_inference_steps=5,
                             guidance_scale=GUIDANCE, **check.masked(pair))
    return difference(ours, theirs)


def noise_of(seed, *shape):
    return reference.noise(seed, *shape).astype(np.float64 if DOUBLE else np.float32)


def show(title, value):
    print(f"{'float64' if DOUBLE else 'float32'}  {title:<60} {value:9.2e}", flush=True)


def main():
    check.quiet()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("sd_v", "xl"):
            pair = check.Pair(name, Path(folder))
            if DOUBLE:
                pair.pipe.to(torch.float64)
            for sampler in ("ddim", "euler", "dpmpp_2m_karras"):
                show(f"{name}: {sampler}, 5 steps, guidance {GUIDANCE:g}", five_steps(pair, sampler))
        own, pair.model = pair.model, with_lora(pair)
        show(f"xl: ddim, LoRA of deviation {SPREAD}, 5 steps, guidance {GUIDANCE:g}", five_steps(pair, "ddim"))
        pair.model = own
        pair = klein.Pair("klein", Path(folder))
        if DOUBLE:
            pair.pipe.to(torch.float64)
        for steps in (4, 7):
            noise = noise_of(3, klein.SIZE // 4, 8)
            with doubled():
                ours, theirs = pair.ours("a red cat", noise, steps=steps), pair.theirs(
                    "a red cat", noise, num_inference_steps=steps)
            show(f"klein: {steps} steps", difference(ours, theirs))


def with_lora(pair):
    """The model with a random LoRA, which diffusers' has too."""
    check.write_lora(pair, np.random.RandomState(5), SPREAD)
    pair.pipe.load_lora_weights(pair.folder, weight_name="lora.safetensors")
    if DOUBLE:
        pair.pipe.to(torch.float64)
    return pipelines.with_lora(pair.model, pair.folder / "lora.safetensors")[0]


if __name__ == "__main__":
    main()
