"""The baselines' arithmetic, on examples that can be worked out by hand."""

import importlib.util
import pathlib

import numpy as np
import pytest

_FILE = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "streets_baselines.py"


@pytest.fixture(scope="module")
def baselines():
    spec = importlib.util.spec_from_file_location("streets_baselines", _FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_mean_iou_counts_classes_that_occur(baselines):
    truth = np.array([0, 0, 1, 1, 255])
    prediction = np.array([0, 1, 1, 2, 0])
    matrix = baselines.confusion(truth, prediction, 4)
    # Class 0: 1 of 2; class 1: 1 of 3; classes 2 and 3 do not occur.
    assert baselines.mean_iou(matrix) == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_position_prior_ignores_unknown_pixels(baselines):
    maps = ([[0, 255]], [[1, 2]], [[1, 255]])
    train = [{"semseg": np.array(semseg)} for semseg in maps]
    np.testing.assert_array_equal(baselines.position_prior(train, 3), [[1, 2]])


def test_row_mean_and_relative_error_skip_unknown_depth(baselines):
    train = [{"depth": np.array([[2.0, 0.0], [4.0, 6.0], [0.0, 0.0]])}]
    rows = baselines.row_mean(train)
    np.testing.assert_allclose(rows, [2.0, 5.0, 5.0])
    found = baselines.relative_error([{"depth": np.array([[4.0, 0], [5, 10], [0, 0]])}], rows)
    assert found == pytest.approx((0.5 + 0.0 + 0.5) / 3)


def test_forest_learns_a_class_of_two_features(baselines):
    generator = np.random.default_rng(0)
    binned = generator.integers(0, 48, (4000, 9)).astype(np.uint8)
    labels = (binned[:, 2] > 20).astype(np.int64) + (binned[:, 7] > 30)
    forest = baselines.Forest(binned[:3000], labels[:3000], 3, trees=5, depth=8, least=5)
    assert np.mean(forest.predict(binned[3000:]) == labels[3000:]) > 0.9
