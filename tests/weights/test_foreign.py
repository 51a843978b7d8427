"""Networks of others: results of their own implementations, and files that are not what they should be."""
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
import reference_weights as reference
from safetensors.numpy import save_file

import imggen_jax
from imggen_jax.errors import RunError, WeightsError
from imggen_jax.weights import foreign

# What PyTorch made with the same weights; experiments/weights_parity writes it.
GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


def write(folder, name, state):
    path = (folder / name).with_suffix(".safetensors")
    save_file(state, path)
    return path


def write_case(folder, case):
    state = reference.state(case["shapes"], 7, *case["last"])
    old, new = case["prefix"]
    if case["other"]:
        name, shapes, last = case["other"]
        write(folder, name, reference.state(shapes, 8, *last))
    return write(folder, case["file"], {new + name.removeprefix(old): array for name, array in state.items()})


def compact(width=4, layers=1, scale=2):
    """The arrays of the smallest network there is."""
    last = 2 * layers + 2
    shapes = {"body.0.weight": (width, 3, 3, 3), f"body.{last}.weight": (3 * scale**2, width, 3, 3),
              "body.0.bias": (width,), f"body.{last}.bias": (3 * scale**2,), "body.1.weight": (width,)}
    for i in range(2, last, 2):
        shapes |= {f"body.{i}.weight": (width, width, 3, 3), f"body.{i}.bias": (width,),
                   f"body.{i + 1}.weight": (width,)}
    return reference.state(shapes, 3, f"body.{last}", 0.1, 0.0)


def run(model, fields, options):
    generator = model.generator
    condition = generator.condition(model.weights, fields)
    decode = jax.jit(lambda weights, condition: generator.decode(weights, (), condition, options))
    return np.asarray(decode(model.weights, condition))


@pytest.mark.parametrize("name", GOLDEN)
def test_results_are_those_of_the_reference(name, tmp_path):
    case = GOLDEN[name]
    model = imggen_jax.load(write_case(tmp_path, case))
    generator, (height, width) = model.generator, case["size"]
    assert set(case["options"]) == set(generator.options)
    fields = reference.condition(generator.needs, height, width)
    made = run(model, fields, case["options"])
    scale = model.config["game"]["scale"]
    assert made.shape == (1, scale * height, scale * width, 3) and [1, 3, *made.shape[1:3]] != case["shape"]
    assert list(made.shape) == case["shape"] and made.dtype == np.float32
    values = made.ravel()[::max(1, made.size // 60)]
    np.testing.assert_allclose(values, case["values"], rtol=0, atol=2e-5)


def test_every_reader_has_its_golden_values():
    found = {reader for case in GOLDEN.values() for reader in foreign.READERS
             if reader.knows({name.removeprefix(case["prefix"][0]) if case["prefix"][0] else name
                              for name in case["shapes"]})}
    assert found == set(foreign.READERS)


def test_a_file_is_a_model_like_any_other(tmp_path):
    path = write(tmp_path, "net", compact())
    model = imggen_jax.load(str(path))
    picture = reference.picture(1, 6, 5)
    made = model.sample(num=1, given={"source": picture[0]})
    assert made.shape == (1, 12, 10, 3) and made.dtype == np.uint8
    expected = 127.5 * (run(model, {"source": picture}, {}) + 1)
    assert np.max(np.abs(made - expected)) <= 0.51
    facts = imggen_jax.describe(path)
    assert facts["config"]["game"]["scale"] == 2 and facts["parameters"] == {"net": 112 + 4 + 148 + 4 + 444}
    with pytest.raises(RunError, match="this model needs 'source'; give it"):
        model.sample(num=1)
    with pytest.raises(RunError, match="has no model 'other'; it has main"):
        imggen_jax.load(path, "other")


def test_a_tile_with_its_surroundings_is_as_in_the_whole(tmp_path):
    model = imggen_jax.load(write(tmp_path, "net", compact(layers=2)))
    reach, whole = model.config["game"]["reach"], reference.picture(1, 20, 12)
    assert reach == 4
    large = run(model, {"source": whole}, {})
    for rows in (reach, reach - 1):
        tile = run(model, {"source": whole[:, 8 - rows:]}, {})[:, 2 * rows:]
        assert (np.max(np.abs(tile - large[:, 16:])) < 1e-6) == (rows == reach)


def test_the_network_beside_another_is_blended_with_it(tmp_path):
    strong, weak = compact(), {name: 0.5 * array for name, array in compact().items()}
    path, other = write(tmp_path, "my-general-x2", strong), write(tmp_path, "my-general-wdn-x2", weak)
    fields = {"source": reference.picture(1, 4, 4)}
    model = imggen_jax.load(path)
    assert imggen_jax.load(other).generator.options == {} and model.generator.options["denoise"].default == 1
    for d, file in ((1.0, strong), (0.0, weak)):
        alone = imggen_jax.load(write(tmp_path, "alone", file))
        np.testing.assert_allclose(run(model, fields, {"denoise": d}), run(alone, fields, {}), atol=1e-6)
    save_file(compact(width=5), other)
    with pytest.raises(WeightsError, match=r"my-general-wdn-x2.safetensors cannot be used: conv_0.bias is \[5\], and"):
        imggen_jax.load(path)


def changed(state, drop=(), **more):
    return {name: array for name, array in state.items() if name not in drop} | more


ONES = np.ones((4, 4, 3, 3), np.float32)
WRONG = {
    "missing": (changed(compact(), ["body.2.bias"]), "conv_1.bias is missing, and [4] is needed"),
    "missing weight": (changed(compact(), ["body.3.weight"]), "body.3.weight is missing"),
    "left over": (changed(compact(), attention=ONES, **{f"z{i}": ONES for i in range(3)}),
                  "attention, z0, z1 and 1 more belong to no layer of this network"),
    "misshapen": (changed(compact(), **{"body.2.weight": ONES[:, :3]}), "conv_1.kernel is [3, 3, 3, 4], and"),
    "axes": (changed(compact(), **{"body.0.weight": np.ones(3, np.float32)}),
             "body.0.weight is [3], and 4 axes are needed"),
    "scale": (changed(compact(), **{"body.4.weight": np.ones((15, 4, 3, 3), np.float32)}),
              "its number of channels out over that in is no square"),
    "unknown": ({"layer.weight": ONES, "head": ONES}, "is of no network that is known here (its arrays are head, "
                "layer.weight); known are RRDBNet (ESRGAN, Real-ESRGAN, BSRGAN); SRVGGNetCompact"),
    "span": ({"conv_cat.weight": ONES, "block_1.c1_r.sk.weight": ONES}, "conv_1.eval_conv.weight is missing"),
    "rrdb": ({"body.0.rdb1.conv1.weight": ONES}, "conv_first.weight is missing"),
    "old": ({"model.0.weight": ONES, "model.1.sub.0.RDB1.conv1.0.weight": ONES}, "conv_last.weight is missing"),
    "lama": ({"generator.model.1.ffc.convl2l.weight": ONES, "generator.model.5.conv1.x": ONES},
             "2.conv1.ffc.convg2g.conv1.0.weight is missing"),
    "resnet": ({"model.1.weight": ONES, "model.10.conv_block.1.weight": ONES}, "4.weight is missing"),
    "unet": ({"model.model.0.weight": ONES, "model.model.1.model.1.weight": ONES}, "model.3.weight is missing"),
    "adain": ({f"{n}.weight": ONES for n in (1, 5, 8, 11, 14, 18, 21, 25, 28)},
              "is one of AdaIN's two; put the other one, vgg_normalised.safetensors, beside it"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named_in_one_line(name, tmp_path):
    state, said = WRONG[name]
    path = write(tmp_path, "wrong", state)
    with pytest.raises(WeightsError, match=re.escape(said)) as error:
        imggen_jax.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("ending", foreign.SUFFIXES)
def test_a_file_that_cannot_be_read_is_named(ending, tmp_path):
    path = tmp_path / f"w{ending}"
    path.write_bytes(b"not a file of tensors")
    with pytest.raises(WeightsError, match=f"w{ending} is (damaged|truncated), or no") as error:
        imggen_jax.load(path)
    assert "\n" not in str(error.value)
    with pytest.raises(RunError, match=f"nowhere{ending} is neither a folder nor the name of a shipped model"):
        imggen_jax.load(tmp_path / f"nowhere{ending}")
