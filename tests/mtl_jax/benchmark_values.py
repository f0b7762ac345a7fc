"""Values of public evaluation codes, where the folder that holds them is at hand."""

import functools
import json
import os
import pathlib

import numpy as np
import pytest

FILE = pathlib.Path(
    os.environ.get("MTL_JAX_TEST_VALUES", pathlib.Path(__file__).parents[3] / "shared" / "values")
).joinpath("benchmark_metrics.json")


@functools.cache
def _cases() -> dict[str, list[dict]]:
    found = {}
    for case in json.loads(FILE.read_text())["cases"]:
        found.setdefault(case["kind"], []).append(case)
    return found


def cases(kind: str) -> list[dict]:
    """The cases of one kind; skips the test that asks where there are none."""
    if not FILE.exists():
        pytest.skip(f"{FILE} is absent; MTL_JAX_TEST_VALUES names the folder that holds it")
    return _cases()[kind]


def array(case: dict, key: str, dtype=np.float32) -> np.ndarray:
    return np.array(case[key], dtype)
