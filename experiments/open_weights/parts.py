"""What a step of Stable Diffusion 1.5's U-Net consists of at 512x512, part by part: ours and PyTorch's, in turn.

    taskset -c 0 python experiments/open_weights/parts.py

Seconds of the CPU on one core, medians of five. Prints JSON.
"""
from __future__ import annotations

import json
import time
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as functional
from common import turned

from imggen_jax.nets.attention import attend
from imggen_jax.nets.conv import conv
from imggen_jax.nets.latent_blocks import GroupNorm

SIDE, WIDTH, HEADS, ROUNDS = 64, 320, 8, 5
RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


def seconds(function: Callable) -> float:
    start = time.process_time()
    jax.block_until_ready(function())
    return time.process_time() - start


def compare(what: str, ours: Callable, inputs: tuple, theirs: Callable) -> None:
    program, found = jax.jit(ours).lower(*inputs).compile(), []
    with torch.no_grad():
        program(*inputs), theirs()
        for _ in range(ROUNDS):
            found.append((seconds(lambda: program(*inputs)), seconds(theirs)))
    mine, others = np.median(found, axis=0)
    print(json.dumps({"what": what, "ours_s": round(mine, 4), "theirs_s": round(others, 4),
                      "ratio": round(mine / others, 2)}), flush=True)


def gated(x: jax.Array) -> jax.Array:
    value, gate = jnp.split(x, 2, axis=-1)
    return value * nn.gelu(gate, approximate=False)


def main() -> None:
    torch.set_num_threads(1)
    x, ones = normal(1, SIDE, SIDE, WIDTH), np.ones(WIDTH, np.float32)
    picture, scale = turned(x), torch.from_numpy(ones)
    norm, params = GroupNorm(32, 1e-5, jnp.float32), {"params": {"scale": ones, "bias": ones}}
    compare("group normalization and SiLU", lambda x: nn.silu(norm.apply(params, x)), (x,),
            lambda: functional.silu(functional.group_norm(picture, 32, scale, scale)))
    kernel = normal(3, 3, WIDTH, WIDTH)
    weight = torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
    compare("3x3 convolution", lambda x, w: conv(x, w, padding=1), (x, kernel),
            lambda: functional.conv2d(picture, weight, padding=1))
    places = x.reshape(1, SIDE * SIDE, WIDTH)
    kernel, wide = normal(WIDTH, 8 * WIDTH), normal(1, SIDE * SIDE, 8 * WIDTH)
    line, weight = torch.from_numpy(places), torch.from_numpy(np.ascontiguousarray(kernel.T))
    compare("dense layer", lambda x, w: x @ w, (places, kernel), lambda: functional.linear(line, weight))
    value, gate = torch.from_numpy(wide).chunk(2, dim=-1)
    compare("GEGLU", gated, (wide,), lambda: value * functional.gelu(gate))
    q = places.reshape(1, SIDE * SIDE, HEADS, -1)
    heads = torch.from_numpy(q).transpose(1, 2).contiguous()
    compare("attention of all places", attend, (q, q, q),
            lambda: functional.scaled_dot_product_attention(heads, heads, heads))


if __name__ == "__main__":
    main()
