"""Predicts on photographs and videos: label maps, depth and figures for each of them."""

import os
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from mtl_jax import options, prediction
from mtl_jax.commands import assembly
from mtl_jax.errors import UsageError
from mtl_jax.runs import progress, workdir


def run(
    config: ConfigDict,
    path: str | Path | None = None,
    *,
    inputs: str | Sequence[str] = (),
    output: str | Path | None = None,
) -> None:
    """Writes what the network predicts for each file.

    Args:
      config: of the run, with how to predict in `config.predict` and `config.eval.tta`.
      path: the work directory; runs/<config.name> by default.
      inputs: files, folders or globs, in a list or with commas between.
      output: the folder to write to.

    Raises:
      UsageError: there is no such run, or no such file, or something failed for some of them.
    """
    if not inputs or not output:
        raise UsageError("predict needs --input=<files, folders or globs> and --output=<folder>.")
    config = options.filled(config)
    where = workdir.default(path, config)
    assembly.check(config, where)
    files = prediction.expand_inputs(inputs)
    model = prediction.of_run(config, where)
    for name in model.unlearned:
        progress.say(f"{name!r} is not predicted: the run had no labels for it or what it needs.")
    prediction.predict_files(
        model.raw,
        model.tasks,
        files,
        os.path.expanduser(output),
        model.settings,
        report=progress.say,
    )
