"""Steps of published models by known answers, and what is refused; experiments/open_weights compares with diffusers."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax import samplers, schedules
from imggen_jax.errors import WeightsError

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
KNOWN = {  # (class, keys, times of 5 steps as diffusers 0.42.1 has them)
    "ddim": ("DDIMScheduler", {"steps_offset": 1}, [801, 601, 401, 201, 1]),
    "trailing": ("DDIMScheduler", {"timestep_spacing": "trailing"}, [999, 799, 599, 399, 199]),
    "euler": ("EulerDiscreteScheduler", {}, [999, 749.25, 499.5, 249.75, 0]),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}, [999, 799, 599, 400, 200]),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, [999, 786, 427, 59, 0]),
    "lcm": ("LCMScheduler", {}, [999, 799, 599, 399, 199])}


def read(kind, **keys):
    return schedules.read({"_class_name": kind, **BETAS, **keys})


@pytest.mark.parametrize("name", KNOWN)
def test_times_are_those_of_diffusers(name):
    kind, keys, times = KNOWN[name]
    trained = read(kind, **keys)
    steps = schedules.make(trained.sampler, trained, 5)
    np.testing.assert_allclose(steps.times, times, atol=1e-3)
    np.testing.assert_allclose(steps.alphas**2 + steps.sigmas**2, 1, atol=1e-6)
    assert steps.sigmas[-1] == 0 and (np.diff(steps.sigmas) <= 0).all()


def test_the_flow_goes_from_noise_to_data_and_shifts_with_size():
    trained = schedules.read({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0})
    steps = schedules.make("flow_euler", trained, 4)
    np.testing.assert_allclose(steps.sigmas, [1, 0.667, 0.334, 0.001, 0], atol=1e-3)
    np.testing.assert_allclose(steps.alphas + steps.sigmas, 1, atol=1e-6)
    shifting = schedules.read({"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True})
    small, large = (schedules.make("flow_euler", shifting, 4, tokens).sigmas[1] for tokens in (256, 4096))
    assert small == pytest.approx(np.exp(0.5) * 0.75 / (1 + (np.exp(0.5) - 1) * 0.75), abs=1e-6) and large > small


SAMPLERS = [name for name in schedules.SAMPLERS if name != "flow_euler"]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_finds_data_that_are_one_point(name):
    """Where x is known to be c, whatever z is, every sampler ends there."""
    trained = read("DDIMScheduler", set_alpha_to_one=True)
    steps, c = schedules.make(name, trained, 6), 0.7
    z = steps.start * jax.random.normal(jax.random.key(0), (2, 3))
    arrays = jnp.asarray(steps.alphas), jnp.asarray(steps.sigmas)

    def denoise(z, i):
        return jnp.full_like(z, c)

    if name.startswith("dpmpp"):
        end = samplers.multistep(denoise, z, *arrays)
    elif name == "plms":
        end = samplers.plms(denoise, z, *arrays)
    else:
        end = samplers.ddim(denoise, z, *arrays, jnp.asarray(steps.fresh),
                            lambda i: jax.random.normal(jax.random.key(i), z.shape))
    np.testing.assert_allclose(end, c, atol=1e-5)


def gaussian(steps, deviation):
    """The denoiser of data that are normal with mean 0."""
    alphas, sigmas = jnp.asarray(steps.alphas), jnp.asarray(steps.sigmas)

    def denoise(z, i):
        return deviation**2 * alphas[i] / (alphas[i] ** 2 * deviation**2 + sigmas[i] ** 2) * z
    return denoise, alphas, sigmas


@pytest.mark.parametrize("sampler, solve", [("plms", samplers.plms), ("dpmpp_2m_karras", samplers.multistep)])
def test_solvers_of_higher_order_are_nearer_to_the_truth(sampler, solve):
    """Of normal data, z at the end is z at the beginning by the ratio of the deviations."""
    trained = read("DDIMScheduler", timestep_spacing="trailing", set_alpha_to_one=False, final_sigmas_type="sigma_min")
    steps, deviation = schedules.make(sampler, trained, 20), 0.5
    denoise, alphas, sigmas = gaussian(steps, deviation)
    deviations = jnp.sqrt(alphas**2 * deviation**2 + sigmas**2)
    truth, z = float(deviations[-1] / deviations[0]), jnp.ones((1, 4))
    errors = [abs(float(each(denoise, z, alphas, sigmas)[0, 0]) - truth) for each in (samplers.ddim, solve)]
    assert errors[1] < 0.5 * errors[0]


def test_a_sampler_may_begin_in_the_middle():
    trained = read("DDIMScheduler", set_alpha_to_one=True)
    steps = schedules.make("ddim", trained, 10)
    denoise, alphas, sigmas = gaussian(steps, 0.5)
    z = jnp.ones((1, 4))
    for solve in (samplers.ddim, samplers.multistep, samplers.plms):
        late = solve(denoise, z, alphas, sigmas, first=4)
        alone = solve(lambda z, i: denoise(z, i + 4), z, alphas[4:], sigmas[4:])
        np.testing.assert_allclose(late, alone, atol=1e-6)


@pytest.mark.parametrize("config, said", [
    ({"_class_name": "NewScheduler"}, "the scheduler NewScheduler is not known here; known are DDIMScheduler"),
    ({"_class_name": "DDIMScheduler", "rho": 7}, "the key rho is not understood here"),
    ({"_class_name": "DDIMScheduler", "prediction_type": "noise"}, "prediction_type is 'noise'; here it can be"),
    ({"_class_name": "DDIMScheduler", "clip_sample": True}, "clip_sample is True; here it can be False")])
def test_what_is_not_understood_is_named(config, said):
    with pytest.raises(WeightsError, match=said):
        schedules.read(config)


@pytest.mark.parametrize("sampler, steps, said", [
    ("lcm", 51, "51 steps are asked for, and this sampler takes 1 to 50"), ("ddim", 0, "takes 1 to 1000"),
    ("flow_euler", 4, "is of another kind than the model, which is no flow")])
def test_what_a_model_cannot_take_is_refused(sampler, steps, said):
    with pytest.raises(WeightsError, match=said):
        schedules.make(sampler, read("DDIMScheduler"), steps)
