"""NYUD-v2, four tasks, and two in the survey's copy: one network against its tasks alone.

--sweep=configs/sweeps/nyud.py            small network on Streets, the same four
--sweep=configs/sweeps/nyud.py:benchmark  ResNet-50 as the survey trains (two tasks), HRNet-18 and
                                          ResNet-50 as ATRC, InvPT and others train (four tasks)

The benchmark's further rows are cross-stitch networks, NDDR-CNN, MTAN, PAD-Net, MTI-Net, InvPT,
MLoRE and TaskPrompter. Evaluate every row (`--mode=evaluate`, which adds odsF); then
`python -m mtl_jax.studies.benchmarks <directory>` prints ours, Δm, and what is published.
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import (
    benchmarks,
    branched,
    cross_stitch,
    hrnet,
    invpt,
    mlore,
    mtan,
    mti_net,
    pad_net,
)
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "benchmark")
REPORTED = "benchmark"
START = "nyud-40"  # 2 or 4 tasks
MULTI = {
    "survey_resnet50": "2.multi-task-baseline.resnet-50.recalled",
    "survey_hrnet18": "2.multi-task-baseline.hrnet-18.recalled",
    "hrnet18": "4.multi-task-baseline.hrnet-18.recalled",
}
SINGLE = {
    "survey_resnet50": "2.single-task.resnet-50.recalled",
    "survey_hrnet18": "2.single-task.hrnet-18.recalled",
    "hrnet18": "4.single-task.hrnet-18.recalled",
}
# Row: (config, its protocol, what is published for it).
NETWORKS = {
    "cross_stitch_survey_resnet50": (cross_stitch, "nyud", "2.cross-stitch.resnet-50.recalled"),
    "nddr_survey_resnet50": (cross_stitch, "nyud_nddr", "2.nddr-cnn.resnet-50.recalled"),
    "mtan_survey_resnet50": (mtan, "nyud", "2.mtan.resnet-50.recalled"),
    "pad_net_survey_hrnet18": (pad_net, "nyud", "2.pad-net.hrnet-18.recalled"),
    "mti_net_survey_hrnet18": (mti_net, "nyud", "2.mti-net.hrnet-18.recalled"),
    "invpt_vit_l": (
        invpt,
        "nyud",
        "4.invpt-weights-released.vit-l.readme 4.invpt-paper.vit-l.readme 4.invpt.vit-l.survey",
    ),
    "mlore_vit_l": (mlore, "nyud", "4.mlore.vit-l.survey"),
    "task_prompter_vit_l": (
        mlore,
        "nyud_task_prompter",
        "4.taskprompter-weights-released.vit-l.readme 4.taskprompter-paper.vit-l.readme "
        "4.taskprompter.vit-l.survey",
    ),
}


def get_rows(protocol: str) -> list[Row]:
    """Multi-task networks and each task alone; other networks."""
    if protocol == "streets":
        return _studies.of_streets(["semseg", "depth", "normals", "edge"])
    bases = {
        "survey_resnet50": branched.get_config("nyud_survey"),
        "survey_hrnet18": hrnet.get_config("nyud"),
        "hrnet18": _studies.on_hrnet18(benchmarks.nyud),
        "resnet50": branched.get_config("nyud"),
    }
    return _studies.benchmark(bases, NETWORKS, MULTI, SINGLE, start=START, joint="-")
