"""Networks from the configs that diffusers and transformers write: every key is understood, or is an error."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax.errors import WeightsError
from imggen_jax.game import PyTree
from imggen_jax.nets.autoencoder_kl import Decoder, Encoder, Shape
from imggen_jax.nets.autoencoder_tiny import TinyDecoder, TinyEncoder
from imggen_jax.nets.clip import ACTIVATIONS, ClipText
from imggen_jax.nets.unet_condition import UNetCondition
from imggen_jax.weights import tensors

ANY = None


class Key(NamedTuple):
    """A key of a config."""

    default: Any
    allowed: tuple[Any, ...] | None = ANY  # None: anything


def only(value: Any) -> Key:
    """A key of what is not supported here, which has to be off."""
    return Key(value, (value,))


CROSS, PLAIN = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D"), ("DownBlock2D", "UpBlock2D")
UNET = {
    "sample_size": Key(64), "in_channels": Key(4), "out_channels": Key(4), "flip_sin_to_cos": Key(True, (True, False)),
    "freq_shift": Key(0), "down_block_types": Key((CROSS[0],) * 3 + (PLAIN[0],)),
    "mid_block_type": only("UNetMidBlock2DCrossAttn"), "up_block_types": Key((PLAIN[1],) + (CROSS[1],) * 3),
    "block_out_channels": Key((320, 640, 1280, 1280)), "layers_per_block": Key(2), "downsample_padding": Key(1),
    "act_fn": Key("silu", ("silu", "swish")), "norm_num_groups": Key(32), "norm_eps": Key(1e-5),
    "cross_attention_dim": Key(1280), "transformer_layers_per_block": Key(1), "attention_head_dim": Key(8),
    "num_attention_heads": Key(None), "use_linear_projection": Key(False), "upcast_attention": Key(False),
    "addition_embed_type": Key(None, (None, "text_time")), "addition_time_embed_dim": Key(None),
    "projection_class_embeddings_input_dim": Key(None), "addition_embed_type_num_heads": Key(64),
    "dropout": Key(0.0), "center_input_sample": only(False), "only_cross_attention": only(False),
    "mid_block_scale_factor": only(1), "reverse_transformer_layers_per_block": only(None),
    "encoder_hid_dim": only(None), "encoder_hid_dim_type": only(None), "dual_cross_attention": only(False),
    "class_embed_type": only(None), "num_class_embeds": only(None), "resnet_time_scale_shift": only("default"),
    "resnet_skip_time_act": only(False), "resnet_out_scale_factor": only(1.0),
    "time_embedding_type": only("positional"), "time_embedding_dim": only(None),
    "time_embedding_act_fn": only(None), "timestep_post_act": only(None), "time_cond_proj_dim": Key(None),
    "conv_in_kernel": only(3), "conv_out_kernel": only(3), "attention_type": only("default"),
    "class_embeddings_concat": only(False), "mid_block_only_cross_attention": only(None),
    "cross_attention_norm": only(None)}
VAE = {
    "in_channels": Key(3), "out_channels": Key(3), "down_block_types": Key(("DownEncoderBlock2D",)),
    "up_block_types": Key(("UpDecoderBlock2D",)), "block_out_channels": Key((64,)), "layers_per_block": Key(1),
    "act_fn": Key("silu", ("silu", "swish")), "latent_channels": Key(4), "norm_num_groups": Key(32),
    "sample_size": Key(32), "scaling_factor": Key(0.18215), "shift_factor": Key(None), "latents_mean": only(None),
    "latents_std": only(None), "force_upcast": Key(True), "use_quant_conv": Key(True, (True, False)),
    "use_post_quant_conv": Key(True, (True, False)), "mid_block_add_attention": Key(True, (True, False))}
TINY = {
    "in_channels": Key(3), "out_channels": Key(3), "encoder_block_out_channels": Key((64,) * 4),
    "decoder_block_out_channels": Key((64,) * 4), "block_out_channels": Key(None), "act_fn": Key("relu", ("relu",)),
    "upsample_fn": Key("nearest", ("nearest",)), "latent_channels": Key(4), "upsampling_scaling_factor": Key(2, (2,)),
    "num_encoder_blocks": Key((1, 3, 3, 3)), "num_decoder_blocks": Key((3, 3, 3, 1)), "latent_magnitude": Key(3),
    "latent_shift": Key(0.5), "force_upcast": Key(False), "scaling_factor": Key(1.0), "shift_factor": Key(0.0)}
# Of training, and of other programs, in configs of transformers.
UNREAD = {name: Key(None) for name in (
    "architectures", "attention_dropout", "bos_token_id", "dropout", "initializer_factor", "initializer_range",
    "pad_token_id", "torch_dtype", "dtype", "transformers_version", "return_dict", "output_hidden_states",
    "output_attentions", "torchscript", "use_cache")}
CLIP = {
    "vocab_size": Key(49408), "hidden_size": Key(512), "intermediate_size": Key(2048), "projection_dim": Key(512),
    "num_hidden_layers": Key(12), "num_attention_heads": Key(8), "max_position_embeddings": Key(77),
    "hidden_act": Key("quick_gelu", tuple(ACTIVATIONS)), "layer_norm_eps": Key(1e-5),
    "model_type": Key("clip_text_model", ("clip_text_model",)), "eos_token_id": Key(49407), **UNREAD}


def checked(config: Mapping[str, Any], keys: Mapping[str, Key], what: str) -> dict[str, Any]:
    """The values of all keys; those that begin with _ are notes.

    Raises:
      WeightsError: a key that is not known, or a value that is not supported.
    """
    for name, value in config.items():
        if name.startswith("_"):
            continue
        if name not in keys:
            raise WeightsError(f"{what}: the key {name} is not understood here")
        allowed = keys[name].allowed
        if allowed is not None and value not in allowed:
            raise WeightsError(f"{what}: {name} is {value!r}; here it can be {' or '.join(map(repr, allowed))}")
    return {name: config.get(name, key.default) for name, key in keys.items()}


class Part(NamedTuple):
    """A network, its parameters as shapes, and what its config says beside."""

    net: nn.Module
    wanted: PyTree
    config: Mapping[str, Any]


def unet(config: Mapping[str, Any], dtype: Any, what: str = "unet/config.json") -> Part:
    """A U-Net of Stable Diffusion 1, 2 or XL. Raises WeightsError for a config that is not understood."""
    keys = checked(config, UNET, what)
    widths = tuple(keys["block_out_channels"])
    crossed = [_one_of(name, (CROSS[0], PLAIN[0]), what) == CROSS[0] for name in keys["down_block_types"]]
    mirrored = [_one_of(name, (CROSS[1], PLAIN[1]), what) == CROSS[1] for name in keys["up_block_types"]]
    if mirrored != crossed[::-1] or len(crossed) != len(widths):
        raise WeightsError(f"{what}: down_block_types, up_block_types and block_out_channels do not fit together")
    # What is called a head's dimension is the number of heads; the name was a mistake that stayed.
    heads = _each(keys["num_attention_heads"] or keys["attention_head_dim"], widths, "attention_head_dim", what)
    layers = _each(keys["transformer_layers_per_block"], widths, "transformer_layers_per_block", what)
    xl = keys["addition_embed_type"] == "text_time"
    net = UNetCondition(
        keys["out_channels"], widths=widths, blocks=_each(keys["layers_per_block"], widths, "layers_per_block", what),
        layers=tuple(n if there else 0 for n, there in zip(layers, crossed)), middle_layers=layers[-1], heads=heads,
        groups=keys["norm_num_groups"], epsilon=keys["norm_eps"], sines_first=not keys["flip_sin_to_cos"],
        shift=keys["freq_shift"], padding=keys["downsample_padding"],
        time_ids=keys["addition_time_embed_dim"] if xl else 0, guided=keys["time_cond_proj_dim"] or 0, dtype=dtype)
    more: tuple[Any, ...] = (None, None)
    if xl:
        vector = keys["projection_class_embeddings_input_dim"] - 6 * keys["addition_time_embed_dim"]
        more = (zeros(1, vector), zeros(1, 6))
    more += (zeros(1),) if net.guided else ()
    side = 2 ** (len(widths) - 1)
    wanted = shapes_of(what, net, zeros(1, side, side, keys["in_channels"]), zeros(1),
                     zeros(1, 1, keys["cross_attention_dim"]), *more)
    return Part(net, wanted, keys)


def autoencoder(config: Mapping[str, Any], dtype: Any, what: str = "vae/config.json",
                known: Mapping[str, Key] = VAE) -> tuple[Part, Part]:
    """(encoder, decoder) of a KL autoencoder, of some known keys. Raises WeightsError for others."""
    keys = checked(config, known, what)
    widths = tuple(keys["block_out_channels"])
    for side, name in (("down", "DownEncoderBlock2D"), ("up", "UpDecoderBlock2D")):
        if tuple(keys[f"{side}_block_types"]) != (name,) * len(widths):
            raise WeightsError(f"{what}: {side}_block_types is {keys[f'{side}_block_types']}; here it can be {name} "
                               f"alone, {len(widths)} times")
    common = (keys["layers_per_block"], keys["norm_num_groups"], keys["mid_block_add_attention"])
    encoder = Encoder(keys["latent_channels"], Shape(widths, *common, keys["use_quant_conv"], dtype))
    others = tuple(keys.get("decoder_block_out_channels") or widths)
    if len(others) != len(widths):
        raise WeightsError(f"{what}: block_out_channels and decoder_block_out_channels are not of one length")
    decoder = Decoder(keys["out_channels"], Shape(others, *common, keys["use_post_quant_conv"], dtype))
    side = 2 ** (len(widths) - 1)
    return (Part(encoder, shapes_of(what, encoder, zeros(1, side, side, keys["in_channels"])), keys),
            Part(decoder, shapes_of(what, decoder, zeros(1, 1, 1, keys["latent_channels"])), keys))


def tiny(config: Mapping[str, Any], dtype: Any, what: str = "vae/config.json") -> tuple[Part, Part]:
    """(encoder, decoder) of a TAESD. Raises WeightsError for a config that is not understood."""
    keys = checked(config, TINY, what)
    sides = []
    for side in ("encoder", "decoder"):
        widths, blocks = tuple(keys[f"{side}_block_out_channels"]), tuple(keys[f"num_{side}_blocks"])
        if len(widths) != len(blocks) or len(set(widths)) != 1:
            raise WeightsError(f"{what}: {side}_block_out_channels and num_{side}_blocks do not fit together; there "
                               "are as many of both, and all widths are one")
        sides.append((widths, blocks))
    (first, second), (third, fourth) = sides
    encoder = TinyEncoder(keys["latent_channels"], first, second, dtype)
    decoder = TinyDecoder(keys["out_channels"], third, fourth, dtype)
    side = 2 ** (len(first) - 1)
    return (Part(encoder, shapes_of(what, encoder, zeros(1, side, side, keys["in_channels"])), keys),
            Part(decoder, shapes_of(what, decoder, zeros(1, 1, 1, keys["latent_channels"])), keys))


def clip(config: Mapping[str, Any], dtype: Any, *, projected: bool, what: str = "text_encoder/config.json") -> Part:
    """A text encoder of CLIP. projected: whether the text's vector is. Raises WeightsError as the others."""
    keys = checked(config, CLIP, what)
    # An end of 2 is an old mistake, and stands for the greatest token.
    end = None if keys["eos_token_id"] == 2 else keys["eos_token_id"]
    net = ClipText(keys["vocab_size"], keys["max_position_embeddings"], keys["hidden_size"], keys["intermediate_size"],
                   keys["num_hidden_layers"], keys["num_attention_heads"], keys["hidden_act"], keys["layer_norm_eps"],
                   keys["projection_dim"] if projected else 0, end, dtype)
    return Part(net, shapes_of(what, net, jax.ShapeDtypeStruct((1, 2), np.int32)), keys)


def zeros(*shape: int) -> jax.ShapeDtypeStruct:
    """A float32 input, as `shapes_of` takes it."""
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def shapes_of(what: str, net: nn.Module, *inputs: Any) -> PyTree:
    """The parameters of a network as shapes. Raises WeightsError, which says `what`, where none can be made."""
    try:
        return tensors.shapes(net, *inputs)
    except (ValueError, TypeError, ZeroDivisionError) as error:  # numbers that do not go together
        raise WeightsError(f"{what}: no network can be made of it ({error})") from error


def _each(value: Any, widths: tuple[int, ...], name: str, what: str) -> tuple[int, ...]:
    """A number for each resolution."""
    each = (value,) * len(widths) if isinstance(value, int) else tuple(value)
    if len(each) != len(widths) or not all(isinstance(one, int) for one in each):
        raise WeightsError(f"{what}: {name} is {value!r}; give a whole number, or one for each of {len(widths)} blocks")
    return each


def _one_of(name: str, known: tuple[str, ...], what: str) -> str:
    if name not in known:
        raise WeightsError(f"{what}: the block {name} is not known here; known are {', '.join(known)}")
    return name
