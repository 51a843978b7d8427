"""Convolution: the one module through which every convolution of the project goes.

A convolution y = x * w, its input gradient and its weight gradient are three bilinear maps,

    output(x, w) -> y        input_gradient(y, w) -> x        weight_gradient(x, y) -> w,

each the transpose of another in one argument. So they are three primitives whose derivatives are one another, closed
under differentiation of any order, forward and reverse (an R1 penalty needs the second). On GPU and TPU each lowers to
XLA's own convolution. XLA's CPU backend is several times slower than it need be for some of them, so on CPU each lowers
to the kernels of conv.cc or, where those cannot be built, to a form of XLA's that was measured to be faster. Images are
NHWC, kernels HWIO.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from imggen_jax.nets import native

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
    Raises: ValueError if the channels of x and kernel, or O and groups, do not fit together, or no output is left.
    """
    _check(x, kernel)
    if x.shape[-1] != kernel.shape[2] * groups:
        raise ValueError(f"conv: x has {x.shape[-1]} channels, but kernel {kernel.shape} with groups={groups} takes "
                         f"{kernel.shape[2] * groups}; the kernel must be [kh,kw,channels//groups,features]")
    if kernel.shape[3] % groups:
        raise ValueError(f"conv: {kernel.shape[3]} features cannot be split into groups={groups}; make them divisible")
    x, kernel = _promote(x, kernel)
    strides, window, sides = _pair(strides), _two(kernel.shape[:2]), _two(x.shape[1:3])
    pads = _pads(padding, sides, window, strides)
    if any(n + sum(p) < k for n, p, k in zip(sides, pads, window)):
        raise ValueError(f"conv: a {window} kernel does not fit into a {sides} image with padding {padding}; pad more")
    return output_p.bind(x, kernel, strides=strides, pads=pads, groups=groups)


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
    strides, window = _pair(strides), _two(kernel.shape[:2])
    if padding == "SAME":
        sides = (strides[0] * x.shape[1], strides[1] * x.shape[2])
        pads = _pads(padding, sides, window, strides)
    else:
        pads = _pads(padding, _two(x.shape[1:3]), window, strides)
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
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=module.dtype)
    y = linear(x, kernel)
    return y if bias is None else y + bias


def _check(x: Array, kernel: Array) -> None:
    if x.ndim != 4 or kernel.ndim != 4:
        raise ValueError(f"convolution takes x [B,H,W,C] and kernel [kh,kw,C,O], not {x.shape} and {kernel.shape}")


def _promote(x: Array, kernel: Array) -> tuple[Array, Array]:
    dtype = jnp.promote_types(x.dtype, kernel.dtype)
    return x.astype(dtype), kernel.astype(dtype)


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else _two(value)


def _two(values: Iterable[int]) -> Pair:
    first, second = values
    return first, second


def _pads(padding: Padding, sides: Pair, window: Pair, strides: Pair) -> tuple[Pair, Pair]:
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    if isinstance(padding, str):
        vertical, horizontal = lax.padtype_to_pads(sides, window, strides, padding)
        return _two(vertical), _two(horizontal)
    return _two(padding[0]), _two(padding[1])


# XLA's own convolution, the definition of the three maps. The two gradients are taken by XLA's rule, not written anew.

def _output(x, w, *, strides, pads, groups):
    return lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=LAYOUT, feature_group_count=groups)


def _input_gradient(y, w, *, strides, pads, groups, sides):
    x = jax.ShapeDtypeStruct((y.shape[0], *sides, w.shape[2] * groups), y.dtype)
    return jax.linear_transpose(lambda x: _output(x, w, strides=strides, pads=pads, groups=groups), x)(y)[0]


def _weight_gradient(x, y, *, strides, pads, groups, window):
    w = jax.ShapeDtypeStruct((*window, x.shape[-1] // groups, y.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda w: _output(x, w, strides=strides, pads=pads, groups=groups), w)(y)[0]


# The kernels of conv.cc, compiled on this machine (`native`).

def _native(name, shape, a, b, strides, pads, groups):
    target = native.target(name)
    assert target is not None, "_fits_native"
    call = jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(shape, jnp.float32))
    return call(a, b, strides=np.array(strides), pads=np.array([low for low, _ in pads]), groups=np.int64(groups))


def _fits_native(context: mlir.LoweringRuleContext) -> bool:
    """Known shapes, at most 32 bits, and a program for one device: the partitioner cannot split an unknown call."""
    avals: tuple[Any, ...] = (*context.avals_in, *context.avals_out)  # ShapedArray: a primitive has no others
    devices = getattr(context.module_context.axis_context, "num_devices", 1)  # under pmap the program is a device's own
    return (devices == 1 and all(isinstance(n, int) for aval in avals for n in aval.shape)
            and all(jnp.promote_types(aval.dtype, jnp.float32) == jnp.float32 for aval in avals)
            and native.target("output") is not None)


def _output_native(x, w, *, strides, pads, groups):
    if _pointwise(w.shape[:2], strides, pads, groups):  # a matmul, and XLA's is as fast as any
        return _output_cpu(x, w, strides=strides, pads=pads, groups=groups)
    sides = (1 + (n + sum(p) - k) // s for n, p, k, s in zip(x.shape[1:3], pads, w.shape[:2], strides))
    return _native("output", (x.shape[0], *sides, w.shape[3]), x, w, strides, pads, groups)


def _input_gradient_native(y, w, *, strides, pads, groups, sides):
    if _pointwise(w.shape[:2], strides, pads, groups):
        return _input_gradient_cpu(y, w, strides=strides, pads=pads, groups=groups, sides=sides)
    return _native("input_gradient", (y.shape[0], *sides, w.shape[2] * groups), y, w, strides, pads, groups)


def _weight_gradient_native(x, y, *, strides, pads, groups, window):
    return _native("weight_gradient", (*window, x.shape[3] // groups, y.shape[3]), x, y, strides, pads, groups)


# XLA's operations for CPU. All of them hand XLA convolutions of one group in the plain layout, without dilation, or
# matmuls. Other layouts XLA turns into the plain one outside of loops, but in the body of a `scan` it computes them
# element by element, 50 to 100 times slower (a weight gradient at 14x14, 32 to 32 channels: 23 ms outside, 1,366 ms
# inside).


def _pointwise(window, strides, pads, groups):
    return (window, strides, pads, groups) == ((1, 1), (1, 1), ((0, 0), (0, 0)), 1)


def _output_cpu(x, w, *, strides, pads, groups):
    if _pointwise(w.shape[:2], strides, pads, groups):
        return jnp.einsum("bhwc,co->bhwo", x, w[0, 0])
    # XLA's grouped convolution runs at a tenth of the speed of a dense one. So several groups share a dense one, with
    # zeros between them: at 32 channels each this was faster than at 16 and at 64 (16x16 and 32x32, 4 to 32 a group).
    parts, merged = _merge(groups, x.shape[-1], 32)
    w = _block_diagonal(w, groups, merged)
    ys = [_output(a, b, strides=strides, pads=pads, groups=1)
          for a, b in zip(jnp.split(x, parts, -1), jnp.split(w, parts, -1))]
    return ys[0] if parts == 1 else jnp.concatenate(ys, -1)


def _input_gradient_cpu(y, w, *, strides, pads, groups, sides):
    """One convolution of stride 1 for each phase of the strides, without the zeros of a dilated y.

    Row u = s*q + phase of x lies at s*(q + shift) + r of the padded image and gets sum_m y[q + shift - m] w[s*m + r].
    """
    if _pointwise(w.shape[:2], strides, pads, groups):
        return jnp.einsum("bhwo,co->bhwc", y, w[0, 0])
    kh, kw, c, o = w.shape
    w = w.reshape(kh, kw, c, groups, o // groups).transpose(0, 1, 4, 3, 2).reshape(kh, kw, o // groups, groups * c)
    w = lax.optimization_barrier(w)  # else XLA undoes the transposition, and the layout is not the plain one
    rows = -(-sides[0] // strides[0]), -(-sides[1] // strides[1])

    def phase(axis, p):  # -> the taps of this phase, and the padding of y
        (lo, _), s, n = pads[axis], strides[axis], rows[axis]
        shift, r = divmod(p + lo, s)
        taps = -(-(w.shape[axis] - r) // s)
        return slice(r, None, s), taps, (taps - 1 - shift, n + shift - y.shape[1 + axis])

    def part(i, j):
        (rows_of, th, pad_h), (columns_of, tw, pad_w) = phase(0, i), phase(1, j)
        if th < 1 or tw < 1:  # a kernel smaller than the stride does not reach these pixels
            return jnp.zeros((y.shape[0], *rows, groups * c), y.dtype)
        return _output_cpu(y, w[rows_of, columns_of][::-1, ::-1], strides=(1, 1), pads=(pad_h, pad_w), groups=groups)

    if strides == (1, 1):
        return part(0, 0)
    x = jnp.stack([jnp.stack([part(i, j) for j in range(strides[1])], 3) for i in range(strides[0])], 2)
    x = x.reshape(y.shape[0], rows[0] * strides[0], rows[1] * strides[1], groups * c)
    return x[:, :sides[0], :sides[1]]


def _weight_gradient_cpu(x, y, *, strides, pads, groups, window):
    """The sum over chunks of images, small enough that a chunk and its transpose stay in the cache."""
    B, area = x.shape[0], y.shape[1] * y.shape[2]

    def chunk(least):  # images: the smallest divisor of the batch that is as large; all, if the batch is symbolic
        return next((n for n in range(least, B) if B % n == 0), B) if isinstance(B, int) else B

    if _pointwise(window, strides, pads, groups):
        # Blocks of about 1024 pixels, transposed, take half as long as one matmul at 32x32 in a loop, else as long.
        n = chunk(-(-1024 // area))
        x, y = (v.reshape(B // n, n * area, v.shape[-1]) for v in (x, y))
        return (lax.optimization_barrier(x.swapaxes(1, 2)) @ y).sum(0)[None, None]
    gradient = functools.partial(_weight_gradient_chunk, strides=strides, pads=pads, groups=groups, window=window)
    n = chunk(max(8, 4096 // area))
    if n == B:
        return gradient(x, y)
    # Not the first n images first: a batch sharded over devices stays where it is.
    x, y = (v.reshape(n, B // n, *v.shape[1:]) for v in (x, y))

    def add(i, total):
        return total + gradient(*(lax.dynamic_index_in_dim(v, i, 1, keepdims=False) for v in (x, y)))

    return lax.fori_loop(0, B // n, add, jnp.zeros((*window, x.shape[-1] // groups, y.shape[-1]), x.dtype))


def _weight_gradient_chunk(x, y, *, strides, pads, groups, window):
    """A convolution over x [C,H,W,B] whose kernel is y [H',W',B,O]: its output [C,kh,kw,O] are the taps.

    Space to depth first, so that a stride is 1 and each output pixel a strides*strides block of taps.
    """
    (sh, sw), (B, H, W, C), (_, Ho, Wo, O) = strides, x.shape, y.shape
    th, tw = -(-window[0] // sh), -(-window[1] // sw)
    # XLA gives most convolutions to YNNPACK, which takes 2 to 4 times as long as Eigen where the kernel is as large as
    # here, but not one whose kernel is taller than its image. So the columns are padded here, the rows by the
    # convolution, and y gets rows of zeros below. A kernel larger in area is another matter: XLA would exchange it with
    # the image, and neither library takes that. Then the rows are padded here too.
    Q, left = Wo + tw - 1, pads[1][0]
    above, top = divmod(pads[0][0], sh)
    R = min(-(-(H + top) // sh), Ho + th - 1 - above)
    tall = max(Ho, R + 1)
    if tall * Wo > R * Q:
        above, top, R, tall = 0, pads[0][0], Ho + th - 1, Ho
    x = lax.pad(x, jnp.zeros((), x.dtype),
                [(0, 0, 0), (top, R * sh - top - H, 0), (left, Q * sw - left - W, 0), (0, 0, 0)])
    x = x.reshape(B, R, sh, Q, sw, C).transpose(5, 2, 4, 1, 3, 0).reshape(C, sh * sw, R, Q, B)
    y = jnp.pad(y.transpose(1, 2, 0, 3), ((0, tall - Ho), (0, 0), (0, 0), (0, 0)))
    parts, merged = _merge(groups, C, 16)

    def part(a, b):
        a, b = lax.optimization_barrier((a.reshape(-1, R, Q, B), b))  # else XLA undoes the transpositions
        w = _output(a, b, strides=(1, 1), pads=((above, th - 1 + tall - R - above), (0, 0)), groups=1)
        w = w.reshape(C // parts, sh, sw, th, tw, O // parts).transpose(3, 1, 4, 2, 0, 5)
        return w.reshape(th * sh, tw * sw, C // parts, O // parts)[:window[0], :window[1]]

    w = [part(a, b) for a, b in zip(jnp.split(x, parts, 0), jnp.split(y, parts, -1))]
    return _diagonal_blocks(w[0] if parts == 1 else jnp.concatenate(w, -1), groups, merged)


def _merge(groups: int, channels: int, enough: int) -> Pair:
    """(parts, merged): groups = parts*merged, with `enough` channels in a part if possible, and at most 16 parts."""
    enough = max(enough, channels // 16)
    merged = next(m for m in range(1, groups + 1) if groups % m == 0 and m * channels >= min(enough, channels) * groups)
    return groups // merged, merged


def _block_diagonal(w: Array, groups: int, merged: int) -> Array:
    """[kh,kw,c,O] of `groups` groups -> [kh,kw,merged*c,O] of groups/merged, with zeros off the blocks."""
    if merged == 1:
        return w
    kh, kw, c, O = w.shape
    w = w.reshape(kh, kw, 1, c, groups // merged, merged, O // groups)
    return (w * jnp.eye(merged, dtype=w.dtype)[:, None, None, :, None]).reshape(kh, kw, merged * c, O)


def _diagonal_blocks(w: Array, groups: int, merged: int) -> Array:
    """The transpose of `_block_diagonal`."""
    if merged == 1:
        return w
    kh, kw, c, O = w.shape
    w = w.reshape(kh, kw, merged, c // merged, groups // merged, merged, O // groups)
    return jnp.einsum("hwmcgmo->hwcgmo", w).reshape(kh, kw, c // merged, O)


def slow_convolutions(text: str) -> list[str]:
    """The convolutions of a step lowered for CPU, `jax.jit(step).lower(...).as_text()`, whose form is slow there.

    Fast are those in the plain layout (images NHWC, kernels HWIO), of one group, with neither image nor kernel dilated.
    A weight gradient or the backward of a transposed convolution as XLA writes them is not of that form.
    """
    fast = ("[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]", "lhs_dilate = [1, 1], rhs_dilate = [1, 1]",
            "batch_group_count = 1 ", "feature_group_count = 1 ")
    return [line.strip() for line in text.splitlines()
            if "stablehlo.convolution" in line and not all(mark in line for mark in fast)]


# The primitives.

def _primitive(name: str, general: Callable, cpu: Callable, kernel: Callable) -> Primitive:
    primitive = Primitive(name)
    compiled = functools.lru_cache(maxsize=None)(lambda **params: jax.jit(functools.partial(primitive.bind, **params)))

    def lower_for_cpu(context, a, b, **params):
        avals: tuple[Any, ...] = (*context.avals_in, *context.avals_out)  # ShapedArray: a primitive has no others
        empty = any(isinstance(n, int) and n == 0 for aval in avals for n in aval.shape)
        form = general if empty else kernel if _fits_native(context) else cpu

        def in_float32(a, b, **params):
            dtype = jnp.promote_types(a.dtype, jnp.float32)
            return form(a.astype(dtype), b.astype(dtype), **params).astype(a.dtype)

        return mlir.lower_fun(in_float32, multiple_results=False)(context, a, b, **params)

    primitive.def_impl(lambda a, b, **params: compiled(**params)(a, b))
    mlir.register_lowering(primitive, mlir.lower_fun(general, multiple_results=False))
    mlir.register_lowering(primitive, lower_for_cpu, platform="cpu")
    return primitive


output_p = _primitive("conv_output", _output, _output_cpu, _output_native)
input_gradient_p = _primitive("conv_input_gradient", _input_gradient, _input_gradient_cpu, _input_gradient_native)
weight_gradient_p = _primitive("conv_weight_gradient", _weight_gradient, _weight_gradient_cpu, _weight_gradient_native)


@output_p.def_abstract_eval
def _(x, w, *, strides, pads, groups):
    sides = (1 + (n + sum(p) - k) // s for n, p, k, s in zip(x.shape[1:3], pads, w.shape[:2], strides))
    return ShapedArray((x.shape[0], *sides, w.shape[3]), x.dtype)


@input_gradient_p.def_abstract_eval
def _(y, w, *, strides, pads, groups, sides):
    return ShapedArray((y.shape[0], *sides, w.shape[2] * groups), y.dtype)


@weight_gradient_p.def_abstract_eval
def _(x, y, *, strides, pads, groups, window):
    return ShapedArray((*window, x.shape[3] // groups, y.shape[3]), x.dtype)


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


def _batch(primitive: Primitive, args, dims: tuple[Any, Any], **params):
    """vmap: over images alone the mapped axis joins the batch, otherwise it becomes groups of channels."""
    (a, b), (i, j) = args, dims
    size = a.shape[i] if i is not None else b.shape[j]
    if j is None and primitive is not weight_gradient_p:
        assert i is not None, "vmap maps one of them"
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
