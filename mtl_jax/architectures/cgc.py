"""Customised gate control (Tang et al. 2020), with encoders as experts.

As `mmoe`, but every task has experts of its own beside the shared ones, which only its gate mixes.
"""

from flax import linen as nn

from mtl_jax import encoders
from mtl_jax._options import Option, whole
from mtl_jax.architectures import mmoe
from mtl_jax.heads import branches

OPTIONS = {
    "encoder": encoders.PART,
    **branches.OPTIONS,
    "shared_experts": Option(1, "encoders that all tasks mix", whole(least=0)),
    "own_experts": Option(1, "encoders of each task, which it alone mixes", whole(least=1)),
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The network of these `OPTIONS`."""
    branch = branches.build(options, channels)
    shared = [f"shared{index}" for index in range(options.shared_experts)]
    own = {task: [f"{task}_{index}" for index in range(options.own_experts)] for task in channels}
    encoder = {
        name: encoders.build(options.encoder, dtype=branch.dtype)
        for name in (*shared, *(name for names in own.values() for name in names))
    }
    mixes = {task: (*names, *shared) for task, names in own.items()}
    return CGC(encoder, mixes, channels, branch)


class CGC(mmoe.MMoE):
    """A mixture of experts in which a task does not see those of another."""
