"""Sweeps: the rows of one study, each a config of its own, beside what was published for them.

A sweep is a Python file with

* `PROTOCOLS`, names; the first is the default;
* `REPORTED`, the one of them that the published numbers belong to;
* `get_rows(protocol) -> list[Row]`.

`mtl_jax.studies.runner` runs it.
"""

import dataclasses
import importlib.util
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtl_jax import options
from mtl_jax.errors import UsageError, did_you_mean, own_code
from mtl_jax.runs import checks, files, rules
from mtl_jax.studies import published_benchmarks

LIST = "sweep.json"  # in the directory of a sweep that is run
PUBLISHED_RESULTS = Path(__file__).resolve().parent / "published_results.csv"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")

# Published metric: (our metric, what ours is multiplied by; None if the unit was not published).
METRICS = {
    "grader": ("multitask_score", 1.0),
    "grader_val": ("multitask_score", 1.0),
    "grader_codalab": ("multitask_score", 1.0),
    "multitask": ("multitask_score", 1.0),
    "semseg_miou": ("semseg/miou_all", 100.0),
    "depth_silogrmse": ("depth/si_log_rmse", 1.0),
    "miou_per_image_pct": ("semseg/miou_per_image", 100.0),
    "miou_pct": ("semseg/miou_all", 100.0),
    "pixel_acc_pct": ("semseg/pixel_accuracy", 100.0),
    "abs_err": ("depth/abs", 1.0),
    "rel_err_raw_ratio": ("depth/rel", 1.0),
    "val_loss": ("loss", 1.0),
    "val_miou_pct": ("semseg/miou_thesis", 100.0),
    "semseg_val_miou_approx": ("semseg/miou_thesis", 1.0),
    "parts_val_miou_approx": ("parts/miou_thesis", 1.0),
    "label_iou_pct": ("semseg/miou_all", 100.0),
    # Report E measures at half the image's size, where a pixel is two of ours.
    "instance_rms": ("instance/rms", 0.5),
    "depth_rms": ("depth/rmse_per_image", None),
}

# Examples to train on, by data set: what an estimate can know before the data are there.
TRAIN_EXAMPLES = {
    "streets": 2000,
    "streets/64x128": 2000,
    "streets/64x128_tiny": 24,
    "camvid": 367,
    "folder/docs/examples/tabletop.yaml": 45,
    "miniscapes": 20000,
    "cityscapes_mtan/128x256": 2975,
    "cityscapes/ids_256x512": 2975,
    "nyuv2/mtan_288x384": 795,
    "nyuv2/hub_288x384": 795,
    "nyud/atrc": 795,
    "nyud/survey": 795,
    "pascal_context": 4998,
    "pascal/d1": 11716,
    "lip/d2": 11716,
}


class SweepError(UsageError):
    """A sweep cannot be run; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a study.

    Attributes:
      name: also of its directory.
      config: the whole config.
      published: ids in published_results.csv or published_benchmarks.csv of `mtl_jax/studies` that
        this row stands for.
      starts_from: an earlier row; its encoder is where this one starts.
      evaluates: an earlier row; its checkpoint is evaluated, and nothing is trained.
      compares: earlier rows that only evaluate; the weighting gets them as its `baselines`.
    """

    name: str
    config: ConfigDict
    published: tuple[str, ...] = ()
    starts_from: str = ""
    evaluates: str = ""
    compares: tuple[str, ...] = ()

    @property
    def after(self) -> tuple[str, ...]:
        """The rows that have to be finished before this one."""
        return tuple(filter(None, (self.starts_from, self.evaluates, *self.compares)))


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A study in one protocol.

    Attributes:
      path: of its file.
      protocol: one of the file's.
      rows: in the order of the file.
    """

    path: Path
    protocol: str
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """<file>_<protocol>."""
        return f"{self.path.stem}_{self.protocol}"

    def row(self, name: str) -> Row:
        """The row of that name. Raises SweepError, with the names that there are."""
        for row in self.rows:
            if row.name == name:
                return row
        hint = did_you_mean(name, [row.name for row in self.rows])
        raise SweepError(
            f"{self.path} has no row {name!r}.{hint} Its rows: "
            f"{', '.join(row.name for row in self.rows)}."
        )

    def only(self, names: Sequence[str]) -> "Sweep":
        """The rows of these names, and the earlier ones that they build on.

        Raises SweepError for a name that no row has.
        """
        waiting, wanted = list(names), set()
        while waiting:
            row = self.row(waiting.pop())
            wanted.add(row.name)
            waiting += row.after
        return dataclasses.replace(self, rows=tuple(r for r in self.rows if r.name in wanted))

    def shard(self, index: int, count: int) -> list[Row]:
        """The rows of one machine of several: every count-th, with what builds on one another."""
        leader: dict[str, str] = {}
        for row in self.rows:
            together = [leader[name] for name in row.after]
            leader[row.name] = together[0] if together else row.name
            for name, found in leader.items():
                if found in together:
                    leader[name] = together[0]
        chosen = list(dict.fromkeys(leader.values()))[index::count]
        return [row for row in self.rows if leader[row.name] in chosen]


def load(path: str | Path, protocol: str = "", overrides: Sequence[str] = ()) -> Sweep:
    """Reads a sweep's file and makes its rows.

    Args:
      path: of the file.
      protocol: one of its `PROTOCOLS`; '' is the first.
      overrides: `--config.<key>=<value>` as on the command line, for every row.

    Raises:
      SweepError: there is no such file or protocol; or a row is impossible.
      ConfigError: an override is impossible, or the file has a mistake.
    """
    path = Path(path).absolute()
    module = _module(path)
    protocol = protocol or module.PROTOCOLS[0]
    if protocol not in module.PROTOCOLS:
        raise SweepError(
            f"{path} has no protocol {protocol!r}; expected one of {', '.join(module.PROTOCOLS)}."
        )
    rows = []
    with own_code(f"--sweep={path}", path):
        made = module.get_rows(protocol)
        if not isinstance(made, Iterable):
            raise SweepError(f"{path}: get_rows has to return rows, found {made!r:.100}.")
        for row in made:
            config = row.config.copy_and_resolve_references()
            config.name = f"{path.stem}_{protocol}_{row.evaluates or row.name}"
            options.resolve(config, overrides)
            # What was measured on other data is nothing to compare with.
            ids = row.published if protocol == module.REPORTED else ()
            rows.append(dataclasses.replace(row, config=config, published=ids))
            _check(rows, path)
    return Sweep(path, protocol, tuple(rows))


def _module(path: Path):
    if not path.is_file() or path.suffix != ".py":
        raise SweepError(f"--sweep={path}: there is no such file (.py); see configs/sweeps/.")
    spec = importlib.util.spec_from_file_location(f"_sweep_{path.stem}", path)
    assert spec is not None  # the file is there and ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with own_code(f"--sweep={path}", path):
        spec.loader.exec_module(module)
    missing = [name for name in ("PROTOCOLS", "REPORTED", "get_rows") if not hasattr(module, name)]
    if missing:
        raise SweepError(f"{path} is no sweep: it has no {', '.join(missing)}.")
    return module


def _check(rows: Sequence[Row], path: Path) -> None:
    """Whether the last row goes with those before it."""
    row, before = rows[-1], {row.name: row for row in rows[:-1]}
    if not _NAME.fullmatch(row.name) or row.name in before:
        raise SweepError(
            f"{path}: a row's name is a directory's; expected letters, digits and _ . + -, once "
            f"each; found {row.name!r}."
        )
    if row.starts_from and row.evaluates:
        raise SweepError(f"{path}: the row {row.name!r} both trains and evaluates another row.")
    for name in row.after:
        # What is compared with has been evaluated; a model to go on from has been trained.
        if name not in before or bool(before[name].evaluates) != (name in row.compares):
            raise SweepError(
                f"{path}: the row {row.name!r} builds on {name!r}, which is no row before it that "
                f"{'only evaluates' if name in row.compares else 'trains'}."
            )


def parse_shard(value: str, environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """'0/2' ─► (0, 2); 'auto' ─► which task of how many this is of a SLURM array.

    Raises:
      SweepError: it is neither, or there is no array, or one of tasks with gaps between.
    """
    if value == "auto":
        return _of_slurm_array(environment)
    found = re.fullmatch(r"(\d+)/(\d+)", value)
    if found is None or not int(found[1]) < int(found[2]):
        raise SweepError(f"--shard={value}: expected i/n with i from 0 to n − 1, such as 0/2.")
    return int(found[1]), int(found[2])


def _of_slurm_array(environment: Mapping[str, str]) -> tuple[int, int]:
    names = ("ID", "MIN", "MAX", "COUNT")
    if any(f"SLURM_ARRAY_TASK_{name}" not in environment for name in names):
        raise SweepError(
            "--shard=auto: this is no task of a SLURM array, which sets SLURM_ARRAY_TASK_ID: "
            "sbatch --array=0-7, see examples/slurm/sweep_array.sbatch."
        )
    task, least, most, count = (int(environment[f"SLURM_ARRAY_TASK_{name}"]) for name in names)
    step = int(environment.get("SLURM_ARRAY_TASK_STEP") or 1)
    if (most - least) // step + 1 != count:
        raise SweepError(
            f"--shard=auto: this array has {count} tasks from {least} to {most}, with gaps. Which "
            "rows are whose depends on the number of tasks: submit all of them (--array=0-7), or "
            "say which part of the whole this is (--shard=$SLURM_ARRAY_TASK_ID/8)."
        )
    return (task - least) // step, count


def differences(configs: Mapping[str, ConfigDict]) -> dict[str, dict[str, Any]]:
    """{row: {dotted key: value}} of the keys that are not the same in all; a name is no key."""
    return rules.what_differs({row: files.to_json(config) for row, config in configs.items()})


def listed(directory: Path) -> list[dict[str, Any]]:
    """What `sweep.json` says of each row of the sweep that has been run in a directory.

    Raises:
      SweepError: there is no sweep.
      WorkdirError: its list is damaged.
    """
    listing = directory / LIST
    if not listing.exists():
        raise SweepError(f"{listing} is missing; run the sweep first.")
    return files.read_json(listing, checks.sweep)["rows"]


def read_published(path: Path = PUBLISHED_RESULTS) -> dict[str, list[dict[str, str]]]:
    """{id: [{kind, source, system, setting, metric, value}, ...]} of the published table."""
    return published_benchmarks.read(path)


def published_results(ids: Sequence[str]) -> list[dict[str, Any]]:
    """What was published for a row, and which of our metrics it is.

    Of the benchmarks' table the source says which numbers were not read where they were printed.

    Returns:
      [{id, source, label, metric, value, our_metric, factor}, ...] of all results with these ids.
      `value` is `factor` times our metric, or in an unknown unit where only `factor` is None; both
      are None where no metric of ours says the same.
    """
    found = []
    for published_id, line in _published(ids, "result"):
        ours, factor = METRICS.get(line["metric"], (None, None))
        value = {"value": float(line["value"]), "our_metric": ours, "factor": factor}
        found.append(_described(published_id, line) | value)
    for published_id, line in _of_benchmarks(ids):
        if line["metric"] not in published_benchmarks.COSTS:
            found.append(published_benchmarks.described(published_id, line))
    return found


def published_costs(ids: Sequence[str]) -> list[dict[str, Any]]:
    """What a row cost where it was published: time, memory, parameters.

    Returns:
      [{id, source, label, metric, value}, ...] of all costs with these ids; `value` is as printed.
    """
    found = [
        _described(published_id, line) | {"value": line["value"]}
        for published_id, line in _published(ids, "cost")
    ]
    for published_id, line in _of_benchmarks(ids):
        if line["metric"] in published_benchmarks.COSTS:
            told = published_benchmarks.described(published_id, line)
            kept = {key: told[key] for key in ("id", "source", "label", "metric")}
            found.append(kept | {"value": line["value"]})
    return found


def _published(ids: Sequence[str], kind: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(id, line of the published table) of all lines of a kind with these ids."""
    table = read_published() if ids else {}
    others = published_benchmarks.read() if ids else {}
    for published_id in ids:
        for line in () if published_id in others else table[published_id]:
            if line["kind"] == kind:
                yield published_id, line


def _of_benchmarks(ids: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The same of the benchmarks' table."""
    table = published_benchmarks.read() if ids else {}
    for published_id in ids:
        for line in table.get(published_id, ()):
            yield published_id, line


def _described(published_id: str, line: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": published_id,
        "source": line["source"],
        "label": ": ".join(filter(None, (line["system"], line["setting"]))),
        "metric": line["metric"],
    }


def cost(config: ConfigDict) -> tuple[int, int] | None:
    """(steps, images) that training takes; None if the data set's size is not known here."""
    data, train = config.data, config.train
    sources = [source.dataset for source in data.mixture.values()] or [data.dataset]
    if any(source not in TRAIN_EXAMPLES for source in sources):
        return None
    examples = sum(TRAIN_EXAMPLES[source] for source in sources)
    for source in data.mixture.values():
        examples -= TRAIN_EXAMPLES[source.dataset] - _in_split(
            TRAIN_EXAMPLES[source.dataset], source.get("splits", {}).get("train", "train")
        )
    if not data.mixture:
        examples = _in_split(examples, data.train_split)
    if data.held_out:
        examples -= max(1, round(data.held_out * examples))
    steps = train.max_steps or int(train.epochs * (examples // train.batch_size))
    return steps, steps * train.batch_size


def _in_split(examples: int, split: str) -> int:
    """How many of 'train' are in 'train[:50%]', 'train[:400]' or the like."""
    found = re.fullmatch(r"train(?:\[(?:(\d+)(%?))?:(?:(\d+)(%?))?\])?", split)
    if found is None:
        raise SweepError(f"config.data.train_split={split!r}: its size cannot be told.")
    low, low_percent, high, high_percent = found.groups()

    def bound(value, percent, default):
        if value is None:
            return default
        return round(examples * int(value) / 100) if percent else min(int(value), examples)

    return bound(high, high_percent, examples) - bound(low, low_percent, 0)
