import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traced

from mtl_jax import layers
from mtl_jax.errors import UsageError
from mtl_jax.heads import aspp, deeplabv3plus


def shapes(module, *arrays, **options):
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in arrays]
    return traced.shapes(
        functools.partial(module.init_with_output, **options), jax.random.key(0), *arrays
    )


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


class TestASPP:
    @pytest.mark.parametrize(
        ("channels", "se", "parameters"),
        [(512, False, 4_131_840), (512, True, 4_131_840 + 8_464), (2048, False, 15_535_104)],
    )
    def test_parameters(self, channels, se, parameters):
        out, variables = shapes(aspp.ASPP(se=se), (2, 4, 6, channels), train=False)
        assert out.shape == (2, 4, 6, 256)
        assert count(variables["params"]) == parameters
        assert count(variables["batch_stats"]) == 2 * 6 * 256

    def test_pooled_branch_is_the_images_mean_everywhere(self):
        """With every other branch cut off, the output has no position left."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((2, 5, 4, 8)).astype(np.float32)
        module = aspp.ASPP(channels=6)
        variables = jax.tree.map(
            lambda leaf: rng.random(leaf.shape, np.float32), shapes(module, x.shape, train=False)[1]
        )
        params, stats = variables["params"], variables["batch_stats"]
        params["project"]["conv"]["kernel"][:, :, :24] = 0

        def cbr(name, x, kernel):
            bn, stat = params[name]["bn"], stats[name]["bn"]
            y = (x @ kernel - stat["mean"]) / np.sqrt(stat["var"] + 1e-5)
            return np.maximum(y * bn["scale"] + bn["bias"], 0)

        pooled = cbr("pooled", x.mean((1, 2)), params["pooled"]["conv"]["kernel"][0, 0])
        expected = cbr("project", pooled, params["project"]["conv"]["kernel"][0, 0, 24:])
        out = jax.jit(functools.partial(module.apply, train=False))(variables, x)
        np.testing.assert_allclose(
            out, np.broadcast_to(expected[:, None, None], out.shape), rtol=1e-4, atol=1e-5
        )

    def test_batch_of_one_cannot_train(self):
        module = aspp.ASPP(channels=4)
        out, variables = shapes(module, (1, 4, 4, 8), train=True)
        assert out.shape == (1, 4, 4, 4)
        evaluate = functools.partial(module.apply, train=False)
        x = jax.ShapeDtypeStruct((1, 4, 4, 8), jnp.float32)
        assert jax.eval_shape(evaluate, variables, x).shape == (1, 4, 4, 4)
        train = functools.partial(module.apply, train=True, mutable=["batch_stats"])
        with pytest.raises(UsageError, match="batch of at least 2"):
            jax.eval_shape(train, variables, x)


class TestDecoders:
    @pytest.mark.parametrize(
        ("outputs", "se", "parameters"),
        [
            (20, False, 1_299_572),
            (19, False, 1_299_315),
            (1, False, 1_294_689),
            (20, True, 1_299_572 + 8_464),
        ],
    )
    def test_parameters(self, outputs, se, parameters):
        module = deeplabv3plus.DeepLabV3PlusDecoder(outputs, se=se)
        (predictions, features), variables = shapes(
            module, (2, 3, 5, 256), (2, 11, 17, 64), train=False
        )
        assert predictions.shape == (2, 11, 17, outputs)
        assert features.shape == (2, 11, 17, 256)
        assert count(variables["params"]) == parameters

    @pytest.mark.parametrize(("outputs", "parameters"), [(19, 4_883), (1, 257)])
    def test_plain(self, outputs, parameters):
        module = deeplabv3plus.PlainDecoder(outputs)
        x = jax.random.normal(jax.random.key(0), (2, 3, 5, 256))
        variables = module.init(jax.random.key(1), x, (11, 17))
        assert count(variables["params"]) == parameters
        predictions, features = module.apply(variables, x, (11, 17))
        np.testing.assert_array_equal(features, layers.resize_bilinear(x, (11, 17)))
        predict = variables["params"]["predict"]
        expected = features @ predict["kernel"][0, 0] + predict["bias"]
        np.testing.assert_allclose(predictions, expected, rtol=1e-4, atol=1e-5)

    def test_predictions_are_float32_and_features_the_compute_type(self):
        module = deeplabv3plus.DeepLabV3PlusDecoder(3, dtype=jnp.bfloat16)
        (predictions, features), _ = shapes(module, (2, 3, 5, 8), (2, 6, 10, 4), train=False)
        assert predictions.dtype == jnp.float32
        assert features.dtype == jnp.bfloat16


def test_the_same_rate_may_be_there_twice():
    _, variables = shapes(aspp.ASPP(rates=(2, 4, 2), channels=4), (2, 8, 8, 3), train=False)
    names = {name for name in variables["params"] if name.startswith("rate")}
    assert names == {"rate2", "rate4", "rate2_2"}
