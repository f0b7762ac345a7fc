"""Whose a work directory is while it is trained in: one run's, all of whose processes are alike."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mtl_jax import optimizers, options
from mtl_jax.errors import UsageError
from mtl_jax.runs import files, results, rules
from mtl_jax.runs.files import WorkdirError
from mtl_jax.runs.workdir import Workdir

# Where a process finds the data is its own affair.
_OWN = ("data.data_dir", "data.manual_dir")


class ProcessesDiffer(UsageError):
    """The processes of one run were not started alike; the message says in what they differ."""


@contextlib.contextmanager
def held(directory: Workdir) -> Iterator[None]:
    """The directory is this run's alone while this lasts.

    Raises:
      WorkdirError: another run is trained there; in every process of this one.
    """
    with contextlib.ExitStack() as stack:
        together(lambda: stack.enter_context(directory.only_process()))
        yield


def claim_config(directory: Workdir, config: ConfigDict) -> None:
    """Makes the directory that of this config; only while it is `held`.

    Args:
      directory: the work directory.
      config: of the run.

    Raises:
      WorkdirError: it holds a run of another config; in every process.
    """
    together(lambda: directory.claim(config, may_differ=may_differ(config)))


def claim_data(directory: Workdir, config: ConfigDict, specs: dict[str, dict], stream: Any) -> None:
    """Makes a directory that `claim_config` has claimed that of these data, too.

    Args:
      directory: the work directory.
      config: of the run.
      specs: {key: `LabelSpec.as_dict()`} of the data.
      stream: the training batches.

    Raises:
      ProcessesDiffer: config, labels, data or versions are not the same in all processes.
      WorkdirError: it holds a run of other labels; in every process.
    """
    if jax.process_count() > 1:
        check_alike(started_with(config, specs, stream))
    together(lambda: directory.claim_labels(specs))


def claim_inputs(
    directory: Workdir, config: ConfigDict, scores: Mapping[str, float], stream: Any
) -> None:
    """Makes a directory that `claim_config` has claimed that of what the config's files say, too.

    Args:
      directory: the work directory.
      config: of the run.
      scores: what was read of `config.weighting.baselines`, if the weighting compares with them.
      stream: the training batches.

    Raises:
      WorkdirError: it holds a run that began with something else; in every process.
    """
    found: dict[str, Any] = {"config.data.dataset": stream.digest()}
    if config.data.labels.kind == "file":
        contents = Path(config.data.labels.file).expanduser().read_bytes()
        found["config.data.labels.file"] = hashlib.sha256(contents).hexdigest()
    if scores:
        found["config.weighting.baselines"] = dict(scores)
    together(lambda: directory.claim_inputs(found))


def started_with(config: ConfigDict, specs: dict[str, dict], stream: Any) -> dict[str, dict]:
    """What has to be the same in all processes of a run; see `check_alike`. Arguments as above."""
    return {
        "config": {
            key: value
            for key, value in files.flatten(files.to_json(config)).items()
            if key not in _OWN
        },
        "labels": files.flatten(files.as_json(specs)),
        "data": {
            "examples": stream.labelled_per_epoch,
            "steps in an epoch": stream.steps_per_epoch,
            "first batch": stream.example_ids(0),
            "contents": stream.digest(),
        },
        "version": results.versions(),
    }


def check_config(directory: Workdir, config: ConfigDict) -> None:
    """Raises WorkdirError, as `claim_config` would, if it holds a run of another config."""
    if directory.config.exists() and directory.holds_a_run():
        options.keep_order(config, directory.read_config())
        directory.check_config(config, may_differ=may_differ(config))


def may_differ(config: ConfigDict) -> tuple[str, ...]:
    """What may differ from the directory's config when a run goes on with this one."""
    return rules.RESUME + (rules.LENGTH if optimizers.is_open_ended(config.schedule) else ())


def together(action: Callable[[], Any]) -> None:
    """Does something in the first process; what it raises as a WorkdirError, all raise."""
    error = ""
    if jax.process_index() == 0:
        try:
            action()
        except WorkdirError as problem:
            if jax.process_count() == 1:
                raise
            error = str(problem)
    if jax.process_count() > 1 and (first := _gathered(error)[0]):
        raise WorkdirError(first)


def check_alike(facts: Mapping[str, Mapping[str, Any]]) -> None:
    """Compares what the processes of a run were started with.

    Args:
      facts: {subject: {key: JSON value}}.

    Raises:
      ProcessesDiffer: in every process.
    """
    if jax.process_count() == 1:
        return
    lines = differences([json.loads(text) for text in _gathered(json.dumps(facts))])
    if lines:
        raise ProcessesDiffer(
            "The processes of this run differ:\n" + "\n".join(lines) + "\n"
            "Start all of them with the same command, but for --process, on the same data and "
            "with the same packages."
        )


def differences(facts: list[Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Lines about what is not the same in all processes, whose `check_alike` facts are given."""
    lines = []
    for subject in facts[0]:
        keys = dict.fromkeys(key for process in facts for key in process[subject])
        for key in keys:
            values = [process[subject].get(key) for process in facts]
            other = next((i for i, value in enumerate(values) if value != values[0]), 0)
            if other:
                lines.append(
                    f"  {subject} {key}: {values[0]!r} in process 0, {values[other]!r} in process "
                    f"{other}"
                )
    return lines


def _gathered(text: str) -> list[str]:
    """The text of every process, in each of them."""
    from jax.experimental import multihost_utils

    own = np.frombuffer(text.encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(own)))
    padded = np.zeros(max(int(lengths.max()), 1), np.uint8)
    padded[: len(own)] = own
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row[:length]).decode() for row, length in zip(rows, lengths, strict=True)]
