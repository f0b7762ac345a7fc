"""Numbers as people read them, and what differs between runs."""

import pytest

from mtl_jax.runs import rules, words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.51234, "0.5123"),
        (12.3456, "12.35"),
        (123456.7, "123457"),
        (0.0, "0.000"),
        (0.00001234, "1.23e-05"),
        (-3.5, "-3.500"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_numbers(value, text):
    assert words.number(value) == text


def test_deviations_have_the_digits_of_their_mean():
    assert words.plus_minus(0.51234, 0.0456) == "0.5123 ± 0.0456"
    assert words.plus_minus(51.234, 0.456) == "51.23 ± 0.46"
    assert words.plus_minus(0.5, float("nan")) == "0.5000"


def test_differences_of_configs():
    found = rules.what_differs(
        {"a": {"x": {"y": 1}, "z": [1], "name": "a"}, "b": {"x": {"y": 2}, "z": [1], "w": 0}}
    )
    assert found == {"a": {"x.y": 1}, "b": {"x.y": 2, "w": 0}}
