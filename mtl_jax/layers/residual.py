"""Residual blocks (He et al. 2016) of stride 1, as HRNet and the networks built on it use them."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax.layers.blocks import ConvBNReLU


class Residual(nn.Module):
    """Two 3×3 convolutions, or as `bottleneck` 1×1, 3×3, 1×1; a projection where widths differ."""

    features: int
    bottleneck: bool = False
    momentum: float = 0.9
    kernel_init: str = "pytorch"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        inner = self.features // 4 if self.bottleneck else self.features
        plan = [(inner, 1), (inner, 3), (self.features, 1)] if self.bottleneck else [(inner, 3)] * 2
        y = x
        for index, (features, size) in enumerate(plan, start=1):
            last = index == len(plan)
            y = ConvBNReLU(
                features,
                size,
                linear=last,
                momentum=self.momentum,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f"unit{index}",
            )(y, train=train)
        if x.shape[-1] != self.features:
            x = ConvBNReLU(
                self.features,
                1,
                linear=True,
                momentum=self.momentum,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name="downsample",
            )(x, train=train)
        return nn.relu(x + y)
