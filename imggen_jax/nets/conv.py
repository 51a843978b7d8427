"""Convolution: the one module through which every convolution of the project goes."""
from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array
DIMS = ("NHWC", "HWIO", "NHWC")


def _pads(padding, inputs, kernel, strides):
    """((lo, hi), (lo, hi)) from "SAME", "VALID", an int or explicit pairs."""
    if isinstance(padding, int):
        return ((padding, padding),) * 2
    if isinstance(padding, str):
        return tuple(lax.padtype_to_pads(inputs, kernel, strides, padding))
    return tuple(tuple(p) for p in padding)


def conv(x: Array, kernel: Array, *, strides=1, padding="SAME", groups: int = 1) -> Array:
    """x [B,H,W,C], kernel [kh,kw,C//groups,O] -> [B,H',W',O]."""
    strides = (strides, strides) if isinstance(strides, int) else tuple(strides)
    pads = _pads(padding, x.shape[1:3], kernel.shape[:2], strides)
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=DIMS, feature_group_count=groups)


def conv_transpose(x: Array, kernel: Array, *, strides=2, padding="SAME") -> Array:
    """x [B,H,W,C], kernel [kh,kw,C,O] -> [B,strides*H,strides*W,O] for "SAME"."""
    strides = (strides, strides) if isinstance(strides, int) else tuple(strides)
    k = kernel.shape[:2]
    if padding == "SAME":
        sides = tuple(s * n for s, n in zip(strides, x.shape[1:3]))
    elif padding == "VALID":
        sides = tuple(s * (n - 1) + m for s, n, m in zip(strides, x.shape[1:3], k))
    else:
        p = _pads(padding, None, None, None)
        sides = tuple(s * (n - 1) + m - sum(q) for s, n, m, q in zip(strides, x.shape[1:3], k, p))
    pads = _pads(padding, sides, k, strides)
    back = tuple((m - 1 - lo, n + lo - 1 - s * (d - 1))
                 for (lo, _), m, n, s, d in zip(pads, k, sides, strides, x.shape[1:3]))
    return lax.conv_general_dilated(x, kernel[::-1, ::-1], (1, 1), back, lhs_dilation=strides, dimension_numbers=DIMS)


class Conv(nn.Module):
    features: int
    kernel_size: Any = 3
    strides: Any = 1
    padding: Any = "SAME"
    groups: int = 1
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Any = nn.initializers.lecun_normal()
    bias_init: Any = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        k = self.kernel_size
        k = (k, k) if isinstance(k, int) else tuple(k)
        kernel = self.param("kernel", self.kernel_init, (*k, x.shape[-1] // self.groups, self.features), jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv(x, kernel, strides=self.strides, padding=self.padding, groups=self.groups)
        return y if bias is None else y + bias


class ConvTranspose(nn.Module):
    features: int
    kernel_size: Any = 4
    strides: Any = 2
    padding: Any = "SAME"
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Any = nn.initializers.lecun_normal()
    bias_init: Any = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        k = self.kernel_size
        k = (k, k) if isinstance(k, int) else tuple(k)
        kernel = self.param("kernel", self.kernel_init, (*k, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv_transpose(x, kernel, strides=self.strides, padding=self.padding)
        return y if bias is None else y + bias
