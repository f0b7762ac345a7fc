"""The fragments that configs share. A config starts from `base()` and says what differs.

Every key that any part of the project reads has a default here, so that a config is locked with the
full set: a misspelt override on the command line is an error that names the nearest right key.
"""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from mtl_jax.errors import UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def base() -> ConfigDict:
    """Defaults of everything but data, model and tasks, which every config sets."""
    return ConfigDict(
        {
            "name": "",
            "seed": 0,
            "data": {
                "dataset": "streets",
                "mixture": {},  # several data sets instead: see input_pipeline/mixture.py
                "data_dir": "",  # '' = $TFDS_DATA_DIR or ~/tensorflow_datasets
                "manual_dir": "",  # where the official files of a data set lie
                "train_split": "train",
                "augment": augment(),
            },
            "model": {
                "architecture": "",
                "image_mean": IMAGENET_MEAN,
                "image_std": IMAGENET_STD,
                "dtype": "float32",
                "pretrained": "",  # work directory, .pth or .safetensors file, or name: 'resnet34'
                "pretrained_scope": "encoder",  # or 'all'
            },
            "tasks": {},
            "weighting": {
                "name": "fixed",
                "temperature": 2.0,  # dwa
                "form": "gaussian",  # uncertainty: or 'repo', 'kendall'
                "initial_variance": (1.0, 1.0),  # uncertainty: σ² starts somewhere between
            },
            "optimizer": {
                "name": "sgd",
                "momentum": 0.9,
                "beta1": 0.9,
                "beta2": 0.999,
                "epsilon": 1e-8,
                "weight_decay": 1e-4,
                "encoder_scale": 1.0,  # the encoder's learning rate as a multiple of the others'
                "bias_scale": 0.0,  # of new layers' biases, in encoder rates; 0 = as their kernels
                "weighting_scale": 1.0,  # likewise that of a weighting's learned parameters
                "clip_norm": 0.0,  # 0 = off
                "images_per_update": {},  # of 'common' and each task; {} = update at every batch
            },
            "schedule": {
                "name": "polynomial",
                "learning_rate": 0.01,
                "warmup_epochs": 0.0,
                "power": 0.9,  # polynomial
                "every_epochs": 25,  # step
                "factor": 0.5,  # step
            },
            "train": {
                "batch_size": 4,
                "epochs": 16.0,  # may end within an epoch
                "max_steps": 0,  # 0 = epochs decide
                "accumulate": 1,
                "deep_supervision": True,
                "freeze": (),  # 'encoder', 'common' (all that is shared) or tasks: no update
                "freeze_batch_norm": "",  # or 'encoder', 'all': running statistics in training
                "log_every": 50,
                "eval_every_epochs": 1,
                "checkpoint_every_steps": 0,  # besides every evaluation; 0 = off
                "profile": "",  # 'first:last', steps to trace for TensorBoard
            },
            "eval": {
                "split": "validation",
                "batch_size": 8,
                "crop_multiple": 1,
                "image_size": (0, 0),  # (0, 0) = as stored
                "selection": "multitask_score",  # the metric that decides which checkpoint is best
                "selection_mode": "max",
                "checkpoint": "best",  # what evaluate and predict load: 'best' or 'latest'
                "images": 4,  # examples drawn at each evaluation
                "worst_images": 3,  # drawn for each task at the best evaluation
                "save_predictions": False,
                # Test-time augmentation, in training's evaluations too if it is set here.
                "tta": {
                    "scales": (),  # besides 1; report B: (0.5, 2.0, 3.0)
                    "flip": False,  # every scale mirrored too
                    "semantics": "softmax",  # of class maps; or 'vote', or 'plain': not merged
                },
                "delta_metrics": (),  # of Δm by one metric per task; () = each task's headline
            },
            "predict": {
                "max_size": 0,  # longer sides are shrunk to it for the network; 0 = off
                "batch_size": 1,  # images of one padded size, or tiles, at once
                "tile": 0,  # side of the tiles that larger images are cut into; 0 = whole images
                "tile_overlap": 128,  # pixels that neighbouring tiles share
                "figure": "overlay",  # or 'side_by_side', 'both'
                "figure_width": 640,  # of each picture in it
                "save_npz": False,
            },
        }
    )


def augment(**changes) -> ConfigDict:
    """No augmentation at all, but for `changes`."""
    config = ConfigDict(
        {
            "mode": "composed",  # or 'stepwise', the reports' order of operations
            "crop": (0, 0),  # (height, width); (0, 0) = whole images
            "scale": (1.0, 1.0),
            "flip": 0.0,  # probability
            "rotate": 0.0,  # degrees, either way
            "brightness": 0.0,
            "contrast": 0.0,
            "saturation": 0.0,
            "hue": 0.0,
        }
    )
    config.update(changes)
    return config


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
    config.eval.selection = "semseg/miou"


def of_protocol(
    protocol: str, protocols: Mapping[str, Callable[[ConfigDict], None]], *, name: str
) -> ConfigDict:
    """What `--config=configs/<name>.py:<protocol>` gives: the defaults, changed by a protocol.

    Raises:
      UsageError: there is no such protocol.
    """
    if protocol not in protocols:
        raise UsageError(
            f"There is no protocol {protocol!r}; expected one of {', '.join(protocols)}."
        )
    config = base()
    config.name = f"{name}_{protocol}"
    protocols[protocol](config)
    return config
