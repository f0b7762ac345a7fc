"""All methods against values that other programs agree on: see balancing_values.json, "about"."""

import json
import pathlib

import balancing_adapter
import numpy as np
import pytest

VALUES = json.loads(pathlib.Path(__file__).with_name("balancing_values.json").read_text())


def floats(values) -> np.ndarray:
    """Lists as float64; 'nan' stands for NaN."""
    return np.array(values, np.float64)


def close(found, expected, rtol: float, scale=1.0) -> None:
    """max |found − expected| · scale ≤ rtol · max |expected| · scale."""
    found, expected = floats(found) * scale, floats(expected) * scale
    assert np.max(np.abs(found - expected)) <= rtol * np.max(np.abs(expected)), (found, expected)


def check(step: dict, expected: dict, found: dict, rtol: float) -> None:
    """One step. Weights count by the length of what they weight, and where there is a label."""
    labelled = np.array(step["labelled"])
    rows = floats(step.get("jacobian", np.zeros((len(labelled), 1))))
    lengths = np.linalg.norm(rows, axis=1) if "jacobian" in step else np.ones(len(labelled))
    if "finite" in expected:
        values = found.get("gradient", found.get("weights"))
        assert bool(np.all(np.isfinite(values))) == expected["finite"]
    if "gradient_norm_max" in expected:
        length = np.linalg.norm(found["gradient"]) / (lengths.max() or 1.0)
        assert length <= expected["gradient_norm_max"]
    if "no_ascent" in expected:
        size = lengths * np.linalg.norm(found["gradient"])
        assert np.all((rows @ found["gradient"] >= -expected["no_ascent"] * size)[labelled])
    if "weights" in expected and "weights" in found:
        close(found["weights"], expected["weights"], rtol, np.where(labelled, lengths, 0.0))
    if "gradient" in expected:
        parts = np.abs(expected.get("weights", 0.0)) * np.where(labelled, lengths, 0.0)
        size = np.max(np.abs(expected["gradient"])) + 0.1 * np.max(parts)
        distance = np.max(np.abs(floats(found["gradient"]) - expected["gradient"]))
        assert distance <= rtol * size, (found, expected)
    if "learned_gradient" in expected:
        close(found["learned_gradient"], expected["learned_gradient"], rtol)
    if "total" in expected and "total" in found:
        np.testing.assert_allclose(found["total"], expected["total"], rtol=rtol, atol=rtol)


# Of the situations that are hard for a solver, one method of each solver is not slow.
HARD = ("scaled3/", "zero_row3/", "opposed2/", "nan/")
OF_EACH_SOLVER = ("mgda", "nash_mtl", "upgrad", "pcgrad")  # simplex, Newton's, cone, none
# Slow are also a solver's further cases that differ in what it is given.
NORMALISED = ("normalize=l2", "rescale=0", "mgda(loss+)", "log mgda", "unit upgrad")


def cases():
    """All of the file."""
    for case in VALUES["cases"]:
        slow = case["id"].startswith(HARD) and case["method"] not in OF_EACH_SOLVER
        slow |= any(word in case["id"] for word in NORMALISED)
        yield pytest.param(case, id=case["id"], marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize("case", [*cases()])
def test_values(case):
    found = balancing_adapter.run(case["method"], case["options"], case["steps"])
    for step, expected, result in zip(case["steps"], case["expect"], found, strict=True):
        check(step, expected, result, case["rtol"])
