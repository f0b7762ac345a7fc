"""Schedules and optax chains, with the conventions of the reports.

Weight decay is the *coupled* L2 form of PyTorch's SGD and Adam (added to the gradient before the
moments; every parameter, BatchNorm's and biases included), except for 'adamw'.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

Schedule = Callable[[jax.Array | int], jax.Array]
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "step", "cosine", "polynomial")


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
      ValueError: unknown name.
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
    warmup_steps = config.warmup_epochs * steps_per_epoch

    def schedule(step):
        rise = jnp.minimum(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
        return jnp.asarray(decayed(step) * rise, jnp.float32)

    return schedule


def group_of(path: tuple) -> str:
    """The learning-rate group of a parameter: 'encoder', 'weighting' or 'rest'."""
    names = [str(getattr(key, "key", key)) for key in path]
    if names[0] == "weighting":
        return "weighting"
    return "encoder" if "encoder" in names else "rest"


def scale_by_group(scales: dict[str, float]) -> optax.GradientTransformation:
    """Multiplies each parameter's update by its group's factor."""

    def update(updates, state, params=None):
        del params
        return jax.tree_util.tree_map_with_path(
            lambda path, value: value * scales[group_of(path)], updates
        ), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _model_only(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: group_of(path) != "weighting", params)


def make_optimizer(config, schedule: Schedule) -> optax.GradientTransformation:
    """The optax chain: clip ─► decay ─► moments ─► group factor ─► −learning rate.

    Args:
      config: `config.optimizer`: `name` ('sgd' with `momentum`, 'adam', 'adamw'), `weight_decay`
        (of the model's parameters; a weighting's are not decayed), `encoder_scale` (the encoder's
        rate as a multiple of the others'), `weighting_scale`, `clip_norm` (global; 0 = off).
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
    chain.append(scale_by_group(scales))
    chain.append(optax.scale_by_learning_rate(schedule))
    return optax.chain(*chain)
