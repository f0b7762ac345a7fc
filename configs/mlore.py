"""MLoRE (Yang et al. 2024) and TaskPrompter (Ye and Xu 2023), which take images of one size.

--config=configs/mlore.py                        MLoRE on the embedded data set, sized for a CPU
--config=configs/mlore.py:streets_task_prompter  TaskPrompter, likewise
"""

from ml_collections import ConfigDict

from mtl_jax.configs import common, invpt

SIZE = (128, 256)  # whole images, as evaluation takes no others


def streets(config: ConfigDict) -> None:
    """MLoRE, narrow, behind ViT-T."""
    invpt.small_vit(config, SIZE)
    config.model.architecture = "mlore"
    config.model.encoder.class_token = False
    config.model.width = 64
    config.model.ranks = (4, 6, 8, 10, 12)
    config.model.own_rank = 8
    config.model.kept = 3


def streets_task_prompter(config: ConfigDict) -> None:
    """TaskPrompter, narrow, behind ViT-T."""
    invpt.small_vit(config, SIZE)
    config.model.architecture = "task_prompter"
    config.model.encoder.class_token = False
    config.model.selected = 64
    config.model.width = 64
    config.model.windows = 2


PROTOCOLS = {f.__name__: f for f in (streets, streets_task_prompter)}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="mlore")
