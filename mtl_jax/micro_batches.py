"""A batch in parts, and sums over them of what is found of each: of losses and of gradients."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mtl_jax.sharing import Batch, task_losses
from mtl_jax.system import System


class MicroBatches:
    """A batch, cut into equal parts that are gone through one after the other.

    A loss is a sum over a count. That of the whole batch is the sum of its parts' losses, each
    multiplied by the part's share of the count, and so is its gradient, whatever has labels where.
    What a part is normalised by itself (BatchNorm, a threshold that is the largest error's) stays
    that of the part.

    Attributes:
      system: model and tasks.
      count: of parts.
      labelled: {task: bool scalar}, whether the whole batch has any label of it.
      image_shape: (H, W).
    """

    def __init__(self, system: System, batch: Batch, key: jax.Array, count: int, mesh: Mesh):
        """Cuts the batch.

        Args:
          system: model and tasks.
          batch: of training, global.
          key: of what is random in the network; parts have different ones.
          count: of parts, which divides the number of examples on every device.
          mesh: from `parallel.make_mesh`.
        """
        self.system, self.count, self._keys, self._parts = system, count, key, batch
        self.image_shape = batch["image"].shape[1:3]
        self.labelled = {
            name: task.labelled(task.targets(batch), batch["valid"])
            for name, task in system.tasks.items()
        }
        self._shares: dict[str, Any] = dict.fromkeys(system.tasks, 1.0)
        if count > 1:
            self._keys = jax.random.split(key, count)
            self._parts = jax.tree.map(lambda array: self._split(array, mesh), batch)
            self._shares = self._shares_of(batch)
        self._shares |= dict.fromkeys(system.penalties, self._equal_shares())

    def _equal_shares(self) -> Any:
        return 1.0 if self.count == 1 else jnp.full(self.count, 1 / self.count)

    def _split(self, array, mesh: Mesh):
        # Every n-th example, so that each device keeps its own examples.
        array = array.reshape(-1, self.count, *array.shape[1:]).swapaxes(0, 1)
        sharding = NamedSharding(mesh, PartitionSpec(None, "data"))
        return jax.lax.with_sharding_constraint(array, sharding)

    def _shares_of(self, batch: Batch) -> dict[str, jax.Array]:
        """{task: [n]}: which share of the whole batch's denominator each part has."""
        found = {}
        for name, task in self.system.tasks.items():

            def denominator(part, name=name, task=task):
                return self.system.denominator(name, task.targets(part), part["valid"])

            whole, parts = denominator(batch), jax.vmap(denominator)(self._parts)
            found[name] = parts / jnp.where(whole != 0, whole, 1.0)
        return found

    def sum(
        self, batch_stats: Any, of_part: Callable[..., tuple[Any, Any, Any]], beside: Any = None
    ) -> tuple[Any, Any, Any]:
        """Goes through the parts, and adds up what they give.

        Args:
          batch_stats: before the first part.
          of_part: (batch_stats, part, key, {task: share}, beside) ─► (tree that is added up, new
            batch_stats, tree that is kept).
          beside: a tree with one entry for each part, [n, ...], which `of_part` gets.

        Returns:
          The sum, the last batch_stats, and what was kept of all parts, [n, ...].
        """
        if self.count == 1:
            beside = jax.tree.map(lambda array: array[0], beside)
            inputs = self._parts, self._keys, self._shares, beside
            total, batch_stats, kept = of_part(batch_stats, *inputs)
            return total, batch_stats, jax.tree.map(lambda array: array[None], kept)
        inputs = self._parts, self._keys, self._shares, beside
        first = jax.tree.map(lambda array: array[0], inputs)
        shapes = jax.eval_shape(of_part, batch_stats, *first)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes[0])

        def body(carry, inputs):
            batch_stats, total = carry
            found, batch_stats, kept = of_part(batch_stats, *inputs)
            return (batch_stats, jax.tree.map(jnp.add, total, found)), kept

        (batch_stats, total), kept = jax.lax.scan(body, (batch_stats, zeros), inputs)
        return total, batch_stats, kept

    def losses(self, model_params: Any, batch_stats: Any) -> dict[str, jax.Array]:
        """{task: loss} of the whole batch under some parameters, with the dropout of the step."""

        def of_part(batch_stats, part, key, shares, _):
            losses, _, stats = task_losses(self.system, model_params, batch_stats, part, key)
            return shared_out(losses, shares), stats, ()

        return self.sum(batch_stats, of_part)[0]


def shared_out(losses: dict[str, jax.Array], shares: dict[str, Any]) -> dict[str, jax.Array]:
    """What a part contributes to the losses of its batch."""
    return {task: loss * shares[task] for task, loss in losses.items()}
