"""NYUv2, 13 classes, depth and normals: single tasks, balancing methods, two networks, few labels.

--sweep=configs/sweeps/nyuv2.py            small network on Streets
--sweep=configs/sweeps/nyuv2.py:benchmark  SegNet-MTAN and ResNet-50 with a branch for each task on
                                           MTAN's arrays, and single tasks of partial labels

`python -m mtl_jax.studies.benchmarks nyuv2_13_3` prints what is published. All methods, compared
fairly, are configs/sweeps/balancing.py.
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import branched, common, mtan
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "benchmark")
REPORTED = "benchmark"
# Name in the papers' tables: weighting.
METHODS = {
    "equal-weights-ls": "fixed",
    "si": "log",
    "rlw": "rlw",
    "dwa": "dwa",
    "uw": "uncertainty",
    "mgda": "mgda",
    "pcgrad": "pcgrad",
    "graddrop": "graddrop",
    "cagrad": "cagrad",
    "imtl-g": "imtl_g",
    "moco": "moco",
    "nash-mtl": "nash_mtl",
    "famo": "famo",
    "fairgrad": "fairgrad",
}
OF_RESNET = ("dwa", "graddrop", "pcgrad", "uncertainty", "cagrad", "auto-lambda")
PARTIAL = {"full": "all", "onelabel": "one", "randomlabels": "random"}


def get_rows(protocol: str) -> list[Row]:
    """Single tasks and balancing methods of both networks; SegNets of single tasks, few labels."""
    if protocol == "streets":
        return _studies.of_streets(["semseg", "depth", "normals"])
    base = mtan.get_config("nyuv2")
    rows = _single(base, "_mtan", "nyuv2-13-3.single-task.segnet-mtan.constants")
    for printed, name in METHODS.items():
        published = (f"nyuv2-13-3.{printed}.segnet-mtan.recalled",)
        rows.append(Row(f"{name}_mtan", _weighted(base, name), published=published))
    start = "nyuv2-13-3-split-resnet50"
    resnet = _resnet()
    rows += _single(resnet, "_resnet50", f"{start}.single-task.resnet-50-from-scratch.readme")
    for name in ("equal", *OF_RESNET):
        published = (f"{start}.{name}.resnet-50-from-scratch.readme",)
        config = _weighted(resnet, "fixed" if name == "equal" else name.replace("-", "_"))
        if name == "auto-lambda":
            config.data.held_out = 0.1
        rows.append(Row(f"{name}_resnet50", config, published=published))
    segnet = _studies.variant(base, {"model.architecture": "segnet", "train.batch_size": 4})
    for printed, kind in PARTIAL.items():
        labels = {"kind": kind, "among": tuple(segnet.tasks)}
        few = _studies.variant(segnet, {"data.labels": labels})
        rows += _single(few, f"_{printed}", f"nyuv2-13-3-{printed}.single-task.segnet.constants")
    return rows


def _single(base, ending: str, published: str) -> list[Row]:
    """Each task by itself; with few labels it is trained on the images that have its own."""
    rows = []
    for task in base.tasks:
        config = _studies.equally_weighted(_studies.only(base, [task]))
        rows.append(Row(f"only_{task}{ending}", config, published=(published,)))
    return rows


def _weighted(base, name: str):
    return _studies.variant(base, {"weighting": {"name": name}})


def _resnet():
    """ResNet-50 from random weights with a DeepLab head for each task, as Auto-Lambda's 'split'."""
    config = mtan.get_config("nyuv2_resnet")
    tasks = config.tasks.copy_and_resolve_references()
    for part in [key for key in config.model if key not in common.base().model]:
        del config.model[part]
    branched.model(config, common.resnet(50, "FTT"))
    config.tasks = tasks
    return config
