"""What a step would do for examples that are not trained on, for weightings that want to know."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mtl_jax.gradients import linearised, of_batch
from mtl_jax.micro_batches import MicroBatches, shared_out
from mtl_jax.train_state import TrainState

_PREFIX = "held_out/"


def beside(batch: Mapping[str, Any], held_out: Mapping[str, Any]) -> dict[str, Any]:
    """Training examples and held-out ones as one batch, which goes where batches go."""
    return dict(batch) | {f"{_PREFIX}{key}": value for key, value in held_out.items()}


def apart(batch: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The training examples and the held-out ones of what `beside` put together."""
    found: tuple[dict, dict] = {}, {}
    for key, value in batch.items():
        found[key.startswith(_PREFIX)][key.removeprefix(_PREFIX)] = value
    return found


def look_ahead(
    state: TrainState,
    parts: MicroBatches,
    others: MicroBatches,
    rate: jax.Array,
    weighting_key: jax.Array,
) -> TrainState:
    """The state, whose weighting has seen where a step would lead the held-out losses.

    The step is one of plain gradient descent, θ′ = θ − rate · Σ w_k ∇L_k. The weighting gets the
    derivatives of the held-out loss L(θ′) = Σ v_j L_j(θ′) by each w_k: −rate · ∇L(θ′) · ∇L_k,
    exactly. BatchNorm's running statistics stay as they are.

    Args:
      state: before the step.
      parts: the batch that is trained on.
      others: held-out examples.
      rate: of the step.
      weighting_key: of the step.
    """
    weighting = parts.system.weighting
    step = of_batch(state, parts, weighting_key).gradient["model"]
    there = jax.tree.map(lambda x, slope: x - rate * slope, state.params["model"], step)
    ahead = dataclasses.replace(state, params=state.params | {"model": there})
    wanted = weighting.by_task(weighting.held_out_weights())

    def slope_there(batch_stats, part, key, shares, _):
        _, pullback, stats = linearised(others, ahead, batch_stats, part, key)
        (found,) = pullback(shared_out(wanted, shares))
        return found, stats, ()

    slope, *_ = others.sum(state.batch_stats, slope_there)

    def along_slope(batch_stats, part, key, shares, _):
        losses, pullback, stats = linearised(parts, state, batch_stats, part, key)
        # The derivatives of all losses along one direction are forward mode; as layers that define
        # their own backward pass have none, it is the transpose of that pass, which is the same.
        _, forward = jax.vjp(lambda by: pullback(by)[0], jax.tree.map(jnp.ones_like, losses))
        return shared_out(forward(slope)[0], shares), stats, ()

    along, *_ = parts.sum(state.batch_stats, along_slope)
    seen = sum(others.labelled[task] * wanted[task] for task in weighting.tasks)
    known = weighting.stack(parts.labelled) & (seen > 0)
    memory = weighting.look_ahead(state.weighting, -rate * weighting.stack(along), known)
    return dataclasses.replace(state, weighting=memory)
