"""VGG-16's original convolutions (Simonyan and Zisserman 2015) from a Keras model saved as ONNX.

Such files name a block's layers `block1_conv1` and so on, as Keras' applications do, and have
kernels in PyTorch's layout. The original networks read blue, green and red from 0 to 255, less the
training set's means. Here images are red, green and blue: the inputs of the first kernel change
places, and a run has to normalise by `IMAGE_MEAN` and `IMAGE_STD`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mtl_jax.weights import onnx_files, safetensors_files
from mtl_jax.weights.published import PretrainedError

# Of pixels in [0, 1]: red, green and blue less 123.68, 116.779 and 103.939 of 255.
IMAGE_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
IMAGE_STD = (1 / 255,) * 3

# (block, layer) ─► place in torchvision's `features`, and channels.
_PLACES = {
    **{(1, i): (place, 64) for i, place in enumerate((0, 2), 1)},
    **{(2, i): (place, 128) for i, place in enumerate((5, 7), 1)},
    **{(3, i): (place, 256) for i, place in enumerate((10, 12, 14), 1)},
    **{(4, i): (place, 512) for i, place in enumerate((17, 19, 21), 1)},
    **{(5, i): (place, 512) for i, place in enumerate((24, 26, 28), 1)},
}
# The first number of each layer's kernel and bias, in the order of `_PLACES`, as a printout of the
# authors' own imagenet-vgg-verydeep-16.mat shows them.
_ORIGINAL = {
    "weight": (0.4800154, 0.16621928, -0.008902963, -0.0023012366, 0.002486315, -0.0103266295)
    + (0.0024918285, -0.012453815, 0.007116542, -0.0041355654, -0.0006068934, -0.0011261065)
    + (0.00040788297,),
    "bias": (0.73429835, -0.30912212, -0.04577766, -0.06418542, -0.074358866, 0.019675018)
    + (0.035415243, 0.013485669, 0.023680462, 0.03757768, 0.09722325, 0.21327873, 0.18837857),
}
_NAME = re.compile(
    r"(?:.*/)?block(\d)_conv(\d)(?:_\d+)?/(convolution/ReadVariableOp|Squeeze)(?::0)?"
)


def from_onnx(source: Path, target: Path) -> list[str]:
    """Writes the 13 convolutions of an `.onnx` file as torchvision names them.

    The fully connected layers fc6 and fc7, which FCN-32s makes convolutions of, are not part of
    such a model: they start at random, and `config.model.pretrained_scope` has to be 'encoder'.

    Args:
      source: the model.
      target: of the `.safetensors` file, for `config.model.pretrained`; set
        `config.model.image_mean` and `image_std` to `IMAGE_MEAN` and `IMAGE_STD` with it.

    Returns:
      The layers that are not the original's, as `trained_on` lists them.

    Raises:
      PretrainedError: the model has no VGG-16's convolutions, or they are of other shapes.
      OnnxError: it cannot be read.
      OSError: a file cannot be opened or written.
    """
    arrays = convert(onnx_files.read(source), origin=str(source))
    about = {"format": "pt", "image_mean": str(IMAGE_MEAN), "image_std": str(IMAGE_STD)}
    safetensors_files.write(target, arrays, about)
    return trained_on(arrays)


def trained_on(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the arrays of `convert` whose first number is not the original network's.

    Who trained a model on top of VGG-16 may have trained its convolutions too; those are no longer
    ImageNet's.
    """
    return [
        name
        for leaf, firsts in _ORIGINAL.items()
        for (place, _), first in zip(_PLACES.values(), firsts, strict=True)
        if not np.isclose(arrays[name := f"features.{place}.{leaf}"].flat[0], first, 1e-6, 0)
    ]


def convert(initialisers: Mapping[str, np.ndarray], *, origin: str) -> dict[str, np.ndarray]:
    """{'features.0.weight': [64, 3, 3, 3], 'features.0.bias': [64], ...} in torchvision's order.

    Args:
      initialisers: of the ONNX graph.
      origin: where they come from, for errors.

    Raises:
      PretrainedError: see `from_onnx`.
    """
    found = {}
    for name, array in initialisers.items():
        match = _NAME.fullmatch(name)
        if match:
            leaf = "bias" if match[3] == "Squeeze" else "weight"
            found[int(match[1]), int(match[2]), leaf] = array
    arrays, inputs = {}, 3
    for (block, layer), (place, outputs) in _PLACES.items():
        for leaf, shape in (("weight", (outputs, inputs, 3, 3)), ("bias", (outputs,))):
            array = found.get((block, layer, leaf))
            if array is None or array.shape != shape:
                what = "none" if array is None else f"one of {array.shape}"
                raise PretrainedError(
                    f"{origin} has no VGG-16: expected a {leaf} of {shape} for "
                    f"block{block}_conv{layer}, found {what}."
                )
            arrays[f"features.{place}.{leaf}"] = np.asarray(array, np.float32)
        inputs = outputs
    # Blue, green, red ─► red, green, blue.
    arrays["features.0.weight"] = arrays["features.0.weight"][:, ::-1]
    return arrays
