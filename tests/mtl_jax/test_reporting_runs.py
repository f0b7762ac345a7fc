"""What reports read: runs and sweeps, whole, damaged or in part, and what is compared of them."""

import fcntl

import finished_runs
import pytest

from mtl_jax.errors import UsageError
from mtl_jax.reporting import __main__ as command
from mtl_jax.reporting import document, report, runs, tables
from mtl_jax.runs import files


def test_what_a_killed_sweep_calls_running(tmp_path):
    """One that still runs, one that has ended since, and one that was killed too."""
    names = ("runs", "ended", "killed")
    folder = tmp_path / "study"
    for name in names:
        finished_runs.run(folder / name)
        (folder / name / "row.lock").touch()
    (folder / "killed" / "results.json").unlink()
    finished_runs.sweep(folder, [{"name": name, "state": "running"} for name in names])
    with (folder / "runs" / "row.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        (study,), _ = runs.collect([folder])
    assert [run.state for run in study.runs] == ["running", "done", "not finished"]


def test_a_row_whose_results_were_not_copied_along(tmp_path):
    folder = tmp_path / "study"
    for name in ("here", "elsewhere", "evaluated"):
        finished_runs.run(folder / name)
    for name in ("elsewhere", "evaluated"):
        (folder / name / "results.json").unlink()
    (folder / "elsewhere" / "results.json").symlink_to(tmp_path / "gone")
    found = {"split": "validation", "step": 20, "metrics": finished_runs.metrics(0.5, 30.0)}
    files.write_json(folder / "evaluated" / "evaluation_validation_best.json", found)
    finished_runs.sweep(folder, [{"name": n} for n in ("here", "elsewhere", "evaluated")])
    (study,), _ = runs.collect([folder])
    assert [run.state for run in study.runs] == ["done", "results missing", "done"]


def test_runs_of_one_name_are_told_apart(tmp_path):
    paths = [tmp_path / "x" / "run", tmp_path / "y" / "run"]
    for i, path in enumerate(paths):
        finished_runs.run(path, seed=i)
    (study,), _ = runs.collect(paths)
    assert [run.name for run in study.runs] == ["x/run", "y/run"]
    assert [run.overrides for run in study.runs] == [{"seed": 0}, {"seed": 1}]
    with pytest.raises(UsageError, match="named twice"):
        runs.collect([paths[0], paths[0]])


def test_a_run_that_cannot_be_read_as_a_whole_is_reported_so(tmp_path):
    path = finished_runs.run(tmp_path / "old")
    (path / "labels.json").write_text("{}")
    markdown, _ = report.write([path], tmp_path / "report")
    text = markdown.read_text()
    assert "Its tasks cannot be built: config.tasks.depth" in text
    assert "| old | 20 | 70.00 |" in text


def test_runs_on_different_data_are_never_compared(tmp_path):
    for name, miou, changes in (
        ("a", 0.5, {}),
        ("b", 0.6, {}),
        ("c", 0.9, {"data__dataset": "camvid"}),
        ("d", 0.8, {"eval__split": "test"}),
    ):
        finished_runs.run(tmp_path / name, miou=miou, **changes)
    studies, _ = runs.collect([tmp_path / name for name in "abcd"])
    names = {study.name: [run.name for run in study.runs] for study in studies}
    assert names == {
        "Runs on streets": ["a", "b"],
        "Runs on camvid": ["c"],
        "Runs on streets, test": ["d"],
    }
    together = runs.Study("sweep", [run for study in studies for run in study.runs])
    best, *_ = tables.results(together)
    assert best.header[1] == "data"
    bold = {row[0] for row in best.rows if any(isinstance(cell, document.Strong) for cell in row)}
    assert bold == {"b"}  # alone on its data nobody is best
    assert [row[1] for row in best.rows if row[0] == "c"] == ["camvid"]


def test_what_is_no_run_is_said(tmp_path, capsys):
    one = finished_runs.run(tmp_path / "one")
    (tmp_path / "notes").mkdir()
    assert command.main([str(one), str(tmp_path / "notes"), f"--output={tmp_path}/r"]) == 0
    assert "report.html" in capsys.readouterr().out
    assert "notes holds neither a run" in (tmp_path / "r" / "report.md").read_text()
    assert command.main([str(tmp_path / "notes"), f"--output={tmp_path}/q"]) == 1
    assert "There is no run to report on" in capsys.readouterr().err
    assert not (tmp_path / "q").exists()
    (tmp_path / "file").touch()
    assert command.main([str(one), f"--output={tmp_path}/file"]) == 1
    assert f"{tmp_path}/file" in capsys.readouterr().err
    (tmp_path / "notes" / "sweep.json").write_text("[1]")  # of another program
    _, (remark,) = runs.collect([one, tmp_path / "notes"])
    assert "sweep.json cannot be read: expected an object, found an array" in remark
    (tmp_path / "notes" / "sweep.json").write_text('{"name": "a", "rows": 3}')
    _, (remark,) = runs.collect([one, tmp_path / "notes"])
    assert "sweep.json cannot be read: it has no list of a sweep's rows" in remark
    (one / "results.json").write_text("{")
    with pytest.raises(runs.ReportError, match=r"results\.json cannot be read: it is no"):
        runs.collect([one])
