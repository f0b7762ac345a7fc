"""Evaluation, prediction of files, and an exported artifact, beside the bare network."""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export as jax_export
from PIL import Image

from benchmarks.gpu_parts import _runs
from input_pipeline import arrays
from mtl_jax import evaluation, export, parallel, system
from mtl_jax.commands import assembly, predict, train
from mtl_jax.runs import learned, workdir


def rows(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each use: images per second."""
    where = workdir.Workdir(Path(flags.work) / "use")
    config = _runs.config(flags, "branched:streets_scratch", train__max_steps=4)
    train.run(config, where.path)
    builder, specs = assembly.dataset(config)
    parts, mesh = system.build(config, specs), parallel.make_mesh()
    variables, _ = assembly.variables(config, where, parts)
    variables = jax.device_put(variables, parallel.replicated(mesh))
    stream = assembly.eval_stream(builder, config, parts)
    batches = list(stream.batches())
    count = stream.num_examples

    bare = jax.jit(parts.predict)
    yield _timed("network alone", lambda: [bare(variables, b["image"]) for b in batches], count)
    evaluator = evaluation.Evaluator(parts, mesh)
    yield _timed("evaluation", lambda: evaluator(variables, batches), count)

    names = learned.read(where, parts.tasks, config.model)
    height, width = _runs.size(flags)
    network = export.network(config, parts, names, f"{height}x{width}")
    exported = export.export(network, variables)
    artifact = jax_export.deserialize(exported.functions["raw"].serialize())
    weights = jax.device_put(exported.weights)
    call = jax.jit(artifact.call)
    yield _timed("artifact", lambda: [call(weights, b["image"]) for b in batches], count)

    photographs = Path(flags.work) / "photographs"
    photographs.mkdir(exist_ok=True)
    images = arrays.Arrays(_runs.data(flags)).open("validation", "image")[:200]
    for number, image in enumerate(images):
        Image.fromarray(np.asarray(image)).save(photographs / f"{number:04d}.png")

    def predicted():
        output = Path(flags.work) / f"predicted_{time.monotonic_ns()}"
        predict.run(config, where.path, inputs=[str(photographs)], output=output)

    yield _timed("predict, files to files", predicted, len(images))


def _timed(name: str, action, images: int) -> dict[str, Any]:
    jax.block_until_ready(action())  # compiles
    start = time.perf_counter()
    jax.block_until_ready(action())
    return {"use": name, "images/s": images / (time.perf_counter() - start)}
