"""What encoders return, and what is said where something else is needed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax import encoders
from mtl_jax.encoders import vgg
from mtl_jax.errors import ConfigError


def tokens(prefix: int = 2) -> encoders.Tokens:
    """Of a 2×3 grid: the tokens' numbers."""
    raw = jnp.arange(2 * (prefix + 6), dtype=jnp.float32).reshape(2, prefix + 6, 1)
    return encoders.Tokens(raw=(raw, raw + 0.5), normed=(-raw,), grid=(2, 3), prefix=prefix)


def test_a_pyramid_passes_through_jit_with_its_static_parts():
    given = encoders.Pyramid({8: jnp.ones((1, 2, 2, 3))}, tokens=tokens())
    found = jax.jit(lambda pyramid: pyramid)(given)
    assert found.strides == (8,)
    assert found.skip is None
    assert found.tokens.grid == (2, 3)
    assert found.tokens.prefix == 2


def test_the_last_features_are_those_of_the_largest_stride():
    pyramid = encoders.Pyramid({16: jnp.zeros((1, 1, 1, 1)), 4: jnp.ones((1, 4, 4, 1))})
    assert pyramid.strides == (4, 16)
    assert pyramid.last.shape == (1, 1, 1, 1)


def test_tokens_are_maps_without_those_that_have_no_place():
    first, second = tokens().maps(normed=False)
    np.testing.assert_array_equal(
        first[..., 0], [[[2, 3, 4], [5, 6, 7]], [[10, 11, 12], [13, 14, 15]]]
    )
    np.testing.assert_array_equal(second, first + 0.5)
    (normed,) = tokens().maps(normed=True)
    np.testing.assert_array_equal(normed, -first)


def test_the_class_token_is_the_first():
    first, _ = tokens().class_token(normed=False)
    np.testing.assert_array_equal(first, [[0], [8]])
    registers_alone = tokens().replace(has_class=False)
    for others in (tokens(prefix=0), registers_alone):
        with pytest.raises(ConfigError, match="reads the class token, and the encoder has none"):
            others.class_token(normed=False)


def test_what_an_encoder_does_not_have_is_named_with_what_it_has_and_who_has_it(monkeypatch):
    monkeypatch.setattr(vgg, "GIVES", {"tokens"}, raising=False)
    pyramid = encoders.Pyramid({4: jnp.zeros(()), 8: jnp.ones(())})
    assert [float(x) for x in pyramid.need((8, 4), by="It")] == [1, 0]
    several = "It needs .* stride 4, 16, .* at stride 4, 8, not .* 16.*resnet, .* give several"
    with pytest.raises(ConfigError, match=several):
        pyramid.need((4, 16), by="It")
    skip = "It needs features for a skip .* at stride 4, 8. Encoders that give them: .*alexnet, "
    with pytest.raises(ConfigError, match=skip):
        pyramid.need_skip(by="It")
    with pytest.raises(ConfigError, match=r"It needs the tokens .* give them: .*vgg, .*vit\b"):
        pyramid.need_tokens(by="It")
    whole = pyramid.replace(skip=jnp.zeros(()), tokens=tokens())
    assert whole.need_skip(by="It") is whole.skip
    assert whole.need_tokens(by="It") is whole.tokens
