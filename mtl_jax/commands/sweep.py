"""Runs the rows of a study, each in a process of its own, or lists them with their cost."""

from collections.abc import Sequence
from pathlib import Path

from mtl_jax.commands import config as configuration
from mtl_jax.errors import UsageError, did_you_mean
from mtl_jax.runs import workdir
from mtl_jax.studies import engine, sweeps
from mtl_jax.studies import runner as sweep_runner
from mtl_jax.studies.sweeps import SweepError


def run(
    which: str,
    path: str | Path | None = None,
    *,
    command: Sequence[str],
    overrides: Sequence[str] = (),
    arguments: Sequence[str] = (),
    chosen_seeds: Sequence[int] = (),
    only_rows: Sequence[str] = (),
    shard: str = "0/1",
    only_list: bool = False,
    images_per_second: float = 0.0,
    engine_name: str = "",
    jobs: int = 0,
    engine_options: str = "",
) -> int:
    """Runs what is not done yet of a sweep's rows.

    Args:
      which: 'depth_loss' or 'depth_loss:streets', a sweep of this project with its protocol, or a
        file, such as 'configs/sweeps/depth_loss.py:streets'.
      path: the folder of the rows' work directories; runs/<sweep> by default.
      command: what starts a row's process, e.g. [python, 'main.py'].
      overrides: `--config.<key>=<value>` each, for every row.
      arguments: further flags for every row.
      chosen_seeds: every row is run with each of these; () = with its config's seed.
      only_rows: these rows, and those that they build on; () = all.
      shard: 'i/n': the i-th of n parts, from 0; 'auto': as a SLURM array says.
      only_list: print the rows and their cost; run nothing.
      images_per_second: a rate to estimate with; 0 = that of the rows that are done.
      engine_name: 'submitit' submits the rows to SLURM and returns; see `studies.engine`.
      jobs: how many jobs share the rows then; 0 = one each.
      engine_options: '<name>=<value>,...' of submitit.

    Returns:
      The exit status.

    Raises:
      SweepError: there is no such sweep, or it cannot be run.
    """
    if images_per_second and not only_list:
        raise UsageError("--images_per_second is of no use without --sweep_list.")
    name, _, protocol = which.partition(":")
    study = sweeps.load(file(name), protocol, overrides)
    runner = sweep_runner.Runner(
        sweep=study,
        directory=workdir.Workdir(path or Path("runs") / study.name).path,
        command=command,
        config=f"from_sweep:{study.path}:{study.protocol}",
        arguments=(*overrides, *arguments),
        seeds=chosen_seeds,
    )
    # The folder is the whole study's: its list names all rows, whichever are run now.
    chosen = study.only(only_rows) if only_rows else study
    rows = chosen.shard(*sweeps.parse_shard(shard))
    if only_list:
        print(runner.table(rows, images_per_second))
        return 0
    if engine_name:
        job = _job(which, runner, only_rows)
        return _submit(engine_name, runner, job, jobs or len(rows), engine_options)
    if jobs or engine_options:
        raise UsageError("--jobs and --engine_options are of no use without --engine.")
    return runner.run(rows)


def _job(which: str, runner: sweep_runner.Runner, only_rows: Sequence[str]) -> list[str]:
    """What starts a job on these rows, but for its --shard."""
    parts = [f"--rows={','.join(only_rows)}"] if only_rows else []
    parts += [f"--seeds={','.join(map(str, runner.seeds))}"] if runner.seeds else []
    start = [*runner.command, "sweep", f"--sweep={which}", f"--workdir={runner.directory}"]
    return [*start, *parts, *runner.arguments]


def _submit(
    name: str, runner: sweep_runner.Runner, command: Sequence[str], jobs: int, options: str
) -> int:
    """Hands the rows to other machines; each of its jobs is this command with its --shard."""
    runner.claim()
    folder = runner.directory / "jobs"
    submitted = engine.submit(name, command, jobs, folder, engine.parse_options(options))
    print(
        f"Submitted {len(submitted)} jobs: {', '.join(str(job.job_id) for job in submitted)}. "
        f"Their logs: {folder}. The same command without --engine and with --sweep_list says "
        "which rows are done; submitted again, what is not done goes on."
    )
    if name.endswith(":local"):  # they end with this process
        failed = sum(job.exception() is not None for job in submitted)
        print(f"{len(submitted) - failed} of {len(submitted)} jobs have done their rows.")
        return int(failed > 0)
    return 0


def file(name: str) -> Path:
    """The file of a sweep of this project, or of a path. Raises SweepError for an unknown name."""
    if name.endswith(".py"):
        return Path(name)
    known = {
        path.stem: path
        for path in sorted((configuration.SHIPPED / "sweeps").glob("*.py"))
        if not path.stem.startswith("_")
    }
    if name not in known:
        raise SweepError(
            f"--sweep={name}: there is no such study.{did_you_mean(name, known)} Known: "
            f"{', '.join(known)}; a file of one's own ends in .py."
        )
    return known[name]
