"""The train step: one jit-compiled, data-parallel update of a `TrainState`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mtl_jax import parallel
from mtl_jax.optimizers import COMMON, Schedule, asynchronous
from mtl_jax.system import System
from mtl_jax.train_state import TrainState

Batch = dict[str, jax.Array]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Any]]]


def create_state(
    system: System,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    image_shape: tuple[int, int],
    mesh: Mesh,
) -> TrainState:
    """The state before the first step, replicated over the mesh; a pure function of `seed`."""
    key = jax.random.key(seed)
    initial = system.init(key, image_shape), system.weighting.init(jax.random.fold_in(key, 1))
    # NumPy arrays are the same on every process, which is what `create` needs of its inputs.
    variables, (weighting_params, weighting_state) = jax.tree.map(np.asarray, initial)

    def create(variables, weighting_params, weighting_state):
        params = {"model": variables["params"], "weighting": weighting_params}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=variables["batch_stats"],
            opt_state=optimizer.init(params),
            weighting=weighting_state,
            epoch_losses={task: _zero_mean() for task in system.tasks},
        )

    create = jax.jit(create, out_shardings=parallel.replicated(mesh))
    return create(variables, weighting_params, weighting_state)


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
      accumulate: number of micro-batches whose gradients are averaged into one update. BatchNorm
        and each task's mean over valid pixels are then those of a micro-batch.

    Returns:
      (state, batch) ─► (state, logs). The given state is donated. `logs` holds float32 scalars:
      `losses` and `weights` per task, `learned` (the weighting's parameters, as this step used
      them), `total`, `gradient_norm`, `learning_rate`, and `updates`, those made so far by each
      group that is updated asynchronously.
    """

    def close_epoch(weighting, epoch_losses):
        labelled = {task: count > 0 for task, (_, count) in epoch_losses.items()}
        weighting = system.weighting.end_epoch(weighting, _means(epoch_losses), labelled)
        return weighting, jax.tree.map(jnp.zeros_like, epoch_losses)

    def step_fn(state: TrainState, batch: Batch):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), state.step))
        if accumulate == 1:
            new = _gradients(system, state, state.batch_stats, batch, *keys)
        else:
            new = _accumulated_gradients(system, state, batch, *keys, accumulate, mesh)
        gradient, batch_stats, losses, labelled, logs = new
        weighting = state.weighting
        if system.weighting.needs_gradients:
            combined, logs["weights"], weighting = system.weighting.combine_gradients(
                weighting, gradient, labelled, keys[1]
            )
            still = jax.tree.map(jnp.zeros_like, state.params["weighting"])
            gradient = {"model": combined, "weighting": still}
        updates, opt_state = optimizer.update(
            gradient, state.opt_state, state.params, images=_images_per_group(system, batch)
        )
        logs |= {
            "losses": losses,
            "gradient_norm": optax.tree.norm(gradient["model"]),
            "learning_rate": schedule(state.step),
            "updates": asynchronous.updates_made(opt_state),
        }
        step = state.step + 1
        epoch_losses = {
            task: (total + losses[task] * labelled[task], count + labelled[task])
            for task, (total, count) in state.epoch_losses.items()
        }
        weighting, epoch_losses = jax.lax.cond(
            step % steps_per_epoch == 0, close_epoch, lambda *same: same, weighting, epoch_losses
        )
        new_state = TrainState(
            step=step,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
            weighting=weighting,
            epoch_losses=epoch_losses,
        )
        return new_state, logs

    whole = parallel.replicated(mesh)
    return jax.jit(
        step_fn,
        in_shardings=(whole, parallel.batch_sharding(mesh)),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )


def not_finite(state: TrainState) -> list[str]:
    """The names of all arrays of a state that hold a NaN or an infinite number."""
    arrays = {"params": state.params, "batch_stats": state.batch_stats, "opt": state.opt_state}
    return [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, finite in jax.tree_util.tree_leaves_with_path(jax.device_get(_finite(arrays)))
        if not finite
    ]


@jax.jit
def _finite(tree):
    return jax.tree.map(lambda array: jnp.isfinite(array).all(), tree)


def task_losses(system: System, model_params, batch_stats, batch: Batch, key: jax.Array):
    """The unweighted training loss of every task on one batch.

    Returns:
      {task: float32 scalar}, {task: whether anything of the task is labelled}, new batch_stats.
    """
    variables = {
        "params": system.freezing.without_gradient(model_params),
        "batch_stats": batch_stats,
    }
    with system.freezing.running_statistics():
        predictions, mutated = system.model.apply(
            variables,
            system.normalize(batch["image"]),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
    supervised = [predictions.final]
    if system.deep_supervision:
        supervised = [*predictions.auxiliary, predictions.final]
    losses, labelled = {}, {}
    for name, task in system.tasks.items():
        targets = task.targets(batch)
        each = [task.loss(outputs[name], targets, batch["valid"]) for outputs in supervised]
        losses[name] = sum(each) / len(each)
        labelled[name] = task.labelled(targets, batch["valid"])
    return losses, labelled, mutated.get("batch_stats", {})


def _gradients(system: System, state: TrainState, batch_stats, batch: Batch, key, weighting_key):
    """Gradient, batch_stats, losses, labelled and logs of one (micro-)batch.

    The gradient is that of the total with respect to `state.params`; or, for a weighting that needs
    them, {task: gradient of its loss with respect to the model's parameters}.
    """
    weighting = system.weighting

    def losses_of(model_params):
        losses, labelled, stats = task_losses(system, model_params, batch_stats, batch, key)
        return losses, (labelled, stats)

    def combine(weighting_params, losses, labelled):
        return weighting.combine(weighting_params, state.weighting, losses, labelled, weighting_key)

    def total_of(params):
        losses, (labelled, stats) = losses_of(params["model"])
        total, weights = combine(params["weighting"], losses, labelled)
        return total, (losses, labelled, stats, weights)

    if weighting.needs_gradients:
        losses, pullback, (labelled, stats) = jax.vjp(
            losses_of, state.params["model"], has_aux=True
        )
        gradient = {
            task: pullback({other: jnp.float32(other == task) for other in losses})[0]
            for task in losses
        }
        total, weights = combine(state.params["weighting"], losses, labelled)
    else:
        (total, aux), gradient = jax.value_and_grad(total_of, has_aux=True)(state.params)
        losses, labelled, stats, weights = aux
    logs = {"total": total, "weights": weights, "learned": state.params["weighting"]}
    return gradient, stats, losses, labelled, logs


def _accumulated_gradients(system, state, batch, key, weighting_key, accumulate: int, mesh: Mesh):
    """Means of `_gradients` over `accumulate` micro-batches, one after the other.

    All of them get the same `weighting_key`, so that random weights are those of the step. A task's
    loss is its mean over the micro-batches that have a label of it.
    """
    sharding = NamedSharding(mesh, PartitionSpec(None, "data"))

    def split(array):
        # Every n-th example, so that each device keeps its own examples.
        array = array.reshape(-1, accumulate, *array.shape[1:]).swapaxes(0, 1)
        return jax.lax.with_sharding_constraint(array, sharding)

    def body(carry, inputs):
        batch_stats, gradient_sum = carry
        gradient, batch_stats, *rest = _gradients(
            system, state, batch_stats, *inputs, weighting_key
        )
        return (batch_stats, jax.tree.map(jnp.add, gradient_sum, gradient)), rest

    inputs = jax.tree.map(split, batch), jax.random.split(key, accumulate)
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    if system.weighting.needs_gradients:
        zeros = dict.fromkeys(system.tasks, zeros["model"])
    (batch_stats, gradient_sum), rest = jax.lax.scan(body, (state.batch_stats, zeros), inputs)
    losses, labelled, logs = rest
    return (
        jax.tree.map(lambda x: x / accumulate, gradient_sum),
        batch_stats,
        {task: jnp.sum(losses[task]) / jnp.maximum(jnp.sum(labelled[task]), 1) for task in losses},
        jax.tree.map(jnp.any, labelled),
        jax.tree.map(jnp.mean, logs),
    )


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


def _zero_mean() -> tuple[jax.Array, jax.Array]:
    return jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)


def _means(epoch_losses):
    return {task: total / jnp.maximum(count, 1) for task, (total, count) in epoch_losses.items()}
