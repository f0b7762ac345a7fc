"""Stacked U-Nets, one degridding head for each task (report D, series 2).

--config=configs/stacked_unet.py                embedded default, sized for a CPU
--config=configs/stacked_unet.py:streets_mixed  each image with the labels of one of two tasks
--config=configs/stacked_unet.py:camvid         photographs, semantics only, sized for a CPU
--config=configs/stacked_unet.py:pascal         D1, 21 classes
--config=configs/stacked_unet.py:lip            D2, 20 parts of people
--config=configs/stacked_unet.py:pascal_lip     both from one network, two heads
"""

from ml_collections import ConfigDict

from mtl_jax.configs import branched, common, fcn


def model(config: ConfigDict, *, width: int = 64, channels: int = 512) -> None:
    """SUNet-64 at output stride 16, as the report trained it."""
    config.model.architecture = "stacked_unet"
    config.model.encoder = ConfigDict(
        {
            "name": "sunet",
            "width": width,
            "blocks": (2, 4, 4, 1),
            "output_stride": 16,
            "dropout": 0.0,
            "init": "kaiming_normal_fan_out",
        }
    )
    config.model.head = ConfigDict({"channels": channels, "init": "kaiming_normal_fan_out"})


def streets(config: ConfigDict) -> None:
    """The embedded default."""
    branched.streets_scratch(config)
    del config.model.aspp, config.model.decoder, config.model.se
    model(config, width=16, channels=64)
    config.model.encoder.blocks = (1, 2, 2, 1)


def streets_mixed(config: ConfigDict) -> None:
    """One half of the streets has semantics and the other parts; asynchronous SGD."""
    streets(config)
    config.tasks = ConfigDict({task: {"type": "segmentation"} for task in ("semseg", "parts")})
    mixture(
        config,
        semseg=_half_of_streets("semseg", "[:50%]"),
        parts=_half_of_streets("parts", "[50%:]"),
    )
    config.optimizer.images_per_update = ConfigDict({"common": 16, "semseg": 8, "parts": 8})
    config.eval.selection = "semseg/miou"


def _half_of_streets(task: str, half: str) -> dict:
    return {
        "dataset": "streets",
        "proportion": 0.5,
        "labels": {task: task},
        "splits": {split: split + half for split in ("train", "validation", "test")},
    }


def mixture(config: ConfigDict, **sources: dict) -> None:
    """Trains and evaluates on several data sets; see `input_pipeline.mixture`."""
    config.data.dataset = ""
    config.data.mixture = ConfigDict(sources)


def camvid(config: ConfigDict) -> None:
    """As `streets`, on photographs."""
    streets(config)
    common.camvid(config)
    config.train.epochs = 8
    config.train.eval_every_epochs = 4
    del config.tasks.depth


def pascal(config: ConfigDict) -> None:
    """Semantics alone."""
    _protocol(config, semseg=21)
    config.data.dataset = "pascal/d1"
    config.eval.selection = "semseg/miou"


def lip(config: ConfigDict) -> None:
    """Parts alone."""
    _protocol(config, parts=20)
    config.data.dataset = "lip/d2"
    config.eval.selection = "parts/miou"


def pascal_lip(config: ConfigDict) -> None:
    """Both; each image has the labels of one of them. Asynchronous SGD."""
    _protocol(config, semseg=21, parts=20)
    mixture(
        config,
        pascal={"dataset": "pascal/d1", "proportion": 0.5, "labels": {"semseg": "semseg"}},
        lip={"dataset": "lip/d2", "proportion": 0.5, "labels": {"parts": "parts"}},
    )
    config.optimizer.images_per_update = ConfigDict({"common": 20, "semseg": 10, "parts": 10})
    config.eval.selection = "semseg/miou"


def _protocol(config: ConfigDict, **num_classes: int) -> None:
    model(config)
    fcn.common_training(config)
    config.tasks = ConfigDict(
        {task: {"type": "segmentation", "num_classes": n} for task, n in num_classes.items()}
    )
    config.schedule.learning_rate = 2e-3


PROTOCOLS = {f.__name__: f for f in (streets, streets_mixed, camvid, pascal, lip, pascal_lip)}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="stacked_unet")
