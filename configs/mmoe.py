"""Mixtures of experts, with encoders as experts (Ma et al. 2018, Tang et al. 2020).

--config=configs/mmoe.py               MMoE on the embedded data set, sized for a CPU
--config=configs/mmoe.py:streets_cgc   CGC: experts of single tasks beside the shared ones
--config=configs/mmoe.py:streets_ple   PLE: the same after every stage
"""

from ml_collections import ConfigDict

from mtl_jax.configs import branched, common


def streets(config: ConfigDict) -> None:
    """Two small ResNets that both tasks mix."""
    branched.streets_scratch(config)
    branched.model(config, common.resnet(18, "FFT", width=16), channels=32, skip=16)
    config.model.architecture = "mmoe"


def streets_cgc(config: ConfigDict) -> None:
    """A ResNet for each task, and one for both."""
    streets(config)
    config.model.architecture = "cgc"


def streets_ple(config: ConfigDict) -> None:
    """As `streets_cgc`, mixed after every stage."""
    streets(config)
    config.model.architecture = "ple"


PROTOCOLS = {f.__name__: f for f in (streets, streets_cgc, streets_ple)}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="mmoe")
