"""How well, and how fast, offsets are decoded to instances: centre voting against OPTICS.

    python -m benchmarks.instances --noise=0,1,2,4 --images=20
    python -m benchmarks.instances --workdir=runs/instances --images=20

decodes validation images with both decoders and prints one Markdown table: panoptic quality,
average precision and the median time per image. Without --workdir the offsets are exact but for
normally distributed noise, and the pixels of things are known; with it both are what the run
predicts. Times are of one image, without compiling, the offsets being where the decoder needs them.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline import datasets, pipeline
from mtl_jax import checkpoints, clustering, metrics, system
from mtl_jax.configs import from_workdir
from mtl_jax.runs import workdir
from mtl_jax.tasks.instances import Instances, centroid_offsets


def examples(builder, keys: list[str], count: int) -> Iterator[dict[str, np.ndarray]]:
    """The first `count` validation examples, as batches of one."""
    stream = pipeline.EvalStream(builder, split="validation", keys=keys, batch_size=1)
    for _, batch in zip(range(count), stream.batches()):
        yield batch


def noisy(ids: np.ndarray, stddev: float, seed: int) -> np.ndarray:
    """Exact offsets [1, H, W, 2] of instance ids [1, H, W], plus noise of so many pixels."""
    noise = np.random.default_rng(seed).normal(scale=stddev, size=(*ids.shape, 2))
    return (np.asarray(centroid_offsets(ids)) + noise).astype(np.float32)


def predicted(directory: str, count: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(ids, offsets, things) of the validation images of a run's data set.

    Raises:
      ValueError: no task of the run decodes instances.
    """
    config = from_workdir.get_config(directory)
    where = workdir.Workdir(Path(directory))
    parts = system.build(config, where.read_label_specs())
    task = next((t for t in parts.tasks.values() if isinstance(t, Instances)), None)
    if task is None:
        raise ValueError(
            f"{directory}: expected a task of type 'instances' with its option `semantics` set; "
            f"the tasks are {', '.join(parts.tasks)}."
        )
    variables, _ = checkpoints.read_variables(where.checkpoints, config.eval.checkpoint)
    predict = jax.jit(functools.partial(parts.predict, variables))
    builder = datasets.load(config.data.dataset, data_dir=config.data.data_dir)
    semantics = parts.tasks[task.needs[0]]
    for batch in examples(builder, ["image", task.key], count):
        predictions = predict(batch["image"])
        classes = semantics.postprocess(predictions[semantics.name])[semantics.name]
        things = np.isin(np.asarray(classes), task.class_ids)
        yield batch[task.key], np.asarray(predictions[task.name]), things


def vote(offsets: np.ndarray, things: np.ndarray) -> tuple[np.ndarray, float]:
    """Instance ids [1, H, W], and the seconds that they took."""
    on_device = jax.device_put((offsets, things))
    _compiled_vote(*on_device).block_until_ready()
    start = time.perf_counter()
    ids = _compiled_vote(*on_device).block_until_ready()
    return np.asarray(ids), time.perf_counter() - start


_compiled_vote = jax.jit(clustering.vote)


def optics(offsets: np.ndarray, things: np.ndarray) -> tuple[np.ndarray, float]:
    """Likewise."""
    start = time.perf_counter()
    ids = clustering.optics(offsets[0], things[0])
    return ids[None], time.perf_counter() - start


DECODERS: dict[str, Callable] = {"vote": vote, "OPTICS": optics}


def row(name: str, decoder: str, inputs) -> str:
    """One row of the table."""
    sums, seconds = [], []
    count = jax.jit(metrics.instance_sums)
    for ids, offsets, things in inputs:
        found, took = DECODERS[decoder](offsets, things)
        sums.append(jax.device_get(count(jnp.asarray(ids, jnp.int32), found, np.array([True]))))
        seconds.append(took)
    total = jax.tree.map(lambda *x: np.sum(np.float64(x), axis=0), *sums)
    quality = metrics.instance_metrics(total)
    numbers = " | ".join(f"{100 * quality[m]:.1f}" for m in ("pq", "sq", "rq", "ap50", "ap"))
    median = 1000 * statistics.median(seconds)
    return f"| {name} | {decoder} | {numbers} | {median:.3g} | {total['true']:.0f} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default="streets")
    parser.add_argument("--data_dir", default="")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--noise", default="0,1,2,4", help="standard deviations in pixels")
    parser.add_argument("--workdir", default="", help="a run whose predictions are decoded instead")
    parser.add_argument("--decoders", default="vote,OPTICS")
    flags = parser.parse_args()
    if flags.workdir:
        inputs = {flags.workdir: list(predicted(flags.workdir, flags.images))}
    else:
        builder = datasets.load(flags.dataset, data_dir=flags.data_dir)
        batches = examples(builder, ["image", "instance"], flags.images)
        all_ids = [batch["instance"] for batch in batches]
        inputs = {
            f"σ = {level} px": [
                (ids, noisy(ids, float(level), i), ids > 0) for i, ids in enumerate(all_ids)
            ]
            for level in flags.noise.split(",")
        }
    print("| offsets | decoder | PQ | SQ | RQ | AP50 | AP | ms / image | instances |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name, items in inputs.items():
        for decoder in flags.decoders.split(","):
            print(row(name, decoder, items), flush=True)


if __name__ == "__main__":
    main()
