"""Encoders: image [B, H, W, 3] ─► `Pyramid` of features, one module each."""

import sys
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from mtl_jax import _discovery, _options
from mtl_jax.encoders._published import PYTORCH_LEAVES, Published, Source
from mtl_jax.encoders._pyramid import Pyramid, Tokens

__all__ = [
    "PART",
    "PYTORCH_LEAVES",
    "Published",
    "Pyramid",
    "Source",
    "Tokens",
    "build",
    "gives",
    "image_statistics",
    "make",
    "published",
]

# Of pixels in [0, 1], what torchvision's published weights expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def image_statistics(config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by which images are normalised, of pixels in [0, 1].

    Args:
      config: `config.model`. Its `image_mean` and `image_std` are taken, or where they are () what
        the published weights of its encoder expect, or ImageNet's.
    """
    expected = expected_statistics(config)
    mean, std = (tuple(config[key]) or expected[key] for key in expected)
    return mean, std


def expected_statistics(config) -> dict[str, tuple[float, ...]]:
    """What `image_mean` and `image_std` of `config.model` are where they are ()."""
    module = None
    if "encoder" in config:
        name = config["encoder"].get("name") or PART.default
        module = _discovery.load(sys.modules[__name__], name, key=f"{_KEY}.name")
    # Of an encoder whose variants expect different ones.
    if module is not None and hasattr(module, "image_statistics"):
        mean, std = module.image_statistics(config["encoder"])
        return {"image_mean": mean, "image_std": std}
    return {
        "image_mean": getattr(module, "IMAGE_MEAN", IMAGENET_MEAN),
        "image_std": getattr(module, "IMAGE_STD", IMAGENET_STD),
    }


def published() -> dict[str, Published]:
    """{encoder: what its module says of published weights}, of those that have any."""
    package = sys.modules[__name__]
    modules = {
        name: _discovery.load(package, name, key=f"{_KEY}.name")
        for name in _discovery.names(package)
    }
    return {name: m.PUBLISHED for name, m in modules.items() if hasattr(m, "PUBLISHED")}


PART = _options.Part(
    sys.modules[__name__], "resnet", "the network that turns an image into features"
)
_KEY = "config.model.encoder"


def gives(name: str) -> frozenset[str]:
    """What decoders find in the features of an encoder besides the last ones.

    'skip', early features; 'strides', several of them; 'tokens', a transformer's. A module's
    `GIVES` says so; most give the first two.
    """
    module = _discovery.load(sys.modules[__name__], name, key=f"{_KEY}.name")
    return getattr(module, "GIVES", frozenset(("skip", "strides")))


def giving(what: str) -> list[str]:
    """The encoders that give it, one of those that `gives` has."""
    return [name for name in _discovery.names(sys.modules[__name__]) if what in gives(name)]


def build(config: Mapping[str, Any], *, dtype=jnp.float32) -> nn.Module:
    """Builds the encoder that `config["name"]` names.

    Args:
      config: `config.model.encoder`; `name` is a module of this package, the rest its options,
        which are declared there. Those that are missing have their defaults.
      dtype: compute type; parameters stay float32.

    Returns:
      A Linen module whose `__call__(image, *, train)` takes a normalised image [B, H, W, 3] and
      returns a `Pyramid`.

    Raises:
      ConfigError: no encoder has that name, or an option is unknown or impossible.
    """
    options = _options.complete_part(config, PART, key=_KEY)
    module = _discovery.load(sys.modules[__name__], options.pop("name"), key=f"{_KEY}.name")
    return module.build(ConfigDict(options), dtype=dtype)


def make(name: str, *, dtype=jnp.float32, **options: Any) -> nn.Module:
    """`build` without a config: `encoders.make("resnet", depth=34)`."""
    return build({"name": name, **options}, dtype=dtype)
