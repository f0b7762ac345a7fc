"""Predicts on photographs and videos: label maps, depth and figures for each of them."""

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from mtl_jax import prediction, views
from mtl_jax.commands import assembly
from mtl_jax.errors import UsageError
from mtl_jax.runs import progress, workdir


def run(
    config: ConfigDict,
    path: str | Path | None = None,
    *,
    inputs: Sequence[str] = (),
    output: str | Path | None = None,
) -> None:
    """Writes what the network predicts for each file.

    Args:
      config: of the run, with how to predict in `config.predict` and `config.eval.tta`.
      path: the work directory; runs/<config.name> by default.
      inputs: files, folders or globs.
      output: the folder to write to.

    Raises:
      UsageError: there is no such run, or no such file, or something failed for some of them.
    """
    if not inputs or not output:
        raise UsageError("predict needs --input=<files, folders or globs> and --output=<folder>.")
    where = workdir.default(path, config)
    parts = assembly.trained(config, where)
    specs = where.read_label_specs()
    files = prediction.expand_inputs(inputs)
    settings = prediction.Settings(**config.predict)
    tta = views.build(config.eval.tta, multiple_of=settings.multiple_of)
    variables, _ = assembly.variables(config, where, parts)

    @jax.jit
    def apply(variables, image):
        view = functools.partial(parts.predict, variables)
        return tta.merge(view, parts.tasks, image, view(image))

    tasks = parts.trained_tasks(config.model, specs)
    for name in parts.tasks.keys() - tasks.keys():
        progress.say(f"{name!r} is not predicted: the run had no labels for it or what it needs.")
    prediction.predict_files(
        functools.partial(apply, variables),
        tasks,
        files,
        Path(output).expanduser(),
        settings,
        report=progress.say,
    )
