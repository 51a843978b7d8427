"""Models of runs in diffusers' layout, where it has a network like theirs: autoencoders with network latent_kl, and
flows with network unet_latent that are conditioned on nothing."""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save

from imggen_jax.errors import RunError
from imggen_jax.latents import LEAST
from imggen_jax.model import Model
from imggen_jax.nets import latent_kl, unet_latent
from imggen_jax.spec import image_shape
from imggen_jax.storage.files import write_atomic
from imggen_jax.weights import diffusers, tensors

VERSION = "0.42.1"  # of diffusers, whose classes and keys these are
FLOW = """
## With diffusers

```python
import torch
from diffusers import {classes}

unet = UNet2DConditionModel.from_pretrained("FOLDER/unet")
scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained("FOLDER/scheduler")
scheduler.set_timesteps(sigmas=[1 - k / {steps} for k in range({steps})])
z, nothing = torch.randn(1, {channels}, {height}, {width}), torch.zeros(1, 1, {nothing})
for time in scheduler.timesteps:
    z = scheduler.step(unet(z, time, nothing).sample, time, z).prev_sample
{end}
```
"""


def write(model: Model, autoencoder: Model | None, folder: Path, card: str) -> None:
    """Write a model for diffusers.

    Args:
      model: a loaded run's: an autoencoder, or a flow.
      autoencoder: the one in whose latents the flow takes place, if it does.
      folder: made if needed; must be empty or new.
      card: text of README.md.

    Raises:
      RunError: diffusers has no such network, or the folder is not empty or cannot be written.
    """
    game = model.config["game"]
    network = (game.get("network") or {}).get("name")
    if game["name"] == "autoencoder" and network == "latent_kl":
        components = {"": _autoencoder(model)}
    elif game["name"] == "flow" and network == "unet_latent" and not model.generator.needs:
        components = {"unet": _unet(model)}
        components |= {} if autoencoder is None else {"vae": _latents(model, autoencoder)}
        card += _told(model, autoencoder)
    else:
        raise RunError(f"diffusers has no network like that of this model, {network or game['name']}; it has those of "
                       "game autoencoder with network latent_kl, and of flows with network unet_latent without labels "
                       "and texts. Export it without --format diffusers")
    try:
        if folder.exists() and any(folder.iterdir()):
            raise RunError(f"{folder} is not empty; choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
        for name, (config, state) in components.items():
            (folder / name).mkdir(exist_ok=True)
            write_atomic(folder / name / f"{diffusers.WEIGHTS}.safetensors", save(state, {"format": "pt"}))
            _write_json(folder / name / "config.json", config)
        if "unet" in components:
            (folder / "scheduler").mkdir()
            _write_json(folder / "scheduler" / "scheduler_config.json", {
                "_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": VERSION,
                "num_train_timesteps": 1000, "shift": float(game.get("shift", 1.0))})
        (folder / "README.md").write_text(card, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write to {folder} ({error.strerror or error}); choose another --out") from error


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _keys(model: Model) -> dict[str, Any]:
    """The arguments of a model's network."""
    return {name: value for name, value in model.config["game"]["network"].items() if name != "name"}


def _autoencoder(model: Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(config, state) of an AutoencoderKL."""
    latents, (height, width, channels) = model.config["game"].get("latents", 8), image_shape(model.spec)
    net = latent_kl.Encoder(latents=latents, dtype="float32", **_keys(model))
    own = model.weights["autoencoder"]
    state = {key: value for side in ("encoder", "decoder") for key, value in tensors.stored(own[side]["kl"]).items()}
    levels = len(net.widths)
    return {"_class_name": "AutoencoderKL", "_diffusers_version": VERSION, "in_channels": channels,
            "out_channels": channels, "latent_channels": latents, "block_out_channels": list(net.widths),
            "layers_per_block": net.blocks, "norm_num_groups": net.groups, "mid_block_add_attention": net.attention,
            "down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels,
            "use_quant_conv": False, "use_post_quant_conv": False, "scaling_factor": 1.0,
            "sample_size": max(height, width), "act_fn": "silu", "force_upcast": False}, state


def _unet(model: Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(config, state) of a UNet2DConditionModel."""
    height, width, channels = _place(model)
    net = unet_latent.Denoiser(channels=channels, dtype="float32", **_keys(model))
    kinds = ["CrossAttn" if layers else "" for layers in net.layers]
    return {"_class_name": "UNet2DConditionModel", "_diffusers_version": VERSION, "sample_size": [height, width],
            "in_channels": channels, "out_channels": channels, "block_out_channels": list(net.widths),
            "layers_per_block": net.blocks, "norm_num_groups": net.groups, "norm_eps": 1e-5, "act_fn": "silu",
            "cross_attention_dim": unet_latent.NOTHING, "attention_head_dim": [net.heads] * len(net.widths),
            "transformer_layers_per_block": [max(1, layers) for layers in net.layers], "use_linear_projection": True,
            "down_block_types": [f"{kind}DownBlock2D" for kind in kinds],
            "up_block_types": [f"{kind}UpBlock2D" for kind in reversed(kinds)],
            "mid_block_type": "UNetMidBlock2DCrossAttn", "flip_sin_to_cos": True, "freq_shift": 0,
            "downsample_padding": 1}, tensors.stored(model.weights["flow"]["network"]["unet"])


def _latents(model: Model, autoencoder: Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(config, state) of the autoencoder of a flow, with the mean and deviation of each channel of its latents."""
    if autoencoder.config["game"].get("network", {}).get("name") != "latent_kl":
        raise RunError("the flow takes place in the latents of an autoencoder that diffusers has no network like; it "
                       "has that of network latent_kl")
    config, state = _autoencoder(autoencoder)
    measured = {name: np.asarray(value, np.float64) for name, value in model.weights["latents"].items()}
    deviation = np.sqrt(np.maximum(measured["square"] - measured["mean"] ** 2, LEAST**2))
    return {**config, "latents_mean": measured["mean"].tolist(), "latents_std": deviation.tolist()}, state


def _place(model: Model) -> tuple[int, ...]:
    """(height, width, channels) of where a flow takes place."""
    return jax.eval_shape(lambda key: model.generator.prior(key, 1, None), jax.random.key(0)).shape[1:]


def _told(model: Model, autoencoder: Model | None) -> str:
    height, width, channels = _place(model)
    classes = ["FlowMatchEulerDiscreteScheduler", "UNet2DConditionModel"]
    classes = classes if autoencoder is None else ["AutoencoderKL", *classes]
    end = "picture = z.clamp(-1, 1)" if autoencoder is None else (
        'vae = AutoencoderKL.from_pretrained("FOLDER/vae")\n'
        'mean, std = (torch.tensor(vae.config[f"latents_{name}"]).reshape(1, -1, 1, 1) for name in ("mean", "std"))\n'
        "picture = vae.decode(z * std + mean).sample.clamp(-1, 1)")
    return FLOW.format(classes=", ".join(classes), steps=16, channels=channels, height=height, width=width,
                       nothing=unet_latent.NOTHING, end=end)
