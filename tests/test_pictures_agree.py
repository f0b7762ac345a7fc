"""A sheet of a data set and the picture of a prediction show one thing in one way."""

import numpy as np
import pytest

from input_pipeline import labels, preview
from mtl_jax import tasks
from mtl_jax.pictures import maps

IMAGE = np.full((2, 4, 3), (200, 60, 40), np.uint8)
NORMALS = np.float32([[[0.6, 0, -0.8], [0, -1, 0], [0, 0, -1], [1, 0, 0]]] * 2)
DEPTH = np.float32([[2, 5, 20, 80], [0, 1, 90, 10]])


@pytest.mark.parametrize(
    ("task_type", "spec", "value"),
    [
        ("depth", labels.depth((2.0, 80.0)), DEPTH),
        ("depth", labels.depth((0.0, 80.0)), DEPTH),
        (
            "segmentation",
            labels.classes(("a", "b"), ((250, 0, 10), (0, 9, 200))),
            np.int32([[0, 1, 255, 0], [1, 1, 0, 255]]),
        ),
        ("normals", labels.normals(), NORMALS * np.float32([[[1], [1], [0], [1]]])),
    ],
)
def test_labels_look_like_predictions(task_type, spec, value):
    options = {"type": task_type}
    if task_type == "depth":
        options["normalization"] = "none"
    task = tasks.build({"it": options}, {"it": spec.as_dict()})["it"]
    found = preview.picture(value, spec, IMAGE, (0, 0)).astype(int)
    expected = task.visualize(value).astype(int)
    if task_type != "depth":  # sheets lay these over the photograph where they are known
        hatched = np.isin(expected, (110, 160)).all(-1, keepdims=True)
        over = maps.lay_over(IMAGE, expected.astype(np.uint8)).astype(int)
        expected = np.where(hatched, expected, over)
    np.testing.assert_allclose(found, expected, atol=2)
