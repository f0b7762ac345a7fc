import numpy as np
import pytest
import scipy.ndimage

from input_pipeline import class_edges
from mtl_jax.metrics import thinning


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_thinning_is_that_of_the_metric(share):
    """The two halves of the project share no code: this is written another way."""
    rng = np.random.default_rng(int(share * 10))
    noise = rng.random((40, 50))
    for mask in (noise < share, scipy.ndimage.gaussian_filter(noise, 2) < np.quantile(noise, 0.5)):
        np.testing.assert_array_equal(class_edges.thin(mask), thinning.thin(mask))


def test_masks_of_matlab_are_thinned_too():
    """Their columns lie one after the other in memory."""
    mask = np.random.default_rng(0).random((20, 30)) < 0.8
    for thin in (class_edges.thin, thinning.thin):
        np.testing.assert_array_equal(thin(np.asfortranarray(mask)), thin(mask))
    assert (class_edges.thin(mask) != mask).any()


def test_edges_are_where_the_mirrored_laplacian_is_not_zero():
    ids = np.random.default_rng(0).integers(1, 400, (9, 12)).repeat(3, 0).repeat(4, 1)
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    laplacian = scipy.ndimage.convolve(ids, kernel, mode="mirror")  # the edge is not repeated
    expected = thinning.thin(laplacian != 0)
    np.testing.assert_array_equal(class_edges.of_classes(ids.astype(np.uint16)), expected)


def test_a_laplacian_that_cancels_is_no_edge():
    ids = np.array([[1, 2, 3]] * 3)  # 1 + 3 - 2 * 2 = 0
    assert not class_edges.of_classes(ids)[1, 1]
    assert class_edges.of_classes(np.array([[1, 2, 4]] * 3)).any()
