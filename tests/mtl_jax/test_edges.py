"""The task `edges`: its loss, its cheap figure, and what scores its maps in an evaluation."""

import concurrent.futures

import benchmark_values as values
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import labels
from mtl_jax import tasks
from mtl_jax.commands import slow_scores
from mtl_jax.errors import ConfigError, UsageError
from mtl_jax.metrics import boundaries, edge_scores, near_edges
from mtl_jax.options import defaults

SPEC = {"edge": labels.edges().as_dict()}
RNG = np.random.default_rng(0)


def build(**options):
    return tasks.build({"edge": {"type": "edges", **options}}, SPEC)["edge"]


def logits_of(probability):
    return np.log(probability / (1 - probability))[..., None].astype(np.float32)


@pytest.mark.parametrize(
    ("given", "weight"), [(None, 0.95), ("atrc_nyud", 0.8), (0.5, 0.5), ("share", 1 - 2.5 / 5)]
)
def test_loss_is_balanced_over_what_is_known(given, weight):
    truth = np.array([[[0.0, 1.0, 0.5], [1.0, 0.0, -1.0]]], np.float32)
    logits = RNG.normal(size=(1, 2, 3, 1))
    z, y = logits[truth != -1][:, 0], truth[truth != -1]
    each = weight * y * np.log1p(np.exp(-z)) + (1 - weight) * (1 - y) * np.log1p(np.exp(z))
    found = build(positive_weight=given).loss(jnp.asarray(logits), truth, np.array([True]))
    assert float(found) == pytest.approx(each.mean(), rel=1e-6)


def test_ignored_pixels_may_be_negatives_as_in_the_survey():
    (case,) = values.cases("losses")
    logits, truth = (np.array(case["edge"][k], np.float32)[:, 0] for k in ("logits", "truth"))
    truth[truth == 255] = -1
    task, batch = build(ignored="negatives"), np.ones(len(truth), bool)
    found = task.loss(logits[..., None], truth, batch)
    expected = case["edge"]["survey_095_with_ignored_as_negative"]
    assert float(found) == pytest.approx(expected, abs=2e-6)
    assert float(task.denominator(truth, batch)) == truth.size
    truth = np.concatenate([truth, np.full_like(truth[:1], -1)])  # an image without a label
    logits, batch = np.concatenate([logits, logits[:1]]), np.ones(len(truth), bool)
    again = task.loss(logits[..., None], truth, batch)
    assert float(again) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("ignored", ["nowhere", "negatives"])
def test_a_label_that_is_neither_unknown_nor_from_0_to_1_is_not_repaired(ignored):
    truth = np.array([[[-0.5, 1.0, -1.0]]], np.float32)
    found = build(ignored=ignored).loss(np.zeros((1, 1, 3, 1)), truth, np.array([True]))
    assert np.isnan(found)


@pytest.mark.parametrize("wrong", ["atrc", 1.5, -0.1])
def test_an_unknown_weight_is_refused_with_the_known_ones(wrong):
    with pytest.raises(ConfigError, match=r"positive_weight.*atrc_nyud"):
        build(positive_weight=wrong)


def test_labels_of_another_kind_are_refused():
    with pytest.raises(ConfigError, match="needs labels of kind edges"):
        tasks.build({"edge": {"type": "edges", "key": "it"}}, {"it": labels.saliency().as_dict()})


def plain_f(truth, probability, known, reach):
    """The best F over thresholds, of pixels within `reach` rows and columns, by loops."""

    def near(mask):
        found = np.zeros_like(mask)
        for n, y, x in np.argwhere(mask):
            found[n, max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1] = True
        return found

    best = 0.0
    for t in np.arange(1, 100) / 100:
        said, true = (probability >= np.float32(t)) & known, truth & known
        right, found = (said & near(true)).sum(), (true & near(said)).sum()
        p, r = right / max(said.sum(), 1), found / max(true.sum(), 1)
        best = max(best, 2 * p * r / (p + r) if p + r else 0.0)
    return best


@pytest.mark.slow
def test_cheap_figure_is_its_definition_over_all_images_together():
    truth = RNG.random((3, 20, 30)) < 0.05
    probability = np.clip(0.3 * truth + RNG.random(truth.shape), 0, 1).astype(np.float32)
    known = RNG.random(truth.shape) < 0.9
    share = 2.5 / np.hypot(20, 30)
    parts = [
        jax.device_get(near_edges.near_edge_sums(truth[i], probability[i], known[i], share))
        for i in (slice(0, 1), slice(1, 3))
    ]
    found = near_edges.near_edge_metrics(jax.tree.map(np.add, *parts))
    assert found["f_near"] == pytest.approx(plain_f(truth, probability, known, 2), rel=1e-6)
    assert found["f_exact"] == pytest.approx(plain_f(truth, probability, known, 0), rel=1e-6)
    assert found["f_near"] > found["f_exact"] + 0.1


def cheap(truth, probability, known, max_distance):
    sums = near_edges.near_edge_sums(truth, probability, known, max_distance)
    return near_edges.near_edge_metrics(jax.device_get(sums))


def test_cheap_figure_is_of_the_frame_and_not_of_its_padding():
    """Of each image by itself; 5 pixels of a diagonal of 125 are so in float32, too."""
    pads = ((0, 0), (40, 99), (60, 30))
    probability, truth = np.zeros((2, 35, 120), np.float32), np.zeros((2, 35, 120), bool)
    probability[0, 10, 10] = truth[0, 10, 15] = True
    known = np.ones_like(truth)
    known[1, :, 60:] = False  # the distance is 2.8
    probability[1, 10, 10] = truth[1, 10, 13] = True
    for images, f in ((slice(0, 1), 1.0), (slice(1, 2), 0.0), (slice(0, 2), 0.5)):
        given = [each[images] for each in (truth, probability, known)]
        assert cheap(*given, 0.04)["f_near"] == f
        padded = [np.pad(each, pads, constant_values=False) for each in given]
        assert cheap(*padded, 0.04)["f_near"] == f


def test_cheap_figure_reaches_a_share_of_the_diagonal_and_says_what_is_just_a_threshold():
    truth, probability = np.zeros((1, 30, 40), bool), np.zeros((1, 30, 40), np.float32)
    truth[0, 10, 10], probability[0, 10, 11] = True, 0.01
    known = np.ones_like(truth)
    assert cheap(truth, probability, known, 0.02)["f_near"] == 1  # a pixel: the diagonal is 50
    assert cheap(truth, probability, known, 0.0199)["f_near"] == 0
    assert cheap(truth, np.where(probability == 0, 0, 0.0099), known, 0.02)["f_near"] == 0


def test_a_soft_label_is_an_edge_from_a_half_on():
    truth = np.array([[[0.3, 0.5, 0.0, -1.0]]], np.float32)
    sums = build().metric_sums(np.zeros((1, 1, 4, 1), np.float32), truth, np.array([True]))
    assert sums["true"] == 1


def score(truth, images, *, truth_is, max_distance, workers=1, protocols=("invpt",)):
    scorer = edge_scores.EdgeScorer(
        "edge", truth_is, max_distance=max_distance, protocols=protocols, workers=workers
    )
    for labels_of_image, image in zip(truth, images):
        scorer.add({"edge": labels_of_image}, image)
    return scorer.finish()


def example(size=(24, 32)):
    """A soft line across the frame, and a noisy map of it."""
    truth = np.zeros(size, np.float32)
    truth[size[0] // 2] = 1.0
    truth[size[0] // 2 + 1] = 0.3
    noise = np.random.default_rng(1).random(size)
    return truth, np.clip(0.6 * truth + 0.4 * noise, 0, 1).astype(np.float32)


def test_what_is_said_where_nothing_is_known_changes_no_score():
    truth, image = example()
    truth[2:9, 4:15] = -1.0  # within the frame
    quiet, loud = image.copy(), image.copy()
    quiet[truth == -1], loud[truth == -1] = 0.0, 0.9
    scores = [score([truth], [said], truth_is="lines", max_distance=0.05) for said in (quiet, loud)]
    assert scores[0] == scores[1]


def test_padding_changes_no_score():
    truth, image = example()
    alone = score([truth], [image], truth_is="lines", max_distance=0.05)
    pads = ((3, 5), (7, 1))
    # Network and benchmark see the padding in one way only: the frame is cut out before all else.
    distance = 0.05
    padded = score(
        [np.pad(truth, pads, constant_values=-1)],
        [np.pad(image, pads, constant_values=0.9)],
        truth_is="lines",
        max_distance=distance,
    )
    assert padded == alone
    assert 0 < alone["odsF"] < 1


def test_lines_are_thinned_and_sides_are_both_sides():
    truth, image = example()
    found = {
        kind: score([truth], [image], truth_is=kind, max_distance=0.01)["ods_recall"]
        for kind in edge_scores.TRUTHS
    }
    assert found["lines"] != found["sides"]
    counts = boundaries.image_counts(
        (np.float32(255) * image).astype(np.uint8),
        boundaries.true_edges(truth),
        0.01,
        boundaries.PROTOCOLS["invpt"],
    )
    expected = boundaries.summary([counts], boundaries.PROTOCOLS["invpt"])
    assert found["sides"] == expected["ods_recall"]


def test_other_protocols_have_other_names_and_an_unlabelled_image_is_left_out():
    truth, image = example()
    unknown = np.full_like(truth, -1)
    found = score(
        [truth, unknown],
        [image, image],
        truth_is="lines",
        max_distance=0.02,
        protocols=("invpt", "survey"),
    )
    assert found["scored_images"] == 1
    assert found["odsF"] != found["odsF_survey"]


def test_all_protocols_share_the_processes(monkeypatch):
    started = []

    def pool(workers, mp_context):
        started.append(workers)
        return concurrent.futures.ThreadPoolExecutor(workers)

    truth, image = example()
    given = ([truth, truth.T], [image, image.T])
    options = {"truth_is": "lines", "max_distance": 0.02, "protocols": ("survey", "invpt", "mtdp")}
    one = score(*given, **options)
    monkeypatch.setattr(boundaries.concurrent.futures, "ProcessPoolExecutor", pool)
    assert score(*given, **options, workers=3) == one
    assert started == [3]
    alone = score(*given, **options | {"protocols": ("mtdp",)})
    assert alone == {k: v for k, v in one.items() if k.endswith("_mtdp") or k == "scored_images"}


def test_public_values_of_nyud():
    """There the truth is made of the edge image itself."""
    for case in values.cases("edge_whole"):
        if case["truth_is"] == "edge map":
            images = values.array(case, "images_8bit") / 255
            found = score(
                values.array(case, "truth"),
                np.nextafter(images, 2),
                truth_is="sides",
                max_distance=case["max_dist"],
            )
            assert found["odsF"] == pytest.approx(case["expected"]["odsF"], abs=case["tolerance"])


class Stream:
    """Three images of which the last is padding."""

    num_batches, num_examples = 1, 2

    def example_ids(self, step):
        return ["a", "b", ""]


def slow(tmp_path, *, specs=SPEC, task=None, **options):
    given = defaults()["eval"]["scores"] | {"workers": 1} | options
    section = type("Section", (), given)
    scores = slow_scores.SlowScores({"edge": task or build(max_distance=0.02)}, specs, section)
    truth, image = example()
    batch = {"edge": np.stack([truth, truth, truth]), "valid": np.array([True, True, False])}
    outputs = {"edge": {"edge": np.stack([image, image[::-1], image])}}
    with scores.of(Stream()) as on_batch:
        if on_batch is None:
            return {}
        on_batch(batch, outputs)
        return scores.finish()


def test_evaluation_scores_every_image_or_those_of_a_list(tmp_path):
    whole = slow(tmp_path)
    (tmp_path / "ids.txt").write_text("a\n")
    listed = slow(tmp_path, ids=str(tmp_path / "ids.txt"))
    assert whole["edge/scored_images"] == 2
    assert listed["edge/scored_images"] == 1
    assert whole["edge/odsF"] < listed["edge/odsF"]
    assert slow(tmp_path, protocols=()) == {}


def test_a_list_of_other_images_is_refused_before_the_work(tmp_path):
    (tmp_path / "ids.txt").write_text("b\n2008_000002\n")
    with pytest.raises(UsageError, match=r"found 1 of 2 .*such as 2008_000002\. Give a list"):
        slow(tmp_path, ids=str(tmp_path / "ids.txt"))


def test_a_figure_of_other_images_than_the_published_says_so(tmp_path):
    found = slow(tmp_path, published_images=2498)
    assert "edge/odsF" not in found
    assert found["edge/odsF_of_2"] == slow(tmp_path, published_images=2)["edge/odsF"]


def test_mtdps_figure_is_published_of_the_whole_split(tmp_path):
    (tmp_path / "ids.txt").write_text("a\n")
    options = {"protocols": ("invpt", "mtdp"), "published_images": 1}
    whole = slow(tmp_path, **options)
    listed = slow(tmp_path, ids=str(tmp_path / "ids.txt"), **options)
    assert {"edge/odsF_of_2", "edge/odsF_mtdp"} <= set(whole)
    assert {"edge/odsF", "edge/odsF_mtdp_of_1"} <= set(listed)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"protocols": ("invtp",)}, ConfigError, "'invtp' is unknown; expected one of invpt"),
        ({"ids": "/nowhere"}, UsageError, "ids=/nowhere: expected a text file"),
        ({"task": build(truth_key="thin")}, ConfigError, "has no 'thin'"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_the_work(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        slow(tmp_path, **options)
    task = options.pop("task", build())
    section = type("Section", (), defaults()["eval"]["scores"] | options)
    with pytest.raises(error, match=message):  # and before anything is trained, too
        slow_scores.check({"edge": task}, SPEC, section)


def test_a_list_of_ids_has_one_in_each_line(tmp_path):
    (tmp_path / "ids.txt").write_text("\ufeffa\r\n two words \n\n", encoding="utf-8")
    assert slow_scores.read_ids(str(tmp_path / "ids.txt")) == {"a", "two words"}


def test_views_are_averaged_as_probabilities():
    task = build()
    p = RNG.uniform(0.01, 0.99, (2, 3, 4))
    average = task.to_average(logits_of(p), mirrored=True, zoom=2.0)
    np.testing.assert_allclose(average, np.stack([1 - p, p], -1), rtol=1e-5)
    again = task.postprocess(task.from_average(average))["edge"]
    np.testing.assert_allclose(again, p, rtol=1e-5)
