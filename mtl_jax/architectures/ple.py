"""Progressive layered extraction (Tang et al. 2020), with the stages of ResNets as experts.

A ResNet for each task and a shared one go side by side. After each of the four stages a task's next
stage is given a mixture of its own and the shared features, and the shared one a mixture of all;
after the last the tasks' mixtures go to their decoders. The gates are `mtl_jax.heads.gates.Gate`.
"""

import jax
from flax import linen as nn

from mtl_jax import _options, encoders, layers
from mtl_jax.architectures import Predictions
from mtl_jax.encoders import resnet
from mtl_jax.errors import ConfigError
from mtl_jax.heads import branches, gates

OPTIONS = {
    # It looks into the stages of this one encoder.
    "encoder": _options.Part(encoders, "resnet", "of every task and the shared", only=("resnet",)),
    **branches.OPTIONS,
}
SHARED = "shared"


def build(options, channels: dict[str, int]) -> nn.Module:
    """The network of these `OPTIONS`.

    Raises:
      ConfigError: a task is called 'shared'.
    """
    if SHARED in channels:
        raise ConfigError(
            f"config.tasks.{SHARED}: 'ple' has an encoder of that name; call the task otherwise."
        )
    branch = branches.build(options, channels)
    encoder = {
        name: encoders.build(options.encoder, dtype=branch.dtype) for name in (*channels, SHARED)
    }
    return PLE(encoder, channels, branch)


class PLE(nn.Module):
    """ResNets side by side whose next stages are given mixtures of what the last ones made.

    Attributes:
      encoder: {task, or 'shared': encoder}, which are the modules `encoder_<name>`.
      channels: {task: outputs}.
      branch: what each task has at its end.
    """

    encoder: dict[str, resnet.ResNet]
    channels: dict[str, int]
    branch: branches.Branch

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32."""
        stems = {name: e.stem(image, train=train) for name, e in self.encoder.items()}
        maps = {name: self.encoder[name].pooled(stem) for name, stem in stems.items()}
        stages = []
        for number in range(1, 1 + resnet.STAGES):
            maps = {
                name: self.encoder[name].stage(number, x, train=train)[1]
                for name, x in maps.items()
            }
            maps = self._mixed(number, maps)
            stages.append(maps)
        final = {}
        for task, outputs in self.channels.items():
            own = [of_stage[task] for of_stage in stages]
            pyramid = self.encoder[task].pyramid(image, stems[task], own)
            predictions, _ = self.branch(pyramid, outputs, task=task, train=train)
            final[task] = layers.resize_bilinear(predictions, image.shape[1:3])
        return Predictions(final=final)

    def _mixed(self, number: int, maps: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """What the next stages are given; after the last there is no next shared one."""
        found = {}
        for task in self.channels:
            seen = [maps[task], maps[SHARED]]
            found[task] = gates.mixed(seen, gates.Gate(name=f"gate{number}_{task}")(seen))
        if number < resnet.STAGES:
            seen = list(maps.values())
            found[SHARED] = gates.mixed(seen, gates.Gate(name=f"mixture{number}")(seen))
        return found
