"""Whole multi-task networks, and heads, from the files that their authors released.

The module of an architecture or head of which there are such files has `RELEASED`, {our layers:
what they are called there}. Both may have places for {task}, a task's name; {index}, its position
among the tasks; numbers {n}, {m}, {b}; and the {rest} of a name. `TRANSPOSED` are the layers that
are transposed convolutions, `UNUSED` how names begin of what some files have and their authors'
code reads as little as ours.

Files of whole networks are the user's: none is fetched, as their licences are unclear or forbid
commercial use.
"""

import dataclasses
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mtl_jax import encoders
from mtl_jax.weights.published import PretrainedError

PREFIX = "module."  # what training on several GPUs puts before every name
_COUNTER = ".num_batches_tracked"  # of BatchNorm; nothing reads it


def arrays(
    wanted: Mapping[str, Any],
    found: Mapping[str, np.ndarray],
    architecture: types.ModuleType,
    tasks: Sequence[str],
    report: Callable[[str], None],
) -> dict[str, np.ndarray]:
    """What a released file has for every array of a network.

    Args:
      wanted: {'params/head_semseg/kernel': array or shape}, all of ours.
      found: the file's, by its names.
      architecture: the module, with `RELEASED`.
      tasks: of this run, in their order.
      report: called with what of the file is not used.

    Raises:
      PretrainedError: an array is missing, of another shape, or in the file only.
    """
    transposed = getattr(architecture, "TRANSPOSED", ())
    unused = tuple(getattr(architecture, "UNUSED", ()))
    plain = {name.removeprefix(PREFIX): array for name, array in found.items()}
    dropped = [name for name in plain if name.startswith(unused)]
    plain = {name: array for name, array in plain.items() if not name.startswith(unused)}
    matched = match(wanted, plain, architecture.RELEASED, transposed, tasks)
    if matched.wrong:
        raise PretrainedError(
            "The file is not of the network that config.model describes, with the tasks "
            f"{', '.join(tasks)}; {matched.differences}"
        )
    if matched.counters:
        report(f"  {matched.counters} of the file are not used, batch counters of BatchNorm")
    if dropped:
        report(f"  {len(dropped)} of the file are not used, nor by its authors: {dropped[0]}, ...")
    return matched.arrays


@dataclasses.dataclass(frozen=True)
class Match:
    """What a file has for us.

    Attributes:
      arrays: {our name: array}.
      wrong: a line for each array that is missing, of another shape, or in the file only.
      counters: how many numbers of batches the file has, which nothing reads.
    """

    arrays: dict[str, np.ndarray]
    wrong: list[str]
    counters: int

    @property
    def differences(self) -> str:
        """How many are wrong, and the first of them."""
        more = f"\n  ... and {len(self.wrong) - 5} more" if len(self.wrong) > 5 else ""
        return f"{len(self.wrong)} arrays differ:\n  " + "\n  ".join(self.wrong[:5]) + more


def match(
    wanted: Mapping[str, Any],
    found: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    transposed: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> Match:
    """Compares every array of ours with a file's, both ways.

    Args:
      wanted, found, tasks: as of `arrays`.
      names: `RELEASED`.
      transposed: `TRANSPOSED`.
    """
    found = {name.removeprefix(PREFIX): array for name, array in found.items()}
    table = _Table(names, tasks)
    new, used, wrong = {}, set(), []
    for name, value in wanted.items():
        _, *layer, leaf = name.split("/")
        layer = "/".join(layer)
        their = f"{table.name(layer)}.{encoders.PYTORCH_LEAVES.get(leaf, leaf)}"
        used.add(their)
        array = found.get(their)
        ours = None
        if array is not None:
            ours = _ours(np.asarray(array), leaf, len(value.shape), layer in transposed)
        if ours is None or ours.shape != value.shape:
            has = "nothing" if array is None else f"{array.dtype} {array.shape}"
            wrong.append(f"{their}: for {value.shape}, found {has}")
        else:
            new[name] = ours
    counters = [name for name in found if name.endswith(_COUNTER)]
    surplus = sorted(found.keys() - used - set(counters))
    wrong += [f"{name}: in the file only, {found[name].shape}" for name in surplus]
    return Match(new, wrong, len(counters))


class _Table:
    """`RELEASED` of an architecture, for certain tasks."""

    def __init__(self, table: Mapping[str, str], tasks: Sequence[str]):
        self._tasks = list(tasks)
        places = {
            "task": "|".join(map(re.escape, sorted(tasks, key=len, reverse=True))),
            "rest": ".+",
        } | dict.fromkeys("nmb", r"\d+")
        self._patterns = []
        for ours, theirs in table.items():
            pattern = re.escape(ours)
            for place, fitting in places.items():
                pattern = pattern.replace(rf"\{{{place}\}}", f"(?P<{place}>{fitting})")
            self._patterns.append((re.compile(pattern), theirs))

    def name(self, layer: str) -> str:
        """What a layer of ours is called there.

        Raises:
          KeyError: no line of the table says.
        """
        for pattern, theirs in self._patterns:
            if match := pattern.fullmatch(layer):
                parts = match.groupdict()
                if "rest" in parts:
                    parts["rest"] = parts["rest"].replace("/", ".")
                if "task" in parts:
                    parts["index"] = str(self._tasks.index(parts["task"]))
                return theirs.format(**parts)
        raise KeyError(f"RELEASED has no line for {layer!r}.")


def _ours(array: np.ndarray, leaf: str, rank: int, transposed: bool) -> np.ndarray | None:
    """PyTorch's layout ─► ours, in float32; None if that cannot be."""
    if not jnp.issubdtype(array.dtype, jnp.number):
        return None
    array = array.astype(np.float32)
    if leaf != "kernel":
        return array
    if array.ndim == 4 and rank == 4:
        return array.transpose(2, 3, 0, 1) if transposed else array.transpose(2, 3, 1, 0)
    if array.ndim == 4 and array.shape[2:] == (1, 1):
        array = array[:, :, 0, 0]
    return array.T if array.ndim == 2 and rank == 2 else None
