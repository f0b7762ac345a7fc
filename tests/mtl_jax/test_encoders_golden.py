"""Encoders against public PyTorch implementations in float64: golden_encoders/README.md."""

import functools
import json
import pathlib

import golden_networks as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traced

from mtl_jax.encoders import hrnet, swin, vit

FOLDER = pathlib.Path(__file__).parent / "golden_encoders"
NETWORKS = {"swin": swin.Swin, "hrnet": hrnet.HRNet, "vit": vit.ViT, "vit_registers": vit.ViT}


def load(name):
    """(network, {size: [summary of each output]})."""
    found = json.loads((FOLDER / f"{name}.json").read_text())
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in found["config"].items()}
    return NETWORKS[name](**config), found["outputs"]


def outputs(pyramid):
    """What the files hold: the features; of tokens the raw taps and the normalised last ones."""
    if pyramid.tokens is None:
        return [pyramid.features[stride] for stride in pyramid.strides]
    return [*pyramid.tokens.raw[:-1], pyramid.tokens.normed[-1]]


def networks_and_sizes():
    """Of each network all sizes that are recorded; all but the first are slow, and HRNet's is."""
    for name in NETWORKS:
        for number, size in enumerate(load(name)[1]):
            slow = number > 0 or name == "hrnet"
            yield pytest.param(name, size, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize(("name", "size"), [*networks_and_sizes()])
def test_outputs(name, size):
    network, expected = load(name)
    shape = (2, *map(int, size.split("x")), 3)
    image = jnp.asarray(1.7 * golden.uniform("image", shape), jnp.float32)
    init = traced.shapes(lambda: network.init(jax.random.key(0), image, train=False))
    apply = jax.jit(functools.partial(network.apply, train=False))
    found = outputs(apply(golden.fill(init), image))
    for actual, summary in zip(found, expected[size], strict=True):
        flat = np.asarray(actual, np.float64).reshape(-1)
        samples = flat[np.linspace(0, flat.size - 1, 24).astype(int)]
        atol = 2e-5 * summary["std"]
        np.testing.assert_allclose(samples, summary["samples"], rtol=0, atol=atol)
        assert flat.std() == pytest.approx(summary["std"], rel=1e-5)
