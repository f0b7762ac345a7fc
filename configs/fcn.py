"""FCN-32s (report D, series 1).

--config=configs/fcn.py                    embedded default, sized for a CPU: ResNet-18, corrected
--config=configs/fcn.py:streets_vgg        the same with a small VGG-16
--config=configs/fcn.py:streets_alexnet    the same with a small AlexNet
--config=configs/fcn.py:camvid             photographs, semantics only, sized for a CPU
--config=configs/fcn.py:camvid_vgg         the same with VGG-16, a narrow tail
--config=configs/fcn.py:pascal             21 classes, ResNet-18, the thesis's tail
--config=configs/fcn.py:pascal_vgg         the same with VGG-16
--config=configs/fcn.py:pascal_alexnet     the same with AlexNet
--config=configs/fcn.py:<any of these three>_pretrained  from ImageNet weights
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from mtl_jax.configs import branched, common


def model(
    config: ConfigDict,
    encoder: ConfigDict,
    tail: str,
    *,
    average_pool: int = 0,
    classifier_kernel: int = 0,
    hidden: int = 4096,
    dropout: float = 0.5,
) -> None:
    """FCN-32s; `tail` is 'thesis' or 'corrected'."""
    config.model.architecture = "fcn"
    config.model.encoder = encoder
    config.model.tail = ConfigDict(
        {
            "name": tail,
            "average_pool": average_pool,
            "classifier_kernel": classifier_kernel,
            "hidden": hidden,
            "dropout": dropout,
        }
    )


def vgg(width: int = 64) -> ConfigDict:
    """VGG-16."""
    return ConfigDict({"name": "vgg", "width": width})


def alexnet(width: int = 64, padding: str = "published") -> ConfigDict:
    """AlexNet."""
    return ConfigDict({"name": "alexnet", "width": width, "padding": padding})


def streets(config: ConfigDict) -> None:
    """The embedded default."""
    branched.streets_scratch(config)
    del config.model.aspp, config.model.decoder, config.model.se
    model(config, common.resnet(18, "FFF", width=32), "corrected", dropout=0.0)


def streets_vgg(config: ConfigDict) -> None:
    """As `streets`, with VGG-16."""
    streets(config)
    model(config, vgg(width=16), "corrected", classifier_kernel=7, hidden=64, dropout=0.0)
    config.schedule.learning_rate = 5e-4  # no normalisation anywhere


def streets_alexnet(config: ConfigDict) -> None:
    """As `streets`, with AlexNet."""
    streets(config)
    encoder = alexnet(width=16, padding="same")
    model(config, encoder, "corrected", classifier_kernel=6, hidden=64, dropout=0.0)
    config.schedule.learning_rate = 5e-4


def camvid(config: ConfigDict) -> None:
    """As `streets`, on photographs."""
    streets(config)
    common.camvid(config)
    config.train.epochs = 8
    config.train.eval_every_epochs = 4
    del config.tasks.depth


def camvid_vgg(config: ConfigDict) -> None:
    """As `camvid`, with VGG-16 at the width of ImageNet's weights."""
    camvid(config)
    model(config, vgg(), "corrected", classifier_kernel=7, hidden=256)
    config.schedule.learning_rate = 2e-4  # no normalisation anywhere


def pascal(config: ConfigDict) -> None:
    """ResNet-18 from scratch, the thesis's best weight decay."""
    encoder = common.resnet(18, "FFF")
    encoder.ceil_mode = True
    model(config, encoder, "thesis", average_pool=7)
    _protocol(config)


def pascal_vgg(config: ConfigDict) -> None:
    """As `pascal`, with VGG-16."""
    model(config, vgg(), "thesis", classifier_kernel=7)
    _protocol(config)


def pascal_alexnet(config: ConfigDict) -> None:
    """As `pascal`, with AlexNet."""
    model(config, alexnet(), "thesis", classifier_kernel=6)
    _protocol(config)


def pretrained(scratch: Callable[[ConfigDict], None], weights: str) -> Callable:
    """The protocol `scratch`, but from ImageNet weights: a third as long, the backbone slower."""

    def protocol(config: ConfigDict) -> None:
        scratch(config)
        config.model.pretrained = weights
        # VGG's and AlexNet's fully connected layers become the head's convolutions.
        config.model.pretrained_scope = "encoder" if scratch is pascal else "all"
        config.optimizer.encoder_scale = 0.1
        config.train.epochs = 100

    return protocol


def _protocol(config: ConfigDict) -> None:
    """Series 1: the first half of D1, all of it from SBD."""
    common_training(config)
    config.data.dataset = "pascal/d1"
    config.data.train_split = "train[:5858]"
    config.tasks = ConfigDict({"semseg": {"type": "segmentation", "num_classes": 21}})
    config.eval.selection = "semseg/miou"
    config.schedule.learning_rate = 5e-3


def common_training(config: ConfigDict) -> None:
    """What both series of report D share, from scratch."""
    config.data.augment = common.augment(
        mode="stepwise", crop=(512, 512), scale=(0.5, 2.0), flip=0.5, rotate=10.0
    )
    config.eval.image_size = (512, 512)
    config.optimizer.name = "sgd"
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = "cosine"
    config.train.batch_size = 10
    config.train.epochs = 300


PROTOCOLS = {
    f.__name__: f
    for f in (
        streets,
        streets_vgg,
        streets_alexnet,
        camvid,
        camvid_vgg,
        pascal,
        pascal_vgg,
        pascal_alexnet,
    )
} | {
    f"{f.__name__}_pretrained": pretrained(f, weights)
    for f, weights in ((pascal, "resnet18"), (pascal_vgg, "vgg16"), (pascal_alexnet, "alexnet"))
}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="fcn")
