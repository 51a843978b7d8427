"""Inputs on which scores are compared with the reference implementations; the same on every machine.

NumPy's RandomState is frozen (NEP 19), so what the references gave for these inputs is kept in metrics/golden.json.
"""
from __future__ import annotations

import numpy as np


def features(seed: int, number: int, dims: int, shift: float = 0.0) -> np.ndarray:
    """Correlated, not quite normal feature vectors: float32 [number,dims]."""
    rng = np.random.RandomState(seed)
    mixing = np.random.RandomState(99).randn(dims, dims) / np.sqrt(dims)
    x = rng.randn(number, dims) @ mixing
    return (np.maximum(x, 0.2 * x) + shift).astype(np.float32)


def pictures(seed: int, number: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Smooth waves with some noise: uint8 [number,height,width,channels]."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    frequency, phase = rng.uniform(2, 12, (2, number, 1, 1, channels)), rng.uniform(0, 6, (number, 1, 1, channels))
    waves = np.sin(frequency[0] * x[..., None] + frequency[1] * y[..., None] + phase)
    return np.clip(np.round(127.5 + 90 * waves + 20 * rng.randn(*waves.shape)), 0, 255).astype(np.uint8)


# Names and shapes of FID's Inception-v3: (block, [(branch, out, in, kernel height, kernel width)]).
def _inception_convolutions() -> dict[str, tuple[int, int, int, int]]:
    found = {"Conv2d_1a_3x3": (32, 3, 3, 3), "Conv2d_2a_3x3": (32, 32, 3, 3), "Conv2d_2b_3x3": (64, 32, 3, 3),
             "Conv2d_3b_1x1": (80, 64, 1, 1), "Conv2d_4a_3x3": (192, 80, 3, 3)}

    def add(block, **branches):
        found.update({f"{block}.{name}": shape for name, shape in branches.items()})

    for block, c, pooled in (("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)):
        add(block, branch1x1=(64, c, 1, 1), branch5x5_1=(48, c, 1, 1), branch5x5_2=(64, 48, 5, 5),
            branch3x3dbl_1=(64, c, 1, 1), branch3x3dbl_2=(96, 64, 3, 3), branch3x3dbl_3=(96, 96, 3, 3),
            branch_pool=(pooled, c, 1, 1))
    add("Mixed_6a", branch3x3=(384, 288, 3, 3), branch3x3dbl_1=(64, 288, 1, 1), branch3x3dbl_2=(96, 64, 3, 3),
        branch3x3dbl_3=(96, 96, 3, 3))
    for block, w in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        add(block, branch1x1=(192, 768, 1, 1), branch7x7_1=(w, 768, 1, 1), branch7x7_2=(w, w, 1, 7),
            branch7x7_3=(192, w, 7, 1), branch7x7dbl_1=(w, 768, 1, 1), branch7x7dbl_2=(w, w, 7, 1),
            branch7x7dbl_3=(w, w, 1, 7), branch7x7dbl_4=(w, w, 7, 1), branch7x7dbl_5=(192, w, 1, 7),
            branch_pool=(192, 768, 1, 1))
    add("Mixed_7a", branch3x3_1=(192, 768, 1, 1), branch3x3_2=(320, 192, 3, 3), branch7x7x3_1=(192, 768, 1, 1),
        branch7x7x3_2=(192, 192, 1, 7), branch7x7x3_3=(192, 192, 7, 1), branch7x7x3_4=(192, 192, 3, 3))
    for block, c in (("Mixed_7b", 1280), ("Mixed_7c", 2048)):
        add(block, branch1x1=(320, c, 1, 1), branch3x3_1=(384, c, 1, 1), branch3x3_2a=(384, 384, 1, 3),
            branch3x3_2b=(384, 384, 3, 1), branch3x3dbl_1=(448, c, 1, 1), branch3x3dbl_2=(384, 448, 3, 3),
            branch3x3dbl_3a=(384, 384, 1, 3), branch3x3dbl_3b=(384, 384, 3, 1), branch_pool=(192, c, 1, 1))
    return found


def inception_state() -> dict[str, np.ndarray]:
    """Random weights for FID's Inception-v3, under the names of the published file: float32."""
    rng = np.random.RandomState(7)
    state = {}
    for name, shape in _inception_convolutions().items():
        spread = np.sqrt(2 / np.prod(shape[1:]))
        # Uniform, which is twice as quick to draw as normal.
        state[f"{name}.conv.weight"] = ((rng.random_sample(shape) - 0.5) * np.sqrt(12) * spread).astype(np.float32)
        for part, low, high in (("weight", 0.8, 1.2), ("bias", -0.2, 0.2), ("running_mean", -0.2, 0.2),
                                ("running_var", 0.6, 1.4)):
            state[f"{name}.bn.{part}"] = rng.uniform(low, high, shape[0]).astype(np.float32)
        state[f"{name}.bn.num_batches_tracked"] = np.array(1, np.int64)
    state["fc.weight"] = (0.05 * (rng.random_sample((1008, 2048)) - 0.5)).astype(np.float32)
    state["fc.bias"] = rng.uniform(-1, 1, 1008).astype(np.float32)
    return state


DINO = dict(width=48, layers=2, heads=4)


def dino_state(width: int = 48, layers: int = 2, heads: int = 4) -> dict[str, np.ndarray]:
    """Random weights for a small DINOv2, under the names of the transformers package: float32."""
    del heads
    rng = np.random.RandomState(8)

    def draw(*shape, scale=1.0, around=0.0):
        return (around + scale * rng.randn(*shape)).astype(np.float32)

    state = {"embeddings.cls_token": draw(1, 1, width), "embeddings.mask_token": draw(1, width),
             "embeddings.position_embeddings": draw(1, 1 + 37 * 37, width, scale=0.5),
             "embeddings.patch_embeddings.projection.weight": draw(width, 3, 14, 14, scale=0.05),
             "embeddings.patch_embeddings.projection.bias": draw(width, scale=0.1)}

    def dense(name, out, into):
        state[f"{name}.weight"], state[f"{name}.bias"] = draw(out, into, scale=into**-0.5), draw(out, scale=0.1)

    def norm(name):
        state[f"{name}.weight"] = draw(width, scale=0.1, around=1.0)
        state[f"{name}.bias"] = draw(width, scale=0.1)

    for i in range(layers):
        at = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            dense(f"{at}.attention.attention.{part}", width, width)
        dense(f"{at}.attention.output.dense", width, width)
        dense(f"{at}.mlp.fc1", 4 * width, width)
        dense(f"{at}.mlp.fc2", width, 4 * width)
        for j in (1, 2):
            norm(f"{at}.norm{j}")
            state[f"{at}.layer_scale{j}.lambda1"] = draw(width, scale=0.1, around=1.0)
    norm("layernorm")
    return state
