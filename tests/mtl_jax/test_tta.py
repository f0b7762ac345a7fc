"""Test-time augmentation against NumPy that makes every view, and merges them, by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from input_pipeline import labels
from mtl_jax import _discovery, evaluation, parallel, tasks
from mtl_jax import views as test_time_augmentation
from mtl_jax.views import TestTimeAugmentation

B, H, W = 8, 8, 12
NAMES = ("sky", "left arm", "right arm")
SPECS = {
    "parts": labels.classes(NAMES, ((0, 0, 0),) * 3, flip_swap=((1, 2),)).as_dict(),
    "depth": labels.depth((2.0, 60.0)).as_dict(),
}
TASKS = tasks.build(
    {
        "parts": {"type": "segmentation"},
        "depth": {"type": "depth", "normalization": "log", "loss": "l1"},
    },
    SPECS,
)
SCALES = (0.5, 2.0, 3.0)


def _image():
    return np.random.default_rng(0).integers(0, 256, (B, H, W, 3)).astype(np.uint8)


@jax.jit
def _network(image):
    """Something that neither mirroring nor scaling leaves alone; [B, h, w, 3] of any float."""
    x = jnp.asarray(image, jnp.float32) / 255.0
    column = jnp.arange(x.shape[2])[None, None, :, None] / x.shape[2]
    row = jnp.arange(x.shape[1])[None, :, None, None] / x.shape[1]
    parts = 4 * (x - jnp.roll(x, 1, axis=2)) + 2 * column + row * x[..., ::-1]
    parts *= jnp.float32([0.91, 1.0, 1.13])  # no two classes are alike anywhere
    return {"parts": parts, "depth": x[..., :1] * column + 0.3 * row}


# The independent version: one row of one image at a time, float64.


def _bilinear(x, size):
    """[h, w, c] ─► [H, W, c] by half-pixel centres, clamped at the frame."""
    for axis, n_out in enumerate(size):
        n_in = x.shape[axis]
        at = np.clip((np.arange(n_out) + 0.5) * n_in / n_out - 0.5, 0, n_in - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, n_in - 1)
        share = np.expand_dims(at - low, tuple(i for i in range(3) if i != axis))
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x


def _nearest(ids, size):
    rows = [int((i + 0.5) * ids.shape[0] / size[0]) for i in range(size[0])]
    columns = [int((i + 0.5) * ids.shape[1] / size[1]) for i in range(size[1])]
    return ids[rows][:, columns]


def _views(image, scales, flip):
    """Each view's (parts logits, depth), columns in order and left and right put right."""
    for scale in (1.0, *scales):
        for mirrored in (False, True) if flip else (False,):
            size = (round(H * scale), round(W * scale))
            view = _bilinear(image.astype(np.float64), size)
            view = view[:, ::-1] if mirrored else view
            found = {k: np.asarray(v[0], np.float64) for k, v in _network(view[None]).items()}
            if mirrored:
                found = {k: v[:, ::-1] for k, v in found.items()}
                found["parts"] = found["parts"][..., [0, 2, 1]]
            yield found


def _metres(value):
    return np.clip(np.exp(value[..., 0] * np.log(59.0)) + 1.0, 2.0, 60.0)


def _expected(image, scales, flip, semantics):
    views = list(_views(image, scales, flip))
    depth = np.mean([_bilinear(_metres(v["depth"])[..., None], (H, W)) for v in views], axis=0)
    if semantics == "softmax":
        shares = [np.exp(v["parts"]) for v in views]
        shares = [_bilinear(s / s.sum(-1, keepdims=True), (H, W)) for s in shares]
        return np.mean(shares, axis=0), depth[..., 0]
    ids = np.stack([_nearest(v["parts"].argmax(-1), (H, W)) for v in views])
    chosen = np.empty((H, W), int)
    for y, x in np.ndindex(H, W):
        votes = np.bincount(ids[:, y, x], minlength=3)
        tied = np.flatnonzero(votes == votes.max())
        chosen[y, x] = ids[0, y, x] if ids[0, y, x] in tied else tied[0]
    return chosen, depth[..., 0]


def _merge(tta, image, network=_network):
    return jax.jit(lambda i: tta.merge(network, TASKS, i, network(i)))(image)


@pytest.mark.parametrize(
    ("scales", "flip", "semantics"),
    [
        (SCALES, False, "softmax"),
        ((), True, "softmax"),
        ((0.5, 1.7), True, "softmax"),
        pytest.param(SCALES, False, "vote", marks=pytest.mark.weekly),
        pytest.param((), True, "vote", marks=pytest.mark.weekly),
        ((0.5, 1.7), True, "vote"),
    ],
)
def test_merged_predictions_equal_numpy(scales, flip, semantics):
    image = _image()
    tta = TestTimeAugmentation(scales, flip, semantics)
    merged = _merge(tta, image)
    maps = {name: np.asarray(TASKS[name].postprocess(merged[name])[name]) for name in TASKS}
    for i in range(B):
        parts, depth = _expected(image[i], scales, flip, semantics)
        np.testing.assert_allclose(maps["depth"][i], depth, rtol=2e-5)
        if semantics == "softmax":
            shares = jax.nn.softmax(merged["parts"][i])
            np.testing.assert_allclose(shares, parts, atol=2e-6)
            parts = parts.argmax(-1)
        np.testing.assert_array_equal(maps["parts"][i], parts)


def test_without_views_predictions_stay_as_they_are():
    plain = _network(_image())
    merged = TestTimeAugmentation().merge(pytest.fail, TASKS, _image(), plain)
    assert all(merged[name] is plain[name] for name in TASKS)


def test_class_maps_can_stay_the_plain_photographs():
    @jax.jit
    def depths(image):
        plain, found = _network(image), {}
        for semantics in ("plain", "vote"):
            tta = TestTimeAugmentation(SCALES, semantics=semantics)
            found[semantics] = tta.merge(_network, TASKS, image, plain)
        assert found["plain"]["parts"] is plain["parts"]
        return plain["depth"], *(merged["depth"] for merged in found.values())

    without, plain, voted = depths(_image())
    np.testing.assert_array_equal(plain, voted)
    assert np.any(plain != without)


def test_the_plain_photograph_breaks_ties():
    """Two views disagree everywhere: the plain one wins, though its class has the higher id."""
    image = np.zeros((1, 2, 2, 3), np.uint8)
    plain = {"parts": jnp.float32([0, 0, 1]) * jnp.ones((1, 2, 2, 3))}
    view = {"parts": jnp.float32([1, 0, 0]) * jnp.ones((1, 2, 2, 3))}
    tta = TestTimeAugmentation(flip=True, semantics="vote")
    merged = tta.merge(lambda _: view, {"parts": TASKS["parts"]}, image, plain)
    assert (TASKS["parts"].postprocess(merged["parts"])["parts"] == 2).all()


def test_bfloat16_predictions_are_averaged_in_float32():
    image = _image()

    def network(image):
        return jax.tree.map(lambda x: x.astype(jnp.bfloat16), _network(image))

    tta = TestTimeAugmentation((0.5,), flip=True)
    merged, exact = _merge(tta, image, network), _merge(tta, image)
    assert all(value.dtype == jnp.float32 for value in merged.values())
    shares = [jax.nn.softmax(m["parts"]) for m in (merged, exact)]
    np.testing.assert_allclose(*shares, atol=2e-2)
    depth = [TASKS["depth"].postprocess(m["depth"])["depth"] for m in (merged, exact)]
    np.testing.assert_allclose(*depth, rtol=2e-2)


# Every task type that there is keeps the contract.

KINDS = {
    "semseg": labels.classes(NAMES, ((0, 0, 0),) * 3).as_dict(),
    "depth": labels.depth((2.0, 60.0), mean=20.0, stddev=9.0).as_dict(),
    "instance": labels.instances().as_dict(),
    "normals": labels.normals().as_dict(),
}


def _every_task():
    for type_name in _discovery.names(tasks):
        for key in KINDS:
            try:
                task = tasks.build({"it": {"type": type_name, "key": key}}, KINDS)["it"]
            except ValueError:
                continue  # a kind of label that the type cannot use
            yield pytest.param(task, id=f"{type_name}-{key}")


@pytest.mark.parametrize("task", list(_every_task()))
def test_one_view_alone_is_what_it_was(task):
    """`from_average` undoes `to_average`, and mirroring twice is nothing."""
    rng = np.random.default_rng(1)
    prediction = jnp.asarray(rng.normal(size=(2, 4, 6, task.channels)), jnp.float32)
    values = task.to_average(prediction, mirrored=False, zoom=1.0)
    assert values.dtype == jnp.float32
    assert values.shape[:3] == prediction.shape[:3]
    back = task.postprocess(task.from_average(values))[task.name]
    np.testing.assert_allclose(back, task.postprocess(prediction)[task.name], rtol=1e-4, atol=1e-5)
    mirrored = task.from_average(task.to_average(prediction, mirrored=True, zoom=1.0))
    twice = task.to_average(mirrored, mirrored=True, zoom=1.0)
    np.testing.assert_allclose(twice, values, rtol=1e-4, atol=1e-5)


def test_mirrored_normals_look_the_other_way():
    task = tasks.build({"normals": {"type": "normals"}}, KINDS)["normals"]
    seen = jnp.float32([[[[0.6, 0.0, -0.8]]]])
    values = task.to_average(seen, mirrored=True, zoom=2.0)
    np.testing.assert_allclose(values, [[[[-0.6, 0.0, -0.8]]]], atol=1e-7)


def test_offsets_of_a_zoomed_view_are_in_pixels_of_the_photograph():
    task = tasks.build({"instance": {"type": "instances"}}, KINDS)["instance"]

    def network(view):
        """An object twice as large has its centre twice as far away."""
        zoom = view.shape[1] / H
        return {"instance": jnp.full((*view.shape[:3], 2), zoom) * jnp.float32([3, -2])}

    image = np.zeros((1, H, W, 3), np.uint8)
    tta = TestTimeAugmentation((0.5, 2.0))
    merged = tta.merge(network, {"instance": task}, image, network(image))["instance"]
    np.testing.assert_allclose(merged, np.broadcast_to([3, -2], (1, H, W, 2)), rtol=1e-6)


# In an evaluation.


class _System:
    """As much of a `System` as an evaluation needs."""

    tasks = TASKS

    @staticmethod
    def plain_and_merged(variables, image, views):
        def network(image):
            return _network(image + variables["nothing"])

        plain = network(image)
        return plain, views.merge(network, TASKS, image, plain)


def _batch(parts: bool = True, depth: bool = True):
    rng = np.random.default_rng(2)
    batch = {"image": _image(), "valid": np.arange(B) != 5}
    if parts:
        batch["parts"] = rng.choice([0, 1, 2, 255], (B, H, W)).astype(np.int32)
        batch["parts"][1] = 255
    if depth:
        batch["depth"] = rng.choice([0.0, 5.0, 30.0], (B, H, W)).astype(np.float32)
        batch["depth"][2] = 0.0
    return batch


def _evaluate(batch, tta, devices=1):
    mesh = parallel.make_mesh(jax.devices()[:devices])
    variables = {"nothing": np.float32(0)}
    return evaluation.Evaluator(_System, mesh, tta)(variables, [batch])


def test_evaluation_of_a_partly_labelled_batch():
    batch = _batch()
    tta = TestTimeAugmentation((0.5,), flip=True, semantics="vote")
    found, plain = _evaluate(batch, tta), _evaluate(batch, None)
    right, error, pixels = [], 0.0, 0
    for i in np.flatnonzero(batch["valid"]):
        parts, depth = _expected(batch["image"][i], (0.5,), True, "vote")
        known = batch["parts"][i] != 255
        right += (parts == batch["parts"][i])[known].tolist()
        known = batch["depth"][i] > 0
        error += np.abs(depth - batch["depth"][i])[known].sum()
        pixels += known.sum()
    assert found["parts/pixel_accuracy"] == pytest.approx(np.mean(right))
    assert found["depth/abs"] == pytest.approx(error / pixels, rel=1e-5)
    for loss in ("parts/loss", "depth/loss"):  # of the plain prediction in either case
        assert found[loss] == pytest.approx(plain[loss], rel=1e-6)
    assert found["depth/abs"] != plain["depth/abs"]


def test_draining_sums_to_the_host_changes_nothing(monkeypatch):
    """As in a split of more pixels than 32 bits count."""
    evaluator = evaluation.Evaluator(_System, parallel.make_mesh(jax.devices()[:1]))
    batches = [_batch(), _batch() | {"valid": np.arange(B) < 3}, _batch(parts=False)]
    batches[2]["parts"] = np.full((B, H, W), 255, np.int32)
    drain, drained = evaluation._drain, []
    monkeypatch.setattr(evaluation, "_drain", lambda *s: drained.append(1) or drain(*s))
    found = []
    for images in (24, 16, 8):
        monkeypatch.setattr(evaluation, "_PIXELS_BETWEEN_DRAINS", images * H * W)
        found.append(evaluator({"nothing": np.float32(0)}, batches))
    assert len(drained) == 1 + 2 + 3
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-6, nan_ok=True)


def test_the_loss_is_the_mean_over_labelled_images():
    batch = _batch()
    found = _evaluate(batch, None)
    for name, task in TASKS.items():
        each = []
        for i in np.flatnonzero(batch["valid"]):
            one = {key: value[i : i + 1] for key, value in batch.items()}
            targets = task.targets(one)
            if task.labelled(targets, one["valid"]):
                each.append(task.loss(_network(one["image"])[name], targets, one["valid"]))
        assert len(each) == 6
        assert found[f"{name}/loss"] == pytest.approx(np.mean(each), rel=1e-5)
    assert found["loss"] == pytest.approx(found["parts/loss"] + found["depth/loss"])


@pytest.mark.slow
def test_eight_devices_equal_one():
    tta = TestTimeAugmentation((0.5,), flip=True)
    one, eight = (_evaluate(_batch(), tta, devices) for devices in (1, 8))
    assert one == pytest.approx(eight, rel=1e-5, nan_ok=True)


def test_evaluation_of_an_unlabelled_task_and_of_no_label_at_all():
    tta = TestTimeAugmentation((0.5,))
    found = _evaluate(_batch(parts=False), tta)
    assert not [name for name in found if name.startswith("parts/")]
    assert np.isfinite(found["depth/abs"])
    assert _evaluate(_batch(parts=False, depth=False), tta) == {}  # nothing was measured


def _config(**changes):
    return ConfigDict({"scales": (), "flip": False, "semantics": "softmax"} | changes)


def test_configuration():
    tta = test_time_augmentation.build(_config(scales=(0.5, 2), flip=True))
    assert tta == TestTimeAugmentation((0.5, 2.0), True, "softmax")
    assert tta.views == ((1.0, True), (0.5, False), (0.5, True), (2.0, False), (2.0, True))
    assert not test_time_augmentation.build(_config()).views


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": (1.0, 2.0)}, "different positive scales besides 1"),
        ({"scales": (2.0, 2.0)}, "different positive scales"),
        ({"scales": (0.0,)}, "different positive scales"),
        ({"semantics": "majority"}, "semantics='majority'; expected one of softmax, vote, plain"),
    ],
)
def test_configuration_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        test_time_augmentation.build(_config(**changes))
