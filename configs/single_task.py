"""Single-task twins: another config with one of its tasks, for baselines.

--config=configs/single_task.py                          semantics on the embedded data set
--config=configs/single_task.py:<twin>_<task>, with <twin> and its tasks from `TWINS`, e.g.
--config=configs/single_task.py:streets_depth            branched, embedded data set
--config=configs/single_task.py:cityscapes_mtan_semseg   SegNet, report C's protocol

MTAN's twin is the SegNet without attention, as its authors compare. Every other architecture's twin
is itself.
"""

from ml_collections import ConfigDict

from mtl_jax.configs import branched, common, cross_stitch, mtan, uncertainty


def segnet(protocol):
    """`protocol` of configs/mtan.py without attention."""

    def change(config: ConfigDict) -> None:
        protocol(config)
        config.model.architecture = "segnet"

    return change


TWINS = {
    "streets_deeplabv3": (cross_stitch.single, ("semseg", "depth")),
    "pascal_context_deeplabv3": (
        cross_stitch.pascal_context_single,
        ("semseg", "human_parts", "sal", "normals", "edge"),
    ),
    "nyud_deeplabv3": (cross_stitch.nyud_single, ("semseg", "depth")),
    "streets": (branched.streets_scratch, ("semseg", "depth")),
    "streets_mtan": (segnet(mtan.streets), ("semseg", "depth")),
    "miniscapes": (branched.miniscapes, ("semseg", "depth")),
    "cityscapes": (branched.cityscapes, ("semseg", "depth")),
    "cityscapes_mtan": (segnet(mtan.cityscapes), ("semseg", "depth")),
    "nyuv2_mtan": (segnet(mtan.nyuv2), ("semseg", "depth", "normals")),
    "cityscapes_uncertainty": (uncertainty.cityscapes, ("semseg", "depth", "instance")),
}


def only(protocol, task: str):
    """`protocol` with `task` alone, and the best checkpoint by that task's headline metric."""

    def change(config: ConfigDict) -> None:
        protocol(config)
        config.tasks = ConfigDict({task: config.tasks[task]})
        config.weighting = ConfigDict({"name": "fixed"})
        config.eval.delta_metrics = tuple(
            chosen for chosen in config.eval.delta_metrics if chosen.startswith(f"{task}/")
        )
        for option in ("semantics", "classes"):  # alone, instances stay offsets
            if option in config.tasks[task]:
                del config.tasks[task][option]
        config.eval.selection, config.eval.selection_mode = "headline_mean", "max"

    return change


PROTOCOLS = {
    f"{twin}_{task}": only(protocol, task)
    for twin, (protocol, its_tasks) in TWINS.items()
    for task in its_tasks
}


def get_config(protocol: str = "streets_semseg") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="single_task")
