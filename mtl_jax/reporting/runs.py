"""Reads what runs and sweeps left in their directories; computes nothing."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtl_jax.errors import UsageError
from mtl_jax.runs import checks, files, rules
from mtl_jax.runs.files import WorkdirError, from_json
from mtl_jax.runs.workdir import Workdir
from mtl_jax.studies import runner as sweep_runner
from mtl_jax.studies import sweeps
from mtl_jax.tasks import Task, build

BEST, LAST, MEAN = "best", "last", "mean_of_last_10"
# How the evaluations of a run are summed up.
SUMMARIES = {BEST: "best", LAST: "last", MEAN: "mean of the last ten"}


class ReportError(UsageError):
    """There is nothing to report on; the message says what was looked for."""


@dataclasses.dataclass(frozen=True)
class Values:
    """Metrics of one summary of a run, see `SUMMARIES`.

    Attributes:
      mean: {metric: value}; over seeds if there are several. Not finite is left out.
      std: sample standard deviations over the seeds, where there are several.
      step: the step or, with seeds, steps that were evaluated; None for a mean over evaluations.
    """

    mean: Mapping[str, float]
    std: Mapping[str, float]
    step: int | list[int] | None = None


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """A row of a report.

    Attributes:
      name: unique within its study.
      workdir: where it is kept.
      config: as plain JSON values; {} if it has not begun.
      label_specs: {key: LabelSpec as a dict}; {} likewise.
      results: what results.json holds; {} without.
      seeds: {seed: its run}, if there are several.
      tasks: {name: Task}; {} if it has not begun.
      overrides: {dotted key: value}, what tells the row from its neighbours.
      published: what was published for it: {source, label, metric, value, our_metric, factor} each.
      published_costs: likewise, of what it cost: {source, label, metric, value as printed} each.
      state: 'done', 'running', 'failed', 'pending' or the like.
      error: why it has failed, or cannot be read as a whole.
    """

    name: str
    workdir: Workdir
    config: Mapping[str, Any]
    label_specs: Mapping[str, Any]
    results: Mapping[str, Any]
    seeds: Mapping[str, "RunRecord"]
    tasks: Mapping[str, Task]
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    published: Sequence[Mapping[str, Any]] = ()
    published_costs: Sequence[Mapping[str, Any]] = ()
    state: str = ""
    error: str = ""

    @functools.cached_property
    def stored(self) -> dict[str, dict[str, Any]]:
        """{'<split>_<checkpoint>': what --mode=evaluate left}."""
        return self.workdir.read_stored_evaluations()

    @property
    def data(self) -> str:
        """What it was evaluated on; metrics of other data cannot be compared with its own."""
        data = self.config.get("data", {})
        sources = [source["dataset"] for source in data.get("mixture", {}).values()]
        split = self.config.get("eval", {}).get("split")
        name = " + ".join(sources) or data.get("dataset") or "unknown data"
        return name if split in (None, "validation") else f"{name}, {split}"

    @property
    def each(self) -> list["RunRecord"]:
        """The runs of its seeds, or itself."""
        return list(self.seeds.values()) or [self]

    def values(self, summary: str) -> Values:
        """Its metrics by one of `SUMMARIES`; a row that only evaluates has one set."""
        found = self.results.get(summary)
        if found and summary == MEAN:
            return Values(_finite(found), _finite(self.results.get(f"{MEAN}_std", {})))
        if not self.results and summary == BEST:
            split = self.config.get("eval", {}).get("split")
            fitting = [stored for stored in self.stored.values() if stored["split"] == split]
            found = fitting[0] if len(fitting) == 1 else None
        if not found:
            return Values({}, {})
        return Values(_finite(found["metrics"]), _finite(found.get("std", {})), found["step"])

    def directions(self) -> dict[str, str]:
        """{metric: 'max' or 'min'} of what matters most: what selects, and each task's headline."""
        known = self.values(BEST).mean
        how = self.config.get("eval", {})
        found = {how.get("selection"): how.get("selection_mode")}
        for name, task in self.tasks.items():
            metric, direction = task.headline
            found[f"{name}/{metric}"] = direction
        return {metric: direction for metric, direction in found.items() if metric in known}


@dataclasses.dataclass(frozen=True)
class Study:
    """Runs that are compared with each other: a sweep, or what was named together."""

    name: str
    runs: Sequence[RunRecord]

    def directions(self) -> dict[str, str]:
        """Of all its runs; see `RunRecord.directions`."""
        together: dict[str, str] = {}
        for run in self.runs:
            together |= run.directions()
        return together


def collect(paths: Iterable[str | Path]) -> tuple[list[Study], list[str]]:
    """Reads runs, runs of several seeds, and sweeps.

    Args:
      paths: their directories.

    Returns:
      (a study for each sweep, and one of all other runs on the same data; what was passed over,
      and why).

    Raises:
      ReportError: none of the paths holds a run or a sweep.
    """
    studies, single, remarks = [], [], []
    for path in map(Path, paths):
        try:
            if (path / sweeps.LIST).exists():
                studies.append(_sweep(path))
            elif Workdir(path).config.exists():
                single.append(_run(path.name, path))
            else:
                remarks.append(f"{path} holds neither a run nor a sweep.")
        except (WorkdirError, ReportError) as error:
            remarks.append(f"{path} is left out: {error}")
    by_data: dict[str, list[RunRecord]] = {}
    for run in _told_apart(single) if single else []:
        by_data.setdefault(run.data, []).append(run)
    several = len(by_data) > 1
    studies[:0] = [
        Study(f"Runs on {data}" if several else "Runs", _with_overrides(runs))
        for data, runs in by_data.items()
    ]
    names = [study.name for study in studies]
    studies = [
        dataclasses.replace(study, name=f"{study.name} ({names[:i].count(study.name) + 1})")
        if names.count(study.name) > 1
        else study
        for i, study in enumerate(studies)
    ]
    if not studies:
        raise ReportError(
            "\n".join(["There is no run to report on.", *remarks])
            + "\nGive the work directories of runs, or of sweeps: runs/*"
        )
    return studies, remarks


def _sweep(path: Path) -> Study:
    description = files.read_json(path / sweeps.LIST, checks.sweep)
    try:
        return Study(str(description["name"]), [_row(path, row) for row in description["rows"]])
    except KeyError as error:
        raise ReportError(f"{path / sweeps.LIST} has no {error}.") from error


def _row(sweep: Path, row: Mapping[str, Any]) -> RunRecord:
    """A row of a sweep, which may have failed before it had written anything."""
    try:
        run = _run(row["name"], sweep / row["name"])
    except WorkdirError as error:
        where = Workdir(sweep / row["name"])
        run = RunRecord(row["name"], where, {}, {}, {}, {}, {}, error=str(error))
    return dataclasses.replace(
        run,
        overrides=row["overrides"],
        published=row["published"],
        published_costs=row.get("published_costs", ()),
        state=_state(row["state"], run),
        error="\n".join(filter(None, (row["error"], run.error))),
    )


def _state(listed: str, run: RunRecord) -> str:
    """What has become of a row: where the sweep was killed, its list says 'running' for ever."""
    if listed == sweep_runner.DONE and not run.results and not run.stored:
        return "results missing"  # links into a sweep that was not copied along, for example
    if listed != sweep_runner.RUNNING or sweep_runner.is_running(run.workdir.path):
        return listed
    return run.state


def _run(name: str, path: Path) -> RunRecord:
    """Reads one work directory."""
    directory = Workdir(path)
    config = directory.read_config() if directory.config.exists() else {}
    labels = directory.read_label_specs() if directory.label_specs.exists() else {}
    seeds = {
        seed: _run(its_directory.path.name, its_directory.path)
        for seed, its_directory in directory.seeds().items()
    }
    if seeds and not labels:
        labels = next(iter(seeds.values())).label_specs
    results = directory.read_results()
    directory.read_stored_evaluations()  # a damaged one is found now, rather than within a table
    built, error = {}, ""
    if config:
        try:
            built = build(ConfigDict(from_json(config["tasks"])), labels)
        except ValueError as problem:
            error = f"Its tasks cannot be built: {problem}"
    state = "done" if results.get("finished") else "not finished"
    return RunRecord(
        name, directory, config, labels, results, seeds, built, state=state, error=error
    )


def _told_apart(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Names that differ, by as much of the path as it takes."""
    depth = 1
    while len(names := {"/".join(run.workdir.path.parts[-depth:]) for run in runs}) < len(runs):
        if depth > max(len(run.workdir.path.parts) for run in runs):
            raise ReportError(f"The same directory is named twice, of {', '.join(sorted(names))}.")
        depth += 1
    return [
        dataclasses.replace(run, name="/".join(run.workdir.path.parts[-depth:])) for run in runs
    ]


def _with_overrides(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """With what differs in the configs."""
    different = rules.what_differs({run.name: run.config for run in runs})
    return [dataclasses.replace(run, overrides=different[run.name]) for run in runs]


def _finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """JSON has no NaN: it is written as null."""
    return {name: value for name, value in metrics.items() if value is not None}
