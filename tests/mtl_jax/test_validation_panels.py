"""Pictures of validation examples."""

import numpy as np
from toy_predictions import TASKS, photograph

from mtl_jax.pictures import panels as validation_panels


def test_validation_panels_show_input_targets_and_predictions():
    image = np.stack([photograph(8, 10)] * 3)
    labels = np.full((3, 8, 10), 255, np.int32)
    labels[0] = 1
    batch = {"image": image, "semseg": labels, "valid": np.array([True, True, False])}
    outputs = {
        "semseg": {"semseg": np.zeros((3, 8, 10), np.int32)},
        "depth": {"depth": np.full((3, 8, 10), 9, np.float32)},
    }
    panels = validation_panels.draw(batch, outputs, TASKS)
    assert list(panels) == ["example_0", "example_1"]  # the third is padding
    width = [panel.shape[1] for panel in panels.values()]
    # The second example has no label; neither has a depth label.
    assert width == [4 * 10 + 3 * 4, 3 * 10 + 2 * 4]
    first = panels["example_0"][-8:]
    np.testing.assert_array_equal(first[:, :10], image[0])
    assert np.all(first[:, 14:24] == (0, 255, 0))
    assert np.all(first[:, 28:38] == (255, 0, 0))
    assert list(validation_panels.draw(batch, outputs, TASKS, count=1)) == ["example_0"]
