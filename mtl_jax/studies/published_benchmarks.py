"""The table of what papers print for the field's benchmarks, published_benchmarks.csv.

A published number is one that was read where it was published; numbers from memory, of other
people's tables or counted from code keep that mark wherever they are told.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent / "published_benchmarks.csv"
MARKS = ("read", "second hand", "counted", "recalled")
COSTS = ("params_M", "flops_G")
# Printed metric: (ours, what ours is multiplied by).
METRICS = {
    "semseg_miou": ("semseg/miou_all", 100.0),
    "parts_miou": ("human_parts/miou_all", 100.0),
    "saliency_maxF": ("sal/maxF", 100.0),
    "normals_mean": ("normals/mean", 1.0),
    "edge_odsF": ("edge/odsF", 100.0),
    "depth_rmse": ("depth/rmse_unclamped", 1.0),
    "miou": ("semseg/miou", 100.0),
    "pixel_accuracy": ("semseg/pixel_accuracy", 100.0),
    "abs": ("depth/abs", 1.0),
    "abs_times_100": ("depth/abs", 100.0),
    "rel": ("depth/rel", 1.0),
    "normals_median": ("normals/median", 1.0),
    "within_11.25": ("normals/within_11.25", 100.0),
    "within_22.5": ("normals/within_22.5", 100.0),
    "within_30": ("normals/within_30", 100.0),
}
# A printed name that stands for another figure: (metric, what the note says) ─► ours.
_BY_NOTE = {
    ("saliency_maxF", "maxF_invpt"): "sal/maxF_invpt",
    ("saliency_maxF", "per-image mIoU of its own protocol"): "sal/miou_per_image_survey",
    ("saliency_miou", "maximal per-image mIoU"): "sal/miou_per_image_survey",
    ("saliency_miou", "is the per-image mIoU"): "sal/miou_per_image_mtdp",
    ("edge_odsF", "protocol mtdp"): "edge/odsF_mtdp",
}


def read(path: Path = FILE) -> dict[str, list[dict[str, str]]]:
    """{id of a system's row: [{source, benchmark, system, encoder, metric, value, mark, ...}]}.

    Args:
      path: of this table, or of another one with a column `id`.
    """
    found: dict[str, list[dict[str, str]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            found.setdefault(line.pop("id"), []).append(line)
    return found


def ours(line: Mapping[str, str]) -> tuple[str, float] | tuple[None, None]:
    """(our metric, what it is multiplied by) that a printed number is; (None, None): none is.

    Args:
      line: of the table.
    """
    for (metric, said), name in _BY_NOTE.items():
        if line["metric"] == metric and said in line["note"]:
            return name, 100.0
    return METRICS.get(line["metric"], (None, None))


def described(row_id: str, line: Mapping[str, str]) -> dict[str, Any]:
    """A line as sweeps tell it; its source says if the number was not read where it was printed."""
    source = line["source"]
    if line["mark"] != "read" and not source.startswith(line["mark"]):
        source = f"{line['mark']}: {source}"
    name, factor = ours(line)
    return {
        "id": row_id,
        "source": source,
        "label": f"{line['system']}, {line['encoder']}",
        "metric": line["metric"],
        "value": float(line["value"]),
        "our_metric": name,
        "factor": factor,
    }
