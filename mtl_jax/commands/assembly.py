"""What the commands put together from a config: data set, streams, system, variables."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from mtl_jax import checkpoints, export, own_size, parallel, prediction, system
from mtl_jax.commands import slow_scores
from mtl_jax.layers import transformer
from mtl_jax.pictures import panels
from mtl_jax.runs import baselines, feeds, held_out_scores, loop, rules, seeds
from mtl_jax.runs.workdir import Workdir


def dataset(config: ConfigDict) -> tuple[Any, dict[str, dict]]:
    """(prepared builder, its label specs as plain dicts). Raises DatasetError."""
    from input_pipeline import from_config

    builder = from_config.load(config.data)
    return builder, {key: spec.as_dict() for key, spec in builder.label_specs.items()}


def train_stream(builder: Any, config: ConfigDict, parts: system.System):
    """This process's part of the training batches, with held-out ones beside where needed."""
    from input_pipeline import from_config

    stream = from_config.train_stream(builder, config, _keys(parts), **_process())
    if not parts.weighting.needs_held_out:
        return stream
    others = from_config.held_out_stream(builder, config, _keys(parts), **_process())
    return feeds.WithHeldOut(stream, others)


def eval_stream(builder: Any, config: ConfigDict, parts: system.System, keys: Iterable[str] = ()):
    """This process's part of the batches of `config.eval.split`; their sizes fit.

    Args:
      builder: of `dataset`.
      config: of the run.
      parts: its system.
      keys: of the batch that are needed besides those of the tasks.
    """
    from input_pipeline import from_config

    wanted = list(dict.fromkeys([*_keys(parts), *keys]))
    stream = from_config.eval_stream(builder, config, wanted, **_process())
    stream.check_sizes()
    return stream


def run(
    config: ConfigDict,
    parts: system.System,
    builder: Any,
    evaluated: Any,
    where: Workdir,
    writer: Any,
    devices: list[jax.Device] | None = None,
) -> loop.Run:
    """A training run, ready to be started.

    Args:
      config: of the run.
      parts: its system.
      builder: of `dataset`.
      evaluated: of `eval_stream`.
      where: its work directory.
      writer: of TensorBoard events.
      devices: to train on; all by default.
    """
    return loop.Run(
        config=config,
        system=parts,
        mesh=parallel.make_mesh(devices),
        stream=train_stream(builder, config, parts),
        eval_batches=evaluated.batches,
        eval_ids=evaluated.example_ids,
        workdir=where,
        writer=writer,
        draw=functools.partial(panels.draw, tasks=parts.tasks),
        eval_keys=set(evaluated.specs),
        held_out_batches=_held_out_batches(builder, config, parts),
    )


def _held_out_batches(builder: Any, config: ConfigDict, parts: system.System):
    """What makes an iterator over the held-out images, for a weighting that scores them."""
    if not parts.weighting.needs_scores:
        return None
    config = config.copy_and_resolve_references()
    config.eval.split = held_out_scores.SPLIT
    return eval_stream(builder, config, parts).batches


def check_settings(
    config: ConfigDict, parts: system.System, specs: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuses before the first step what evaluation, prediction or export would fail at later.

    Args:
      config: of the run.
      parts: its system.
      specs: {key: LabelSpec as a dict} of the data.

    Raises:
      ConfigError: a setting of `config.eval` or `config.predict` is impossible.
    """
    prediction.Settings(**config.predict, sizes=parts.sizes)
    export.network(config, parts, list(parts.tasks), "32x32")
    if config.eval.resize_back:
        own_size.check(parts.tasks)
    baselines.check_delta_metrics(config.eval.delta_metrics)
    checkpoints.check_kind(config.eval.checkpoint)
    slow_scores.check(parts.tasks, specs, config.eval.scores)


def trained(config: ConfigDict, where: Workdir) -> system.System:
    """The system of a trained run. Raises WorkdirError if it is of another config."""
    check(config, where)
    return system.build(config, where.read_label_specs())


def check(config: ConfigDict, where: Workdir) -> None:
    """Raises WorkdirError if a directory holds no single run, or one of another config."""
    seeds.check_single(where)
    where.check_config(config, may_differ=rules.USE)


def variables(
    config: ConfigDict, where: Workdir, parts: system.System
) -> tuple[dict[str, Any], int]:
    """(variables, step) of the checkpoint that config.eval.checkpoint names."""
    return checkpoints.read_variables(where.checkpoints, config.eval.checkpoint, parts.zeros())


def merged(
    config: ConfigDict, where: Workdir, parts: system.System, variables: dict[str, Any]
) -> tuple[system.System, dict[str, Any]]:
    """The same network without low-rank updates, which its layers' matrices have taken in."""
    encoder = config.model.get("encoder", {})
    if not encoder.get("lora_rank"):
        return parts, variables
    plain = config.copy_and_resolve_references()
    plain.model.encoder.lora_rank = 0
    params = transformer.merge_low_rank(variables["params"], encoder.lora_alpha)
    return system.build(plain, where.read_label_specs()), {**variables, "params": params}


def _keys(parts: system.System) -> list[str]:
    return ["image", *dict.fromkeys(task.key for task in parts.tasks.values())]


def _process() -> dict[str, int]:
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}
