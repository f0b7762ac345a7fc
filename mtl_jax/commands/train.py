"""Trains, or goes on with, a run; or one for each of several seeds."""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from ml_collections import ConfigDict

from mtl_jax import options, trackers
from mtl_jax.runs import event_files, files, ownership, progress, seeds, workdir
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
    config = options.filled(config)
    where = workdir.default(path, config)
    where.create()
    if not chosen_seeds:
        seeds.check_single(where)
        return _train(config, where)
    found = {}
    with ownership.held(where):
        seeds.check_parent(where)
        ownership.claim_config(where, config)
        for seed, its_config, its_directory in seeds.runs(config, where, chosen_seeds):
            progress.say(f"Seed {seed}: {its_directory.path}")
            found[seed] = _train(its_config, its_directory)
    summary = seeds.aggregate(found)
    if jax.process_index() == 0:
        files.write_json(where.results, summary)
    progress.say(f"{seeds.table(summary)}\nAll metrics: {where.results}")
    return summary


def _train(config: ConfigDict, where: Workdir) -> dict[str, Any]:
    """Trains one run; returns what its results.json holds."""
    where.create()
    trackers.check(config.train.trackers)
    ownership.check_config(where, config)
    found = _finished(config, where)
    if found:
        progress.say(f"This run is finished ({found['steps']} steps): {where.results}")
    else:
        with ownership.held(where):
            found = _train_held(config, where)
    progress.results(found, where.path)
    return found


def _train_held(config: ConfigDict, where: Workdir) -> dict[str, Any]:
    """Trains a run in a directory that is no other's meanwhile."""
    from mtl_jax import system  # only here: what is known without them is said at once
    from mtl_jax.commands import assembly
    from mtl_jax.commands import config as configuration
    from mtl_jax.runs import learned

    configuration.check(config)
    ownership.claim_config(where, config)
    builder, specs = assembly.dataset(config)
    parts = system.build(config, specs)
    assembly.check_settings(config, parts, specs)
    evaluated = assembly.eval_stream(builder, config, parts)
    started = assembly.run(config, parts, builder, evaluated, where, _writer(config, where))
    ownership.claim_data(where, config, specs, started.stream)
    ownership.claim_inputs(where, config, started.references, started.stream)
    ownership.together(
        lambda: where.claim_learned_tasks(learned.decide(parts.tasks, specs, config.model))
    )
    unused = specs.keys() - {task.key for task in parts.tasks.values()} - {"image"}
    progress.say(banner(started, evaluated.num_examples, unused))
    with contextlib.ExitStack() as ended:
        if isinstance(started.writer, trackers.Also):
            ended.callback(started.writer.close)
        return started.train()


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
    names = {
        name: f"{name} (no labels: not trained)" if task.key in stream.missing else name
        for name, task in run.system.tasks.items()
    }
    lines = {
        "device": f"{len(devices)} × {kind}" + f" ({platform})" * (kind.lower() != platform),
        "data": f"{' + '.join(data)}, {split}, {validation}",
        "tasks": ", ".join(names.values()),
        "steps": f"{run.plan.total_steps:,} of {config.train.batch_size} images, "
        f"{run.plan.total_steps / run.plan.steps_per_epoch:.3g} epochs; evaluated "
        f"every {run.plan.evaluate_every or run.plan.total_steps:,}",
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
    if not where.results.exists() or not where.has_checkpoint("best"):
        return {}
    found = where.read_results()
    same = where.read_config()["train"] == files.to_json(config)["train"]
    return found if same and found.get("finished") and "seeds" not in found else {}


def _writer(config: ConfigDict, where: Workdir):
    """Of TensorBoard events, and of what `config.train.trackers` names; in the first process."""
    writer = event_files.writer(where.path)
    # None of them keeps lists, such as a crop.
    hparams = {
        key: value if isinstance(value, str | int | float | bool) else str(value)
        for key, value in files.flatten(files.to_json(config)).items()
    }
    writer.write_hparams(hparams)
    if not config.train.trackers or jax.process_index() > 0:
        return writer
    opened = trackers.open_all(
        config.train.trackers,
        run=f"{config.name}, seed {config.seed}",
        hparams=hparams,
        directory=where.path,
        known=where.read_trackers(),
    )
    ids = {name: tracker.id for name, tracker in opened.items()}
    files.write_json(where.trackers, where.read_trackers() | ids)
    return trackers.Also(writer, opened.values())
