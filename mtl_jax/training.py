"""The train step: one jit-compiled, data-parallel update of a `TrainState`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from mtl_jax import parallel
from mtl_jax.gradients import BatchGradient, of_batch
from mtl_jax.look_ahead import apart, look_ahead
from mtl_jax.micro_batches import MicroBatches
from mtl_jax.optimizers import COMMON, Schedule, asynchronous
from mtl_jax.sharing import Batch, Split
from mtl_jax.system import System
from mtl_jax.train_state import TrainState

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Any]]]
TrainCall = Callable[[TrainState, Any, Any, jax.Array], tuple[TrainState, dict[str, Any]]]


class FirstState:
    """The state before the first step: its shapes at once, its arrays when they are asked for.

    Attributes:
      shapes: a `TrainState` of `jax.ShapeDtypeStruct`.
    """

    def __init__(
        self,
        system: System,
        optimizer: optax.GradientTransformation,
        *,
        seed: int,
        image_shape: tuple[int, int],
    ):
        """Arguments and errors as of `create_state`."""
        self._system, self._optimizer, self._image_shape = system, optimizer, image_shape
        self._key = jax.random.key(seed)
        variables = system.shapes(image_shape)
        like = None
        if system.weighting.needs_gradients:
            split = Split(system, variables, image_shape)
            split.check_trained(system, variables["params"])
            like = split.shared_leaves(variables["params"])
        self._like = like
        self.shapes = jax.eval_shape(
            lambda key, variables: self._state(variables, *self._of_weighting(key)),
            self._key,
            variables,
        )

    def create(self, mesh: Mesh) -> TrainState:
        """The state, replicated over the mesh."""
        variables = self._system.init(self._key, self._image_shape)
        initial = variables, *self._of_weighting(self._key)
        create = jax.jit(self._state, out_shardings=parallel.replicated(mesh))
        # NumPy arrays are the same on every process, which is what `create` needs of its inputs.
        return create(*jax.tree.map(np.asarray, initial))

    def _of_weighting(self, key: jax.Array) -> tuple[Any, Any]:
        """The weighting's parameters and its state."""
        return self._system.weighting.init(jax.random.fold_in(key, 1), self._like)

    def _state(self, variables, weighting_params, weighting_state) -> TrainState:
        params = {"model": variables["params"], "weighting": weighting_params}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=variables["batch_stats"],
            opt_state=self._optimizer.init(params),
            weighting=weighting_state,
            epoch_losses={task: _zero_mean() for task in self._system.tasks},
        )


def create_state(
    system: System,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    image_shape: tuple[int, int],
    mesh: Mesh,
) -> TrainState:
    """The state before the first step, replicated over the mesh; a pure function of `seed`.

    Args:
      system: model, tasks, weighting.
      optimizer: from `mtl_jax.optimizers`.
      seed: of the model's parameters and of what the weighting starts from.
      image_shape: (H, W) of the training images.
      mesh: from `parallel.make_mesh`.

    Raises:
      ConfigError: the weighting combines gradients of shared parameters, and none is trained.
    """
    return FirstState(system, optimizer, seed=seed, image_shape=image_shape).create(mesh)


def make_train_step(
    system: System,
    optimizer: optax.GradientTransformationExtraArgs,
    schedule: Schedule,
    *,
    seed: int,
    steps_per_epoch: int,
    mesh: Mesh,
    accumulate: int = 1,
) -> TrainStep:
    """Compiles the update.

    Args:
      system: model, tasks, weighting.
      optimizer, schedule: from `mtl_jax.optimizers`.
      seed: of the randomness inside a step, which is `fold_in(seed, step)`.
      steps_per_epoch: after so many steps the weighting's `end_epoch` is called.
      mesh: from `parallel.make_mesh`.
      accumulate: number of micro-batches that are gone through one after the other. Losses and
        gradient are those of the whole batch; BatchNorm's statistics are those of a micro-batch.

    Returns:
      (state, batch) ─► (state, logs). A batch for a weighting that `needs_held_out` has held-out
      examples beside it, see `mtl_jax.look_ahead.beside`. The given state is donated. `logs` holds
      float32 scalars: `losses` and `weights` per task, `learned` (the weighting's parameters, as
      this step used them), `diagnostics` of the weighting, `total`, `gradient_norm`,
      `learning_rate`, and `updates`, those made so far by each group that is updated
      asynchronously.
    """
    step = step_function(
        system,
        optimizer,
        schedule,
        seed=seed,
        steps_per_epoch=steps_per_epoch,
        mesh=mesh,
        accumulate=accumulate,
    )
    whole = parallel.replicated(mesh)
    return jax.jit(
        step,
        in_shardings=(whole, parallel.batch_sharding(mesh)),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )


def make_train_call(
    step: TrainStep,
    batch_of: Callable[[Any, Any], Batch],
    *,
    steps_per_call: int,
    mesh: Mesh,
) -> TrainCall:
    """Compiles several updates into one program, which is dispatched once.

    The number of updates is known to the program only when it runs, so that a run that is stopped
    and goes on, and whose calls are then of other lengths, runs the very same program.

    Args:
      step: of `step_function`.
      batch_of: (what lies on the devices, what is given for one step) ─► its batch.
      steps_per_call: at most so many.
      mesh: from `parallel.make_mesh`.

    Returns:
      (state, what lies on the devices, what is given: [steps_per_call, ...], count) ─► (state,
      logs: [steps_per_call]). Only the first `count` of what is given, and of the logs, are of
      steps that are made. The given state is donated.
    """
    whole, batches = parallel.replicated(mesh), parallel.batch_sharding(mesh)

    def call(state, stored, given, count):
        def one(state, given):
            batch = jax.lax.with_sharding_constraint(batch_of(stored, given), batches)
            return step(state, batch)

        if steps_per_call == 1:
            state, logs = one(state, jax.tree.map(lambda x: x[0], given))
            return state, jax.tree.map(lambda x: x[None], logs)

        def body(k, carry):
            state, all_logs = carry
            state, logs = one(state, jax.tree.map(lambda x: x[k], given))
            return state, jax.tree.map(lambda every, new: every.at[k].set(new), all_logs, logs)

        logs = jax.eval_shape(one, state, jax.tree.map(lambda x: x[0], given))[1]
        logs = jax.tree.map(lambda x: jnp.zeros((steps_per_call, *x.shape), x.dtype), logs)
        return jax.lax.fori_loop(0, count, body, (state, logs))

    return jax.jit(
        call,
        in_shardings=(whole, batches, parallel.steps_sharding(mesh), whole),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )


def step_function(
    system: System,
    optimizer: optax.GradientTransformationExtraArgs,
    schedule: Schedule,
    *,
    seed: int,
    steps_per_epoch: int,
    mesh: Mesh,
    accumulate: int = 1,
) -> TrainStep:
    """The update of `make_train_step`, not yet compiled. Arguments as of that."""
    weighting = system.weighting

    def step_fn(state: TrainState, batch: Batch):
        key, weighting_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), state.step))
        others: Batch = {}
        if weighting.needs_held_out:
            batch, others = apart(batch)
        now = system.at(state.step)
        parts = MicroBatches(now, batch, key, accumulate, mesh)
        if others:
            there = MicroBatches(now, others, jax.random.fold_in(key, 1), accumulate, mesh)
            rate = schedule(state.step)
            state = look_ahead(state, parts, there, rate, weighting_key)
        found = of_batch(state, parts, weighting_key)
        updates, opt_state = optimizer.update(
            found.gradient, state.opt_state, state.params, images=_images_per_group(system, batch)
        )
        params = optax.apply_updates(state.params, updates)
        after = None
        if weighting.needs_after:
            after = weighting.stack(parts.losses(params["model"], state.batch_stats))
        losses, labelled = (weighting.stack(each) for each in (found.losses, found.labelled))
        memory = weighting.after_step(found.weighting, losses, after, labelled)
        logs = found.logs | {
            "losses": found.losses,
            "diagnostics": jax.tree.map(jnp.float32, weighting.diagnostics(memory)),
            "gradient_norm": optax.tree.norm(found.gradient["model"]),
            "learning_rate": schedule(state.step),
            "updates": asynchronous.updates_made(opt_state),
        }
        step = state.step + 1
        memory, epoch_losses = _with_epoch(
            system, memory, state.epoch_losses, found, is_last=step % steps_per_epoch == 0
        )
        new_state = TrainState(
            step=step,
            params=params,
            batch_stats=found.batch_stats,
            opt_state=opt_state,
            weighting=memory,
            epoch_losses=epoch_losses,
        )
        return new_state, logs

    return step_fn


def not_finite(state: TrainState) -> list[str]:
    """The names of all arrays of a state that hold a NaN or an infinite number."""
    arrays = {"params": state.params, "batch_stats": state.batch_stats, "opt": state.opt_state}
    arrays["weighting"] = state.weighting
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, finite in jax.tree_util.tree_leaves_with_path(jax.device_get(_finite(arrays)))
        if not finite
    ]
    # No step is made from what the weighting recorded of the last one.
    return [name for name in names if not name.startswith("weighting/record/")]


@jax.jit
def _finite(tree):
    return jax.tree.map(lambda array: jnp.isfinite(array).all(), tree)


def _images_per_group(system: System, batch: Batch) -> dict[str, jax.Array]:
    """{'common': images of the global batch, task: those with a label of it}, int32 scalars."""
    valid = batch["valid"]
    counts = {COMMON: jnp.sum(valid, dtype=jnp.int32)}
    for name, task in system.tasks.items():

        def is_labelled(targets, valid, task=task):
            return task.labelled(*jax.tree.map(lambda array: array[None], (targets, valid)))

        labelled = jax.vmap(is_labelled)(task.targets(batch), valid)
        counts[name] = jnp.sum(labelled, dtype=jnp.int32)
    return counts


def _with_epoch(system: System, memory, epoch_losses, found: BatchGradient, *, is_last: jax.Array):
    """The weighting's state and the losses of the epoch, after one more step of it.

    After the last one the weighting's `end_epoch` has been called, and the losses begin anew.
    """
    weighting = system.weighting
    epoch_losses = {
        task: (total + found.losses[task] * found.labelled[task], count + found.labelled[task])
        for task, (total, count) in epoch_losses.items()
    }

    def close(memory, epoch_losses):
        labelled = {task: count > 0 for task, (_, count) in epoch_losses.items()}
        means = weighting.stack(_means(epoch_losses))
        memory = weighting.end_epoch(memory, means, weighting.stack(labelled))
        return memory, jax.tree.map(jnp.zeros_like, epoch_losses)

    return jax.lax.cond(is_last, close, lambda *same: same, memory, epoch_losses)


def _zero_mean() -> tuple[jax.Array, jax.Array]:
    return jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)


def _means(epoch_losses):
    return {task: total / jnp.maximum(count, 1) for task, (total, count) in epoch_losses.items()}
