"""Writes a trained network as a folder of plain files: what one would put on the hub."""

import os
from pathlib import Path

from ml_collections import ConfigDict

from mtl_jax import hub
from mtl_jax.commands import assembly
from mtl_jax.errors import UsageError
from mtl_jax.runs import files, progress, workdir


def run(
    config: ConfigDict,
    path: str | Path | None = None,
    *,
    output: str | Path | None = None,
    licence: str = "",
    name: str = "",
) -> None:
    """Writes the checkpoint that config.eval.checkpoint names.

    Args:
      config: of the run.
      path: the work directory; runs/<config.name> by default.
      output: a new folder.
      licence: of the weights, such as 'apache-2.0', for the model card.
      name: 'owner/name' that it will have on the hub, for the card's example.

    Raises:
      UsageError: there is no such run, or it cannot be released.
    """
    if not output:
        raise UsageError("release needs --output=<a new folder>.")
    where = workdir.default(path, config)
    assembly.check(config, where)
    kind = config.eval.checkpoint
    with files.new_folder(os.path.expanduser(output)) as folder:
        hub.write(folder, where, checkpoint=kind, licence=licence, name=name)
    progress.say(
        f"Written: {output}. mtl_jax.load({str(output)!r}) loads it; read its README.md, then "
        f"mtl_jax.load({str(output)!r}).push_to_hub('<owner>/<name>') uploads it."
    )
