"""MTI-Net (Vandenhende et al. 2020): tasks refine each other's predictions at every scale.

The reading is that of the authors' code, on HRNet-18. From the coarsest scale to the finest every
task makes features and a first prediction; what the tasks of one scale have in common is told to
the next finer one. The first features of every scale are distilled between tasks, and each task's
four refined maps make its final prediction.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option, one_of, whole
from mtl_jax.architectures import Predictions
from mtl_jax.heads import high_resolution, refinement

OPTIONS = {
    "encoder": encoders.PART,
    "auxiliary": refinement.AUXILIARY,
    "attention_groups": Option(
        "released",
        "what a propagation's softmax is over: 'released', T neighbouring channels; 'tasks'",
        one_of(*refinement.GROUPS),
    ),
    "se_reduction": Option(16, "of the propagations' squeeze-and-excitation", whole(least=1)),
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The network of these `OPTIONS`.

    Raises:
      ConfigError: `auxiliary` names what is no task, or every task.
    """
    dtype = _options.dtype(options.dtype)
    return MTINet(
        encoder=encoders.build(options.encoder, dtype=dtype),
        channels=channels,
        final_tasks=refinement.final_tasks(channels, options.auxiliary),
        attention_groups=options.attention_groups,
        se_reduction=options.se_reduction,
        dtype=dtype,
    )


class MTINet(nn.Module):
    """Encoder ─► per scale and task: features ─► distillation ─► per task: scales joined.

    Attributes:
      encoder: with features of strides 4, 8, 16 and 32.
      channels: {task: outputs}.
      final_tasks: those that receive from all others and are predicted a second time.
      attention_groups, se_reduction: see `refinement.Propagation`.
      dtype: compute type.
    """

    encoder: nn.Module
    channels: dict[str, int]
    final_tasks: tuple[str, ...]
    attention_groups: str = "released"
    se_reduction: int = 16
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32.

        `auxiliary` has the first predictions of strides 4, 8, 16 and 32.
        """
        pyramid = self.encoder(image, train=train)
        maps = pyramid.need(high_resolution.STRIDES, by="The architecture 'mti_net'")
        features, first = self._first(maps, train)
        refined = [
            refinement.distil(of_scale, self.final_tasks, f"distil{scale}", self.dtype)
            for scale, of_scale in enumerate(features)
        ]
        final = {}
        for task in self.final_tasks:
            head = high_resolution.HighResolutionHead(
                self.channels[task], self.dtype, name=f"head_{task}"
            )
            final[task] = head([of_scale[task] for of_scale in refined], train=train)
        return Predictions(*refinement.at_size(final, first, image.shape[1:3]))

    def _first(self, maps, train: bool) -> tuple[list[dict], list[dict]]:
        """Every task's features and first predictions at every scale, the finest first."""
        features, first, told = [], [], None
        for scale, x in reversed(tuple(enumerate(maps))):
            of_scale, predicted = {}, {}
            for task, outputs in self.channels.items():
                seen = x
                if told is not None:
                    coarser = layers.resize_bilinear(told[task], x.shape[1:3])
                    seen = jnp.concatenate([x, coarser], axis=-1)
                of_scale[task] = refinement.Blocks(
                    x.shape[-1], dtype=self.dtype, name=f"first{scale}_{task}"
                )(seen, train=train)
                predict = layers.Conv(outputs, 1, use_bias=True, name=f"predict{scale}_{task}")
                predicted[task] = predict(of_scale[task])
            if scale:
                told = refinement.Propagation(
                    self.attention_groups,
                    self.se_reduction,
                    self.dtype,
                    name=f"propagate{scale}",
                )(of_scale, train=train)
            features.insert(0, of_scale)
            first.insert(0, predicted)
        return features, first
