"""The transformer of FLUX.2 (bfl.ai/blog/flux-2): places of a picture and tokens of a text, first in two streams that
attend to one another (MMDiT, arXiv 2403.03206), then in one; diffusers' Flux2Transformer2DModel.

All blocks of a kind share one modulation. In the single stream, attention and dense layers stand side by side (ViT-22B,
arXiv 2302.05442). Parameters are named as in the weight files that diffusers writes.
"""
from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.attention import attend
from imggen_jax.nets.latent_blocks import RmsNorm, normalized, sinusoids
from imggen_jax.nets.transformer import turn, wide

Array = jax.Array
Modulation = list[Array]  # shift, scale and gate of one part of a block, or of two, each [B,1,width]


class Flux2(nn.Module):
    """Noisy latents of a picture, further pictures' latents, a time and a text to a velocity.

    Attributes:
      out_channels: of the result.
      heads, head: how many heads attention has, and their channels; the width is their product.
      double, single: blocks of two streams and of one.
      ratio: width of dense layers over the width.
      axes: channels of a head that turn with each of a place's coordinates; even, and of sum `head`.
      theta: base of their frequencies.
      waves: channels of the time's sines and cosines.
      epsilon: of the normalization.
      dtype: of the computations; the result is float32.
    """

    out_channels: int
    heads: int
    head: int
    double: int
    single: int
    ratio: float
    axes: tuple[int, ...]
    theta: float
    waves: int
    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, time: Array, text: Array, places: Array) -> Array:
        """Predict.

        Args:
          x: float [B,N,any channels], latents of all places.
          time: float [B], from 1, noise, to 0, picture.
          text: float [B,T,any width].
          places: [T+N,len(axes)], coordinates of the tokens and then of the places.

        Returns:
          float32 [B,N,out_channels].
        """
        width, tokens = self.heads * self.head, text.shape[1]
        c = self._dense(width, "time_guidance_embed.timestep_embedder.linear_1")(
            sinusoids(1000 * time, self.waves).astype(self.dtype))
        c = nn.silu(self._dense(width, "time_guidance_embed.timestep_embedder.linear_2")(nn.silu(c)))[:, None]
        drawn, said, both = (jnp.split(self._dense(3 * parts * width, f"{name}.linear")(c), 3 * parts, axis=-1)
                             for name, parts in (("double_stream_modulation_img", 2),
                                                 ("double_stream_modulation_txt", 2), ("single_stream_modulation", 1)))
        angles = self._angles(places)
        x = self._dense(width, "x_embedder")(x.astype(self.dtype))
        y = self._dense(width, "context_embedder")(text.astype(self.dtype))
        for i in range(self.double):
            x, y = self._apart(x, y, drawn, said, angles, f"transformer_blocks.{i}")
        x = jnp.concatenate([y, x], axis=1)
        for i in range(self.single):
            x = self._together(x, both, angles, f"single_transformer_blocks.{i}.attn")
        scale, shift = jnp.split(self._dense(2 * width, "norm_out.linear")(c), 2, axis=-1)
        return wide(self._dense(self.out_channels, "proj_out")(self._moved(x[:, tokens:], shift, scale)))

    def _apart(self, x: Array, y: Array, drawn: Modulation, said: Modulation, angles: Array, place: str
               ) -> tuple[Array, Array]:
        """A block of two streams: the picture's x [B,N,width] and the text's y [B,T,width]."""
        heads = [self._heads(self._moved(each, *its[:2]), f"{place}.attn", names) for each, its, names in (
            (y, said, ("add_q_proj", "add_k_proj", "add_v_proj", "norm_added_q", "norm_added_k")),
            (x, drawn, ("to_q", "to_k", "to_v", "norm_q", "norm_k")))]
        q, k, v = (jnp.concatenate(each, axis=1) for each in zip(*heads))
        seen = self._attend(q, k, v, angles)
        width = x.shape[-1]
        y = y + said[2] * self._dense(width, f"{place}.attn.to_add_out")(seen[:, :y.shape[1]])
        x = x + drawn[2] * self._dense(width, f"{place}.attn.to_out.0")(seen[:, y.shape[1]:])
        return self._fed(x, drawn[3:], f"{place}.ff"), self._fed(y, said[3:], f"{place}.ff_context")

    def _fed(self, x: Array, modulation: Modulation, place: str) -> Array:
        """Dense layers with a gate (SwiGLU, arXiv 2002.05202), added to x."""
        shift, scale, gate = modulation
        inner = int(x.shape[-1] * self.ratio)
        y = _gated(self._dense(2 * inner, f"{place}.linear_in")(self._moved(x, shift, scale)))
        return x + gate * self._dense(x.shape[-1], f"{place}.linear_out")(y)

    def _together(self, x: Array, modulation: Modulation, angles: Array, place: str) -> Array:
        """A block of one stream, text before picture."""
        shift, scale, gate = modulation
        width = x.shape[-1]
        inner = int(width * self.ratio)
        made = self._dense(3 * width + 2 * inner, f"{place}.to_qkv_mlp_proj")(self._moved(x, shift, scale))
        q, k, v, fed = jnp.split(made, [width, 2 * width, 3 * width], axis=-1)
        q, k = (self._norm(f"{place}.norm_{name}")(self._split(each)) for name, each in (("q", q), ("k", k)))
        both = jnp.concatenate([self._attend(q, k, self._split(v), angles), _gated(fed)], axis=-1)
        return x + gate * self._dense(width, f"{place}.to_out")(both)

    def _heads(self, x: Array, place: str, names: tuple[str, ...]) -> tuple[Array, Array, Array]:
        """Queries, keys and values [B,N,heads,head]; the former normalized."""
        q, k, v = (self._split(self._dense(x.shape[-1], f"{place}.{name}")(x)) for name in names[:3])
        return self._norm(f"{place}.{names[3]}")(q), self._norm(f"{place}.{names[4]}")(k), v

    def _attend(self, q: Array, k: Array, v: Array, angles: Array) -> Array:
        """[B,N,heads,head] -> [B,N,width]."""
        q, k = (turn(wide(each), angles).astype(self.dtype) for each in (q, k))
        return attend(q, k, v).reshape(*q.shape[:2], -1)

    def _angles(self, places: Array) -> Array:
        """How far each pair of channels turns: float32 [T+N,head/2]."""
        each = [places[:, i, None].astype(float) * self.theta ** -(jnp.arange(0, channels, 2) / channels)
                for i, channels in enumerate(self.axes)]
        return jnp.concatenate(each, axis=-1)

    def _moved(self, x: Array, shift: Array, scale: Array) -> Array:
        return normalized(x, self.epsilon).astype(self.dtype) * (1 + scale) + shift

    def _split(self, x: Array) -> Array:
        return x.reshape(*x.shape[:2], self.heads, self.head)

    def _norm(self, name: str) -> RmsNorm:
        return RmsNorm(self.epsilon, name=name)

    def _dense(self, features: int, name: str) -> nn.Dense:
        return nn.Dense(features, use_bias=False, dtype=self.dtype, name=name)


def _gated(x: Array) -> Array:
    gate, value = jnp.split(x, 2, axis=-1)
    return nn.silu(gate) * value
