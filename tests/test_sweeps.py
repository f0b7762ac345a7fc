"""Sweeps: what each study holds, how one is read, shared out and what its rows cost."""

import functools
import re
from pathlib import Path

import pytest
from test_configs import specs_of

from mtl_jax import evaluation, optimizers, system
from mtl_jax.errors import ConfigError, UsageError
from mtl_jax.runs import selection
from mtl_jax.studies import sweeps

FOLDER = Path(__file__).resolve().parents[1] / "configs" / "sweeps"
FILES = sorted(path for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
PROTOCOLS = [(path.stem, p) for path in FILES for p in sweeps._module(path).PROTOCOLS]
STUDIES = [path.stem for path in FILES]
KNOWN: dict[str, list[str]] = {}


@functools.cache
def loaded(name: str, protocol: str) -> sweeps.Sweep:
    """A study's sweep, resolved when it is asked for: to resolve all of them takes seconds."""
    return sweeps.load(FOLDER / f"{name}.py", protocol)


def all_rows() -> list[sweeps.Row]:
    """Those of every study and protocol."""
    return [row for one in PROTOCOLS for row in loaded(*one).rows]


def known_metrics(tasks):
    """The metrics of a run of these tasks, found once for all rows that have the same."""
    if repr(tasks) not in KNOWN:
        KNOWN[repr(tasks)] = evaluation.metric_names(tasks, tasks)
    return KNOWN[repr(tasks)]


@pytest.mark.parametrize(("name", "protocol"), PROTOCOLS)
def test_every_row_is_a_valid_config(name, protocol):
    sweep = loaded(name, protocol)
    for row in sweep.rows:
        parts = system.build(row.config, specs_of(row.config))
        labelled = dict.fromkeys([optimizers.COMMON, *parts.tasks], 1000)
        optimizers.build(
            row.config, steps_per_epoch=10, total_steps=100, labelled_per_epoch=labelled
        )
        headlines = evaluation.headlines(parts.tasks)
        selection.build(row.config.eval, headlines, known_metrics(parts.tasks))
        assert row.config.train.epochs > row.config.schedule.warmup_epochs
        assert sweeps.cost(row.config) is not None, row.name


@pytest.mark.parametrize("name", STUDIES)
def test_rows_of_a_study_differ(name):
    for protocol in sweeps._module(FOLDER / f"{name}.py").PROTOCOLS:
        rows = loaded(name, protocol).rows
        found = sweeps.differences({row.name: row.config for row in rows})
        seen = {(str(found[row.name]), row.starts_from, bool(row.evaluates)) for row in rows}
        assert len(seen) == len(rows)


@pytest.mark.parametrize("name", STUDIES)
def test_streets_rows_are_small_and_have_nothing_published(name):
    for row in loaded(name, "streets").rows:
        steps, images = sweeps.cost(row.config)
        assert steps <= 400
        assert images <= 4000
        assert not row.published


def test_a_sweep_needs_its_three_names(tmp_path):
    (tmp_path / "a.py").write_text("PROTOCOLS = ('x',)\n")
    with pytest.raises(sweeps.SweepError, match="has no REPORTED, get_rows"):
        sweeps.load(tmp_path / "a.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nosuchmodule\n", "line 1, in <module>: import nosuchmodule: ModuleNotFoundError"),
        ("def get_rows(:\n", "line 1: invalid syntax: def get_rows(:"),
        (
            "PROTOCOLS, REPORTED = ('x',), ''\ndef get_rows(protocol):\n    yield 1 / 0\n",
            "line 3, in get_rows: yield 1 / 0: ZeroDivisionError: division by zero",
        ),
        (
            "PROTOCOLS, REPORTED = ('x',), ''\ndef get_rows(protocol):\n    pass\n",
            "get_rows has to return rows, found None.",
        ),
    ],
)
def test_a_mistake_in_a_sweep_is_one_line_that_says_where(tmp_path, text, message):
    (tmp_path / "a.py").write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)):
        sweeps.load(tmp_path / "a.py")
    with pytest.raises(sweeps.SweepError, match=r"no such file \(.py\); see configs/sweeps"):
        sweeps.load(tmp_path / "b.py")
    with pytest.raises(sweeps.SweepError, match="no protocol 'street'; expected one of streets"):
        sweeps.load(FOLDER / "mtan.py", "street")


ROWS = """
from mtl_jax.configs import branched
from mtl_jax.studies.sweeps import Row

CONFIG = branched.get_config()
PROTOCOLS = ("one", "two")
REPORTED = "two"
def get_rows(protocol):
    return [{}]
"""


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            "Row('a', CONFIG), Row('a', CONFIG)",
            "once each; found 'a'",
        ),
        ("Row('a/b', CONFIG)", "found 'a/b'"),
        (
            "Row('a', CONFIG, starts_from='b'), Row('b', CONFIG)",
            "'b', which is no",
        ),
        (
            "Row('a', CONFIG), Row('b', CONFIG, compares=('a',))",
            "'a', which is no row before it that only evaluates",
        ),
        (
            "Row('a', CONFIG), Row('b', CONFIG, evaluates='a'), Row('c', CONFIG, starts_from='b')",
            "'b', which is no row before it that trains",
        ),
        (
            "Row('a', CONFIG), Row('b', CONFIG, evaluates='a', starts_from='a')",
            "both trains and evaluates",
        ),
    ],
)
def test_impossible_rows(rows, problem, tmp_path):
    (tmp_path / "a.py").write_text(ROWS.format(rows))
    with pytest.raises(sweeps.SweepError, match=problem):
        sweeps.load(tmp_path / "a.py")


def test_overrides_reach_every_row_and_mistakes_are_named():
    changed = sweeps.load(FOLDER / "mtan.py", "", ["--config.train.max_steps=7"])
    assert [row.config.train.max_steps for row in changed.rows] == [7, 7]
    with pytest.raises(ConfigError, match="batch_size"):
        sweeps.load(FOLDER / "mtan.py", "", ["--config.train.batchsize=7"])
    with pytest.raises(ConfigError, match="max_steps=x"):
        sweeps.load(FOLDER / "mtan.py", "", ["--config.train.max_steps=x"])


def test_a_row_by_its_name():
    sweep = loaded("depth_loss", "streets")
    assert sweep.row("berhu").config.tasks.depth.loss == "berhu"
    with pytest.raises(sweeps.SweepError, match="Did you mean 'berhu'"):
        sweep.row("behru")


@pytest.mark.parametrize("name", STUDIES)
def test_shards_are_a_partition_and_keep_what_belongs_together(name):
    sweep = loaded(name, "streets")
    shards = [[row.name for row in sweep.shard(i, 3)] for i in range(3)]
    together = [name for shard in shards for name in shard]
    assert sorted(together) == sorted(row.name for row in sweep.rows)
    for row in sweep.rows:
        assert any({row.name, *row.after} <= set(shard) for shard in shards)


def test_some_rows_and_what_they_build_on():
    sweep = loaded("test_time_augmentation", "streets")
    chosen = sweep.only(["scales_0.5_2_3"])
    assert [row.name for row in chosen.rows] == ["trained", "scales_0.5_2_3"]
    assert chosen.name == sweep.name
    assert [row.name for row in sweep.only(["plain", "trained"]).rows] == ["trained", "plain"]
    with pytest.raises(sweeps.SweepError, match=r"has no row 'plan'\. Did you mean 'plain'"):
        sweep.only(["plan"])


@pytest.mark.parametrize("value", ["2/2", "1", "a/b", "-1/2", "0/0"])
def test_a_shard_that_is_none(value):
    with pytest.raises(sweeps.SweepError, match="such as 0/2"):
        sweeps.parse_shard(value)
    assert sweeps.parse_shard("1/3") == (1, 3)


@pytest.mark.parametrize(
    ("split", "expected"),
    [("train", 10), ("train[:4]", 4), ("train[:50%]", 5), ("train[50%:]", 5), ("train[2:7]", 5)],
)
def test_examples_of_a_split(split, expected):
    assert sweeps._in_split(10, split) == expected


def test_cost_of_reported_rows():
    # 20,000 images in batches of 4 for 16 epochs; 2,975 in 8 for 100; D1 and D2 in 10 for 300.
    assert sweeps.cost(loaded("optimizer", "miniscapes").rows[0].config) == (80000, 320000)
    assert sweeps.cost(loaded("mtan", "cityscapes").rows[0].config) == (37100, 296800)
    joint = loaded("stacked_unet", "pascal").row("joint_scratch")
    assert sweeps.cost(joint.config) == (300 * 2343, 300 * 23430)


@pytest.mark.parametrize(("protocol", "batch"), [("nyuv2", 2), ("cityscapes", 8)])
def test_balancing_has_the_schedule_of_the_published_tables(protocol, batch):
    """Nash-MTL's and FAMO's: 200 epochs of Adam at 1e-4, halved at the hundredth."""
    for row in loaded("balancing", protocol).rows:
        train, schedule = row.config.train, row.config.schedule
        assert (train.epochs, train.batch_size, train.eval_every_epochs) == (200, batch, 1)
        assert (schedule.name, schedule.learning_rate) == ("step", 1e-4)
        assert (schedule.every_epochs, schedule.factor) == (100, 0.5)
        assert row.config.optimizer.name == "adam"
