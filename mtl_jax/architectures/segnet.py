"""SegNet (Badrinarayanan et al. 2017) as the multi-task literature trains it, one head per task.

With one task it is the single-task baseline of MTAN (report C), whose trunk it shares.

Options (`config.model`):
  widths: channels of the five stages; (64, 128, 256, 512, 512) in the report.
  convs_per_stage: 'full', 2, 2, 3, 3 and 3 convolutions, or 'one', a single one in each stage.
  init: kernel initialiser of every convolution; biases start at 0. 'kaiming_normal_fan_in' in
    report C, 'xavier_normal' in Liu et al. 2019.
  dtype: 'float32' or 'bfloat16', the compute type.

The network is its own encoder; there is no `config.model.encoder`.

Where a side of the image is not a multiple of 32, pools have a last partial window and unpooling
gives back the size that was pooled. Convolutions keep a bias before BatchNorm, as published; its
gradient is zero in exact arithmetic.
"""

import functools

import jax
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, layers
from mtl_jax.architectures import Predictions
from mtl_jax.errors import ConfigError
from mtl_jax.layers import pooling

_CONVS = {"full": (2, 2, 3, 3, 3), "one": (1, 1, 1, 1, 1)}
ANY_ENCODER = "branched, distillation, fcn, joint, stacked_unet and uncertainty"


def build(config, channels: dict[str, int]) -> nn.Module:
    """Builds the SegNet that `config` (`config.model`) describes; see the module.

    Raises:
      ConfigError: an option is unknown, missing or impossible.
    """
    return SegNet(channels=channels, **trunk_options(config))


def trunk_options(config) -> dict:
    """The checked options of the trunk, as keyword arguments of `SegNet` and of MTAN."""
    if config.get("encoder"):
        raise ConfigError(
            f"config.model.encoder={config.encoder.get('name')!r}, but {config.architecture!r} is "
            "its own encoder, SegNet's: leave config.model.encoder out. 'mtan_resnet' goes with "
            f"the encoder 'resnet'; {ANY_ENCODER} go with any encoder."
        )
    missing = [key for key in ("widths", "convs_per_stage", "init") if key not in config]
    if missing:
        raise ConfigError(f"config.model lacks {', '.join(missing)} for {config.architecture!r}.")
    widths = tuple(config.widths)
    if len(widths) != 5 or min(widths) < 1:
        raise ConfigError(f"config.model.widths={widths}; expected five positive numbers.")
    if config.convs_per_stage not in _CONVS:
        raise ConfigError(
            f"config.model.convs_per_stage={config.convs_per_stage!r}; expected one of "
            f"{', '.join(_CONVS)}."
        )
    layers.initializer(config.init)
    return {
        "widths": widths,
        "convs": _CONVS[config.convs_per_stage],
        "kernel_init": config.init,
        "dtype": _options.dtype(config.dtype, key="config.model.dtype"),
    }


def cbr(features: int, *, kernel_init: str, dtype: DTypeLike, name: str) -> layers.ConvBNReLU:
    """3×3 convolution with bias ─► BatchNorm ─► ReLU."""
    return layers.ConvBNReLU(
        features, 3, kernel_init=kernel_init, use_bias=True, dtype=dtype, name=name
    )


class Stage(nn.Module):
    """`convs` times `cbr`; returns what the first and what the last of them gave."""

    features: int
    convs: int
    kernel_init: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        outputs = []
        for index in range(self.convs):
            x = cbr(
                self.features, kernel_init=self.kernel_init, dtype=self.dtype, name=f"conv{index}"
            )(x, train=train)
            outputs.append(x)
        return outputs[0], outputs[-1]


class Encoder(nn.Module):
    """Five stages, each followed by a pool that remembers the maxima's positions."""

    widths: tuple[int, ...]
    convs: tuple[int, ...]
    kernel_init: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool):
        """Normalised image [B, H, W, 3] ─► pooled, stages.

        Returns:
          pooled: [B, ⌈H/32⌉, ⌈W/32⌉, c].
          stages: for each stage its first features, its last features and int8 positions.
        """
        x, stages = image, []
        for index, (width, convs) in enumerate(zip(self.widths, self.convs)):
            stage = Stage(width, convs, self.kernel_init, self.dtype, name=f"stage{index}")
            first, last = stage(x, train=train)
            x, position = pooling.max_pool_2x2(last)
            stages.append((first, last, position))
        return x, stages


class Decoder(nn.Module):
    """Five times: unpool to the encoder's positions, then its stage mirrored."""

    widths: tuple[int, ...]
    convs: tuple[int, ...]
    kernel_init: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, stages, *, train: bool):
        """`Encoder`'s outputs ─► from deep to shallow, (unpooled, last features) of each stage.

        A stage has the width of its unpooled input in its first convolution's input only; its
        output has the width of the next shallower encoder stage (the first stage: its own).
        """
        outputs = []
        for index in reversed(range(5)):
            _, last, position = stages[index]
            unpooled = pooling.max_unpool_2x2(x, position, last.shape[1:3])
            width = self.widths[max(index - 1, 0)]
            stage = Stage(
                width, self.convs[index], self.kernel_init, self.dtype, name=f"stage{index}"
            )
            _, x = stage(unpooled, train=train)
            outputs.append((unpooled, x))
        return outputs


class Head(nn.Module):
    """3×3 convolution without activation, then 1×1; float32 logits or values."""

    outputs: int
    kernel_init: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = functools.partial(
            layers.Conv, use_bias=True, kernel_init=self.kernel_init, bias_init="zeros"
        )
        x = conv(x.shape[-1], dtype=self.dtype, name="conv")(x)
        return conv(self.outputs, 1, name="predict")(x)


class SegNet(nn.Module):
    """Encoder ─► decoder with unpooling ─► a head per task."""

    channels: dict[str, int]
    widths: tuple[int, ...]
    convs: tuple[int, ...]
    kernel_init: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32."""
        options = (self.widths, self.convs, self.kernel_init, self.dtype)
        x, stages = Encoder(*options, name="encoder")(image, train=train)
        _, x = Decoder(*options, name="decoder")(x, stages, train=train)[-1]
        return Predictions(
            final={
                task: Head(outputs, self.kernel_init, self.dtype, name=f"head_{task}")(x)
                for task, outputs in self.channels.items()
            }
        )
