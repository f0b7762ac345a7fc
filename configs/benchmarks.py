"""PASCAL-Context with five tasks and NYUD-v2 as papers train on them, for any architecture.

No config of its own: `pascal_context(config, family=...)` and `nyud(config, family=...)` set data,
tasks, weights, optimiser, schedule and evaluation, and leave `config.model` alone. There are two
families of papers, whose numbers are not of one protocol (docs/benchmarks.md):

* 'transformer': ATRC, InvPT, TaskPrompter, MLoRE and others. Four tasks on NYUD, ATRC's copy.
* 'survey': Vandenhende et al. (TPAMI 2021). Two tasks on NYUD, a copy of its own.
"""

from ml_collections import ConfigDict

from mtl_jax.configs import common
from mtl_jax.errors import ConfigError

FAMILIES = ("transformer", "survey")
WEIGHTS = {
    "semseg": 1.0,
    "human_parts": 2.0,
    "sal": 5.0,
    "normals": 10.0,
    "edge": 50.0,
    "depth": 1.0,
}
ODS_IMAGES = 2498  # of the 5105 of PASCAL-Context's validation, those that published odsF is over
COLOURS = {"brightness": 32 / 255, "contrast": 0.5, "saturation": 0.5, "hue": 0.1}


def pascal_context(config: ConfigDict, family: str = "transformer") -> None:
    """Semantics, parts of people, saliency, normals and edges; 4998 / 5105 photographs."""
    _check(family)
    config.data.dataset = "pascal_context"
    edge = {"max_distance": 0.0075, "truth_key": "edge_truth"}
    config.tasks = ConfigDict(
        {
            "semseg": {"type": "segmentation", "num_classes": 21},
            "human_parts": {"type": "segmentation", "key": "parts", "num_classes": 7},
            "sal": _saliency(family),
            "normals": _normals(family),
            "edge": {"type": "edges", **edge},
        }
    )
    size = (512, 512)
    if family == "survey":
        config.data.augment = _survey(size, rotate=20.0, scale=(0.75, 1.25))
        config.eval.resize, config.eval.resize_back = size, True
    else:
        config.data.augment = _transformer(size)
        config.eval.image_size = size
    config.data.augment.empty_is_unlabelled = ("parts",)
    _training(config, family, images=4998)
    config.eval.scores.published_images = ODS_IMAGES
    sal = "miou_per_image_survey" if family == "survey" else "maxF"
    config.eval.delta_metrics = (
        "semseg/miou_all:max",
        "human_parts/miou_all:max",
        f"sal/{sal}:max",
        "normals/mean:min",
        f"edge/{_ods(family)}:max",
    )


def nyud(config: ConfigDict, family: str = "transformer") -> None:
    """40 classes and depth, and of the transformers normals and edges; 795 / 654 photographs."""
    _check(family)
    config.data.dataset = {"transformer": "nyud/atrc", "survey": "nyud/survey"}[family]
    depth = {"loss": "l1", "averaging": "batch", "normalization": "none", "range": (0.01, 10.0)}
    config.tasks = ConfigDict(
        {
            "semseg": {"type": "segmentation", "num_classes": 40},
            "depth": {"type": "depth", **depth},
        }
    )
    config.eval.delta_metrics = ("semseg/miou_all:max", "depth/rmse_unclamped:min")
    if family == "survey":
        size = (480, 640)
        config.data.augment = _survey(size, scales=(1.0, 1.2, 1.5))
        config.eval.resize, config.eval.resize_back = size, True
    else:
        config.tasks.normals = ConfigDict(_normals(family))
        config.tasks.edge = ConfigDict({"type": "edges", "max_distance": 0.011, "truth": "sides"})
        config.data.augment = _transformer((448, 576))
        config.eval.image_size = (448, 576)
        config.eval.delta_metrics += ("normals/mean:min", f"edge/{_ods(family)}:max")
    _training(config, family, images=795)


def _check(family: str) -> None:
    if family not in FAMILIES:
        raise ConfigError(
            f"There is no family of protocols {family!r}; expected one of {', '.join(FAMILIES)}."
        )


def _ods(family: str) -> str:
    return "odsF_survey" if family == "survey" else "odsF"


def _saliency(family: str) -> dict:
    return {"type": "saliency", "key": "saliency", "channels": 1 if family == "survey" else 2}


def _normals(family: str) -> dict:
    return {"type": "normals", "loss": "l1" if family == "survey" else "l1_pixel"}


def _transformer(size: tuple[int, int]) -> ConfigDict:
    return common.augment(
        mode="transformer", crop=size, scale=(0.5, 2.0), flip=0.5, balanced_by="semseg", **COLOURS
    )


def _survey(size: tuple[int, int], **changes) -> ConfigDict:
    return common.augment(mode="survey", crop=size, flip=0.5, **changes)


def _training(config: ConfigDict, family: str, *, images: int) -> None:
    """Losses' weights, Adam and a polynomial schedule: of iterations, or of epochs."""
    weights = {task: WEIGHTS[task] for task in config.tasks}
    config.weighting = ConfigDict({"name": "fixed", "weights": weights})
    config.optimizer.name = "adam"
    config.schedule.name = "polynomial"
    config.eval.padding = "mean"
    if family == "survey":
        config.optimizer.weight_decay = 1e-4
        config.schedule.learning_rate = 1e-4
        config.train.batch_size = 8
        config.train.epochs = 100.0
        config.train.eval_every_epochs = 10
        config.eval.scores.protocols = ("survey",)
        return
    config.optimizer.weight_decay = 1e-6
    config.schedule.learning_rate = 2e-5
    config.schedule.every = "step"
    config.train.batch_size = 2
    steps = 40_000
    config.train.epochs = steps / (images // config.train.batch_size)
    config.train.max_steps = steps
    config.train.eval_every_epochs = round(config.train.epochs / 10)
