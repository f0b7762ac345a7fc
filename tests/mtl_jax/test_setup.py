"""What the process is told before a command starts."""

import gc

import pytest

from mtl_jax.commands import setup


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((700, 10, 10), (25_000, 10, 10)),
        ((50_000, 20, 20), (50_000, 20, 20)),  # fewer collections still
        ((0, 10, 10), (0, 10, 10)),  # none
    ],
)
def test_garbage_is_looked_for_rarely(before, after):
    threshold = gc.get_threshold()
    try:
        gc.set_threshold(*before)
        setup.collect_rarely()
        assert gc.get_threshold() == after
    finally:
        gc.set_threshold(*threshold)
