"""Encoders at equal time: random ones, and two from ImageNet weights, with the default's decoders.

--sweep=configs/sweeps/encoders.py  Streets; VGG-16 starts from `runs/vgg16.safetensors`, which
                                    examples/convert_vgg16_onnx.py writes

`STEPS` are what about a minute of one core's processor time is worth. What a row really took is in
the report.
"""

from ml_collections import ConfigDict
from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import branched, common, fcn
from mtl_jax.studies.sweeps import TRAIN_EXAMPLES, Row

PROTOCOLS = ("streets",)
REPORTED = ""  # nothing is published of it
STEPS = {
    "resnet18_narrow": 220,
    "efficientnet_lite0": 400,
    "efficientnet_lite0_imagenet": 400,
    "vgg16_imagenet": 30,
}


def get_rows(protocol: str) -> list[Row]:
    """A row for each encoder, as long as its steps."""
    del protocol  # there is one
    imagenet = _studies.small(branched.get_config())
    vgg = _studies.variant(
        imagenet, _studies.CAFFE | {"model.pretrained": "runs/vgg16.safetensors"}
    )
    vgg.model.encoder = fcn.vgg()
    scratch = _studies.variant(imagenet, _studies.SCRATCH)
    resnet = _studies.variant(scratch, {})
    resnet.model.encoder = common.resnet(18, "FFF", width=32)
    configs = {
        "resnet18_narrow": resnet,
        "efficientnet_lite0": scratch,
        "efficientnet_lite0_imagenet": imagenet,
        "vgg16_imagenet": vgg,
    }
    return [Row(name, _lasting(config, STEPS[name])) for name, config in configs.items()]


def _lasting(config: ConfigDict, steps: int) -> ConfigDict:
    """So many steps, a tenth of them to warm up."""
    epoch = TRAIN_EXAMPLES[config.data.dataset] // config.train.batch_size
    changes = {"train.epochs": (steps + 0.5) / epoch, "schedule.warmup_epochs": 0.1 * steps / epoch}
    return _studies.variant(config, changes)
