"""Few labels: every image with all of them, with some, with one; one network against single tasks.

--sweep=configs/sweeps/partial_labels.py                 small network on Streets, its six tasks
--sweep=configs/sweeps/partial_labels.py:pascal_context  ResNet-18, five tasks (the survey's recipe)
--sweep=configs/sweeps/partial_labels.py:nyuv2           SegNet, 13 classes, depth, normals
--sweep=configs/sweeps/partial_labels.py:cityscapes      SegNet, 7 classes, inverse depth

Which images keep which labels is drawn by `config.data.labels.seed` for all of the labels, so that
the multi-task network and its tasks alone see the same ones. The rows `..._images` average the loss
over images (Li et al.: Learning Multiple Dense Prediction Tasks from Partially Annotated Data, CVPR
2022), the others over pixels. All are evaluated on the whole validation split.
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import branched, mtan
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "pascal_context", "nyuv2", "cityscapes")
REPORTED = "nyuv2"  # see configs/sweeps/nyuv2.py, which has what is published
KINDS = {"full": "all", "random": "random", "one": "one"}


def get_rows(protocol: str) -> list[Row]:
    """For each way of leaving labels out: all tasks by both averages, and each task alone."""
    base = _base(protocol)
    rows = []
    for name, kind in KINDS.items():
        if name == "random" and len(base.tasks) == 2:
            continue  # from 1 to all but one of two is one
        labels = {"kind": kind, "among": tuple(t.get("key") or n for n, t in base.tasks.items())}
        config = _studies.variant(base, {"data.labels": labels})
        rows += _studies.against_single_tasks(config, f"multi_{name}", ending=f"_{name}")
        if name != "full":
            images = _studies.variant(config, {"train.loss_average": "images"})
            rows.append(Row(f"multi_{name}_images", images))
    return rows


def _base(protocol: str):
    if protocol == "streets":
        return _studies.small(branched.get_config("streets_six"))
    if protocol == "pascal_context":
        return branched.get_config("pascal_context_survey")
    return _studies.variant(mtan.get_config(protocol), {"model.architecture": "segnet"})
