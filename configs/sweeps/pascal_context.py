"""PASCAL-Context, five tasks: one multi-task network against its tasks alone, for each encoder.

--sweep=configs/sweeps/pascal_context.py            small network on Streets, its four of them
--sweep=configs/sweeps/pascal_context.py:benchmark  ResNet-18 as the survey trains, HRNet-18 and
                                                    ResNet-50 as ATRC, InvPT and others train

The benchmark's further rows are PAD-Net, MTI-Net, cross-stitch networks and NDDR-CNN. Then evaluate
every row (`--mode=evaluate`, which adds odsF); `python -m mtl_jax.studies.benchmarks <directory>`
prints ours, Δm, and what is published.
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import benchmarks, branched
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "benchmark")
REPORTED = "benchmark"
MULTI = {
    "resnet18": ("pascal-context-5.multi-task-baseline.resnet-18.survey",),
    "hrnet18": (
        "pascal-context-5.multi-task-baseline.hrnet-18.survey",
        "pascal-context-5.multi-task-baseline.hrnet-18.recalled",
    ),
}
SINGLE = {
    "resnet18": ("pascal-context-5.single-task.resnet-18.survey",),
    "hrnet18": ("pascal-context-5.single-task.hrnet-18.recalled",),
}


def get_rows(protocol: str) -> list[Row]:
    """The multi-task network and each task alone."""
    if protocol == "streets":
        base = _studies.small(branched.get_config("streets_six"))
        chosen = ["semseg", "parts", "normals", "edge"]
        return _studies.against_single_tasks(_studies.only(base, chosen), "branched")
    rows = []
    for encoder, base in _bases(benchmarks.pascal_context).items():
        rows += _studies.against_single_tasks(
            base,
            f"branched_{encoder}",
            ending=f"_{encoder}",
            published=(MULTI.get(encoder, ()), SINGLE.get(encoder, ())),
        )
    return [*rows, *_networks(_bases(benchmarks.pascal_context))]


def _networks(bases) -> list[Row]:
    """Other networks on the same encoders, which have the same single tasks."""
    start = "pascal-context-5"
    rows = []
    for name, printed in (("cross_stitch", "cross-stitch"), ("nddr", "nddr-cnn")):
        config = _studies.variant(bases["resnet18"], {"model.architecture": name})
        rows.append(
            Row(f"{name}_resnet18", config, published=(f"{start}.{printed}.resnet-18.survey",))
        )
    pad = tuple(f"{start}.pad-net.hrnet-18.{source}" for source in ("survey", "recalled"))
    mti = (f"{start}.mti-net.hrnet-18.survey",)
    hrnet = bases["hrnet18"]
    rows.append(Row("pad_net_hrnet18", _studies.refined(hrnet, "pad_net", 2), published=pad))
    rows.append(Row("mti_net_hrnet18", _studies.refined(hrnet, "mti_net", 5), published=mti))
    return rows


def _bases(recipe):
    return {
        "resnet18": branched.get_config("pascal_context_survey"),
        "hrnet18": _studies.on_hrnet18(recipe),
        "resnet50": branched.get_config("pascal_context"),
    }
