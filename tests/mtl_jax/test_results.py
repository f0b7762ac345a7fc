"""Which of a run's evaluations its numbers are of, whatever happens to the record of them."""

import json

import pytest

from mtl_jax import metrics
from mtl_jax.configs import common
from mtl_jax.runs import results, selection, workdir

HEADLINES = {"semseg/miou": "max", "depth/rmse": "min"}


def start(path, *, step=0, metric="semseg/miou", mode="max", best=None, **evaluate):
    directory = workdir.Workdir(path)
    directory.create()
    config = common.base()
    config.eval.update(evaluate)
    said = []
    found = results.Results(
        directory,
        config,
        selection.Selection(metric, mode, HEADLINES),
        {"step": step, "train_seconds": 0.0, "images": 0, "weighting": {}},
        best=best,
        report=said.append,
    )
    return found, said


def evaluate(found, step, *, older=False, **values):
    values = {k.replace("__", "/"): v for k, v in values.items()}
    values = values if older else metrics.composite(values, HEADLINES)
    entry = found.entry(step, step / 4, values)
    best = found.is_best(entry)
    found.add_evaluation(entry, best=best)
    return best


def test_best_last_and_the_mean_of_the_last_ten(tmp_path):
    found, _ = start(tmp_path)
    for k in range(1, 13):
        best = evaluate(found, k, semseg__miou=float(min(k, 12 - k)), depth__rmse=float(k))
        assert best == (k <= 6)
    written = found.write(final=True)
    assert written["evaluations"] == 12
    assert (written["best"]["step"], written["last"]["step"]) == (6, 12)
    assert written["mean_of_last_10"]["depth/rmse"] == pytest.approx((3 + 12) / 2)


def five(path):
    """A record of five evaluations, of which the third is the best."""
    found, _ = start(path)
    for k, miou in enumerate((0.1, 0.2, 0.5, 0.4, 0.3), 1):
        evaluate(found, k, semseg__miou=miou)
    return found.write(final=False)


@pytest.mark.parametrize(
    "damage", [b"#{", b"\xff", b"null", b"[1]", b'{"metrics": {}}', b"{" * 9999]
)
@pytest.mark.parametrize("version", ["this", "older"])
def test_a_damaged_line_is_named_and_moves_nothing(tmp_path, damage, version):
    written = five(tmp_path)
    file = tmp_path / "evaluation.jsonl"
    lines = file.read_bytes().splitlines()
    lines[1] = damage + b" second"
    lines[2] = damage + b" third"
    file.write_bytes(b"\n".join(lines) + b"\n")
    info = {}
    if version == "this":  # the checkpoint tells it by itself
        info = {"evaluation": written["best"]}
        (tmp_path / "results.json").unlink()
    found, said = start(tmp_path, step=5, best=(3, info))
    (line,) = said
    assert f"{file} is damaged in line 2, 3" in line
    assert str(tmp_path / "evaluation.jsonl.damaged") in line
    again = found.write(final=False)
    assert again["best"] == written["best"]
    assert again["last"] == written["last"]
    assert [e["step"] for e in workdir.Workdir(tmp_path).read_evaluations()] == [1, 4, 5]
    assert not evaluate(found, 6, semseg__miou=0.45)
    assert [e["step"] for e in workdir.Workdir(tmp_path).read_evaluations()] == [1, 3, 4, 5, 6]
    kept = (tmp_path / "evaluation.jsonl.damaged").read_bytes()
    assert kept.splitlines() == [damage + b" second", damage + b" third"]


def test_a_line_that_a_kill_has_torn_is_none_and_an_end_that_lacks_is_no_damage(tmp_path):
    five(tmp_path)
    file = tmp_path / "evaluation.jsonl"
    whole = file.read_bytes()
    for contents, count in ((whole + b'{"step": 6, "met', 5), (whole[:-1], 5)):
        file.write_bytes(contents)
        found, said = start(tmp_path, step=6, best=(3, {}))
        assert not said
        assert found.write(final=False)["evaluations"] == count


def test_what_was_evaluated_after_the_checkpoint_is_evaluated_anew(tmp_path):
    five(tmp_path)
    found, _ = start(tmp_path, step=3, best=(3, {}))
    written = found.write(final=False)
    assert (written["evaluations"], written["last"]["step"]) == (3, 3)
    evaluate(found, 4, semseg__miou=0.25)
    recorded = workdir.Workdir(tmp_path).read_evaluations()
    assert [(e["step"], e["metrics"]["semseg/miou"]) for e in recorded][3:] == [(4, 0.25)]


def test_the_stored_best_counts_until_it_is_beaten_by_another_selection(tmp_path):
    found, _ = start(tmp_path)
    for k, (miou, rmse) in enumerate(((0.1, 5.0), (0.5, 9.0), (0.4, 7.0)), 1):
        evaluate(found, k, semseg__miou=miou, depth__rmse=rmse)
    found, _ = start(tmp_path, step=3, metric="depth/rmse", mode="min", best=(2, {}))
    assert found.write(final=False)["best"]["step"] == 2  # the one whose model there is
    assert not evaluate(found, 4, semseg__miou=0.9, depth__rmse=9.5)
    assert evaluate(found, 5, semseg__miou=0.0, depth__rmse=8.0)  # worse than the first, which went
    assert found.write(final=False)["best"]["step"] == 5


def test_an_evaluation_that_a_kill_kept_from_the_record_is_the_best_again(tmp_path):
    found, _ = start(tmp_path)
    entry = found.entry(1, 0.25, {"semseg/miou": 0.5})  # its model was saved, and nothing else
    found, _ = start(tmp_path, step=1, best=(1, {"evaluation": entry}))
    assert evaluate(found, 1, semseg__miou=0.5)


def test_evaluations_made_in_another_way_are_not_compared(tmp_path):
    five(tmp_path)
    found, _ = start(tmp_path, step=5, best=(3, {}), split="test")
    assert found.write(final=False)["mean_of_last_10"]["semseg/miou"] == pytest.approx(0.3)
    assert found.write(final=False)["best"]["step"] == 3
    assert evaluate(found, 6, semseg__miou=0.01)  # the first of its kind
    assert not evaluate(found, 7, semseg__miou=0.005)
    written = found.write(final=False)
    assert written["best"]["step"] == 6
    assert written["evaluations"] == 7
    assert written["mean_of_last_10"]["semseg/miou"] == pytest.approx(0.0075)


def test_an_evaluation_that_is_nowhere_on_record_is_said_to_be_lost(tmp_path):
    five(tmp_path)
    (tmp_path / "results.json").unlink()
    file = tmp_path / "evaluation.jsonl"
    file.write_text("".join(line for line in file.open() if json.loads(line)["step"] != 3))
    found, said = start(tmp_path, step=5, best=(3, {}))
    assert "of step 3, was is no longer on record" in said[0]
    assert evaluate(found, 6, semseg__miou=0.01)


def test_older_evaluations_get_the_metrics_that_span_tasks(tmp_path):
    found, _ = start(tmp_path)
    for step, miou in ((1, 0.4), (2, 0.3)):
        evaluate(found, step, older=True, semseg__miou=miou, depth__rmse=10.0)
    found, _ = start(tmp_path, step=2, metric="headline_mean", best=(1, {}))
    best = found.write(final=False)["best"]["metrics"]
    assert best["headline_mean"] == pytest.approx((0.4 / 10) ** 0.5)
    assert not evaluate(found, 3, older=True, headline_mean=0.19)
