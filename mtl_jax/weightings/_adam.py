"""Adam on a few numbers that a method learns by itself, of which some may stand still."""

import jax
import jax.numpy as jnp


def init(like: jax.Array) -> dict[str, jax.Array]:
    """The moments [K] before the first step, and how many steps each number has made."""
    zeros = jnp.zeros_like(like)
    return {"first": zeros, "second": zeros, "steps": jnp.zeros(like.shape, jnp.int32)}


def direction(
    gradient: jax.Array, state: dict[str, jax.Array], moves: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Adam's direction with β 0.9 and 0.999, ε 10⁻⁸, and the new moments.

    Args:
      gradient: [K].
      state: from `init` or an earlier call.
      moves: [K] bool; the moments of the others stay, and their direction is 0.
    """
    steps = state["steps"] + moves
    first = jnp.where(moves, 0.9 * state["first"] + 0.1 * gradient, state["first"])
    second = jnp.where(moves, 0.999 * state["second"] + 0.001 * gradient**2, state["second"])
    count = jnp.maximum(steps, 1).astype(jnp.float32)
    unbiased = first / (1 - 0.9**count), second / (1 - 0.999**count)
    found = jnp.where(moves, unbiased[0] / (jnp.sqrt(unbiased[1]) + 1e-8), 0.0)
    return found, {"first": first, "second": second, "steps": steps}
