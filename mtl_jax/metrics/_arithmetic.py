"""Ratios and means in which an empty set is NaN."""

import numpy as np


def ratio(numerator, denominator) -> np.ndarray:
    """numerator / denominator in float64, NaN where the denominator is 0."""
    numerator = np.asarray(numerator, np.float64)
    denominator = np.asarray(denominator, np.float64)
    empty = denominator == 0
    return np.where(empty, np.nan, numerator / np.where(empty, 1.0, denominator))


def mean(values: np.ndarray) -> float:
    """The mean of the values that are not NaN, NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
