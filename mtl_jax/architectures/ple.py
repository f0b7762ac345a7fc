"""Progressive layered extraction (Tang et al. 2020), with the stages of ResNets as experts.

A ResNet for each task and a shared one go side by side. After each of the four stages a task's next
stage is given a mixture of its own and the shared features, and the shared one a mixture of all;
after the last the tasks' mixtures go to their decoders. The gates are `mtl_jax.heads.gates.Gate`.
"""

from flax import linen as nn

from mtl_jax import _options, encoders
from mtl_jax.architectures import _side_by_side
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


class PLE(_side_by_side.SideBySide):
    """ResNets side by side whose next stages are given mixtures of what the last ones made.

    Beside the tasks' encoders there is `encoder_shared`.
    """

    def exchange(self, number, maps, *, train):
        """What the next stages are given; after the last there is no next shared one."""
        del train
        if number == 0:
            return maps
        found = {}
        for task in self.channels:
            seen = [maps[task], maps[SHARED]]
            found[task] = gates.mixed(seen, gates.Gate(name=f"gate{number}_{task}")(seen))
        if number < resnet.STAGES:
            seen = list(maps.values())
            found[SHARED] = gates.mixed(seen, gates.Gate(name=f"mixture{number}")(seen))
        return found
