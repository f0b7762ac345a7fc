"""Charts of a report: what is drawn, and of which runs."""

import json
import re
import xml.etree.ElementTree as ET

import finished_runs
import numpy as np
import pytest

from mtl_jax.reporting import charts, document, figures, runs
from mtl_jax.runs import files


def test_curves_have_all_that_was_logged(tmp_path, monkeypatch):
    (study,), _ = runs.collect([finished_runs.run(tmp_path / "both")])
    drawn = []
    monkeypatch.setattr(figures.charts, "lines", lambda lines, **_: drawn.append(lines) or "")
    figures.learning_curves(study)
    *_, (loss,), (training,) = drawn
    assert (list(loss.x), list(loss.y)) == ([1, 2], [0.8, 0.6])
    assert (list(training.x), list(training.y)) == (
        [0.5, 1, 1.5, 2],
        [1 / 5, 1 / 10, 1 / 15, 1 / 20],
    )


def test_a_study_over_numbers_is_drawn_as_lines(tmp_path):
    (study,), _ = runs.collect([finished_runs.study(tmp_path)])
    key, groups = figures.varied(study.runs)
    assert key == "schedule.learning_rate"
    assert groups["adam_0.1"] == "adam"
    assert groups["sgd_0.1"] == "sgd"
    found = {figure.title: figure.svg for figure in figures.comparison(study)}
    svg = found["semseg/miou_all, best evaluation"]
    assert "adam, published" in svg
    assert "sgd, published" not in svg


def test_lines_over_numbers_have_the_deviations_of_the_seeds(tmp_path, monkeypatch):
    folder = finished_runs.study(tmp_path)
    path = folder / "sgd_0.01" / "results.json"
    results = json.loads(path.read_text())
    results["best"]["std"] = {"semseg/miou": 0.25}
    files.write_json(path, results)
    (study,), _ = runs.collect([folder])
    drawn = {}

    def draw(content, **_):
        return drawn.setdefault(len(drawn), {line.label: list(line.deviations) for line in content})

    monkeypatch.setattr(figures.charts, "lines", draw)
    found = {figure.title: figure.svg for figure in figures.comparison(study)}
    deviations = found["semseg/miou, best evaluation"]
    np.testing.assert_equal(deviations, {"adam": [], "sgd": [np.nan, 0.25, np.nan]})


def test_deviations_are_drawn_as_error_bars():
    """The middle one of three points has one, which the axis has room for."""
    y = [0.2, 0.5, 0.3]
    chart = charts.lines(
        [charts.Line("a", [1, 2, 3], y, deviations=[np.nan, 0.25, np.nan])],
        x_label="rate",
        legend=False,
    )
    bar = r"M([\d.]+) ([\d.]+)V([\d.]+)M\S+ \2h4M\S+ \3h4"
    ((x, low, high),) = ([float(v) for v in found] for found in re.findall(bar, chart))
    marks = [
        (float(e.get("cx")), float(e.get("cy")))
        for e in ET.fromstring(chart).iter()
        if e.tag.endswith("circle")
    ]
    unit = (marks[0][1] - marks[1][1]) / 0.3
    assert (x, low, high) == pytest.approx(
        (marks[1][0], marks[1][1] + 0.25 * unit, marks[1][1] - 0.25 * unit), abs=0.05
    )
    assert high > 4


def _overrides(*rows):
    return [
        runs.RunRecord(str(i), None, {}, {}, {}, {}, {}, overrides=overrides)
        for i, overrides in enumerate(rows)
    ]


def test_what_a_study_varies():
    batch = [{"train.batch_size": b, "train.epochs": 2.0 * b} for b in (2, 4, 8)]
    key, groups = figures.varied(_overrides(*batch))
    assert key == "train.batch_size"
    assert set(groups.values()) == {""}
    assert figures.varied(_overrides({"a": "x"}, {"a": "y"}, {"a": "z"})) is None
    assert figures.varied(_overrides({"a": 1}, {"a": 2})) is None  # two points are no line
    assert figures.varied(_overrides({"a": True}, {"a": False}, {"a": True})) is None
    assert figures.varied(_overrides({"a": 1}, {"a": 2}, {})) is None
    # Nothing but single points.
    assert figures.varied(_overrides(*({"a": i, "b": c} for i, c in enumerate("xyz")))) == (
        "a",
        {"0": "", "1": "", "2": ""},
    )


def test_the_confusion_matrix_is_in_fractions(tmp_path):
    (study,), _ = runs.collect([finished_runs.run(tmp_path / "both")])
    iou, matrix = figures.classes(study.runs[0])
    assert iou.title == "semseg: IoU by class"
    texts = [e.text for e in ET.fromstring(matrix.svg).iter() if e.tag.endswith("text")]
    assert {".90", ".10", ".25", ".75", "train (absent)"} <= set(texts)


def test_charts_are_the_same_twice_and_in_the_colour_of_the_text():
    line = charts.Line("a", [1, 2, 3], [0.1, np.nan, 0.3])
    made = [charts.lines([line], x_label="epoch") for _ in range(2)]
    assert made[0] == made[1]
    assert document.INK in made[0]
    bars = charts.bars({"a": 1.0, "b": np.nan}, x_label="x", published={"a": [2.0]})
    assert "published" in bars
    many = [charts.Line(f"run {i}", [0, 1], [i, i]) for i in range(25)]
    ET.fromstring(charts.lines(many, x_label="epoch"))
