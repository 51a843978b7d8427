"""Convolution: the one module through which every convolution of the project goes.

A convolution y = x * w, its input gradient and its weight gradient are three bilinear maps,

    output(x, w) -> y        input_gradient(y, w) -> x        weight_gradient(x, y) -> w,

each the transpose of another in one argument. So they are three primitives whose derivatives are one another, closed
under differentiation of any order, forward and reverse (an R1 penalty needs the second). On GPU and TPU each lowers to
XLA's own convolution. XLA's CPU backend is several times slower than it need be for some of them, so on CPU each lowers
to a form that was measured to be faster; the reason stands over each. Images are NHWC, kernels HWIO.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Array = jax.Array
Pair = tuple[int, int]
Padding = str | int | tuple[Pair, Pair]
LAYOUT = ("NHWC", "HWIO", "NHWC")


# The public functions.

def conv(x: Array, kernel: Array, *, strides: int | Pair = 1, padding: Padding = "SAME", groups: int = 1) -> Array:
    """Convolution (cross-correlation, as everywhere in deep learning).

    Args:
      x: [B,H,W,C], float.
      kernel: [kh,kw,C//groups,O], float; O is divisible by groups. The two dtypes are promoted to a common one.
      strides: one number or (vertical, horizontal).
      padding: "SAME" (output side ceil(side/strides)), "VALID" (none), a number of pixels on every side, or
        ((top, bottom), (left, right)).
      groups: the channels are split into so many groups, and the i-th group of outputs sees the i-th of inputs alone.

    Returns: [B,H',W',O].
    Raises: ValueError if the channels of x and kernel, or O and groups, do not fit together.
    """
    _check(x, kernel)
    if x.shape[-1] != kernel.shape[2] * groups:
        raise ValueError(f"conv: x has {x.shape[-1]} channels, but kernel {kernel.shape} with groups={groups} takes "
                         f"{kernel.shape[2] * groups}; the kernel must be [kh,kw,channels//groups,features]")
    if kernel.shape[3] % groups:
        raise ValueError(f"conv: {kernel.shape[3]} features cannot be split into groups={groups}; make them divisible")
    x, kernel = _promote(x, kernel)
    strides = _pair(strides)
    sides = x.shape[1:3]
    return output_p.bind(x, kernel, strides=strides, pads=_pads(padding, sides, kernel.shape[:2], strides), groups=groups)


def conv_transpose(x: Array, kernel: Array, *, strides: int | Pair = 2, padding: Padding = "SAME") -> Array:
    """Transposed convolution: the input gradient of the convolution with these strides and this padding.

    Args:
      x: [B,H,W,C], float.
      kernel: [kh,kw,C,O], float; not flipped, so out[strides*h + i - top] += x[h] @ kernel[i].
      strides: one number or (vertical, horizontal).
      padding: of the convolution that it transposes. Output side: strides*side for "SAME", (side-1)*strides + k for
        "VALID", less the pixels given otherwise.

    Returns: [B,H',W',O].
    Raises: ValueError if the channels of x and kernel do not fit together, or the output would be empty.
    """
    _check(x, kernel)
    if x.shape[-1] != kernel.shape[2]:
        raise ValueError(f"conv_transpose: x has {x.shape[-1]} channels, but kernel {kernel.shape} takes "
                         f"{kernel.shape[2]}; the kernel must be [kh,kw,channels,features]")
    x, kernel = _promote(x, kernel)
    strides, window = _pair(strides), kernel.shape[:2]
    if padding == "SAME":
        sides = tuple(s * n for s, n in zip(strides, x.shape[1:3]))
        pads = _pads(padding, sides, window, strides)
    else:
        pads = _pads(padding, x.shape[1:3], window, strides)
        sides = tuple(s * (n - 1) + k - sum(p) for s, n, k, p in zip(strides, x.shape[1:3], window, pads))
    if min(sides) < 1:
        raise ValueError(f"conv_transpose: padding {padding} leaves no pixel of a {x.shape[1:3]} image; pad less")
    return input_gradient_p.bind(x, jnp.swapaxes(kernel, 2, 3), strides=strides, pads=pads, groups=1, sides=sides)


class Conv(nn.Module):
    """`conv` with parameters kernel [kh,kw,C//groups,features] and bias [features], float32; computes in dtype."""

    features: int
    kernel_size: int | Pair = 3
    strides: int | Pair = 1
    padding: Padding = "SAME"
    groups: int = 1
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (*_pair(self.kernel_size), x.shape[-1] // self.groups, self.features)
        return _affine(self, x, shape, functools.partial(
            conv, strides=self.strides, padding=self.padding, groups=self.groups))


class ConvTranspose(nn.Module):
    """`conv_transpose` with parameters kernel [kh,kw,C,features] and bias [features], float32; computes in dtype."""

    features: int
    kernel_size: int | Pair = 4
    strides: int | Pair = 2
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (*_pair(self.kernel_size), x.shape[-1], self.features)
        return _affine(self, x, shape, functools.partial(conv_transpose, strides=self.strides, padding=self.padding))


def _affine(module: nn.Module, x: Array, shape: tuple[int, ...], linear: Callable) -> Array:
    kernel = module.param("kernel", module.kernel_init, shape, jnp.float32)
    bias = module.param("bias", module.bias_init, shape[-1:], jnp.float32) if module.use_bias else None
    x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=module.dtype)
    y = linear(x, kernel)
    return y if bias is None else y + bias


def _check(x: Array, kernel: Array) -> None:
    if x.ndim != 4 or kernel.ndim != 4:
        raise ValueError(f"convolution takes x [B,H,W,C] and kernel [kh,kw,C,O], not {x.shape} and {kernel.shape}")


def _promote(x: Array, kernel: Array) -> tuple[Array, Array]:
    dtype = jnp.promote_types(x.dtype, kernel.dtype)
    return x.astype(dtype), kernel.astype(dtype)


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else tuple(value)


def _pads(padding: Padding, sides: Pair, window: Pair, strides: Pair) -> tuple[Pair, Pair]:
    if isinstance(padding, int):
        return ((padding, padding),) * 2
    if isinstance(padding, str):
        return tuple(lax.padtype_to_pads(sides, window, strides, padding))
    return tuple(tuple(p) for p in padding)


# XLA's own convolution, the definition of the three maps. The two gradients are taken by XLA's rule, not written anew.

def _output(x, w, *, strides, pads, groups):
    return lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=LAYOUT, feature_group_count=groups)


def _input_gradient(y, w, *, strides, pads, groups, sides):
    x = jax.ShapeDtypeStruct((y.shape[0], *sides, w.shape[2] * groups), y.dtype)
    return jax.linear_transpose(lambda x: _output(x, w, strides=strides, pads=pads, groups=groups), x)(y)[0]


def _weight_gradient(x, y, *, strides, pads, groups, window):
    w = jax.ShapeDtypeStruct((*window, x.shape[-1] // groups, y.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda w: _output(x, w, strides=strides, pads=pads, groups=groups), w)(y)[0]


# The forms for CPU.

def _pointwise(w_shape, strides, pads, groups):
    return w_shape[:2] == (1, 1) and strides == (1, 1) and pads == ((0, 0), (0, 0)) and groups == 1


def _output_cpu(x, w, *, strides, pads, groups):
    if _pointwise(w.shape, strides, pads, groups):
        return jnp.einsum("bhwc,co->bhwo", x, w[0, 0])
    return _output(x, w, strides=strides, pads=pads, groups=groups)


def _input_gradient_cpu(y, w, *, strides, pads, groups, sides):
    if _pointwise(w.shape, strides, pads, groups):
        return jnp.einsum("bhwo,co->bhwc", y, w[0, 0])
    return _phases(y, w, strides, pads, groups, sides)


def _weight_gradient_cpu(x, y, *, strides, pads, groups, window):
    if _pointwise(window, strides, pads, groups):
        return jnp.einsum("bhwc,bhwo->co", x, y)[None, None]
    return _taps(x, y, strides, pads, groups, window)


# Both gradients are written with convolutions in the plain layout and with matmuls only. XLA turns other layouts into
# the plain one outside of loops, but not in the body of a `scan`, where they run 50 to 100 times slower (measured: the
# weight gradient at 14x14, 32 to 32 channels, 23 ms outside and 1,366 ms inside).

def _phases(y, w, strides, pads, groups, sides):
    """The input gradient as a convolution of stride 1, without the zeros of a dilated y.

    Row u of x lies at v = u + top = s*q + r of the padded image and gets sum_m y[q-m] w[s*m + r]: a convolution of stride
    1 whose s phases r are channels, then depth to space.
    """
    (sh, sw), g, (C, O), (B, Ho, Wo, _) = strides, groups, w.shape[2:], y.shape
    th, tw = -(-w.shape[0] // sh), -(-w.shape[1] // sw)
    w = jnp.pad(w, ((0, th * sh - w.shape[0]), (0, tw * sw - w.shape[1]), (0, 0), (0, 0)))
    w = w.reshape(th, sh, tw, sw, C, g, O // g)[::-1, :, ::-1].transpose(0, 2, 6, 5, 1, 3, 4)
    w = lax.optimization_barrier(w.reshape(th, tw, O // g, g * sh * sw * C))  # else XLA undoes the transposition
    first = [lo // s for (lo, _), s in zip(pads, strides)]
    last = [-(-(n + lo) // s) for (lo, _), s, n in zip(pads, strides, sides)]
    z = _output(y, w, strides=(1, 1), groups=g,
                pads=[(t - 1 - a, b - n) for t, a, b, n in zip((th, tw), first, last, (Ho, Wo))])
    H, W = z.shape[1:3]
    x = z.reshape(B, H, W, g, sh, sw, C).transpose(0, 1, 4, 2, 5, 3, 6).reshape(B, H * sh, W * sw, g * C)
    top, left = (lo - s * a for (lo, _), s, a in zip(pads, strides, first))
    return x[:, top:top + sides[0], left:left + sides[1]]


def _taps(x, y, strides, pads, groups, window):
    """The weight gradient as one matmul per chunk of images and group, its taps split between the operands.

    Space to depth first, which leaves stride 1 and t = ceil(k/s) taps a side. The full patches of x would be t*t copies;
    instead the t horizontal taps are t shifted copies of x, the t vertical ones t shifted copies of y.
    """
    (sh, sw), g, (B, H, W, C), (_, Ho, Wo, O) = strides, groups, x.shape, y.shape
    th, tw = -(-window[0] // sh), -(-window[1] // sw)
    c, o = C // g, O // g
    n = math.gcd(B, max(1, 2048 // (Ho * Wo)))
    fill = [(lo, (m + t - 1) * s - lo - side, 0)
            for (lo, _), m, t, s, side in zip(pads, (Ho, Wo), (th, tw), strides, (H, W))]

    def chunk(i, total):
        a = lax.dynamic_index_in_dim(x.reshape(n, B // n, H, W, C), i, 1, keepdims=False)
        b = lax.dynamic_index_in_dim(y.reshape(n, B // n, Ho, Wo, O), i, 1, keepdims=False)
        a = lax.pad(a, jnp.zeros((), x.dtype), [(0, 0, 0), *fill, (0, 0, 0)])
        a = a.reshape(n, Ho + th - 1, sh, Wo + tw - 1, sw, g, c).transpose(5, 0, 1, 3, 2, 4, 6)
        a = a.reshape(g, n, Ho + th - 1, Wo + tw - 1, sh * sw * c)
        a = jnp.concatenate([a[..., j:j + Wo, :] for j in range(tw)], -1).reshape(g, -1, tw * sh * sw * c)
        b = b.reshape(n, Ho, Wo, g, o).transpose(3, 0, 1, 2, 4)
        b = jnp.concatenate(
            [jnp.pad(b, ((0, 0), (0, 0), (i, th - 1 - i), (0, 0), (0, 0))) for i in range(th)], -1)
        b = lax.optimization_barrier(b.reshape(g, -1, th * o).swapaxes(1, 2))
        return total + jnp.matmul(b, a, preferred_element_type=jnp.float32)

    total = jnp.zeros((g, th * o, tw * sh * sw * c), jnp.float32)
    w = lax.fori_loop(0, B // n, chunk, total).astype(x.dtype)
    w = w.reshape(g, th, o, tw, sh, sw, c).transpose(1, 4, 3, 5, 6, 0, 2).reshape(th * sh, tw * sw, c, O)
    return w[:window[0], :window[1]]


# The primitives.

def _primitive(name: str, general: Callable, cpu: Callable) -> Primitive:
    primitive = Primitive(name)
    compiled = functools.lru_cache(maxsize=None)(lambda **params: jax.jit(functools.partial(primitive.bind, **params)))
    primitive.def_impl(lambda a, b, **params: compiled(**params)(a, b))
    mlir.register_lowering(primitive, mlir.lower_fun(general, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(cpu, multiple_results=False), platform="cpu")
    return primitive


output_p = _primitive("conv_output", _output, _output_cpu)
input_gradient_p = _primitive("conv_input_gradient", _input_gradient, _input_gradient_cpu)
weight_gradient_p = _primitive("conv_weight_gradient", _weight_gradient, _weight_gradient_cpu)


@output_p.def_abstract_eval
def _(x, w, *, strides, pads, groups):
    sides = (1 + (n + sum(p) - k) // s for n, p, k, s in zip(x.shape[1:3], pads, w.shape[:2], strides))
    return jax.core.ShapedArray((x.shape[0], *sides, w.shape[3]), x.dtype)


@input_gradient_p.def_abstract_eval
def _(y, w, *, strides, pads, groups, sides):
    return jax.core.ShapedArray((y.shape[0], *sides, w.shape[2] * groups), y.dtype)


@weight_gradient_p.def_abstract_eval
def _(x, y, *, strides, pads, groups, window):
    return jax.core.ShapedArray((*window, x.shape[3] // groups, y.shape[3]), x.dtype)


# Transposes: (cotangent, x, w, **params) -> the cotangent of the first, then of the second argument.
ad.defbilinear(
    output_p,
    lambda ct, x, w, **p: input_gradient_p.bind(ct, w, sides=x.aval.shape[1:3], **p),
    lambda ct, x, w, **p: weight_gradient_p.bind(x, ct, window=w.aval.shape[:2], **p))
ad.defbilinear(
    input_gradient_p,
    lambda ct, y, w, sides, **p: output_p.bind(ct, w, **p),
    lambda ct, y, w, sides, **p: weight_gradient_p.bind(ct, y, window=w.aval.shape[:2], **p))
ad.defbilinear(
    weight_gradient_p,
    lambda ct, x, y, window, **p: input_gradient_p.bind(y, ct, sides=x.aval.shape[1:3], **p),
    lambda ct, x, y, window, **p: output_p.bind(x, ct, **p))


def _batch(primitive: Primitive, args, dims, **params):
    """vmap: over images alone the mapped axis joins the batch, otherwise it becomes groups of channels."""
    (a, b), (i, j) = args, dims
    size = a.shape[i] if i is not None else b.shape[j]
    if j is None and primitive is not weight_gradient_p:
        a = jnp.moveaxis(a, i, 0)
        out = primitive.bind(a.reshape(-1, *a.shape[2:]), b, **params)
        return out.reshape(size, -1, *out.shape[1:]), 0

    def join(v, axis):
        v = jnp.broadcast_to(v[..., None, :], (*v.shape[:-1], size, v.shape[-1])) if axis is None else (
            jnp.moveaxis(v, axis, -2))
        return v.reshape(*v.shape[:-2], -1)

    out = primitive.bind(join(a, i), join(b, j), **{**params, "groups": params["groups"] * size})
    return out.reshape(*out.shape[:-1], size, -1), out.ndim - 1


for _p in (output_p, input_gradient_p, weight_gradient_p):
    batching.primitive_batchers[_p] = functools.partial(_batch, _p)
