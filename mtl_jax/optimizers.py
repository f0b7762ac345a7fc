"""Schedules and optax chains, with the conventions of the reports.

Weight decay is the *coupled* L2 form of PyTorch's SGD and Adam (added to the gradient before the
moments; every parameter, BatchNorm's and biases included), except for 'adamw'.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mtl_jax import asynchronous

Schedule = Callable[[jax.Array | int], jax.Array]
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "step", "cosine", "polynomial")
COMMON = "common"  # the group of all parameters that no single task owns
_FROZEN = "frozen"


def make_schedule(config, *, steps_per_epoch: int, total_steps: int) -> Schedule:
    """Learning rate as a function of the number of updates made so far.

    Args:
      config: `config.schedule`: `name`, `warmup_epochs`, and for 'step' `every_epochs` and
        `factor`, for 'polynomial' `power`. The base rate is `config.learning_rate`.
      steps_per_epoch: updates in an epoch.
      total_steps: updates in the whole run.

    Returns:
      A traceable function of the step:
        constant: lr0
        step: lr0 · factor^⌊epoch / every_epochs⌋ (report C)
        cosine: lr0 · ½ (1 + cos(π t / T)), closed form over updates (report D)
        polynomial: lr0 · max(1e-6, (1 − epoch / epochs)^power), per epoch (reports A, B)
      with a linear rise from 0 over the first `warmup_epochs`.

    Raises:
      ValueError: unknown name, or a rate that is negative or not finite.
    """
    base = float(config.learning_rate)
    epochs = total_steps / steps_per_epoch

    def epoch(step):
        return jnp.asarray(step // steps_per_epoch, jnp.float32)

    def decayed(step):
        if config.name == "constant":
            return jnp.full((), base, jnp.float32)
        if config.name == "step":
            return base * config.factor ** jnp.floor(epoch(step) / config.every_epochs)
        if config.name == "cosine":
            return base * 0.5 * (1 + jnp.cos(jnp.pi * step / total_steps))
        return base * jnp.maximum(1e-6, (1 - epoch(step) / epochs) ** config.power)

    if config.name not in SCHEDULES:
        raise ValueError(
            f"config.schedule.name={config.name!r}; expected one of {', '.join(SCHEDULES)}."
        )
    if not 0 <= base < math.inf:
        raise ValueError(
            f"config.schedule.learning_rate={base}; expected a finite number, 0 or more."
        )
    warmup_steps = config.warmup_epochs * steps_per_epoch

    def schedule(step):
        rise = jnp.minimum(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
        return jnp.asarray(decayed(step) * rise, jnp.float32)

    return schedule


def names_of(path: tuple) -> list[str]:
    """The names along a path of the parameters' tree: ['model', 'encoder', 'conv1', 'kernel']."""
    return [str(getattr(key, "key", key)) for key in path]


def part_of(path: tuple) -> str:
    """Which learning rate a parameter has: that of the 'encoder', the 'weighting' or the 'rest'."""
    names = names_of(path)
    if names[0] == "weighting":
        return "weighting"
    return "encoder" if "encoder" in names else "rest"


def group_of(path: tuple, tasks: Sequence[str]) -> str:
    """Whose images a parameter learns from: a task's name, or 'common'.

    A module of a task alone is called <kind>_<task> or <kind>_<task>_<detail>, as 'head_semseg' or
    'mask_depth_2'; one that hands features from a task to another is called <kind>_<task>_to_<task>
    and belongs to the latter, whose loss it serves. All else is shared, and so is what a weighting
    learns. Of two tasks that fit, as 'depth' and 'depth_far', the longer name is meant.
    """
    top, module = names_of(path)[:2]
    owner = module.rpartition("_to_")[2] if "_to_" in module else module.partition("_")[2]
    fitting = [task for task in tasks if owner == task or owner.startswith(f"{task}_")]
    return max(fitting, key=len) if top == "model" and fitting else COMMON


def is_batch_norm(params: Any) -> Any:
    """A tree like `params` of bools: whether it is scale or bias of a BatchNorm.

    Nothing else has a scale, and the bias beside it belongs to it.
    """
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    owners = {tuple(names_of(path)[:-1]) for path in paths if names_of(path)[-1] == "scale"}
    return jax.tree_util.tree_map_with_path(
        lambda path, _: tuple(names_of(path)[:-1]) in owners, params
    )


def scale_by_part(
    scales: Mapping[str, float], bias_scale: float = 0.0
) -> optax.GradientTransformation:
    """Multiplies each parameter's update by its part's factor.

    Args:
      scales: {part: factor}.
      bias_scale: if not 0, the biases of 'rest' that are not a BatchNorm's have the factor
        `bias_scale · scales['encoder']` instead.
    """

    def factor(path, of_batch_norm: bool) -> float:
        part = part_of(path)
        is_bias = names_of(path)[-1] == "bias" and not of_batch_norm
        if bias_scale and part == "rest" and is_bias:
            return bias_scale * scales["encoder"]
        return scales[part]

    def update(updates, state, params=None):
        del params
        return jax.tree_util.tree_map_with_path(
            lambda path, value, norm: value * factor(path, norm), updates, is_batch_norm(updates)
        ), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _model_only(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: part_of(path) != "weighting", params)


def make_optimizer(config, schedule: Schedule) -> optax.GradientTransformationExtraArgs:
    """The optax chain: clip ─► decay ─► moments ─► part's factor ─► −learning rate.

    Args:
      config: `config.optimizer`: `name` ('sgd' with `momentum`, 'adam', 'adamw'), `weight_decay`
        (of the model's parameters; a weighting's are not decayed), `encoder_scale` (the encoder's
        rate as a multiple of the others'), `bias_scale` (see `scale_by_part`), `weighting_scale`,
        `clip_norm` (global; 0 = off).
      schedule: the learning rate.

    Raises:
      ValueError: unknown name.
    """
    if config.name not in OPTIMIZERS:
        raise ValueError(
            f"config.optimizer.name={config.name!r}; expected one of {', '.join(OPTIMIZERS)}."
        )
    decay = optax.add_decayed_weights(config.weight_decay, mask=_model_only)
    moments = (
        optax.trace(decay=config.momentum)
        if config.name == "sgd"
        else optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=config.epsilon)
    )
    chain = [moments, decay] if config.name == "adamw" else [decay, moments]
    if config.clip_norm:
        chain.insert(0, optax.clip_by_global_norm(config.clip_norm))
    scales = {"encoder": config.encoder_scale, "weighting": config.weighting_scale, "rest": 1.0}
    chain.append(scale_by_part(scales, config.bias_scale))
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
        images for 'common' and for every task: see `mtl_jax.asynchronous`.
      steps_per_epoch: batches in an epoch.
      total_steps: batches in the whole run.
      labelled_per_epoch: {'common': examples in an epoch, task: those with labels of the task}.
      frozen: parameters ─► a tree of bools: which of them get no update at all, nor weight decay.

    Returns:
      The transformation, whose `update` takes `images` (see `asynchronous.update_every`), and the
      learning rate as a function of the batches so far, for the logs; of 'common' if there are
      several.

    Raises:
      ValueError: an unknown name, or numbers of images that are not those of the run's groups.
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
        raise ValueError(
            f"{key} has {sorted(thresholds)}; expected a number of images for each of "
            f"{sorted(groups)}, or none at all for an update after every batch."
        )
    small = {group: images for group, images in thresholds.items() if images < batch_size}
    if small:
        raise ValueError(
            f"{key} has {small}, fewer than config.train.batch_size={batch_size}. A batch brings "
            "at most one update, so images would be left over for ever."
        )
