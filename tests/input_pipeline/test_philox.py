"""The numbers that are drawn for an example."""

import numpy as np
import pytest

from input_pipeline import _philox


@pytest.mark.parametrize("key", [(0, 0), (2**64 - 1, 7), (np.int64(3), np.int64(2**62))])
def test_numbers_are_those_of_numpys_philox(key):
    for counter in (0, 1 << 192, (1 << 64) - 1):
        expected = np.random.Philox(key=np.array(key, np.uint64), counter=counter).random_raw(9)
        assert _philox.raw(key, counter, 9) == expected.tolist()
