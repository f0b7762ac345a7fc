"""Every number of the field's benchmarks has a home, a mark that it keeps, and a figure of ours."""

import json

import pytest
from test_sweeps import all_rows

from mtl_jax.studies import benchmarks, published_benchmarks, sweeps
from mtl_jax.studies.sweeps import SweepError

TABLE = published_benchmarks.read()
# Systems that no config here trains, or benchmarks whose sweep has ids of another table.
NO_CONFIG = (
    "astmt",
    "atrc",
    "auto-lambda-and-cagrad",
    "demt",
    "diffusionmtl",
    "invptpp",
    "mtmamba",
    "multi-task-without-astmt",
    "pap",
    "pgt",
    "psd",
    "taskdiffusion",
    "tit",
    "tsp-transformer",
)
# Found as `mtl_jax.studies.published_balancing.csv`, whose rows configs/sweeps/balancing.py has.
BALANCING = "cityscapes-7-2."
# Rows of networks that are here, of an encoder that is not told or with tasks that are not.
OF_OTHER_CONFIGS = (
    "nyud-40-2.pad-net-normals",
    "nyud-40-4.cross-stitch.",
    "nyud-40-4.mti-net.",
    "nyud-40-4.pad-net.",
    "pascal-context-5.mti-net.hrnet-48.",
)


def is_without_config(row_id: str) -> bool:
    _, system, encoder, *_ = row_id.split(".")
    other_protocol = (system, encoder) == ("single-task", "resnet-101")  # ASTMT's own
    return system.startswith(NO_CONFIG) or row_id.startswith(OF_OTHER_CONFIGS) or other_protocol


def rows_of(row_id: str):
    return [row for row in all_rows() if row_id in row.published]


def test_the_table_is_whole():
    lines = [line for found in TABLE.values() for line in found]
    assert len(lines) == 659
    marks = [line["mark"] for line in lines]
    assert {mark: marks.count(mark) for mark in published_benchmarks.MARKS} == {
        "read": 269,
        "second hand": 27,
        "counted": 14,
        "recalled": 349,
    }
    assert all(line["source"] and float(line["value"]) for line in lines)


def test_every_system_has_a_row_or_is_called_one_without():
    homeless = {i for i in TABLE if not rows_of(i) and not i.startswith(BALANCING)}
    expected = {i for i in TABLE if is_without_config(i)}
    partial = {i for i in TABLE if i.startswith("cityscapes-7-2-")}  # MTPSL's constants
    assert homeless == expected | partial


def in_rows() -> dict[str, list[sweeps.Row]]:
    """{id: the rows that train what the number is of}, where there are any."""
    return {row_id: found for row_id in TABLE if (found := rows_of(row_id))}


def assert_trains(row: sweeps.Row, line: dict) -> None:
    """The network, on the data, that a line of the table is of."""
    encoders = {"ResNet-18": 18, "ResNet-50": 50, "ResNet-50 from scratch": 50}
    model, tasks = row.config.model, list(row.config.tasks)
    if line["encoder"] in encoders:
        assert model.encoder.depth == encoders[line["encoder"]], line
    elif line["encoder"] == "HRNet-18":
        assert model.encoder.name == "hrnet", line
    elif line["encoder"].startswith("ViT-"):
        assert (model.encoder.name, model.encoder.size) == ("vit", line["encoder"][-1]), line
    else:
        assert model.architecture in ("mtan", "segnet"), line
    if line["system"] == "MTAN" and line["benchmark"] == "nyud_40_2":
        assert model.architecture == "mtan_resnet", line
    single = line["system"] == "single task"
    assert single == row.name.startswith("only_") == (len(tasks) == 1), line
    if "from scratch" in line["encoder"]:
        assert not model.pretrained, line
    datasets = {"nyud_40_2": "nyud/survey", "nyud_40_4": "nyud/atrc"}
    if line["benchmark"] in datasets:
        assert row.config.data.dataset == datasets[line["benchmark"]], line


def test_a_row_trains_what_the_number_is_of():
    found = in_rows()
    assert found
    for row_id, rows in found.items():
        for row in rows:
            assert_trains(row, TABLE[row_id][0])


def test_a_number_can_be_compared():
    for row_id, rows in in_rows().items():
        trained = {task for row in rows for task in row.config.tasks}
        for told in sweeps.published_results((row_id,)):
            if told["metric"].startswith(("delta_m", "mean_rank")):
                assert told["our_metric"] is None, told
            else:
                assert told["our_metric"].partition("/")[0] in trained, told
        costs = [line for line in TABLE[row_id] if line["metric"] in published_benchmarks.COSTS]
        assert len(sweeps.published_costs((row_id,))) == len(costs), row_id


def test_only_what_was_read_is_told_without_its_mark():
    for row_id, found in TABLE.items():
        for line in found:
            source = published_benchmarks.described(row_id, line)["source"]
            assert source.startswith(line["mark"]) or line["mark"] == "read", source


def test_namesakes_are_compared_with_what_they_are():
    def ours(row_id, metric):
        (line,) = [line for line in TABLE[row_id] if line["metric"] == metric]
        return published_benchmarks.ours(line)

    start = "pascal-context-5"
    assert ours(f"{start}.invpt-paper.vit-l.readme", "saliency_maxF") == ("sal/maxF_invpt", 100.0)
    assert ours(f"{start}.demt.hrnet-18.readme", "saliency_maxF") == ("sal/maxF", 100.0)
    assert ours(f"{start}.astmt.resnet-101.readme", "saliency_miou") == (
        "sal/miou_per_image_survey",
        100.0,
    )
    assert ours(f"{start}.pgt.swin-t.readme", "saliency_miou") == ("sal/miou_per_image_mtdp", 100.0)
    assert ours(f"{start}.pgt.swin-t.readme", "edge_odsF") == ("edge/odsF_mtdp", 100.0)
    assert ours("nyud-40-4.demt.hrnet-18.readme", "depth_rmse") == ("depth/rmse_unclamped", 1.0)


def test_the_printed_table_has_what_was_read_first():
    lines = benchmarks.published("nyud_40_4").splitlines()
    marks = [line.split(" | ")[-2] for line in lines[2:]]
    assert marks == sorted(marks, key=published_benchmarks.MARKS.index)
    assert [line for line in lines if line.startswith("| InvPT (paper) | ViT-L | 53.56 |")]
    with pytest.raises(SweepError, match="'nyud'; expected one of cityscapes_7_2"):
        benchmarks.published("nyud")


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A sweep of a multi-task row and its two single tasks."""
    monkeypatch.setattr(
        benchmarks.Workdir, "read_results", lambda self: json.loads(self.results.read_text())
    )
    monkeypatch.setattr(
        benchmarks.Workdir, "read_config", lambda self: json.loads(self.config.read_text())
    )
    names = (
        "pad_net_x_images",
        "only_semseg_x",
        "only_depth_x",
        "only_depth_other_x",
        "only_depth",
        "only_depth_x_im",
    )
    rows = [{"name": name} for name in names]
    told = published_benchmarks.described("a", TABLE["nyud-40-4.demt.hrnet-18.readme"][0])
    rows[0]["published"] = [told]
    (tmp_path / "sweep.json").write_text(json.dumps({"rows": rows}))
    values = {
        "pad_net_x_images": {"semseg/miou_all": 0.44, "depth/rmse_unclamped": 0.6},
        "only_semseg_x": {"semseg/miou_all": 0.40},
        "only_depth_x": {"depth/rmse_unclamped": 0.5},
        "only_depth_other_x": {"depth/rmse_unclamped": 9.0},
        "only_depth": {"depth/rmse_unclamped": 9.0},
        "only_depth_x_im": {"depth/rmse_unclamped": 9.0},  # no words of "x_images"
    }
    for name, found in values.items():
        home = tmp_path / name
        home.mkdir()
        chosen = ["semseg/miou_all:max", "depth/rmse_unclamped:min"]
        config = {"eval": {"split": "validation", "checkpoint": "best", "delta_metrics": chosen}}
        (home / "config.json").write_text(json.dumps(config))
        entry = {"step": 1, "metrics": found}
        results = {"finished": True, "best": entry, "last": entry}
        (home / "results.json").write_text(json.dumps(results))
    return tmp_path


def test_the_table_of_a_sweep_has_ours_beside_the_published(finished):
    text = benchmarks.table(finished)
    (row,) = [line for line in text.splitlines() if line.startswith("| pad_net_x")]
    change = (100 * (0.44 - 0.40) / 0.40 - 100 * (0.6 - 0.5) / 0.5) / 2
    assert row == f"| pad_net_x_images | 0.44 | 0.6 | {change:+.2f} |"
    assert "DeMT, HRNet-18: semseg_miou 39.18, ours 44 (README DeMT)" in text


@pytest.mark.parametrize(
    ("row", "metric", "delta"),
    [
        ("pad_net_x_images", "semseg/miou_all", "-60.00"),  # −100 % and −20 %
        ("pad_net_x_images", "depth/rmse_unclamped", "+55.00"),  # 10 % and 100 %
        ("only_semseg_x", "semseg/miou_all", "-20.00 (without 1 of 2)"),  # relative to nothing
    ],
)
def test_a_run_that_falls_to_0_is_compared_and_one_with_0_is_not(finished, row, metric, delta):
    file = finished / row / "results.json"
    results = json.loads(file.read_text())
    results["best"]["metrics"][metric] = 0.0
    file.write_text(json.dumps(results))
    (line,) = [x for x in benchmarks.table(finished).splitlines() if x.startswith("| pad_net_x")]
    assert line.endswith(f"| {delta} |")


def test_a_wrong_word_is_answered_in_one_line(tmp_path, capsys):
    for word, message in (
        ("nyud", "There is no published benchmark 'nyud'; expected one of cityscapes_7_2"),
        (str(tmp_path), "sweep.json is missing; run the sweep first."),
    ):
        assert benchmarks.main([word]) == 1
        out, err = capsys.readouterr()
        assert not out
        assert err.startswith("\nSweepError: ")
        assert message in err
    assert benchmarks.main(["nyud_40_2"]) == 0
