"""Whole networks against an independent PyTorch construction in float64: golden/README.md."""

import functools

import golden_networks as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax import architectures

# Most of the time here is compilation, and what is compiled runs once.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def computed(name: str):
    """Evaluation output, training output, new statistics and gradients of a golden network."""
    reference = golden.load(name)
    model = architectures.build(golden.config(reference), golden.CHANNELS)
    size = tuple(reference["config"]["size"])
    image = jnp.asarray(
        1.7 * golden.uniform(reference["config"]["image"], (4, *size, 3)), jnp.float32
    )
    shape = (4, *size, reference["training"]["shape"][-1])
    cotangent = jnp.asarray(golden.uniform("cotangent", shape), jnp.float32)
    variables = golden.fill(
        jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    )

    def outputs(predictions):
        every = (predictions.final, *predictions.auxiliary)
        return jnp.concatenate([x[task] for x in every for task in golden.CHANNELS], axis=-1)

    @jit
    def evaluate(variables):
        return outputs(model.apply(variables, image, train=False))

    @jit
    def train(variables):
        def loss(params):
            predictions, new = model.apply(
                variables | {"params": params}, image, train=True, mutable=["batch_stats"]
            )
            out = outputs(predictions)
            return (out * cotangent).mean(), (out, new.get("batch_stats", {}))

        gradients, (out, stats) = jax.grad(loss, has_aux=True)(variables["params"])
        return out, stats, gradients

    variables.setdefault("batch_stats", {})
    return evaluate(variables), *train(variables)


def assert_summary(actual, expected, *, tolerance: float):
    """`tolerance` is relative to the output's standard deviation."""
    actual = np.asarray(actual, np.float64)
    assert list(actual.shape) == expected["shape"]
    flat = actual.reshape(-1)
    samples = flat[np.linspace(0, flat.size - 1, 24).astype(int)]
    atol = tolerance * expected["std"]
    np.testing.assert_allclose(flat.mean(), expected["mean"], rtol=0, atol=atol)
    np.testing.assert_allclose(flat.std(), expected["std"], rtol=0, atol=atol)
    np.testing.assert_allclose(samples, expected["samples"], rtol=0, atol=atol)


@pytest.mark.parametrize("name", golden.names())
class TestGolden:
    def test_parameters(self, name):
        gradients = computed(name)[3]
        assert sum(g.size for g in jax.tree.leaves(gradients)) == golden.load(name)["parameters"]

    def test_evaluation(self, name):
        assert_summary(computed(name)[0], golden.load(name)["evaluation"], tolerance=2e-5)

    def test_training(self, name):
        assert_summary(computed(name)[1], golden.load(name)["training"], tolerance=2e-4)

    def test_running_statistics(self, name):
        actual = golden.flat(computed(name)[2])
        expected = golden.load(name)["running_statistics"]
        assert actual.keys() == expected.keys()
        for path, (mean, last) in expected.items():
            value = actual[path].astype(np.float64)
            np.testing.assert_allclose(value.mean(), mean, rtol=1e-4, atol=1e-5, err_msg=path)
            np.testing.assert_allclose(value[-1], last, rtol=1e-4, atol=1e-5, err_msg=path)

    def test_gradients(self, name):
        actual = golden.flat(computed(name)[3])
        expected = golden.load(name)["gradients"]
        tolerance = 1e-4 + 5 * golden.load(name)["gradient_sensitivity"]
        largest = max(norm for norm, _ in expected.values())
        for path in actual.keys() - expected.keys():  # a bias that BatchNorm cancels
            assert path.endswith("bias")
            assert np.linalg.norm(actual[path]) < 1e-4 * largest, path
        assert expected.keys() <= actual.keys()
        for path, (norm, last) in expected.items():
            value = actual[path].astype(np.float64)
            np.testing.assert_allclose(np.linalg.norm(value), norm, rtol=tolerance, err_msg=path)
            atol = tolerance * norm
            np.testing.assert_allclose(value.reshape(-1)[-1], last, rtol=0, atol=atol, err_msg=path)
