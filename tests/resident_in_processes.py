"""One of the processes of `test_resident.py`, started with JSON of what it needs to know.

It makes batches of resident data, and two runs with such data, of which one is stopped and goes on.
"""

import json
import sys
from pathlib import Path
from unittest import mock

import jax

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def batches(given, out: Path) -> None:
    """Saves every key of every batch, of which each process has made its part."""
    import numpy as np
    import test_resident
    from jax.experimental import multihost_utils

    from input_pipeline import arrays
    from mtl_jax import parallel

    stream = test_resident.stream_of(
        arrays.Arrays(given["arrays"]),
        process=jax.process_index(),
        processes=jax.process_count(),
        **test_resident.EVERYTHING,
    )
    make = test_resident.maker(stream, parallel.make_mesh(), test_resident.STEPS.start)
    for step in test_resident.STEPS:
        found = multihost_utils.process_allgather(make(), tiled=True)
        if jax.process_index() == 0:
            np.savez(out / f"batch_{step}.npz", **found)


def runs(given, out: Path) -> None:
    """Trains in out/whole, where no step waits for the other process, and in out/parts.

    That one is stopped after three steps and goes on.
    """
    import test_resident
    import tiny
    from jax.experimental import multihost_utils

    from mtl_jax.runs import loop

    def alone():
        """`device_put` compares what processes give, which is a question and an answer."""
        waits = AssertionError("A step waits for the other process.")
        return mock.patch.object(multihost_utils, "assert_equal", side_effect=waits)

    config = test_resident.config(given["streets"])
    test_resident.guarded(config, out / "whole", alone)
    with mock.patch.object(loop.StopSignal, "requested", test_resident.stops_at_three):
        try:
            tiny.run(config, out / "parts").train()
        except loop.Stopped:
            tiny.run(config, out / "parts").train()


if __name__ == "__main__":
    about = json.loads(sys.argv[1])
    jax.distributed.initialize(about["coordinator"], about["processes"], about["process"])
    jax.devices()  # before the tests' own number of devices is asked for
    import toy_network

    from mtl_jax import architectures

    architectures.build = toy_network.build
    batches(about, Path(about["out"]))
    runs(about, Path(about["out"]))
