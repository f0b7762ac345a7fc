"""InvPT (Ye and Xu 2022): a transformer decoder over all pixels of all tasks.

--config=configs/invpt.py   a narrow one behind ViT-T on the embedded data set, sized for a CPU
"""

from ml_collections import ConfigDict

from mtl_jax.configs import common


def small_vit(config: ConfigDict, crop: tuple[int, int] = (128, 192)) -> None:
    """ViT-T from random weights, its positions those of the crop, and a transformer's training."""
    common.streets(config)
    patches = tuple(side // 16 for side in crop)
    config.model.encoder = ConfigDict({"name": "vit", "size": "T", "table": patches})
    config.tasks.depth.loss = "l1"
    config.tasks.depth.normalization = "log"
    config.data.augment = common.augment(crop=crop, scale=(0.75, 1.25), flip=0.5)
    config.optimizer.name = "adamw"
    config.optimizer.clip_norm = 5.0
    config.optimizer.weight_decay = 0.01
    config.schedule.name = "cosine"
    config.schedule.learning_rate = 3e-4
    config.schedule.warmup_epochs = 0.4
    config.train.batch_size = 8
    config.train.epochs = 3.5
    config.train.log_every = 20
    config.train.eval_every_epochs = 2


def streets(config: ConfigDict) -> None:
    """A width of 64 + 64."""
    small_vit(config)
    config.model.architecture = "invpt"
    config.model.width = 64
    config.train.deep_supervision_weights = (1.0, 1.0)


PROTOCOLS = {f.__name__: f for f in (streets,)}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="invpt")
