"""One encoder and three convolutions for each task at half the image's size (report E).

Kendall et al. 2018 weight these tasks by learned uncertainties; that part is a weighting.

Report E has a ResNet-101 at output stride 8, whose dilation rule 'torchvision' has its number of
parameters, kernels that start with σ = 0.01, biases at 0, and TensorFlow 1's rule of bilinear
interpolation, for the features' resize to half the image and the predictions' to the whole.

The last convolution has no activation: offsets have a sign, and logits no bound.
"""

import functools

import jax
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option, one_of, whole
from mtl_jax.architectures import Predictions

_RESIZES = {
    "tf1": layers.resize_bilinear_tf1,
    "half_pixel": layers.resize_bilinear,
    "align_corners": layers.resize_bilinear_align_corners,
}


OPTIONS = {
    "encoder": encoders.PART,
    "decoder": {
        "channels": Option(512, "of both hidden convolutions", whole(least=1)),
        "init": Option("truncated_normal", "kernel initialiser", one_of(*layers.INITIALIZERS)),
    },
    "resize": Option("tf1", "rule of bilinear interpolation", one_of(*_RESIZES)),
}


def build(options, channels: dict[str, int]) -> nn.Module:
    """The network of these `OPTIONS`."""
    dtype = _options.dtype(options.dtype)
    return Uncertainty(
        encoder=encoders.build(options.encoder, dtype=dtype),
        channels=channels,
        decoder_channels=options.decoder.channels,
        kernel_init=options.decoder.init,
        resize=options.resize,
        dtype=dtype,
    )


class Uncertainty(nn.Module):
    """Encoder ─► half the image's size ─► per task: 3×3, 1×1, 1×1 convolutions."""

    encoder: nn.Module
    channels: dict[str, int]
    decoder_channels: int
    kernel_init: str
    resize: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32."""
        size = image.shape[1:3]
        resize = _RESIZES[self.resize]
        x = resize(self.encoder(image, train=train).last, [-(-n // 2) for n in size])
        return Predictions(
            final={
                task: resize(
                    Decoder(
                        outputs,
                        self.decoder_channels,
                        self.kernel_init,
                        self.dtype,
                        name=f"decoder_{task}",
                    )(x),
                    size,
                )
                for task, outputs in self.channels.items()
            }
        )


class Decoder(nn.Module):
    """3×3 ─► ReLU ─► 1×1 ─► ReLU ─► 1×1, with biases; 9,717,794 parameters for 2048 ─► 34."""

    outputs: int
    channels: int
    kernel_init: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, c] ─► [B, h, w, outputs] float32."""
        conv = functools.partial(
            layers.Conv, use_bias=True, kernel_init=self.kernel_init, bias_init="zeros"
        )
        x = nn.relu(conv(self.channels, dtype=self.dtype, name="conv1")(x))
        x = nn.relu(conv(self.channels, 1, dtype=self.dtype, name="conv2")(x))
        return conv(self.outputs, 1, name="predict")(x)
