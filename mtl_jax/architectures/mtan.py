"""MTAN: attention of each task over a shared SegNet (Liu et al. 2019, report C).

Encoder stage j has first and last features u_j, p_j. A task's mask a_j = h([u_j ; g_{j−1}]) selects
from the last, g_j = pool(E_j(a_j · p_j)). Decoder stage k has unpooled and last features w_k, q_k:
z = D_k(upsampled task features, at first g_4), and b_k · q_k with b_k = h([w_k ; z]) are the next
task features. Every h is a task's own; the 3×3 blocks E_j and D_k are shared by all tasks. Nothing
flows back into the SegNet.

Options are those of `mtl_jax.architectures.segnet`.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import layers
from mtl_jax.architectures import Predictions, segnet
from mtl_jax.heads import attention
from mtl_jax.layers import pooling

OPTIONS = segnet.OPTIONS


def build(options, channels: dict[str, int]) -> nn.Module:
    """The MTAN of these `OPTIONS`."""
    return MTAN(channels=channels, **segnet.trunk_options(options))


class MTAN(nn.Module):
    """SegNet, and for each task five masks either way and a head."""

    channels: dict[str, int]
    widths: tuple[int, ...]
    convs: tuple[int, ...]
    kernel_init: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32."""
        options = (self.widths, self.convs, self.kernel_init, self.dtype)
        x, encoded = segnet.Encoder(*options, name="encoder")(image, train=train)
        decoded = segnet.Decoder(*options, name="decoder")(x, encoded, train=train)
        down = [
            self._cbr(width, f"attention_down{index}")
            for index, width in enumerate([*self.widths[1:], self.widths[-1]])
        ]
        up = [self._cbr(x.shape[-1], f"attention_up{k}") for k, (_, x) in enumerate(decoded)]
        final = {}
        for task, outputs in self.channels.items():
            x = None
            for index, (first, last, _) in enumerate(encoded):
                seen = first if x is None else jnp.concatenate([first, x], axis=-1)
                mask = self._mask(last.shape[-1], f"mask_{task}_down{index}")(seen, train=train)
                x, _ = pooling.max_pool_2x2(down[index](mask * last, train=train))
            for index, (unpooled, last) in enumerate(decoded):
                x = layers.resize_bilinear_align_corners(x, last.shape[1:3])
                x = up[index](x, train=train)
                seen = jnp.concatenate([unpooled, x], axis=-1)
                mask = self._mask(last.shape[-1], f"mask_{task}_up{index}")(seen, train=train)
                x = mask * last
            final[task] = segnet.Head(outputs, self.kernel_init, self.dtype, name=f"head_{task}")(x)
        return Predictions(final=final)

    def _cbr(self, features: int, name: str) -> layers.ConvBNReLU:
        return segnet.cbr(features, kernel_init=self.kernel_init, dtype=self.dtype, name=name)

    def _mask(self, features: int, name: str) -> attention.AttentionMask:
        return attention.AttentionMask(
            features, kernel_init=self.kernel_init, dtype=self.dtype, name=name
        )
