"""Low-rank updates: what is exported is the plain network, with them in its matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax import system
from mtl_jax.commands import assembly
from mtl_jax.configs import vit
from mtl_jax.encoders import vit as encoder

BLOCKS = 4

SPECS = {
    "semseg": {"kind": "classes", "class_names": ("a", "b"), "palette": (), "ignore": 255},
    "depth": {"kind": "depth", "unit": "m", "valid_range": (1.0, 80.0), "invalid": 0.0},
}


class Directory:
    """Of a work directory the label specs alone."""

    def read_label_specs(self):
        return SPECS


@pytest.mark.slow
def test_merged_predictions_are_those_of_the_trained_network(monkeypatch):
    """Of four blocks, of which one is like another."""
    monkeypatch.setitem(encoder.SIZES, "S", (96, BLOCKS, 3))
    config = vit.get_config("streets")
    config.model.encoder.lora_rank = 2
    config.model.encoder.lora_alpha = 8.0
    parts = system.build(config, SPECS)
    draw = np.random.default_rng(0).standard_normal
    variables = jax.tree.map(
        lambda leaf: leaf + 0.05 * draw(leaf.shape).astype(np.float32), parts.zeros()
    )
    plain, merged = assembly.merged(config, Directory(), parts, variables)
    assert jax.tree.map(jnp.shape, merged) == jax.tree.map(jnp.shape, plain.zeros())
    image = np.random.default_rng(1).integers(0, 256, (1, 30, 40, 3)).astype(np.uint8)
    expected = jax.jit(parts.predict)(variables, image)
    found = jax.jit(plain.predict)(merged, image)
    for task, value in expected.items():
        scale = float(np.abs(value).max())
        np.testing.assert_allclose(found[task], value, rtol=0, atol=1e-4 * scale)
    without = jax.tree.map(lambda x: x, variables)
    for i in range(BLOCKS):
        lora = without["params"]["encoder"][f"blocks_{i}"]["attn"]["qkv"]
        lora["lora_b"] = jnp.zeros_like(lora["lora_b"])
    other = jax.jit(parts.predict)(without, image)["semseg"]
    assert not np.allclose(other, expected["semseg"], rtol=1e-2)


def test_a_network_without_updates_is_exported_as_it_is():
    config = vit.get_config("streets")
    parts, variables = object(), {}
    assert assembly.merged(config, Directory(), parts, variables) == (parts, variables)
