"""Four strides from the last map of a plain transformer (Li et al. 2022, "ViTDet").

It stands between an encoder and all tasks' decoders, so that those which read several strides can
be put on an encoder that has one.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import encoders, layers
from mtl_jax.layers import transformer, transposed


class SimplePyramid(nn.Module):
    """[B, h, w, C] ─► four maps of `channels`, at 4, 2, 1 and ½ times its resolution.

    Parameters: 3,298,144, 5,560,000, 7,805,184 after ViT-S, B, L. LN is over channels, ε = 1e-6.
    """

    channels: int = 256
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> encoders.Pyramid:
        """The maps at strides 4, 8, 16 and 32 if `x` is at 16; they are called so in any case."""
        width = x.shape[-1]
        half = self._double(x, width // 2, "stride4_0")
        half = layers.gelu(self._norm("stride4_norm")(half))
        pads = [(0, int(side == 1)) for side in x.shape[1:3]]  # of one patch one is left
        maps = {
            4: self._double(half, width // 4, "stride4_1"),
            8: self._double(x, width // 2, "stride8"),
            16: x,
            32: nn.max_pool(x, (2, 2), (2, 2), pads),
        }
        features = {stride: self._out(x, f"out{stride}") for stride, x in maps.items()}
        return encoders.Pyramid(features, skip=features[4])

    def _double(self, x: jax.Array, features: int, name: str) -> jax.Array:
        return transposed.ConvTranspose(
            features,
            kernel_size=2,
            stride=2,
            padding=0,
            output_padding=0,
            use_bias=True,
            dtype=self.dtype,
            name=name,
        )(x)

    def _norm(self, name: str) -> transformer.LayerNorm:
        return transformer.LayerNorm(dtype=self.dtype, name=name)

    def _out(self, x: jax.Array, name: str) -> jax.Array:
        for index, size in ((0, 1), (1, 3)):
            x = layers.Conv(self.channels, size, dtype=self.dtype, name=f"{name}_conv{index}")(x)
            x = self._norm(f"{name}_norm{index}")(x)
        return x
