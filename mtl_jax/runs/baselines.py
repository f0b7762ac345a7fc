"""Δm of a run against stored runs, such as the same network trained for one task at a time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mtl_jax import metrics
from mtl_jax.errors import ConfigError, UsageError
from mtl_jax.runs.rules import evaluated_differently, evaluated_with
from mtl_jax.runs.workdir import Workdir
from mtl_jax.tasks import Task, measured_with

ENTRY = {"best": "best", "latest": "last"}  # checkpoint: entry of results.json


class BaselineError(UsageError):
    """A baseline cannot be compared with; the message says which and why."""


def stored(directory: Workdir, like: Mapping[str, Any], summary: str) -> dict[str, float]:
    """The metrics of a finished run, evaluated as `like` evaluates.

    They come from `evaluation_<split>_<checkpoint>.json`, which --mode=evaluate leaves, or from
    `results.json`, which training leaves.

    Args:
      directory: of one run, or of runs of several seeds, whose means are meant.
      like: the config, as plain JSON values, of the run that will be compared.
      summary: 'best', 'latest' (a checkpoint) or 'mean_of_last_10'.

    Raises:
      BaselineError: the run is not finished, or has not been evaluated so, or its tasks measure
        something else.
      WorkdirError: there is no run.
    """
    config, split = directory.read_config(), like["eval"]["split"]
    if differences := measured_differently(config, like):
        raise BaselineError(
            f"{directory.path} measures something else than this run:\n"
            + "\n".join(differences)
            + "\nCompare with a run that was trained with the same."
        )
    expected = evaluated_with(like)
    found = directory.read_evaluation(split, summary)
    if found.get("evaluated_with") == expected:
        return found["metrics"]
    results = directory.read_results()
    if not results:
        raise BaselineError(f"{directory.path} has no results yet: train it to its end first.")
    if not results["finished"]:
        raise BaselineError(f"{directory.path} is not finished: train it to its end first.")
    own = evaluated_with(config) | {"eval.split": results["split"]}
    if differences := evaluated_differently(own, expected | {"eval.split": split}):
        raise BaselineError(
            f"{directory.path} was not evaluated as this run is:\n" + "\n".join(differences) + "\n"
            "Evaluate it likewise first, with --mode=evaluate."
        )
    if summary == "mean_of_last_10":
        return results[summary]
    return results[ENTRY[summary]]["metrics"]


def measured_differently(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Lines about options of the tasks that two configs share that change what metrics mean.

    Args:
      there: a config as plain JSON values.
      here: likewise.
    """
    lines = []
    for name in here["tasks"]:
        if name in there["tasks"]:
            both = (measured_with(name, config["tasks"][name]) for config in (there, here))
            lines += evaluated_differently(*both)
    return lines


def read(directories: Iterable[Workdir], like: Mapping[str, Any], summary: str) -> dict[str, float]:
    """The metrics of several runs together; arguments and errors as of `stored`.

    Raises:
      BaselineError: also if two of the runs have the same task.
    """
    together: dict[str, float] = {}
    owner: dict[str, Workdir] = {}
    for directory in directories:
        found = {name: v for name, v in stored(directory, like, summary).items() if "/" in name}
        for task in {name.partition("/")[0] for name in found}:
            if task in owner:
                raise BaselineError(
                    f"{task!r} is a task of two baselines, {owner[task].path} and {directory.path}."
                )
            owner[task] = directory
        together |= found
    return together


def directions(
    found: Mapping[str, float], tasks: Mapping[str, Task], chosen: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Which metrics Δm compares, as {'<task>/<metric>': 'max' or 'min'}.

    Args:
      found: the run's metrics; a task without any is unlabelled and left out.
      tasks: {name: Task}.
      chosen: `config.eval.delta_metrics`, e.g. ('semseg/miou:max', 'depth/rmse:min'); or empty.

    Returns:
      (one of each task: `chosen`, by default each task's headline; several of each task: what the
      field's tables have, `Task.tabled`, or the headline where none of these was measured).

    Raises:
      ConfigError: `chosen` has another form.
    """
    headlines, several = {}, {}
    for name, task in tasks.items():
        if f"{name}/loss" not in found:
            continue
        metric, direction = task.headline
        headlines[f"{name}/{metric}"] = direction
        tabled = {f"{name}/{m}": d for m, d in task.tabled.items() if f"{name}/{m}" in found}
        several |= tabled or {f"{name}/{metric}": direction}
    return check_delta_metrics(chosen) or headlines, several


def check_delta_metrics(chosen: Sequence[str]) -> dict[str, str]:
    """('depth/rmse:min',) ─► {'depth/rmse': 'min'}.

    Raises:
      ConfigError: `chosen`, which is `config.eval.delta_metrics`, has another form.
    """
    one = {}
    for item in chosen:
        metric, _, direction = item.partition(":")
        if direction not in ("max", "min"):
            raise ConfigError(
                f"config.eval.delta_metrics: expected '<task>/<metric>:max' or ':min', found "
                f"{item!r}."
            )
        one[metric] = direction
    return one


def delta_m(
    found: Mapping[str, float],
    baselines: Mapping[str, float],
    tasks: Mapping[str, Task],
    chosen: Sequence[str] = (),
) -> dict[str, float]:
    """Δm by every protocol, {protocol: percent}. Arguments as of `directions`.

    Raises:
      BaselineError: a metric is missing or cannot be compared, or `chosen` has another form.
    """
    try:
        one, several = directions(found, tasks, chosen)
        _check_scored_images(found, baselines, {**one, **several}, tasks)
        return {
            protocol: metrics.delta_m(
                protocol, found, baselines, one if protocol == "one_metric_per_task" else several
            )
            for protocol in metrics.DELTA_PROTOCOLS
        }
    except ValueError as error:
        raise BaselineError(str(error)) from error


def _check_scored_images(
    found: Mapping[str, float],
    baselines: Mapping[str, float],
    compared: Iterable[str],
    tasks: Mapping[str, Task],
) -> None:
    """Raises BaselineError if a slow score, which no headline is, is of other images there."""
    headlines = {f"{name}/{task.headline[0]}" for name, task in tasks.items()}
    for metric in compared:
        count = f"{metric.partition('/')[0]}/scored_images"
        there, here = baselines.get(count), found.get(count)
        if metric not in headlines and None not in (there, here) and there != here:
            raise BaselineError(
                f"{metric} of the baseline is of {there:g} images, here it is of {here:g}. "
                "Evaluate both with the same config.eval.scores.ids, with --mode=evaluate."
            )


def compare(
    found: Mapping[str, float],
    own: Workdir,
    baselines: Sequence[Workdir],
    config: Mapping[str, Any],
    tasks: Mapping[str, Task],
    *,
    report: Callable[[str], None],
) -> dict[str, dict[str, float]]:
    """Δm of the checkpoint that was evaluated, and of the mean of the last 10 evaluations.

    Args:
      found: metrics of the checkpoint.
      own: where the run is kept.
      baselines: of single-task runs.
      config: the run's config as plain JSON values.
      tasks: {name: Task}.
      report: is told what was found, or why there is no Δm of the last 10.

    Returns:
      {'best' or 'latest': {protocol: percent}, and 'mean_of_last_10' where that can be had}.

    Raises:
      BaselineError: as of `read` and `delta_m`.
    """
    checkpoint, chosen = config["eval"]["checkpoint"], config["eval"]["delta_metrics"]
    against = read(baselines, config, checkpoint)
    deltas = {checkpoint: delta_m(found, against, tasks, chosen)}
    last_ten = "mean_of_last_10"
    try:
        mean, against = (read(runs, config, last_ten) for runs in ([own], baselines))
        deltas[last_ten] = delta_m(mean, against, tasks, chosen)
    except BaselineError as error:
        report(f"There is no Δm of {last_ten}: {error}")
    for name, delta in deltas.items():
        report(describe(delta, name))
    return deltas


def describe(found: Mapping[str, float], summary: str) -> str:
    """One line that says Δm by every protocol, and of each which sign is good.

    Args:
      found: of `delta_m`.
      summary: which of the run's results were compared.
    """
    good = dict.fromkeys(found, "positive") | {"mean_over_metrics": "negative"}
    values = (f"{protocol} {v:+.2f} % ({good[protocol]} is good)" for protocol, v in found.items())
    return f"Δm of {summary}: {', '.join(values)}"
