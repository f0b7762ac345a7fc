"""NYUD-v2, four tasks, and two in the survey's copy: one network against its tasks alone.

--sweep=configs/sweeps/nyud.py            small network on Streets, the same four
--sweep=configs/sweeps/nyud.py:benchmark  ResNet-50 as the survey trains (two tasks), HRNet-18 and
                                          ResNet-50 as ATRC, InvPT and others train (four tasks)

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
    "survey_resnet50": ("nyud-40-2.multi-task-baseline.resnet-50.recalled",),
    "survey_hrnet18": ("nyud-40-2.multi-task-baseline.hrnet-18.recalled",),
    "hrnet18": ("nyud-40-4.multi-task-baseline.hrnet-18.recalled",),
}
SINGLE = {
    "survey_resnet50": ("nyud-40-2.single-task.resnet-50.recalled",),
    "survey_hrnet18": ("nyud-40-2.single-task.hrnet-18.recalled",),
    "hrnet18": ("nyud-40-4.single-task.hrnet-18.recalled",),
}


def get_rows(protocol: str) -> list[Row]:
    """The multi-task network and each task alone."""
    if protocol == "streets":
        base = _studies.small(branched.get_config("streets_six"))
        chosen = ["semseg", "depth", "normals", "edge"]
        return _studies.against_single_tasks(_studies.only(base, chosen), "branched")
    bases = {
        "survey_resnet50": branched.get_config("nyud_survey"),
        "survey_hrnet18": _studies.on_hrnet18(benchmarks.nyud, "survey"),
        "hrnet18": _studies.on_hrnet18(benchmarks.nyud),
        "resnet50": branched.get_config("nyud"),
    }
    rows = []
    for encoder, base in bases.items():
        rows += _studies.against_single_tasks(
            base,
            f"branched_{encoder}",
            ending=f"_{encoder}",
            published=(MULTI.get(encoder, ()), SINGLE.get(encoder, ())),
        )
    return [*rows, *_networks(bases)]


def _networks(bases) -> list[Row]:
    """Other networks on the survey's encoders, which have the same single tasks."""
    start = "nyud-40-2"
    rows = []
    for name, printed in (("cross_stitch", "cross-stitch"), ("nddr", "nddr-cnn")):
        config = _studies.variant(bases["survey_resnet50"], {"model.architecture": name})
        published = (f"{start}.{printed}.resnet-50.recalled",)
        rows.append(Row(f"{name}_survey_resnet50", config, published=published))
    for name, predictions in (("pad_net", 2), ("mti_net", 5)):
        config = _studies.refined(bases["survey_hrnet18"], name, predictions)
        published = (f"{start}.{name.replace('_', '-')}.hrnet-18.recalled",)
        rows.append(Row(f"{name}_survey_hrnet18", config, published=published))
    return rows
