"""One encoder, by default stacked U-Nets, and a degridding head for each task (report D)."""

import dataclasses

import jax
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option, one_of, whole
from mtl_jax.architectures import Predictions
from mtl_jax.heads import degridding

OPTIONS = {
    "encoder": dataclasses.replace(encoders.PART, default="sunet"),
    "head": {
        "channels": Option(512, "of the heads' 3×3 convolutions", whole(least=1)),
        "init": Option(
            "kaiming_normal_fan_out", "the heads' kernel initialiser", one_of(*layers.INITIALIZERS)
        ),
    },
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The network of these `OPTIONS`."""
    dtype = _options.dtype(options.dtype)
    return StackedUNet(
        encoder=encoders.build(options.encoder, dtype=dtype),
        channels=channels,
        head_channels=options.head.channels,
        kernel_init=options.head.init,
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
