"""Convolution: every derivative against XLA's own, the same lowering off the CPU, and every transformation of JAX."""
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from imggen_jax.nets import native
from imggen_jax.nets.conv import Conv, ConvTranspose, conv, conv_transpose, slow_convolutions


@pytest.fixture(params=["native", "xla"], scope="module", autouse=True)
def form(request):
    """Every test is run on the kernels of conv.cc and on the forms of XLA's that stand in for them."""
    if request.param == "native" and native.target("output") is None:
        pytest.skip("there is no C++ compiler")
    jax.clear_caches()  # programs of the other form
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "xla":
            patch.setattr(native, "target", lambda name: None)
        yield request.param
    jax.clear_caches()


def lax_conv(x, kernel, *, strides=1, padding="SAME", groups=1):
    strides = (strides, strides) if isinstance(strides, int) else strides
    padding = ((padding, padding),) * 2 if isinstance(padding, int) else padding
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"),
                                    feature_group_count=groups)


def draw(*shape, seed=0, dtype="float32"):
    return jax.random.normal(jax.random.key(seed), shape).astype(dtype)


def derivatives(f, x, kernel):
    """Value, gradients, the gradients of an R1-like penalty (second derivatives) and a forward derivative."""
    def loss(x, k):
        return jnp.sum(jnp.sin(f(x, k).astype(jnp.float32)))

    def penalty(x, k):
        return sum(jnp.sum(g.astype(jnp.float32) ** 2) for g in jax.grad(loss, (0, 1))(x, k))

    return jax.jit(lambda x, k: (f(x, k), jax.grad(loss, (0, 1))(x, k), jax.grad(penalty, (0, 1))(x, k),
                                 jax.jvp(f, (x, k), (jnp.cos(x), jnp.cos(k)))[1]))(x, kernel)


def assert_close(ours, theirs, tolerance=2e-5):
    """Relative to the largest value of each array."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(np.abs(b).max(), 1e-6))


def others(*case):
    """Cases of the kind of another one: left to `make test-all`."""
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.mark.parametrize("images, sides, channels, features, kernel, options", [
    (2, (8, 8), 3, 5, (3, 3), dict()),
    others(2, (7, 9), 4, 4, (3, 3), dict(strides=2)),
    (2, (8, 10), 3, 6, (4, 4), dict(strides=2)),
    others(2, (9, 9), 3, 4, (4, 4), dict(strides=2, padding=1)),
    (2, (11, 8), 2, 3, (5, 5), dict(strides=3)),
    others(2, (9, 7), 4, 2, (3, 3), dict(strides=3, padding="VALID")),
    (2, (8, 7), 3, 4, (2, 2), dict(strides=3)),                       # pixels that the kernel does not reach
    (2, (6, 6), 5, 7, (1, 1), dict()),
    others(2, (7, 6), 4, 3, (1, 1), dict(strides=2)),
    (2, (6, 5), 4, 3, (1, 1), dict(padding=2)),
    (2, (5, 6), 3, 4, (5, 5), dict(padding=4)),                       # the output is larger than the input
    (2, (6, 9), 3, 4, (2, 5), dict(strides=(1, 2), padding=((0, 3), (2, 1)))),
    others(2, (4, 4), 6, 4, (4, 4), dict(padding="VALID")),
    others(2, (6, 6), 8, 12, (3, 3), dict(groups=2)),
    (2, (6, 6), 64, 64, (3, 3), dict(groups=4)),                      # dense blocks of several groups
    (2, (7, 7), 6, 6, (3, 3), dict(groups=6, strides=2)),
    (2, (4, 4), 8, 8, (4, 4), dict(groups=8, padding="VALID")),
    others(2, (5, 5), 4, 8, (1, 1), dict(groups=4)),
])
def test_every_derivative_agrees_with_lax(images, sides, channels, features, kernel, options):
    x = draw(images, *sides, channels)
    w = draw(*kernel, channels // options.get("groups", 1), features, seed=1) / kernel[0]
    assert_close(derivatives(functools.partial(conv, **options), x, w),
                 derivatives(functools.partial(lax_conv, **options), x, w))


def weight_gradient(conv, y, x, kernel, **options):
    """Of sum(y * conv(x, kernel))."""
    return jax.linear_transpose(lambda w: conv(x, w, **options), kernel)(y)[0]


@pytest.mark.parametrize("images, sides, kernel, options", [
    (16, (24, 24), 3, dict()), (16, (48, 46), 4, dict(strides=2)), (3, (24, 32), 1, dict()), (13, (24, 24), 3, dict()),
])
def test_the_weight_gradient_of_many_pixels_goes_by_chunks(images, sides, kernel, options):
    x, w = draw(images, *sides, 2), draw(kernel, kernel, 2, 3, seed=1)
    y = jnp.sin(lax_conv(x, w, **options))
    ours, theirs = (jax.jit(functools.partial(weight_gradient, f, **options))(y, x, w) for f in (conv, lax_conv))
    assert_close(ours, theirs)


@pytest.mark.parametrize("kernel, options", [(3, dict()), (4, dict(strides=2)), (1, dict()), (3, dict(groups=2))])
def test_bfloat16_stays_bfloat16_and_agrees(kernel, options):
    x, w = draw(2, 8, 8, 4, dtype="bfloat16"), draw(kernel, kernel, 4 // options.get("groups", 1), 4, seed=1)
    ours = derivatives(functools.partial(conv, **options), x, w.astype(x.dtype))
    exact = derivatives(functools.partial(lax_conv, **options), x.astype("float32"),
                        w.astype(x.dtype).astype("float32"))
    assert {a.dtype.name for a in jax.tree.leaves(ours)} == {"bfloat16"}
    assert_close(jax.tree.map(lambda a: a.astype("float32"), ours), exact, 0.04)


@pytest.mark.parametrize("side, kernel, strides, padding, out", [
    (4, 4, 2, "SAME", 8), (5, 3, 2, "SAME", 10), (4, 5, 3, "SAME", 12), (4, 2, 2, "SAME", 8), (3, 2, 3, "SAME", 9),
    (4, 3, 1, "SAME", 4), (4, 1, 1, "SAME", 4), (4, 4, 2, "VALID", 10), (4, 4, 2, 1, 8),
    (3, 4, 2, ((1, 2), (0, 1)), None),
])
def test_a_transposed_convolution_is_the_input_gradient_of_the_convolution(side, kernel, strides, padding, out):
    x, w = draw(2, side, side, 3), draw(kernel, kernel, 3, 5, seed=1)
    y = jax.eval_shape(functools.partial(conv_transpose, strides=strides, padding=padding), x, w)
    assert out is None or y.shape == (2, out, out, 5)
    down = functools.partial(lax_conv, strides=strides, padding=padding)

    def reference(x, w):
        return jax.linear_transpose(lambda y: down(y, jnp.swapaxes(w, 2, 3)), y)(x)[0]

    assert_close(derivatives(functools.partial(conv_transpose, strides=strides, padding=padding), x, w),
                 derivatives(reference, x, w))


def test_a_transposed_convolution_of_one_pixel_paints_the_kernel():
    w = draw(4, 4, 1, 2)
    x = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1, 0].set(1)
    np.testing.assert_allclose(conv_transpose(x, w)[0, 1:5, 1:5], w[:, :, 0], rtol=1e-6)


def network(conv, p, x):
    h = jnp.tanh(conv(x, p[0], strides=2))
    h = jnp.tanh(conv(h, p[1], groups=2))
    return jnp.sum(conv(h, p[2]) ** 2)


def step(conv):
    """A gradient of a loss with a gradient penalty, as a step takes it."""
    loss = functools.partial(network, conv)
    return jax.grad(lambda p, x: loss(p, x) + jnp.sum(jax.grad(loss, 1)(p, x) ** 2))


PARAMS = draw(4, 4, 3, 4) / 4, draw(3, 3, 2, 6) / 3, draw(1, 1, 6, 2)
IMAGES = draw(16, 8, 8, 3, seed=2)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_off_the_cpu_the_step_is_xlas_own(platform):
    def convolutions(function):
        text = jax.jit(function).trace(PARAMS, IMAGES).lower(lowering_platforms=(platform,)).as_text()
        assert not re.search("optimization_barrier|stablehlo.while|dot_general|stablehlo.case", text)
        return sorted(re.sub(r"%\w+", "%", line).strip() for line in text.splitlines() if "convolution" in line)

    def first(conv):
        return convolutions(jax.grad(functools.partial(network, conv), (0, 1)))

    assert len(first(conv)) == 9 and first(conv) == first(lax_conv)
    assert len(convolutions(step(conv))) == len(convolutions(step(lax_conv)))  # with second derivatives


def test_on_the_cpu_no_convolution_has_a_slow_form(form):
    ours, theirs = (jax.jit(step(f)).lower(PARAMS, IMAGES).as_text() for f in (conv, lax_conv))
    assert not slow_convolutions(ours) and slow_convolutions(theirs)
    assert ("stablehlo.convolution" in ours) == (form == "xla") == ("imggen_jax_output" not in ours)


@pytest.mark.parametrize("images, sides, channels, features, kernel, options", [
    (5, (4, 4), 64, 160, 4, dict(strides=2)),           # a kernel so large that its panels are dealt out
    (3, (40, 33), 64, 19, 3, dict()),                   # bands of rows; columns that fill no whole register
    others(9, (5, 5), 20, 128, 3, dict(groups=4)),
    others(33, (6, 6), 64, 24, 1, dict()),
    (1, (70, 64), 64, 64, 3, dict(padding="VALID")),    # bands read in place
])
def test_larger_shapes_agree_with_lax(images, sides, channels, features, kernel, options):
    x = draw(images, *sides, channels)
    w = draw(kernel, kernel, channels // options.get("groups", 1), features, seed=1) / (kernel * channels**0.5)
    assert_close(derivatives(functools.partial(conv, **options), x, w),
                 derivatives(functools.partial(lax_conv, **options), x, w), 5e-5)


def test_an_empty_batch_has_a_gradient_of_zeros():
    w = draw(3, 3, 2, 4)
    grad = jax.jit(jax.grad(lambda w, x: jnp.sum(conv(x, w))))(w, jnp.zeros((0, 5, 5, 2)))
    assert grad.shape == w.shape and not np.any(grad)


def test_float64_is_not_narrowed():
    with jax.enable_x64(True):
        x, w = (draw(*shape).astype("float64") for shape in ((2, 6, 6, 3), (3, 3, 3, 4)))
        ours, theirs = (jax.jit(f)(x, w) for f in (conv, lax_conv))
        assert ours.dtype == jnp.float64
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_the_kernels_give_the_same_bits_every_time(form):
    x, w = draw(16, 16, 16, 32), draw(3, 3, 32, 32, seed=1)
    f = jax.jit(lambda x, w: jax.grad(lambda w: jnp.sum(jnp.sin(conv(x, w))))(w))
    first = np.asarray(f(x, w))
    assert all((np.asarray(f(x, w)) == first).all() for _ in range(10))


def test_vmap_over_either_argument():
    x, w = draw(3, 2, 6, 6, 4), draw(3, 3, 3, 2, 4, seed=1)
    for axes in ((0, None), (None, 0), (0, 0)):
        a, b = (v if i == 0 else v[0] for v, i in zip((x, w), axes))

        def mapped(conv):
            f = functools.partial(conv, strides=2, groups=2)
            grads = jax.grad(lambda x, w: jnp.sum(jnp.sin(f(x, w))), (0, 1))
            return jax.jit(jax.vmap(lambda x, w: (f(x, w), *grads(x, w)), axes))(a, b)

        assert_close(mapped(conv), mapped(lax_conv))


def test_per_example_gradients():
    def grads(conv):
        return jax.jit(jax.vmap(jax.grad(lambda w, x: jnp.sum(conv(x[None], w, strides=2) ** 3)), (None, 0)))

    w = draw(4, 4, 3, 2)
    assert_close(grads(conv)(w, IMAGES), grads(lax_conv)(w, IMAGES))


def test_sharded_over_all_devices():
    count = len(jax.devices())
    expected = jax.jit(step(lax_conv))(PARAMS, IMAGES)
    mesh = jax.make_mesh((count,), ("batch",), axis_types=(AxisType.Auto,))
    everywhere, split = (NamedSharding(mesh, PartitionSpec(*names)) for names in ((), ("batch",)))
    compiled = jax.jit(step(conv), in_shardings=(everywhere, split), out_shardings=everywhere).lower(
        PARAMS, IMAGES).compile()
    assert_close(compiled(PARAMS, IMAGES), expected)
    many = draw(64, 16, 16, 2), draw(64, 16, 16, 2, seed=1), draw(3, 3, 2, 2)  # enough for chunks of images
    chunks = jax.jit(functools.partial(weight_gradient, conv), in_shardings=(split, split, everywhere),
                     out_shardings=everywhere).lower(*many).compile()
    assert_close(chunks(*many), jax.jit(functools.partial(weight_gradient, lax_conv))(*many))
    assert not re.search("all-gather|all-to-all|collective-permute", compiled.as_text() + chunks.as_text())
    mapped = jax.pmap(lambda p, x: lax.psum(step(conv)(p, x), "batch"), "batch", in_axes=(None, 0))
    assert_close(jax.tree.map(lambda a: a[0], mapped(PARAMS, IMAGES.reshape(count, -1, 8, 8, 3))), expected)


def test_scan_remat_and_determinism():
    def descend(conv):
        grad = jax.grad(jax.checkpoint(functools.partial(network, conv)))

        def down(p, x):
            return jax.tree.map(lambda a, g: a - 1e-4 * g, p, grad(p, x)), None

        return jax.jit(lambda p, xs: lax.scan(down, p, xs)[0])

    xs, run = IMAGES.reshape(2, 8, 8, 8, 3), descend(conv)
    assert_close(run(PARAMS, xs), descend(lax_conv)(PARAMS, xs))
    for a, b in zip(run(PARAMS, xs), run(PARAMS, xs)):
        assert (a == b).all()


def test_export_with_a_symbolic_batch():
    batch, = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, *IMAGES.shape[1:]), IMAGES.dtype)
    exported = jax.export.export(jax.jit(step(conv)), platforms=["cpu", "tpu"])(PARAMS, images)
    called = jax.export.deserialize(exported.serialize()).call
    assert_close(called(PARAMS, IMAGES[:3]), jax.jit(step(lax_conv))(PARAMS, IMAGES[:3]))


def test_modules_hold_float32_and_compute_in_their_dtype():
    for module, kernel in ((Conv(6, (3, 2), strides=2, groups=2, dtype=jnp.bfloat16), (3, 2, 2, 6)),
                           (ConvTranspose(6, dtype=jnp.bfloat16), (4, 4, 4, 6)),
                           (Conv(6, use_bias=False), (3, 3, 4, 6))):
        y, variables = jax.jit(module.init_with_output)(jax.random.key(0), draw(2, 8, 8, 4))
        params = variables["params"]
        assert y.dtype == module.dtype or y.dtype == jnp.float32 and module.dtype is None
        assert params["kernel"].shape == kernel and {a.dtype.name for a in params.values()} == {"float32"}
        assert ("bias" in params) == module.use_bias
    assert y.shape == (2, 8, 8, 6)


def test_modules_add_their_bias():
    x = draw(2, 4, 4, 3)
    for module, plain in ((Conv(5, bias_init=jax.nn.initializers.ones), conv),
                          (ConvTranspose(5, bias_init=jax.nn.initializers.ones), conv_transpose)):
        y, variables = module.init_with_output(jax.random.key(0), x)
        np.testing.assert_allclose(y, plain(x, variables["params"]["kernel"]) + 1, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("call, message", [
    (lambda: conv(draw(1, 4, 4, 3), draw(3, 3, 4, 8)), r"x has 3 channels, but kernel .* takes 4"),
    (lambda: conv(draw(1, 4, 4, 6), draw(3, 3, 1, 8), groups=4), r"x has 6 channels, .* groups=4 takes 4"),
    (lambda: conv(draw(1, 4, 4, 4), draw(3, 3, 2, 5), groups=2), r"5 features cannot be split into groups=2"),
    (lambda: conv(draw(4, 4, 3), draw(3, 3, 3, 8)), r"takes x \[B,H,W,C\]"),
    (lambda: conv(draw(1, 2, 2, 3), draw(3, 3, 3, 8), padding="VALID"), r"does not fit into a \(2, 2\) image"),
    (lambda: conv_transpose(draw(1, 4, 4, 3), draw(4, 4, 5, 8)), r"x has 3 channels, but kernel .* takes 5"),
    (lambda: conv_transpose(draw(1, 1, 1, 3), draw(2, 2, 3, 8), padding=1), r"leaves no pixel"),
])
def test_one_clear_line_for(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
