"""Branched networks whose decoders exchange features before they predict again.

PAD-Net's idea (Xu et al. 2018) in the two readings of reports A and B: a final decoder of each task
receives the task's own features plus the attended features of every other task,
f_t + Σ_{s≠t} attention(f_s). Value and gate both come from the *other* task's features.

Report B has one attention for all directions and final decoders of one 1×1 convolution, report A an
attention for each direction and final decoders of two 3×3 CBRs and a 1×1 convolution. Of
squeeze-and-excitation, which first decoders alone have, what is exchanged is the result.

The first predictions are `auxiliary`: `config.train.deep_supervision` decides on their loss.
"""

import jax
from flax import linen as nn

from mtl_jax import encoders, layers
from mtl_jax._options import Option, one_of
from mtl_jax.architectures import Predictions
from mtl_jax.heads import attention, branches

OPTIONS = {
    "encoder": encoders.PART,
    **branches.OPTIONS,
    **branches.NECK,
    **branches.PRETRAINED_HEADS,
    "attention": {
        "sharing": Option(
            "shared",
            "one attention for all directions, or one each",
            one_of("shared", "per_direction"),
        ),
        "gate_init": Option("zeros", "initialiser of the gates", one_of(*layers.INITIALIZERS)),
    },
    "final_decoder": Option(
        "1x1",
        "'1x1', one convolution, or '3x3', two 3×3 CBRs and a 1×1 convolution",
        one_of("1x1", "3x3"),
    ),
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The distillation network of these `OPTIONS`."""
    branch = branches.build(options, channels)
    return Distillation(
        encoder=encoders.build(options.encoder, dtype=branch.dtype),
        channels=channels,
        branch=branch,
        shared_attention=options.attention.sharing == "shared",
        gate_init=options.attention.gate_init,
        final_convs=0 if options.final_decoder == "1x1" else 2,
        neck=options.neck,
    )


class Distillation(nn.Module):
    """Encoder ─► per task: ASPP ─► decoder ─► attention between tasks ─► final decoder."""

    encoder: nn.Module
    channels: dict[str, int]
    branch: branches.Branch
    shared_attention: bool
    gate_init: str
    final_convs: int
    neck: str = "none"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32, final and first."""
        size = image.shape[1:3]
        first, features = self._first_predictions(image, train=train)
        attended = self._attended(features)
        final = {}
        for task, outputs in self.channels.items():
            x = features[task] + sum(
                attended[source, task] for source in features if source != task
            )
            for index in range(self.final_convs):
                x = layers.ConvBNReLU(
                    features[task].shape[-1],
                    dtype=self.branch.dtype,
                    name=f"final_{task}_conv{index + 1}",
                )(x, train=train)
            x = layers.Conv(outputs, 1, use_bias=True, name=f"final_{task}_predict")(x)
            final[task] = layers.resize_bilinear(x, size)
        first = {task: layers.resize_bilinear(x, size) for task, x in first.items()}
        return Predictions(final=final, auxiliary=(first,))

    def _first_predictions(self, image: jax.Array, *, train: bool) -> tuple[dict, dict]:
        """Predictions and features of the branched network, both at stride 4."""
        pyramid = self.encoder(image, train=train)
        pyramid = branches.through_neck(self.neck, pyramid, self.branch.dtype)
        first, features = {}, {}
        for task, outputs in self.channels.items():
            first[task], features[task] = self.branch(pyramid, outputs, task=task, train=train)
        return first, features

    def _attended(self, features: dict[str, jax.Array]) -> dict[tuple[str, str], jax.Array]:
        """{(source, target): attention(features of source)} for every pair of different tasks."""
        pairs = [(s, t) for s in features for t in features if s != t]
        if not self.shared_attention:
            return {
                (s, t): attention.SelfAttention(
                    self.gate_init, self.branch.dtype, name=f"attention_{s}_to_{t}"
                )(features[s])
                for s, t in pairs
            }
        if not pairs:
            return {}
        shared = attention.SelfAttention(self.gate_init, self.branch.dtype, name="attention")
        values = {task: shared(x) for task, x in features.items()}
        return {(s, t): values[s] for s, t in pairs}
