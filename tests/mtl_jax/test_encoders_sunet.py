"""Where stacked U-Nets pool and where they dilate instead."""

import functools

import jax
import jax.numpy as jnp
import ml_collections
import pytest
import traced

from mtl_jax import encoders


@pytest.mark.parametrize(
    ("output_stride", "sides"),
    [
        # The stem, then blocks 1 to 4: 128 | 64 | 32 | 32 of 512 pixels in report D, which has 16.
        (8, {1: 512, 2: 256, 4: 128, 8: 64}),
        (16, {1: 512, 2: 256, 4: 128, 8: 64, 16: 32}),
        (32, {1: 512, 2: 256, 4: 128, 8: 64, 16: 32, 32: 16}),
    ],
)
def test_features_of_every_output_stride(output_stride, sides):
    config = ml_collections.ConfigDict(
        {
            "name": "sunet",
            "width": 4,
            "blocks": (1, 1, 1, 1),
            "output_stride": output_stride,
            "dropout": 0.0,
            "init": "kaiming_normal_fan_out",
        }
    )
    image = jax.ShapeDtypeStruct((1, 512, 512, 3), jnp.float32)
    init = functools.partial(encoders.build(config).init_with_output, train=False)
    pyramid, _ = traced.shapes(init, jax.random.key(0), image)
    features = {stride: pyramid.features[stride] for stride in pyramid.strides}
    assert pyramid.skip.shape == (1, 128, 128, 16)
    assert {stride: x.shape[1] for stride, x in features.items()} == sides
    # Stem, blocks 1 to 3 as far as they have a stride of their own, and the last block.
    channels = [3, 4, 16, 32, 48, 64]
    assert [x.shape[-1] for x in features.values()] == [*channels[: len(sides) - 1], 64]
