"""The training loop: steps, logs, evaluations, checkpoints, stopping and resuming."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from mtl_jax import (
    _options,
    checkpoints,
    evaluation,
    optimizers,
    options,
    parallel,
    tasks,
    training,
)
from mtl_jax import views as test_time_augmentation
from mtl_jax.errors import ConfigError
from mtl_jax.runs import _signals, image_metrics, progress
from mtl_jax.runs.results import DIRECTIONS, Results
from mtl_jax.runs.step_log import StepLog
from mtl_jax.runs.workdir import Workdir, WorkdirError, from_json, write_json
from mtl_jax.system import System
from mtl_jax.tasks import Task
from mtl_jax.train_state import TrainState
from mtl_jax.weights import load as pretrained


class Stopped(Exception):
    """The run was asked to stop, and its state is saved.

    Attributes:
      signum: the signal that asked.
    """

    def __init__(self, signum: int, step: int):
        """Remembers the signal and the step that was saved."""
        super().__init__(f"Stopped at step {step}; run the same command again to go on.")
        self.signum = signum


class TrainStream(Protocol):
    """What the loop needs of `input_pipeline.pipeline.TrainStream`."""

    steps_per_epoch: int
    num_examples: int
    missing: Sequence[str]  # keys that are asked for and not in the data
    shapes: dict[str, tuple[int, ...]]
    labelled_per_epoch: dict[str, int]  # examples in an epoch that have each key

    def batches(self, start_step: int = 0) -> Iterator[dict[str, np.ndarray]]: ...

    def example_ids(self, step: int) -> list[str]: ...


class Writer(Protocol):
    """What the loop needs of clu's `MetricWriter`."""

    def write_scalars(self, step: int, scalars: dict[str, float]) -> None: ...

    def write_images(self, step: int, images: dict[str, np.ndarray]) -> None: ...

    def flush(self) -> None: ...


@dataclasses.dataclass
class Run:
    """One training run.

    Attributes:
      config: the whole config.
      system: model, tasks, weighting.
      mesh: from `parallel.make_mesh`.
      stream: training batches.
      eval_batches: makes a fresh iterator over the evaluation split.
      eval_ids: the ids of the examples in one of its global batches.
      workdir: where everything is kept.
      writer: of TensorBoard events.
      draw: makes {name: [H, W, 3] uint8} pictures of the first `count` examples of a batch and
        its outputs.
    """

    config: Any
    system: System
    mesh: Mesh
    stream: TrainStream
    eval_batches: Callable[[], Iterable[dict[str, np.ndarray]]]
    eval_ids: Callable[[int], Sequence[str]]
    workdir: Workdir
    writer: Writer
    draw: Callable[..., dict[str, np.ndarray]]

    def __post_init__(self):
        train = self.config.train
        parallel.check_batch_size(
            train.batch_size,
            self.mesh,
            key="config.train.batch_size",
            accumulate=train.accumulate,
        )
        parallel.check_batch_size(
            self.config.eval.batch_size, self.mesh, key="config.eval.batch_size"
        )
        if train.log_every < 1:
            raise ConfigError(
                f"config.train.log_every={train.log_every}; expected 1 or more steps."
            )
        selection = self.config.eval.selection_mode
        _options.choice(selection, DIRECTIONS, key="config.eval.selection_mode")
        self.steps_per_epoch = self.stream.steps_per_epoch
        self.total_steps = self._count_steps(train)
        profiles = self.workdir.path / "profile"
        self._profile = progress.Profile(train.profile, profiles, self.total_steps)
        labelled = self.stream.labelled_per_epoch
        self.optimizer, self.schedule = optimizers.build(
            self.config,
            steps_per_epoch=self.steps_per_epoch,
            total_steps=self.total_steps,
            labelled_per_epoch={optimizers.COMMON: labelled["image"]}
            | {name: labelled.get(task.key, 0) for name, task in self.system.tasks.items()},
            frozen=self.system.freezing.mask if self.system.freezing else None,
        )
        if self.system.freezing.parts:
            self._check_frozen_parts()
        if self.system.weighting.needs_scores:
            raise ConfigError(
                f"config.weighting.name={self.config.weighting.name}: this method wants every "
                "task's score on held-out training images after each epoch, which this loop does "
                "not measure. Use it as a library (docs/weightings.md), or "
                "fairgrad with max_norm=1, which it is without scores."
            )
        evaluate = self.config.eval
        tta = test_time_augmentation.build(evaluate.tta)
        self._evaluate = evaluation.Evaluator(self.system, self.mesh, tta)

    def _count_steps(self, train) -> int:
        """How many steps the whole run has."""
        if train.max_steps < 0:
            raise ConfigError(
                f"config.train.max_steps={train.max_steps}; expected a number of steps, or 0 for "
                "config.train.epochs to decide."
            )
        steps = train.max_steps or self._steps_in(train.epochs)
        if not 1 <= steps < float("inf"):
            raise ConfigError(
                f"config.train.epochs={train.epochs} of {self.steps_per_epoch} steps; expected a "
                "number that gives one step or more."
            )
        return int(steps)

    def _steps_in(self, epochs: float) -> float:
        """Whole steps: 0.29 of 100 are 29, though its product is a little less."""
        return np.floor(epochs * self.steps_per_epoch + 1e-6)

    def _check_frozen_parts(self) -> None:
        """Raises ConfigError if the network has no parameter of one of them."""
        image = jax.ShapeDtypeStruct((1, *self.stream.shapes["image"]), np.float32)
        init = functools.partial(self.system.model.init, train=False)
        variables = jax.eval_shape(init, jax.random.key(0), image)
        self.system.freezing.mask({"model": variables["params"]})

    def train(self) -> dict[str, Any]:
        """Trains from the latest checkpoint, or from the start, to the end.

        Returns:
          What results.json holds.

        Raises:
          NonFiniteLoss: the last good checkpoint is kept.
          Stopped: on SIGTERM or Ctrl-C, after saving.
          CheckpointError: there are checkpoints but none fits.
          WorkdirError: another process trains in the same directory.
        """
        with contextlib.ExitStack() as stack:
            if jax.process_index() == 0:
                stack.enter_context(self.workdir.only_process())
            store = stack.enter_context(checkpoints.Checkpoints(self.workdir.checkpoints))
            state, results = self._start(store)
            step = int(state.step)
            if step >= self.total_steps and results.has_evaluation(step):
                progress.say(f"This run is finished ({step} steps): {self.workdir.results}")
                return results.write(final=True)
            try:
                with StopSignal() as stop:
                    self._train_from(state, step, store, results, stop)
            finally:
                self._profile.stop()
                self.writer.flush()
                store.wait()
            return results.write(final=True)

    def _start(self, store) -> tuple[TrainState, Results]:
        """The state to go on from, and what is known of the run so far."""
        state = training.create_state(
            self.system,
            self.optimizer,
            seed=self.config.seed,
            image_shape=self.stream.shapes["image"][:2],
            mesh=self.mesh,
        )
        parameters = sum(x.size for x in jax.tree.leaves(state.variables["params"]))
        restored = store.restore_latest(state, report=progress.say)
        if restored is None:
            if self.config.model.pretrained:
                state = pretrained.load(
                    state,
                    self.config.model,
                    report=progress.say,
                    tasks=self.system.tasks,
                    source_tasks=_tasks_of,
                )
            progress.parameter_overview(state.variables, self.workdir.path / "parameters.txt")
            return state, Results(self.workdir, self.config, parameters=parameters)
        state, info = restored
        self._check_same_data(info)
        results = Results(self.workdir, self.config, info=info, parameters=parameters)
        if int(state.step) < self.total_steps:
            progress.say(f"Resuming at step {int(state.step)} of {self.total_steps}.")
        return state, results

    def _info(self, results: Results) -> dict[str, Any]:
        """What a checkpoint has to remember."""
        return results.info() | {"examples": self.stream.labelled_per_epoch["image"]}

    def _check_same_data(self, info: dict[str, Any]) -> None:
        """Raises WorkdirError if an epoch had other examples when a checkpoint was saved."""
        examples = self.stream.labelled_per_epoch["image"]
        if info.get("examples", examples) != examples:  # older checkpoints do not tell
            raise WorkdirError(
                f"{self.workdir.path} holds a run of {info['examples']} examples in an epoch, and "
                f"the data now have {examples}. Use another --workdir, or the same data."
            )

    def _train_from(self, state, step: int, store, results: Results, stop) -> None:
        train_step = training.make_train_step(
            self.system,
            self.optimizer,
            self.schedule,
            seed=self.config.seed,
            steps_per_epoch=self.steps_per_epoch,
            mesh=self.mesh,
            accumulate=self.config.train.accumulate,
        )
        log = StepLog(self, results)
        batches = self.stream.batches(step)
        if self._evaluation_due(step) and not results.has_evaluation(step):
            self._evaluate_at(step, state, store, results)  # killed after saving, before evaluating
            log.restart_clock()
        while step < self.total_steps:
            self._profile.before(step)
            state, logs = train_step(state, parallel.put_batch(self.mesh, next(batches)))
            step += 1
            self._profile.after(step, state)
            log.add(step, logs)
            stopping = stop.requested(step, self.config.train.log_every)
            evaluate = self._evaluation_due(step)
            save = evaluate or stopping or _due(step, self.config.train.checkpoint_every_steps)
            if save or _due(step, self.config.train.log_every):
                log.flush()  # and so nothing is saved that was not found finite
            if save:
                log.check_state(step, state)
                store.save_latest(state, self._info(results))
            if stopping:
                store.wait()
                raise Stopped(stop.signum, step)
            if evaluate:
                self._evaluate_at(step, state, store, results)
            if save:
                log.restart_clock()

    def _evaluation_due(self, step: int) -> bool:
        every = int(self._steps_in(self.config.train.eval_every_epochs))
        return step > 0 and (_due(step, every) or step == self.total_steps)

    def _evaluate_at(self, step: int, state: TrainState, store, results: Results) -> None:
        """Evaluates, draws, and saves the model if it is the best so far."""
        started = time.monotonic()
        pictures: dict[str, np.ndarray] = {}
        images = image_metrics.ImageMetrics(
            self.system.tasks, self.draw, keep=self.config.eval.worst_images
        )

        def on_batch(batch, outputs):
            missing = self.config.eval.images - len(pictures)
            drawn = self.draw(batch, outputs, count=missing) if missing > 0 else {}
            for picture in drawn.values():
                pictures[f"example_{len(pictures)}"] = picture
            images.on_batch(batch, outputs)

        metrics = self._evaluate(state.variables, self.eval_batches(), on_batch, images.on_images)
        best = results.is_best(step, metrics)
        if best:  # before the evaluation is on record: what the record calls best exists
            store.save_best(state, self._info(results))
            store.wait()
            if jax.process_index() == 0:
                found = {"step": step, "split": self.config.eval.split}
                write_json(self.workdir.best_evaluation, found | images.summary(self.eval_ids))
                progress.save_pictures(self.workdir.predictions, images.pictures())
        results.add_evaluation(step, step / self.steps_per_epoch, metrics)
        progress.evaluation(step, metrics, best=best, seconds=time.monotonic() - started)
        self.writer.write_scalars(step, {f"eval/{k}": v for k, v in metrics.items()})
        self.writer.write_images(step, {k: v[None] for k, v in pictures.items()})
        self.writer.flush()
        if jax.process_index() == 0:
            progress.save_pictures(self.workdir.predictions, pictures)
        results.write(final=False)


def _tasks_of(directory: Path) -> dict[str, Task]:
    """The tasks of another run, in the order of its outputs."""
    other = Workdir(directory)
    config = options.of_saved(from_json(other.read_config()))
    chosen = {name: config.tasks[name] for name in config.task_order}
    return tasks.build(chosen, other.read_label_specs())


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


class StopSignal(_signals.Handler):
    """Turns the first SIGTERM or Ctrl-C into a request to stop; a second one acts at once."""

    def requested(self, step: int, every: int) -> bool:
        """Whether to stop after this step.

        Several processes must stop at the same step, so with them the answer is agreed upon every
        `every` steps only.
        """
        if jax.process_count() == 1:
            return self.signum is not None
        if step % every:
            return False
        from jax.experimental import multihost_utils

        signums = multihost_utils.process_allgather(np.int32(self.signum or 0))
        self.signum = int(np.max(signums)) or None
        return self.signum is not None

    def handle(self) -> None:
        """See `Handler`."""
        self.give_back(self.signum)
        progress.say("Stopping after this step and saving ...")
