"""The training loop: steps, logs, evaluations, checkpoints, stopping and resuming."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from mtl_jax import checkpoints, evaluation, optimizers, parallel, tasks, training, views
from mtl_jax.errors import ConfigError, InEveryProcess
from mtl_jax.runs import _signals, feeds, plan, progress, selection
from mtl_jax.runs.evaluations import Evaluations
from mtl_jax.runs.files import WorkdirError
from mtl_jax.runs.held_out_scores import Scores, references
from mtl_jax.runs.results import Results
from mtl_jax.runs.step_log import StepLog, Writer
from mtl_jax.runs.workdir import Workdir
from mtl_jax.system import System
from mtl_jax.tasks import Task
from mtl_jax.train_state import TrainState
from mtl_jax.weights import heads, single_task
from mtl_jax.weights import load as pretrained


class Stopped(InEveryProcess):
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
    layout: dict[str, tuple[tuple[int, ...], np.dtype]]  # of one example's arrays in a batch
    labelled_per_epoch: dict[str, int]  # examples in an epoch that have each key

    def batches(self, start_step: int = 0) -> Iterator[dict[str, np.ndarray]]: ...

    def example_ids(self, step: int) -> list[str]: ...


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
      draw: makes {name: [H, W, 3] uint8} pictures of the first `count` examples of a batch, its
        outputs and, as `ids`, the names of its examples.
      eval_keys: the labels that the evaluation split has; all that the tasks have by default.
      held_out_batches: makes a fresh iterator over the held-out images; needed by a weighting that
        `needs_scores`.

    And, made from these: `plan`, what happens at which step; `optimizer` and `schedule`;
    `selection`, which evaluation is the best; `references`, the single-task runs' scores that the
    weighting compares with.
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
    eval_keys: Collection[str] | None = None
    held_out_batches: Callable[[], Iterable[dict[str, np.ndarray]]] | None = None

    def __post_init__(self):
        """Refuses what the run, or its first evaluation, would fail at.

        Raises:
          ConfigError: the config asks for what cannot be.
          BaselineError: the weighting's single-task runs are not there or cannot be compared with.
        """
        train, how, tasks = self.config.train, self.config.eval, self.system.tasks
        size = self.stream.shapes["image"][:2]
        self.system.sizes.check(size, where=f"Training images of {size[0]}×{size[1]} pixels")
        key = "config.train.batch_size"
        parallel.check_batch_size(train.batch_size, self.mesh, key=key, accumulate=train.accumulate)
        parallel.check_batch_size(how.batch_size, self.mesh, key="config.eval.batch_size")
        self.plan = plan.build(train, self.stream.steps_per_epoch)
        self._profile = progress.Profile(
            train.profile, self.workdir.profiles, self.plan.total_steps
        )
        labelled = self.stream.labelled_per_epoch
        self.optimizer, self.schedule = optimizers.build(
            self.config,
            steps_per_epoch=self.plan.steps_per_epoch,
            total_steps=self.plan.total_steps,
            labelled_per_epoch={optimizers.COMMON: labelled["image"]}
            | {name: labelled.get(task.key, 0) for name, task in tasks.items()},
            frozen=self.system.freezing.mask if self.system.freezing else None,
        )
        if self.system.freezing.parts:
            self._check_frozen_parts()
        self.references = {}
        if self.system.weighting.needs_scores:
            directories = self.config.weighting.baselines
            self.references = references(directories, self.config, tasks)
        known = evaluation.metric_names(
            tasks, [n for n, t in tasks.items() if t.key in (self.eval_keys or [t.key])]
        )
        self.selection = selection.build(how, evaluation.headlines(tasks), known)
        self._tta = views.build(how.tta)

    def _check_frozen_parts(self) -> None:
        """Raises ConfigError if the network has no parameter of one of them."""
        shapes = self.system.shapes(self.stream.shapes["image"][:2])
        self.system.freezing.mask({"model": shapes["params"]})

    def train(self) -> dict[str, Any]:
        """Trains from the latest checkpoint, or from the start, to the end.

        The caller holds the work directory, see `Workdir.only_process`.

        Returns:
          What results.json holds.

        Raises:
          NonFiniteLoss: the last good checkpoint is kept.
          Stopped: on SIGTERM or Ctrl-C, after saving.
          CheckpointError: there are checkpoints but none fits; or the run is finished and its best
            one is gone.
          WorkdirError: it holds a run of other data, or one that is longer.
        """
        with checkpoints.Checkpoints(self.workdir.checkpoints) as store:
            first = training.FirstState(
                self.system,
                self.optimizer,
                seed=self.config.seed,
                image_shape=self.stream.shapes["image"][:2],
            )
            make_advance = self._steps(first.shapes)
            state, results = self._start(store, first.create(self.mesh))
            step = int(state.step)
            if step >= self.plan.total_steps and results.has_evaluation(step):
                self._check_finished(step, store)
                progress.say(f"This run is finished ({step} steps): {self.workdir.results}")
                return results.write(final=True)
            try:
                with StopSignal() as stop:
                    self._train_from(state, step, make_advance(step), store, results, stop)
            finally:
                self._profile.stop()
                self.writer.flush()
            store.wait()
            return results.write(final=True)

    def _start(self, store, state: TrainState) -> tuple[TrainState, Results]:
        """The state to go on from, given that of a new run, and what is known of the run so far."""
        make_results = functools.partial(
            Results,
            self.workdir,
            self.config,
            self.selection,
            parameters=sum(x.size for x in jax.tree.leaves(state.variables["params"])),
            report=progress.say,
        )
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
            if files := self.config.model.get("pretrained_heads"):
                state = heads.load(state, dict(files), self.config.model, report=progress.say)
            if runs := self.config.model.get("single_task"):
                state = single_task.load(state, dict(runs), report=progress.say)
            progress.parameter_overview(state.variables, self.workdir.parameters)
            return state, make_results()
        state, info = restored
        self._check_same_data(info)
        step = int(state.step)
        if step < self.plan.total_steps:
            progress.say(f"Resuming at step {step} of {self.plan.total_steps}.")
            self._go_on(step, store)
        return state, make_results(info=info, best=store.best())

    def _go_on(self, step: int, store) -> None:
        """The directory as that of a run that goes on, maybe for longer than was meant."""
        if jax.process_index() == 0 and self.workdir.config.exists():
            self.workdir.go_on_with(self.config)
        if self.workdir.read_evaluations() and store.best() is None:
            progress.say(
                f"The best model is no longer in {self.workdir.checkpoints}: the next one that is "
                "evaluated takes its place."
            )

    def _check_finished(self, step: int, store) -> None:
        """Raises WorkdirError or CheckpointError if a run that came to its end is not as it was."""
        if step > self.plan.total_steps:
            raise WorkdirError(
                f"{self.workdir.path} holds a run of {step} steps, and "
                f"{self.plan.total_steps} are asked for. Ask for as many, or for more."
            )
        if store.best() is None:
            raise checkpoints.CheckpointError(
                f"This run is finished ({step} steps), but its best model is no longer in "
                f"{self.workdir.checkpoints}. Restore it from a copy; the last one is still "
                "there: --config.eval.checkpoint=latest."
            )

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

    def _train_from(self, state, step: int, advance, store, results: Results, stop) -> None:
        log = StepLog(
            self.config,
            self.plan,
            stream=self.stream,
            schedule=self.schedule,
            writer=self.writer,
            results=results,
        )
        evaluations, scores = self._evaluations(store, results), self._scores()
        if self.plan.evaluates(step) and not results.has_evaluation(step):
            evaluations.evaluate(step, state)  # killed after saving, before evaluating
            log.restart_clock()
        while step < self.plan.total_steps:
            self._profile.before(step)
            most = self.plan.until_next(step, self._profile.bounds, epochs=scores is not None)
            state, logs, made = advance(state, most)
            log.add(range(step + 1, step + made + 1), logs)
            step += made
            self._profile.after(step, state)
            if scores and scores.due(step):
                log.flush()
                state = scores.told(state)
                log.restart_clock()
            stopping = stop.requested(step, self.plan.log_every)
            save = stopping or self.plan.saves(step)
            if save or self.plan.logs(step):
                log.flush()  # and so nothing is saved that was not found finite
            if save:
                log.check_state(step, state)
                store.save_latest(state, self._info(results))
            if stopping:
                store.wait()
                raise Stopped(stop.signum, step)
            if self.plan.evaluates(step):
                evaluations.evaluate(step, state)
            if save:
                log.restart_clock()

    @functools.cached_property
    def _evaluator(self) -> evaluation.Evaluator:
        """Of validation and of held-out images: compiled once, where they are of one size."""
        return evaluation.Evaluator(self.system, self.mesh, self._tta)

    def _scores(self) -> Scores | None:
        """What scores the model on held-out images, for a weighting that needs it."""
        if not self.system.weighting.needs_scores:
            return None
        assert self.held_out_batches is not None  # `assembly.run` opens them
        return Scores(
            system=self.system,
            evaluator=self._evaluator,
            batches=self.held_out_batches,
            references=self.references,
            steps_per_epoch=self.plan.steps_per_epoch,
            mesh=self.mesh,
        )

    def _steps(self, like: TrainState) -> Callable[[int], feeds.EachStep | feeds.Calls]:
        """What makes the steps from some step on, as (state, most) ─► (state, logs, how many).

        Args:
          like: the shapes of the state; what is known beforehand is compiled meanwhile.
        """
        config, mesh = self.config, self.mesh

        def made_by(make):
            return make(
                self.system,
                self.optimizer,
                self.schedule,
                seed=config.seed,
                steps_per_epoch=self.plan.steps_per_epoch,
                mesh=mesh,
                accumulate=config.train.accumulate,
            )

        if not config.data.resident and config.train.steps_per_call == 1:
            step = made_by(training.make_train_step)
            ahead = feeds.Ahead(step, like, self.stream.layout, config.train.batch_size)
            return lambda step: feeds.EachStep(ahead, self.stream.batches(step), mesh)

        def make_calls(step):
            feed: feeds.Feed
            if config.data.resident:
                feed = feeds.Resident(self.stream, mesh, step)
            else:
                feed = feeds.FromHost(self.stream.batches(step), mesh)
            function = made_by(training.step_function)
            return feeds.Calls(function, feed, mesh, config.train.steps_per_call)

        if config.data.resident and self.system.weighting.needs_held_out:
            raise ConfigError(
                f"config.weighting.name={config.weighting.name} needs held-out examples beside "
                "each batch, which the host makes; set config.data.resident=False."
            )
        return make_calls

    def _evaluations(self, store, results: Results) -> Evaluations:
        return Evaluations(
            config=self.config.eval,
            tasks=self.system.tasks,
            evaluator=self._evaluator,
            batches=self.eval_batches,
            ids=self.eval_ids,
            draw=self.draw,
            steps_per_epoch=self.plan.steps_per_epoch,
            workdir=self.workdir,
            writer=self.writer,
            results=results,
            save_best=lambda state, entry: store.save_best(
                state, self._info(results) | {"evaluation": entry}
            ),
            wait=store.wait,
        )


def _tasks_of(directory: Path) -> dict[str, Task]:
    """The tasks of another run, in the order of its outputs."""
    other = Workdir(directory)
    config = other.complete_config()
    chosen = {name: config.tasks[name] for name in config.task_order}
    return tasks.build(chosen, other.read_label_specs())


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
