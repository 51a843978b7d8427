"""Models of runs in diffusers' layout; experiments/open_weights has diffusers make the same pictures of them."""
import json

import jax
import numpy as np
import pytest
import reference_pipelines as reference

from imggen_jax import api, main
from imggen_jax.errors import RunError
from imggen_jax.pipelines import interchange
from imggen_jax.weights import published, tensors


def test_an_autoencoder_comes_back_as_it_was(tmp_path):
    model = reference.run_model("autoencoder")
    interchange.write(model, None, tmp_path / "vae", "a card")
    config = json.loads((tmp_path / "vae" / "config.json").read_text())
    assert config["_class_name"] == "AutoencoderKL" and (tmp_path / "vae" / "README.md").read_text() == "a card"
    parts = published.autoencoder(config, "float32")
    found = tensors.open_folder(tmp_path / "vae", "diffusion_pytorch_model")
    assert sum(one.size for one in map(np.asarray, jax.tree.leaves(model.weights))) == sum(
        np.prod(one.shape) for one in found.values())
    for side, part, other in (("encoder", parts[0], "decoder"), ("decoder", parts[1], "encoder")):
        again = tensors.fill(part.wanted, found, "float32", what="vae", unused=(f"^{other}",))
        jax.tree.map(np.testing.assert_array_equal, again, model.weights["autoencoder"][side]["kl"])
    with pytest.raises(RunError, match="vae is not empty; choose another --out"):
        interchange.write(model, None, tmp_path / "vae", "")


def test_a_flow_is_a_u_net_and_a_scheduler(tmp_path):
    model = reference.run_model("flow")
    interchange.write(model, None, tmp_path / "flow", "a card\n")
    config = json.loads((tmp_path / "flow" / "unet" / "config.json").read_text())
    found = tensors.open_folder(tmp_path / "flow" / "unet", "diffusion_pytorch_model")
    again = tensors.fill(published.unet(config, "float32").wanted, found, "float32", what="unet")
    jax.tree.map(np.testing.assert_array_equal, again, model.weights["flow"]["network"]["unet"])
    scheduler = json.loads((tmp_path / "flow" / "scheduler" / "scheduler_config.json").read_text())
    assert (scheduler["_class_name"], scheduler["shift"]) == ("FlowMatchEulerDiscreteScheduler", 2.0)
    card = (tmp_path / "flow" / "README.md").read_text()
    assert "torch.randn(1, 3, 16, 16)" in card and "{" not in card.replace("[1 - k / 16 for k in range(16)]", "")


def test_what_diffusers_lacks_is_refused(short_run, tmp_path, capsys):
    with pytest.raises(RunError, match="diffusers has no network like that of this model, vae;"):
        api.export(short_run("vae"), tmp_path / "out", format="diffusers")
    assert main.main(["export", "--model", str(short_run("vae")), "--out", str(tmp_path / "out"), "--format",
                      "diffusers", "--orbax"]) == 2
    assert "leave out --stablehlo, --orbax and --dtype" in capsys.readouterr().err
