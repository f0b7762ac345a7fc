"""What runs cost: parameters, time and memory, beside what was published of them."""

import re
from collections.abc import Iterable
from typing import Any

from mtl_jax.reporting.document import Table
from mtl_jax.reporting.runs import RunRecord, Study
from mtl_jax.reporting.tables import each
from mtl_jax.runs.words import NONE, duration

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_UNITS = {"k": 1e3, "M": 1e6}


def table(study: Study) -> list[Table]:
    """Parameters, throughput, time and memory of every run."""
    rows = []
    for run in study.runs:
        parts = _results(run)
        if not parts:
            continue
        rows.append(
            [
                run.name,
                each((part.get("parameters") for part in parts), "{:,}".format),
                each((part.get("steps") for part in parts), "{:,}".format),
                each((part.get("images_per_second") for part in parts), "{:.1f}".format),
                each((part.get("train_seconds") for part in parts), duration),
                each(_peaks(run, "host"), gibibytes),
                each(_peaks(run, "device"), gibibytes),
                each((part.get("devices") for part in parts), str),
            ]
        )
    header = ["run", "parameters", "steps", "images per second", "training time"]
    header += ["peak memory, host", "peak memory, device", "devices"]
    return [Table(header, rows, "Cost")] if rows else []


def published(study: Study) -> list[Table]:
    """The cost that was published for a row, and ours, in one unit where both have one."""
    rows = []
    for run in study.runs:
        for line in run.published_costs:
            quantity, theirs, ours, ratio = _compared(run, line["metric"], line["value"])
            rows.append([run.name, quantity, theirs, ours, ratio, line["source"]])
    header = ["run", "quantity", "published", "ours", "ours / published", "source"]
    caption = "Cost beside published; time and memory are of other machines"
    return [Table(header, rows, caption)] if rows else []


def _compared(run: RunRecord, metric: str, value: str) -> tuple[str, str, str, str]:
    """(quantity with its unit, what was published of it, ours, the ratio) as texts."""
    parts = _results(run)
    match metric:
        case "training_time":
            ours = [part.get("train_seconds") for part in parts]
            seconds = parse_duration(value)
            ratio = _ratio(ours, seconds)
            return "training time, h:mm:ss", duration(seconds), each(ours, duration), ratio
        case "parameters":
            ours = [part.get("parameters") for part in parts]
            count = parse_count(value)
            return (
                "parameters, millions",
                millions(count),
                each(ours, millions),
                _ratio(ours, count),
            )
        case "max_gpu_memory":
            # The report does not say how much the whole is.
            theirs = f"{value.removesuffix('%')} % of one GPU"
            return "peak memory of a device", theirs, each(_peaks(run, "device"), gibibytes), NONE
        case _:
            return metric, value, "not measured", NONE


def _ratio(ours: Iterable[float | None], published: float) -> str:
    return each((None if own is None else own / published for own in ours), "{:.2f}".format)


def _results(run: RunRecord) -> list[dict[str, Any]]:
    """What results.json holds, of each seed that has one."""
    return [dict(part.results) for part in run.each if part.results]


def _peaks(run: RunRecord, where: str) -> list[int | None]:
    """Bytes, of each seed."""
    return [(part.get("peak_memory") or {}).get(where) for part in _results(run)]


def parse_duration(text: str) -> float:
    """'3h31m5s' ─► seconds. Raises ValueError for anything else."""
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError(f"{text!r} is no duration; expected one such as '3h31m5s' or '7h14m'.")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 3600.0 * hours + 60.0 * minutes + seconds


def parse_count(text: str) -> float:
    """'26.73M' ─► 26,730,000. Raises ValueError for what is no number."""
    return float(text.rstrip("kM")) * _UNITS.get(text[-1:], 1.0)


def millions(count: float) -> str:
    """'26.73'; as many digits as the reports print."""
    return f"{count / 1e6:.2f}"


def gibibytes(count: int) -> str:
    """'3.00 GiB'."""
    return f"{count / 2**30:.2f} GiB"
