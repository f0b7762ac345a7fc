"""Trains, or goes on with, a run; or one for each of several seeds."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from ml_collections import ConfigDict

from mtl_jax.runs import progress, seeds, workdir
from mtl_jax.runs.workdir import Workdir

if TYPE_CHECKING:
    from mtl_jax.runs import loop


def run(
    config: ConfigDict, path: str | Path | None = None, *, chosen_seeds: Sequence[int] = ()
) -> dict[str, Any]:
    """Trains from the latest checkpoint in the work directory, or from the start, to the end.

    Args:
      config: of the run.
      path: the work directory; runs/<config.name> by default.
      chosen_seeds: a run for each of these instead of config.seed, in <path>/seed_<n>, in turn.

    Returns:
      What results.json holds.

    Raises:
      UsageError: the config, the work directory or the data cannot be used so.
      DatasetError: the data set is not there.
      NonFiniteLoss: the last good checkpoint is kept.
      Stopped: on SIGTERM or Ctrl-C, after saving.
    """
    where = workdir.default(path, config)
    where.create()
    if not chosen_seeds:
        seeds.check_single(where)
        return _train(config, where)
    seeds.check_parent(where)
    where.claim(config)
    found = {}
    for seed, its_config, its_directory in seeds.runs(config, where, chosen_seeds):
        progress.say(f"Seed {seed}: {its_directory.path}")
        found[seed] = _train(its_config, its_directory)
    summary = seeds.aggregate(found)
    if jax.process_index() == 0:
        workdir.write_json(where.results, summary)
    progress.say(f"{seeds.table(summary)}\nAll metrics: {where.results}")
    return summary


def _train(config: ConfigDict, where: Workdir) -> dict[str, Any]:
    """Trains one run; returns what its results.json holds."""
    where.create()
    where.claim(config)
    found = _finished(config, where)
    if found:
        progress.say(f"This run is finished ({found['steps']} steps): {where.results}")
        _sum_up(found, where)
        return found
    from mtl_jax import system  # only here: what is known without them is said at once
    from mtl_jax.commands import assembly
    from mtl_jax.runs import learned

    builder, specs = assembly.dataset(config)
    where.claim_labels(specs)
    parts = system.build(config, specs)
    where.claim_learned_tasks(learned.decide(parts.tasks, specs, config.model))
    evaluated = assembly.eval_stream(builder, config, parts)
    started = assembly.run(config, parts, builder, evaluated, where, _writer(config, where))
    unused = specs.keys() - {task.key for task in parts.tasks.values()} - {"image"}
    progress.say(banner(started, evaluated.num_examples, unused))
    found = started.train()
    _sum_up(found, where)
    return found


def banner(run: "loop.Run", evaluated: int, unused: Iterable[str]) -> str:
    """What a run is about to do, on which machine and data.

    Args:
      run: that is to be started.
      evaluated: how many examples its evaluations have.
      unused: keys of the data set that no task reads.
    """
    config, stream, devices = run.config, run.stream, run.mesh.devices.flat
    kind, platform = devices[0].device_kind, devices[0].platform
    data = [source.dataset for source in config.data.mixture.values()] or [config.data.dataset]
    split = f"{config.data.train_split}: {stream.num_examples:,} examples"
    validation = f"{config.eval.split}: {evaluated:,}"
    every = run.steps_per_epoch * config.train.eval_every_epochs
    names = {
        name: f"{name} (no labels: not trained)" if task.key in stream.missing else name
        for name, task in run.system.tasks.items()
    }
    lines = {
        "device": f"{len(devices)} × {kind}" + f" ({platform})" * (kind.lower() != platform),
        "data": f"{' + '.join(data)}, {split}, {validation}",
        "tasks": ", ".join(names.values()),
        "steps": f"{run.total_steps:,} of {config.train.batch_size} images, "
        f"{run.total_steps / run.steps_per_epoch:.3g} epochs; evaluated every {every:,.0f}",
        "best by": f"{config.eval.selection} ({config.eval.selection_mode})",
        "workdir": str(run.workdir.path),
    }
    if jax.process_count() > 1:
        lines["device"] += f" in {jax.process_count()} processes"
    if unused:
        lines["unused"] = f"{', '.join(sorted(unused))}: in the data, but no task of this config"
    return "\n".join(f"{name:8} {what}" for name, what in lines.items())


def _finished(config: ConfigDict, where: Workdir) -> dict[str, Any]:
    """The results of a run that has nothing left to do; {} if it has, or if something is amiss."""
    best = where.checkpoints / "best"
    if not where.results.exists() or not best.is_dir() or not any(best.iterdir()):
        return {}
    found = where.read_results()
    same = where.read_config()["train"] == workdir.to_json(config)["train"]
    return found if same and found.get("finished") and "seeds" not in found else {}


def _sum_up(found: dict[str, Any], where: Workdir) -> None:
    best, last, selection = found["best"], found["last"], found["selection"]
    progress.say(
        f"Best {selection} {best['metrics'][selection]:.4g} at step {best['step']}, last "
        f"{last['metrics'][selection]:.4g}, mean of the last {min(10, found['evaluations'])} "
        f"{found['mean_of_last_10'][selection]:.4g}. Everything is in {where.path}."
    )


def _writer(config: ConfigDict, where: Workdir):
    """Of TensorBoard events, in the first process."""
    from clu import metric_writers

    writers = []
    if jax.process_index() == 0:
        writers.append(metric_writers.SummaryWriter(str(where.path)))
    writer = metric_writers.AsyncMultiWriter(writers)
    # TensorBoard keeps no lists, such as a crop.
    writer.write_hparams(
        {
            key: value if isinstance(value, str | int | float | bool) else str(value)
            for key, value in workdir.flatten(workdir.to_json(config)).items()
        }
    )
    return writer
