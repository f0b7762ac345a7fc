"""Semantics, depth, instances, parts and normals together: trained, evaluated and drawn."""

import numpy as np
import pytest
import tiny
import toy_network as toy
from ml_collections import ConfigDict

from input_pipeline import datasets, labels, transforms

TASKS = {
    "instance": {"type": "instances", "semantics": "semseg"},  # before what it needs
    "semseg": {"type": "segmentation"},
    "depth": {"type": "depth", "loss": "l1"},
    "parts": {"type": "segmentation"},
    "normals": {"type": "normals"},
}


toy_network = toy.in_every_run()

# Compiling the step and the evaluation of five tasks takes ten seconds.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(streets_dir, tmp_path_factory):
    config = tiny.config(
        streets_dir, train__epochs=1, train__log_every=1, eval__selection="semseg/miou"
    )
    config.eval.worst_images = 0
    config.tasks = ConfigDict(TASKS)
    run = tiny.run(config, tmp_path_factory.mktemp("five"))
    run.train()
    return run


def test_all_of_them_are_learned(run):
    logs = run.writer.scalars[1]
    for task in TASKS:
        assert logs[f"train/loss/{task}"] > 0, sorted(logs)


def test_all_of_them_are_measured(run):
    (evaluation,) = run.workdir.read_evaluations()
    metrics = evaluation["metrics"]
    for name in ("semseg/miou", "depth/rmse", "parts/miou", "instance/rms", "normals/mean"):
        assert metrics[name] > 0
    assert 0 <= metrics["instance/pq"] <= metrics["instance/rq"] <= 1
    assert 0 < metrics["normals/median"] <= 180
    assert metrics["parts/classes_averaged"] > 1
    assert "multitask_score" not in metrics  # two label maps: which mIoU would it be?


def test_all_of_them_are_drawn(run):
    pictures = run.writer.images[3]
    # Target, prediction and error beside each other, 10 pixels apart.
    assert next(iter(pictures.values())).shape[2] == 3 * 320 + 2 * 10


def test_parts_of_a_body_change_sides_in_a_mirror(streets_dir):
    """Streets does not tell left from right; a data set that does says so in its LabelSpec."""
    names = ("background", "left arm", "right arm")
    spec = labels.classes(names, ((0, 0, 0), (255, 0, 0), (0, 255, 0)), flip_swap=((1, 2),))
    builder = datasets.load(tiny.TINY, data_dir=streets_dir)
    unsided = builder.label_specs["parts"]
    parts = np.int32([[0, 1, 1, 2], [255, 2, 0, 1]])
    flip = transforms.Augmentation(flip=1.0)
    mirrored = transforms.augment({"parts": parts}, {"parts": spec}, flip, (0, 0))["parts"]
    np.testing.assert_array_equal(mirrored, [[1, 2, 2, 0], [2, 0, 1, 255]])
    plain = transforms.augment({"parts": parts}, {"parts": unsided}, flip, (0, 0))["parts"]
    np.testing.assert_array_equal(plain, parts[:, ::-1])
