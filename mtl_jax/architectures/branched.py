"""One encoder, and for every task its own branch: an ASPP and a decoder in reports A and B."""

import jax
from flax import linen as nn

from mtl_jax import encoders, layers
from mtl_jax.architectures import Predictions
from mtl_jax.heads import branches

OPTIONS = {
    "encoder": encoders.PART,
    **branches.OPTIONS,
    **branches.NECK,
    **branches.PRETRAINED_HEADS,
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The branched network of these `OPTIONS`."""
    branch = branches.build(options, channels, auxiliary=True)
    encoder = encoders.build(options.encoder, dtype=branch.dtype)
    return Branched(encoder=encoder, channels=channels, branch=branch, neck=options.neck)


class Branched(nn.Module):
    """Encoder ─► neck, if there is one ─► per task: its branch."""

    encoder: nn.Module
    channels: dict[str, int]
    branch: branches.Branch
    neck: str = "none"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32.

        Of decoders that predict earlier too, those predictions are `auxiliary`.
        """
        pyramid = self.encoder(image, train=train)
        pyramid = branches.through_neck(self.neck, pyramid, self.branch.dtype)
        size, final, earlier = image.shape[1:3], {}, {}
        for task, outputs in self.channels.items():
            predictions, _, *first = self.branch(pyramid, outputs, task=task, train=train)
            final[task] = layers.resize_bilinear(predictions, size)
            if first:
                earlier[task] = layers.resize_bilinear(first[0], size)
        return Predictions(final=final, auxiliary=(earlier,) if earlier else ())
