"""The charts of runs and studies."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mtl_jax.reporting import charts
from mtl_jax.reporting.charts import Line
from mtl_jax.reporting.document import Block, Figure, Text, file_name
from mtl_jax.reporting.runs import BEST, RunRecord, Study
from mtl_jax.runs.files import or_nan

_TRAINING_ONLY = ("step", "epoch", "train_seconds", "images_per_second")


def learning_curves(study: Study) -> list[Figure]:
    """Metrics of the evaluations, and the training loss, of all runs over the epochs."""
    found, constant, order = [], [], [run.name for run in study.runs]
    for metric in [*study.directions(), "loss"]:
        lines = [
            line
            for run in study.runs
            for part in run.each
            for line in _curve(run.name, part.workdir.read_evaluations(), metric)
        ]
        if any(len(line.x) > 1 for line in lines):
            svg = charts.lines(lines, x_label="epoch", order=order)
            title = f"{metric} of the evaluations" if metric == "loss" else metric
            tells = len({y for line in lines for y in line.y if y == y}) > 1
            chart = Figure(file_name(study.name, "curve", metric), svg, title)
            (found if tells else constant).append(chart)
    lines = [
        line
        for run in study.runs
        for part in run.each
        for line in _curve(run.name, part.workdir.read_training(), "loss")
    ]
    if lines:
        svg = charts.lines(lines, x_label="epoch", order=order)
        found.append(Figure(file_name(study.name, "curve_training"), svg, "weighted training loss"))
    return found + constant


def _curve(label: str, entries: Iterable[Mapping[str, Any]], key: str) -> list[Line]:
    """A line, or none if nothing was logged under that key."""
    points = [
        (entry["epoch"], or_nan(values[key]))
        for entry in entries
        if key in (values := entry.get("metrics", entry))
    ]
    return [Line(label, *zip(*points, strict=True))] if points else []


def training(run: RunRecord) -> list[Block]:
    """Losses of training and evaluation, weights and the rest of what was logged of one run."""
    (part, *others) = run.each
    logged, evaluations = part.workdir.read_training(), part.workdir.read_evaluations()
    if not logged and not evaluations:
        return []
    keys = dict.fromkeys(key for entry in logged for key in entry if key not in _TRAINING_ONLY)
    found: list[Block] = []
    if not logged:
        found.append(Text("Training was not logged: there is no training.jsonl."))
    if others:
        found.append(Text(f"Curves are of {part.name}."))
    for task in part.tasks:
        lines = _curve("training", logged, f"loss/{task}")
        lines += _curve("evaluation", evaluations, f"{task}/loss")
        if lines:
            svg = charts.lines(lines, x_label="epoch")
            found.append(Figure(file_name(run.name, "loss", task), svg, f"{task}: loss"))
    by_quantity: dict[str, list[str]] = {}
    for key in keys:
        quantity, _, task = key.partition("/")
        if task and quantity != "loss":
            by_quantity.setdefault(quantity, []).append(task)
    for quantity, names in by_quantity.items():
        lines = [line for name in names for line in _curve(name, logged, f"{quantity}/{name}")]
        title = {"weight": "weights of the losses"}.get(quantity, quantity.replace("_", " "))
        svg = charts.lines(lines, x_label="epoch")
        found.append(Figure(file_name(run.name, quantity), svg, title))
    for key in (key for key in keys if "/" not in key and key != "loss"):
        lines = _curve(key.replace("_", " "), logged, key)
        if lines:
            svg = charts.lines(lines, x_label="epoch", legend=False)
            found.append(Figure(file_name(run.name, key), svg, key.replace("_", " ")))
    return found


def comparison(study: Study) -> list[Figure]:
    """The most important metrics, and those published, where several runs have them.

    Lines over a number that the study varies, such as the learning rate, or else bars.
    """
    metrics = dict.fromkeys(study.directions())
    metrics |= dict.fromkeys(
        line["our_metric"] for run in study.runs for line in run.published if line["our_metric"]
    )
    over = varied(study.runs)
    found, constant = [], []
    for metric in metrics:
        measured = [run for run in study.runs if metric in run.values(BEST).mean]
        known = [run for run in study.runs if run in measured or _published(run, metric)]
        if not measured or len(known) < 2:
            continue
        svg = _over(known, metric, *over) if over else _bars(known, metric)
        title = f"{metric}, best evaluation"
        chart = Figure(file_name(study.name, "compared", metric), svg, title)
        tells = len({run.values(BEST).mean[metric] for run in measured}) > 1
        (found if tells else constant).append(chart)
    return found + constant


def varied(runs: Sequence[RunRecord]) -> tuple[str, dict[str, str]] | None:
    """(dotted key of the number that a study varies, {run: what else tells it apart}), or None.

    Of several the one with most values, and of those with equally many the first. What follows from
    it, such as epochs in proportion to the batch size, tells nothing apart.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.overrides))
    values = {key: [_hashable(run.overrides.get(key)) for run in runs] for key in keys}
    numeric = [
        key
        for key in keys
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values[key])
    ]
    if not numeric:
        return None
    chosen = max(numeric, key=lambda key: len(set(values[key])))
    other = [
        key
        for key in keys
        if key != chosen
        and len(set(zip(values[chosen], values[key], strict=True))) > len(set(values[chosen]))
    ]
    groups = [", ".join(_described(key, run.overrides.get(key)) for key in other) for run in runs]
    if len(set(values[chosen])) < 3 or len(set(groups)) * 2 > len(runs):
        return None
    return chosen, {run.name: group for run, group in zip(runs, groups, strict=True)}


def _described(key: str, value: Any) -> str:
    """'adam' of optimizer.name, and 'weight_decay=0.1' of anything else."""
    short = key.rpartition(".")[2]
    return str(value) if short == "name" else f"{short}={value}"


def _hashable(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _over(runs: Sequence[RunRecord], metric: str, key: str, groups: Mapping[str, str]) -> str:
    content = []
    runs = sorted(runs, key=lambda run: run.overrides[key])
    for group in dict.fromkeys(groups.values()):
        own = [run for run in runs if groups[run.name] == group]
        label = group or "ours"
        measured = [run for run in own if metric in run.values(BEST).mean]
        values = [run.values(BEST) for run in measured]
        x, y = [run.overrides[key] for run in measured], [v.mean[metric] for v in values]
        deviations = [v.std.get(metric, np.nan) for v in values]
        known = not np.isnan(deviations).all()
        content.append(Line(label, x, y, deviations=deviations if known else ()))
        points = [(run.overrides[key], v) for run in own for v in _published(run, metric)]
        if points:
            published = f"{group}, published" if group else "published"
            x, y = zip(*points, strict=True)
            content.append(Line(published, x, y, hollow=True, beside=label))
    x = list(itertools.chain.from_iterable(line.x for line in content))
    log_x = min(x) > 0 and max(x) >= 30 * min(x)
    label = ".".join(key.split(".")[-2:])
    return charts.lines(content, x_label=label, log_x=log_x, legend=len(content) > 1)


def _bars(runs: Sequence[RunRecord], metric: str) -> str:
    values = {run.name: run.values(BEST) for run in runs}
    return charts.bars(
        {name: v.mean.get(metric, np.nan) for name, v in values.items()},
        x_label=metric,
        deviations={name: v.std[metric] for name, v in values.items() if metric in v.std},
        published={run.name: _published(run, metric) for run in runs},
    )


def _published(run: RunRecord, metric: str) -> list[float]:
    """What was published for a run, in our unit."""
    same = (p for p in run.published if p["our_metric"] == metric)
    return [p["value"] / p["factor"] for p in same if p["factor"] is not None]


def classes(run: RunRecord) -> list[Block]:
    """Metrics by class and the confusion matrix of one run."""
    (part, *others) = run.each
    found: list[Block] = []
    best = part.workdir.read_best_evaluation()
    if others:
        found.append(Text(f"Classes and pictures are of {part.name}."))
    for task, counts in best.get("confusion", {}).items() if part.tasks else ():
        names = part.tasks[task].class_names
        for metric, title in part.tasks[task].by_class.items():
            values = part.values(BEST).mean
            each = {name: values.get(f"{task}/{metric}/{name}", np.nan) for name in names}
            each = dict(sorted(each.items(), key=lambda item: -np.nan_to_num(item[1], nan=-1.0)))
            svg, place = charts.bars(each, x_label=title), file_name(run.name, metric, task)
            found.append(Figure(place, svg, f"{task}: {title} by class"))
        svg = charts.confusion(np.asarray(counts), names)
        title = f"{task}: confusion matrix, fractions of each true class"
        found.append(Figure(file_name(run.name, "confusion", task), svg, title, large=True))
    return found
