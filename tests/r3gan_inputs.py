"""What steps of R3GAN begin with and see, in NumPy: for this project's step and for the published code's.

tests/games/test_r3gan_steps.py plays it here; experiments/cifar10/steps.py plays it with the published code and writes
tests/games/r3gan_steps.json.
"""
from __future__ import annotations

import jax
import numpy as np

SIDE, CLASSES, LATENT, BATCH, STEPS = 16, 10, 6, 4, 8
WIDTH, BLOCKS, CARDINALITY, STAGES = 4, 1, 2, 3
# Along half a cosine over so many images; the published preset for CIFAR-10 has 20 million. The last steps are past it.
SPAN = 6 * BATCH
RATES, GAMMAS, BETAS, HALFLIVES = (2e-3, 5e-4), (2.0, 0.2), (0.9, 0.99), (0.0, 40.0)


def filled(params):
    """The parameters of the networks, all of them drawn: as they begin, each residual branch ends in zeros."""
    random = np.random.RandomState(0)
    return jax.tree.map(lambda leaf: random.normal(0, 1 / np.sqrt(max(1, np.prod(leaf.shape[:-1]))),
                                                   leaf.shape).astype(np.float32), params)


def batches() -> dict[str, np.ndarray]:
    """{"image": uint8 [steps,B,S,S,3], "label": int32 [steps,B]}"""
    random = np.random.RandomState(1)
    return {"image": random.randint(0, 256, (STEPS, BATCH, SIDE, SIDE, 3)).astype(np.uint8),
            "label": random.randint(0, CLASSES, (STEPS, BATCH)).astype(np.int32)}
