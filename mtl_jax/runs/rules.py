"""What may differ between two starts of one run, and between a run and what is done with it later.

A key is judged by what reads it. What only evaluation, logging, drawing or saving reads changes no
number of the training and may differ when a run goes on; so may its length, where the learning rate
of a step does not depend on it. Configs are compared when they are complete: `options.of_saved`
gives an older one the defaults of what is newer, and drops what only older versions had.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from mtl_jax.runs.files import flatten

# Where to find the data, who makes batches of them, how much to say, what to draw and to write: no
# result depends on it.
SAME_RESULTS = (
    "data.data_dir",
    "data.manual_dir",
    "data.workers",
    "train.log_every",
    "train.profile",
    "train.trackers",
    "train.checkpoint_every_steps",
    "eval.batch_size",
    "eval.images",
    "eval.worst_images",
    "eval.checkpoint",
    "eval.save_predictions",
    "eval.delta_metrics",
    "predict.",
)
# Its name, and when and how it is evaluated: what results say depends on it, not what is learned.
RESUME = (*SAME_RESULTS, "name", "eval.", "train.eval_every_epochs")
# The length of a run, where no learning rate depends on it.
LENGTH = ("train.epochs", "train.max_steps")
# What is done with a trained model: how it was trained is on record.
USE = (*RESUME, "optimizer.", "schedule.", "train.")

# Two evaluations can be compared if all of these are the same, and the split.
_EVALUATED_WITH = (
    "data.dataset",
    "data.mixture",
    "data.edges.",
    "eval.image_size",
    "eval.crop_multiple",
    "eval.tta",
)
# These too, but where they are as in versions that had no such key nothing is said of them.
_EVALUATED_WITH_SINCE = {
    "eval.resize": [0, 0],
    "eval.resize_back": False,
    "eval.padding": "black",
}


def differences(
    saved: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    may_differ: Iterable[str],
) -> list[str]:
    """Lines about the keys of two configs that differ and may not.

    None says nothing, like a key that is absent.

    Args:
      saved: the config in the directory, as plain JSON values.
      given: the config that is asked for, likewise.
      may_differ: keys, or sections with a dot at their end.
    """
    before, now = flatten(saved), flatten(given)
    lines = []
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key) and not key.startswith(tuple(may_differ)):
            lines.append(
                f"  {key}: {_shown(before, key)} in the directory, {_shown(now, key)} asked for"
            )
    return lines


def what_differs(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """{run: {dotted key: value}} of the keys that are not the same in all; a name is no key.

    Args:
      configs: {run: its config as plain JSON values}.
    """
    flat = {name: flatten(config) for name, config in configs.items()}
    keys = dict.fromkeys(key for values in flat.values() for key in values)
    first = next(iter(flat.values()), {})
    different = [
        key
        for key in keys
        if key != "name" and any(values.get(key) != first.get(key) for values in flat.values())
    ]
    return {
        name: {key: values[key] for key in different if key in values}
        for name, values in flat.items()
    }


def evaluated_with(config: Mapping[str, Any]) -> dict[str, Any]:
    """How a run evaluates: {key: value} of all that changes metrics but the model and the split.

    Args:
      config: the run's config as plain JSON values.
    """
    flat = flatten(config)
    found = {key: value for key, value in flat.items() if key.startswith(_EVALUATED_WITH)}
    for key, usual in _EVALUATED_WITH_SINCE.items():
        if flat.get(key, usual) != usual:
            found[key] = flat[key]
    return found


def evaluated_differently(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Lines about what keeps two evaluations from being compared; none if nothing does.

    Args:
      there: {key: value} that one was made with, see `evaluated_with`.
      here: likewise, of the other.
    """
    both = [{**_EVALUATED_WITH_SINCE, **found} for found in (there, here)]
    return [
        f"  {key}: {both[0].get(key)} there, {both[1].get(key)} here"
        for key in dict.fromkeys([*here, *there])
        if both[0].get(key) != both[1].get(key)
    ]


def is_key(line: str, keys: Iterable[str]) -> bool:
    """Whether a line of `differences` is about one of `keys`."""
    return line.strip().startswith(tuple(f"{key}:" for key in keys))


def _shown(flat: Mapping[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else "absent"
