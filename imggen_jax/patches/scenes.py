"""Scenes rearranged: variations, and other aspects.

Granot et al.: Drop the GAN: in defense of patches nearest neighbors as single image generative models (2022).
"""
from __future__ import annotations

import numpy as np
from scipy import ndimage

from imggen_jax.patches import sizes
from imggen_jax.patches.matching import Settings
from imggen_jax.patches.pyramid import Level, resize
from imggen_jax.patches.synthesis import Effort, Problem, Report


def variations(picture: np.ndarray, num: int, *, strength: float = 0.5, seed: int = 0, quality: str = "normal",
               backend: str = "auto", report: Report = sizes.quiet) -> list[np.ndarray]:
    """The scene of a picture, rearranged.

    Args:
      picture: uint8 or uint16 [H,W] or [H,W,C], C from 1 to 4.
      num: how many; number k has seed `seed` + k, and is the same whatever `num`.
      strength: 0 (the picture) to 1 (little but its patches is left).
      seed: of the first, from 0 to 2^32 - num.
      quality: "draft", "normal" or "best".
      backend: see `search.nearest`.
      report: is called with the share that is done.

    Returns:
      `num` pictures of the same shape and dtype.

    Raises:
      PatchError: arguments that cannot be worked with.
    """
    sizes.number(num, "num", 1, 10_000)
    sizes.number(strength, "strength", 0, 1)
    sizes.number(seed, "the seed", 0, sizes.SEEDS - num)
    full = sizes.entered(picture)
    if strength == 0:
        return [np.array(picture) for _ in range(num)]

    def one(k):
        rng = sizes.generator(seed + k)

        def start(target, source, rng):
            return [target._replace(picture=_moved(source.level.picture, strength, rng))]

        made = _whole(full, full.shape[:2], start,
                      Settings(backend=backend, coherence=0.3, spread=0.3, place=(0.8, 0.0)),
                      base=40 - 20 * strength, ratio=0.75, quality=quality, rng=rng,
                      report=lambda share: report((k + share) / num))
        return sizes.left(made, picture)

    return [one(k) for k in range(num)]


def _moved(picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The picture with its parts moved, more along rows than along columns, and noise: what patches are matched to.

    Noise alone leaves scenes as they are: matching takes it away again.
    """
    shape = picture.shape[:2]
    at = np.indices(shape).astype(np.float32)
    for axis, share in ((0, 0.04), (1, 0.5)):
        field = ndimage.gaussian_filter(rng.standard_normal(shape), [n * (0.3 - 0.15 * strength) for n in shape],
                                        mode="wrap")
        at[axis] += strength * share * shape[axis] * field / field.std()
    moved = [ndimage.map_coordinates(picture[..., c], at, order=1, mode="mirror") for c in range(picture.shape[-1])]
    noise = strength * picture.std((0, 1)) * rng.standard_normal(picture.shape)
    return (np.stack(moved, -1) + noise).astype(np.float32)


def retarget(picture: np.ndarray, size: tuple[int, int], *, seed: int = 0, quality: str = "normal",
             backend: str = "auto", report: Report = sizes.quiet) -> np.ndarray:
    """The picture at another aspect: what it shows is repeated or left out, not stretched.

    Args:
      picture: uint8 or uint16 [H,W] or [H,W,C], C from 1 to 4.
      size: height and width of the result.
      seed, quality, backend, report: as for `variations`.

    Returns:
      [*size, C], of the picture's dtype.

    Raises:
      PatchError: arguments that cannot be worked with.
    """
    full = sizes.entered(picture)
    sizes.check_size(size)
    if tuple(size) == full.shape[:2]:
        return np.array(picture)

    def start(target, source, rng):
        return [target._replace(picture=resize(source.level.picture, target.change.shape))]

    # Things keep the size that they have where neither side is stretched by more than the other is.
    made = _whole(full, size, start, Settings(backend=backend, coherence=0.3, spread=0.1), base=24.0, ratio=0.75,
                  quality=quality, rng=sizes.generator(seed), report=report)
    return sizes.left(made, np.asarray(picture)[:1, :1])


def _whole(full, size, start, settings, *, base, ratio, quality, rng, report):
    source = Level(full, np.ones(full.shape[:2], bool))
    canvas = Level(np.zeros((*size, full.shape[-1]), np.float32), np.zeros(size, bool))
    return sizes.worked_out(Problem(source, canvas), quality=quality, base=base, ratio=ratio, settings=settings,
                            effort=Effort(10, 4, 2, 0.3), start=start, rng=rng, report=report, guide=3.0)
