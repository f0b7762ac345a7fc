"""Exports a trained network as `jax.export` artifacts: image ─► final outputs, any batch size.

An artifact is StableHLO for CPU and CUDA that reads its weights as an argument, so one file of
weights serves all functions and no limit on the size of a message applies. docs/export.md tells
users what is in the folder and how to run it.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import export as jax_export

from mtl_jax import views as test_time_augmentation
from mtl_jax.errors import UsageError
from mtl_jax.runs import files
from mtl_jax.system import System
from mtl_jax.tasks import Task, postprocess_all

PLATFORMS = ("cpu", "cuda")
ARTIFACTS = "jax_export"
WEIGHTS = "weights.npz"
METADATA = "metadata.json"
MAX_PIXELS = 1 << 28  # of an image: 16384×16384, whose channels 32 bits still count
FORMAT = 1  # of metadata.json and of the files' names


@dataclasses.dataclass(frozen=True)
class Exportable:
    """What is exported: the functions of an image of one size that `predict` is made of.

    Sizes are static, as an interpolation is a matrix made for its sizes and a convolution is cut to
    what its taps see.

    Attributes:
      parts: model and normalisation.
      tasks: {name: Task} of the outputs.
      tta: the views that are merged.
      size: (H, W) of the images; any, see `System.predict`.
    """

    parts: System
    tasks: Mapping[str, Task]
    tta: test_time_augmentation.TestTimeAugmentation
    size: tuple[int, int]

    def __str__(self) -> str:
        return f"{', '.join(self.tasks)} of images of {self.size[0]}×{self.size[1]}"

    def maps(self, variables: dict[str, Any], image: jax.Array) -> dict[str, jax.Array]:
        """uint8 [B, H, W, 3] ─► {task: [B, H, W, ...]}: class ids, metres, unit normals, ids."""
        maps = postprocess_all(self.tasks, self.raw(variables, image))
        return {name: maps[name][name] for name in self.tasks}

    def raw(self, variables: dict[str, Any], image: jax.Array) -> dict[str, jax.Array]:
        """uint8 [B, H, W, 3] ─► {task: float32 [B, H, W, C]}: logits, or normalised values."""
        predictions = self.parts.predict(variables, image, self.tta)
        return {name: predictions[name] for name in self.tasks}


@dataclasses.dataclass(frozen=True)
class Exported:
    """A network without Flax.

    Attributes:
      functions: {'maps', 'raw': ({path: array}, uint8 [B, H, W, 3]) ─► {task: array}}, with any B.
      weights: {'params/encoder/conv1/kernel', ...: float32 array}, sorted, which is the order of
        the functions' flat arguments.
    """

    functions: dict[str, jax_export.Exported]
    weights: dict[str, np.ndarray]


def network(config: Any, parts: System, learned: Collection[str], size: str) -> Exportable:
    """The network of a run, with the tasks and the views that `predict` would have.

    Args:
      config: the whole config.
      parts: built from it.
      learned: names of the tasks that the run has learned, see `runs.learned`.
      size: '<height>x<width>' of the images; '' means `config.eval.image_size`.

    Raises:
      UsageError: the size is none, or nowhere to be found.
      ConfigError: `config.eval.tta` is impossible.
    """
    return Exportable(
        parts=parts,
        tasks=parts.trained_tasks(learned),
        tta=test_time_augmentation.build(config.eval.tta),
        size=_image_size(size, config.eval.image_size),
    )


def export(network: Exportable, variables: dict[str, Any]) -> Exported:
    """Lowers `network.maps` and `network.raw` for every platform and any batch size.

    Args:
      network: what to export.
      variables: of the model. Those on which no output depends, such as auxiliary heads, are left
        out.
    """
    weights = flatten(variables)
    names = list(weights)
    # Arguments that nothing depends on are found only where all shapes are known.
    *used, _ = lower(network.raw, weights, network.size, batch="1").module_kept_var_idx
    unused = {name: weights.pop(name) for i, name in enumerate(names) if i not in used}
    functions = {
        name: lower(call, weights, network.size, unused=unused)
        for name, call in (("maps", network.maps), ("raw", network.raw))
    }
    return Exported(functions, weights)


def flatten(variables: dict[str, Any]) -> dict[str, np.ndarray]:
    """{'params/encoder/conv1/kernel', ...: array} on the host, sorted."""
    flat = traverse_util.flatten_dict(jax.device_get(variables), sep="/")
    return {name: np.asarray(flat[name]) for name in sorted(flat)}


def lower(
    call: Callable[[dict[str, Any], jax.Array], dict[str, jax.Array]],
    weights: Mapping[str, np.ndarray],
    size: tuple[int, int],
    *,
    unused: Mapping[str, np.ndarray] | None = None,
    batch: str = "batch",
) -> jax_export.Exported:
    """Lowers a function of variables and an image for every platform.

    Args:
      call: (variables, uint8 [B, H, W, 3]) ─► {task: array}.
      weights: as of `flatten`, what the result takes in the place of the variables.
      size: (H, W).
      unused: what `call` asks for beside `weights` and no output depends on.
      batch: a number, or the name of one that is known only when the result is called.
    """

    def function(weights, image):
        absent = {name: jnp.zeros_like(value) for name, value in (unused or {}).items()}
        variables = traverse_util.unflatten_dict(absent | weights, sep="/")
        return call({"params": {}, "batch_stats": {}} | variables, image)

    shape = jax_export.symbolic_shape(f"{batch}, {size[0]}, {size[1]}, 3")
    # In the forms that all platforms have, and the same wherever it is exported.
    with jax.default_device(jax.devices("cpu")[0]):
        return jax_export.export(jax.jit(function), platforms=PLATFORMS)(
            {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in weights.items()},
            jax.ShapeDtypeStruct(shape, jnp.uint8),
        )


def write(folder: Path, network: Exportable, exported: Exported, about: Mapping[str, Any]) -> None:
    """Writes artifacts, weights and metadata.json.

    Args:
      folder: to write into.
      network: that was exported.
      exported: from `export`.
      about: JSON-able facts to add to the metadata, such as the step.
    """
    directory = folder / ARTIFACTS
    directory.mkdir()
    for name, function in exported.functions.items():
        (directory / f"{name}.bin").write_bytes(function.serialize())
    np.savez(directory / WEIGHTS, **exported.weights)
    files.write_json(folder / METADATA, describe(network, exported) | dict(about))


def describe(network: Exportable, exported: Exported) -> dict[str, Any]:
    """What metadata.json tells programs that know nothing of this project."""
    return {
        "format": FORMAT,
        "input": {
            "name": "image",
            "dtype": "uint8",
            "shape": ["batch", *network.size, 3],
            "channels": "RGB",
            "normalization": {  # inside the network: (image / 255 - mean) / std
                "mean": list(network.parts.image_mean),
                "std": list(network.parts.image_std),
            },
        },
        "maps": {
            name: {**array, **network.tasks[name].describe()}
            for name, array in _outputs(exported.functions["maps"]).items()
        },
        "raw": _outputs(exported.functions["raw"]),
        "test_time_augmentation": {
            "scales": list(network.tta.scales),
            "flip": network.tta.flip,
            "semantics": network.tta.semantics,
        },
        "platforms": list(PLATFORMS),
        "versions": {name: metadata.version(name) for name in ("jax", "jaxlib", "flax")},
    }


def _outputs(function: jax_export.Exported) -> dict[str, dict[str, Any]]:
    """{task: dtype and shape}."""
    avals = jax.tree.unflatten(function.out_tree, function.out_avals)
    return {
        name: {"dtype": str(aval.dtype), "shape": ["batch", *aval.shape[1:]]}
        for name, aval in avals.items()
    }


def _image_size(text: str, configured: Sequence[int]) -> tuple[int, int]:
    if not text and any(configured):
        return _possible(tuple(configured), f"config.eval.image_size={tuple(configured)}")
    if not text:
        raise UsageError(
            "--mode=export needs --size=<height>x<width>, the size of the images that the network "
            "will be given, for example --size=256x512: config.eval.image_size says none."
        )
    found = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text)
    if not found:
        raise UsageError(
            f"--size={text[:80]}; expected <height>x<width> in pixels, for example 256x512."
        )
    return _possible((int(found[1]), int(found[2])), f"--size={text}")


def _possible(size: tuple[int, ...], where: str) -> tuple[int, int]:
    """(H, W). Raises UsageError if no network could be given such an image."""
    if len(size) != 2 or min(size) < 1 or math.prod(size) > MAX_PIXELS:
        raise UsageError(
            f"{where}; expected a height and a width of 1 pixel or more, and at most {MAX_PIXELS} "
            "pixels in all, for example 256x512."
        )
    return int(size[0]), int(size[1])
