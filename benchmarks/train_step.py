"""What one training step costs: any config, any shape, on made-up batches, without TensorFlow.

    python -m benchmarks.train_step --config=configs/branched.py:miniscapes --size=128x256
    python -m benchmarks.train_step --config=configs/branched.py:miniscapes --size=256x512 \
        --batch_sizes=8,16,32,64 --config.model.dtype=bfloat16
    python -m benchmarks.train_step --all

prints one Markdown table with a row per batch size, or for `--all` per config and batch size, each
config as its embedded default and in a process of its own. The step is the one that training takes:
with the config's optimizer, asynchronous or not, its micro-batches and its frozen parts.

* compile: tracing, lowering and compiling, without any cache;
* step: the median of `--steps` steps, each waited for; images/s follows from it;
* memory: what the compiler plans (arguments, outputs and temporaries), and the largest use seen,
  of the device where it reports that and of the whole process otherwise;
* operations: by XLA's cost analysis of the step as a GPU would be given it. A multiply-add is two,
  and a convolution's positions outside the image are not counted, so the number is the same
  whatever form a platform computes a convolution in;
* rate, and its share of the rate of a matrix product in the same compute type, measured between the
  steps. float32 products use whatever precision JAX gives them by default, TF32 on recent GPUs.
"""

import pathlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from benchmarks import _tables
from input_pipeline import labels
from mtl_jax import look_ahead, optimizers, parallel, system, training

_CONFIG = config_flags.DEFINE_config_file("config", None, "configs/<name>.py[:protocol]")
_BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["4"], "Images per step; a row each.")
_SIZE = flags.DEFINE_string("size", "128x256", "Height x width of the images.")
_ALL = flags.DEFINE_bool("all", False, "Every config of configs/, one after the other.")
_HEADER = flags.DEFINE_bool("header", True, "Whether to say what is measured, and where.")
_STEPS = flags.DEFINE_integer("steps", 10, "Steps to take the median of.")


def label_specs(tasks) -> dict[str, dict]:
    """A spec of every key that a task could ask for, as `LabelSpec.as_dict()`."""

    def classes(key: str, count: int) -> labels.LabelSpec:
        """As many as a task of that key says, otherwise `count`; the evaluated ones first."""
        names: list[str] = []
        for name, task in tasks.items():
            if (task.get("key") or name) == key:
                count = task.get("num_classes") or count
                names = list(task.get("evaluated_classes") or ())
        names += [f"class {i}" for i in range(len(names), count)]
        return labels.classes(names, ((0, 0, 0),) * len(names))

    semantics = classes("semseg", 19)
    others = {  # what goes by a name of the config's own
        key: labels.saliency() if task.type == "saliency" else classes(key, 19)
        for name, task in tasks.items()
        if (key := task.get("key") or name) and task.type in ("segmentation", "saliency")
    }
    specs = {
        **others,
        "image": labels.image(),
        "semseg": semantics,
        "parts": classes("parts", 7),
        "depth": labels.depth((1.0, 100.0), mean=20.0, stddev=15.0),
        "instance": labels.instances(semantics.class_names),
        "normals": labels.normals(),
        "edge": labels.edges(),
    }
    return {key: spec.as_dict() for key, spec in specs.items()}


def made_up_batch(specs: dict[str, dict], batch_size: int, size: tuple[int, int]):
    """Every key of `specs` and `valid`, at random."""
    rng = np.random.default_rng(0)
    shape = (batch_size, *size)
    batch = {"valid": np.ones(batch_size, bool)}
    for key, spec in specs.items():
        if key == "image":
            value = rng.integers(0, 256, (*shape, 3))
        elif spec["class_names"]:
            value = rng.integers(0, len(spec["class_names"]), shape)
        elif spec["channels"]:
            value = rng.standard_normal((*shape, spec["channels"]))
            value /= np.linalg.norm(value, axis=-1, keepdims=True)
        elif spec["valid_range"]:
            value = rng.uniform(*spec["valid_range"], shape)
        else:  # ids
            value = rng.integers(0, 20, shape)
        batch[key] = value.astype(spec["dtype"])
    return batch


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call, waited for."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


class MatrixProduct:
    """A square matrix product on one device, as fast as XLA makes it."""

    def __init__(self, dtype):
        """Compiles and warms up."""
        on_cpu = jax.default_backend() == "cpu"
        # A GPU is asked for several at once, so that it does not wait to be asked.
        self._size, self._times = (2048, 1) if on_cpu else (8192, 8)
        # At random, as a GPU takes less power, and is faster, where all numbers are alike.
        matrix = jax.random.normal(jax.random.key(0), (self._size, self._size), dtype)
        product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()
        self._run = lambda: [product(matrix, matrix) for _ in range(self._times)]
        seconds(self._run)

    def rate(self) -> float:
        """Operations per second, now."""
        return 2 * self._times * self._size**3 / seconds(self._run)


def peak_bytes() -> int:
    """The largest memory use so far, of the device or else of this process."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def make_step(config, batch_size: int, mesh: jax.sharding.Mesh):
    """(system, optimizer, train step) of a config, nothing of it compiled; see `prepare`."""
    config = config.copy_and_resolve_references()
    config.train.batch_size = batch_size  # what asynchronous updates are checked against
    accumulate = config.train.accumulate
    parallel.check_batch_size(batch_size, mesh, key="--batch_sizes", accumulate=accumulate)
    parts = system.build(config, label_specs(config.tasks))
    epoch = {"steps_per_epoch": 100, "total_steps": 1000}
    optimizer, schedule = optimizers.build(
        config,
        **epoch,
        labelled_per_epoch=dict.fromkeys([optimizers.COMMON, *parts.tasks], 100 * batch_size),
        frozen=parts.freezing.mask if parts.freezing else None,
    )
    step = training.make_train_step(
        parts,
        optimizer,
        schedule,
        seed=0,
        steps_per_epoch=epoch["steps_per_epoch"],
        mesh=mesh,
        accumulate=accumulate,
    )
    return parts, optimizer, step


class Prepared(NamedTuple):
    """A train step, and what it is given: (state, batch) ─► (state, logs)."""

    step: Any
    state: Any
    batch: Any
    mesh: Any


def prepare(
    config, batch_size: int, size: tuple[int, int], mesh: jax.sharding.Mesh | None = None
) -> Prepared:
    """The train step of a config on a made-up batch, not yet compiled.

    Args:
      config: complete.
      batch_size: images in a step; so many again are beside them for a weighting that needs those.
      size: (H, W) of the images.
      mesh: of all devices by default.
    """
    mesh = mesh or parallel.make_mesh()
    parts, optimizer, step = make_step(config, batch_size, mesh)
    state = training.create_state(parts, optimizer, seed=0, image_shape=size, mesh=mesh)
    used = {"image", "valid", *(task.key for task in parts.tasks.values())}
    specs = label_specs(config.tasks)
    batch = made_up_batch({k: v for k, v in specs.items() if k in used}, batch_size, size)
    if parts.weighting.needs_held_out:
        batch = look_ahead.beside(batch, batch)
    return Prepared(step, state, parallel.put_batch(mesh, batch), mesh)


def operations(config, batch_size: int, prepared: Prepared) -> float:
    """Of the step of `prepare`, by XLA's cost analysis of it as a GPU would be given it.

    What is not compiled is analysed for devices of XLA's own alone, so not for a GPU, whose part of
    JAX is a plug-in: the step is traced once more as one of the CPU's, which stays unused.
    """
    cpu = parallel.make_mesh(jax.devices("cpu")[:1])
    _, _, step = make_step(config, batch_size, cpu)
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (prepared.state, prepared.batch)
    )
    with jax.default_device(cpu.devices.flat[0]):  # of a kernel of cuDNN's nothing is counted
        return step.trace(*like).lower(lowering_platforms=("cuda",)).cost_analysis()["flops"]


def measure(config, batch_size: int, size: tuple[int, int], steps: int) -> dict[str, float]:
    """One row of the table, by its columns' names."""
    prepared = prepare(config, batch_size, size)
    step, state, batch, mesh = prepared
    start = time.perf_counter()
    compiled = step.lower(state, batch).compile()
    compile_s = time.perf_counter() - start
    needed = operations(config, batch_size, prepared)
    plan = compiled.memory_analysis()

    product = MatrixProduct(config.model.dtype)
    times, rates = [], []
    for k in range(steps + 2):
        start = time.perf_counter()
        state, logs = compiled(state, batch)
        jax.block_until_ready(state)
        if k >= 2:  # the first ones touch memory for the first time
            times.append(time.perf_counter() - start)
            rates.append(product.rate())
    if not np.isfinite(logs["total"]):
        raise FloatingPointError(f"The loss is {logs['total']}; its speed says nothing.")
    step_s = statistics.median(times)
    rate = needed / step_s
    product_rate = statistics.median(rates) * mesh.size
    planned = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params["model"]))
    return {
        "config": config.name,
        "parameters": parameters,
        "batch": batch_size,
        "compile s": compile_s,
        "step ms": 1e3 * step_s,
        "images/s": batch_size / step_s,
        "planned GiB": (planned - plan.alias_size_in_bytes) / 2**30,
        "peak GiB": peak_bytes() / 2**30,
        "Gop/step": needed / 1e9,
        "Gop/s": rate / 1e9,
        "product Gop/s": product_rate / 1e9,
        "share %": 100 * rate / product_rate,
    }


def measure_all() -> None:
    """A row for each config file, measured in a process of its own: peak memory is a process's."""
    files = sorted(pathlib.Path("configs").glob("*.py"))
    names = [file.stem for file in files if "def get_config(protocol: str =" in file.read_text()]
    for number, name in enumerate(names):
        command = [sys.executable, "-m", "benchmarks.train_step", f"--config=configs/{name}.py"]
        command += [f"--batch_sizes={','.join(_BATCH_SIZES.value)}", f"--size={_SIZE.value}"]
        command += [f"--steps={_STEPS.value}", f"--header={number == 0}"]
        subprocess.run(command, check=True)


def main(argv: list[str]) -> None:
    """Prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}.")
    if _ALL.value == bool(_CONFIG.value):
        raise app.UsageError("Give either --config or --all.")
    if _ALL.value:
        measure_all()
        return
    logging.set_verbosity(logging.WARNING)  # JAX tells which platforms there are not
    jax.config.update("jax_enable_compilation_cache", False)
    height, width = (int(n) for n in _SIZE.value.split("x"))
    config = _CONFIG.value
    device = jax.devices()[0]
    if _HEADER.value:
        asynchronous = "asynchronous " if config.optimizer.images_per_update else ""
        optimizer = f"{asynchronous}{config.optimizer.name}"
        print(f"{height}×{width}, {config.model.dtype}, {optimizer}, ", end="")
        print(f"{jax.device_count()} × {device.device_kind} ({device.platform}), ", end="")
        print(f"JAX {jax.__version__}\n")
    for number, batch_size in enumerate(_BATCH_SIZES.value):
        try:
            row = measure(config, int(batch_size), (height, width), _STEPS.value)
        except ValueError as error:  # the config asks for what this batch size cannot give
            raise app.UsageError(str(error)) from error
        *header, line = _tables.markdown([row])
        print("\n".join([*header, line] if number == 0 and _HEADER.value else [line]), flush=True)


if __name__ == "__main__":
    app.run(main)
