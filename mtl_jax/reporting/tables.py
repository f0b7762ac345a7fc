"""The tables that compare the runs of a study."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mtl_jax import metrics
from mtl_jax.reporting.document import Block, Strong, Table, Text
from mtl_jax.reporting.runs import BEST, LAST, MEAN, SUMMARIES, RunRecord, Study
from mtl_jax.runs import baselines
from mtl_jax.runs.files import flatten
from mtl_jax.runs.words import NONE, number, plus_minus

_GOOD = {"max": "↑", "min": "↓"}


def results(study: Study) -> list[Table]:
    """Every run's most important metrics, by each of the three summaries; the best stand out."""
    directions = study.directions()
    if not directions:
        return []
    return [_results_by(study, summary, directions) for summary in _summaries(study.runs)]


def _summaries(several: Sequence[RunRecord]) -> Iterable[str]:
    """Those that can differ: of single evaluations all are the same."""
    return SUMMARIES if any(max(_evaluations(run)) > 1 for run in several) else (BEST,)


def _results_by(study: Study, summary: str, directions: Mapping[str, str]) -> Table:
    found = {run.name: run.values(summary) for run in study.runs}
    data = list(dict.fromkeys(run.data for run in study.runs if run.config))
    champions = {  # of each data set, as numbers on different ones cannot be compared
        metric: set().union(
            *(
                _champion(
                    {r.name: found[r.name].mean.get(metric) for r in study.runs if r.data == one},
                    direction,
                )
                for one in data
            )
        )
        for metric, direction in directions.items()
    }
    rows = []
    for run in study.runs:
        values, cells = found[run.name], [run.name, *[run.data] * (len(data) > 1)]
        cells.append(_extent(run, summary))
        for metric in directions:
            text = plus_minus(values.mean.get(metric), values.std.get(metric))
            cells.append(Strong(text) if run.name in champions[metric] else text)
        rows.append(cells)
    header = [f"{metric} {_GOOD[direction]}" for metric, direction in directions.items()]
    if summary == MEAN:
        extent, caption = "evaluations", "Mean of the last ten evaluations"
    else:
        extent, caption = "at step", f"{SUMMARIES[summary].capitalize()} evaluation"
    if any(run.seeds for run in study.runs):
        caption += ": mean ± sample standard deviation over the seeds"
    return Table(["run", *["data"] * (len(data) > 1), extent, *header], rows, caption)


def _extent(run: RunRecord, summary: str) -> str:
    """How far the run had come, or of how many evaluations the mean is."""
    if summary == MEAN:
        counts = {min(10, count) for count in _evaluations(run)}
    else:
        step = run.values(summary).step
        counts = set(step) if isinstance(step, list) else {step}
    counts = sorted(count for count in counts if count)
    return ", ".join(f"{count:,}" for count in counts) or NONE


def _evaluations(run: RunRecord) -> list[int]:
    found = run.results.get("evaluations", 0)
    return found if isinstance(found, list) else [found]


def _champion(values: Mapping[str, float | None], direction: str) -> set[str]:
    """Who is best; several where some are equal, nobody where all are."""
    known = {name: value for name, value in values.items() if value is not None}
    best = (max if direction == "max" else min)(known.values(), default=None)
    champions = {name for name, value in known.items() if value == best}
    return champions if len(champions) < len(known) else set()


def states(study: Study) -> list[Block]:
    """What has become of the runs that are not done; nothing if all are."""
    missing = [run for run in study.runs if run.state != "done"]
    if not missing:
        return []
    rows = [[run.name, run.state, run.error.strip() or NONE] for run in missing]
    return [Table(["run", "state", "error"], rows, "Not done")]


def settings(study: Study) -> list[Table]:
    """What tells the runs apart."""
    keys = list(dict.fromkeys(key for run in study.runs for key in run.overrides))
    if not keys:
        return []
    rows = [
        [run.name, *(_setting(run.overrides.get(key, NONE)) for key in keys)] for run in study.runs
    ]
    # A table of many columns is hardest to read; what differs is then told of each run.
    return [Table(["run", *keys], rows, "What differs")] if len(keys) <= 12 else []


def _setting(value: Any) -> str:
    if isinstance(value, list):
        return "(" + ", ".join(map(_setting, value)) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)


def published(study: Study) -> list[Table]:
    """Our results beside what was published for the same row, and what is compared with what."""
    rows = [_beside(run, line) for run in study.runs for line in run.published]
    if not rows:
        return []
    header = ["run", "metric", "published", "ours, best", "difference"]
    header += ["ours, last", "ours, mean of last ten", "source"]
    lines = [(run.name, line) for run in study.runs for line in run.published]
    metrics_ = {line["metric"]: _our_metric(line) for _, line in lines}
    labels = dict.fromkeys((name, line["source"], line["label"]) for name, line in lines)
    return [
        Table(header, rows, "Ours beside published"),
        Table(["published metric", "our metric"], list(metrics_.items()), "What is compared"),
        Table(["run", "source", "published row"], list(labels), "Published as"),
    ]


def _beside(run: RunRecord, line: Mapping[str, Any]) -> list[str]:
    """A published number and ours, by all three summaries, in its unit if that is known."""
    cells = [run.name, line["metric"], f"{line['value']:g}"]
    ours, known = line["our_metric"], line["factor"] is not None
    factor = line["factor"] if known else 1.0
    if ours is None:
        return [*cells, "not measured", *[NONE] * 3, line["source"]]
    values = {summary: run.values(summary) for summary in SUMMARIES}
    own = {summary: v.mean.get(ours) for summary, v in values.items()}
    scaled = {summary: None if v is None else factor * v for summary, v in own.items()}
    std, best = values[BEST].std.get(ours), scaled[BEST]
    cells.append(plus_minus(best, None if std is None else factor * std))
    cells.append(_difference(best, line["value"]) if known and best is not None else NONE)
    return [*cells, number(scaled[LAST]), number(scaled[MEAN]), line["source"]]


def _difference(ours: float, published: float) -> str:
    """With its sign, to the digits of ours."""
    decimals = len(number(ours).partition(".")[2])
    return f"{ours - published:+.{decimals}f}".replace("-", "−")


def _our_metric(line: Mapping[str, Any]) -> str:
    if line["our_metric"] is None:
        return "none says the same"
    ours, factor = line["our_metric"], line["factor"]
    if factor is None:
        return f"{ours}, but the unit was not published"
    return ours if factor == 1 else f"{factor:g} × {ours}"


def each(values: Iterable[Any], form: Callable[[Any], str]) -> str:
    """One text, or from the least to the most where seeds differ."""
    known = [value for value in values if value is not None]
    if not known:
        return NONE
    texts = list(dict.fromkeys(form(value) for value in sorted(known)))
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"


def delta_m(study: Study) -> list[Block]:
    """Δm of every run of several tasks against the single-task runs of the study."""
    several = [run for run in study.runs if len(run.tasks) > 1]
    rows, remarks = [], []
    for run in several:
        try:
            own, against = baselines_of(run, study.runs)
        except baselines.BaselineError as error:
            remarks.append(f"There is no Δm of {run.name}: {error}")
            continue
        if not against:
            continue
        chosen = tuple(run.config["eval"].get("delta_metrics", ()))
        for summary in _summaries(study.runs):
            together: dict[str, float] = {}
            for name, baseline in against.items():
                values = baseline.values(summary).mean
                together |= {k: v for k, v in values.items() if k.startswith(f"{name}/")}
            found = run.values(summary).mean
            try:
                delta = baselines.delta_m(found, together, own, chosen)
            except baselines.BaselineError as error:
                remarks.append(f"There is no Δm of {run.name}, {SUMMARIES[summary]}: {error}")
                continue
            names = ", ".join(dict.fromkeys(baseline.name for baseline in against.values()))
            rows.append(
                [run.name, SUMMARIES[summary], *(_percent(d) for d in delta.values()), names]
            )
    protocols = [f"{name} [%]" for name in metrics.DELTA_PROTOCOLS]
    blocks: list[Block] = []
    if rows:
        caption = "Δm; positive is good, but for mean_over_metrics, where negative is good"
        blocks.append(Table(["run", "evaluation", *protocols, "against"], rows, caption))
    return blocks + [Text(remark) for remark in dict.fromkeys(remarks)]


def baselines_of(
    run: RunRecord, others: Sequence[RunRecord]
) -> tuple[dict[str, Any], dict[str, RunRecord]]:
    """The tasks of a run that have labels, and the single-task run to compare each with.

    That is the run of this task alone, on the same data, evaluated in the same way, with the same
    encoder. No runs are returned if some task has none.

    Raises:
      BaselineError: some task has several.
    """
    labelled = {
        name: task for name, task in run.tasks.items() if f"{name}/loss" in run.values(BEST).mean
    }
    found: dict[str, RunRecord] = {}
    for name in labelled:
        fitting = [
            other
            for other in others
            if list(other.tasks) == [name]
            and _comparable(other) == _comparable(run)
            and not baselines.measured_differently(other.config, run.config)
        ]
        if len(fitting) > 1:
            raise baselines.BaselineError(
                f"{len(fitting)} runs of {name!r} alone could be compared with: "
                f"{', '.join(other.name for other in fitting)}."
            )
        if fitting:
            found[name] = fitting[0]
    return labelled, found if len(found) == len(labelled) else {}


def _comparable(run: RunRecord) -> dict[str, Any]:
    """What two runs must share for Δm to make sense."""
    same = baselines.evaluated_with(run.config) | {"eval.split": run.config["eval"]["split"]}
    encoder = flatten(dict(run.config["model"].get("encoder", {})))
    start = run.config["model"].get("pretrained", "")
    return same | encoder | {"model.pretrained": start, "finished": run.results.get("finished")}


def _percent(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def stored_evaluations(study: Study) -> list[Table]:
    """What --mode=evaluate has left in the directories."""
    directions = study.directions()
    rows = []
    for run in study.runs:
        for found in run.stored.values():
            how = run.config.get("eval", {})
            used = {
                key.removeprefix("eval."): value
                for key, value in found.get("evaluated_with", {}).items()
                if key.startswith("eval.") and value != flatten({"eval": dict(how)}).get(key)
            }
            settings = ", ".join(f"{key}={_setting(value)}" for key, value in used.items())
            values, std = found["metrics"], found.get("std", {})
            rows.append(
                [
                    run.name,
                    found["split"],
                    settings or "as in training",
                    *(plus_minus(values.get(metric), std.get(metric)) for metric in directions),
                ]
            )
    header = ["run", "split", "evaluated with", *(f"{m} {_GOOD[d]}" for m, d in directions.items())]
    return [Table(header, rows, "Evaluated with --mode=evaluate")] if rows else []


def classes(study: Study) -> list[Table]:
    """Metrics by class, of the best evaluation; a table for each task that has such."""
    tables = []
    found = {run.name: run.values(BEST) for run in study.runs}
    names = dict.fromkeys(m for v in found.values() for m in v.mean if metrics.is_member(m))
    titles = {
        f"{name}/{metric}/": f"{name}: {title}"
        for run in study.runs
        for name, task in run.tasks.items()
        for metric, title in task.by_class.items()
    }
    for family, title in titles.items():
        own = [name for name in names if name.startswith(family)]
        having = {run: v for run, v in found.items() if any(name in v.mean for name in own)}
        rows = []
        for metric in own:
            values = {run: v.mean.get(metric) for run, v in having.items()}
            champion = _champion(values, "max")
            cells = []
            for run, value in values.items():
                text = NONE if value is None else f"{value:.3f}"
                cells.append(Strong(text) if run in champion else text)
            rows.append([metric.removeprefix(family), *cells])
        caption = f"{title} by class, best evaluation"
        tables += [Table(["class", *having], rows, caption)] if rows else []
    return tables


def all_metrics(run: RunRecord) -> list[Table]:
    """Every metric of one run but those of single classes, by the summaries that can differ."""
    values = {summary: run.values(summary) for summary in _summaries([run])}
    values = {summary: found for summary, found in values.items() if found.mean}
    names = dict.fromkeys(m for v in values.values() for m in v.mean if not metrics.is_member(m))
    rows = [
        [name, *(plus_minus(v.mean.get(name), v.std.get(name)) for v in values.values())]
        for name in names
    ]
    header = ["metric", *(SUMMARIES[summary] for summary in values)]
    return [Table(header, rows, "All metrics")] if rows else []
