"""What the JSON files of a work directory have to hold, so that a damaged one is said to be that.

Each check takes what a file holds and says what is wrong with it, in words that follow '<file>
cannot be read:'; '' if nothing is. Further keys, of another version, are let be.
"""

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from mtl_jax.runs.files import is_number, no_metrics

Check = Callable[[dict[str, Any]], str]

_SECTIONS = ("data", "model", "tasks", "weighting", "optimizer", "schedule", "train", "eval")


def config(found: dict[str, Any]) -> str:
    """The config of a run: its sections, and a type for every task."""
    for section in _SECTIONS:
        if not isinstance(found.get(section), dict):
            return f"it is no config of a run, as it has no section {section!r}"
    for name, task in found["tasks"].items():
        if not isinstance(task, dict) or not isinstance(task.get("type"), str):
            return f"'tasks.{name}' has no 'type'"
    for key in ("schedule", "weighting", "optimizer"):
        if not isinstance(found[key].get("name"), str):
            return f"'{key}' has no 'name'"
    return ""


def label_specs(found: dict[str, Any]) -> str:
    """{key: `LabelSpec.as_dict()`}."""
    for key, spec in found.items():
        if not isinstance(spec, dict) or not isinstance(spec.get("kind"), str):
            return f"{key!r} has no 'kind'"
        for field, value in spec.items():
            if value is not None and not _FIELDS.get(field, _anything)(value):
                return f"'{key}.{field}' is {value!r:.80}"
    return ""


def learned_tasks(found: list[Any]) -> str:
    """Names of tasks."""
    return "" if all(map(_text, found)) else "expected names of tasks"


def results(found: dict[str, Any]) -> str:
    """results.json, of one run or of several seeds."""
    for summary in ("best", "last"):
        entry = found.get(summary)
        problem = "" if entry is None else evaluation(entry)
        if problem:
            return f"{summary!r}: {problem}"
    if not isinstance(found.get("finished"), bool):
        return "it does not say whether the run is 'finished'"
    return no_metrics(found.get("mean_of_last_10", {}))


def evaluation(found: dict[str, Any]) -> str:
    """What was found of one model, or is the mean over those of several seeds."""
    if not isinstance(found, dict) or "step" not in found or "metrics" not in found:
        return "expected an evaluation, with 'step' and 'metrics'"
    return no_metrics(found["metrics"]) or no_metrics(found.get("std", {}))


def trackers(found: dict[str, Any]) -> str:
    """{tracker: id}."""
    return "" if all(map(_text, found.values())) else "expected ids of trackers"


def best_evaluation(found: dict[str, Any]) -> str:
    """The single images of an evaluation."""
    for key in ("images", "directions", "worst", "confusion"):
        if not isinstance(found.get(key), dict):
            return f"it has no {key!r}"
    columns = found["images"].values()
    if not all(isinstance(column, list) for column in columns) or len(set(map(len, columns))) > 1:
        return "'images' are no columns of one length"
    ids = found["images"].get("id", [])
    for metric in found["directions"]:
        values = found["images"].get(metric)
        worst = found["worst"].get(metric.partition("/")[0])
        if values is None or not all(map(_or_null(is_number), values)):
            return f"{metric!r} has no numbers in 'images'"
        if not isinstance(worst, list) or not all(image in ids for image in worst):
            return f"{metric!r} has no images in 'worst'"
    return ""


def sweep(found: dict[str, Any]) -> str:
    """sweep.json: its rows, whose names are those of folders beside it."""
    rows = found.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return "it has no list of a sweep's rows"
    for row in rows:
        name = row.get("name")
        if not _text(name) or PurePath(name).name != name:
            return f"a row's name is {name!r:.80}"
        if not isinstance(row.get("overrides", {}), dict):
            return f"the 'overrides' of the row {name!r} are no object"
        for key, fields in _PUBLISHED.items():
            lines = row.get(key, [])
            if not isinstance(lines, list) or not all(_has(line, fields) for line in lines):
                return f"{key!r} of the row {name!r} is no list of what was published"
    return ""


def _has(line: Any, fields: dict[str, Callable[[Any], bool]]) -> bool:
    return isinstance(line, dict) and all(
        key in line and is_one(line[key]) for key, is_one in fields.items()
    )


def anything(found: Any) -> str:
    """For what is compared as it is."""
    return ""


def _anything(value: Any) -> bool:
    return True


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _or_null(item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or item(value)


def _list_of(item: Callable[[Any], bool], length: int | None = None) -> Callable[[Any], bool]:
    def is_one(value: Any) -> bool:
        return (
            isinstance(value, list)
            and all(map(item, value))
            and (length is None or len(value) == length)
        )

    return is_one


# What may be null besides.
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "class_names": _list_of(_text),
    "instance_classes": _list_of(_text),
    "palette": _list_of(_list_of(is_number, 3)),
    "flip_swap": _list_of(_list_of(is_number, 2)),
    "valid_range": _list_of(is_number, 2),
    "unit": _text,
    **dict.fromkeys(("ignore", "invalid", "mean", "stddev", "channels"), is_number),
}
# What a sweep tells of a row: `studies.sweeps.published_results` and `published_costs`.
_TOLD = dict.fromkeys(("label", "metric", "source"), _text)
_PUBLISHED: dict[str, dict[str, Callable[[Any], bool]]] = {
    "published": _TOLD
    | {"value": is_number, "our_metric": _or_null(_text), "factor": _or_null(is_number)},
    "published_costs": _TOLD | {"value": _text},
}
