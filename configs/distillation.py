"""Branched networks whose decoders exchange features (reports A and B, "distillation").

--config=configs/distillation.py                          embedded default, sized for a CPU
--config=configs/distillation.py:miniscapes               B's network and protocol
--config=configs/distillation.py:miniscapes_a             A's network and protocol
--config=configs/distillation.py:miniscapes_a_supervised  the same, first predictions supervised
--config=configs/distillation.py:cityscapes               B's network on Cityscapes
"""

from ml_collections import ConfigDict

from mtl_jax.configs import branched, common


def model(config: ConfigDict, encoder: ConfigDict, *, channels: int = 256, skip: int = 48) -> None:
    """B's reading: one attention for both directions, final decoders of one convolution."""
    branched.model(config, encoder, channels=channels, skip=skip)
    config.model.architecture = "distillation"
    config.model.attention = ConfigDict({"sharing": "shared", "gate_init": "zeros"})
    config.model.final_decoder = "1x1"


def streets(config: ConfigDict) -> None:
    """The embedded default."""
    branched.streets_scratch(config)
    model(config, common.resnet(18, "FFT", width=32), channels=64, skip=24)


def miniscapes(config: ConfigDict) -> None:
    """B: ResNet-34 from ImageNet weights and full widths, as reported."""
    model(config, common.resnet(34, "FFT"))
    common.miniscapes(config)
    config.model.pretrained = "resnet34"


def miniscapes_a(config: ConfigDict) -> None:
    """A: an attention for each direction, two more 3×3 convolutions in the final decoders."""
    miniscapes(config)
    config.model.attention.sharing = "per_direction"
    config.model.final_decoder = "3x3"
    config.weighting.weights = ConfigDict({"semseg": 0.7, "depth": 0.3})
    config.schedule.learning_rate = 2e-4
    config.train.batch_size = 8
    config.train.epochs = 32
    config.train.deep_supervision = False


def miniscapes_a_supervised(config: ConfigDict) -> None:
    """As `miniscapes_a`, with a loss on the first predictions as well."""
    miniscapes_a(config)
    config.train.deep_supervision = True


def cityscapes(config: ConfigDict) -> None:
    """As `miniscapes`, on Cityscapes."""
    model(config, common.resnet(34, "FFT"))
    common.cityscapes(config)
    config.model.pretrained = "resnet34"


PROTOCOLS = {
    f.__name__: f for f in (streets, miniscapes, miniscapes_a, miniscapes_a_supervised, cityscapes)
}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="distillation")
