"""One encoder, by default stacked U-Nets, and a degridding head for each task (report D).

Options (`config.model`):
  encoder: see `mtl_jax.encoders`; report D has 'sunet' at output stride 16.
  head.channels: of the heads' 3×3 convolutions; 512 in the report.
  head.init: the heads' kernel initialiser; 'kaiming_normal_fan_out' in the report.
  dtype: 'float32' or 'bfloat16', the compute type.
"""

import jax
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax.architectures import Predictions
from mtl_jax.heads import degridding


def build(config, channels: dict[str, int]) -> nn.Module:
    """Builds the network that `config` (`config.model`) describes; see the module.

    Raises:
      ValueError: an option is unknown, missing or impossible.
    """
    _options.check(config.head, ("channels", "init"), key="config.model.head")
    layers.initializer(config.head.init)
    dtype = _options.dtype(config.dtype, key="config.model.dtype")
    return StackedUNet(
        encoder=encoders.build(config.encoder, dtype=dtype),
        channels=channels,
        head_channels=config.head.channels,
        kernel_init=config.head.init,
        dtype=dtype,
    )


class StackedUNet(nn.Module):
    """Encoder ─► per task: degridding head ─► align-corners interpolation."""

    encoder: nn.Module
    channels: dict[str, int]
    head_channels: int
    kernel_init: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32."""
        x = self.encoder(image, train=train).last
        final = {}
        for task, outputs in self.channels.items():
            head = degridding.DegriddingHead(
                outputs,
                self.head_channels,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f"head_{task}",
            )
            final[task] = layers.resize_bilinear_align_corners(
                head(x, train=train), image.shape[1:3]
            )
        return Predictions(final=final)
