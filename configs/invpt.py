"""InvPT (Ye and Xu 2022): a transformer decoder over all pixels of all tasks.

--config=configs/invpt.py                  a narrow one after ViT-T on the embedded data set
--config=configs/invpt.py:pascal_context   as published, after ViT-L
--config=configs/invpt.py:nyud             as published, after ViT-L
--config=configs/invpt.py:pascal_context_swin, :nyud_swin   after Swin-L, in a reading of our own
"""

from ml_collections import ConfigDict

from mtl_jax.configs import benchmarks, common

PRETRAINED = {"B": "vit_base_patch16_384", "L": "vit_large_patch16_384"}


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


def vit(
    config: ConfigDict, size: str, crop: tuple[int, int], *, batch: int, images: int, steps: int
) -> None:
    """A published ViT whose positions are those of the crop, and a run of so many steps."""
    patches = tuple(side // 16 for side in crop)
    config.model.encoder = ConfigDict(
        {"name": "vit", "size": size, "table": patches, "positions": "plain", "drop_path": 0.15}
    )
    config.model.pretrained = PRETRAINED[size]
    # Its weights were trained with ½ and ½; the networks' authors take ImageNet's all the same.
    config.model.image_mean = (0.485, 0.456, 0.406)
    config.model.image_std = (0.229, 0.224, 0.225)
    config.train.batch_size = batch
    config.train.max_steps = steps
    config.train.epochs = steps / (images // batch)
    config.train.eval_every_epochs = max(1, round(config.train.epochs / 10))


def pascal_context(config: ConfigDict) -> None:
    """Five tasks; the authors train on three GPUs with two images each."""
    benchmarks.pascal_context(config, family="transformer")
    vit(config, "L", (512, 512), batch=6, images=4998, steps=40_000)
    _published(config)


def nyud(config: ConfigDict) -> None:
    """Four tasks."""
    benchmarks.nyud(config, family="transformer")
    vit(config, "L", (448, 576), batch=6, images=795, steps=40_000)
    _published(config)


def _published(config: ConfigDict) -> None:
    config.model.architecture = "invpt"
    config.model.width = 512
    config.train.deep_supervision_weights = (1.0, 1.0)


def pascal_context_swin(config: ConfigDict) -> None:
    """The same after Swin-L."""
    pascal_context(config)
    _swin(config)


def nyud_swin(config: ConfigDict) -> None:
    """The same after Swin-L."""
    nyud(config)
    _swin(config)


def _swin(config: ConfigDict) -> None:
    config.model.encoder = ConfigDict(
        {"name": "swin", "size": "L", "window": 12, "drop_path": 0.15}
    )
    config.model.pretrained = "swin_large_patch4_window12_384"


PROTOCOLS = {f.__name__: f for f in (streets, pascal_context, nyud, pascal_context_swin, nyud_swin)}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="invpt")
