"""PAD-Net (Xu et al. 2018): tasks refine each other's first predictions at stride 4.

The reading is that of the survey of Vandenhende et al. (2021), on HRNet-18: first predictions from
bottlenecks of the joined scales, an attention for every ordered pair of tasks, final predictions
from two bottlenecks. `mtl_jax.architectures.distillation` has the PAD-Nets of reports A and B, on
dilated ResNets with an ASPP for each task.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option, whole
from mtl_jax.architectures import Predictions
from mtl_jax.heads import high_resolution, refinement

OPTIONS = {
    "encoder": encoders.PART,
    "channels": Option(256, "of each task's features; four times the bottlenecks'", whole(least=4)),
    "auxiliary": refinement.AUXILIARY,
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The network of these `OPTIONS`.

    Raises:
      ConfigError: `auxiliary` names what is no task, or every task.
    """
    dtype = _options.dtype(options.dtype)
    return PADNet(
        encoder=encoders.build(options.encoder, dtype=dtype),
        channels=channels,
        final_tasks=refinement.final_tasks(channels, options.auxiliary),
        width=options.channels,
        dtype=dtype,
    )


class PADNet(nn.Module):
    """Encoder ─► scales joined ─► per task: features ─► distillation ─► final prediction.

    Attributes:
      encoder: with features of strides 4, 8, 16 and 32.
      channels: {task: outputs}.
      final_tasks: those that receive from all others and are predicted a second time.
      width: of each task's features.
      dtype: compute type.
    """

    encoder: nn.Module
    channels: dict[str, int]
    final_tasks: tuple[str, ...]
    width: int = 256
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32, final and first."""
        pyramid = self.encoder(image, train=train)
        maps = pyramid.need(high_resolution.STRIDES, by="The architecture 'pad_net'")
        joined = high_resolution.HighResolutionHead(0, self.dtype, name="fuse")(maps, train=train)
        features, first = {}, {}
        for task, outputs in self.channels.items():
            features[task] = self._blocks(f"first_{task}")(joined, train=train)
            first[task] = self._predict(outputs, f"predict_{task}")(features[task])
        refined = refinement.distil(features, self.final_tasks, "distil", self.dtype)
        final = {}
        for task, x in refined.items():
            x = self._blocks(f"final_{task}")(x, train=train)
            final[task] = self._predict(self.channels[task], f"score_{task}")(x)
        return Predictions(*refinement.at_size(final, [first], image.shape[1:3]))

    def _blocks(self, name: str) -> refinement.Blocks:
        return refinement.Blocks(self.width, bottleneck=True, dtype=self.dtype, name=name)

    def _predict(self, outputs: int, name: str) -> layers.Conv:
        return layers.Conv(outputs, 1, use_bias=True, name=name)
