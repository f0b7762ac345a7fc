"""One encoder, and for every task its own ASPP and decoder (reports A and B, "branched").

Options (`config.model`):
  encoder: see `mtl_jax.encoders`.
  aspp.rates, aspp.channels: (3, 6, 9) and 256 in the reports.
  decoder.skip_channels, decoder.channels: 48 and 256 in the reports.
  se: squeeze-and-excitation in every ASPP and decoder.
  dtype: 'float32' or 'bfloat16', the compute type.
"""

import jax
from flax import linen as nn

from mtl_jax import encoders, layers
from mtl_jax.architectures import Predictions
from mtl_jax.heads import deeplabv3plus


def build(config, channels: dict[str, int]) -> nn.Module:
    """Builds the branched network that `config` (`config.model`) describes; see the module.

    Raises:
      ValueError: an option is unknown, missing or impossible.
    """
    branch = deeplabv3plus.branch(config)
    encoder = encoders.build(config.encoder, dtype=branch.dtype)
    return Branched(encoder=encoder, channels=channels, branch=branch)


class Branched(nn.Module):
    """Encoder ─► per task: ASPP ─► DeepLabV3+ decoder."""

    encoder: nn.Module
    channels: dict[str, int]
    branch: deeplabv3plus.Branch

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32."""
        pyramid = self.encoder(image, train=train)
        x, skip = pyramid.last, pyramid.need_skip(by="The architecture 'branched'")
        final = {}
        for task, outputs in self.channels.items():
            predictions, _ = self.branch(x, skip, outputs, task=task, train=train)
            final[task] = layers.resize_bilinear(predictions, image.shape[1:3])
        return Predictions(final=final)
