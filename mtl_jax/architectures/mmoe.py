"""Multi-gate mixture of experts (Ma et al. 2018), with encoders as experts.

Every task mixes the features of the same encoders by a gate of its own, and has a decoder.
"""

import jax
from flax import linen as nn

from mtl_jax import encoders, layers
from mtl_jax._options import Option, whole
from mtl_jax.architectures import Predictions
from mtl_jax.heads import branches, gates

OPTIONS = {
    "encoder": encoders.PART,
    **branches.OPTIONS,
    "experts": Option(2, "encoders that all tasks mix", whole(least=1)),
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The network of these `OPTIONS`."""
    branch = branches.build(options, channels)
    encoder = {
        f"expert{index}": encoders.build(options.encoder, dtype=branch.dtype)
        for index in range(options.experts)
    }
    return MMoE(encoder, {task: tuple(encoder) for task in channels}, channels, branch)


class MMoE(nn.Module):
    """Encoders ─► per task: gate ─► weighted sum of their features ─► branch.

    Attributes:
      encoder: {name: encoder}, which are the modules `encoder_<name>`.
      mixes: {task: names of the encoders that it mixes}.
      channels: {task: outputs}.
      branch: what each task has at its end.
    """

    encoder: dict[str, nn.Module]
    mixes: dict[str, tuple[str, ...]]
    channels: dict[str, int]
    branch: branches.Branch

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32."""
        found = {name: encoder(image, train=train) for name, encoder in self.encoder.items()}
        final = {}
        for task, outputs in self.channels.items():
            pyramids = [found[name] for name in self.mixes[task]]
            weights = gates.Gate(name=f"gate_{task}")([pyramid.last for pyramid in pyramids])
            pyramid = self._mixed(pyramids, weights)
            predictions, _ = self.branch(pyramid, outputs, task=task, train=train)
            final[task] = layers.resize_bilinear(predictions, image.shape[1:3])
        return Predictions(final=final)

    @staticmethod
    def _mixed(pyramids: list[encoders.Pyramid], weights: jax.Array) -> encoders.Pyramid:
        """The features of every stride, skip and tokens, mixed with the same weights."""
        return jax.tree.map(lambda *maps: gates.mixed(maps, weights), *pyramids)
