"""Where an axis has ticks, and what stands there."""

import math
from collections.abc import Sequence

import numpy as np

_STEPS = (1.0, 2.0, 2.5, 5.0)  # in powers of ten
_SHORT = 7  # characters of a label: a longer one tells its power of ten if that is shorter

Tick = tuple[float, str]  # a place on the axis, and its label


def linear(low: float, high: float, most: int) -> list[Tick]:
    """All multiples of a step that is 1, 2, 2.5 or 5 times a power of ten.

    Args:
      low, high: the ends of the axis; high - low > 0, and no less than 1e-10 of either.
      most: number of ticks at most, at least 2.

    Returns:
      The multiples, between the ends, of the smallest step that gives no more than `most`, but
      always 2 or more, from which the scale can be told.
    """
    found: list[Tick] = []
    exponent = math.floor(math.log10((high - low) / most)) - 1
    while True:
        for step in _STEPS:
            # Ends that are a multiple but for rounding count as one.
            first = math.ceil(_in_powers(low, exponent) / step - 1e-9)
            last = math.floor(_in_powers(high, exponent) / step + 1e-9)
            if last <= first and found:
                return found
            decimals = max(0, (step == 2.5) - exponent)
            exact = [f"{step * k}e{exponent}" for k in range(first, last + 1)]
            found = _labelled([float(text) for text in exact], decimals)
            if len(found) <= most:
                return found
        exponent += 1


def logarithmic(low: float, high: float, most: int) -> list[Tick]:
    """Powers of ten and, where there is room, twice and five times those.

    Args:
      low, high: the ends of the axis, 0 < low < high.
      most: number of ticks at most, at least 2.

    Returns:
      The ticks; those of `linear` where the axis is shorter than a power of ten.
    """
    if high < 10 * low:
        return linear(low, high, most)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    candidates = [[f"{m}e{p}" for p in powers for m in (1, 2, 5)]]
    candidates += [[f"1e{p}" for p in powers if p % every == 0] for every in range(1, len(powers))]
    within = ([v for v in map(float, texts) if low <= v <= high] for texts in candidates)
    return _labelled(next(values for values in within if len(values) <= most), None)


def _in_powers(value: float, exponent: int) -> float:
    """value / 10^exponent; of the powers of ten only those that are whole numbers are exact."""
    return value * 10.0**-exponent if exponent < 0 else value / 10.0**exponent


def _labelled(values: Sequence[float], decimals: int | None) -> list[Tick]:
    """With labels of one kind, of as many decimals as are given or else as each takes."""
    plain = [_plain(value, decimals) for value in values]
    powers = [_power(value) for value in values]
    longest = max(map(len, plain), default=0)
    is_long = longest > _SHORT and max(map(len, powers)) < longest
    labels = [label.replace("-", "−") for label in (powers if is_long else plain)]
    return list(zip(values, labels, strict=True))


def _plain(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:.{decimals}f}"
    return np.format_float_positional(value, trim="-")


def _power(value: float) -> str:
    """1.5e-7."""
    digits, _, exponent = f"{value:.12e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}" if value else "0"
