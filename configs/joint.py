"""One encoder and one decoder for all tasks (reports A and B, "joint").

--config=configs/joint.py                      embedded default, sized for a CPU
--config=configs/joint.py:miniscapes           with ASPP and skip, the reports' protocol
--config=configs/joint.py:miniscapes_baseline  without both, not dilated: the reports' first row
--config=configs/joint.py:cityscapes           with ASPP and skip, on Cityscapes
"""

from ml_collections import ConfigDict

from mtl_jax.configs import branched, common


def model(config: ConfigDict, encoder: ConfigDict, *, channels: int = 256, skip: int = 48) -> None:
    """The joint network with ASPP and skip; widths 256 and 48 are the reports'."""
    branched.model(config, encoder, channels=channels, skip=skip)
    config.model.architecture = "joint"
    config.model.aspp.enabled = True
    config.model.decoder.skip = True


def streets(config: ConfigDict) -> None:
    """The embedded default."""
    branched.streets_scratch(config)
    model(config, common.resnet(18, "FFT", width=32), channels=64, skip=24)


def miniscapes(config: ConfigDict) -> None:
    """ResNet-34 from ImageNet weights and full widths, as reported."""
    model(config, common.resnet(34, "FFT"))
    common.miniscapes(config)
    config.model.pretrained = "resnet34"


def miniscapes_baseline(config: ConfigDict) -> None:
    """The reports' baseline: no dilation, 1×1 convolutions for ASPP and decoder."""
    model(config, common.resnet(34, "FFF"))
    common.miniscapes(config)
    config.model.aspp.enabled = False
    config.model.decoder.skip = False


def cityscapes(config: ConfigDict) -> None:
    """As `miniscapes`, on Cityscapes."""
    model(config, common.resnet(34, "FFT"))
    common.cityscapes(config)
    config.model.pretrained = "resnet34"


PROTOCOLS = {f.__name__: f for f in (streets, miniscapes, miniscapes_baseline, cityscapes)}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="joint")
