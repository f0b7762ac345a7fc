"""Runs a method of `mtl_jax.weightings` on the steps of a values file, in float32 under `jax.jit`.

The files' format: tests/mtl_jax/balancing_values.json, "about".
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax import weightings

# What a file calls otherwise, or tells of a method that has but this.
_FIXED = {
    "stch": {"preference": "mean"},
    "gradnorm": {"parametrisation": "softmax", "initial_losses": "first step"},
    "excess_mtl": {"total": "K", "first_step": "uniform"},
}


def run(method: str, options: dict, steps: list[dict]) -> list[dict]:
    """What each step gives: see the checker of the values file."""
    tasks = tuple(f"task{k}" for k in range(len(steps[0]["labelled"])))
    made, initial, scores = _method(method, dict(options), tasks)
    params, state = made.init(jax.random.key(0), like=_rows(steps[0])[0])
    if initial:
        params = {name: made.by_task(jnp.float32(values)) for name, values in initial.items()}
    labelled = jnp.ones(len(tasks), bool)
    if scores:
        state = made.end_epoch(state, jnp.ones(len(tasks)), labelled, jnp.float32(scores))
    found, epoch = [], []
    for index, step in enumerate(steps):
        one = _with_draws(made, step)
        result, state = _step(one, index, params, state, step)
        found.append(result)
        epoch.append(step["losses"])
        if step.get("end_epoch"):
            known = jnp.array(step["labelled"], bool)
            state = made.end_epoch(state, jnp.float32(np.mean(epoch, 0)), known)
            epoch = []
    return found


def _method(name: str, options: dict, tasks: tuple[str, ...]):
    """The method, its initial parameters if they are given, and scores."""
    if name not in weightings.names():
        raise NotImplementedError(name)
    initial, scores = options.pop("initial", None), options.pop("scores", None)
    for key, value in _FIXED.get(name, {}).items():
        if options.pop(key, value) != value:
            raise NotImplementedError(f"{name}: {key}")
    if "classification" in options:
        flags = options.pop("classification")
        options["classification"] = tuple(t for t, f in zip(tasks, flags, strict=True) if f)
    if "sum" in options:
        options["reduce"] = "sum" if options.pop("sum") else "mean"
    known = {field.name for field in dataclasses.fields(weightings.kind(name))}
    if unknown := set(options) - known:
        raise NotImplementedError(f"{name}: {sorted(unknown)}")
    return weightings.make(name, tasks, **options), initial, scores


def _with_draws(method, step: dict):
    """The same method, whose draws are the step's."""
    kind, members = type(method), {}
    if "orders" in step:
        members["orders"] = lambda self, key: jnp.array(step["orders"], jnp.int32)
    if "normal" in step:
        members["draw"] = lambda self, key: jnp.array(step["normal"], jnp.float32)
    if "uniform" in step:
        members["draw"] = lambda self, key, shape: jnp.array(step["uniform"], jnp.float32)
    if not members:
        return method
    fields = {f.name: getattr(method, f.name) for f in dataclasses.fields(method)}
    return type(kind.__name__, (kind,), members)(**fields)


def _rows(step: dict) -> list[jax.Array]:
    """The tasks' gradients, as float32."""
    rows = step.get("jacobian") or np.zeros((len(step["labelled"]), 1))
    return [jnp.array([float(x) for x in row], jnp.float32) for row in rows]


def _step(method, index: int, params, state, step: dict) -> tuple[dict, object]:
    arguments = _rows(step), jnp.float32(step["losses"]), jnp.array(step["labelled"], bool)
    if not method.needs_gradients:
        kind = _loss_step
    else:
        kind = _between if index % method.update_every else _gradient_step
    after = jnp.float32(step["losses_after"]) if method.needs_after else None
    result, state = _program(kind, method)(params, state, *arguments, after)
    found = {key: np.asarray(value, np.float64) for key, value in result.items()}
    learned = found.pop("learned_gradient", None)
    if learned is not None and learned.size:
        found["learned_gradient"] = learned
    return found, state


@functools.cache
def _program(kind, method):
    """The step that `kind` makes for the method, and what the method does after it."""
    one = kind(method)

    def step(params, state, rows, losses, labelled, after):
        result, state = one(params, state, rows, losses, labelled)
        return result, method.after_step(state, losses, after, labelled)

    return jax.jit(step)


def _loss_step(method):
    def step(params, state, rows, losses, labelled):
        del rows

        def total(params, losses):
            return method.total(params, state, losses, labelled, jax.random.key(0))

        (value, weights), gradients = jax.value_and_grad(total, (0, 1), has_aux=True)(
            params, losses
        )
        del weights  # those that are logged are held against the derivatives elsewhere
        found = {"total": value, "weights": gradients[1]}
        return found | {"learned_gradient": _learned(method, gradients[0])}, state

    return step


def _gradient_step(method):
    def step(params, state, rows, losses, labelled):
        gradient, weights, learned, state = method.combine(
            params, state, rows, losses, labelled, jax.random.key(0)
        )
        found = {"gradient": gradient, "learned_gradient": _learned(method, learned)}
        return found | ({} if weights is None else {"weights": weights}), state

    return step


def _between(method):
    def step(params, state, rows, losses, labelled):
        del params
        weights = method.between(state, losses, labelled)
        gradient = weightings.weighted_sum(weights, rows)
        shrink = method.shrink(jnp.sum(gradient**2))
        return {"gradient": shrink * gradient, "weights": shrink * weights}, state

    return step


def _learned(method, gradient) -> jax.Array:
    """What is learned is one quantity at most: its gradient [K], or nothing."""
    for values in gradient.values():
        return method.stack(values)
    return jnp.zeros(0)
