"""Exports a network, image ─► final outputs, for JAX and for TensorFlow, without this project."""

import os
from pathlib import Path

from ml_collections import ConfigDict

from mtl_jax import export, options
from mtl_jax.commands import assembly
from mtl_jax.errors import UsageError
from mtl_jax.runs import files, learned, progress, workdir


def run(
    config: ConfigDict,
    path: str | Path | None = None,
    *,
    output: str | Path | None = None,
    size: str = "",
) -> None:
    """Writes the network of the checkpoint that config.eval.checkpoint names.

    Args:
      config: of the run.
      path: the work directory; runs/<config.name> by default.
      output: a new folder.
      size: '<height>x<width>' of the images instead of `config.eval.image_size`.

    Raises:
      UsageError: there is no such run, or it cannot be exported so.
    """
    config = options.filled(config)
    if not output:
        told = size or any(config.eval.image_size)
        also = "" if told else " and --size=<height>x<width> of the images"
        raise UsageError(f"export needs --output=<a new folder>{also}.")
    where = workdir.default(path, config)
    parts = assembly.trained(config, where)
    chosen = learned.read(where, parts.tasks, config.model)
    export.network(config, parts, chosen, size)  # refuses a size before anything is read
    from input_pipeline import quiet_tensorflow  # noqa: F401 (before serving imports it)
    from mtl_jax.serving import saved_model

    with files.new_folder(os.path.expanduser(output)) as folder:
        variables, step = assembly.variables(config, where, parts)
        parts, variables = assembly.merged(config, where, parts, variables)
        network = export.network(config, parts, chosen, size)
        exported = export.export(network, variables)
        export.write(folder, network, exported, {"config": config.name, "step": step})
        saved_model.write(folder, exported)
    progress.say(f"Step {step}, {network}: {output}")
