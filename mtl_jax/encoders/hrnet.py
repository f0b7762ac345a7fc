"""HRNet-18 (Wang et al. 2020): four resolutions side by side.

"Small v2" is the network that multi-task papers call HRNet-18, of 3.9 million parameters; the full
HRNet-W18 has 9.6 million. Parameters are named as in timm's `hrnet_w18_small_v2`:
`stage3.1.fuse_layers.0.2.0.weight` is `stage3_1/fuse_layers_0_2_0/conv/kernel`.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import layers
from mtl_jax._options import Option, one_of
from mtl_jax.encoders._published import Published, Source
from mtl_jax.encoders._pyramid import Pyramid
from mtl_jax.layers.residual import Residual

WIDTHS = (18, 36, 72, 144)


@dataclasses.dataclass(frozen=True)
class _Depth:
    """How many of each there are."""

    bottlenecks: int  # before the stages
    modules: tuple[int, int, int]  # of stages 2, 3 and 4
    units: int  # basic blocks of a module's branch


SIZES = {"small_v2": _Depth(2, (1, 3, 2), 2), "w18": _Depth(4, (1, 4, 3), 4)}
# Of every block: running statistics, and kernels before training.
_LIKE = {"momentum": 0.99, "kernel_init": "kaiming_normal_fan_out"}


OPTIONS = {
    "size": Option("small_v2", "small_v2, what papers call HRNet-18, or w18", one_of(*SIZES)),
}


def build(options, *, dtype: DTypeLike = jnp.float32) -> nn.Module:
    """The network of these `OPTIONS`."""
    return HRNet(size=options.size, dtype=dtype)


def _published_layer(layer: str) -> str | None:
    """'encoder/stage3_1/fuse_layers_0_2_0/conv' ─► 'stage3.1.fuse_layers.0.2.0'; None outside."""
    if not layer.startswith("encoder/"):
        return None
    *blocks, kind = layer.removeprefix("encoder/").split("/")
    place = {"conv": "0", "bn": "1"}[kind]
    last = blocks[-1]
    if last.startswith("stem"):
        return f"{kind}{last.removeprefix('stem')}"
    above = ".".join(blocks[:-1]).replace("_", ".")
    if last.startswith("unit"):
        return f"{above}.{kind}{last.removeprefix('unit')}"
    if last == "downsample":
        return f"{above}.downsample.{place}"
    if last.startswith("transition"):
        transition, branch = last.removeprefix("transition").split("_")
        # A new branch is a list of one; the other of the first transition is not.
        within = "" if branch == "0" else "0."
        return f"transition{transition}.{branch}.{within}{place}"
    target, source, step = last.removeprefix("fuse_layers_").split("_")
    within = f"{step}." if source < target else ""
    return f"{above}.fuse_layers.{target}.{source}.{within}{place}"


def _describe(arrays: Mapping[str, np.ndarray]) -> str:
    """Which size a file is of; '' where it is of no HRNet-18."""
    kernel = arrays.get("stage2.0.branches.0.0.conv1.weight")
    if kernel is None or len(kernel) != WIDTHS[0]:
        return ""
    size = "w18" if "layer1.3.conv1.weight" in arrays else "small_v2"
    return f"The file is of config.model.encoder.size={size!r}."


PUBLISHED = Published(
    layer=_published_layer,
    unused=("incre_modules.", "downsamp_modules.", "final_layer.", "classifier."),
    sources={
        "hrnet_w18_small_v2": Source(repo="timm/hrnet_w18_small_v2.ms_in1k"),
        "hrnet_w18": Source(repo="timm/hrnet_w18.ms_aug_in1k"),
    },
    size="size",
    describe=_describe,
)


class Module(nn.Module):
    """Branches of their own, each of `units` basic blocks, then every scale from all of them."""

    units: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, maps: list[jax.Array], *, train: bool) -> list[jax.Array]:
        maps = list(maps)
        for branch, width in enumerate(WIDTHS[: len(maps)]):
            for unit in range(self.units):
                name = f"branches_{branch}_{unit}"
                maps[branch] = Residual(width, **_LIKE, dtype=self.dtype, name=name)(
                    maps[branch], train=train
                )
        return [self._fused(maps, target, train) for target in range(len(maps))]

    def _fused(self, maps, target: int, train: bool) -> jax.Array:
        """ReLU of the sum of all maps, brought to the target's scale and width."""
        total = 0.0
        for source, x in enumerate(maps):
            name = f"fuse_layers_{target}_{source}"
            if source > target:
                x = layers.ConvBNReLU(
                    WIDTHS[target], 1, linear=True, **_LIKE, dtype=self.dtype, name=f"{name}_0"
                )(x, train=train)
                x = layers.resize_bilinear(x, maps[target].shape[1:3])
            for step in range(target - source):
                last = step == target - source - 1
                x = layers.ConvBNReLU(
                    WIDTHS[target] if last else WIDTHS[source],
                    stride=2,
                    linear=last,
                    **_LIKE,
                    dtype=self.dtype,
                    name=f"{name}_{step}",
                )(x, train=train)
            total = total + x
        return nn.relu(total)


class HRNet(nn.Module):
    """Stem, bottlenecks, then three stages of two, three and four resolutions.

    Attributes:
      size: of `SIZES`.
      dtype: compute type.
    """

    size: str = "small_v2"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Pyramid:
        """[B, ⌈H/s⌉, ⌈W/s⌉, c] at strides s = 4, 8, 16, 32 with 18, 36, 72, 144 channels."""
        depth, x = SIZES[self.size], image
        for index in (1, 2):
            x = layers.ConvBNReLU(64, stride=2, **_LIKE, dtype=self.dtype, name=f"stem{index}")(
                x, train=train
            )
        for index in range(depth.bottlenecks):
            x = Residual(256, bottleneck=True, **_LIKE, dtype=self.dtype, name=f"layer1_{index}")(
                x, train=train
            )
        maps = [x]
        for stage, modules in enumerate(depth.modules, start=2):
            maps = self._transition(maps, stage, train)
            for index in range(modules):
                module = Module(depth.units, self.dtype, name=f"stage{stage}_{index}")
                maps = module(maps, train=train)
        return Pyramid(dict(zip((4, 8, 16, 32), maps, strict=True)), skip=maps[0])

    def _transition(self, maps, stage: int, train: bool) -> list[jax.Array]:
        """Adds a scale, made from the lowest; the first time the width of the other changes too."""
        name = f"transition{stage - 1}"
        lowest = layers.ConvBNReLU(
            WIDTHS[stage - 1], stride=2, **_LIKE, dtype=self.dtype, name=f"{name}_{stage - 1}"
        )(maps[-1], train=train)
        if stage == 2:
            maps = [
                layers.ConvBNReLU(WIDTHS[0], **_LIKE, dtype=self.dtype, name=f"{name}_0")(
                    maps[0], train=train
                )
            ]
        return [*maps, lowest]
