"""MTAN on a dilated ResNet, with a mask at each of its four stages (Liu et al. 2019).

The reading is that of the authors' own ResNet-50. Stage j has features u_j before its last block
and p_j behind it. A task's mask a_j = h([u_j ; g_{j−1}]) selects from p_j; g_j = E_j(a_j · p_j),
pooled where stage j + 1 strides. Every h is a task's own and narrows to a quarter in between; the
bottleneck blocks E_1, E_2, E_3 are shared by all tasks. a_4 · p_4 goes to the task's head: ASPP,
3×3 CBR, 1×1 convolution, align-corners interpolation.

Options (`config.model`):
  encoder: 'resnet' and its options; the authors' is depth 50 with flags FTT, rule 'torchvision'.
  aspp.rates, aspp.channels: (12, 24, 36) and 256, as the authors have it.
  aspp.dropout: behind the ASPP; 0.5, as the authors have it.
  dtype: 'float32' or 'bfloat16', the compute type.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax.architectures import Predictions
from mtl_jax.encoders import resnet
from mtl_jax.errors import ConfigError
from mtl_jax.heads import aspp, attention
from mtl_jax.layers import pooling


def build(config, channels: dict[str, int]) -> nn.Module:
    """Builds the network that `config` (`config.model`) describes; see the module.

    Raises:
      ConfigError: an option is unknown, missing or impossible, or the encoder is no ResNet.
    """
    if config.encoder.name != "resnet":
        raise ConfigError(
            f"config.model.encoder.name={config.encoder.name!r}, but 'mtan_resnet' looks into the "
            "stages of the encoder 'resnet'. 'mtan' and 'segnet' are their own encoder; "
            "branched, distillation, fcn, joint, stacked_unet and uncertainty go with any encoder."
        )
    _options.check(config.aspp, ("rates", "channels", "dropout"), key="config.model.aspp")
    if not 0 <= config.aspp.dropout < 1:
        raise ConfigError(
            f"config.model.aspp.dropout={config.aspp.dropout}; expected at least 0, less than 1."
        )
    dtype = _options.dtype(config.dtype, key="config.model.dtype")
    return MTANResNet(
        encoder=encoders.build(config.encoder, dtype=dtype),
        channels=channels,
        rates=tuple(config.aspp.rates),
        aspp_channels=config.aspp.channels,
        dropout=config.aspp.dropout,
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
