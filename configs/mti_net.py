"""MTI-Net (Vandenhende et al. 2020): tasks exchange features at every scale.

--config=configs/mti_net.py                 ResNet-18 on the embedded data set, sized for a CPU
--config=configs/mti_net.py:streets_hrnet   the same on HRNet-18
--config=configs/mti_net.py:pascal_context  the survey's, on HRNet-18
--config=configs/mti_net.py:nyud            the survey's, on HRNet-18
"""

from ml_collections import ConfigDict

from mtl_jax.configs import common, pad_net


def streets(config: ConfigDict) -> None:
    """A small ResNet-18 from random weights."""
    pad_net.streets(config)
    config.model.architecture = "mti_net"
    del config.model.channels
    # Of 64 channels the published 16 leaves 4, which a ReLU may all put out.
    config.model.se_reduction = 4
    config.train.deep_supervision_weights = (1.0,) * 5


def streets_hrnet(config: ConfigDict) -> None:
    """As `streets`, on HRNet-18, with squeeze-and-excitation as published."""
    streets(config)
    config.model.encoder = ConfigDict({"name": "hrnet"})
    config.model.se_reduction = 16


def pascal_context(config: ConfigDict) -> None:
    """Five tasks, the losses of all four scales at full weight."""
    pad_net.pascal_context(config)
    _instead_of_pad_net(config)


def nyud(config: ConfigDict) -> None:
    """Semantics and depth."""
    pad_net.nyud(config)
    _instead_of_pad_net(config)


def _instead_of_pad_net(config: ConfigDict) -> None:
    config.model.architecture = "mti_net"
    config.train.deep_supervision_weights = (1.0,) * 5


PROTOCOLS = {f.__name__: f for f in (streets, streets_hrnet, pascal_context, nyud)}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="mti_net")
