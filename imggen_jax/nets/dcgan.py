"""DCGAN networks (Radford et al., arXiv 1511.06434): transposed 4x4 convolutions up, strided ones down."""
from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv, ConvTranspose
from imggen_jax.nets.text_encoder import embedded

Array = jax.Array

BASES = (4, 7)  # side of the smallest feature map: 4 doubles to 8, 16, 32, ...; 7 doubles to 14, 28, ...
# He et al. (arXiv 1502.01852), eq. 10, for ReLU. A transposed 4x4 convolution of stride 2 adds only a quarter of its
# kernel to each output, so its variance is four times as large.
HE = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
HE_TRANSPOSED = nn.initializers.variance_scaling(8.0, "fan_in", "normal")


def halvings(size: int) -> int:
    """How often a side of 16 to 128 pixels halves to 4 or 7. Raises ValueError for a size that does not."""
    for base in BASES:
        times = int(math.log2(size / base)) if size >= base else 0
        if times and base << times == size and 16 <= size <= 128:
            return times
    raise ValueError(f"network dcgan cannot make {size}x{size} images; set data.size to 16, 28, 32, 56, 64, 112 or 128")


class BatchNorm(nn.Module):
    """Normalizes by the statistics of the batch it is given, and remembers their running mean for `train=False`.

    The statistics are float32. Under `jit` the batch is the global one, whatever the number of devices.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        axes, shape = tuple(range(x.ndim - 1)), x.shape[-1:]
        running_mean = self.variable("statistics", "mean", jnp.zeros, shape, jnp.float32)
        running_variance = self.variable("statistics", "variance", jnp.ones, shape, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        if train:
            wide = x.astype(jnp.float32)
            mean = jnp.mean(wide, axes)
            variance = jnp.mean(jnp.square(wide - mean), axes)
            if self.is_mutable_collection("statistics") and not self.is_initializing():
                keep = self.momentum
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_variance.value = keep * running_variance.value + (1 - keep) * variance
        else:
            mean, variance = running_mean.value, running_variance.value
        # One multiplication and one addition per element, in the compute dtype.
        gain = scale * jax.lax.rsqrt(variance + self.epsilon)
        return x * gain.astype(x.dtype) + (bias - mean * gain).astype(x.dtype)


class Generator(nn.Module):
    """Latent to image: a dense layer to 4x4 (7x7 for 28, 56, 112), then transposed 4x4 convolutions of stride 2.

    The channels halve from layer to layer down to `width`. A class is an embedding as long as the latent, beside it.

    Attributes:
      size, channels, classes: of the images and the label: side, channels, number of classes or 0.
      width: channels of the last hidden layer.
      norm: "batch" or "none".
      dtype: of the computations; the image is float32.

    Raises:
      ValueError: a size or a norm that the network does not have.
    """

    size: int
    channels: int
    classes: int
    width: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, z: Array, label: Array | None, train: bool) -> Array:
        """z float [B,latent], label as of `embedded` or None -> float32 [B,size,size,channels] in (-1,1)."""
        if self.norm not in ("batch", "none"):
            raise ValueError(f"unknown norm {self.norm!r} of network dcgan; choose batch or none")
        times = halvings(self.size)
        base, width = self.size >> times, self.width << times - 1
        if self.classes or label is not None:
            more = embedded(label, self.classes, z.shape[-1], nn.initializers.normal(1.0), None)
            z = jnp.concatenate([z, more], axis=-1)
        x = nn.Dense(base * base * width, dtype=self.dtype, kernel_init=HE)(z)
        x = self.activate(x.reshape(-1, base, base, width), train)
        for _ in range(times - 1):
            width //= 2
            x = ConvTranspose(width, 4, 2, dtype=self.dtype, kernel_init=HE_TRANSPOSED)(x)
            x = self.activate(x, train)
        x = ConvTranspose(self.channels, 4, 2, dtype=self.dtype, kernel_init=nn.initializers.lecun_normal())(x)
        return jnp.tanh(x.astype(jnp.float32))

    def activate(self, x: Array, train: bool) -> Array:
        return nn.relu(BatchNorm()(x, train) if self.norm == "batch" else x)


class Discriminator(nn.Module):
    """Image to logit: 4x4 convolutions of stride 2, the channels doubling from `width`, leaky ReLU, no normalization.

    No logit depends on another image, as gradient penalties need. A class enters by projection: the inner product of
    its embedding with the last features (Miyato and Koyama, arXiv 1802.05637, eq. 3).

    Attributes:
      size, channels, classes: of the images and the label: side, channels, number of classes or 0.
      width: channels of the first layer.
      dtype: of the computations; the logits are float32.
    """

    size: int
    channels: int
    classes: int
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, images: Array, label: Array | None) -> Array:
        """images float [B,size,size,channels], label as of `embedded` or None -> float32 [B]."""
        x = images
        for i in range(halvings(self.size)):
            x = Conv(self.width << i, 4, 2, dtype=self.dtype, kernel_init=HE)(x)
            x = nn.leaky_relu(x, 0.2)
        logits = nn.Dense(1, dtype=self.dtype)(x.reshape(x.shape[0], -1))[:, 0].astype(jnp.float32)
        if self.classes or label is not None:
            features = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
            # Rows of about unit length, so that at the start the class weighs as much as the image.
            count = features.shape[-1]
            said = embedded(label, self.classes, count, nn.initializers.lecun_normal(), None, 1 / math.sqrt(count))
            logits += jnp.sum(said * features, axis=-1)
        return logits
