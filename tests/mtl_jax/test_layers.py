import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax import layers


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class TestInitializers:
    SHAPE = (3, 3, 64, 96)
    FAN_IN, FAN_OUT = 9 * 64, 9 * 96

    @pytest.mark.parametrize(
        ("name", "std"),
        [
            ("pytorch", (1 / 3 / FAN_IN) ** 0.5),
            ("kaiming_normal_fan_in", (2 / FAN_IN) ** 0.5),
            ("kaiming_normal_fan_out", (2 / FAN_OUT) ** 0.5),
            ("xavier_normal", (2 / (FAN_IN + FAN_OUT)) ** 0.5),
            ("zeros", 0.0),
        ],
    )
    def test_moments(self, name, std):
        kernel = np.asarray(layers.initializer(name)(jax.random.key(0), self.SHAPE, jnp.float32))
        np.testing.assert_allclose(kernel.std(), std, rtol=0.01)
        np.testing.assert_allclose(kernel.mean(), 0, atol=0.02 * std)
        if name == "pytorch":
            bound = self.FAN_IN**-0.5
            np.testing.assert_allclose(np.abs(kernel).max(), bound, rtol=1e-3)
        elif std:  # a normal distribution that nobody truncated
            assert np.abs(kernel).max() > 3.5 * std

    def test_unknown(self):
        with pytest.raises(ValueError, match=r"'he'.*kaiming_normal_fan_out"):
            layers.initializer("he")

    def test_bias_has_the_kernels_range(self):
        x = jnp.zeros((1, 2, 2, 16))
        for layer, fan_in in ((layers.Conv(512, 3, use_bias=True), 144), (layers.Dense(512), 16)):
            bias = np.asarray(layer.init(jax.random.key(0), x)["params"]["bias"])
            np.testing.assert_allclose(np.abs(bias).max(), fan_in**-0.5, rtol=0.02)
            np.testing.assert_allclose(bias.std(), (fan_in * 3) ** -0.5, rtol=0.1)


def conv_by_hand(x, kernel, stride, dilation):
    """Cross-correlation in float64, one output pixel at a time."""
    k = kernel.shape[0]
    pad = dilation * (k - 1) // 2
    x = np.pad(x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    extent = dilation * (k - 1) + 1
    rows = range(0, x.shape[1] - extent + 1, stride)
    columns = range(0, x.shape[2] - extent + 1, stride)
    out = np.zeros((len(x), len(rows), len(columns), kernel.shape[-1]))
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            patch = x[:, r : r + extent : dilation, c : c + extent : dilation]
            out[:, i, j] = np.einsum("bhwc,hwco->bo", patch, kernel.astype(np.float64))
    return out


class TestConv:
    @pytest.mark.parametrize(
        ("kernel_size", "stride", "dilation", "size"),
        [
            (1, 1, 1, (5, 6)),
            (1, 2, 1, (5, 6)),
            (3, 1, 1, (6, 5)),
            (3, 2, 1, (7, 8)),
            (3, 1, 2, (7, 6)),
            (3, 1, 9, (4, 11)),  # most taps outside
            (3, 2, 2, (9, 8)),
            (7, 2, 1, (12, 9)),
        ],
    )
    def test_value_and_gradient(self, kernel_size, stride, dilation, size):
        x = rng().standard_normal((2, *size, 3)).astype(np.float32)
        layer = layers.Conv(4, kernel_size, stride=stride, dilation=dilation)
        variables = layer.init(jax.random.key(0), x)
        kernel = np.asarray(variables["params"]["kernel"])
        assert kernel.shape == (kernel_size, kernel_size, 3, 4)
        expected = conv_by_hand(x, kernel, stride, dilation)
        np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), expected, 1e-5, 1e-5)

        # The output is linear in the image and in the kernel, so its directional derivatives are
        # values, and the gradients are their adjoints.
        cotangent = rng(1).standard_normal(expected.shape).astype(np.float32)
        dx = rng(2).standard_normal(x.shape).astype(np.float32)
        dk = rng(3).standard_normal(kernel.shape).astype(np.float32)

        def scalar(kernel, x):
            return (layer.apply({"params": {"kernel": kernel}}, x) * cotangent).sum()

        gk, gx = jax.jit(jax.grad(scalar, argnums=(0, 1)))(kernel, x)
        adjoint_x = (conv_by_hand(dx, kernel, stride, dilation) * cotangent).sum()
        adjoint_k = (conv_by_hand(x, dk, stride, dilation) * cotangent).sum()
        np.testing.assert_allclose((np.asarray(gx, np.float64) * dx).sum(), adjoint_x, rtol=1e-4)
        np.testing.assert_allclose((np.asarray(gk, np.float64) * dk).sum(), adjoint_k, rtol=1e-4)

    def test_bias(self):
        x = jnp.ones((1, 2, 2, 3))
        layer = layers.Conv(5, 1, use_bias=True)
        params = layer.init(jax.random.key(0), x)["params"]
        expected = params["kernel"].sum((0, 1, 2)) + params["bias"]
        np.testing.assert_allclose(layer.apply({"params": params}, x)[0, 1, 0], expected, rtol=1e-5)

    def test_even_kernel(self):
        with pytest.raises(ValueError, match="kernel_size=2"):
            layers.Conv(3, 2).init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))


def batch_norm_by_hand(x, scale, bias, epsilon=1e-5):
    x = x.astype(np.float64)
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    return (x - mean) / np.sqrt(var + epsilon) * scale + bias, mean, var


class TestBatchNorm:
    def variables(self, channels: int):
        params = {"scale": 1 + rng(1).random(channels), "bias": rng(2).standard_normal(channels)}
        stats = {"mean": rng(3).standard_normal(channels), "var": 0.5 + rng(4).random(channels)}
        tree = {"params": params, "batch_stats": stats}
        return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)

    def train(self, x, dtype=jnp.float32):
        variables = self.variables(x.shape[-1])
        layer = layers.BatchNorm(dtype=dtype)
        y, new = layer.apply(variables, x, train=True, mutable=["batch_stats"])
        return variables, y, new["batch_stats"]

    # The last two lose all or most digits if the variance is computed as E[x²] − E[x]².
    @pytest.mark.parametrize(
        ("shape", "offset"),
        [((2, 5, 7, 6), 0.0), ((4, 1, 1, 6), 0.0), ((2, 1, 1, 6), 30.0), ((2, 5, 7, 6), 300.0)],
    )
    def test_training(self, shape, offset):
        x = (offset + rng().standard_normal(shape)).astype(np.float32)
        variables, y, stats = self.train(x)
        params, old = variables["params"], variables["batch_stats"]
        expected, mean, var = batch_norm_by_hand(x, params["scale"], params["bias"])
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5 + 1e-6 * offset)
        np.testing.assert_allclose(stats["mean"], 0.9 * old["mean"] + 0.1 * mean, rtol=1e-5)
        np.testing.assert_allclose(stats["var"], 0.9 * old["var"] + 0.1 * var, rtol=1e-5)

    def test_evaluation(self):
        x = rng().standard_normal((2, 3, 4, 6)).astype(np.float32)
        variables = self.variables(6)
        y = layers.BatchNorm().apply(variables, x, train=False)
        params, stats = variables["params"], variables["batch_stats"]
        expected = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"]
        np.testing.assert_allclose(y, expected + params["bias"], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("shape", [(2, 5, 7, 6), (3, 1, 1, 6)])
    def test_gradient(self, shape):
        """Against the closed form, in float64."""
        x = (1 + 2 * rng().standard_normal(shape)).astype(np.float32)
        cotangent = rng(5).standard_normal(shape).astype(np.float32)
        variables = self.variables(6)

        def scalar(params, x):
            y, _ = layers.BatchNorm().apply(
                variables | {"params": params}, x, train=True, mutable=["batch_stats"]
            )
            return (y * cotangent).sum()

        gradient, gx = jax.jit(jax.grad(scalar, argnums=(0, 1)))(variables["params"], x)
        axes = (0, 1, 2)
        scale = np.asarray(variables["params"]["scale"], np.float64)
        xhat, _, var = batch_norm_by_hand(x, 1.0, 0.0)
        d_bias = cotangent.sum(axes, dtype=np.float64)
        d_scale = (cotangent * xhat).sum(axes)
        n = np.prod(shape[:-1])
        expected = scale / np.sqrt(var + 1e-5) * (cotangent - d_bias / n - xhat * d_scale / n)
        np.testing.assert_allclose(gx, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(gradient["scale"], d_scale, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(gradient["bias"], d_bias, rtol=1e-4, atol=1e-5)

    def test_initialisation_leaves_the_statistics(self):
        x = 5 + rng().standard_normal((2, 3, 4, 6)).astype(np.float32)
        stats = layers.BatchNorm().init(jax.random.key(0), x, train=True)["batch_stats"]
        np.testing.assert_array_equal(stats["mean"], np.zeros(6))
        np.testing.assert_array_equal(stats["var"], np.ones(6))

    def test_bfloat16_keeps_float32_statistics(self):
        x = jnp.asarray(100 + rng().standard_normal((4, 9, 9, 6)), jnp.bfloat16)
        _, y, stats = self.train(x, jnp.bfloat16)
        assert y.dtype == jnp.bfloat16
        assert stats["var"].dtype == jnp.float32
        _, exact, exact_stats = self.train(x.astype(jnp.float32))
        np.testing.assert_allclose(stats["var"], exact_stats["var"], rtol=1e-5)
        np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=1e-2, atol=1e-2)


class TestBlocks:
    def test_conv_bn_relu(self):
        x = rng().standard_normal((2, 6, 5, 3)).astype(np.float32)
        layer = layers.ConvBNReLU(4, 3, 2)
        variables = layer.init(jax.random.key(0), x, train=False)
        y, _ = layer.apply(variables, x, train=True, mutable=["batch_stats"])
        kernel = np.asarray(variables["params"]["conv"]["kernel"])
        expected, _, _ = batch_norm_by_hand(conv_by_hand(x, kernel, 1, 2), 1.0, 0.0)
        np.testing.assert_allclose(y, np.maximum(expected, 0), rtol=1e-4, atol=1e-5)
        assert "bias" not in variables["params"]["conv"]

    def test_squeeze_excitation(self):
        x = rng().standard_normal((2, 6, 5, 32)).astype(np.float32)
        layer = layers.SqueezeExcitation()
        variables = layer.init(jax.random.key(0), x)
        p = jax.tree.map(np.asarray, variables["params"])
        hidden = x.mean((1, 2)) @ p["reduce"]["kernel"] + p["reduce"]["bias"]
        logits = np.maximum(hidden, 0) @ p["expand"]["kernel"] + p["expand"]["bias"]
        expected = x / (1 + np.exp(-logits))[:, None, None]
        np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(
        ("channels", "count"), [(256, 8_464), (512, 33_312), (1024, 132_160), (2048, 526_464)]
    )
    def test_squeeze_excitation_parameters(self, channels, count):
        x = jax.ShapeDtypeStruct((1, 2, 2, channels), jnp.float32)
        variables = jax.eval_shape(layers.SqueezeExcitation().init, jax.random.key(0), x)
        assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == count

    def test_squeeze_excitation_of_too_few_channels(self):
        with pytest.raises(ValueError, match="has 15"):
            layers.SqueezeExcitation().init(jax.random.key(0), jnp.zeros((1, 2, 2, 15)))


class TestMaxPool:
    @pytest.mark.parametrize(
        ("size", "window", "stride", "padding"), [((7, 8), 3, 2, 1), ((6, 4), 2, 2, 0)]
    )
    def test_value_and_gradient(self, size, window, stride, padding):
        # Negative everywhere: padding with zeros would win.
        x = -1 - rng().random((2, *size, 3)).astype(np.float32)
        padded = np.pad(
            x,
            ((0, 0), (padding, padding), (padding, padding), (0, 0)),
            constant_values=-np.inf,
        )
        out = layers.max_pool(x, window, stride, padding)
        expected = np.zeros(out.shape, np.float32)
        gradient = np.zeros(padded.shape)
        cotangent = rng(1).standard_normal(out.shape).astype(np.float32)
        for b, i, j, c in np.ndindex(out.shape):
            r, s = i * stride, j * stride
            patch = padded[b, r : r + window, s : s + window, c]
            expected[b, i, j, c] = patch.max()
            di, dj = np.unravel_index(patch.argmax(), patch.shape)
            gradient[b, r + di, s + dj, c] += cotangent[b, i, j, c]
        gradient = gradient[:, padding : padding + size[0], padding : padding + size[1]]
        np.testing.assert_array_equal(out, expected)
        actual = jax.grad(
            lambda x: (layers.max_pool(x, window, stride, padding) * cotangent).sum()
        )(x)
        np.testing.assert_allclose(actual, gradient, rtol=1e-5, atol=1e-6)


RESIZES = {
    layers.resize_bilinear: lambda i, n_in, n_out: (i + 0.5) * n_in / n_out - 0.5,
    layers.resize_bilinear_align_corners: lambda i, n_in, n_out: i * (n_in - 1) / max(n_out - 1, 1),
    layers.resize_bilinear_tf1: lambda i, n_in, n_out: i * n_in / n_out,
}

# (size, align_corners, values), made in float64.
PYTORCH_GOLDEN = (
    (
        (5, 6),
        False,
        [
            [0.0, 0.5, 1.5, 3.5, 6.5, 9.0],
            [6.4, 8.5, 11.6333333, 15.7666667, 20.9, 25.0],
            [16.0, 20.5, 26.8333333, 34.1666667, 42.5, 49.0],
            [44.8, 51.7, 61.2333333, 71.7666667, 83.3, 92.2],
            [64.0, 72.5, 84.1666667, 96.8333333, 110.5, 121.0],
        ],
    ),
    ((2, 3), False, [[4.5, 9.5, 17.8333333], [54.5, 75.5, 99.8333333]]),
    (
        (5, 7),
        True,
        [
            [0.0, 0.5, 1.0, 2.5, 4.0, 6.5, 9.0],
            [8.0, 10.5, 13.0, 16.5, 20.0, 24.5, 29.0],
            [16.0, 20.5, 25.0, 30.5, 36.0, 42.5, 49.0],
            [40.0, 46.5, 53.0, 60.5, 68.0, 76.5, 85.0],
            [64.0, 72.5, 81.0, 90.5, 100.0, 110.5, 121.0],
        ],
    ),
)


def resize_by_hand(x, size, source):
    """One output pixel at a time, in float64."""
    x = x.astype(np.float64)
    out = np.zeros((len(x), *size, x.shape[-1]))
    for i in range(size[0]):
        for j in range(size[1]):
            corners, weights = [], []
            for index, n_in, n_out in ((i, x.shape[1], size[0]), (j, x.shape[2], size[1])):
                position = min(max(source(index, n_in, n_out), 0.0), n_in - 1.0)
                low = int(position)
                corners.append((low, min(low + 1, n_in - 1)))
                weights.append(position - low)
            (r0, r1), (c0, c1) = corners
            u, v = weights
            top = (1 - v) * x[:, r0, c0] + v * x[:, r0, c1]
            bottom = (1 - v) * x[:, r1, c0] + v * x[:, r1, c1]
            out[:, i, j] = (1 - u) * top + u * bottom
    return out


class TestResize:
    @pytest.mark.parametrize("resize", RESIZES, ids=lambda f: f.__name__)
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ((4, 6), (16, 24)),
            ((3, 5), (10, 18)),
            ((9, 14), (4, 5)),
            ((8, 3), (4, 9)),
            ((1, 1), (3, 4)),
            ((5, 4), (1, 1)),
        ],
    )
    def test_value_and_gradient(self, resize, before, after):
        x = rng().standard_normal((2, *before, 3)).astype(np.float32)
        expected = resize_by_hand(x, after, RESIZES[resize])
        found = jax.jit(resize, static_argnums=1)(x, after)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)

        # Linear, so the gradient is the adjoint.
        cotangent = rng(1).standard_normal(expected.shape).astype(np.float32)
        dx = rng(2).standard_normal(x.shape).astype(np.float32)
        gradient = jax.jit(jax.grad(lambda x: (resize(x, after) * cotangent).sum()))(x)
        adjoint = (resize_by_hand(dx, after, RESIZES[resize]) * cotangent).sum()
        np.testing.assert_allclose((np.asarray(gradient) * dx).sum(), adjoint, rtol=1e-4)

    @pytest.mark.parametrize("resize", RESIZES, ids=lambda f: f.__name__)
    def test_same_size_is_the_identity(self, resize):
        x = rng().standard_normal((1, 3, 4, 2)).astype(np.float32)
        np.testing.assert_array_equal(resize(x, (3, 4)), x)

    def test_pytorch_golden(self):
        """F.interpolate(arange(12).view(1, 1, 3, 4)², size, mode='bilinear'), PyTorch 2.13."""
        x = (np.arange(12, dtype=np.float32) ** 2).reshape(1, 3, 4, 1)
        for size, align_corners, expected in PYTORCH_GOLDEN:
            resize = layers.resize_bilinear
            if align_corners:
                resize = layers.resize_bilinear_align_corners
            np.testing.assert_allclose(resize(x, size)[0, ..., 0], expected, rtol=1e-6)

    def test_gradient_needs_no_scatter(self):
        """A scatter-add would be slow on a CPU and not reproducible on a GPU."""
        x = jnp.zeros((1, 4, 4, 2))
        jaxpr = jax.make_jaxpr(jax.grad(lambda x: layers.resize_bilinear(x, (16, 16)).sum()))(x)
        assert "scatter" not in str(jaxpr)

    @pytest.mark.parametrize("resize", RESIZES, ids=lambda f: f.__name__)
    def test_bfloat16_is_rounded_once(self, resize):
        """Weights of that type would not sum to 1."""
        x = jnp.asarray(rng().uniform(1, 2, (2, 5, 7, 3)), jnp.bfloat16)
        out = resize(x, (12, 17))
        assert out.dtype == "bfloat16"
        exact = resize_by_hand(np.asarray(x), (12, 17), RESIZES[resize])
        np.testing.assert_allclose(np.asarray(out, np.float64), exact, rtol=1.001 * 2**-8)
