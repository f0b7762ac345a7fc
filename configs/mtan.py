"""Task attention over a shared SegNet or ResNet (MTAN, report C).

--config=configs/mtan.py                      embedded default, sized for a CPU
--config=configs/mtan.py:streets_resnet       the same on a dilated ResNet
--config=configs/mtan.py:cityscapes           report C: 7 classes and inverse depth at 128×256
--config=configs/mtan.py:cityscapes_dwa       the same, weighted by dynamic weight average
--config=configs/mtan.py:cityscapes_one_conv  the first with one convolution in each stage
--config=configs/mtan.py:nyuv2                Liu et al.: 13 classes, depth and normals at 288×384
--config=configs/mtan.py:nyuv2_resnet         the same on a dilated ResNet-50
--config=configs/mtan.py:nyud                 that ResNet-50 in the survey's protocol of NYUD-v2

The single-task SegNets are in configs/single_task.py.
"""

from ml_collections import ConfigDict

from mtl_jax.configs import benchmarks, branched, common

WIDTHS = (64, 128, 256, 512, 512)
SMALL_WIDTHS = (8, 16, 32, 64, 64)


def model(config: ConfigDict, widths: tuple[int, ...] = WIDTHS) -> None:
    """MTAN on SegNet; widths and initialisation are the report's."""
    config.model.architecture = "mtan"
    config.model.widths = widths
    config.model.convs_per_stage = "full"
    config.model.init = "kaiming_normal_fan_in"


def resnet_model(config: ConfigDict, encoder: ConfigDict, *, channels: int = 256) -> None:
    """MTAN on a ResNet; rates, width and dropout of the ASPP are the paper's authors'."""
    config.model.architecture = "mtan_resnet"
    config.model.encoder = encoder
    config.model.aspp = ConfigDict({"rates": (12, 24, 36), "channels": channels, "dropout": 0.5})


def streets(config: ConfigDict) -> None:
    """The embedded default."""
    common.streets(config)
    model(config, SMALL_WIDTHS)
    branched.small_training(config)
    config.tasks.depth.loss = "l1"
    config.tasks.depth.normalization = "log"
    config.data.augment = common.augment(crop=(96, 192), scale=(0.75, 1.25), flip=0.5)


def streets_resnet(config: ConfigDict) -> None:
    """As `streets`, on a small ResNet."""
    streets(config)
    for key in ("widths", "convs_per_stage", "init"):
        del config.model[key]
    resnet_model(config, common.resnet(18, "FTT", width=16), channels=32)
    config.model.aspp.rates = (3, 6, 9)  # as far as features of 16×32 reach
    config.model.aspp.dropout = 0.0


def cityscapes(config: ConfigDict) -> None:
    """Report C, all weights equal."""
    model(config)
    config.data.dataset = "cityscapes_mtan/128x256"
    # Images are used as stored, between 0 and 1.
    config.model.image_mean = (0.0, 0.0, 0.0)
    config.model.image_std = (1.0, 1.0, 1.0)
    # Raw 16-bit disparity over 65535.
    inverse_depth = {"normalization": "none", "loss": "l1", "averaging": "batch"}
    config.tasks = common.semantics_and_depth(**inverse_depth, range=(0.0, 0.5))
    config.tasks.semseg.num_classes = 7
    _training(config)
    config.train.batch_size = 8
    config.train.epochs = 100
    config.schedule.every_epochs = 25
    config.optimizer.weight_decay = 1e-4


def cityscapes_dwa(config: ConfigDict) -> None:
    """Report C, dynamic weight average at T = 2."""
    cityscapes(config)
    config.weighting.name = "dwa"
    config.weighting.temperature = 2.0


def cityscapes_one_conv(config: ConfigDict) -> None:
    """As `cityscapes`, "five encoder and decoder layers" taken literally."""
    cityscapes(config)
    config.model.convs_per_stage = "one"


def nyuv2(config: ConfigDict) -> None:
    """Liu et al. 2019, all weights equal; their zooms 1, 1.2 and 1.5 are a range here."""
    model(config)
    config.model.init = "xavier_normal"
    _nyuv2(config)
    config.train.batch_size = 2
    config.optimizer.weight_decay = 0.0


def nyuv2_resnet(config: ConfigDict) -> None:
    """The authors' ResNet-50 at output stride 8, trained as libraries of the field do."""
    _authors_resnet(config)
    _nyuv2(config)
    config.data.augment = common.augment()
    config.train.batch_size = 8
    config.optimizer.weight_decay = 1e-5


def nyud(config: ConfigDict) -> None:
    """Vandenhende et al. (TPAMI 2021): 40 classes and depth, from ImageNet weights."""
    benchmarks.nyud(config, family="survey")
    _authors_resnet(config)
    config.model.pretrained = "resnet50"


def _authors_resnet(config: ConfigDict) -> None:
    encoder = common.resnet(50, "FTT")
    encoder.dilation_rule = "torchvision"
    resnet_model(config, encoder)


def _nyuv2(config: ConfigDict) -> None:
    config.data.dataset = "nyuv2/mtan_288x384"
    config.data.augment = common.augment(crop=(288, 384), scale=(1.0, 1.5), flip=0.5)
    depth = {"normalization": "none", "loss": "l1", "averaging": "batch"}
    config.tasks = common.semantics_and_depth(**depth, range=(0.5, 10.0))
    config.tasks.semseg.num_classes = 13
    config.tasks.normals = ConfigDict({"type": "normals"})
    _training(config)
    config.train.epochs = 200
    config.schedule.every_epochs = 100


def _training(config: ConfigDict) -> None:
    # The multitask score stays at its floor where depths are inverse.
    config.eval.selection = "semseg/miou"
    config.optimizer.name = "adam"
    config.schedule.name = "step"
    config.schedule.learning_rate = 1e-4
    config.schedule.factor = 0.5


PROTOCOLS = {
    f.__name__: f
    for f in (
        streets,
        streets_resnet,
        cityscapes,
        cityscapes_dwa,
        cityscapes_one_conv,
        nyuv2,
        nyuv2_resnet,
        nyud,
    )
}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="mtan")
