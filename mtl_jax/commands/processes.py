"""Several processes of one run: how they find each other, and how one that fails ends the others.

JAX's coordination service, in the first process, notices when one of them is gone; a collective
that waits for it fails at once where connections break (CPU), or after a minute (GPU, TPU).
"""

import argparse
import importlib.util
import os
import re
import sys
import time
import traceback
from collections.abc import Mapping

from mtl_jax.errors import UsageError

AUTO = "auto"
# A process that has not been heard of for so long is gone.
HEARTBEAT_SECONDS = 60
# That one that fails leaves to those that fail alike, to say so themselves.
_GRACE_SECONDS = 3
_OF_A_LOST_PROCESS = re.compile(
    r"gloo|connection (was )?(closed|reset|refused)|heartbeat|coordination (service|agent)|"
    r"unavailable|deadline_exceeded|nccl|peer",
    re.IGNORECASE,
)


def check(given: argparse.Namespace) -> None:
    """Raises UsageError for flags of which some are missing or exclude each other."""
    several = [given.coordinator, given.processes, given.process]
    if given.distributed is not None:
        if given.distributed != AUTO:
            raise UsageError(f"--distributed={given.distributed}: expected {AUTO}.")
        if several != [None] * 3:
            raise UsageError(
                "--distributed=auto finds what --coordinator, --processes and --process say; give "
                "the one or the others."
            )
    if None in several and several != [None] * 3:
        raise UsageError(
            "Several processes need all of --coordinator=<host>:<port> of the first, --processes="
            "<how many> and --process=<which one this is, from 0>."
        )
    if given.processes is not None and not 0 <= given.process < given.processes:
        raise UsageError(
            f"--process={given.process}: expected 0 to {given.processes - 1}, as --processes="
            f"{given.processes}."
        )


def connect(given: argparse.Namespace) -> None:
    """Joins the other processes of the run, if there are to be any.

    Raises:
      UsageError: --distributed=auto, and nothing here says which processes there are; or the first
        one is not to be reached.
    """
    if given.coordinator:
        where = (given.coordinator, given.processes, given.process)
    elif given.distributed:
        where = (None, None, None)
    else:
        return
    import jax

    try:
        jax.distributed.initialize(*where, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except (RuntimeError, ValueError) as error:
        if given.distributed and "should be defined" in str(error):
            raise UsageError(_nothing_found(os.environ)) from error
        raise UsageError(
            f"The processes of this run do not find each other: {_short(error)}"
        ) from error


def _nothing_found(environment: Mapping[str, str]) -> str:
    if "SLURM_JOB_ID" in environment and "SLURM_PROCID" not in environment:
        return (
            "--distributed=auto: this is a job of SLURM's, but not started by srun, which starts "
            "its processes: srun mtl train ... --distributed=auto"
        )
    if "KUBERNETES_SERVICE_HOST" in environment and not importlib.util.find_spec("kubernetes"):
        return (
            "--distributed=auto: this is a pod of Kubernetes, and the package kubernetes, which "
            "finds the others, is not installed: pip install 'mtl-jax[kubernetes]'."
        )
    return (
        "--distributed=auto: neither SLURM (srun), Open MPI (mpirun), Kubernetes (an indexed job, "
        "such as a JobSet) nor a TPU pod is found here. Give --coordinator, --processes and "
        "--process, or leave all out for a single process."
    )


def are_several() -> bool:
    """Whether this is one of several processes of a run."""
    jax = sys.modules.get("jax")
    return bool(jax and jax.distributed.is_initialized() and jax.process_count() > 1)


def lost(error: BaseException) -> str:
    """What to say of an error that another process's end has caused; '' of any other error."""
    is_runtime = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError", "RpcError")
    if not (are_several() and is_runtime and _OF_A_LOST_PROCESS.search(str(error))):
        return ""
    return (
        f"Another process of this run has ended or cannot be reached ({_short(error)}), so this "
        "one ends, too. What that one has printed says why. Start all of them again, or another "
        "number of them: the run goes on from its last checkpoint."
    )


def leave(status: int, error: BaseException | None = None) -> None:
    """Ends this process at once if it is one of several, as an orderly end waits for the others.

    Args:
      status: to end with.
      error: whose traceback is shown before.
    """
    if not are_several():
        return
    if error is not None:
        traceback.print_exception(error)
    time.sleep(_GRACE_SECONDS)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}{' ...' if len(text) > 200 else ''}"
