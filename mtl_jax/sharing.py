"""What tasks share of a network: its parameters, and where the shared part ends."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from mtl_jax import weightings
from mtl_jax.errors import ConfigError
from mtl_jax.system import System

Batch = dict[str, jax.Array]

_BLOCK = "block"
_OWN = object()  # stands for an array of a single task


def task_losses(system: System, model_params, batch_stats, batch: Batch, key: jax.Array):
    """The unweighted training loss of every task on one batch.

    Args:
      system: model and tasks.
      model_params, batch_stats: of the model.
      batch: of training, `image` uint8 [B, H, W, 3].
      key: of what is random in the network.

    Returns:
      {task: float32 scalar}, {task: whether anything of the task is labelled}, new batch_stats.
      The first has `system.penalties` too.
    """
    image = system.normalize(batch["image"])
    supervised, stats, penalties = _apply(
        system, model_params, batch_stats, image, key, remat=system.remat
    )
    weights = system.weights_of_predictions(len(supervised))
    losses, labelled, factors = {}, {}, system.image_factors(batch)
    for name, task in system.tasks.items():
        targets = task.targets(batch)
        each = [
            weight * system.loss(name, outputs[name], targets, batch["valid"], factors)
            for weight, outputs in zip(weights, supervised, strict=True)
            if name in outputs
        ]
        losses[name] = sum(each) / (1 if system.supervision_weights else len(each))
        labelled[name] = task.labelled(targets, batch["valid"])
    losses |= {name: penalties[name] for name in system.penalties}
    return losses, labelled, stats


def _apply(system: System, model_params, batch_stats, image, key, *, remat: bool = False):
    """The predictions that are supervised, one after the other; new batch_stats; penalties.

    With `remat`, the backward pass has only the outputs of blocks, and computes the rest again.
    """
    variables = {
        "params": system.freezing.without_gradient(model_params),
        "batch_stats": batch_stats,
    }

    def network(variables, image, key):
        return system.model.apply(
            variables, image, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )

    with system.freezing.as_frozen():
        if remat:
            network = _recomputed(network)
        predictions, mutated = network(variables, image, key)
    supervised = [predictions.final]
    if system.deep_supervision:
        supervised = [*predictions.auxiliary, predictions.final]
    return supervised, mutated.get("batch_stats", {}), predictions.penalties


def _recomputed(network: Callable) -> Callable:
    """The same function, of which the backward pass keeps the outputs of blocks only."""

    def named(*arguments):
        with nn.intercept_methods(_name_blocks):
            return network(*arguments)

    kept = jax.checkpoint_policies.save_only_these_names(_BLOCK)
    return jax.checkpoint(named, policy=kept)


def _name_blocks(call, args, kwargs, context):
    """Names what the parts of an encoder, a decoder or a head give, and blocks inside of a part.

    The latter are a Swin's: of what its stages give alone, a whole stage would be computed again at
    once, and with `encoder.remat` every block of it twice.
    """
    result, path = call(*args, **kwargs), context.module.path
    is_block = len(path) == 2 or (len(path) == 3 and path[-1].startswith("blocks_"))
    if context.method_name != "__call__" or not is_block:
        return result
    return jax.tree.map(lambda array: checkpoint_name(array, _BLOCK), result)


class Split:
    """The model's parameters as those that tasks share, and each task's own.

    Shared is what more than one task's predictions depend on, whatever a batch has labels of. Of a
    single task all is, so that a method makes of it what it makes of one task.
    """

    def __init__(self, system: System, variables: dict[str, Any], image_shape: tuple[int, int]):
        """Reads the network's graph.

        Args:
          system: model and tasks.
          variables: of the model, or their shapes.
          image_shape: (H, W) of images.
        """
        params, *inputs = _shapes(variables, image_shape)
        table = weightings.reached(
            lambda *args: _sums(_apply(system, *args)[0], system), params, *inputs
        )
        alone = len(system.tasks) == 1
        self.shared = [alone or int(tasks.sum()) > 1 for tasks in table]
        self._sizes = [leaf.size for leaf in jax.tree.leaves(params)]
        # Of an array that no prediction depends on, the gradient is 0 whoever owns it.
        self.owners = [int(np.argmax(tasks)) for tasks in table]

    def check_trained(self, system: System, params: Any) -> None:
        """Raises ConfigError if training leaves everything as it is that tasks share.

        Args:
          params: of the model, or their shapes.
        """
        frozen = jax.tree.leaves(system.freezing.mask({"model": params})["model"])
        if any(s and not still for s, still in zip(self.shared, frozen, strict=True)):
            return
        parts = ", ".join(system.freezing.parts)
        why = f"config.train.freeze={parts} leaves it as it is" if parts else "it has none"
        raise ConfigError(
            "config.weighting.name is a method that combines the gradients of what tasks share of "
            f"the network, and of {type(system.model).__name__} {why}. Use a weighting of losses, "
            "such as 'fixed'."
        )

    def shared_leaves(self, tree: Any) -> Any:
        """A tree, less what is a task's own: nested as it is, in the same order."""
        leaves = jax.tree.leaves(tree)
        marked = jax.tree.unflatten(
            jax.tree.structure(tree),
            [leaf if s else _OWN for leaf, s in zip(leaves, self.shared, strict=True)],
        )
        return _without_own(marked)

    def chunks(self, count: int) -> list[list[int]]:
        """Which of the shared arrays, by their number, make up each of so many parts.

        The parts follow each other, and are of about one size.
        """
        ends = np.cumsum([size for size, s in zip(self._sizes, self.shared, strict=True) if s])
        middles = ends - np.diff(ends, prepend=0) / 2
        part = np.minimum(middles / ends[-1] * count, count - 1).astype(int)
        found = [np.flatnonzero(part == number).tolist() for number in range(count)]
        return [indices for indices in found if indices]

    def own_leaves(self, trees: Sequence[Any]) -> list[Any]:
        """The other arrays, each from the tree of the task that owns it."""
        leaves = [jax.tree.leaves(tree) for tree in trees]
        return [
            leaves[owner][index]
            for index, (owner, s) in enumerate(zip(self.owners, self.shared, strict=True))
            if not s
        ]

    def joined(self, like: Any, shared: Any, own: list[Any], factors: jax.Array) -> Any:
        """A tree like `like`; a task's own arrays are multiplied by its one of `factors`, [K]."""
        of_all, of_tasks = iter(jax.tree.leaves(shared)), iter(own)
        leaves = [
            next(of_all) if s else factors[owner] * next(of_tasks)
            for owner, s in zip(self.owners, self.shared, strict=True)
        ]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    def own_modules(self, params: Any) -> set[str]:
        """The names of the top-level modules of which no parameter is shared."""
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        names = [str(path[0].key) for path in paths]
        shared = {name for name, s in zip(names, self.shared, strict=True) if s}
        return set(names) - shared


def _without_own(tree: Any) -> Any:
    """Nested dicts without the entries that are `_OWN`, and without what is empty then."""
    if not isinstance(tree, Mapping):
        return tree
    found = {key: _without_own(value) for key, value in tree.items()}
    empty = (key for key, value in found.items() if isinstance(value, Mapping) and not value)
    dropped = {key for key, value in found.items() if value is _OWN} | set(empty)
    return {key: value for key, value in found.items() if key not in dropped}


class Cut:
    """The features at which a network's shared part ends: what tasks' own modules are given.

    Of a network that has such a cut, one function makes the features from the shared parameters,
    and another one all losses from the features and the tasks' own parameters.
    """

    def __init__(
        self, system: System, split: Split, variables: dict[str, Any], image_shape: tuple[int, int]
    ):
        """Finds the cut.

        Args:
          system, variables, image_shape: as of `Split`.
          split: of the same.

        Raises:
          ConfigError: the network has none: all of it is shared, or something shared is also
            reached on another way, or is made from what is a task's own, or two tasks are given
            different features.
        """
        self._system = system
        params, *inputs = _shapes(variables, image_shape)
        self._own = split.own_modules(params)
        if not self._own:
            raise ConfigError(
                "config.weighting.representation=True needs a network with modules of single "
                f"tasks; of {type(system.model).__name__} all is shared. Use representation=False."
            )
        order: list[int] = []

        def seen(params, batch_stats, image, key):
            found, first = [], {}
            order.clear()
            with self._intercepting(lambda leaf: order.append(_place(leaf, found, first)) or leaf):
                _apply(system, params, batch_stats, image, key)
            return [jnp.sum(leaf.astype(jnp.float32)) for leaf in found]

        table = np.array(weightings.reached(seen, params, *inputs))  # [parameters, tensors]
        shared = np.array(split.shared)
        crosses = table[shared].any(axis=0) & ~table[~shared].any(axis=0)
        # The n-th tensor that a task's own module is given is which of the features, or none.
        rank = np.cumsum(crosses) - 1
        self._which = [int(rank[place]) if crosses[place] else None for place in order]
        features = jax.eval_shape(lambda *args: self.features(*args)[0], params, *inputs)

        def beyond(given, batch_stats, image, key):
            params, features = given
            supervised, *_ = self._beyond(features, params, batch_stats, image, key)
            return _sums(supervised, system)

        rest = weightings.reached(beyond, (params, features), *inputs)
        paths = jax.tree_util.tree_leaves_with_path(params)
        for (path, _), is_shared, tasks in zip(
            paths, split.shared, rest[: len(paths)], strict=True
        ):
            if is_shared and tasks.any():
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise ConfigError(
                    "config.weighting.representation=True needs a network whose shared part ends "
                    f"before the tasks' own modules; {type(system.model).__name__} uses the shared "
                    f"{name} after or beside them. Use representation=False."
                )
        self._check_in_common(rest[len(paths) :])

    def _check_in_common(self, given: list[np.ndarray]) -> None:
        """Raises ConfigError if the inner product of two tasks' gradients would be 0 by itself.

        Args:
          given: for each feature, which tasks depend on it.
        """
        for a, b in itertools.combinations(range(len(self._system.weighting.tasks)), 2):
            if not any(tasks[a] and tasks[b] for tasks in given):
                names = [self._system.weighting.tasks[k] for k in (a, b)]
                raise ConfigError(
                    "config.weighting.representation=True compares tasks at the features that "
                    f"their own modules are given; {type(self._system.model).__name__} gives "
                    f"{' and '.join(names)} none in common, so that they would never seem to "
                    "conflict. Use representation=False."
                )

    def features(self, params, batch_stats, image, key):
        """What crosses from shared to tasks' own modules.

        Args:
          params, batch_stats: of the model.
          image: normalised, [B, H, W, 3].
          key: of what is random in the network.

        Returns:
          The list of all tensors, and the new batch_stats.
        """

        def shared_part(params, batch_stats, image, key):
            found: dict[int, jax.Array] = {}
            places = iter(self._which)

            def visit(leaf):
                if (which := next(places)) is not None:
                    found.setdefault(which, leaf)
                return leaf

            with self._intercepting(visit):
                _, stats, _ = _apply(self._system, params, batch_stats, image, key)
            return [found[which] for which in sorted(found)], stats

        # Around all of it: what is found inside may leave a recomputed function as a result alone.
        made = _recomputed(shared_part) if self._system.remat else shared_part
        return made(params, batch_stats, image, key)

    def losses(self, features, params, batch_stats, batch: Batch, key):
        """As `task_losses`, from features."""
        with self._standing_in(features):
            return task_losses(self._system, params, batch_stats, batch, key)

    def stats(self, of_features: Any, of_losses: Any) -> Any:
        """The batch_stats of shared modules from the one, of tasks' own from the other."""
        own = {name: value for name, value in of_losses.items() if name in self._own}
        return dict(of_features) | own

    def _beyond(self, features, params, batch_stats, image, key):
        with self._standing_in(features):
            return _apply(self._system, params, batch_stats, image, key)

    def _standing_in(self, features):
        """Within it, tasks' own modules are given these features."""
        places = iter(self._which)

        def visit(leaf):
            return leaf if (which := next(places)) is None else features[which]

        return self._intercepting(visit)

    def _intercepting(self, visit):
        """Within it, every array that a task's own module is called with goes through `visit`."""

        def intercept(call, args, kwargs, context):
            path = context.module.path
            if len(path) == 1 and path[0] in self._own and context.method_name == "__call__":
                args, kwargs = jax.tree.map(
                    lambda leaf: visit(leaf) if isinstance(leaf, jax.Array) else leaf,
                    (args, kwargs),
                )
            return call(*args, **kwargs)

        return nn.intercept_methods(intercept)


def _place(leaf, found: list, first: dict[int, int]) -> int:
    """Where an array is in `found`, to which it is added if it is new."""
    if id(leaf) not in first:
        first[id(leaf)] = len(found)
        found.append(leaf)
    return first[id(leaf)]


def _shapes(variables: dict[str, Any], image_shape: tuple[int, int]):
    """Shapes of parameters, batch_stats, two images and a key.

    Two, as some networks refuse to train on one: a statistic over the batch would be of one value.
    """
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), dict(variables))
    image = jax.ShapeDtypeStruct((2, *image_shape, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return shapes["params"], shapes["batch_stats"], image, key


def _sums(supervised, system: System) -> list[jax.Array]:
    """One number per task that depends on all that its loss depends on."""
    return [
        sum(jnp.sum(maps[task]) for maps in supervised if task in maps)
        for task in system.weighting.tasks
    ]
