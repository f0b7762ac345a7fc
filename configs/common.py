"""The fragments that configs share. A config starts from `base()` and says what differs.

Every option of the parts that a config names is declared beside their code, with its default and
its meaning; `python main.py --config=<name> --help_options` lists them.
"""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from mtl_jax import options
from mtl_jax.errors import UsageError, did_you_mean


def base() -> ConfigDict:
    """Defaults of everything but model and tasks, which every config sets.

    The options of what is chosen by name, e.g. by `weighting.name`, are declared beside its code,
    see `mtl_jax.options`, and are completed when the config is loaded.
    """
    return ConfigDict(options.defaults())


def augment(**changes) -> ConfigDict:
    """No augmentation at all, but for `changes`."""
    return ConfigDict(options.defaults()["data"]["augment"] | changes)


def resnet(depth: int, flags: str = "FFT", *, width: int = 64, se: bool = False) -> ConfigDict:
    """A dilated ResNet; `flags` is torchvision's `replace_stride_with_dilation`."""
    return ConfigDict(
        {
            "name": "resnet",
            "depth": depth,
            "width": width,
            "replace_stride_with_dilation": flags,
            "dilation_rule": "template",
            "se": se,
        }
    )


def efficientnet_lite(variant: int = 0, flags: str = "FFF", *, width: float = 1.0) -> ConfigDict:
    """An EfficientNet-Lite; `flags` as those of `resnet`, `width` a multiple of the published."""
    return ConfigDict(
        {
            "name": "efficientnet_lite",
            "variant": variant,
            "width_multiplier": width,
            "replace_stride_with_dilation": flags,
        }
    )


def semantics_and_depth(**depth) -> ConfigDict:
    """The two tasks of reports A and B; facts about classes and range come from the data set."""
    return ConfigDict(
        {
            "semseg": {"type": "segmentation"},
            "depth": {"type": "depth", "loss": "l2", "normalization": "standard"} | depth,
        }
    )


def streets(config: ConfigDict) -> None:
    """The embedded data set: 128×256 driving scenes that the project draws itself."""
    config.data.dataset = "streets"
    config.tasks = semantics_and_depth()


def miniscapes(config: ConfigDict) -> None:
    """The protocol of reports A and B after tuning (B: Adam 1e-4, batch 4, 16 epochs)."""
    config.data.dataset = "miniscapes"
    config.data.augment = augment(crop=(256, 256))
    config.tasks = semantics_and_depth(mean=27.0727, stddev=29.1264, range=(4.0, 300.0))
    config.tasks.semseg.num_classes = 19
    config.weighting.weights = ConfigDict({"semseg": 0.5, "depth": 0.5})
    config.optimizer.name = "adam"
    config.schedule.learning_rate = 1e-4
    config.train.batch_size = 4
    config.train.epochs = 16
    config.eval.crop_multiple = 32
    config.eval.selection = "multitask_score"


def cityscapes(config: ConfigDict) -> None:
    """19 classes and metric depth at 512×1024, trained on crops as reports A and B do."""
    miniscapes(config)
    config.data.dataset = "cityscapes/512x1024"
    config.data.augment = augment(crop=(256, 512), scale=(0.5, 2.0), flip=0.5)
    config.tasks.depth = ConfigDict(
        {
            "type": "depth",
            "loss": "l1",
            "normalization": "standard",
            "range": (3.0, 300.0),
            # Training split without what is farther than 300 m (TUI-NICR's toolkit).
            "mean": 31.716,
            "stddev": 38.703,
        }
    )


def kitti(config: ConfigDict) -> None:
    """19 classes and metric depth, 160 photographs; evaluated whole, padded to one size."""
    miniscapes(config)
    config.data.dataset = "kitti"
    config.data.augment = augment(crop=(256, 512), scale=(0.5, 2.0), flip=0.5)
    config.tasks = semantics_and_depth(loss="l1", normalization="log")
    config.tasks.semseg.num_classes = 19
    config.train.epochs = 100
    config.train.eval_every_epochs = 10
    config.eval.crop_multiple = 1
    config.eval.image_size = (384, 1248)  # no photograph is larger


def camvid(config: ConfigDict) -> None:
    """Photographs with 11 classes and no depth: the depth task is unlabelled, therefore silent."""
    config.data.dataset = "camvid"
    config.data.augment = augment(crop=(176, 240), scale=(0.75, 1.5), flip=0.5)
    config.tasks = semantics_and_depth(mean=27.0727, stddev=29.1264, range=(4.0, 300.0))
    config.train.epochs = 24
    config.train.eval_every_epochs = 6
    config.eval.crop_multiple = 4


def of_protocol(
    protocol: str, protocols: Mapping[str, Callable[[ConfigDict], None]], *, name: str
) -> ConfigDict:
    """What `--config=configs/<name>.py:<protocol>` gives: the defaults, changed by a protocol.

    Raises:
      UsageError: there is no such protocol.
    """
    if protocol not in protocols:
        raise UsageError(
            f"There is no protocol {protocol!r}.{did_you_mean(protocol, protocols)} Expected one "
            f"of {', '.join(protocols)}."
        )
    config = base()
    config.name = f"{name}_{protocol}"
    protocols[protocol](config)
    return config
