"""PASCAL-Context, five tasks: one multi-task network against its tasks alone, for each encoder.

--sweep=configs/sweeps/pascal_context.py            small network on Streets, its four of them
--sweep=configs/sweeps/pascal_context.py:benchmark  ResNet-18 and HRNet-18 as the survey trains,
                                                    HRNet-18 and ResNet-50 as ATRC and InvPT do

The benchmark's further rows are cross-stitch networks, NDDR-CNN, PAD-Net, MTI-Net, InvPT, MLoRE and
TaskPrompter. Evaluate every row (`--mode=evaluate`, which adds odsF); then
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
    mti_net,
    pad_net,
)
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "benchmark")
REPORTED = "benchmark"
START = "pascal-context-5"
MULTI = {
    "resnet18": "multi-task-baseline.resnet-18.survey",
    "survey_hrnet18": "multi-task-baseline.hrnet-18.survey",
    "hrnet18": "multi-task-baseline.hrnet-18.recalled",
}
SINGLE = {
    "resnet18": "single-task.resnet-18.survey",
    "hrnet18": "single-task.hrnet-18.recalled",
}
# Row: (config, its protocol, what is published for it).
NETWORKS = {
    "cross_stitch_resnet18": (cross_stitch, "pascal_context", "cross-stitch.resnet-18.survey"),
    "nddr_resnet18": (cross_stitch, "pascal_context_nddr", "nddr-cnn.resnet-18.survey"),
    "pad_net_survey_hrnet18": (
        pad_net,
        "pascal_context",
        "pad-net.hrnet-18.survey pad-net.hrnet-18.recalled",
    ),
    "mti_net_survey_hrnet18": (mti_net, "pascal_context", "mti-net.hrnet-18.survey"),
    "invpt_vit_l": (
        invpt,
        "pascal_context",
        "invpt-weights-released.vit-l.readme invpt-paper.vit-l.readme invpt.vit-l.survey",
    ),
    "mlore_vit_l": (mlore, "pascal_context", "mlore.vit-l.survey"),
    "mlore_vit_b": (mlore, "pascal_context_b", "mlore.vit-b.survey"),
    "task_prompter_vit_l": (
        mlore,
        "pascal_context_task_prompter",
        "taskprompter-weights-released.vit-l.readme taskprompter-paper.vit-l.readme "
        "taskprompter.vit-l.survey",
    ),
    "task_prompter_vit_b": (
        mlore,
        "pascal_context_task_prompter_b",
        "taskprompter-weights-released.vit-b.readme taskprompter.vit-b.survey",
    ),
}


def get_rows(protocol: str) -> list[Row]:
    """Multi-task networks and each task alone; other networks."""
    if protocol == "streets":
        return _studies.of_streets(["semseg", "parts", "normals", "edge"])
    bases = {
        "resnet18": branched.get_config("pascal_context_survey"),
        "survey_hrnet18": hrnet.get_config("pascal_context"),
        "hrnet18": _studies.on_hrnet18(benchmarks.pascal_context),
        "resnet50": branched.get_config("pascal_context"),
    }
    return _studies.benchmark(bases, NETWORKS, MULTI, SINGLE, start=START)
