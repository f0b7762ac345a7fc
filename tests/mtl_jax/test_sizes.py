"""Which sizes of images a network takes, and that it is given no others."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import mixed_systems
import numpy as np
import pytest
from flax import linen as nn
from toy_predictions import photograph

from mtl_jax import architectures, export, layers, views
from mtl_jax.errors import ConfigError, UsageError
from mtl_jax.layers import ImageSizes
from mtl_jax.prediction import Model, Settings


class Encoder(nn.Module):
    """Patches of some pixels."""

    size_multiple: int

    def __call__(self, image, *, train):
        del train
        assert not any(side % self.size_multiple for side in image.shape[1:3])
        return image


@dataclasses.dataclass(frozen=True)
class Branch:
    """What makes a head that halves the patches' map."""

    size_multiple: int = 8
    unread: ClassVar = {"head/kernel": "it has a reason"}


class Network(nn.Module):
    """Every pixel's channels, of all tasks; a bias with a number for each pixel if size-bound."""

    channels: dict[str, int]
    encoder: nn.Module
    branch: Branch | None = None
    image_size: tuple[int, int] | None = None

    @nn.compact
    def __call__(self, image, *, train):
        x = self.encoder(image, train=train)
        if self.image_size:
            x = x + self.param("places", nn.initializers.zeros, (*self.image_size, 3))
        final = {task: nn.Dense(c, name=task)(x) for task, c in self.channels.items()}
        return architectures.Predictions(final=final)


def system(multiple: int, image_size=None):
    toy = mixed_systems.build(mixed_systems.config())
    channels = {name: task.channels for name, task in toy.tasks.items()}
    model = Network(channels, Encoder(multiple), image_size=image_size)
    return dataclasses.replace(toy, model=model)


def test_what_all_parts_take_is_the_least_common_multiple():
    assert layers.image_sizes(Network({}, Encoder(14), Branch())) == ImageSizes(56)
    assert layers.image_sizes(Network({}, Encoder(1))) == ImageSizes(1)
    assert layers.image_sizes(Network({}, Encoder(7), None, (14, 21))) == ImageSizes(7, (14, 21))
    assert layers.unread(Network({}, Encoder(7), Branch())) == {"head/kernel": "it has a reason"}


def test_one_size_that_other_parts_do_not_take():
    with pytest.raises(ConfigError, match=r"14×20 alone, and both sides .* multiples of 7"):
        layers.image_sizes(Network({}, Encoder(7), None, (14, 20)))


def test_padding():
    assert ImageSizes().padded((33, 64)) == (64, 64)
    assert ImageSizes(14).padded((33, 64)) == (42, 70)
    assert ImageSizes().fitting((33, 64)) == (33, 64)
    assert ImageSizes(14, (28, 42)).padded((1, 42)) == (28, 42)
    with pytest.raises(UsageError, match=r"of 28×42 pixels alone.*here is one of 29×42"):
        ImageSizes(14, (28, 42)).padded((29, 42))


def test_a_size_of_training_images_that_does_not_fit():
    ImageSizes(14).check((98, 112), where="crop")
    with pytest.raises(ConfigError, match="multiples of 14; nearest to 100: 98 or 112, to 5: 14"):
        ImageSizes(14).check((100, 5), where="crop")
    with pytest.raises(ConfigError, match=r"^here: .* of 28×42 .*crop=\(28, 42\)"):
        ImageSizes(14, (28, 42)).check((28, 28), where="here")


@pytest.mark.parametrize("image_size", [None, pytest.param((28, 42), marks=pytest.mark.slow)])
def test_images_of_all_sizes_are_padded_for_the_network(image_size):
    """Prediction, whole and in tiles, and an export; the encoder asserts what it is given."""
    parts = system(14, image_size)
    variables = parts.init(jax.random.key(0), (28, 42))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, parts.zeros())
    tta = views.TestTimeAugmentation(scales=() if image_size else (0.5,), flip=True)
    image = photograph(25, 40)
    expected = Model(parts, variables, tta=tta).predict(image)["semseg"]
    assert expected.shape == (25, 40)
    network = export.Exportable(parts, parts.tasks, tta, (25, 40))
    weights = export.flatten(variables)
    found = export.lower(network.maps, weights, network.size).call(weights, image[None])
    np.testing.assert_array_equal(found["semseg"][0], expected)
    # Every pixel is predicted by itself, so tiles say the same as the whole image.
    large, anywhere = photograph(50, 90), system(14)
    params = {k: v for k, v in variables["params"].items() if k != "places"}
    whole = Model(anywhere, {"params": params, "batch_stats": {}}).predict(large)["semseg"]
    settings = Settings(tile=0 if image_size else 28, tile_overlap=4, sizes=parts.sizes)
    tiled = Model(parts, variables, settings=settings).predict(large)["semseg"]
    np.testing.assert_array_equal(tiled, whole)


def test_tiles_have_sizes_that_the_network_takes():
    Settings(tile=28, tile_overlap=4, sizes=ImageSizes(14))
    with pytest.raises(ConfigError, match=r"tile=32; expected a multiple of 14"):
        Settings(tile=32, tile_overlap=4, sizes=ImageSizes(14))
    with pytest.raises(ConfigError, match=r"tile=28; expected 0, as .* \(28, 42\) pixels alone"):
        Settings(tile=28, tile_overlap=4, sizes=ImageSizes(14, (28, 42)))
    assert Settings(tile_overlap=28, sizes=ImageSizes(14, (28, 42))).overlap((28, 42)) == 14
