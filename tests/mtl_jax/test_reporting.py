"""Reports say what the files of runs say, and are whole and readable documents."""

import errno
import html.parser
import json
import os
import re
import shutil
import xml.etree.ElementTree as ET

import finished_runs
import numpy as np
import pytest

from mtl_jax import _files
from mtl_jax.reporting import __main__ as command
from mtl_jax.reporting import costs, document, figures, paired, report, runs, tables
from mtl_jax.runs import files, seeds, workdir

VOID = {"meta", "img", "br", "link", "wbr"}


class Reader(html.parser.HTMLParser):
    """Checks that elements are closed in order, and collects what they refer to."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.links, self.ids, self.text = [], [], [], [], []
        self.alternatives = []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [attributes[k] for k in ("src", "srcset", "data") if k in attributes]
        self.links += [attributes["href"]] if "href" in attributes else []
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.alternatives += [attributes["alt"]] if tag == "img" else []

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _rows(table):
    return {row[0]: row[1:] for row in table.rows}


@pytest.fixture
def few_charts(monkeypatch):
    """Without those of every single run, where a test is not about charts: they take longest."""
    monkeypatch.setattr(figures, "training", lambda run: [])
    monkeypatch.setattr(figures, "classes", lambda run: [])


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A run of both tasks, and one of each alone."""
    folder = tmp_path_factory.mktemp("runs")
    finished_runs.run(folder / "both", miou=0.55, si_log_rmse=27.0)
    finished_runs.run(folder / "semseg", tasks=("semseg",), miou=0.5)
    finished_runs.run(folder / "depth", tasks=("depth",), si_log_rmse=30.0)
    return [folder / name for name in ("both", "semseg", "depth")]


@pytest.fixture(scope="module")
def written(three, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return folder, report.write(three, folder, title="Three <runs> & more")


def test_html_is_well_formed_and_needs_no_network(written):
    folder, (_, page) = written
    text = page.read_text()
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    assert "Three &lt;runs&gt; &amp; more" in text
    assert reader.sources
    for source in reader.sources:
        assert (folder / source).is_file(), source
    for link in reader.links:
        assert link.startswith("#"), link
    own = [link[1:] for link in reader.links]
    assert set(own) <= set(reader.ids)
    assert len(set(own)) == len(own)
    assert "<script" not in text
    assert "://" not in text
    assert len(reader.alternatives) == len(reader.sources)
    assert all(reader.alternatives)


def test_markdown_refers_to_files_that_exist(written):
    folder, (page, _) = written
    text = page.read_text()
    files = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert {f.split("/")[0] for f in files} == {"figures", "pictures"}
    assert len(set(files)) == len(files)
    for file in files:
        assert (folder / file).is_file(), file
        if file.endswith(".svg"):
            svg = (folder / file).read_text()
            ET.fromstring(svg)
            assert document.INK not in svg
            assert "currentColor" in svg
            assert "prefers-color-scheme:dark" in svg
            outside = set(re.findall(r"https?://[^\s\"'<]+", svg))
            assert all(u.startswith("http://www.w3.org/") for u in outside)  # names of XML
    for line in text.splitlines():
        if line.startswith("| both"):
            assert line.count(" | ") >= 1


def test_results_and_who_is_best(three):
    (study,), _ = runs.collect(three)
    best, last, mean = tables.results(study)
    assert list(best.header[2:]) == ["multitask_score ↑", "depth/si_log_rmse ↓", "semseg/miou ↑"]
    rows = _rows(best)
    assert rows["both"] == ["20", "75.00", "27.00", "0.5500"]
    assert rows["semseg"] == ["20", "–", "–", "0.5000"]
    strong = {name: [isinstance(c, document.Strong) for c in row] for name, row in rows.items()}
    # The only one of its kind is not the best of any.
    assert strong["both"] == [False, False, True, True]
    assert not any(strong["semseg"] + strong["depth"])
    assert last.caption == "Last evaluation"
    assert _rows(mean)["both"][0] == "2"
    (cost,) = costs.table(study)
    assert _rows(cost)["both"] == [
        "1,234,567",
        "20",
        "12.3",
        "1:02:03",
        "3.00 GiB",
        "–",
        "1 × cpu",
    ]


def test_delta_m_against_the_runs_of_single_tasks(three, tmp_path):
    (study,), _ = runs.collect(three)
    (table,) = tables.delta_m(study)
    assert [row[1] for row in table.rows] == list(runs.SUMMARIES.values())
    # Both are better by 10 %.
    assert table.rows[0][2] == "+10.00"
    # 1 / 4 and not 1 / 2 of each improvement, for two of four tabled metrics are equal.
    by_tasks = (np.mean([10.0, 0.0]) + np.mean([0.0, 0.0])) / 2
    assert table.rows[0][3] == f"{by_tasks:+.2f}"
    assert table.rows[0][4] == "−2.50"
    assert table.rows[0][5] == "depth, semseg"
    again = finished_runs.run(tmp_path / "again", tasks=("depth",), seed=1)
    (study,), _ = runs.collect([*three, again])
    (remark,) = tables.delta_m(study)
    assert "2 runs of 'depth' alone" in remark.text
    other = finished_runs.run(tmp_path / "other", tasks=("depth",), eval__crop_multiple=32)
    (study,), _ = runs.collect([*three[:2], other])
    assert tables.delta_m(study) == []
    cut = finished_runs.run(tmp_path / "cut", tasks=("depth",), tasks__depth__range=(1.0, 80.0))
    (study,), _ = runs.collect([*three[:2], cut])
    assert tables.delta_m(study) == []


def test_what_is_published_without_a_unit_has_no_difference(tmp_path):
    unit_unknown = finished_runs.published("depth_rms", 0.79, "depth/si_log_rmse", None)
    finished_runs.run(tmp_path / "study" / "a")
    finished_runs.sweep(tmp_path / "study", [{"name": "a", "published": [unit_unknown]}])
    (study,), _ = runs.collect([tmp_path / "study"])
    table, compared, _ = tables.published(study)
    (row,) = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    assert row["published"] == "0.79"
    assert float(row["ours, best"]) == study.runs[0].values("best").mean["depth/si_log_rmse"]
    assert row["difference"] == tables.NONE
    assert compared.rows == [("depth_rms", "depth/si_log_rmse, but the unit was not published")]
    assert figures._published(study.runs[0], "depth/si_log_rmse") == []


def test_of_single_evaluations_nothing_is_told_three_times(three, tmp_path):
    for path in three:
        shutil.copytree(path, tmp_path / path.name)
        file = tmp_path / path.name / "results.json"
        files.write_json(file, json.loads(file.read_text()) | {"evaluations": 1})
    (study,), _ = runs.collect([tmp_path / path.name for path in three])
    assert len(tables.results(study)) == 1
    (delta,) = tables.delta_m(study)
    assert [row[:2] for row in delta.rows] == [["both", "best"]]
    (metrics,) = tables.all_metrics(study.runs[0])
    assert metrics.header == ["metric", "best"]


def _several_seeds(path, values):
    """A run of several seeds; `values` is {seed: (mIoU, SI-logRMSE)}."""
    parent = workdir.Workdir(path)
    parent.create()
    parent.claim(finished_runs.config(eval__selection="multitask_score"))
    for seed, (miou, error) in values.items():
        where = parent.path / f"seed_{seed}"
        finished_runs.run(where, miou=miou, si_log_rmse=error, seed=seed)
    found = {
        seed: json.loads((parent.path / f"seed_{seed}" / "results.json").read_text())
        for seed in values
    }
    files.write_json(parent.results, seeds.aggregate(found))
    return parent


def test_differences_are_paired_by_seed(tmp_path):
    _several_seeds(tmp_path / "base", {0: (0.5, 30.0), 1: (0.6, 31.0), 2: (0.55, 32.0)})
    _several_seeds(tmp_path / "other", {2: (0.57, 31.0), 1: (0.62, 34.0), 0: (0.53, 29.0)})
    _several_seeds(tmp_path / "elsewhere", {3: (0.5, 30.0), 4: (0.6, 31.0)})
    finished_runs.run(tmp_path / "single")
    paths = [tmp_path / name for name in ("base", "other", "elsewhere", "single")]
    (study,), _ = runs.collect(paths)
    (table,) = paired.tables(study, ["base"])
    # mIoU: 3, 2, 2 points more, 7 standard errors; SI-logRMSE: -1, 3, -1.
    assert [row[0] for row in table.rows] == ["other"]  # no seed in common with the others
    values = dict(zip(table.header, table.rows[0], strict=True))
    assert values["semseg/miou"] == "+0.0233 ± 0.0033"
    assert values["depth/si_log_rmse"] == "+0.3333 ± 1.3333"
    strong = {metric for metric, cell in values.items() if isinstance(cell, document.Strong)}
    assert strong == {"semseg/miou"}
    report.write(paths, tmp_path / "report", against=["base"])
    assert "Difference from base, paired by seed" in (tmp_path / "report/report.md").read_text()
    elsewhere = runs.Study("of other data", study.runs[2:])
    paired.check([study, elsewhere], ["base"])  # in one of them
    assert not paired.tables(elsewhere, ["base"])
    with pytest.raises(runs.ReportError, match="--against=bas: there is no such run; expected one"):
        report.write(paths, tmp_path / "report", against=["bas"])
    with pytest.raises(runs.ReportError, match=r"single: .* it has 1 of them; run it with --seeds"):
        report.write(paths, tmp_path / "report", against=["single"])


def test_seeds_are_one_row_with_deviations(tmp_path):
    values = {0: (0.5, 30.0), 1: (0.54, 30.0), 2: (0.58, 30.0)}
    parent = _several_seeds(tmp_path / "several", values)
    (study,), _ = runs.collect([parent.path])
    (run,) = study.runs
    assert list(run.seeds) == ["0", "1", "2"]
    best, *_ = tables.results(study)
    assert "±" in best.caption
    assert _rows(best)["several"][3] == "0.5400 ± 0.0400"
    (cost,) = costs.table(study)
    assert _rows(cost)["several"][0] == "1,234,567"
    curves = figures.learning_curves(study)
    assert len(curves[0].svg.split("several")) == 2  # three lines, one entry in the legend
    report.write([parent.path], tmp_path / "report")


def test_a_sweep_beside_what_was_published(tmp_path, few_charts):
    (study,), remarks = runs.collect([finished_runs.study(tmp_path)])
    assert not remarks
    assert study.name == "study_streets"
    table, compared, labels = tables.published(study)
    ours, other = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    assert compared.rows == [
        ("semseg_miou", "100 × semseg/miou_all"),
        ("train_loss", "none says the same"),
    ]
    assert labels.rows == [("adam_0.001", "B", "joint: adam")]
    assert ours["published"] == "60"
    assert ours["ours, best"] == "51.10"
    assert ours["difference"] == "−8.90"
    assert ours["ours, last"] == ours["ours, mean of last ten"] == "51.10"
    assert other["ours, best"] == "not measured"
    (states,) = tables.states(study)
    assert [row[1] for row in states.rows] == ["failed", "pending"]
    (settings,) = tables.settings(study)
    assert _rows(settings)["sgd_0.01"] == ["sgd", "0.01"]
    folder = tmp_path / "report"
    markdown, page = report.write([tmp_path / "study"], folder)
    reader = Reader()
    reader.feed(page.read_text())
    assert not reader.open
    assert "bad\\|row" in markdown.read_text()
    assert "| Exit &lt;1> \\`\\`\\` \\| x |" in markdown.read_text()
    assert "Exit <1>" in " ".join(reader.text)


def test_two_reports_in_one_folder(tmp_path):
    """Rows of the same name in two sweeps of the same name; then only one of them."""
    for name, miou in (("x", 0.5), ("y", 0.6)):
        (tmp_path / name).mkdir()
        finished_runs.run(tmp_path / name / "row", tasks=("semseg",), miou=miou)
        finished_runs.sweep(tmp_path / name, [{"name": "row"}])
    folder = tmp_path / "report"
    markdown, _ = report.write([tmp_path / "x", tmp_path / "y"], folder)
    text = markdown.read_text()
    assert "## study_streets (1)" in text
    assert "## study_streets (2)" in text
    svg = [(folder / file).read_text() for file in re.findall(r"\((figures/.*iou.*)\)", text)]
    assert len(set(svg)) == len(svg)
    (folder / "notes.txt").touch()
    before = len(list(folder.rglob("*")))
    report.write([tmp_path / "x"], folder)
    assert len(list(folder.rglob("*"))) - 5 == (before - 5) / 2
    assert (folder / "notes.txt").exists()


def test_a_full_disk_leaves_the_earlier_report(three, written, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(written[0], tmp_path / "report")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    replacing, begun = _files.replacing, []

    def full(path, **options):
        begun.append(path)
        if len(begun) == 4:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), str(path))
        return replacing(path, **options)

    monkeypatch.setattr(_files, "replacing", full)
    assert command.main([str(three[1]), f"--output={folder}", "--title=Other"]) == 1
    assert f"--output={folder} cannot be written (Disk quota exceeded)" in capsys.readouterr().err
    after = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--ouput=x", "Unknown flag --ouput. Did you mean --output?"),
        ("--pictures=-1", "--pictures=-1: expected 0 or more."),
        ("--pictures=many", "invalid int value: 'many'"),
    ],
)
def test_a_wrong_flag_is_one_line(flag, message, capsys):
    assert command.main(["run", flag]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_markdown_shows_every_character_as_it_is():
    odd = "<b>&amp; `x` *y* _z_ [a](javascript:b) | ~~c~~ \\ a_b"
    shown = (
        "&lt;b>&amp;amp; \\`x\\` \\*y\\* \\_z\\_ \\[a\\](javascript:b) \\| \\~\\~c\\~\\~ \\\\ a_b"
    )
    blocks = [
        document.Heading(odd, 2),
        document.Table([odd, "b"], [["-1", document.Strong(odd)]], odd),
        document.Figure("f", "", odd),
        document.Picture("p", b"", odd),
        document.Text(odd),
        document.Text("# no\nheading"),
        document.Text("1. no list"),
    ]
    assert document.markdown(blocks).strip().split("\n\n") == [
        f"## {shown}",
        f"**{shown}**",
        f"| {shown} | b |\n| --- | ---: |\n| -1 | **{shown}** |",
        f"![{shown}](figures/f.svg)",
        f"![{shown}](pictures/p.jpg)",
        f"*{shown}*",
        shown,
        "\\# no heading",
        "1\\. no list",
    ]


def test_a_report_says_when_and_by_what_command(tmp_path, few_charts):
    path = finished_runs.run(tmp_path / "a", tasks=("depth",))
    file = workdir.Workdir(path).results
    made = {
        "date": "2026-01-02T03:04:05+00:00",
        "command": "main.py --config=branched",
        "versions": {"jax": "0.10.2", "mtl-jax": "0.2.0"},
        "devices": "1 × cpu",
    }
    files.write_json(file, json.loads(file.read_text()) | made)
    text = report.write([path], tmp_path / "report")[0].read_text()
    assert "1 run, the latest of 2026-01-02T03:04:05+00:00. Report by mtl_jax" in text
    assert "Written 2026-01-02T03:04:05+00:00 with mtl-jax 0.2.0, jax 0.10.2, 1 × cpu" in text
    assert "Command: main.py --config=branched" in text


def test_curves_come_first_and_constant_ones_last(tmp_path):
    path = finished_runs.run(tmp_path / "a")
    file = workdir.Workdir(path).evaluations
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    for k, entry in enumerate(entries):
        entry["metrics"] |= {"multitask_score": 0.0, "semseg/miou": 0.3 + 0.1 * k}
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    studies, _ = runs.collect([path])
    found = report.blocks(studies, [], "Report", 0)
    charts = [b.title for b in found if isinstance(b, document.Figure)]
    curves = [title for title in charts if title in ("multitask_score", "semseg/miou")]
    assert curves == ["semseg/miou", "multitask_score"]
    kinds = [type(block) for block in found]
    assert kinds.index(document.Figure) < kinds.index(document.Table)
