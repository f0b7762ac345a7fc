"""Windows that cannot lie in the middle of what they stand for: to which side they lean.

AlexNet's stem leans by half a pixel and each of its pools by half of its own to the top left, 14.5
pixels of the image together, which fc6's window of 6×6 at stride 32 takes back by 16.
"""

import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from mtl_jax import encoders
from mtl_jax.heads import fcn


def ones_like(shapes):
    """Kernels of ones, biases of zeros: every output counts what its window sees."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.full(leaf.shape, float(path[-1].key == "kernel")), shapes
    )


def test_alexnets_padded_stem():
    config = {"name": "alexnet", "width": 1, "padding": "same"}
    stem = encoders.build(ml_collections.ConfigDict(config))
    image = jnp.ones((1, 32, 32, 3))
    shapes = jax.eval_shape(functools.partial(stem.init, train=False), jax.random.key(0), image)
    apply = jax.jit(functools.partial(stem.apply, train=False))
    seen = apply(ones_like(shapes), image).features[4][0, :, 4, 0]
    # Rows −4 to 6 around row 4·i, 11 columns of 3 channels.
    np.testing.assert_allclose(seen / 33, [7, *[11] * 6, 8], rtol=1e-6)


def test_alexnets_padded_fc6():
    classifier = fcn.Classifier(6, 1, padded=True, dropout=0.0, dtype=jnp.float32)
    x = jnp.ones((1, 8, 8, 1))
    shapes = jax.eval_shape(functools.partial(classifier.init, train=False), jax.random.key(0), x)
    apply = jax.jit(functools.partial(classifier.apply, train=False))
    seen = apply(ones_like(shapes), x)[0, :, 4, 0]
    # Rows −2 to 3 around row i.
    np.testing.assert_allclose(seen / 6, [4, 5, 6, 6, 6, 5, 4, 3], rtol=1e-6)
