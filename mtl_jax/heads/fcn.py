"""The two ends of FCN-32s (Long et al. 2015, report D): fully connected layers as convolutions,
and the scores' learned upsampling."""

import jax
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import layers
from mtl_jax.errors import UsageError
from mtl_jax.layers import transposed


class Classifier(nn.Module):
    """VGG's or AlexNet's two hidden fully connected layers, as convolutions.

    `fc6` and `fc7` take the weights of the published classifiers' first two layers.

    Attributes:
      kernel_size: of fc6; 7 after VGG, 6 after AlexNet.
      hidden: channels of both; 4096 as published.
      padded: keep the resolution; as published, fc6 takes kernel_size − 1 pixels off it.
      dropout: rate after each, in training.
      dtype: compute type.
    """

    kernel_size: int
    hidden: int
    padded: bool
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, h, w, c] ─► [B, h', w', hidden].

        Raises:
          UsageError: the features are smaller than an unpadded kernel.
        """
        k = self.kernel_size
        if not self.padded and min(x.shape[1:3]) < k:
            raise UsageError(
                f"The thesis's tail has an unpadded {k}×{k} convolution on features of "
                f"{x.shape[1]}×{x.shape[2]} pixels. Use larger images or "
                "config.model.tail.name='corrected'."
            )
        padding = ((k - 1) // 2, k // 2) if self.padded else (0, 0)
        for name, size, pad in (("fc6", k, padding), ("fc7", 1, (0, 0))):
            x = layers.Conv(
                self.hidden, size, use_bias=True, padding=pad, dtype=self.dtype, name=name
            )(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
        return x


class Upscore(nn.Module):
    """1×1 scores that start at 0 and a transposed convolution that starts as interpolation.

    The transposed convolution has stride s, the features' stride, and kernel 2·s: C² · 4s²
    parameters. Both compute in float32.

    Attributes:
      outputs: C.
      stride: of the features.
      registered: True lays the result over the image and crops it; False stretches the unpadded
        result to the image, which misplaces it, as the thesis does.
    """

    outputs: int
    stride: int
    registered: bool

    @nn.compact
    def __call__(self, x: jax.Array, size: tuple[int, int]) -> jax.Array:
        """[B, h, w, c], (H, W) ─► [B, H, W, C]."""
        x = layers.Conv(
            self.outputs, 1, use_bias=True, kernel_init="zeros", bias_init="zeros", name="score"
        )(x)
        x = transposed.ConvTranspose(
            self.outputs,
            kernel_size=2 * self.stride,
            stride=self.stride,
            padding=self.stride // 2 if self.registered else 0,
            output_padding=0,
            use_bias=False,
            kernel_init="bilinear",
            name="upscore",
        )(x)
        if self.registered:
            return x[:, : size[0], : size[1]]
        return layers.resize_bilinear_align_corners(x, size)
