"""Evaluation, prediction of files, and an exported artifact, beside the bare network."""

import argparse
import functools
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export as jax_export
from PIL import Image

from benchmarks.gpu_parts import _runs
from benchmarks.gpu_parts._cases import Case
from mtl_jax import evaluation, export, parallel, prediction, system
from mtl_jax.commands import assembly, train
from mtl_jax.runs import learned, workdir

PROCESSES = None  # as all use one run


def cases(flags: argparse.Namespace) -> list[Case]:
    """One for each use: images per second."""
    used = _Used(flags)
    actions = {
        "network alone": used.network,
        "evaluation": used.evaluation,
        "artifact": used.artifact,
        "predict, files to files": used.files,
    }
    return [
        Case({"use": name}, functools.partial(_measure, prepare))
        for name, prepare in actions.items()
    ]


def _measure(prepare: Callable[[], tuple[Callable[[], Any], int]]) -> dict[str, float]:
    action, images = prepare()
    jax.block_until_ready(action())  # compiles
    start = time.perf_counter()
    jax.block_until_ready(action())
    return {"images/s": images / (time.perf_counter() - start)}


class _Used:
    """A trained run; each use is (what to do, on how many images)."""

    def __init__(self, flags: argparse.Namespace):
        self._flags = flags
        self._where = workdir.Workdir(Path(flags.work) / f"use_{_runs.name(flags)}")

    @functools.cached_property
    def _config(self):
        config = _runs.config(self._flags, "branched:streets_scratch", train__max_steps=4)
        shutil.rmtree(self._where.path, ignore_errors=True)  # of an earlier call, maybe another's
        train.run(config, self._where.path)
        return config

    @functools.cached_property
    def _loaded(self):
        """(builder, system, mesh, variables)."""
        builder, specs = assembly.dataset(self._config)
        parts, mesh = system.build(self._config, specs), parallel.make_mesh()
        variables, _ = assembly.variables(self._config, self._where, parts)
        return builder, parts, mesh, jax.device_put(variables, parallel.replicated(mesh))

    @functools.cached_property
    def _batches(self):
        """(all of them, how many images they have)."""
        builder, parts, _, _ = self._loaded
        stream = assembly.eval_stream(builder, self._config, parts)
        return list(stream.batches()), stream.num_examples

    def network(self):
        _, parts, _, variables = self._loaded
        batches, images = self._batches
        predict = jax.jit(parts.predict)
        return lambda: [predict(variables, batch["image"]) for batch in batches], images

    def evaluation(self):
        _, parts, mesh, variables = self._loaded
        batches, images = self._batches
        evaluator = evaluation.Evaluator(parts, mesh)
        return lambda: evaluator(variables, batches), images

    def artifact(self):
        _, parts, _, variables = self._loaded
        batches, images = self._batches
        names = learned.read(self._where, parts.tasks, self._config.model)
        height, width = _runs.size(self._flags)
        network = export.network(self._config, parts, names, f"{height}x{width}")
        exported = export.export(network, variables)
        artifact = jax_export.deserialize(exported.functions["raw"].serialize())
        weights, call = jax.device_put(exported.weights), jax.jit(artifact.call)
        return lambda: [call(weights, batch["image"]) for batch in batches], images

    def files(self):
        model = prediction.of_run(self._config, self._where)
        folder = Path(self._flags.work) / "photographs"
        folder.mkdir(exist_ok=True)
        images = _runs.data(self._flags).open("validation", "image")[:200]
        files = [folder / f"{number:04d}.png" for number in range(len(images))]
        for file, image in zip(files, images):
            Image.fromarray(np.asarray(image)).save(file)

        def predict():
            output = folder.with_name(f"predicted_{time.monotonic_ns()}")
            prediction.predict_files(
                model.raw, model.tasks, files, output, model.settings, report=lambda text: None
            )

        return predict, len(files)
