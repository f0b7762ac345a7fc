"""Weight decay of FCN-32s, from scratch and from ImageNet weights (report D, table 1.2, fig. 6.1b).

--sweep=configs/sweeps/weight_decay.py             small network on Streets
--sweep=configs/sweeps/weight_decay.py:camvid      photographs, EfficientNet-Lite0
--sweep=configs/sweeps/weight_decay.py:camvid_vgg  photographs, VGG-16; the rows `*_imagenet` start
                                                   from `runs/vgg16.safetensors`, which
                                                   examples/convert_vgg16_onnx.py writes
--sweep=configs/sweeps/weight_decay.py:pascal      as reported: ResNet-18, half of D1
"""

from ml_collections import ConfigDict
from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import fcn
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "camvid", "camvid_vgg", "pascal")
REPORTED = "pascal"
DECAYS = ("0", "1e-4", "5e-4", "1e-3")


def get_rows(protocol: str) -> list[Row]:
    """Each weight decay twice."""
    rows = []
    for decay in DECAYS:
        for start, config in _starts(protocol).items():
            ids = (f"D-T1.2-{decay}-{start}", f"D-F6.1b-{decay}-{start}", f"D-series1-{start}")
            config = _studies.variant(config, {"optimizer.weight_decay": float(decay)})
            published = ids if protocol == REPORTED else ()
            rows.append(Row(f"{decay}_{start}", config, published=published))
    return rows


def _starts(protocol: str) -> dict[str, ConfigDict]:
    if protocol == "pascal":
        imagenet = fcn.get_config("pascal_pretrained")
        return {
            "scratch": fcn.get_config("pascal"),
            "imagenet": _studies.variant(imagenet, _studies.BIASES),
        }
    if protocol == "camvid_vgg":
        scratch = _photographs(fcn.get_config("camvid_vgg"), 5e-3)
        scratch = _studies.variant(scratch, _studies.CAFFE)
        changes = {"model.pretrained": "runs/vgg16.safetensors", "optimizer.encoder_scale": 0.1}
        return {"scratch": scratch, "imagenet": _studies.variant(scratch, changes)}
    if protocol == "camvid":
        imagenet = _photographs(fcn.get_config("camvid"), 5e-2)
    else:
        imagenet = _studies.only(_studies.small(fcn.get_config("streets")), ["semseg"])
    imagenet = _studies.from_imagenet(imagenet)
    return {"scratch": _studies.variant(imagenet, _studies.SCRATCH), "imagenet": imagenet}


def _photographs(config: ConfigDict, rate: float) -> ConfigDict:
    """Six epochs of smaller crops by SGD, evaluated after each: curves as the thesis draws them."""
    config.optimizer.name = "sgd"
    config.schedule.learning_rate = rate
    config.data.augment.update({"crop": (96, 128), "scale": (0.4, 1.0)})
    config.train.epochs = 6
    config.train.eval_every_epochs = 1
    return config
