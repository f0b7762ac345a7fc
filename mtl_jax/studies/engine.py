"""Runs a study as jobs of a cluster, by submitit, the extra `submitit`.

Submitit and not Ray Tune: a study's rows are known before it starts, and are processes with work
directories of their own that resume by themselves, so all that is missing is to start them on other
machines. Submitit hands them to the SLURM that is there; Ray would be a second cluster within.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_jax.studies.sweeps import SweepError

NAME = "submitit"
_KINDS = {NAME: "slurm", f"{NAME}:local": "local"}


class Part:
    """One job: the rows of a shard. SLURM may start it again, as after a preemption."""

    def __init__(self, command: Sequence[str], directory: Path):
        """Takes what starts a process, and where."""
        self.command, self.directory = list(command), directory

    def __call__(self) -> int:
        """Runs it to its end; its exit status, which is not 0 where some rows are not done."""
        status = subprocess.run(self.command, cwd=self.directory, check=False).returncode
        if status:
            raise RuntimeError(f"Exit status {status}; the rows' log.txt say more.")
        return status

    def checkpoint(self, *arguments: Any, **more: Any) -> Any:
        """The same again: rows that are done are left out, one that was stopped goes on."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, *arguments, **more)


def submit(
    engine: str,
    command: Sequence[str],
    jobs: int,
    folder: Path,
    options: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Submits the parts of a study.

    Args:
      engine: 'submitit' for SLURM, 'submitit:local' for processes on this machine.
      command: what runs the study, to which `--shard=i/n` is added.
      jobs: n.
      folder: for the jobs' logs, which all machines see.
      options: of submitit's executor, such as slurm_partition or timeout_min.

    Returns:
      Submitit's jobs.

    Raises:
      SweepError: there is no such engine, no package, or an option that it does not know.
    """
    if engine not in _KINDS:
        raise SweepError(f"--engine={engine}: expected one of {', '.join(_KINDS)}.")
    try:
        import submitit
    except ImportError as error:
        raise SweepError(
            "--engine=submitit needs the package submitit, which is not installed: "
            "pip install 'mtl-jax[submitit]'."
        ) from error
    parts = [
        Part([*command, f"--shard={number}/{jobs}"], Path(os.getcwd())) for number in range(jobs)
    ]
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=_KINDS[engine])
        executor.update_parameters(**(options or {}))
        with executor.batch():
            return [executor.submit(part) for part in parts]
    except (RuntimeError, NameError, TypeError, ValueError, OSError) as error:
        text = " ".join(str(error).split())
        raise SweepError(f"--engine={engine}: {text[:300]}") from error


def parse_options(text: str) -> dict[str, Any]:
    """'slurm_partition=gpu,timeout_min=600' ─► {...}; whole numbers are numbers. SweepError."""
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier():
            raise SweepError(f"--engine_options={text}: expected <name>=<value>, found {part!r}.")
        found[name] = int(value) if value.isdecimal() else value
    return found
