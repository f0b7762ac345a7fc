"""One gradient from the losses of all tasks: of a batch, or of its micro-batches one by one."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.interpreters import ad

from mtl_jax.micro_batches import MicroBatches, shared_out
from mtl_jax.sharing import Cut, Split, task_losses
from mtl_jax.train_state import TrainState
from mtl_jax.weightings import inner_products


class BatchGradient(NamedTuple):
    """The gradient of a batch, and what else a step needs to know of it.

    Attributes:
      gradient: like `TrainState.params`.
      batch_stats: the new ones.
      weighting: the weighting's new state.
      losses: {task: float32 scalar}, unweighted, of the whole batch.
      labelled: {task: bool scalar}.
      logs: `total`, `weights` and `learned`, see `training.make_train_step`.
    """

    gradient: Any
    batch_stats: Any
    weighting: Any
    losses: dict[str, jax.Array]
    labelled: dict[str, jax.Array]
    logs: dict[str, Any]


def of_batch(state: TrainState, parts: MicroBatches, weighting_key: jax.Array) -> BatchGradient:
    """The gradient of a step, as the weighting makes it.

    Args:
      state: before the step.
      parts: the batch.
      weighting_key: of what is random in the weighting.
    """
    weighting: Any = parts.system.weighting
    if not weighting.needs_gradients:
        return _of_total(state, parts, weighting_key)
    split = Split(parts.system, state.variables, parts.image_shape)
    combined = _combined_at_features if weighting.representation else _combined
    if weighting.gradient_chunks > 1:
        combined = _combined_in_chunks
    if weighting.update_every == 1:
        return combined(state, parts, split, weighting_key)
    return jax.lax.cond(
        state.step % weighting.update_every == 0,
        lambda: combined(state, parts, split, weighting_key),
        lambda: _with_old_weights(state, parts, split),
    )


def _of_total(state: TrainState, parts: MicroBatches, weighting_key) -> BatchGradient:
    """For a weighting of losses: the derivative of its total of the whole batch's losses."""
    weighting, learned = parts.system.weighting, state.params["weighting"]
    known = weighting.stack(parts.labelled)
    penalties = parts.system.penalties

    def total_of(learned, losses):
        return weighting.total(learned, state.weighting, losses, known, weighting_key)

    whole = None if weighting.linear else _losses_beforehand(state, parts)

    def of_part(batch_stats, part, key, shares, _):
        losses, pullback, stats = linearised(parts, state, batch_stats, part, key)
        at = weighting.stack(losses) if whole is None else whole
        slopes, _ = jax.grad(total_of, argnums=1, has_aux=True)(learned, at)
        slopes = weighting.by_task(slopes) | dict.fromkeys(penalties, 1.0)
        (gradient,) = pullback(shared_out(slopes, shares))
        return (gradient, shared_out(losses, shares)), stats, ()

    (gradient, losses), batch_stats, _ = parts.sum(state.batch_stats, of_part)
    values = jax.value_and_grad(total_of, has_aux=True)(learned, weighting.stack(losses))
    (total, weights), learned_gradient = values
    total += sum(losses[name] for name in penalties)
    gradient = {"model": gradient, "weighting": learned_gradient}
    logs = {"total": total, "weights": weighting.by_task(weights), "learned": learned}
    return BatchGradient(gradient, batch_stats, state.weighting, losses, parts.labelled, logs)


def _losses_beforehand(state: TrainState, parts: MicroBatches) -> jax.Array | None:
    """[K], for weights that depend on them; None where there is but one part, which has them."""
    weighting = parts.system.weighting
    if parts.count == 1:
        return None
    return weighting.stack(parts.losses(state.params["model"], state.batch_stats))


def _combined(state: TrainState, parts: MicroBatches, split: Split, weighting_key) -> BatchGradient:
    """For a weighting of gradients: it gets every task's own, of the whole batch."""
    weighting: Any = parts.system.weighting

    def of_part(batch_stats, part, key, shares, _):
        losses, pullback, stats = linearised(parts, state, batch_stats, part, key)
        each = [pullback(_one_of(losses, task, shares[task]))[0] for task in weighting.tasks]
        shared = [split.shared_leaves(gradient) for gradient in each]
        return (shared, split.own_leaves(each), shared_out(losses, shares)), stats, ()

    (shared, own, losses), batch_stats, _ = parts.sum(state.batch_stats, of_part)
    combined = _combine(state, parts, shared, losses, weighting_key)
    return _joined(state, parts, split, combined, own, batch_stats, losses)


def _combined_at_features(state: TrainState, parts: MicroBatches, split: Split, weighting_key):
    """As `_combined`, by the gradients at the features where the network's shared part ends.

    ∂L_k/∂θ = (∂z/∂θ)ᵀ ∂L_k/∂z is linear, so that one pass back through the shared part is enough.
    The gradients at the features of all parts are kept, and combined at once; then each part goes
    through the shared part again, as what that computed for it has not been kept. (Where there is
    but one part, that is the same computation, which the compiler does once.)
    """
    weighting: Any = parts.system.weighting
    system, params = parts.system, state.params["model"]
    cut = Cut(system, split, state.variables, parts.image_shape)

    def heads(batch_stats, part, key, shares, _):
        image = system.normalize(part["image"])
        features, shared_stats = cut.features(params, batch_stats, image, key)

        def losses_of(params, features):
            losses, _, stats = cut.losses(features, params, batch_stats, part, key)
            return losses, stats

        losses, pullback, stats = jax.vjp(losses_of, params, features, has_aux=True)
        own, at_features = zip(
            *(pullback(_one_of(losses, task, shares[task])) for task in weighting.tasks),
            strict=True,
        )
        total = split.own_leaves(own), shared_out(losses, shares)
        return total, cut.stats(shared_stats, stats), list(at_features)

    (own, losses), batch_stats, at_features = parts.sum(state.batch_stats, heads)
    gradient, weights, *rest = _combine(state, parts, at_features, losses, weighting_key)

    def trunk(batch_stats, part, key, shares, towards):
        image = system.normalize(part["image"])
        features, pullback = jax.vjp(
            lambda params: cut.features(params, batch_stats, image, key)[0], params
        )
        (found,) = pullback(jax.tree.map(lambda g, z: g.astype(z.dtype), towards, features))
        return split.shared_leaves(found), batch_stats, ()

    shared, *_ = parts.sum(state.batch_stats, trunk, gradient)
    combined = *_shortened(weighting, shared, weights), *rest
    return _joined(state, parts, split, combined, own, batch_stats, losses)


def _combine(state: TrainState, parts: MicroBatches, gradients, losses, weighting_key):
    """What `GradientWeighting.combine` makes of the gradients of the whole batch."""
    weighting: Any = parts.system.weighting
    return weighting.combine(
        state.params["weighting"],
        state.weighting,
        gradients,
        weighting.stack(losses),
        weighting.stack(parts.labelled),
        weighting_key,
    )


def _one_of(losses: dict[str, jax.Array], task: str, share: Any) -> dict[str, Any]:
    """The cotangent of one loss alone.

    The others' is nothing by its type, and not by its value: it is not carried through the heads.
    """
    nothing = {name: ad.Zero(jax.typeof(x).to_tangent_aval()) for name, x in losses.items()}
    return nothing | {task: jnp.asarray(share, jnp.float32)}


def _combined_in_chunks(state: TrainState, parts: MicroBatches, split: Split, weighting_key):
    """As `_combined`, with the tasks' gradients of a part of the shared arrays at a time.

    Inner products add up over arrays, so that gradients need not be kept once theirs are known; the
    weighted sum is then found by one more pass back.
    """
    weighting: Any = parts.system.weighting
    gate, gram = jnp.ones((), jnp.float32), jnp.zeros((), jnp.float32)
    for chosen in split.chunks(weighting.gradient_chunks):

        def of_part(batch_stats, part, key, shares, _, gate=gate, chosen=chosen):
            losses, pullback, stats = linearised(parts, state, batch_stats, part, key)
            each = [
                pullback(_one_of(losses, task, shares[task] * gate))[0] for task in weighting.tasks
            ]
            leaves = [jax.tree.leaves(split.shared_leaves(gradient)) for gradient in each]
            found = [[own[index] for index in chosen] for own in leaves]
            return (found, shared_out(losses, shares)), stats, ()

        (found, losses), *_ = parts.sum(state.batch_stats, of_part)
        # The next pass back begins when this one is done with, and not beside it.
        gate, gram = jax.lax.optimization_barrier((gate, gram + inner_products(found)))
    weights, learned_gradient, memory = weighting.solve(
        state.params["weighting"],
        state.weighting,
        gram,
        weighting.stack(losses),
        weighting.stack(parts.labelled),
        weighting_key,
    )
    shared, *rest = _weighted(state, parts, split, lambda _: weights, by_losses=False)
    combined = shared, weights, learned_gradient, memory
    return _joined(state, parts, split, combined, *rest)


def _with_old_weights(state: TrainState, parts: MicroBatches, split: Split) -> BatchGradient:
    """Between two solutions: the last weights."""
    weighting: Any = parts.system.weighting
    known = weighting.stack(parts.labelled)

    def weights_at(losses):
        return weighting.between(state.weighting, losses, known)

    shared, own, batch_stats, losses = _weighted(
        state, parts, split, weights_at, by_losses=weighting.log_losses
    )
    shortened = _shortened(weighting, shared, weights_at(weighting.stack(losses)))
    combined = *shortened, {}, state.weighting
    return _joined(state, parts, split, combined, own, batch_stats, losses)


def _shortened(weighting: Any, shared: Any, weights: jax.Array | None):
    """A gradient of what is shared, no longer than the weighting's `max_norm`, and its weights."""
    shrink = weighting.shrink(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(shared)))
    shared = jax.tree.map(lambda leaf: shrink * leaf, shared)
    return shared, None if weights is None else shrink * weights


def _weighted(
    state: TrainState, parts: MicroBatches, split: Split, weights_at, *, by_losses: bool
) -> tuple[Any, list[jax.Array], Any, dict[str, jax.Array]]:
    """One pass back through what is shared, with weights that are known before it.

    Args:
      weights_at: the losses of the whole batch [K] ─► the weights [K].
      by_losses: whether the weights depend on them.

    Returns:
      The gradient of what is shared, the tasks' own gradients without weights, new batch_stats, and
      the losses.
    """
    weighting: Any = parts.system.weighting
    whole = _losses_beforehand(state, parts) if by_losses else None

    def of_part(batch_stats, part, key, shares, _):
        losses, pullback, stats = linearised(parts, state, batch_stats, part, key)
        at = weighting.stack(losses) if whole is None else whole
        weights = weights_at(at)
        (towards_shared,) = pullback(shared_out(weighting.by_task(weights), shares))
        (towards_own,) = pullback({t: jnp.asarray(shares[t], jnp.float32) for t in losses})
        own = split.own_leaves([towards_own] * len(weights))
        return (split.shared_leaves(towards_shared), own, shared_out(losses, shares)), stats, ()

    (shared, own, losses), batch_stats, _ = parts.sum(state.batch_stats, of_part)
    return shared, own, batch_stats, losses


def _joined(
    state: TrainState, parts: MicroBatches, split: Split, combined, own, batch_stats, losses
) -> BatchGradient:
    """The whole gradient, from that of the shared parameters and those of the tasks' own."""
    weighting: Any = parts.system.weighting
    gradient, weights, learned_gradient, memory = combined
    learned = state.params["weighting"]
    values, known = weighting.stack(losses), weighting.stack(parts.labelled)
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
    return BatchGradient(gradient, batch_stats, memory, losses, parts.labelled, logs)


def linearised(parts: MicroBatches, state: TrainState, batch_stats, part, key):
    """The losses of a part as a function of the model's parameters, at those of `state`.

    Args:
      parts: whose system it is.
      state: with the parameters.
      batch_stats: before the part.
      part: one of the batch's.
      key: of what is random in the network.

    Returns:
      {task: loss}, their pullback {task: cotangent} ─► (gradient,), new batch_stats.
    """

    def losses_of(model_params):
        losses, _, stats = task_losses(parts.system, model_params, batch_stats, part, key)
        return losses, stats

    return jax.vjp(losses_of, state.params["model"], has_aux=True)
