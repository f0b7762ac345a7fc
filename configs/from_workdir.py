"""The config that a run was started with: --config=from_workdir:runs/branched_streets.

The commands use it by themselves where --workdir is given and --config is not.
"""

from typing import Any

from ml_collections import ConfigDict

from mtl_jax.runs import files, workdir
from mtl_jax.runs.workdir import Workdir


def get_config(path: str) -> ConfigDict:
    """Reads <path>/config.json; keys that the run is older than have their defaults."""
    directory = workdir.Workdir(path)
    saved = files.from_json(directory.read_config())
    from mtl_jax import options  # only here: the parts that it asks for options import JAX

    _check_types(saved, options.defaults(), directory)
    return directory.complete_config()


def _check_types(config: dict[str, Any], defaults: dict[str, Any], directory: Workdir) -> None:
    """Raises WorkdirError if a key that every config has is of another type than its default."""
    flat, expected = files.flatten(config), files.flatten(defaults)
    sections = {key[:i] for key in expected for i in range(len(key)) if key[i] == "."}
    for key, value in flat.items():
        default = expected.get(key, value)
        same = type(value) is type(default) or (type(value), type(default)) == (int, float)
        if key in sections or not same:
            raise files.WorkdirError(
                f"{directory.config} cannot be read: {key!r} is {value!r}, expected "
                f"{'a section' if key in sections else f'the type of {default!r}'}. Restore it "
                "from a copy."
            )
