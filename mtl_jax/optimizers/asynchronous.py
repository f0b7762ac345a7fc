"""Asynchronous SGD: every group of parameters is updated after images of its own task.

Of a mixed batch only some images carry the labels of a task, sometimes none. So that the gradient
of a task's own layers is never that of two or three images, each group counts the images that it
learns from and waits until they are as many as it asks for (UberNet, Kokkinos 2017; report D).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class GroupState(NamedTuple):
    """What one group remembers between two batches.

    Attributes:
      images: int32 scalar, the images that no update has answered yet.
      gradients: sum of the gradients of the batches since the last update.
      updates: int32 scalar, the updates made so far.
      inner: state of the group's own transformation, whose schedule counts those updates too.
    """

    images: jax.Array
    gradients: Any
    updates: jax.Array
    inner: Any


def update_every(
    images_per_update: int, group: str, inner: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """Calls `inner` on the summed gradients whenever enough images have been seen.

    A batch adds its gradient to the sum and its images to the counter. If the counter has reached
    `images_per_update`, `inner` gets the sum, which starts again at zero, and the counter keeps
    what is left over, so that updates per image are exact in the long run. Between two updates the
    parameters and all of the state of `inner` stay as they are: momentum, schedule and weight
    decay act once for each update.

    Args:
      images_per_update: n ≥ 1. At most one update is made for a batch, so a batch must not hold
        more than n images of the group.
      group: the key of `images`, below.
      inner: what turns summed gradients into updates.

    Returns:
      A transformation whose `update` takes one more argument, `images`: {group: int32 scalar}, the
      number of images of this batch that each group learns from, over all devices.
    """

    def init(params):
        return GroupState(
            images=jnp.zeros((), jnp.int32),
            gradients=jax.tree.map(jnp.zeros_like, params),
            updates=jnp.zeros((), jnp.int32),
            inner=inner.init(params),
        )

    def update(gradients, state, params=None, *, images, **_):
        gradients = jax.tree.map(jnp.add, state.gradients, gradients)
        count = state.images + images[group]
        due = count >= images_per_update
        updates, new_inner = inner.update(gradients, state.inner, params)

        # A choice between arrays, where a branch would have accelerators wait for the host.
        def if_due(new, old):
            return jax.tree.map(lambda new, old: jnp.where(due, new, old), new, old)

        def unless_due(tree):
            return jax.tree.map(lambda x: jnp.where(due, jnp.zeros_like(x), x), tree)

        return if_due(updates, jax.tree.map(jnp.zeros_like, updates)), GroupState(
            images=count - images_per_update * due.astype(jnp.int32),
            gradients=unless_due(gradients),
            updates=state.updates + due.astype(jnp.int32),
            inner=if_due(new_inner, state.inner),
        )

    return optax.GradientTransformationExtraArgs(init, update)


def updates_made(opt_state: Any) -> dict[str, jax.Array]:
    """{group: float32 scalar}, the updates so far, for the logs; {} if all is synchronous."""
    states = group_states(opt_state)
    return {group: state.updates.astype(jnp.float32) for group, state in states.items()}


def group_states(opt_state: Any) -> dict[str, GroupState]:
    """{group: its state} in the state of what `optimizers.build` made; {} if it is synchronous."""
    partitions = getattr(opt_state, "inner_states", {})
    found = {group: masked.inner_state for group, masked in partitions.items()}
    return {group: state for group, state in found.items() if isinstance(state, GroupState)}
