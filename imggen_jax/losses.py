"""Losses, one value per example: [B] out for a batch of B, never a mean. The mean is taken once, in the game.

Log-likelihoods are in nats per image (summed over pixels and channels) and are to be maximized; everything else is to
be minimized. Images are float [B,H,W,C] in [-1,1] unless a docstring says otherwise. Everything returns float32.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


def _sum(x: Array) -> Array:
    """[B, ...] -> float32 [B], the sum over everything but the first axis."""
    return jnp.sum(x.astype(jnp.float32), axis=tuple(range(1, x.ndim)))


# ---------------------------------------------------------------------------------------------------- likelihoods


def bernoulli(logits: Array, images: Array) -> Array:
    """log p(x) of pixels x in {0, 1} (or [0, 1], for the cross-entropy) under independent Bernoullis.

    logits, images: float [B,H,W,C]; images in [0, 1], not [-1, 1]. Returns float32 [B], nats per image.
    """
    logits = logits.astype(jnp.float32)
    # log p(x) = x log s(l) + (1 - x) log(1 - s(l)) = x l - softplus(l)
    return _sum(images * logits - jax.nn.softplus(logits))


def gaussian(mean: Array, log_sigma: Array | float, images: Array) -> Array:
    """log density of images under N(mean, sigma^2), pixels independent.

    mean, images: float [B,H,W,C]; log_sigma: a number, or an array that broadcasts to them, fixed or learned.
    Returns float32 [B], nats per image, a density with respect to the unit in which the images are measured.
    """
    log_sigma = jnp.asarray(log_sigma, jnp.float32)
    scaled = (images.astype(jnp.float32) - mean) * jnp.exp(-log_sigma)
    # log p(x) = -(x - m)^2 / (2 s^2) - log s - log(2 pi) / 2
    return _sum(-0.5 * scaled**2 - log_sigma - 0.5 * math.log(2 * math.pi))


# Scales under a hundredth of an 8-bit step change no likelihood, but their gradients overflow (PixelCNN++'s code: -7).
MIN_LOG_SCALE = -7.0
HALF_BIN = 1 / 255  # half the distance between two neighbors of the 256 values in [-1, 1]


class Mixture(NamedTuple):
    """A mixture of K logistics per pixel, with a linear regression from each channel to those after it."""

    logits: Array      # [B,H,W,K]
    means: Array       # [B,H,W,C,K], before the regression
    log_scales: Array  # [B,H,W,C,K]
    slopes: Array      # [B,H,W,3,K]: red to green, red to blue, green to blue; [B,H,W,0,K] where C = 1


def mixture_parameters(channels: int, mixtures: int) -> int:
    """How many numbers per pixel `logistic_mixture` reads: 3K for one channel, 10K for three."""
    return mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)


def _mixture(parameters: Array, channels: int) -> Mixture:
    """[B,H,W,P] -> Mixture in float32. K follows from P."""
    per_component = mixture_parameters(channels, 1)
    k, rest = divmod(parameters.shape[-1], per_component)
    if rest or k == 0:
        raise ValueError(f"a logistic mixture of {channels}-channel pixels takes a multiple of {per_component} "
                         f"numbers per pixel, not {parameters.shape[-1]}; use mixture_parameters()")
    p = parameters.astype(jnp.float32).reshape(*parameters.shape[:-1], per_component, k)
    means, log_scales, slopes = jnp.split(p[..., 1:, :], (channels, 2 * channels), axis=-2)
    return Mixture(p[..., 0, :], means, jnp.maximum(log_scales, MIN_LOG_SCALE), jnp.tanh(slopes))


def _regress(m: Mixture, x: Array) -> Array:
    """The components' means given the channels before them; x [B,H,W,C,K or 1] -> [B,H,W,C,K]."""
    if m.means.shape[-2] == 1:
        return m.means
    # arXiv 1701.05517, eq. 3: mu_g + a x_r, mu_b + b x_r + c x_g
    red, green, blue = (m.means[..., i, :] for i in range(3))
    a, b, c = (m.slopes[..., i, :] for i in range(3))
    r, g = x[..., 0, :], x[..., 1, :]
    return jnp.stack([red, green + a * r, blue + b * r + c * g], axis=-2)


def logistic_mixture(parameters: Array, images: Array) -> Array:
    """log probability of 8-bit images under a mixture of discretized logistics (PixelCNN++, arXiv 1701.05517, eq. 2-3).

    parameters: float [B,H,W,`mixture_parameters`(C, K)]; images: float [B,H,W,C] with C 1 or 3, the 256 values
    v / 127.5 - 1. Over all 256 values the probabilities sum to one. Returns float32 [B], nats per image.
    """
    m = _mixture(parameters, images.shape[-1])
    x = images.astype(jnp.float32)[..., None]                                             # [B,H,W,C,1]
    inverse = jnp.exp(-m.log_scales)
    centered = x - _regress(m, x)
    upper, lower = (centered + HALF_BIN) * inverse, (centered - HALF_BIN) * inverse
    # P(v) = s(upper) - s(lower) = s(upper) s(-lower) (1 - exp(lower - upper)), which never subtracts equal numbers.
    # The first bin reaches down to minus infinity, so s(lower) = 0; the last one up to infinity, so s(upper) = 1.
    first, last = x < -1 + HALF_BIN, x > 1 - HALF_BIN
    width = jnp.log(-jnp.expm1(-2 * HALF_BIN * inverse))
    log_p = (jnp.where(last, 0.0, jax.nn.log_sigmoid(upper)) + jnp.where(first, 0.0, jax.nn.log_sigmoid(-lower))
             + jnp.where(first | last, 0.0, width))
    return _sum(jax.nn.logsumexp(jax.nn.log_softmax(m.logits) + jnp.sum(log_p, axis=-2), axis=-1))


def logistic_mixture_mean(parameters: Array, channels: int) -> Array:
    """The mean image of `logistic_mixture`, as if not rounded to 8 bits; float32 [B,H,W,channels] in [-1,1].

    Later channels regress on the means of earlier ones within a component.
    """
    m = _mixture(parameters, channels)
    clipped = []
    for c in range(channels):
        so_far = jnp.stack(clipped + [jnp.zeros_like(m.logits)] * (channels - c), axis=-2)
        mean = _regress(m, so_far)[..., c, :]
        scale = jnp.exp(m.log_scales[..., c, :])
        # E[clip(X, -1, 1)] = -1 + the integral of P(X > x) from -1 to 1, for a logistic X
        clipped.append(-1 + scale * (jax.nn.softplus((mean + 1) / scale) - jax.nn.softplus((mean - 1) / scale)))
    weights = jax.nn.softmax(m.logits)[..., None, :]
    return jnp.clip(jnp.sum(weights * jnp.stack(clipped, axis=-2), axis=-1), -1, 1)


# ------------------------------------------------------------------------------------------------------------- KL


def gaussian_kl(mean: Array, log_variance: Array) -> Array:
    """KL(N(mean, exp(log_variance)) || N(0, I)) of each dimension; [B,D] -> float32 [B,D], nats. Sum over D for [B]."""
    mean, log_variance = mean.astype(jnp.float32), log_variance.astype(jnp.float32)
    # Kingma and Welling (arXiv 1312.6114), appendix B: (m^2 + v - 1 - log v) / 2
    return 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance)


def importance_bound(log_weights: Array) -> Array:
    """log of the mean of the weights p(x,z)/q(z|x) over samples z (arXiv 1509.00519, eq. 8); [k,B] -> float32 [B]."""
    log_weights = log_weights.astype(jnp.float32)
    return jax.nn.logsumexp(log_weights, axis=0) - math.log(log_weights.shape[0])


def free_bits(kl: Array, nats: float) -> Array:
    """The KL without pressure on a dimension that carries fewer than `nats` (arXiv 1606.04934, eq. 15).

    kl: [B,D], nats. Returns float32 [B] whose mean is the sum over dimensions of max(nats, mean of kl over the batch).
    """
    return jnp.sum(jnp.where(jnp.mean(kl, axis=0, keepdims=True) > nats, kl, nats), axis=-1)


# ---------------------------------------------------------------------------------------------------- classification


def cross_entropy(logits: Array, label: Array) -> Array:
    """-log p(label) under softmax(logits), in nats; logits float [B,classes], label int [B] -> float32 [B]."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.take_along_axis(log_p, label[:, None], axis=-1)[:, 0]


# -------------------------------------------------------------------------------------------------- distances of images


def psnr(squared: Array) -> Array:
    """Peak signal-to-noise ratio, float32 [B] in dB, of mean squared errors [B] of images in [-1,1]; at most 100."""
    # 10 log10(peak^2 / error), with a peak of 2
    return 10 * jnp.log10(4 / jnp.maximum(squared.astype(jnp.float32), 4e-10))


def distances(images: Array, others: Array) -> dict[str, Array]:
    """How far images are from others, float [B,H,W,C]: "l1", the mean absolute difference, and "psnr" in dB, [B] each.
    """
    axes = tuple(range(1, images.ndim))
    return {"l1": jnp.mean(jnp.abs(images - others), axis=axes),
            "psnr": psnr(jnp.mean(jnp.square(images - others), axis=axes))}


def feature_distance(see: Callable[[Array], Array], images: Array, others: Array) -> Array:
    """The mean absolute difference of what a network sees in images and others (arXiv 1603.08155): float32 [B].

    see: images float [B,H,W,C] -> features [B, ...].
    """
    difference = jnp.abs(see(images).astype(jnp.float32) - see(others))
    return jnp.mean(difference, axis=tuple(range(1, difference.ndim)))


# ------------------------------------------------------------------------------------------------ adversarial losses


class Adversarial(NamedTuple):
    """What either player minimizes; both take (logits of real, logits of fake), [B] each, and return [B].

    Of maps of logits, as of a discriminator of patches, [B,h,w], they return maps.
    """

    discriminator: Callable[[Array, Array], Array]
    generator: Callable[[Array, Array], Array]


# Goodfellow et al. (arXiv 1406.2661), section 3: -log D(x) - log(1 - D(G(z))) against -log D(G(z)).
non_saturating = Adversarial(
    discriminator=lambda real, fake: jax.nn.softplus(-real) + jax.nn.softplus(fake),
    generator=lambda real, fake: jax.nn.softplus(-fake),
)

# Lim and Ye (arXiv 1705.02894), eq. 7 and 8; Miyato et al. (arXiv 1802.05957), eq. 16 and 17.
hinge = Adversarial(
    discriminator=lambda real, fake: jax.nn.relu(1 - real) + jax.nn.relu(1 + fake),
    generator=lambda real, fake: -fake,
)

# Mao et al. (arXiv 1611.04076), eq. 9; the generator's without the factor of one half, as CycleGAN's code has it.
least_squares = Adversarial(
    discriminator=lambda real, fake: (jnp.square(real - 1) + jnp.square(fake)) / 2,
    generator=lambda real, fake: jnp.square(fake - 1),
)

# Arjovsky et al. (arXiv 1701.07875), eq. 2 and 3. The critic must be kept Lipschitz: `interpolated_penalty`.
wasserstein = Adversarial(
    discriminator=lambda real, fake: fake - real,
    generator=lambda real, fake: -fake,
)

# R3GAN (arXiv 2501.05441), eq. 2, with f(t) = -softplus(-t): each fake is judged against the real of its own row.
relativistic = Adversarial(
    discriminator=lambda real, fake: jax.nn.softplus(fake - real),
    generator=lambda real, fake: jax.nn.softplus(real - fake),
)


# Those in use for maps of logits.
PATCHWISE = {"relativistic": relativistic, "least_squares": least_squares, "non_saturating": non_saturating,
             "hinge": hinge}


def patchwise(name: str) -> Adversarial:
    """The loss of that name. Raises ValueError where it is none of these."""
    if name not in PATCHWISE:
        raise ValueError(f"unknown loss {name!r}; choose from {', '.join(PATCHWISE)}")
    return PATCHWISE[name]


# ------------------------------------------------------------------------------------------------ gradient penalties


def critic_with_gradient(critic: Callable[[Array], Array], images: Array) -> tuple[Array, Array]:
    """(critic(images) [B], the squared norm of each logit's gradient in its own image, float32 [B]).

    critic: images [B,H,W,C] -> logits [B], where logit i depends on image i alone (so no batch normalization): then
    the gradient of the sum of the logits holds each example's gradient.
    """
    logits, pull = jax.vjp(critic, images.astype(jnp.float32))
    gradient, = pull(jnp.ones_like(logits))
    return logits, _sum(jnp.square(gradient))


def zero_centered_penalty(critic: Callable[[Array], Array], images: Array,
                          gamma: Array | float) -> tuple[Array, Array]:
    """(critic(images), gamma/2 ||grad D(x)||^2), float32 [B] each: R1 on real images, R2 on generated ones.

    Mescheder et al. (arXiv 1801.04406), eq. 9.
    """
    logits, squared = critic_with_gradient(critic, images)
    return logits, gamma / 2 * squared


def interpolated_penalty(
    critic: Callable[[Array], Array], real: Array, fake: Array, weight: float, key: Array
) -> Array:
    """weight (||grad D(x)|| - 1)^2 at points x between real and fake images, float32 [B].

    WGAN-GP: Gulrajani et al. (arXiv 1704.00028), eq. 3 and algorithm 1.
    """
    t = jax.random.uniform(key, (real.shape[0],) + (1,) * (real.ndim - 1))
    _, squared = critic_with_gradient(critic, real + t * (fake - real))
    # The square root has no derivative at zero, where a dead critic would turn the update into NaN.
    return weight * jnp.square(jnp.sqrt(squared + 1e-12) - 1)


# ------------------------------------------------------------------------------------------- discriminators of patches


class Judged(NamedTuple):
    """A discriminator's verdict; float32 [B] each, means over patches."""

    loss: Array  # penalties included
    real: Array  # logits
    fake: Array


def judge_patches(
    adversarial: Adversarial, judge: Callable[[Array], Array], real: Array, fake: Array, r1: float, r2: float
) -> Judged:
    """What a discriminator minimizes that judges every patch of a picture.

    Args:
      adversarial: the loss.
      judge: images [B,H,W,C] -> logits [B,h,w].
      real, fake: float [B,H,W,C].
      r1, r2: gamma of the zero-centered penalty on real and on fake images, for each patch; 0 for none.
    """
    (real_logits, real_terms), (fake_logits, fake_terms) = (
        _penalized_patches(judge, images, gamma) for images, gamma in ((real, r1), (fake, r2)))
    terms = _patch_mean(adversarial.discriminator(real_logits, fake_logits)) + real_terms + fake_terms
    return Judged(terms, _patch_mean(real_logits), _patch_mean(fake_logits))


def deceive_patches(
    adversarial: Adversarial, judge: Callable[[Array], Array], real: Array, fake: Array
) -> Array:
    """What a generator minimizes against a discriminator of patches, arguments as of `judge_patches`; float32 [B]."""
    return _patch_mean(adversarial.generator(judge(real), judge(fake)))


def _penalized_patches(
    judge: Callable[[Array], Array], images: Array, gamma: float
) -> tuple[Array, Array | float]:
    if not gamma:
        return judge(images), 0.0
    # Patches that do not overlap share no pixel, so the squared gradient of the sum of their logits is the sum of
    # their squared gradients, and divided by their number is the penalty of one.
    logits, squared = critic_with_gradient(judge, images)
    return logits, gamma / 2 * squared / (logits.size // logits.shape[0])


def _patch_mean(x: Array) -> Array:
    return jnp.mean(x.astype(jnp.float32), axis=tuple(range(1, x.ndim)))


# ------------------------------------------------------------------------------------------------ patchwise contrast


def patch_nce(queries: Array, keys: Array, temperature: float) -> Array:
    """PatchNCE (CUT, arXiv 2007.15651, eq. 3): a patch of what was made is to be told by the patch it was made from.

    Args:
      queries, keys: float [B,P,D], of length one: P places of a made picture, and the same places of its source. The
        other places of the same source are what a query must not be taken for.
      temperature: 0.07 in the paper.

    Returns float32 [B], the mean cross-entropy in nats, log P at chance.
    """
    logits = jnp.einsum("bqd,bkd->bqk", queries.astype(jnp.float32), keys.astype(jnp.float32)) / temperature
    return -jnp.mean(jnp.diagonal(jax.nn.log_softmax(logits), axis1=1, axis2=2), axis=1)
