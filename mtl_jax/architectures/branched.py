"""One encoder, and for every task its own ASPP and decoder (reports A and B, "branched")."""

import jax
from flax import linen as nn

from mtl_jax import encoders, layers
from mtl_jax.architectures import Predictions
from mtl_jax.heads import deeplabv3plus

OPTIONS = {"encoder": encoders.PART, **deeplabv3plus.OPTIONS}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The branched network of these `OPTIONS`."""
    branch = deeplabv3plus.branch(options)
    encoder = encoders.build(options.encoder, dtype=branch.dtype)
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
