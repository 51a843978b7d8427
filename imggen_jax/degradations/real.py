"""Two stages of blur, resize, noise and JPEG: photographs as they arrive (Real-ESRGAN, arXiv 2107.10833, section 3).

Ranges and probabilities are those of the paper and of its public training options. Different from them: every image
draws its own sizes where a batch shares them there, so no pool of past images is needed to mix degradations; and
Poisson noise is drawn from its Gaussian limit at 255 levels.
"""
from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax.degradations import kernels
from imggen_jax.degradations.jpeg import compress

Array = jax.Array
Key = jax.Array


class Stage(NamedTuple):
    """Ranges of one stage; probabilities of enlarging, shrinking and keeping the size."""

    blur: float
    sigma: tuple[float, float]  # of the blur, in pixels
    resize: tuple[float, float, float]
    scales: tuple[float, float]
    noise: tuple[float, float]  # standard deviation, in levels of 255
    poisson: tuple[float, float]


FIRST = Stage(1.0, (0.2, 3.0), (0.2, 0.7, 0.1), (0.15, 1.5), (1, 30), (0.05, 3.0))
SECOND = Stage(0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1, 25), (0.05, 2.5))
# Isotropic, anisotropic, generalized isotropic and anisotropic, plateau isotropic and anisotropic.
SHAPES = np.array([0.45, 0.25, 0.12, 0.03, 0.12, 0.03], np.float32)
POWER, PLATEAU = (0.5, 4.0), (1.0, 2.0)
SINC, LAST_SINC, GRAY, GAUSSIAN = 0.1, 0.8, 0.4, 0.5  # probabilities
QUALITY = (30.0, 95.0)


def degrade(images: Array, key: Key, scale: int) -> Array:
    """float32 [B,S,S,C] in [0,1] -> the same of [B,S/scale,S/scale,C], multiples of 1/255."""
    keys = jax.random.split(key, 8)
    n, side = images.shape[:2]
    small = side // scale
    x = kernels.blur(images, _kernels(keys[0], n, FIRST))
    x, size = _resized(keys[1], x, jnp.full((n,), float(side)), side, FIRST)
    x = _noisy(keys[2], x, FIRST)
    x = compress(x, jax.random.uniform(keys[3], (n,), minval=QUALITY[0], maxval=QUALITY[1]))
    x = kernels.blur(x, _kernels(keys[4], n, SECOND))
    x, size = _resized(keys[5], x, size, small, SECOND)
    x = _noisy(keys[6], x, SECOND)

    # In either order: to the last size through a filter that rings; JPEG.
    key_order, key_sinc, key_quality, key_mode = jax.random.split(keys[7], 4)
    quality = jax.random.uniform(key_quality, (n,), minval=QUALITY[0], maxval=QUALITY[1])
    ringing = _last_kernels(key_sinc, n)

    def shrink(x):
        return jnp.clip(kernels.blur(_to(x, size, jnp.full((n,), float(small)), small, _mode(key_mode, n)), ringing),
                        0, 1)

    first, second = compress(shrink(x), quality), shrink(compress(x, quality))
    x = jnp.where(jax.random.bernoulli(key_order, shape=(n, 1, 1, 1)), first, second)
    return jnp.round(jnp.clip(x, 0, 1) * 255) / 255


def _kernels(key: Key, n: int, stage: Stage) -> Array:
    """Blur kernels of a stage; where it does not blur, a single pixel."""
    keys = jax.random.split(key, 8)
    sizes = 2 * jax.random.randint(keys[0], (n,), 3, 11) + 1
    shape = jax.random.choice(keys[1], len(SHAPES), (n,), p=SHAPES)
    sigma = jax.random.uniform(keys[2], (n, 2), minval=stage.sigma[0], maxval=stage.sigma[1])
    sigma = jnp.where((shape % 2 == 0)[:, None], sigma[:, :1], sigma)
    angle = jax.random.uniform(keys[3], (n,), minval=-math.pi, maxval=math.pi)
    power = jnp.where(shape < 2, 1.0, jnp.where(shape < 4, _either(keys[4], n, POWER), _either(keys[4], n, PLATEAU)))
    soft = kernels.gaussian(sizes, sigma, angle, power, shape >= 4)
    low = jnp.where(sizes < 13, math.pi / 3, math.pi / 5)
    sharp = kernels.sinc(sizes, low + (math.pi - low) * jax.random.uniform(keys[5], (n,)))
    made = jnp.where(jax.random.bernoulli(keys[6], SINC, (n, 1, 1)), sharp, soft)
    return jnp.where(jax.random.bernoulli(keys[7], stage.blur, (n, 1, 1)), made, _nothing())


def _last_kernels(key: Key, n: int) -> Array:
    keys = jax.random.split(key, 3)
    sizes = 2 * jax.random.randint(keys[0], (n,), 3, 11) + 1
    cutoff = jax.random.uniform(keys[1], (n,), minval=math.pi / 3, maxval=math.pi)
    return jnp.where(jax.random.bernoulli(keys[2], LAST_SINC, (n, 1, 1)), kernels.sinc(sizes, cutoff), _nothing())


def _nothing() -> np.ndarray:
    out = np.zeros((kernels.SIDE, kernels.SIDE), np.float32)
    out[kernels.SIDE // 2, kernels.SIDE // 2] = 1
    return out


def _either(key: Key, n: int, bounds: tuple[float, float]) -> Array:
    """Half below 1, half above, as far as the bounds go; float32 [n]."""
    key_half, key_low, key_high = jax.random.split(key, 3)
    low = jax.random.uniform(key_low, (n,), minval=bounds[0], maxval=1.0)
    high = jax.random.uniform(key_high, (n,), minval=1.0, maxval=bounds[1])
    return jnp.where(jax.random.bernoulli(key_half, shape=(n,)), low, high)


def _resized(key: Key, x: Array, size: Array, most: int, stage: Stage) -> tuple[Array, Array]:
    """Images, whose first `size` pixels of each side count, at a random share of `most` pixels; and the new sizes."""
    key_way, key_up, key_down, key_mode = jax.random.split(key, 4)
    n = len(size)
    way = jax.random.choice(key_way, 3, (n,), p=np.array(stage.resize, np.float32))
    up = jax.random.uniform(key_up, (n,), minval=1.0, maxval=stage.scales[1])
    down = jax.random.uniform(key_down, (n,), minval=stage.scales[0], maxval=1.0)
    share = jnp.where(way == 0, up, jnp.where(way == 1, down, 1.0))
    new = jnp.maximum(jnp.floor(share * most), 4.0)
    longest = math.ceil(stage.scales[1] * most)
    return jnp.clip(_to(x, size, new, longest, _mode(key_mode, n)), 0, 1), new


def _mode(key: Key, n: int) -> Array:
    """0 area, 1 bilinear, 2 bicubic; int32 [n]."""
    return jax.random.randint(key, (n,), 0, 3)


def _to(x: Array, old: Array, new: Array, longest: int, mode: Array) -> Array:
    """Image i's first old[i] pixels of each side resized to new[i]: [B,S,S,C] -> [B,longest,longest,C].

    What lies beyond new[i] repeats the border.
    """
    weights = _weights(x.shape[1], longest, old, new, mode)
    return jnp.einsum("bih,bhwc,bjw->bijc", weights, x, weights)


def _weights(side: int, longest: int, old: Array, new: Array, mode: Array) -> Array:
    """Matrices float32 [B,longest,side] of one direction."""
    ratio = (old / new)[:, None, None]
    place = jnp.minimum(jnp.arange(longest), new[:, None] - 1)[..., None]
    center = (place + 0.5) * ratio - 0.5
    # Taps reach beyond the image, where its border goes on: the first and last pixel collect them.
    taps = jnp.arange(-4, side + 4, dtype=jnp.float32)
    far = jnp.abs(taps - center)
    box = jnp.clip(jnp.minimum(ratio, 1e3) / 2 + 0.5 - far, 0, jnp.minimum(ratio, 1.0))
    linear = jnp.maximum(1 - far, 0)
    cubic = jnp.where(far <= 1, 1.25 * far**3 - 2.25 * far**2 + 1,
                      jnp.where(far < 2, -0.75 * far**3 + 3.75 * far**2 - 6 * far + 3, 0.0))
    chosen = jnp.choose(mode[:, None, None], [jnp.where(ratio > 1, box, linear), linear, cubic], mode="clip")
    last = (old - 1)[:, None, None]
    inside = jnp.where((taps >= 0) & (taps <= last), chosen, 0.0)
    before = jnp.where(taps < 0, chosen, 0.0).sum(-1)
    after = jnp.where(taps > last, chosen, 0.0).sum(-1)
    inside = inside + before[..., None] * (taps == 0) + after[..., None] * (taps == last)
    inside = inside[..., 4:-4]
    return inside / inside.sum(-1, keepdims=True)


def _noisy(key: Key, x: Array, stage: Stage) -> Array:
    """Gaussian noise, or noise of the variance that counting photons has; gray for some images."""
    keys = jax.random.split(key, 6)
    n = x.shape[0]
    one = (n, 1, 1, 1)
    sigma = jax.random.uniform(keys[0], one, minval=stage.noise[0], maxval=stage.noise[1]) / 255
    strength = jax.random.uniform(keys[1], one, minval=stage.poisson[0], maxval=stage.poisson[1])
    gray = jax.random.bernoulli(keys[2], GRAY, one)
    normal = jnp.where(gray, jax.random.normal(keys[3], (*x.shape[:3], 1)), jax.random.normal(keys[4], x.shape))
    seen = jnp.where(gray, x.mean(-1, keepdims=True), x)
    counted = strength * jnp.sqrt(jnp.maximum(seen, 0) / 255)
    return jnp.clip(x + normal * jnp.where(jax.random.bernoulli(keys[5], GAUSSIAN, one), sigma, counted), 0, 1)
