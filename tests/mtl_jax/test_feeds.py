"""What feeds the steps of a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax.runs import feeds


def images(count: int) -> dict[str, jax.Array]:
    return {"image": jnp.ones((count, 2))}


@pytest.fixture
def step():
    return jax.jit(lambda state, batch: state + batch["image"].sum())


def ahead(step) -> feeds.Ahead:
    return feeds.Ahead(step, jnp.float32(0), {"image": ((2,), np.dtype(np.float32))}, 3)


def test_a_step_is_compiled_ahead_and_not_again(step):
    assert ahead(step)(jnp.float32(1), images(3)) == 7
    assert step._cache_size() == 0


def test_batches_of_another_size_have_a_program_of_their_own(step):
    both = ahead(step)
    assert both(jnp.float32(1), images(5)) == 11
    assert both(jnp.float32(1), images(3)) == 7
    assert step._cache_size() == 1


def test_what_compiling_ahead_raises_is_raised_by_the_first_step(step, monkeypatch):
    def fail(*_):
        raise MemoryError("too large")

    monkeypatch.setattr(jax.stages.Lowered, "compile", fail)
    failing = ahead(step)
    with pytest.raises(MemoryError, match="too large"):
        failing(np.float32(1), images(3))
