"""SegNet (Badrinarayanan et al. 2017) as the multi-task literature trains it, one head per task.

With one task it is the single-task baseline of MTAN (report C), whose trunk it shares.

Kernels start as 'kaiming_normal_fan_in' in report C, as 'xavier_normal' in Liu et al. 2019; biases
at 0. The network is its own encoder; there is no `config.model.encoder`.

Where a side of the image is not a multiple of 32, pools have a last partial window and unpooling
gives back the size that was pooled. Convolutions keep a bias before BatchNorm, as published; its
gradient is zero in exact arithmetic.
"""

import functools

import jax
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, layers
from mtl_jax._options import Option, each, one_of, whole
from mtl_jax.architectures import Predictions
from mtl_jax.layers import pooling

_CONVS = {"full": (2, 2, 3, 3, 3), "one": (1, 1, 1, 1, 1)}

OPTIONS = {
    "widths": Option(
        (64, 128, 256, 512, 512), "channels of the five stages", each(whole(least=1), length=5)
    ),
    "convs_per_stage": Option(
        "full", "'full', 2, 2, 3, 3 and 3 convolutions, or 'one' in each stage", one_of(*_CONVS)
    ),
    "init": Option(
        "kaiming_normal_fan_in",
        "kernel initialiser of every convolution",
        one_of(*layers.INITIALIZERS),
    ),
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The SegNet of these `OPTIONS`."""
    return SegNet(channels=channels, **trunk_options(options))


def trunk_options(options) -> dict:
    """The options of the trunk, as keyword arguments of `SegNet` and of MTAN."""
    return {
        "widths": options.widths,
        "convs": _CONVS[options.convs_per_stage],
        "kernel_init": options.init,
        "dtype": _options.dtype(options.dtype),
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
