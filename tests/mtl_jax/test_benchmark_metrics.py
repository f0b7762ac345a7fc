"""Figures of PASCAL-Context and NYUD: public values, and what tells them from their namesakes."""

import benchmark_values as values
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import labels
from mtl_jax import tasks


def measured(task, prediction, batch):
    """Loss and metrics of a batch."""
    batch = batch | {"image": np.zeros((*prediction.shape[:3], 3), np.uint8)}
    valid = np.ones(len(prediction), bool)

    @jax.jit
    def both(*given):
        return task.metric_sums(*given), task.loss(*given)

    sums, loss = both(jnp.asarray(prediction), task.targets(batch), valid)
    return task.metrics(sums) | {"loss": float(loss)}


def depth_task(**options):
    spec = {"depth": labels.depth((2.0, 8.0)).as_dict()}
    given = {"type": "depth", "loss": "l1", "averaging": "batch", "normalization": "none"}
    return tasks.build({"depth": given | options}, spec)["depth"]


def test_rmse_without_clamping_is_raised_to_zero_alone():
    truth = np.array([[[2.0, 4.0, 8.0, 0.0]]], np.float32)
    prediction = np.array([[[-3.0, 4.0, 12.0, 99.0]]], np.float32)[..., None]
    found = measured(depth_task(), prediction, {"depth": truth})
    assert found["rmse_unclamped"] == pytest.approx(np.sqrt((2**2 + 0 + 4**2) / 3))
    assert found["rmse"] == 0


def test_public_depth():
    (case,) = values.cases("depth")
    prediction, truth = values.array(case, "prediction"), values.array(case, "truth")
    # A range that holds every prediction but the negative one, which is raised to 0 in any case.
    task = depth_task(range=(1e-9, 1e3))
    found = measured(task, prediction[..., None], {"depth": truth})
    assert found["rmse_unclamped"] == pytest.approx(case["expected"]["rmse"], abs=1e-6)
    assert found["abs"] == pytest.approx(case["expected"]["abs"], abs=1e-6)
    assert found["rel"] == pytest.approx(case["expected"]["abs_rel"], abs=1e-6)


def test_public_normals():
    (case,) = values.cases("normals")
    spec = {"normals": labels.normals().as_dict()}
    task = tasks.build({"normals": {"type": "normals"}}, spec)["normals"]
    prediction, truth = values.array(case, "prediction"), values.array(case, "truth")
    found = measured(task, prediction, {"normals": truth})
    for name in ("mean", "rmse", "within_11.25", "within_22.5", "within_30"):
        assert found[name] == pytest.approx(case["expected"][name], rel=2e-6), name
    assert found["median"] == pytest.approx(case["expected"]["median"], abs=0.01)


@pytest.mark.parametrize("kind", ["segmentation", "parts"])
def test_public_miou_over_all_classes(kind):
    (case,) = values.cases(kind)
    names = tuple(f"c{i}" for i in range(case["classes"]))
    spec = {"it": labels.classes(names, ()).as_dict()}
    task = tasks.build({"it": {"type": "segmentation"}}, spec)["it"]
    prediction = values.array(case, "prediction", np.int32)
    logits = np.eye(case["classes"], dtype=np.float32)[prediction]
    found = measured(task, logits, {"it": values.array(case, "truth", np.int32)})
    for name in ("miou", "miou_all", "classes_averaged"):
        assert found[name] == pytest.approx(case["expected"][name], abs=1e-6), name


def test_public_losses_of_normals():
    (case,) = values.cases("losses")
    spec = {"normals": labels.normals().as_dict()}
    prediction, truth = (
        np.moveaxis(np.array(case["normals"][key], np.float32), 1, -1)
        for key in ("prediction", "truth")
    )
    truth = np.where(truth == 255, 0, truth)  # what those codes mark as unknown
    for loss, name in (("l1_pixel", "l1_pixel"), ("l1", "l1_element")):
        task = tasks.build({"normals": {"type": "normals", "loss": loss}}, spec)["normals"]
        found = measured(task, prediction, {"normals": truth})
        # Labels of four decimals are made unit here, and are not there.
        assert found["loss"] == pytest.approx(case["normals"][name], rel=2e-6)
