"""The hard-sharing baseline of multi-task papers: HRNet-18 and a head for each task.

--config=configs/hrnet.py                  on the embedded data set, from random weights
--config=configs/hrnet.py:pascal_context   the survey's (Vandenhende et al. 2021)
--config=configs/hrnet.py:nyud             the survey's
"""

from ml_collections import ConfigDict

from mtl_jax.configs import benchmarks, branched, common

PRETRAINED = "hrnet_w18_small_v2"  # ImageNet's


def streets(config: ConfigDict) -> None:
    """The network of the benchmarks, trained as the other small ones are."""
    branched.streets_scratch(config)
    model(config)


def model(config: ConfigDict) -> None:
    """`branched` with HRNet-18 and its heads."""
    config.model.architecture = "branched"
    config.model.encoder = ConfigDict({"name": "hrnet"})
    config.model.decoder = ConfigDict({"name": "high_resolution"})


def pascal_context(config: ConfigDict) -> None:
    """Five tasks."""
    benchmarks.pascal_context(config, family="survey")
    model(config)
    config.model.pretrained = PRETRAINED


def nyud(config: ConfigDict) -> None:
    """Semantics and depth."""
    benchmarks.nyud(config, family="survey")
    model(config)
    config.model.pretrained = PRETRAINED


PROTOCOLS = {f.__name__: f for f in (streets, pascal_context, nyud)}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="hrnet")
