"""Latent operations: between images, around one, and from parents to children. NumPy throughout.

Each takes and returns `Latents`; `show` makes images of them, any number in one call.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from imggen_jax.editing.space import check, fresh, moved, render, rows_of, show
from imggen_jax.errors import RunError
from imggen_jax.game import SHARES
from imggen_jax.inversion import Space
from imggen_jax.model import Model
from imggen_jax.sampling import Fields, Latents

PRESETS = {"subtle": 0.3, "strong": 0.6}  # strengths of `vary` by name
DENSE = 8                                 # places looked at for each frame of an even interpolation
EPSILON = 1e-2                            # step of the perceptual path length, as a share of a stretch
MOST_PARENTS = 5


def interpolate(model: Model, latents: Latents, frames: int, *, even: bool = True) -> Latents:
    """A path through two or more points, `frames` places on it, both ends among them.

    It follows great circles where the prior is Gaussian (slerp: White, arXiv 1609.04468, section 2), straight lines
    elsewhere. Texts count the more the nearer their end is, where the model takes several; the first half of each
    stretch is conditioned on other fields as its start is.

    Args:
      model: a loaded model.
      latents: at least two, in the order in which they are visited.
      frames: at least one for each point.
      even: space the frames so that each step changes the image by about as much; else evenly in the latent.

    Raises:
      RunError: too few points or frames.
    """
    latents = check(model, latents)
    stretches = len(latents.w) - 1
    if stretches < 1:
        raise RunError("an interpolation goes through at least 2 images; give more seeds or images")
    if frames <= stretches:
        raise RunError(f"frames is {frames}; an interpolation of {stretches + 1} images takes at least that many")
    there = model.space()
    along = functools.partial(_along, there, latents, model.generator.mixes)
    if not even:
        return along(np.linspace(0, stretches, frames))
    dense = np.linspace(0, stretches, DENSE * frames * stretches + 1)
    traveled = np.concatenate([[0], np.cumsum(steps(show(model, along(dense))))])
    if traveled[-1] == 0:
        return along(np.linspace(0, stretches, frames))
    times = np.interp(np.linspace(0, traveled[-1], frames), traveled, dense)
    times[[0, -1]] = 0, stretches
    return along(times)


def steps(images: np.ndarray) -> np.ndarray:
    """Root mean squared difference of each image to the next, uint8 [n,H,W,C] -> float64 [n-1], in gray levels."""
    return np.sqrt(np.mean(np.square(np.diff(images.astype(np.float32), axis=0)), axis=(1, 2, 3), dtype=np.float64))


def path_length(model: Model, latents: Latents, *, samples: int = 64, seed: int = 0) -> float:
    """Perceptual path length of an interpolation through the points: the mean of d(G(t), G(t + e)) / e^2.

    Karras et al., arXiv 1812.04948, equation 2, with e a hundredth of a stretch. In place of VGG's features, d is the
    mean squared difference of pixels in [0,1] over the image and its halvings down to 8 pixels.
    """
    latents = check(model, latents)
    stretches = len(latents.w) - 1
    times = np.random.default_rng(seed).uniform(0, stretches, samples)
    times = np.floor(times) + (times % 1) * (1 - EPSILON)  # both ends of a step lie in one stretch
    there = model.space()
    pair = [render(model, _along(there, latents, model.generator.mixes, times + e)) / 2  # of [0,1], not [-1,1]
            for e in (0, EPSILON)]
    return float(np.mean(_pyramid_distance(*pair)) / EPSILON**2)


def _pyramid_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    distances = []
    while True:
        distances.append(np.mean(np.square(a - b), axis=(1, 2, 3)))
        if a.shape[1] % 2 or a.shape[1] <= 8:
            return np.mean(distances, axis=0)
        a, b = (x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).mean((2, 4)) for x in (a, b))


def _along(there: Space, latents: Latents, mixes: Sequence[str], times: np.ndarray) -> Latents:
    start = np.minimum(np.floor(times).astype(int), len(latents.w) - 2)
    share = (times - start)[:, None]
    a, b = latents.w[start], latents.w[start + 1]
    w = slerp(a, b, share) if there.gaussian else a + share * (b - a)
    given = dict(rows_of(latents.given, start + (share[:, 0] >= 0.5)))
    for name in mixes:
        ends = [parts_of(rows_of(latents.given, rows), name) for rows in (start, start + 1)]
        (first, its), (second, others) = ends
        if not np.array_equal(first, second) or not np.array_equal(its, others):
            given |= {name: np.concatenate([tokens for tokens, _ in ends], axis=1), f"{name}{SHARES}": np.concatenate(
                [part * each for part, (_, each) in zip((1 - share, share), ends)], axis=1).astype(np.float32)}
    return moved(w, given)


def parts_of(given: Fields, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A text of n images as several: (int32 [n,K,T], their shares float32 [n,K]); K is 1 where there is but one."""
    tokens, shares = given[name], given.get(f"{name}{SHARES}")
    return (tokens[:, None], np.ones((len(tokens), 1), np.float32)) if shares is None else (tokens, shares)


def slerp(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Spherical interpolation of rows [n,D] by share [n,1]: (sin((1-t) o) a + sin(t o) b) / sin(o), o the angle."""
    lengths = np.linalg.norm(a, axis=-1, keepdims=True) * np.linalg.norm(b, axis=-1, keepdims=True)
    cosine = np.sum(a * b, axis=-1, keepdims=True) / np.maximum(lengths, 1e-12)
    angle = np.arccos(np.clip(cosine, -1, 1))
    sine = np.sin(angle)
    near = sine < 1e-4  # (nearly) parallel or opposite, where the formula divides zero by zero
    safe = np.where(near, 1, sine)
    curved = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / safe
    return np.where(near, (1 - share) * a + share * b, curved)


def vary(
    model: Model, latents: Latents, num: int, *, strength: float | str, seed: int = 0, truncation: float = 1.0
) -> Latents:
    """Variations of one image: its latent turned towards `num` new ones by strength^2 of a right angle.

    The square, because the first degrees are what one sees most. A turn keeps a latent as likely under the prior as it
    was. The condition stays.

    Args:
      model: a loaded model.
      latents: the image's; one.
      num: how many.
      strength: 0 (the same) to 1 (unrelated), or a preset: "subtle", "strong".
      seed: of the first new latent; variation k has seed + k, whatever `num`.
      truncation: of the new latents.

    Raises:
      RunError: a number, strength, seed or truncation that cannot be.
    """
    latents = check(model, latents)
    if len(latents.w) != 1:
        raise RunError(f"{len(latents.w)} images are given; vary takes one")
    if num < 1:
        raise RunError(f"num is {num}; it must be at least 1")
    angle = _angle(strength)
    new = fresh(model, seed, num, given=rows_of(latents.given, np.zeros(num, int)), truncation=truncation)
    w = _turn(model.space(), np.repeat(latents.w, num, axis=0), new.w, angle)
    return moved(w, rows_of(latents.given, np.zeros(num, int)))


def strength_of(text: float | str) -> float:
    """A strength as a number from 0 to 1; raises RunError for what is none."""
    if text in PRESETS:
        return PRESETS[text]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise RunError(f"strength is {text}; it must be from 0 to 1, or one of {', '.join(PRESETS)}")
    return value


def _angle(strength: float | str) -> float:
    return strength_of(strength) ** 2 * math.pi / 2


def _turn(there: Space, old: np.ndarray, new: np.ndarray, angle: float) -> np.ndarray:
    if angle == 0:
        return old
    w = there.mean + math.cos(angle) * (old - there.mean) + math.sin(angle) * (new - there.mean)
    return w.astype(np.float32)


def breed(
    model: Model,
    parents: Latents,
    num: int,
    *,
    weights: Sequence[float] | None = None,
    mutate: float | str = 0.3,
    crossover: float = 0.0,
    inherit: Mapping[int, np.ndarray] | None = None,
    seed: int = 0,
    truncation: float = 1.0,
) -> Latents:
    """Children of one to five parents: a weighted mixture, parts of it taken from single parents, then mutated.

    The mixture of Gaussian latents is scaled back to the parents' mean length, since a mean of several is shorter than
    any of them. With one parent its children are like it ("similar children").

    Args:
      model: a loaded model.
      parents: 1 to 5 latents.
      num: how many children.
      weights: one for each parent, none negative, not all zero; None for equal ones.
      mutate: strength of a `vary` of each child.
      crossover: 0 to 1, the share of the latent's axes (principal ones) that each child takes from one parent alone,
        chosen by the weights, anew for each axis and child.
      inherit: parent's place, from 0 -> orthonormal directions [k,D] in whitened coordinates; in these every child is
        as this parent.
      seed: child k has seed + k, whatever `num`.
      truncation: of the latents that mutate.

    Raises:
      RunError: parents, weights or strengths that cannot be.
    """
    parents = check(model, parents)
    number = len(parents.w)
    if not 1 <= number <= MOST_PARENTS:
        raise RunError(f"{number} parents are given; breed takes 1 to {MOST_PARENTS}")
    if num < 1:
        raise RunError(f"num is {num}; it must be at least 1")
    shares = shares_of(weights, number)
    if not 0 <= crossover <= 1:
        raise RunError(f"crossover is {crossover}; it must be from 0 to 1")
    there, angle = model.space(), _angle(mutate)
    new = fresh(model, seed, num, given=rows_of(parents.given, np.zeros(num, int)), truncation=truncation)
    axes = _principal_axes(there)
    children, heirs = np.empty((num, there.size), np.float32), np.zeros(num, int)
    mixture = _mixture(there, parents.w, shares)
    for k in range(num):
        rng = np.random.default_rng([seed + k, 1])  # the new latent has used the seed alone
        heirs[k] = rng.choice(number, p=shares) if parents.given else 0  # whose condition the child has
        donors = np.where(rng.uniform(size=there.size) < crossover, rng.choice(number, there.size, p=shares), -1)
        parts = (parents.w - mixture) @ axes  # [parents, D], along each axis
        child = mixture + axes @ np.where(donors < 0, 0, parts[donors, np.arange(there.size)])
        child = _turn(there, child[None], new.w[k:k + 1], angle)[0]
        for place, directions in (inherit or {}).items():
            missing = (parents.w[place] - child) @ there.whiten
            child = child + (missing @ directions.T @ directions) @ there.spread
        children[k] = child
    return moved(children, rows_of(parents.given, heirs))


def shares_of(weights: Sequence[float] | None, number: int, what: str = "parents") -> np.ndarray:
    """Weights over their sum, float64 [number]; equal ones for None.

    Raises:
      RunError: another number of weights, negative ones, or none above 0.
    """
    given = np.ones(number) if weights is None else np.asarray(weights, np.float64)
    if given.shape != (number,):
        raise RunError(f"{len(given)} weights are given for {number} {what}; give one for each")
    if not np.isfinite(given).all() or given.min() < 0 or given.sum() == 0:
        raise RunError(f"weights are {', '.join(f'{w:g}' for w in given)}; none may be negative, and not all zero")
    return given / given.sum()


def _mixture(there: Space, w: np.ndarray, shares: np.ndarray) -> np.ndarray:
    mean = shares @ w
    if not there.gaussian:
        return mean
    length = np.linalg.norm(mean)
    return mean * (shares @ np.linalg.norm(w, axis=-1) / length) if length > 1e-6 else mean


def _principal_axes(there: Space) -> np.ndarray:
    """Orthonormal columns [D,D]: of the covariance, or of the space itself where all of them are alike."""
    return np.eye(there.size) if there.gaussian else np.linalg.eigh(there.spread)[1]
