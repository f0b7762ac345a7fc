"""MTAN on a dilated ResNet, with a mask at each of its four stages (Liu et al. 2019).

The reading is that of the authors' own ResNet-50. Stage j has features u_j before its last block
and p_j after it. A task's mask a_j = h([u_j ; g_{j−1}]) selects from p_j; g_j = E_j(a_j · p_j),
pooled where stage j + 1 strides. Every h is a task's own and narrows to a quarter in between; the
bottleneck blocks E_1, E_2, E_3 are shared by all tasks. a_4 · p_4 goes to the task's head: ASPP,
3×3 CBR, 1×1 convolution, align-corners interpolation.

The authors' encoder has depth 50, flags FTT and the rule 'torchvision'.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option, rate, whole
from mtl_jax.architectures import Predictions
from mtl_jax.encoders import resnet
from mtl_jax.heads import aspp, attention
from mtl_jax.layers import pooling

OPTIONS = {
    # It looks into the stages of this one encoder.
    "encoder": dataclasses.replace(encoders.PART, only=("resnet",)),
    "aspp": {  # as the authors have it
        "rates": dataclasses.replace(aspp.RATES, default=(12, 24, 36)),
        "channels": Option(256, "of every branch of the ASPP and of the head", whole(least=1)),
        "dropout": Option(0.5, "share dropped after the ASPP", rate),
    },
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The network of these `OPTIONS`."""
    dtype = _options.dtype(options.dtype)
    return MTANResNet(
        encoder=encoders.build(options.encoder, dtype=dtype),
        channels=channels,
        rates=options.aspp.rates,
        aspp_channels=options.aspp.channels,
        dropout=options.aspp.dropout,
        dtype=dtype,
    )


class MTANResNet(nn.Module):
    """ResNet; per task four masks and a head; bottleneck blocks between masks for all tasks."""

    encoder: resnet.ResNet
    channels: dict[str, int]
    rates: tuple[int, ...]
    aspp_channels: int
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32."""
        _, stages = self.encoder.stages(image, train=train)
        between = [
            resnet.Bottleneck(
                planes=last.shape[-1] // 4,
                stride=1,
                dilation=1,
                se=False,
                dtype=self.dtype,
                name=f"attention{index}",
            )
            for index, (_, last) in enumerate(stages[1:], start=1)
        ]
        strides = [stride for stride, _, _ in self.encoder.plan[1:]]
        final = {}
        for task, outputs in self.channels.items():
            x = None
            for index, (before, last) in enumerate(stages):
                seen = before if x is None else jnp.concatenate([before, x], axis=-1)
                width = last.shape[-1]
                mask = attention.AttentionMask(
                    width, width // 4, dtype=self.dtype, name=f"mask_{task}_{index + 1}"
                )(seen, train=train)
                x = mask * last
                if index < len(between):
                    x = between[index](x, train=train)
                    if strides[index] == 2:
                        x, _ = pooling.max_pool_2x2(x)
            final[task] = self._head(x, task, outputs, image.shape[1:3], train=train)
        return Predictions(final=final)

    def _head(self, x, task: str, outputs: int, size, *, train: bool) -> jax.Array:
        x = aspp.ASPP(self.rates, self.aspp_channels, dtype=self.dtype, name=f"aspp_{task}")(
            x, train=train
        )
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = layers.ConvBNReLU(self.aspp_channels, dtype=self.dtype, name=f"head_{task}_conv")(
            x, train=train
        )
        x = layers.Conv(outputs, 1, use_bias=True, name=f"head_{task}_predict")(x)
        return layers.resize_bilinear_align_corners(x, size)
