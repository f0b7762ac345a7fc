"""What a network itself adds to the loss, beside the tasks'."""

import jax.numpy as jnp
import numpy as np
import pytest
import weighting_systems
from flax import linen as nn
from weighting_systems import Trainer, batch, section

from mtl_jax import architectures, system, weightings
from mtl_jax.errors import ConfigError

RATE = 0.1


class Penalised(nn.Module):
    """Predictions that do not depend on the image, and 3·p², which nothing else depends on."""

    channels: dict[str, int]
    dtype: jnp.dtype = jnp.float32

    penalties = ("size",)

    @nn.compact
    def __call__(self, image, *, train):
        del train
        final = {}
        for task, count in self.channels.items():
            bias = self.param(f"head_{task}", nn.initializers.ones, (count,))
            final[task] = jnp.broadcast_to(bias, (*image.shape[:3], count))
        p = self.param("p", nn.initializers.constant(2.0), ())
        return architectures.Predictions(final=final, penalties={"size": 3.0 * p**2})


@pytest.fixture(autouse=True)
def penalised(monkeypatch):
    monkeypatch.setattr(weighting_systems, "Network", Penalised)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_is_added_once_whatever_the_tasks_weigh(accumulate):
    weights = {"semseg": 0.5, "depth": 2.0, "parts": 0.0}
    trainer = Trainer(section("fixed", weights=weights), accumulate=accumulate)
    logs = trainer.step(batch(0))
    losses = logs["losses"]
    assert float(losses["size"]) == pytest.approx(12.0)
    tasks = sum(weight * losses[task] for task, weight in weights.items())
    np.testing.assert_allclose(logs["total"], tasks + 12.0, rtol=1e-6)
    p = trainer.params()["model"]["p"]
    np.testing.assert_allclose(p, 2.0 - RATE * 6.0 * 2.0, rtol=1e-6)  # d 3p² = 6p


@pytest.mark.parametrize("name", ["pcgrad", "mgda"])
def test_methods_of_gradients_refuse_it(name):
    model = Penalised({"depth": 1})
    weighting = weightings.build(section(name), weighting_systems.all_tasks())
    with pytest.raises(ConfigError, match=r"adds size to the loss.*config\.model\.size=0"):
        system.check_penalties(model, weighting)
