"""One gradient from the losses of all tasks: of a batch, or of its micro-batches one by one."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.interpreters import ad
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mtl_jax.errors import ConfigError
from mtl_jax.sharing import Batch, Cut, Split, task_losses
from mtl_jax.system import System
from mtl_jax.train_state import TrainState


class Found(NamedTuple):
    """What a step needs to know of its batch.

    Attributes:
      gradient: like `TrainState.params`.
      batch_stats: the new ones.
      weighting: the weighting's new state.
      losses: {task: float32 scalar}, unweighted: the mean over micro-batches with a label.
      labelled: {task: bool scalar}.
      logs: `total`, `weights` and `learned`, see `training.make_train_step`.
    """

    gradient: Any
    batch_stats: Any
    weighting: Any
    losses: dict[str, jax.Array]
    labelled: dict[str, jax.Array]
    logs: dict[str, Any]


class MicroBatches:
    """A batch, cut into equal parts that are gone through one after the other.

    All of them get the same key for what is random in the weighting, so that random weights are
    those of the step.
    """

    def __init__(self, system: System, batch: Batch, key: jax.Array, count: int, mesh: Mesh):
        self.system, self.count, self._keys, self._parts = system, count, key, batch
        self.image_shape = batch["image"].shape[1:3]
        self.shares = dict.fromkeys(system.tasks, 1.0)
        if count > 1:
            self._keys = jax.random.split(key, count)
            self._parts = jax.tree.map(lambda array: self._split(array, mesh), batch)
            self.shares = self._shares()

    def only(self) -> tuple[Batch, jax.Array]:
        """The batch and its key, where it is not cut.

        Raises:
          ConfigError: it is.
        """
        if self.count > 1:
            raise ConfigError(
                f"config.weighting.representation=True with config.train.accumulate={self.count}: "
                "features are those of one batch, and so would be the weights. Use one of the two."
            )
        return self._parts, self._keys

    def _split(self, array, mesh: Mesh):
        # Every n-th example, so that each device keeps its own examples.
        array = array.reshape(-1, self.count, *array.shape[1:]).swapaxes(0, 1)
        sharding = NamedSharding(mesh, PartitionSpec(None, "data"))
        return jax.lax.with_sharding_constraint(array, sharding)

    def _shares(self) -> dict[str, jax.Array]:
        """{task: [n]}, by what its gradient in each part is multiplied before all are averaged.

        The mean is over those with a label: a task that few parts have labels of is to get its
        whole gradient, as it would from the undivided batch.
        """
        found = {}
        for name, task in self.system.tasks.items():
            labelled = jax.vmap(
                lambda part, task=task: task.labelled(task.targets(part), part["valid"])
            )(self._parts)
            labelled = labelled.astype(jnp.float32)
            found[name] = self.count * labelled / jnp.maximum(jnp.sum(labelled), 1.0)
        return found

    def mean(self, batch_stats, of_part) -> tuple[Any, Any, Any, Any, Any]:
        """Mean gradient, batch_stats, losses, labelled and mean logs.

        Args:
          batch_stats: before the first part.
          of_part: (batch_stats, part, key, {task: share}) ─► (gradient, batch_stats, losses,
            labelled, logs).
        """
        if self.count == 1:
            return of_part(batch_stats, self._parts, self._keys, self.shares)
        inputs = self._parts, self._keys, self.shares
        first = jax.tree.map(lambda array: array[0], inputs)
        shapes = jax.eval_shape(of_part, batch_stats, *first)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes[0])

        def body(carry, inputs):
            batch_stats, total = carry
            gradient, batch_stats, *rest = of_part(batch_stats, *inputs)
            return (batch_stats, jax.tree.map(jnp.add, total, gradient)), rest

        (batch_stats, total), rest = jax.lax.scan(body, (batch_stats, zeros), inputs)
        losses, labelled, logs = rest
        return (
            jax.tree.map(lambda x: x / self.count, total),
            batch_stats,
            {t: jnp.sum(losses[t]) / jnp.maximum(jnp.sum(labelled[t]), 1) for t in losses},
            jax.tree.map(jnp.any, labelled),
            jax.tree.map(jnp.mean, logs),
        )

    def losses(self, model_params, batch_stats) -> dict[str, jax.Array]:
        """{task: loss} of the same examples under other parameters, with the same dropout."""

        def of_part(batch_stats, part, key, shares):
            del shares
            losses, labelled, stats = task_losses(self.system, model_params, batch_stats, part, key)
            return (), stats, losses, labelled, ()

        return self.mean(batch_stats, of_part)[2]


def of_batch(state: TrainState, parts: MicroBatches, weighting_key: jax.Array) -> Found:
    """The gradient of a step, as the weighting makes it."""
    weighting: Any = parts.system.weighting
    if not weighting.needs_gradients:
        return _of_total(state, parts, weighting_key)
    split = Split(parts.system, state.variables, parts.image_shape)
    combined = _combined_at_features if weighting.representation else _combined
    if weighting.update_every == 1:
        return combined(state, parts, split, weighting_key)
    return jax.lax.cond(
        state.step % weighting.update_every == 0,
        lambda: combined(state, parts, split, weighting_key),
        lambda: _with_old_weights(state, parts, split),
    )


def _of_total(state: TrainState, parts: MicroBatches, weighting_key) -> Found:
    """For a weighting of losses: the derivative of its total, of every part by itself."""
    system, weighting = parts.system, parts.system.weighting

    def of_part(batch_stats, part, key, shares):
        def total_of(params):
            losses, labelled, stats = task_losses(system, params["model"], batch_stats, part, key)
            total, weights = weighting.total(
                params["weighting"],
                state.weighting,
                weighting.stack({t: _scaled(losses[t], shares[t]) for t in losses}),
                weighting.stack(labelled),
                weighting_key,
            )
            return total, (losses, labelled, stats, weighting.by_task(weights))

        (total, aux), gradient = jax.value_and_grad(total_of, has_aux=True)(state.params)
        losses, labelled, stats, weights = aux
        learned = {
            quantity: {task: value * shares[task] for task, value in values.items()}
            for quantity, values in gradient["weighting"].items()
        }
        gradient = {"model": gradient["model"], "weighting": learned}
        return gradient, stats, losses, labelled, {"total": total, "weights": weights}

    gradient, batch_stats, losses, labelled, logs = parts.mean(state.batch_stats, of_part)
    logs["learned"] = state.params["weighting"]
    return Found(gradient, batch_stats, state.weighting, losses, labelled, logs)


def _scaled(loss, share):
    """The same value; its derivative is multiplied by `share`."""
    if isinstance(share, float):
        return loss * share
    return loss * share + jax.lax.stop_gradient(loss - loss * share)


def _combined(state: TrainState, parts: MicroBatches, split: Split, weighting_key) -> Found:
    """For a weighting of gradients: it gets every task's own, averaged over all parts."""
    weighting: Any = parts.system.weighting

    def of_part(batch_stats, part, key, shares):
        losses, pullback, labelled, stats = _linearised(parts, state, batch_stats, part, key)
        each = [pullback(_one_of(losses, task, shares[task]))[0] for task in weighting.tasks]
        shared = [split.shared_leaves(gradient) for gradient in each]
        return (shared, split.own_leaves(each)), stats, losses, labelled, ()

    (shared, own), batch_stats, losses, labelled, _ = parts.mean(state.batch_stats, of_part)
    combined = weighting.combine(
        state.params["weighting"],
        state.weighting,
        shared,
        weighting.stack(losses),
        weighting.stack(labelled),
        weighting_key,
    )
    return _joined(state, weighting, split, combined, own, (batch_stats, losses, labelled))


def _combined_at_features(state: TrainState, parts: MicroBatches, split: Split, weighting_key):
    """As `_combined`, by the gradients at the features where the network's shared part ends.

    ∂L_k/∂θ = (∂z/∂θ)ᵀ ∂L_k/∂z is linear, so that one pass through the shared part is enough.
    """
    weighting: Any = parts.system.weighting
    system = parts.system
    batch, key, params = *parts.only(), state.params["model"]
    cut = Cut(system, split, state.variables, parts.image_shape)
    image = system.normalize(batch["image"])
    features, to_shared, shared_stats = jax.vjp(
        lambda params: cut.features(params, state.batch_stats, image, key), params, has_aux=True
    )

    def losses_of(params, features):
        losses, *rest = cut.losses(features, params, state.batch_stats, batch, key)
        return losses, rest

    losses, pullback, (labelled, stats) = jax.vjp(losses_of, params, features, has_aux=True)
    own, at_features = zip(
        *(pullback(_one_of(losses, task)) for task in weighting.tasks), strict=True
    )
    gradient, *rest = weighting.combine(
        state.params["weighting"],
        state.weighting,
        at_features,
        weighting.stack(losses),
        weighting.stack(labelled),
        weighting_key,
    )
    (towards,) = to_shared(jax.tree.map(lambda g, z: g.astype(z.dtype), gradient, features))
    combined = split.shared_leaves(towards), *rest
    found = cut.stats(shared_stats, stats), losses, labelled
    return _joined(state, weighting, split, combined, split.own_leaves(own), found)


def _one_of(losses: dict[str, jax.Array], task: str, share: Any = 1.0) -> dict[str, Any]:
    """The cotangent of one loss alone.

    The others' is nothing by its type, and not by its value: it is not carried through the heads.
    """
    nothing = {name: ad.Zero(jax.typeof(x).to_tangent_aval()) for name, x in losses.items()}
    return nothing | {task: jnp.asarray(share, jnp.float32)}


def _with_old_weights(state: TrainState, parts: MicroBatches, split: Split) -> Found:
    """Between two solutions: one pass back through what is shared, with the last weights."""
    weighting: Any = parts.system.weighting

    def of_part(batch_stats, part, key, shares):
        losses, pullback, labelled, stats = _linearised(parts, state, batch_stats, part, key)
        weights = weighting.between(
            state.weighting, weighting.stack(losses), weighting.stack(labelled)
        )
        share = weighting.stack(shares)
        (towards_shared,) = pullback(weighting.by_task(weights * share))
        (towards_own,) = pullback(weighting.by_task(share))
        own = split.own_leaves([towards_own] * len(weights))
        return (split.shared_leaves(towards_shared), own), stats, losses, labelled, ()

    (shared, own), batch_stats, losses, labelled, _ = parts.mean(state.batch_stats, of_part)
    # Of the batch: the mean over parts would count those without a label as weights of 0.
    weights = weighting.between(state.weighting, weighting.stack(losses), weighting.stack(labelled))
    shrink = weighting.shrink(sum(jnp.sum(jnp.square(leaf)) for leaf in shared))
    combined = [shrink * leaf for leaf in shared], weights * shrink, {}, state.weighting
    return _joined(state, weighting, split, combined, own, (batch_stats, losses, labelled))


def _joined(state: TrainState, weighting, split: Split, combined, own, rest) -> Found:
    """The whole gradient, from that of the shared parameters and those of the tasks' own."""
    gradient, weights, learned_gradient, memory = combined
    batch_stats, losses, labelled = rest
    learned = state.params["weighting"]
    values, known = weighting.stack(losses), weighting.stack(labelled)
    factors = weighting.head_weights(learned, weights, values, known)
    gradient = {
        "model": split.joined(state.params["model"], gradient, own, factors),
        "weighting": learned_gradient or jax.tree.map(jnp.zeros_like, learned),
    }
    total, _ = weighting.total(learned, memory, values, known, None)
    logs = {
        "total": total,
        "weights": {} if weights is None else weighting.by_task(weights),
        "learned": learned,
    }
    return Found(gradient, batch_stats, memory, losses, labelled, logs)


def _linearised(parts: MicroBatches, state: TrainState, batch_stats, part, key):
    """Losses, their pullback to the model's parameters, labelled, new batch_stats."""

    def losses_of(model_params):
        losses, *rest = task_losses(parts.system, model_params, batch_stats, part, key)
        return losses, rest

    losses, pullback, (labelled, stats) = jax.vjp(losses_of, state.params["model"], has_aux=True)
    return losses, pullback, labelled, stats
