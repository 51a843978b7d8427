"""The networks of FLUX.2 klein from the configs that diffusers and transformers write."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from imggen_jax.errors import WeightsError
from imggen_jax.nets.autoencoder_kl import LatentNorm
from imggen_jax.nets.flux2 import Flux2
from imggen_jax.nets.qwen3 import Qwen3
from imggen_jax.weights import published
from imggen_jax.weights.published import UNREAD, Key, Part, checked, only, shapes_of, zeros

PATCH = 2      # side of the patches of latents that are one place of the transformer
AXES = 4       # coordinates of a place: which picture, row, column, number in a text
READ = (9, 18, 27)  # layers of Qwen3 that are read
TRANSFORMER = {
    "patch_size": only(1), "in_channels": Key(128), "out_channels": Key(None), "num_layers": Key(8),
    "num_single_layers": Key(48), "attention_head_dim": Key(128), "num_attention_heads": Key(48),
    "joint_attention_dim": Key(15360), "timestep_guidance_channels": Key(256), "mlp_ratio": Key(3.0),
    "axes_dims_rope": Key((32,) * AXES), "rope_theta": Key(2000), "eps": Key(1e-6),
    "guidance_embeds": Key(True, (False,))}
AUTOENCODER = {name: key for name, key in published.VAE.items() if name not in (
    "scaling_factor", "shift_factor", "latents_mean", "latents_std", "force_upcast")} | {
    "block_out_channels": Key((128, 256, 512, 512)), "decoder_block_out_channels": Key(None),
    "layers_per_block": Key(2), "latent_channels": Key(32), "batch_norm_eps": Key(1e-4),
    "batch_norm_momentum": Key(0.1), "patch_size": Key((PATCH, PATCH), ([PATCH, PATCH], (PATCH, PATCH))),
    "down_block_types": Key(("DownEncoderBlock2D",) * 4), "up_block_types": Key(("UpDecoderBlock2D",) * 4)}
QWEN3 = {
    "model_type": Key("qwen3", ("qwen3",)), "vocab_size": Key(151936), "hidden_size": Key(4096),
    "intermediate_size": Key(22016), "num_hidden_layers": Key(32), "num_attention_heads": Key(32),
    "num_key_value_heads": Key(32), "head_dim": Key(128), "hidden_act": only("silu"),
    "max_position_embeddings": Key(32768), "rms_norm_eps": Key(1e-6), "tie_word_embeddings": Key(False),
    "rope_theta": Key(10000.0), "rope_scaling": only(None), "rope_parameters": Key(None), "attention_bias": only(False),
    "use_sliding_window": only(False), "sliding_window": Key(None), "max_window_layers": Key(28),
    "layer_types": Key(None), "eos_token_id": Key(None), **UNREAD}


def transformer(config: Mapping[str, Any], dtype: Any, what: str = "transformer/config.json") -> Part:
    """The transformer. Raises WeightsError for a config that is not understood."""
    keys = checked(config, TRANSFORMER, what)
    axes, head = tuple(keys["axes_dims_rope"]), keys["attention_head_dim"]
    if len(axes) != AXES or sum(axes) != head or any(channels % 2 for channels in axes):
        raise WeightsError(f"{what}: axes_dims_rope is {list(axes)}; here it can be {AXES} even numbers whose sum is "
                           f"attention_head_dim, {head}")
    if keys["guidance_embeds"]:
        raise WeightsError(f"{what}: guidance_embeds is left out, and so on; here it can be False, as of FLUX.2 klein")
    net = Flux2(keys["out_channels"] or keys["in_channels"], keys["num_attention_heads"], head, keys["num_layers"],
                keys["num_single_layers"], keys["mlp_ratio"], axes, float(keys["rope_theta"]),
                keys["timestep_guidance_channels"], keys["eps"], dtype)
    wanted = shapes_of(what, net, zeros(1, 1, keys["in_channels"]), zeros(1), zeros(1, 1, keys["joint_attention_dim"]),
                       zeros(2, AXES))
    return Part(net, wanted, keys)


def autoencoder(config: Mapping[str, Any], dtype: Any, what: str = "vae/config.json") -> dict[str, Part]:
    """Encoder, decoder and the norm of the latents. Raises WeightsError for a config that is not understood."""
    encoder, decoder = published.autoencoder(config, dtype, what, AUTOENCODER)
    norm = LatentNorm(encoder.config["batch_norm_eps"])
    wanted = shapes_of(what, norm, zeros(1, 1, 1, PATCH**2 * encoder.config["latent_channels"]))
    return {"encoder": encoder, "decoder": decoder, "norm": Part(norm, wanted, encoder.config)}


def qwen3(config: Mapping[str, Any], dtype: Any, what: str = "text_encoder/config.json") -> Part:
    """The text encoder, up to the last layer that is read. Raises WeightsError for a config that is not understood."""
    keys = checked(config, QWEN3, what)
    rope = keys["rope_parameters"] or {"rope_theta": keys["rope_theta"]}
    if rope.get("rope_type", "default") != "default" or set(rope) - {"rope_type", "rope_theta"}:
        raise WeightsError(f"{what}: rope_parameters is {rope}; here it can be of the type 'default' alone")
    if set(keys["layer_types"] or ()) - {"full_attention"}:
        raise WeightsError(f"{what}: layer_types has others than full_attention, which alone is known here")
    net = Qwen3(keys["vocab_size"], keys["hidden_size"], keys["intermediate_size"], keys["num_attention_heads"],
                keys["num_key_value_heads"] or keys["num_attention_heads"], keys["head_dim"],
                float(rope["rope_theta"]), keys["rms_norm_eps"], read_of(keys["num_hidden_layers"]), dtype)
    return Part(net, shapes_of(what, net, jax.ShapeDtypeStruct((1, 2), np.int32), jax.ShapeDtypeStruct((1,), np.int32)),
                keys)


def read_of(layers: int) -> tuple[int, ...]:
    """The layers of a text encoder that are read: of the published ones, `READ`; of smaller ones, at the quarters."""
    return READ if layers > READ[-1] else tuple(max(1, layers * part // 4) for part in (1, 2, 3))


def unread(layers: int) -> tuple[str, ...]:
    """Patterns of the tensors of a text encoder that are left out on purpose: layers behind the last one that is read,
    and what a language model has behind them."""
    behind = "|".join(str(number) for number in range(max(read_of(layers)), layers))
    return (r"^lm_head\.", r"^model\.norm\.", *([rf"^model\.layers\.({behind})\."] if behind else []))
