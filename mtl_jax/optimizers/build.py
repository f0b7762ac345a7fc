"""The optimizer of a run: an optax chain, or one for each group of parameters."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mtl_jax import _options
from mtl_jax.errors import ConfigError
from mtl_jax.optimizers import asynchronous, rules
from mtl_jax.optimizers.groups import COMMON, group_of, names_of, part_of, scale_by_part
from mtl_jax.optimizers.layerwise import scale_by_layer
from mtl_jax.optimizers.schedules import Schedule, make_schedule

_FROZEN = "frozen"
_MATRICES = ("kernel", "lora_a", "lora_b")


def _decayed(params: Any, *, vectors: bool) -> Any:
    """A tree of bools: the model's parameters, or of them the layers' matrices alone."""

    def is_decayed(path, value) -> bool:
        # Tokens and tables of positions have several axes, and are no matrices of a layer.
        is_matrix = value.ndim > 1 and names_of(path)[-1] in _MATRICES
        return part_of(path) != "weighting" and (vectors or is_matrix)

    return jax.tree_util.tree_map_with_path(is_decayed, params)


def make_optimizer(
    config: Mapping[str, Any], schedule: Schedule
) -> optax.GradientTransformationExtraArgs:
    """The optax chain: clip ─► decay and moments ─► part's factor ─► −learning rate.

    Args:
      config: `config.optimizer`: `name` is a module of `rules`, the rest its options and the
        common ones that are declared there. Those that are missing have their defaults.
      schedule: the learning rate.

    Raises:
      ConfigError: no rule has that name, or an option is unknown or impossible.
    """
    options = _options.complete_part(config, rules.PART, key="config.optimizer")
    mask = functools.partial(_decayed, vectors=options["decay_vectors"])
    decay = optax.add_decayed_weights(options["weight_decay"], mask=mask)
    chain = list(rules.build(config, decay))
    if options["clip_norm"]:
        chain.insert(0, optax.clip_by_global_norm(options["clip_norm"]))
    scales = {
        "encoder": options["encoder_scale"],
        "weighting": options["weighting_scale"],
        "rest": 1.0,
    }
    chain.append(scale_by_part(scales, options["bias_scale"]))
    if options["layer_decay"] != 1:
        chain.append(scale_by_layer(options["layer_decay"]))
    chain.append(optax.scale_by_learning_rate(schedule))
    return optax.with_extra_args_support(optax.chain(*chain))


def build(
    config,
    *,
    steps_per_epoch: int,
    total_steps: int,
    labelled_per_epoch: Mapping[str, int],
    frozen: Callable[[Any], Any] | None = None,
) -> tuple[optax.GradientTransformationExtraArgs, Schedule]:
    """The optimizer of a run: one chain, or one for each group of `images_per_update`.

    Args:
      config: the whole config. `config.optimizer.images_per_update` is empty, or has a number of
        images for 'common' and for every task: see `mtl_jax.optimizers.asynchronous`.
      steps_per_epoch: batches in an epoch.
      total_steps: batches in the whole run.
      labelled_per_epoch: {'common': examples in an epoch, task: those with labels of the task}.
      frozen: parameters ─► a tree of bools: which of them get no update at all, nor weight decay.

    Returns:
      The transformation, whose `update` takes `images` (see `asynchronous.update_every`), and the
      learning rate as a function of the batches so far, for the logs; of 'common' if there are
      several.

    Raises:
      ConfigError: an unknown name or option, or numbers of images that are not those of the run's
        groups.
    """
    thresholds = dict(config.optimizer.images_per_update)
    if thresholds:
        _check_thresholds(thresholds, labelled_per_epoch, config.train.batch_size)
        epochs = total_steps / steps_per_epoch
        transforms, schedule = _by_group(config, thresholds, labelled_per_epoch, epochs)
    else:
        schedule = make_schedule(
            config.schedule, steps_per_epoch=steps_per_epoch, total_steps=total_steps
        )
        transforms = {COMMON: make_optimizer(config.optimizer, schedule)}
        if frozen is None:
            return transforms[COMMON], schedule

    tasks = [group for group in thresholds if group != COMMON]

    def labels(params):
        groups = jax.tree_util.tree_map_with_path(lambda path, _: group_of(path, tasks), params)
        if frozen is None:
            return groups
        return jax.tree.map(
            lambda group, stays: _FROZEN if stays else group, groups, frozen(params)
        )

    return optax.partition(transforms | {_FROZEN: optax.set_to_zero()}, labels), schedule


def _by_group(
    config, thresholds: Mapping[str, int], labelled_per_epoch: Mapping[str, int], epochs: float
) -> tuple[dict[str, optax.GradientTransformation], Schedule]:
    """{group: its transformation}, and the learning rate of 'common' by batches."""
    schedules = {
        group: _schedule_in_updates(config.schedule, labelled_per_epoch[group] / images, epochs)
        for group, images in thresholds.items()
    }
    transforms = {
        group: asynchronous.update_every(
            images, group, make_optimizer(config.optimizer, schedules[group])
        )
        for group, images in thresholds.items()
    }

    def schedule(step):
        return schedules[COMMON](step * config.train.batch_size // thresholds[COMMON])

    return transforms, schedule


def _schedule_in_updates(config, updates_per_epoch: float, epochs: float) -> Schedule:
    """The schedule of a group over its own updates, of which an epoch has ⌈images / threshold⌉."""
    updates = max(1, math.ceil(updates_per_epoch))
    total = max(1, math.ceil(updates * epochs))
    schedule = make_schedule(config, steps_per_epoch=updates, total_steps=total)
    # Part of an epoch may hold more images of a task than its share.
    return lambda step: schedule(jnp.minimum(step, total))


def _check_thresholds(thresholds: Mapping[str, int], groups, batch_size: int) -> None:
    key = "config.optimizer.images_per_update"
    if set(thresholds) != set(groups):
        raise ConfigError(
            f"{key} has {sorted(thresholds)}; expected a number of images for each of "
            f"{sorted(groups)}, or none at all for an update after every batch."
        )
    small = {group: images for group, images in thresholds.items() if images < batch_size}
    if small:
        raise ConfigError(
            f"{key} has {small}, fewer than config.train.batch_size={batch_size}. A batch brings "
            "at most one update, so images would be left over for ever."
        )
