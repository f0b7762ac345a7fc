"""What a report tells, in order."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import mtl_jax
from mtl_jax.reporting import costs, document, figures, paired, pictures, runs, tables
from mtl_jax.reporting.document import Block, Heading, Listing, Text
from mtl_jax.reporting.runs import BEST, RunRecord, Study


def write(
    paths: Iterable[str | Path],
    folder: str | Path,
    *,
    title: str = "Report",
    count: int = pictures.COUNT,
    against: Sequence[str] = (),
) -> list[Path]:
    """Writes a report on runs and sweeps.

    Args:
      paths: work directories of runs, of runs of several seeds, and of sweeps.
      folder: for report.md, report.html and the figures and pictures that they show.
      title: of the report.
      count: of pictures: at most so many examples of each run, and worst images of each task.
      against: names of runs from which the differences of the others are told, see `paired`.

    Returns:
      The two files.

    Raises:
      ReportError: none of the paths holds a run, a run named in `against` is not there or has one
        seed, or the folder cannot be written.
    """
    studies, remarks = runs.collect(paths)
    paired.check(studies, against)
    written = blocks(studies, remarks, title, count, against)
    try:
        return document.write(written, Path(folder))
    except OSError as error:
        raise runs.ReportError(
            f"--output={folder} cannot be written ({error.strerror}). Make room, or name another "
            "folder; an earlier report there is as it was."
        ) from error


def blocks(
    studies: Sequence[Study],
    remarks: Sequence[str],
    title: str,
    count: int,
    against: Sequence[str] = (),
) -> list[Block]:
    """The report as a document.

    Args:
      studies: what to report on.
      remarks: what was passed over, and why.
      title: of the report.
      count, against: see `write`.
    """
    found: list[Block] = [Heading(title, 1), Text(_summary(studies)), *map(Text, remarks)]
    for study in studies:
        found += _study(study, against)
        for run in study.runs:
            found += _run(run, study, count)
    return found


def _study(study: Study, against: Sequence[str]) -> list[Block]:
    found: list[Block] = [Heading(study.name, 2)]
    found += tables.states(study)
    found += figures.learning_curves(study)
    results = tables.results(study)
    found += results[:1]
    found += paired.tables(study, against)
    found += figures.comparison(study)
    found += tables.published(study)
    found += tables.delta_m(study)
    found += results[1:]
    found += tables.settings(study)
    found += costs.table(study)
    found += costs.published(study)
    found += tables.stored_evaluations(study)
    classes = tables.classes(study)
    if classes and len(study.runs) > 1:
        found += [Heading(f"{study.name}: classes", 3), *classes]
    return found


def _run(run: RunRecord, study: Study, count: int) -> list[Block]:
    found: list[Block] = []
    if run.error:
        found.append(Listing(run.error))
    found += tables.all_metrics(run)
    found += figures.training(run)
    found += figures.classes(run)
    found += pictures.of(run.name, run.each[0].workdir, count)
    if not found:
        return []
    heading = run.name if len(study.runs) > 1 or study.name != run.name else "Details"
    about = [Text(_describe(run)), *map(Text, _origin(run))]
    return [Heading(f"{heading}", 3), *about, *found]


def _summary(studies: Sequence[Study]) -> str:
    """What the report is about."""
    runs = [part for study in studies for run in study.runs for part in run.each]
    dates = [run.results["date"] for run in runs if "date" in run.results]
    latest = f", the latest of {max(dates)}" if dates else ""
    return (
        f"{len(runs)} run{'s' * (len(runs) != 1)}{latest}. Report by mtl_jax {mtl_jax.__version__}."
    )


def _origin(run: RunRecord) -> list[str]:
    """When, with what and on what it was made; nothing of an older run that does not tell."""
    results = run.each[0].results
    if "date" not in results:
        return []
    versions = results.get("versions", {})
    packages = [f"{name} {versions[name]}" for name in ("mtl-jax", "jax") if name in versions]
    where = [*packages, str(results.get("devices", "")), str(results.get("machine", ""))]
    return [
        f"Written {results['date']} with {', '.join(filter(None, where))}.",
        f"Command: {results.get('command', '')}",
    ]


def _describe(run: RunRecord) -> str:
    """One sentence on what it is."""
    config = run.config
    if not config:
        return f"{run.state.capitalize()}."
    what = [f"{config['model']['architecture']} on {config['data']['dataset'] or 'a mixture'}"]
    what.append(f"tasks {', '.join(run.tasks)}")
    what.append(f"weighting {config['weighting']['name']}")
    if run.seeds:
        what.append(f"seeds {', '.join(run.seeds)}")
    values = run.values(BEST)
    selection = config["eval"]["selection"]
    if selection in values.mean:
        what.append(f"best by {selection}, {tables.number(values.mean[selection])}")
    return f"{run.state.capitalize()}: {'; '.join(what)}."
