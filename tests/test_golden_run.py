"""Thirty steps of training give the losses on record.

The record guards the whole path from the drawn scene to the update. It changes only when the
numbers are meant to change; then make it anew: `python tests/test_golden_run.py`.

The network is smooth. In a real one the first flipped ReLU or pooling window, which rounding
decides, sets a run on another path, and after a few steps the losses of two machines differ by
percents. Real networks have records of their own, in float64: mtl_jax/golden.
"""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest
import toy_network as toy

from mtl_jax import architectures

toy_network = toy.in_every_run()

GOLDEN = Path(__file__).parent / "golden_run.json"
STEPS = 30
# Some thirty times what a perturbation of 10⁻⁶ changes, which is ten times what float32 rounds.
TOLERANCE = {"train/loss/semseg": 1e-4, "train/loss/depth": 1e-4, "train/gradient_norm": 1e-3}


def losses(data_dir: str, directory, *, perturbation: float = 0.0, seed: int = 0):
    """Losses of the steps, with everything on that a training run has.

    `perturbation` is the relative size of a random change of each parameter and each image channel.
    """
    import tiny

    config = tiny.config(
        data_dir,
        data__augment__scale=(0.75, 1.25),
        data__augment__flip=0.5,
        optimizer__name="sgd",
        schedule__name="polynomial",
        schedule__learning_rate=0.005,
        schedule__warmup_epochs=1.0,
        train__epochs=10,
        train__log_every=1,
        train__eval_every_epochs=10,
    )
    run = tiny.run(config, directory)
    if perturbation:
        run.system = Perturbed(run.system, perturbation, np.random.default_rng(seed))
    run.train()
    scalars = [run.writer.scalars[step] for step in range(1, STEPS + 1)]
    return {key: [float(s[key]) for s in scalars] for key in TOLERANCE}


class Perturbed:
    """A system whose initial parameters and normalised images are slightly different."""

    def __init__(self, system, size: float, rng):
        mean = system.image_mean
        mean = tuple(m * (1 + size * d) for m, d in zip(mean, rng.standard_normal(len(mean))))
        self._system, self._size, self._rng = (
            dataclasses.replace(system, image_mean=mean),
            size,
            rng,
        )

    def __getattr__(self, name):
        return getattr(self._system, name)

    def init(self, *args):
        """The system's, with every number times 1 + size·N(0, 1)."""

        def change(x):
            return np.float32(x * (1 + self._size * self._rng.standard_normal(x.shape)))

        return jax.tree.map(change, self._system.init(*args))


def assert_as_recorded(found, share: float = 1.0):
    """Within this share of the tolerance."""
    golden = json.loads(GOLDEN.read_text())
    assert found.keys() == golden.keys()
    for key, expected in golden.items():
        rtol = share * TOLERANCE[key]
        np.testing.assert_allclose(found[key], expected, rtol=rtol, err_msg=key)


def test_golden_run(streets_dir, tmp_path):
    assert_as_recorded(losses(streets_dir, tmp_path))


@pytest.mark.weekly
@pytest.mark.parametrize("seed", range(3))
def test_rounding_stays_small(streets_dir, tmp_path, seed):
    """A third of the tolerance is enough for ten times what float32 rounds."""
    found = losses(streets_dir, tmp_path, perturbation=1e-6, seed=seed)
    assert_as_recorded(found, share=1 / 3)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/input_pipeline is not that package
    import conftest

    from input_pipeline import datasets

    with tempfile.TemporaryDirectory() as data, tempfile.TemporaryDirectory() as work:
        datasets.load(conftest.TINY, data_dir=data)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(architectures, "build", toy.build)
            GOLDEN.write_text(json.dumps(losses(data, work), indent=1) + "\n")
        sys.exit(0)
