"""Photometric jitter: what each factor does, and to which pixels."""

import numpy as np
import toy_dataset

from input_pipeline import colours, transforms
from input_pipeline.transforms import Augmentation


def test_colours_change_by_the_drawn_factors_and_fill_stays_fill():
    example = {"image": np.random.default_rng(0).integers(40, 90, (8, 8, 3)).astype(np.uint8)}
    factors = []
    for n in range(30):
        augmentation = Augmentation(crop=(12, 12), brightness=0.5)
        result = transforms.augment(example, toy_dataset.SPECS, augmentation, (0, n))["image"]
        body = result[2:10, 2:10].astype(np.float64)
        factor = body.sum() / example["image"].sum()
        np.testing.assert_allclose(body, factor * example["image"], atol=0.6)
        assert result.sum() == body.sum()
        factors.append(factor)
    assert 0.5 <= min(factors) < 0.6
    assert 1.4 < max(factors) <= 1.51


def recolour(image, uniform, inside=None, **strengths):
    inside = np.ones(image.shape[:2], bool) if inside is None else inside
    return colours.recolour(image, Augmentation(**strengths), np.array(uniform), inside)


def test_contrast_keeps_the_mean_grey_and_saturation_each_grey():
    image = np.random.default_rng(0).integers(90, 160, (16, 16, 3)).astype(np.uint8)
    weights = [0.299, 0.587, 0.114]
    mean = (image @ weights).mean()
    contrasted = recolour(image, [0.5, 1, 0.5, 0.5], contrast=0.3)
    np.testing.assert_allclose(contrasted, mean + 1.3 * (image - mean), atol=0.7)
    flat = recolour(image, [0.5, 0, 0.5, 0.5], contrast=1)
    np.testing.assert_allclose(flat, mean, atol=1)
    grey = (image @ weights)[..., None]
    vivid = recolour(image, [0.5, 0.5, 1, 0.5], saturation=0.3)
    np.testing.assert_allclose(vivid, grey + 1.3 * (image - grey), atol=0.6)


def test_the_mean_grey_is_that_of_the_photograph_not_of_the_padding():
    image = np.full((8, 8, 3), 100, np.uint8)
    inside = np.zeros((8, 8), bool)
    inside[2:6] = True
    image[~inside] = 0
    for draw in (0, 1):
        result = recolour(image, [0.5, draw, 0.5, 0.5], inside, contrast=1)
        np.testing.assert_array_equal(result, image)


def test_hue_turns_the_chroma_about_grey():
    image = np.random.default_rng(0).integers(100, 140, (9, 9, 3)).astype(np.uint8)
    weights = [0.299, 0.587, 0.114]
    grey = (image @ weights)[..., None]
    half_turn = recolour(image, [0.5, 0.5, 0.5, 1], hue=0.5)
    np.testing.assert_allclose(half_turn, 2 * grey - image, atol=0.6)
    there = recolour(image, [0.5, 0.5, 0.5, 0.75], hue=0.5)  # a quarter of a turn
    np.testing.assert_allclose(there @ weights, grey[..., 0], atol=0.6)
    back = recolour(there, [0.5, 0.5, 0.5, 0.25], hue=0.5)
    np.testing.assert_allclose(back, image, atol=2)
    assert np.abs(there.astype(int) - image).max() > 10
    greys = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
    np.testing.assert_array_equal(recolour(greys, [0.5, 0.5, 0.5, 0.9], hue=0.5), greys)


def test_colours_are_rounded_and_clipped_once():
    image = np.array([[[200, 100, 3]]], np.uint8)
    result = recolour(image, [1, 0.5, 0.5, 0.5], brightness=0.5)
    np.testing.assert_array_equal(result, [[[255, 150, 5]]])  # 4.5 rounds up
    # Twice as bright, then half the contrast about the mean: nothing was cut off in between.
    pair = np.array([[[150, 150, 150], [50, 50, 50]]], np.uint8)
    result = recolour(pair, [1, 0, 0.5, 0.5], brightness=1, contrast=0.5)
    np.testing.assert_array_equal(result[..., 0], [[250, 150]])
