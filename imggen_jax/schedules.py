"""The steps that published diffusion models are sampled by, from the config of their scheduler.

    steps = make("euler", read(config), 25)      # NumPy: what a solver of `samplers` goes through
    z = samplers.ddim(denoise, steps.start * noise, steps.alphas, steps.sigmas, steps.fresh, draw)

A model sees z = alpha x + sigma noise with alpha^2 + sigma^2 = 1, or for flows with alpha + sigma = 1, and a time of
its training, 0 to 999. In these terms DDIM, Euler's method and the flow's Euler are one formula, and their steps alone
differ. Keys that a config leaves out have the defaults of diffusers' class for that sampler.
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from imggen_jax.errors import WeightsError

# Number in the option `sampler` -> its name; new ones come last, so that numbers keep their meaning.
SAMPLERS = ("ddim", "euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_karras", "lcm", "plms", "flow_euler")
CLASSES = {"DDIMScheduler": "ddim", "EulerDiscreteScheduler": "euler", "LCMScheduler": "lcm", "PNDMScheduler": "plms",
           "EulerAncestralDiscreteScheduler": "euler_ancestral", "DPMSolverMultistepScheduler": "dpmpp_2m",
           "FlowMatchEulerDiscreteScheduler": "flow_euler"}
SPACINGS = ("linspace", "leading", "trailing")
# Keys that are read -> what they may be; None: anything. Others are an error.
KEYS: dict[str, tuple[Any, ...] | None] = {
    "num_train_timesteps": None, "beta_start": None, "beta_end": None, "trained_betas": (None,),
    "beta_schedule": ("linear", "scaled_linear"), "prediction_type": ("epsilon", "v_prediction", "sample"),
    "timestep_spacing": SPACINGS, "steps_offset": None, "set_alpha_to_one": (True, False),
    "rescale_betas_zero_snr": (True, False), "final_sigmas_type": ("zero", "sigma_min"),
    "use_karras_sigmas": (True, False, None), "original_inference_steps": None, "timestep_scaling": None,
    "lower_order_final": (True, False), "euler_at_final": (True, False), "solver_order": (1, 2),
    "shift": None, "use_dynamic_shifting": (True, False), "base_shift": None, "max_shift": None,
    "base_image_seq_len": None, "max_image_seq_len": None, "time_shift_type": ("exponential",),
    # What no supported model sets otherwise.
    "clip_sample": (False,), "clip_sample_range": None, "thresholding": (False,), "sample_max_value": None,
    "dynamic_thresholding_ratio": None, "skip_prk_steps": (True,), "interpolation_type": ("linear",),
    "timestep_type": ("discrete",), "sigma_min": (None,), "sigma_max": (None,), "use_exponential_sigmas": (False, None),
    "use_beta_sigmas": (False, None), "use_lu_lambdas": (False, None), "use_flow_sigmas": (False, None),
    "flow_shift": None, "algorithm_type": ("dpmsolver++",), "solver_type": ("midpoint",), "variance_type": (None,),
    "lambda_min_clipped": (-math.inf,), "invert_sigmas": (False,), "shift_terminal": (None,),
    "stochastic_sampling": (False,)}


class Steps(NamedTuple):
    """What a solver goes through; float32 NumPy."""

    times: np.ndarray   # [n]: what the network is told
    alphas: np.ndarray  # [n+1]: how much of the data there is at each time, and at the end
    sigmas: np.ndarray  # [n+1]: how much noise
    fresh: np.ndarray   # [n]: standard deviation of the noise that is drawn anew in a step
    start: float        # factor on the noise that the first step begins with
    keep: np.ndarray    # [n]: of what the denoiser gives, x = keep z + (what it found) gain; consistency models
    gain: np.ndarray    # [n]
    second: np.ndarray  # [n]: whether a step may be of order 2


class Trained(NamedTuple):
    """How a model was trained, and by default is sampled; hashable."""

    sampler: str                               # of SAMPLERS
    prediction: str                            # "epsilon", "v_prediction", "sample" or "flow"
    keys: tuple[tuple[str, Any], ...]          # of the config, those of KEYS


def read(config: Mapping[str, Any], what: str = "scheduler_config.json") -> Trained:
    """How a model was trained, from its scheduler's config.

    Args:
      config: JSON, as diffusers writes it.
      what: its name, for messages.

    Raises:
      WeightsError: a class, key or value that is not understood.
    """
    name = config.get("_class_name")
    if name not in CLASSES:
        raise WeightsError(f"{what}: the scheduler {name} is not known here; known are {', '.join(CLASSES)}")
    keys = {key: value for key, value in config.items() if not key.startswith("_")}
    for key, value in keys.items():
        if key not in KEYS:
            raise WeightsError(f"{what}: the key {key} is not understood here")
        allowed = KEYS[key]
        if allowed is not None and value not in allowed:
            raise WeightsError(f"{what}: {key} is {value!r}; here it can be {' or '.join(map(repr, allowed))}")
    sampler = CLASSES[name]
    if sampler == "dpmpp_2m" and keys.get("use_karras_sigmas"):
        sampler = "dpmpp_2m_karras"
    prediction = "flow" if sampler == "flow_euler" else keys.get("prediction_type", "epsilon")
    return Trained(sampler, prediction, tuple(sorted(keys.items())))


def make(sampler: str, trained: Trained, steps: int, tokens: int = 0, shift: float | None = None) -> Steps:
    """The steps of a sampler for a model.

    Args:
      sampler: a name of `SAMPLERS`.
      trained: of the model.
      steps: how many times the network is asked; "plms" asks once more.
      tokens: places that a flow's transformer sees, on which its shift may depend.
      shift: of a flow whose pipeline decides it: its logarithm, where the config shifts by the size of pictures; None:
        the config alone decides.

    Raises:
      WeightsError: more steps than the model can take, or a sampler of the other kind.
    """
    keys = dict(trained.keys)
    if (sampler == "flow_euler") != (trained.prediction == "flow"):
        kind = "a flow: choose flow_euler" if trained.prediction == "flow" else "no flow: choose another one"
        raise WeightsError(f"the sampler {sampler} is of another kind than the model, which is {kind}")
    total = keys.get("original_inference_steps", 50) if sampler == "lcm" else keys.get("num_train_timesteps", 1000)
    if not 1 <= steps <= total:
        raise WeightsError(f"{steps} steps are asked for, and this sampler takes 1 to {total} of this model")
    if sampler == "flow_euler":
        return _flow(keys, steps, tokens, shift)
    products = _products(keys, exact=sampler in ("ddim", "lcm", "plms"))
    if sampler in ("ddim", "plms"):
        times = _times(keys, steps, "leading", whole=True)
        return _plain(products, times, products[0] if not keys.get("set_alpha_to_one", sampler == "ddim") else 1.0)
    if sampler == "lcm":
        return _consistency(keys, products, steps)
    if sampler.startswith("dpmpp_2m"):
        return _multistep(keys, products, steps, karras=sampler == "dpmpp_2m_karras")
    return _euler(keys, products, steps, ancestral=sampler == "euler_ancestral")


def trained_at(trained: Trained) -> tuple[np.ndarray, np.ndarray]:
    """How much data and how much noise there is at each time of a diffusion model's training, float32 [T] each."""
    squares = _products(dict(trained.keys), exact=True)
    return np.sqrt(squares), np.sqrt(1 - squares)


def _products(keys: Mapping[str, Any], *, exact: bool) -> np.ndarray:
    """alpha^2 at each time of the training, float32 [T] (arXiv 2006.11239, section 2)."""
    low, high = keys.get("beta_start", 0.0001), keys.get("beta_end", 0.02)
    count = keys.get("num_train_timesteps", 1000)
    if keys.get("beta_schedule", "linear") == "scaled_linear":
        betas = np.linspace(low**0.5, high**0.5, count, dtype=np.float32) ** 2
    else:
        betas = np.linspace(low, high, count, dtype=np.float32)
    products = np.cumprod(1 - betas, dtype=np.float32)
    if keys.get("rescale_betas_zero_snr"):  # arXiv 2305.08891, algorithm 1
        roots = np.sqrt(products)
        products = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
        if not exact:
            products[-1] = 2.0**-24  # else the first sigma is infinite
    return products


def _times(keys: Mapping[str, Any], steps: int, spacing: str, *, whole: bool) -> np.ndarray:
    """Times of the training, falling, float64 [n] (arXiv 2305.08891, table 2); `whole`: rounded where they are not."""
    total, spacing = keys.get("num_train_timesteps", 1000), keys.get("timestep_spacing", spacing)
    if spacing == "linspace":
        times = np.linspace(0, total - 1, steps)[::-1]
        return np.round(times) if whole else times
    if spacing == "leading":
        return np.arange(steps)[::-1] * float(total // steps) + keys.get("steps_offset", 0)
    return np.round(np.arange(total, 0, -total / steps))[:steps] - 1


def _plain(products: np.ndarray, times: np.ndarray, last: float) -> Steps:
    squares = np.append(products[np.minimum(times.astype(int), len(products) - 1)], last)
    return _steps(times, np.sqrt(squares), np.sqrt(1 - squares))


def _of_ratios(times: np.ndarray, ratios: np.ndarray, **more: Any) -> Steps:
    """Steps of sigma/alpha [n+1]."""
    alphas = 1 / np.sqrt(1 + np.square(ratios.astype(np.float64)))
    return _steps(times, alphas, ratios * alphas, **more)


def _steps(times: np.ndarray, alphas: np.ndarray, sigmas: np.ndarray, *, start: float = 1.0, **more: Any) -> Steps:
    n = len(times)
    parts = {"fresh": np.zeros(n), "keep": np.zeros(n), "gain": np.ones(n), "second": np.ones(n)} | more
    arrays = {name: np.asarray(value, np.float32) for name, value in
              {"times": times, "alphas": alphas, "sigmas": sigmas, **parts}.items()}
    return Steps(start=float(start), **arrays)


def _consistency(keys: Mapping[str, Any], products: np.ndarray, steps: int) -> Steps:
    """Of a latent consistency model (arXiv 2310.04378, sections 4.1 and 4.3): data, then all noise anew."""
    original, total = keys.get("original_inference_steps", 50), keys.get("num_train_timesteps", 1000)
    known = np.arange(1, original + 1)[::-1] * (total // original) - 1
    times = known[np.floor(np.linspace(0, original, steps, endpoint=False)).astype(int)]
    plain = _plain(products, times, 1.0)
    scaled = times * keys.get("timestep_scaling", 10.0)
    return plain._replace(fresh=plain.sigmas[1:], keep=(0.25 / (scaled**2 + 0.25)).astype(np.float32),
                          gain=(scaled / np.sqrt(scaled**2 + 0.25)).astype(np.float32))


def _euler(keys: Mapping[str, Any], products: np.ndarray, steps: int, *, ancestral: bool) -> Steps:
    """Euler's method, or the ancestral one (k-diffusion), in sigma/alpha (EDM, arXiv 2206.00364)."""
    if keys.get("final_sigmas_type", "zero") != "zero":
        raise WeightsError("scheduler_config.json: final_sigmas_type is 'sigma_min'; Euler's method is used to the end")
    every = np.sqrt((1 - products) / products)
    times = _times(keys, steps, "linspace", whole=False)
    ratios = np.interp(times, np.arange(len(every)), every)
    if keys.get("use_karras_sigmas") and not ancestral:
        ratios = _karras(ratios[0], ratios[-1], steps)
        times = _time_of(ratios, every)
    leading = keys.get("timestep_spacing", "linspace") == "leading"
    first = 1.0 if leading else float(ratios[0] / np.sqrt(1 + ratios[0] ** 2))
    made = _of_ratios(times, np.append(ratios, 0.0), start=first)
    if not ancestral:
        return made
    now, then = ratios, np.append(ratios[1:], 0.0)
    fresh = then * np.sqrt(now**2 - then**2) / now
    return made._replace(fresh=(fresh * made.alphas[1:]).astype(np.float32))


def _multistep(keys: Mapping[str, Any], products: np.ndarray, steps: int, *, karras: bool) -> Steps:
    """Of DPM-Solver++(2M), arXiv 2211.01095."""
    every = np.sqrt((1 - products) / products)
    if karras:
        ratios = _karras(every[-1], every[0], steps)
        times = np.round(_time_of(ratios, every))
    else:
        trailing = keys.get("timestep_spacing") == "trailing"
        times = _times(keys, steps, "linspace", whole=True) if trailing else _times(
            keys, steps + 1, "linspace", whole=True)[:-1]
        ratios = np.interp(times, np.arange(len(every)), every)
    least = every[0] if keys.get("final_sigmas_type") == "sigma_min" else 0.0
    second = np.full(steps, keys.get("solver_order", 2) > 1)
    if keys.get("euler_at_final") or (keys.get("lower_order_final", True) and steps < 15):
        second[-1] = False
    return _of_ratios(times, np.append(ratios, least), second=second)


def _flow(keys: Mapping[str, Any], steps: int, tokens: int, given: float | None) -> Steps:
    """Of rectified flows; large pictures give noise more of the steps (arXiv 2403.03206, section 5.3.2)."""
    total, shift = keys.get("num_train_timesteps", 1000), keys.get("shift", 1.0)
    if keys.get("use_dynamic_shifting"):
        low, high = keys.get("base_image_seq_len", 256), keys.get("max_image_seq_len", 4096)
        least, most = keys.get("base_shift", 0.5), keys.get("max_shift", 1.15)
        shift = math.exp(least + (most - least) * (tokens - low) / (high - low) if given is None else given)
        sigmas = np.linspace(1, 1 / steps, steps)
    elif given is not None:
        sigmas = np.linspace(1, 1 / steps, steps)
    else:
        begin, end = (shift * end / (1 + (shift - 1) * end) for end in (1.0, 1 / total))
        sigmas = np.linspace(begin, end, steps)
    sigmas = shift * sigmas / (1 + (shift - 1) * sigmas)
    ends = np.append(sigmas, 0.0)
    return _steps(total * sigmas, 1 - ends, ends)


def _karras(high: float, low: float, steps: int, rho: float = 7.0) -> np.ndarray:
    """Falling sigmas, float64 [n], without the last 0 (EDM, arXiv 2206.00364, eq. 5)."""
    ramp = np.linspace(0, 1, steps)
    return (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho


def _time_of(ratios: np.ndarray, every: np.ndarray) -> np.ndarray:
    """The time of the training at which sigma/alpha is so large: between two, by its logarithm."""
    return np.interp(np.log(np.maximum(ratios, 1e-10)), np.log(every), np.arange(len(every)))
