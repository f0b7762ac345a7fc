"""What every weighting does: the contract between a balancing method and a train step."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mtl_jax import _options

Params = dict[str, dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Weighting:
    """A method that turns K losses into one; all its functions are pure and may be traced.

    Arrays of K numbers have the order of `tasks`. Whatever is random comes from the `key` of the
    step, so that nothing random has to be saved. A task without a label in a batch does not count:
    neither its loss, which is 0, nor anything else about it moves the model, the method's
    parameters or its memory of that task. What is not finite is never hidden.

    A method that only weights losses implements `total`. One that needs every task's own gradient
    derives from `GramWeighting` or `GradientWeighting`. Its options are fields made by
    `mtl_jax._options.option`; they are checked whenever an instance is made.

    Attributes:
      tasks: the tasks' names.
      needs_gradients: `combine` makes the gradient, and not the derivative of `total`.
      needs_after: `after_step` wants the losses of the same batch under the new parameters.
      linear: the weights of `total` do not depend on the losses. Where they do, micro-batches take
        a forward pass first, as the losses are those of the whole batch.
      needs_scores: `end_epoch` wants the tasks' scores on held-out training data. Such a method has
        the option `baselines`, the directories of the single-task runs to compare with.
      needs_held_out: `look_ahead` is called before every step, with a batch of held-out examples.
    """

    tasks: tuple[str, ...]
    linear: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False
    needs_after: ClassVar[bool] = False
    needs_scores: ClassVar[bool] = False
    needs_held_out: ClassVar[bool] = False

    def __post_init__(self):
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        _options.check_values(type(self), values, key=type(self).__name__)

    @classmethod
    def fields_of(cls, options: Mapping[str, Any], tasks: Mapping[str, Any]) -> dict[str, Any]:
        """The fields besides `tasks`, from a config's options and the tasks themselves.

        Args:
          options: {option: value}, checked one by one.
          tasks: {name: Task}.

        Raises:
          ConfigError: the options do not go together, or not with the tasks.
        """
        del tasks
        return dict(options)

    def init(self, key: jax.Array, like: Any = None) -> tuple[Params, Any]:
        """Returns (params, state); both empty by default.

        Args:
          key: PRNG key.
          like: pytree of arrays or shapes of one task's gradient of the shared parameters, from
            which gradient-sized state is made; None where nothing needs any.

        Returns:
          params: {quantity: {task: float32 scalar}}, what the model's optimizer trains. Each
            appears in the logs as train/<quantity>/<task> and in results.json.
          state: a pytree, everything else that the method remembers from step to step.
        """
        del key, like
        return {}, {}

    def total(
        self, params: Params, state: Any, losses: jax.Array, labelled: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """One loss from many; differentiable in `params` and `losses`.

        Args:
          params, state: of the method.
          losses: [K] float32; 0 for a task without a label in this batch.
          labelled: [K] bool, whether the batch has any label of the task.
          key: PRNG key, another one at each step.

        Returns:
          The total loss, a float32 scalar, and its derivatives by the losses, [K] float32.
        """
        raise NotImplementedError

    def held_out_weights(self) -> jax.Array:
        """[K]: by which held-out losses are added up before `look_ahead`; here 1 each."""
        return jnp.ones(len(self.tasks), jnp.float32)

    def look_ahead(self, state: Any, slopes: jax.Array, labelled: jax.Array) -> Any:
        """Called before every step by a train step, for a method that `needs_held_out`.

        Args:
          state: of the method.
          slopes: [K], the derivatives of the held-out loss after a step of plain gradient descent
            by the weights of this step.
          labelled: [K] bool; all False where none of the held-out examples has a label.

        Returns:
          The new state, from which the weights of this step are made.
        """
        del slopes, labelled
        return state

    def after_step(
        self, state: Any, before: jax.Array, after: jax.Array | None, labelled: jax.Array
    ) -> Any:
        """Called after every update.

        Args:
          state: of the method.
          before: [K] float32, the losses of the batch before the update.
          after: the same under the new parameters for a method that `needs_after`, else None.
          labelled: [K] bool.

        Returns:
          The new state.
        """
        del before, after, labelled
        return state

    def end_epoch(
        self,
        state: Any,
        mean_losses: jax.Array,
        labelled: jax.Array,
        scores: jax.Array | None = None,
    ) -> Any:
        """Called after the last step of an epoch, and of a method that `needs_scores` once more.

        Args:
          state: of the method.
          mean_losses: [K], mean of the unweighted loss over the epoch's labelled batches; 0 where
            there was none.
          labelled: [K] bool, whether there was any.
          scores: [K], by how many per cent each task is worse than its single-task baseline on
            held-out training data, in the second call, which says nothing else; None in the first.

        Returns:
          The new state.
        """
        del mean_losses, labelled, scores
        return state

    def diagnostics(self, state: Any) -> dict[str, jax.Array]:
        """{name: scalar} for the logs: what went wrong in the method so far, if it can."""
        del state
        return {}

    def stack(self, by_task: Mapping[str, Any]) -> jax.Array:
        """{task: scalar} as [K], in the order of `tasks`."""
        return jnp.stack([by_task[task] for task in self.tasks])

    def by_task(self, array: jax.Array) -> dict[str, jax.Array]:
        """[K] as {task: scalar}."""
        return dict(zip(self.tasks, array, strict=True))


@dataclasses.dataclass(frozen=True)
class GradientWeighting(Weighting):
    """A method that needs every task's own gradient of the parameters that tasks share.

    Attributes:
      heads: whether a task's own parameters get its gradient as it is ('plain'), or times the
        task's weight ('weighted').
    """

    needs_gradients = True
    update_every: ClassVar[int] = 1
    representation: ClassVar[bool] = False
    gradient_chunks: ClassVar[int] = 1
    max_norm: ClassVar[float] = 0.0
    # Where heads are weighted, a weight above so many times the median of those that are not 0 is
    # cut to it: nothing else bounds weights that are the larger, the smaller a gradient is.
    head_cap: ClassVar[float] = float("inf")

    heads: str = _options.option(
        "plain",
        "own parameters of a task: its gradient as it is, or times its weight",
        _options.one_of("plain", "weighted"),
    )

    def combine(
        self,
        params: Params,
        state: Any,
        gradients: Sequence[Any],
        losses: jax.Array,
        labelled: jax.Array,
        key: jax.Array,
    ) -> tuple[Any, jax.Array | None, Params, Any]:
        """One gradient from many.

        Args:
          params, state, losses, labelled, key: as of `total`.
          gradients: of K tasks, each a pytree: the gradient of its loss with respect to the shared
            parameters, over the whole batch of all devices and micro-batches; 0 without a label.

        Returns:
          The gradient, a pytree like each of them; the effective weights [K], whose weighted sum of
          the gradients it is, or None if it is no such sum; the gradient of what the method
          learns, {} if that is nothing; the new state.
        """
        raise NotImplementedError

    def zeros(self, like: Any) -> dict[str, Any]:
        """{task: float32 zeros like a gradient}: what a method starts with that remembers some.

        Raises:
          ValueError: there is nothing to say how large gradients are.
        """
        if like is None:
            raise ValueError(
                f"{type(self).__name__}.init needs `like`, a pytree like one task's gradient of "
                "the shared parameters: this method remembers gradients."
            )
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), like)
        return dict.fromkeys(self.tasks, zeros)

    def total(self, params, state, losses, labelled, key):
        """The plain sum of the losses, for the logs; the gradient is `combine`'s."""
        del params, state, key
        return sum(losses), jnp.where(labelled, 1.0, 0.0)

    def head_weights(
        self,
        params: Params,
        weights: jax.Array | None,
        losses: jax.Array,
        labelled: jax.Array,
    ) -> jax.Array:
        """[K]: what the gradient of each task's own parameters is multiplied by."""
        del params, losses
        if self.heads == "plain" or weights is None:
            return jnp.ones(len(self.tasks), jnp.float32)
        if math.isinf(self.head_cap):
            return weights
        counts = labelled & (weights != 0)
        middle = jnp.nanmedian(jnp.where(counts, weights, jnp.nan))
        return jnp.minimum(weights, self.head_cap * jnp.where(jnp.any(counts), middle, 1.0))

    def shrink(self, squared_norm: jax.Array) -> jax.Array:
        """What makes a gradient of that squared length no longer than `max_norm`."""
        if not self.max_norm:
            return jnp.ones((), jnp.float32)
        return jnp.minimum(1.0, self.max_norm / jnp.sqrt(jnp.maximum(squared_norm, 0.0)))


def weighted_sum(weights: jax.Array, terms: Sequence[Any]) -> Any:
    """Σ w_k t_k over pytrees, added up in their order."""

    def add(*leaves):
        return sum(weight * leaf for weight, leaf in zip(weights, leaves, strict=True))

    return jax.tree.map(add, *terms)


def inner_products(trees: Sequence[Any]) -> jax.Array:
    """[K, K] float32: the inner product of every pair of pytrees.

    Sums of products, as a matrix product might be done in less than float32.
    """

    def product(a, b):
        return jnp.sum(a.astype(jnp.float32) * b.astype(jnp.float32))

    count = len(trees)
    found = [[None] * count for _ in trees]
    for i in range(count):
        for j in range(i, count):
            products = jax.tree.leaves(jax.tree.map(product, trees[i], trees[j]))
            found[i][j] = found[j][i] = sum(products, jnp.zeros((), jnp.float32))
    return jnp.stack([jnp.stack(row) for row in found])


def softmax(logits: jax.Array, labelled: jax.Array) -> jax.Array:
    """[K]: the softmax over the labelled tasks, 0 for the others."""
    high = jnp.max(jnp.where(labelled, logits, -jnp.inf))
    high = jnp.where(jnp.any(labelled), high, 0.0)
    shares = jnp.where(labelled, jnp.exp(jnp.where(labelled, logits, high) - high), 0.0)
    total = jnp.sum(shares)
    return shares / jnp.where(total != 0, total, 1.0)


def ascends(gradients: Sequence[Any], gradient: Any, labelled: jax.Array) -> jax.Array:
    """Whether a step along `gradient` leads uphill for a labelled task, beyond rounding."""
    overlaps, lengths = [], []
    for each in gradients:
        table = inner_products([each, gradient])
        overlaps.append(table[0, 1])
        lengths.append(jnp.sqrt(table[0, 0]) * jnp.sqrt(table[1, 1]))
    rounding = 1e-5 * jnp.stack(lengths)
    return jnp.any(labelled & (jnp.stack(overlaps) < -rounding))
