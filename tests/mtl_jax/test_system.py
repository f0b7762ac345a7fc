"""What model, tasks and weighting share."""

import mixed_systems
import numpy as np


def test_images_are_normalized_by_channel():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    system = mixed_systems.build(mixed_systems.config(model__image_mean=mean, model__image_std=std))
    image = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 16, 16, 3)
    found = system.normalize(image)
    assert found.dtype == np.float32
    expected = (image.astype(np.float64) - 255 * np.array(mean)) / (255 * np.array(std))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
