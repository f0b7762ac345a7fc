"""What every weighting costs: seconds per step and memory, beside `fixed` in the same run.

    python -m benchmarks.weightings_cost --config=configs/branched.py --size=96x192 --batch_size=8
    python -m benchmarks.weightings_cost --config=configs/branched.py:miniscapes --tasks=2,3,5 \
        --methods=fixed,famo,nash_mtl,nash_mtl+representation

trains the config's network on made-up batches with 2, 3 and 5 tasks and prints one Markdown table.
A method with `+representation` takes its gradients at the features where the network's shared part
ends. `fixed` is measured before and after all others: where the two differ by as much as a method
from it, the machine was not quiet and the table says nothing.

* step: the median of `--steps` steps after two, each waited for;
* planned: memory of arguments, outputs and temporaries, as the compiler plans it;
* peak: the largest use seen on the device, if it says so; of a whole process that grows from row to
  row it would say nothing.
"""

import statistics
import time

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict

from benchmarks import train_step
from mtl_jax import optimizers, options, parallel, system, training, weightings

_METHODS = flags.DEFINE_list("methods", [], "Which; by default all, and all +representation.")
_TASKS = flags.DEFINE_list("tasks", ["2", "3", "5"], "Numbers of tasks.")
_BATCH = flags.DEFINE_integer("batch_size", 4, "Images per step.")
# The first K of them.
TASKS = {
    "semseg": "segmentation",
    "depth": "depth",
    "normals": "normals",
    "parts": "segmentation",
    "instance": "instances",
}
REPRESENTATION = "+representation"


def methods(chosen: list[str]) -> list[str]:
    """`fixed`, what is asked for, and `fixed` again."""
    every = weightings.names()
    offering = [n for n in every if "representation" in weightings.declared(n)]
    found = chosen or [*every, *(name + REPRESENTATION for name in offering)]
    return ["fixed", *(name for name in found if name != "fixed"), "fixed"]


def variant(config: ConfigDict, name: str, count: int) -> ConfigDict:
    """The config with so many tasks and that weighting, all else being equal."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.tasks = ConfigDict({n: {"type": TASKS[n]} for n in list(TASKS)[:count]})
        config.task_order = tuple(config.tasks)
        config.weighting = ConfigDict({"name": name.removesuffix(REPRESENTATION)})
        if name.endswith(REPRESENTATION):
            config.weighting.representation = True
    options.fill(config)
    return config


def measure(config: ConfigDict, batch_size: int, size: tuple[int, int], steps: int) -> dict:
    """{'step ms', 'planned GiB', 'peak GiB'}; the last is None where the device does not say."""
    specs = train_step.label_specs(config.tasks)
    parts = system.build(config, specs)
    mesh = parallel.make_mesh()
    optimizer, schedule = optimizers.build(
        config,
        steps_per_epoch=100,
        total_steps=1000,
        labelled_per_epoch=dict.fromkeys([optimizers.COMMON, *parts.tasks], 100 * batch_size),
    )
    state = training.create_state(parts, optimizer, seed=0, image_shape=size, mesh=mesh)
    used = {"image", "valid", *(task.key for task in parts.tasks.values())}
    specs = {key: spec for key, spec in specs.items() if key in used}
    batch = parallel.put_batch(mesh, train_step.made_up_batch(specs, batch_size, size))
    step = training.make_train_step(
        parts, optimizer, schedule, seed=0, steps_per_epoch=100, mesh=mesh
    )
    compiled = step.lower(state, batch).compile()
    plan = compiled.memory_analysis()
    planned = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    times = []
    for k in range(steps + 2):
        start = time.perf_counter()
        state, _ = compiled(state, batch)
        jax.block_until_ready(state)
        if k >= 2:  # the first ones touch memory for the first time
            times.append(time.perf_counter() - start)
    stats = jax.local_devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return {
        "step ms": 1e3 * statistics.median(times),
        "planned GiB": (planned - plan.alias_size_in_bytes) / 2**30,
        "peak GiB": None if peak is None else peak / 2**30,
    }


def main(argv: list[str]) -> None:
    """Prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}.")
    logging.set_verbosity(logging.WARNING)
    jax.config.update("jax_enable_compilation_cache", False)
    height, width = (int(n) for n in flags.FLAGS.size.split("x"))
    device = jax.devices()[0]
    config = flags.FLAGS.config
    print(
        f"{config.name}, {height}×{width}, batch {_BATCH.value}, {config.model.dtype}, "
        f"{jax.device_count()} × {device.device_kind} ({device.platform}), JAX {jax.__version__}\n"
    )
    print("| tasks | weighting | step ms | × fixed | planned GiB | × fixed | peak GiB |")
    print(f"|{'---|' * 7}")
    for count in map(int, _TASKS.value):
        fixed = None
        for name in methods(_METHODS.value):
            found = measure(
                variant(config, name, count), _BATCH.value, (height, width), flags.FLAGS.steps
            )
            fixed = fixed or found
            peak = "–" if found["peak GiB"] is None else f"{found['peak GiB']:.2f}"
            print(
                f"| {count} | {name} | {found['step ms']:.1f} | "
                f"{found['step ms'] / fixed['step ms']:.2f} | {found['planned GiB']:.2f} | "
                f"{found['planned GiB'] / fixed['planned GiB']:.2f} | {peak} |",
                flush=True,
            )


if __name__ == "__main__":
    app.run(main)
