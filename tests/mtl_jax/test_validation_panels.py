"""Pictures of validation examples."""

import numpy as np
import pytest
from toy_predictions import TASKS, photograph

from mtl_jax import tasks
from mtl_jax.pictures import panels as validation_panels

WIDTH = 320
VERMILION = (213, 94, 0)


def share(picture, colour):
    return np.mean(np.abs(picture.astype(int) - colour).sum(-1) < 10)


def test_a_row_for_each_task_has_target_prediction_and_error():
    image = np.stack([photograph(8, 16)] * 3)
    labels = np.full((3, 8, 16), 255, np.int32)
    labels[0, :4], labels[0, 4:, :8] = 1, 0
    batch = {"image": image, "semseg": labels, "valid": np.array([True, True, False])}
    outputs = {
        "semseg": {"semseg": np.zeros((3, 8, 16), np.int32)},
        "depth": {"depth": np.full((3, 8, 16), 9, np.float32)},
    }
    drawn = validation_panels.draw(batch, outputs, TASKS, ids=["a/1", "b/2", "c/3"])
    assert list(drawn) == ["example_0", "example_1"]  # the third is padding
    first, second = drawn.values()
    # The second example has no label; neither has a depth label.
    assert first.shape[1] == 3 * WIDTH + 2 * 10
    assert second.shape[1] == WIDTH
    heights = [
        3 * (30 + 160) < picture.shape[0] < 3 * (30 + 160) + 250 for picture in drawn.values()
    ]
    assert heights == [True, True]
    np.testing.assert_array_equal(first[30, 0], image[0, 0, 0])
    target, predicted, error = (
        first[200:400, left : left + WIDTH] for left in (0, WIDTH + 10, 2 * WIDTH + 20)
    )
    assert share(target, (0, 255, 0)) > 0.3
    assert share(target, (160, 160, 160)) > 0.02  # hatched
    assert share(predicted, (255, 0, 0)) > 0.7
    assert share(predicted, (160, 160, 160)) < 0.01
    assert 0.3 < share(error, VERMILION) < 0.5
    assert list(validation_panels.draw(batch, outputs, TASKS, count=1)) == ["example_0"]


def test_errors_in_numbers():
    semseg, depth = TASKS["semseg"], TASKS["depth"]
    panel = semseg.error_panel(np.int32([[0, 1, 2, 0]]), np.int32([[0, 2, 255, 0]]))
    assert panel.title == "semseg: 33.3 % wrong"
    np.testing.assert_array_equal(panel.picture[0, 1], VERMILION)
    np.testing.assert_array_equal(panel.picture[0, 0], panel.picture[0, 3])
    np.testing.assert_array_equal(panel.picture[0, 2], [110] * 3)
    panel = depth.error_panel(np.float32([[10, 11, 7, 50]]), np.float32([[10, 10, 0, 20]]))
    assert panel.title == "depth: error / label, mean 0.53"
    assert panel.picture[0, 0].sum() > panel.picture[0, 1].sum() > panel.picture[0, 3].sum()
    np.testing.assert_array_equal(panel.picture[0, 2], [110] * 3)
    normals = tasks.build({"normals": {"type": "normals"}}, {})["normals"]
    found = np.float32([[[1, 0, 0], [0, 1, 0], [0, 0, 1]]])
    panel = normals.error_panel(found, np.float32([[[1, 0, 0], [1, 0, 0], [0, 0, 0]]]))
    assert panel.title == "normals: angle, mean 45.0°"
    instance = tasks.build(
        {
            "semseg": {"type": "segmentation", "num_classes": 2},
            "instance": {"type": "instances", "semantics": "semseg", "classes": (1,)},
        },
        {},
    )["instance"]
    panel = instance.error_panel(np.int32([[1, 0, 2, 0]]), {"ids": np.int32([[5, 5, 0, 0]])})
    assert panel.title == "instance: 33 % shared"
    assert len(np.unique(panel.picture[0], axis=0)) == 4


@pytest.mark.parametrize("name", list(TASKS))
def test_no_label_is_no_error(name):
    shape = (4, 6)
    value = np.ones(shape, np.int32 if name == "semseg" else np.float32)
    unknown = np.full(shape, 255 if name == "semseg" else 0, value.dtype)
    panel = TASKS[name].error_panel(value, unknown)
    assert "0.0 % wrong" in panel.title or "mean 0.00" in panel.title
    assert {110, 160} == set(np.unique(panel.picture))
