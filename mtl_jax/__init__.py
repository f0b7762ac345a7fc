"""Multi-task dense prediction in JAX and Flax. Importing this package loads none of its parts.

import mtl_jax

mtl_jax.train("branched", "runs/branched_streets")
model = mtl_jax.load("runs/branched_streets")
maps = model.predict("photo.jpg")
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from mtl_jax.prediction.model import Model

__version__ = "0.2.0"


def train(
    config: "str | os.PathLike | ConfigDict", workdir: str | os.PathLike | None = None
) -> dict[str, Any]:
    """Trains, or goes on with, a run.

    Args:
      config: a config, or what `--config=` takes: a name such as 'branched:kitti', or a file.
      workdir: where the run is kept; runs/<config.name> by default.

    Returns:
      What its results.json holds.

    Raises:
      UsageError: the config or the work directory cannot be used so; see `commands.train.run`.
    """
    from mtl_jax.commands import config as configuration
    from mtl_jax.commands import setup
    from mtl_jax.commands import train as command

    setup.compiler()
    if isinstance(config, str | os.PathLike):
        config = configuration.load(config)
    return command.run(configuration.checked(config, "mtl_jax.train"), workdir)


def load(path: str | os.PathLike, **options: Any) -> "Model":
    """The model of a run that has been trained, ready to predict.

    Args:
      path: its work directory; or a folder that `mtl release` wrote; or the name of one on the
        Hugging Face hub, 'owner/name', for which there is the extra `hub`.
      **options: see `prediction.model.load`.

    Raises:
      UsageError: there is no such run, or what is there cannot be used.
    """
    from mtl_jax.commands import setup
    from mtl_jax.prediction import model

    setup.compiler()
    return model.load(path, **options)
