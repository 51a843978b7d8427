"""Inception-v3 as it is used for FID: the network of the TensorFlow file inception-2015-12-05, in Flax.

It differs from the Inception-v3 of other libraries (Szegedy et al., arXiv 1512.00567) in three places, which scores
depend on: average pooling does not count the padding, the last block pools by the maximum where the one before it
takes the average, and there are 1,008 classes. Module names are those of the published PyTorch weights.
"""
from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv

Array = jax.Array

SIDE = 299      # pixels, of the pictures that it takes
FEATURES = 2048
CLASSES = 1008


class BasicConv2d(nn.Module):
    """Convolution without bias, then batch normalization by fixed statistics (a scale and a shift), then ReLU."""

    features: int
    kernel: tuple[int, int]
    strides: int = 1
    padding: tuple[int, int] = (0, 0)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        pads = ((self.padding[0], self.padding[0]), (self.padding[1], self.padding[1]))
        x = Conv(self.features, self.kernel, self.strides, pads, use_bias=False, name="conv")(x)
        scale = self.param("scale", nn.initializers.ones, (self.features,))
        shift = self.param("shift", nn.initializers.zeros, (self.features,))
        return nn.relu(x * scale + shift)


def _conv(features: int, kernel: int | tuple[int, int], name: str, strides: int = 1, same: bool = True):
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (kernel[0] // 2, kernel[1] // 2) if same else (0, 0)
    return BasicConv2d(features, kernel, strides, padding, name=name)


_ONE: Any = ((1, 1), (1, 1))  # a padding of one pixel; flax annotates only the names of paddings


def average_pool(x: Array) -> Array:
    """3x3, stride 1: the mean of those of the nine pixels that lie inside the picture."""
    return nn.avg_pool(x, (3, 3), (1, 1), _ONE, count_include_pad=False)


def halve(x: Array) -> Array:
    """The maximum over 3x3, stride 2, without padding."""
    return nn.max_pool(x, (3, 3), (2, 2))


class BlockA(nn.Module):
    """35x35."""

    pooled: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        one = _conv(64, 1, "branch1x1")(x)
        five = _conv(64, 5, "branch5x5_2")(_conv(48, 1, "branch5x5_1")(x))
        three = _conv(96, 3, "branch3x3dbl_2")(_conv(64, 1, "branch3x3dbl_1")(x))
        three = _conv(96, 3, "branch3x3dbl_3")(three)
        pool = _conv(self.pooled, 1, "branch_pool")(average_pool(x))
        return jnp.concatenate([one, five, three, pool], -1)


class BlockB(nn.Module):
    """35x35 -> 17x17."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        three = _conv(384, 3, "branch3x3", 2, same=False)(x)
        double = _conv(96, 3, "branch3x3dbl_2")(_conv(64, 1, "branch3x3dbl_1")(x))
        double = _conv(96, 3, "branch3x3dbl_3", 2, same=False)(double)
        return jnp.concatenate([three, double, halve(x)], -1)


class BlockC(nn.Module):
    """17x17, with 7x7 convolutions taken apart into 1x7 and 7x1."""

    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        w, row, column = self.width, (1, 7), (7, 1)
        one = _conv(192, 1, "branch1x1")(x)
        seven = _conv(w, 1, "branch7x7_1")(x)
        for i, (n, kernel) in enumerate([(w, row), (192, column)]):
            seven = _conv(n, kernel, f"branch7x7_{i + 2}")(seven)
        double = _conv(w, 1, "branch7x7dbl_1")(x)
        for i, (n, kernel) in enumerate([(w, column), (w, row), (w, column), (192, row)]):
            double = _conv(n, kernel, f"branch7x7dbl_{i + 2}")(double)
        pool = _conv(192, 1, "branch_pool")(average_pool(x))
        return jnp.concatenate([one, seven, double, pool], -1)


class BlockD(nn.Module):
    """17x17 -> 8x8."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        three = _conv(320, 3, "branch3x3_2", 2, same=False)(_conv(192, 1, "branch3x3_1")(x))
        seven = _conv(192, (1, 7), "branch7x7x3_2")(_conv(192, 1, "branch7x7x3_1")(x))
        seven = _conv(192, 3, "branch7x7x3_4", 2, same=False)(_conv(192, (7, 1), "branch7x7x3_3")(seven))
        return jnp.concatenate([three, seven, halve(x)], -1)


class BlockE(nn.Module):
    """8x8; `maximum` for the last one, which pools by the maximum."""

    maximum: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        one = _conv(320, 1, "branch1x1")(x)
        three = _conv(384, 1, "branch3x3_1")(x)
        three = [_conv(384, (1, 3), "branch3x3_2a")(three), _conv(384, (3, 1), "branch3x3_2b")(three)]
        double = _conv(384, 3, "branch3x3dbl_2")(_conv(448, 1, "branch3x3dbl_1")(x))
        double = [_conv(384, (1, 3), "branch3x3dbl_3a")(double), _conv(384, (3, 1), "branch3x3dbl_3b")(double)]
        pool = nn.max_pool(x, (3, 3), (1, 1), _ONE) if self.maximum else average_pool(x)
        return jnp.concatenate([one, *three, *double, _conv(192, 1, "branch_pool")(pool)], -1)


class Inception(nn.Module):
    """float [B,299,299,3] in [-1,1] -> (features float32 [B,2048], logits float32 [B,1008]).

    The logits are without the last layer's bias, as in the TensorFlow code of the Inception Score.
    """

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        x = _conv(32, 3, "Conv2d_1a_3x3", 2, same=False)(x)
        x = _conv(32, 3, "Conv2d_2a_3x3", same=False)(x)
        x = halve(_conv(64, 3, "Conv2d_2b_3x3")(x))
        x = _conv(80, 1, "Conv2d_3b_1x1")(x)
        x = halve(_conv(192, 3, "Conv2d_4a_3x3", same=False)(x))
        for name, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = BlockA(pooled, name=name)(x)
        x = BlockB(name="Mixed_6a")(x)
        for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            x = BlockC(width, name=name)(x)
        x = BlockD(name="Mixed_7a")(x)
        x = BlockE(False, name="Mixed_7b")(x)
        x = BlockE(True, name="Mixed_7c")(x)
        features = jnp.mean(x, axis=(1, 2))
        return features, nn.Dense(CLASSES, use_bias=False, name="fc")(features)
