"""Starting from weights that exist already: of another run of ours, or published ones."""

import contextlib
import math
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax import _discovery, architectures, checkpoints, encoders, optimizers
from mtl_jax.tasks import Task
from mtl_jax.train_state import TrainState
from mtl_jax.weights import published, released
from mtl_jax.weights._replacing import with_arrays
from mtl_jax.weights.published import PretrainedError

SCOPES = ("encoder", "all")


def load(
    state: TrainState,
    config: Any,
    *,
    report: Callable[[str], None],
    tasks: Mapping[str, Task] = types.MappingProxyType({}),
    source_tasks: Callable[[Path], Mapping[str, Task]] | None = None,
) -> TrainState:
    """Replaces a fresh state's weights by existing ones.

    Args:
      state: before the first step.
      config: `config.model`. `pretrained` is the path of a work directory, whose best checkpoint
        is taken; or of a `.pth`, `.safetensors` or `.npz` file named as the encoder's are; or the
        name of published weights: 'resnet34' or 'timm/resnet34.tv_in1k', fetched on first use, or
        'efficientnet_lite0', which a package has. Of a name
        that is a path too, the path is taken. `pretrained_scope` is 'encoder' or 'all'. With 'all',
        a work directory's tasks may differ in their number of outputs or be absent on either side,
        and published classifiers go where the architecture has a place for them.
      report: called with what was loaded and what was not, and why.
      tasks: of this run, in the order of the network's outputs.
      source_tasks: a work directory ─► the tasks of its run, likewise. The layers of a task are
        loaded if the other run has a task of that name that means the same; equal shapes do not
        make equal tasks. None compares shapes alone.

    Raises:
      CheckpointError: the work directory has no whole checkpoint.
      PretrainedError: the scope is unknown, the file is damaged or not to be had, or an array that
        has to match does not.
    """
    if config.pretrained_scope not in SCOPES:
        raise PretrainedError(
            f"config.model.pretrained_scope={config.pretrained_scope!r}; expected one of "
            f"{', '.join(SCOPES)}."
        )
    leaves = jax.tree_util.tree_leaves_with_path(state.variables)
    wanted = {_name(path): value for path, value in leaves}
    path = Path(config.pretrained).expanduser()
    if is_released(config):
        found, module = published.read(path), _architecture_module(config)
        new, kept = released.arrays(wanted, found, module, tuple(tasks), report), {}
        report(f"Loaded all {len(new)} arrays from {path}.")
    elif path.is_file() or published.is_meant(config.pretrained):
        new, kept = _from_published(wanted, path, config, report)
    else:
        theirs = source_tasks(path) if source_tasks and path.is_dir() else None
        new, kept = _from_workdir(wanted, path, config, report, tasks, theirs)
    for reason, names in kept.items():
        if names:
            report(f"  {len(names)} keep their initial value, {reason}: {_some(names)}")
    return with_arrays(state, new, _name)


def is_released(config: Any) -> bool:
    """Whether a run starts from a whole network as its authors released it, with all its tasks.

    Args:
      config: `config.model`.
    """
    if config.pretrained_scope != "all" or not Path(config.pretrained).expanduser().is_file():
        return False
    return hasattr(_architecture_module(config), "RELEASED")


def _from_workdir(
    wanted: dict[str, Any],
    path: Path,
    config: Any,
    report: Callable[[str], None],
    tasks: Mapping[str, Task],
    source_tasks: Mapping[str, Task] | None,
) -> tuple[dict, dict]:
    """({name: array to load}, {reason: names that keep their initial value})."""
    if not path.is_dir():
        raise PretrainedError(
            f"config.model.pretrained={config.pretrained!r}: there is no such work directory or "
            f"file, and published weights are named {', '.join(published.sources())} or "
            "timm/<name>."
        )
    source, _ = checkpoints.read_variables(path / "checkpoints", "best")
    found = {_name(path): value for path, value in jax.tree_util.tree_leaves_with_path(source)}
    for name in wanted:  # each of several encoders may start from another run's only one
        collection, top, *rest = name.split("/")
        alone = "/".join([collection, "encoder", *rest])
        if name not in found and optimizers.is_encoder(top) and alone in found:
            found[name] = found[alone]
    outside, absent, outputs, meaning, wrong = [], [], [], [], []
    shared = _outputs_of_several(config)
    new = {}
    for name, value in wanted.items():
        in_encoder = _in_encoder(name)
        owner = optimizers.group_of(("model", *name.split("/")[1:]), tuple(tasks))
        if config.pretrained_scope == "encoder" and not in_encoder:
            outside.append(name)
        elif source_tasks is not None and name.startswith(shared) and name in found:
            new[name] = _by_task(value, found[name], tasks, source_tasks)
        elif source_tasks is not None and _means_another(value, owner, tasks, source_tasks):
            meaning.append(name)
        elif name not in found:
            (wrong if in_encoder else absent).append(name)
        elif found[name].shape == value.shape:
            new[name] = found[name]
        elif not in_encoder and found[name].shape[:-1] == value.shape[:-1]:
            outputs.append(name)
        else:
            wrong.append(name)
    if wrong or not new:
        raise PretrainedError(
            f"config.model.pretrained is of another model: {len(wrong)} arrays have no counterpart "
            f"of the same shape: {_some(wrong)}. Use the same config.model.encoder (and, for "
            "pretrained_scope='all', the same architecture)."
        )
    report(f"Loaded {len(new)} of {len(wanted)} arrays from {config.pretrained}.")
    return new, {
        "being outside the encoder": outside,
        "because the other run has no such task or layer": absent,
        "because the number of outputs differs": outputs,
        "because the other run's task of that name has other outputs": meaning,
    }


def _outputs_of_several(config: Any) -> tuple[str, ...]:
    """Beginnings of the names of layers whose output channels are those of several tasks."""
    module = _architecture_module(config)
    return tuple(f"params/{layer}/" for layer in getattr(module, "SHARED_OUTPUTS", ()))


def _architecture_module(config: Any) -> Any:
    return _discovery.load(architectures, config.architecture, key="config.model.architecture")


def _means_another(
    value: Any, owner: str, ours: Mapping[str, Task], theirs: Mapping[str, Task]
) -> bool:
    """Whether an array makes the outputs of a task that the other run has in another sense."""
    if owner not in ours or owner not in theirs or value.shape[-1] != ours[owner].channels:
        return False
    return _meaning(ours[owner]) != _meaning(theirs[owner])


def _meaning(task: Task) -> dict[str, Any]:
    """What a task's outputs stand for; range and normalisation may be adapted to other data."""
    told = task.describe()
    return {key: told.get(key) for key in ("kind", "unit", "class_names", "axes")}


def _by_task(
    value: Any, found: np.ndarray, ours: Mapping[str, Task], theirs: Mapping[str, Task]
) -> np.ndarray:
    """`found` with its last axis in the order of our tasks; what it lacks is as in `value`."""
    if value.shape[:-1] != found.shape[:-1]:
        raise PretrainedError(
            f"config.model.pretrained is of another model: the last layer is of shape "
            f"{found.shape}, expected {value.shape}."
        )
    starts, start = {}, 0
    for name, task in theirs.items():
        starts[name], start = start, start + task.channels
    result, start = np.array(value), 0
    for name, task in ours.items():
        if name in theirs and _meaning(task) == _meaning(theirs[name]):
            source = found[..., starts[name] : starts[name] + task.channels]
            result[..., start : start + task.channels] = source
        start += task.channels
    return result


def _from_published(wanted: dict[str, Any], path: Path, config: Any, report) -> tuple[dict, dict]:
    """({name: array to load}, {reason: names that keep their initial value})."""
    theirs = published.of_encoder(config)
    if path.is_file():
        published.check_name(path)
    else:
        published.check(config)  # before anything is fetched
        path = published.fetch(config.pretrained, report)
    with _possible(path):
        found = dict(theirs.translate(published.read(path)))
    outside, absent, wrong, resampled = [], [], [], []
    new, used = {}, set()
    for name, value in wanted.items():
        if config.pretrained_scope == "encoder" and not _in_encoder(name):
            outside.append(name)
            continue
        _, top, *rest = name.split("/")
        ours = "/".join(["encoder" if _in_encoder(name) else top, *rest])  # each of several
        source = theirs.name(ours)
        if source is None:
            absent.append(name)
            continue
        used.add(source)
        array, leaf = found.get(source), rest[-1]
        if array is not None:
            shape = array.shape
            with _possible(path):
                array = theirs.adapt(ours, array, value.shape, config.encoder)
            if array.shape != shape:
                resampled.append(f"{source} {shape} ─► {array.shape}")
        problem = _difference(array, leaf, value.shape)
        if problem:
            wrong.append(f"{source}: {problem}")
        else:
            new[name] = _from_torch(array, leaf, value.shape)
    buffers = [name for name in found if name.endswith(theirs.buffers)]
    dropped = [name for name in found if name.startswith(theirs.unused)]
    dropped = [name for name in dropped if name not in used and name not in buffers]
    surplus = found.keys() - used - set(buffers) - set(dropped)
    wrong += [f"{name}: in the file only, {found[name].shape}" for name in sorted(surplus)]
    if wrong or not new:
        raise PretrainedError(_mismatch(path, config, theirs, wrong, theirs.describe(found)))
    report(f"Loaded {len(new)} of {len(wanted)} arrays from {path}.")
    if resampled:
        report(f"  {len(resampled)} are resampled: {_some(resampled)}")
    if dropped:
        told = f"{len(dropped)} of the file are not used, there is no place for them"
        report(f"  {told}: {_some(dropped)}")
    if buffers:
        report(f"  {len(buffers)} of the file are not used, not learned: {_some(buffers)}")
    return new, {
        "being outside the encoder": outside,
        "because the published network has no such layer": absent,
    }


@contextlib.contextmanager
def _possible(path: Path) -> Iterator[None]:
    """Names may be right where shapes are none of such a network, as of arrays without numbers."""
    try:
        yield
    except (ValueError, IndexError, TypeError) as error:
        if isinstance(error, PretrainedError):
            raise
        raise PretrainedError(
            f"{path} is damaged, or of no network of this kind: an array has a shape that cannot "
            f"be ({error})."
        ) from error


def _difference(found: np.ndarray | None, leaf: str, shape: tuple[int, ...]) -> str:
    """What is wrong with a published array for a parameter of ours; '' if nothing is."""
    expected = [shape]
    if leaf == "kernel":
        *window, inputs, outputs = shape
        # A fully connected layer whose weight becomes a convolution's has no window of its own.
        expected = [(outputs, inputs, *window), (outputs, inputs * math.prod(window))]
    if found is None:
        return f"not in the file, expected {expected[0]}"
    if found.shape not in expected:
        return f"expected {expected[0]}, found {found.shape}"
    if not jnp.issubdtype(found.dtype, jnp.floating):
        return f"expected real numbers, found {found.dtype}"
    return ""


def _from_torch(array: np.ndarray, leaf: str, shape: tuple[int, ...]) -> np.ndarray:
    """PyTorch's layout ─► ours: [o, i, h, w] or [o, i·h·w] ─► [h, w, i, o], in float32."""
    array = array.astype(np.float32)
    if leaf != "kernel":
        return array
    *window, inputs, outputs = shape
    return np.moveaxis(array.reshape(outputs, inputs, *window), (0, 1), (-1, -2))


def _mismatch(
    path: Path, config: Any, theirs: encoders.Published, wrong: list[str], described: str
) -> str:
    encoder = config.encoder
    message = f"{path} is not of the network that config.model.encoder describes ({encoder.name}"
    message += f", {theirs.size} {encoder[theirs.size]})" if theirs.size else ")"
    message += f"; {len(wrong)} arrays differ:\n  " + "\n  ".join(wrong[:5])
    message += "\n  ..." if len(wrong) > 5 else ""
    return "\n".join(filter(None, (message, described, published.other_options(config))))


def _in_encoder(name: str) -> bool:
    return optimizers.is_encoder(name.split("/")[1])


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
