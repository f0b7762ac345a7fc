"""PAD-Net (Xu et al. 2018, as the survey of Vandenhende et al. 2021 has it).

--config=configs/pad_net.py                 ResNet-18 on the embedded data set, sized for a CPU
--config=configs/pad_net.py:streets_hrnet   the same on HRNet-18
--config=configs/pad_net.py:pascal_context  the survey's, on HRNet-18
--config=configs/pad_net.py:nyud            the survey's, on HRNet-18

`configs/distillation.py` has the PAD-Nets of reports A and B.
"""

from ml_collections import ConfigDict

from mtl_jax.configs import benchmarks, branched, common, hrnet


def streets(config: ConfigDict) -> None:
    """A small ResNet-18 from random weights."""
    common.streets(config)
    config.model.architecture = "pad_net"
    config.model.encoder = common.resnet(18, "FFF", width=32)
    config.model.channels = 64
    config.tasks.depth.loss = "l1"
    config.tasks.depth.normalization = "log"
    config.data.augment = common.augment(crop=(96, 192), scale=(0.75, 1.25), flip=0.5)
    branched.small_training(config)
    config.train.eval_every_epochs = 2
    config.train.deep_supervision_weights = (1.0, 1.0)


def streets_hrnet(config: ConfigDict) -> None:
    """As `streets`, on HRNet-18."""
    streets(config)
    config.model.encoder = ConfigDict({"name": "hrnet"})


def pascal_context(config: ConfigDict) -> None:
    """Five tasks, every loss at full weight."""
    benchmarks.pascal_context(config, family="survey")
    _on_hrnet(config)


def nyud(config: ConfigDict) -> None:
    """Semantics and depth."""
    benchmarks.nyud(config, family="survey")
    _on_hrnet(config)


def _on_hrnet(config: ConfigDict) -> None:
    config.model.architecture = "pad_net"
    config.model.encoder = ConfigDict({"name": "hrnet"})
    config.model.pretrained = hrnet.PRETRAINED
    config.train.deep_supervision_weights = (1.0, 1.0)


PROTOCOLS = {f.__name__: f for f in (streets, streets_hrnet, pascal_context, nyud)}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="pad_net")
