"""Stacked U-Nets: semantics and parts alone and from one network (report D, figures 6.2 and 6.3).

--sweep=configs/sweeps/stacked_unet.py         small networks on Streets, half of which has
                                               semantics and half parts; pre-trained on two others
                                               of its labels
--sweep=configs/sweeps/stacked_unet.py:pascal  as reported: D1, D2, both

SUNet-64's ImageNet weights are not published in a form that is read here: the rows `*_imagenet`
start from the run in `runs/sunet64_imagenet`, which is yours to provide.
"""

from ml_collections import ConfigDict
from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import stacked_unet
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "pascal")
REPORTED = "pascal"
IMAGENET = {
    "model.pretrained": "runs/sunet64_imagenet",
    "optimizer.encoder_scale": 0.1,
    **_studies.BIASES,
    "train.epochs": 90.0,
}


def get_rows(protocol: str) -> list[Row]:
    """Alone and jointly, from scratch and pre-trained."""
    if protocol == "streets":
        systems = _on_streets()
        rows = [_studies.pretext("pretext", _on_all_streets())]
        rows += [Row(f"{name}_scratch", config) for name, config in systems.items()]
        return rows + [
            Row(f"{name}_pretrained", config, starts_from="pretext")
            for name, config in systems.items()
        ]
    protocols = {"semseg": "pascal", "parts": "lip", "joint": "pascal_lip"}
    curves = {
        "semseg": ("D-F6.2-separate",),
        "parts": ("D-F6.3-separate",),
        "joint": ("D-F6.2-joint", "D-F6.3-joint"),
    }
    rows = []
    for start, changes in (("scratch", {}), ("imagenet", IMAGENET)):
        for name, config in protocols.items():
            config = _studies.variant(stacked_unet.get_config(config), changes)
            ids = [f"{curve}-{start}" for curve in curves[name]]
            ids += [f"D-series2-{start}", "D-preprocessing", "D-T4.1"]
            rows.append(Row(f"{name}_{start}", config, published=tuple(ids)))
    return rows


def _on_all_streets() -> ConfigDict:
    return _studies.small(stacked_unet.get_config())


def _on_streets() -> dict[str, ConfigDict]:
    """One half has semantics, the other parts; alone, a task has the steps of its half."""
    joint = _studies.small(stacked_unet.get_config("streets_mixed"))
    joint.optimizer.images_per_update = ConfigDict({"common": 16, "semseg": 8, "parts": 8})
    systems = {}
    for task, half in (("semseg", "train[:50%]"), ("parts", "train[50%:]")):
        changes = {"data.dataset": "streets", "data.mixture": {}, "data.train_split": half}
        changes |= {"optimizer.images_per_update": {}}
        systems[task] = _studies.only(_studies.variant(joint, changes), [task])
    return systems | {"joint": joint}
