import itertools

import numpy as np
import pytest
import toy_dataset

from input_pipeline import pipeline, records
from input_pipeline.errors import DatasetError
from input_pipeline.transforms import Augmentation

KEYS = ("image", "semseg", "depth", "instance", "normals")
EVERYTHING = Augmentation(
    crop=(16, 24), scale=(0.5, 2), flip=0.5, rotate=10, brightness=0.2, contrast=0.2, hue=0.1
)


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return toy_dataset.prepare(tmp_path_factory.mktemp("same"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return toy_dataset.prepare(tmp_path_factory.mktemp("mixed"), "mixed")


def train(builder, **options):
    defaults = {"keys": KEYS, "batch_size": 4, "seed": 7, "augmentation": EVERYTHING}
    return pipeline.TrainStream(builder, **(defaults | options))


def take(stream, number, start=0):
    return list(itertools.islice(stream.batches(start), number))


def assert_same(left, right):
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_array_equal(left[key], right[key], err_msg=key)


def index_of(example_id):
    return int(example_id.rpartition("-")[2])


def test_a_batch_keeps_the_contract(builder):
    stream = train(builder)
    (batch,) = take(stream, 1)
    assert {key: (value.dtype.name, value.shape) for key, value in batch.items()} == {
        "image": ("uint8", (4, 16, 24, 3)),
        "semseg": ("int32", (4, 16, 24)),
        "depth": ("float32", (4, 16, 24)),
        "instance": ("int32", (4, 16, 24)),
        "normals": ("float32", (4, 16, 24, 3)),
        "valid": ("bool", (4,)),
    }
    assert batch["valid"].all()
    assert stream.shapes == {key: batch[key].shape[1:] for key in KEYS}
    assert (stream.num_examples, stream.steps_per_epoch) == (11, 2)


def test_without_augmentation_arrays_are_those_of_the_records_bit_for_bit(builder):
    stream = train(builder, augmentation=Augmentation())
    for step, batch in enumerate(take(stream, 3)):
        for row, example_id in enumerate(stream.example_ids(step)):
            expected = toy_dataset.example("train", index_of(example_id))
            for key in KEYS:
                np.testing.assert_array_equal(batch[key][row], expected[key], err_msg=key)


def test_seeking_gives_the_batches_of_an_uninterrupted_run_across_epochs(builder):
    batches = take(train(builder), 6)
    for start in (1, 2, 5):
        for offset, batch in enumerate(take(train(builder), 6 - start, start)):
            assert_same(batch, batches[start + offset])


def test_every_third_batch_is_the_third_of_all_batches(builder):
    every_third = itertools.islice(train(builder).batches(1, every=3), 3)
    for found, expected in zip(every_third, take(train(builder), 8)[1::3], strict=True):
        assert_same(found, expected)


def test_seeking_reads_nothing_of_what_came_before(builder, monkeypatch):
    steps = []
    original = pipeline.TrainStream._read
    monkeypatch.setattr(
        pipeline.TrainStream, "_read", lambda self, step: steps.append(step) or original(self, step)
    )
    next(train(builder).batches(start_step=9))
    assert min(steps) == 9


def test_an_epoch_visits_each_example_once_in_an_order_of_its_own(builder):
    stream = train(builder, batch_size=1)
    epochs = [[stream.example_ids(11 * e + k)[0] for k in range(11)] for e in range(3)]
    assert all(sorted(epoch, key=index_of) == sorted(epochs[0], key=index_of) for epoch in epochs)
    assert len(set(epochs[0])) == 11
    assert len(set(map(tuple, epochs))) == 3


def test_the_order_is_fixed_for_all_time(builder):
    # Philox is specified; sorting its raw output needs nothing that may change.
    order = [index_of(train(builder, batch_size=1).example_ids(k)[0]) for k in range(11)]
    assert order == [8, 4, 1, 6, 3, 2, 7, 5, 9, 10, 0]


def test_seeds_give_other_orders_and_every_visit_other_draws(builder):
    ids = [train(builder, seed=seed).example_ids(0) for seed in (1, 2)]
    assert ids[0] != ids[1]
    stream = train(builder, split="train[:1]", batch_size=1)
    visits = [batch["image"].tobytes() for batch in take(stream, 4)]
    assert len(set(visits)) == 4
    other = take(train(builder, split="train[:1]", batch_size=1, seed=8), 1)
    assert other[0]["image"].tobytes() != visits[0]


def test_no_two_visits_share_a_seed(builder):
    """Nor would an example meet the draws that another one had in the epoch before."""
    stream = train(builder)
    seeds = [tuple(seed) for step in range(6) for seed in stream._read(step)[1]]
    assert len(set(seeds)) == len(seeds) == 24


def test_processes_read_slices_of_the_global_batch(builder):
    whole = take(train(builder), 3)
    parts = [take(train(builder, process_index=index, process_count=2), 3) for index in range(2)]
    for step, batch in enumerate(whole):
        for key, value in batch.items():
            joined = np.concatenate([part[step][key] for part in parts])
            np.testing.assert_array_equal(joined, value)


def test_a_label_the_data_set_lacks_is_left_out(builder):
    stream = train(builder, keys=("image", "semseg", "parts"))
    assert stream.missing == ("parts",)
    assert set(take(stream, 1)[0]) == {"image", "semseg", "valid"}


def test_images_of_all_sizes_train_with_a_crop(mixed):
    (batch,) = take(train(mixed), 1)
    assert batch["image"].shape == (4, 16, 24, 3)


def test_images_of_different_size_without_crop_are_refused(mixed):
    stream = train(mixed, augmentation=Augmentation())
    with pytest.raises(DatasetError, match=r"(?s)batch 0, .* train-\d+.*one size"):
        take(stream, 1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 3, "process_count": 2}, ValueError, "batch_size=3 .* processes, 2"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"batch_size": 12}, DatasetError, "11 examples, fewer than one batch of 12"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"split": "trian"}, DatasetError, "no such split; .* train, validation. Choose by config"),
        ({"split": "train[:0]"}, DatasetError, "found none. The data set has 11 in 'train', 5 in"),
        ({"keys": ("image", "parts")}, DatasetError, "at least one label .*'semseg'"),
        ({"keys": ("semseg",)}, DatasetError, "expected 'image'"),
    ],
)
def test_impossible_streams_are_refused(builder, options, error, message):
    with pytest.raises(error, match=message):
        train(builder, **options)


def evaluate(builder, **options):
    defaults = {"keys": KEYS, "batch_size": 4, "split": "validation"}
    return pipeline.EvalStream(builder, **(defaults | options))


def test_evaluation_gives_every_example_once_in_order_and_pads_the_end(builder):
    stream = evaluate(builder)
    batches = list(stream.batches())
    assert stream.num_batches == len(batches) == 2
    valid = np.concatenate([batch["valid"] for batch in batches])
    np.testing.assert_array_equal(valid, [True] * 5 + [False] * 3)
    ids = stream.example_ids(0) + stream.example_ids(1)
    assert ids == [f"validation-{index}" for index in range(5)] + [""] * 3
    for index in range(5):
        expected = toy_dataset.example("validation", index)
        for key in KEYS:
            np.testing.assert_array_equal(batches[index // 4][key][index % 4], expected[key])


def test_evaluation_has_equally_many_batches_in_every_process(builder):
    whole = list(evaluate(builder).batches())
    parts = [
        list(evaluate(builder, process_index=index, process_count=4).batches())
        for index in range(4)
    ]
    assert {len(part) for part in parts} == {2}
    for step, batch in enumerate(whole):
        for key, value in batch.items():
            joined = np.concatenate([part[step][key] for part in parts])
            np.testing.assert_array_equal(joined, value)


def test_evaluation_crops_right_and_bottom_to_a_multiple(builder):
    batch = next(evaluate(builder, crop_multiple=8).batches())
    expected = toy_dataset.example("validation", 0)
    for key in KEYS:
        np.testing.assert_array_equal(batch[key][0], expected[key][:16, :24])


def test_evaluation_pads_and_crops_to_a_size_centred(mixed):
    batches = evaluate(mixed, image_size=(18, 28), batch_size=5).batches()
    batch = next(batches)
    fills = {"image": 0, "semseg": 255, "depth": 0, "instance": 0, "normals": 0}
    for index in range(5):
        height, width = toy_dataset.size("mixed", index)
        source = toy_dataset.example("validation", index, height, width)
        top, left = abs(18 - height) // 2, abs(28 - width) // 2
        for key in KEYS:
            value = source[key]
            if height > 18:
                value = value[top : top + 18]
            if width > 28:
                value = value[:, left : left + 28]
            missing = np.array([18, 28]) - value.shape[:2]
            before = missing // 2
            widths = [*zip(before, missing - before), (0, 0)][: value.ndim]
            expected = np.pad(value, widths, constant_values=fills[key])
            np.testing.assert_array_equal(batch[key][index], expected, err_msg=key)


def test_evaluation_pads_photographs_with_what_is_zero_when_normalised(mixed):
    black = next(evaluate(mixed, image_size=(40, 40), batch_size=5).batches())
    mean = next(evaluate(mixed, image_size=(40, 40), batch_size=5, padding="mean").batches())
    assert (black["image"][:, 0] == 0).all()
    assert (mean["image"][:, 0] == [124, 116, 104]).all()  # 255 times ImageNet's mean
    np.testing.assert_array_equal(mean["image"][:, 15:25, 8:32], black["image"][:, 15:25, 8:32])
    np.testing.assert_array_equal(mean["semseg"], black["semseg"])


def test_evaluation_stretches_everything_to_one_size(mixed):
    stream = evaluate(mixed, resize=(32, 48), batch_size=5)
    stream.check_sizes()
    batch = next(stream.batches())
    for index in range(5):
        height, width = toy_dataset.size("mixed", index)
        source = toy_dataset.example("validation", index, height, width)
        rows, columns = np.arange(32) * height // 32, np.arange(48) * width // 48
        expected = source["semseg"][rows][:, columns]
        np.testing.assert_array_equal(batch["semseg"][index], expected)
        length = np.linalg.norm(batch["normals"][index], axis=-1)
        assert (np.isclose(length, 1, atol=1e-5) | (length == 0)).all()


def test_evaluation_may_stretch_a_further_image_alone(mixed):
    plain, options = evaluate(mixed, batch_size=1).batches(), {"resize": (32, 48), "batch_size": 4}
    wide = next(evaluate(mixed, **options).batches())
    stream = evaluate(mixed, **options, resize_back=True, image_size=(44, 52))
    stream.check_sizes()
    first, second = stream.batches()
    np.testing.assert_array_equal(first["stretched"], wide["image"])
    assert second["own_size"].tolist() == [[*toy_dataset.size("mixed", 4)]] * 4
    for index, ((height, width), own) in enumerate(zip(first["own_size"], plain)):
        assert (height, width) == toy_dataset.size("mixed", index)
        for key in ("image", "semseg", "normals"):
            found = first[key][index]
            assert found.shape[:2] == (44, 52)
            np.testing.assert_array_equal(found[:height, :width], own[key][0])
            assert (found[height:] == stream.specs[key].fill).all()
            assert (found[:, width:] == stream.specs[key].fill).all()


def test_a_frame_that_is_too_small_is_refused_beforehand(mixed):
    height, width = max(toy_dataset.size("mixed", index) for index in range(5))
    stream = evaluate(mixed, resize=(height - 1, 100), resize_back=True)
    with pytest.raises(
        DatasetError, match=rf"is {height}×{width}, larger than .*image_size to a larger"
    ):
        stream.check_sizes()


def test_evaluation_of_single_images_takes_any_size(mixed):
    sizes = [batch["image"].shape[1:3] for batch in evaluate(mixed, batch_size=1).batches()]
    assert sizes == [toy_dataset.size("mixed", index) for index in range(5)]


def test_images_that_form_no_batch_are_refused_beforehand(builder, mixed, monkeypatch):
    (height, width), *_ = (toy_dataset.size("mixed", index) for index in range(5))
    with pytest.raises(DatasetError, match=f"is {height}×{width} and .*eval.image_size to a"):
        evaluate(mixed, batch_size=2).check_sizes()
    evaluate(mixed, batch_size=1).check_sizes()
    evaluate(mixed, batch_size=2, image_size=(8, 8)).check_sizes()
    stream = evaluate(builder, batch_size=3)
    monkeypatch.setattr(stream._records, "_size", (20, 28))  # as of a data set of one size,
    monkeypatch.setattr(stream._records, "read", None)  # where there is nothing to look at
    stream.check_sizes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": (8, 8), "crop_multiple": 4}, "expected one of them"),
        ({"image_size": (0, 8)}, r"image_size=\(0, 8\); expected a positive height and width"),
        ({"crop_multiple": 0}, "crop_multiple=0"),
        ({"padding": "grey"}, "padding='grey'; expected one of black, mean"),
        ({"resize_back": True}, "resize=None and crop_multiple=1; expected a"),
    ],
)
def test_impossible_evaluations_are_refused(builder, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(builder, **options)


def test_images_smaller_than_the_multiple_are_refused(builder):
    with pytest.raises(DatasetError, match="smaller than crop_multiple=32"):
        next(evaluate(builder, crop_multiple=32).batches())


def test_a_record_that_does_not_decode_is_named(builder, monkeypatch):
    stream = evaluate(builder)
    original = records.Records.read

    def damaged(self, indices):
        return [
            record.replace(b"\x89PNG", b"\x89BAD") if index == 3 else record
            for index, record in zip(indices, original(self, indices))
        ]

    monkeypatch.setattr(records.Records, "read", damaged)
    with pytest.raises(DatasetError, match=r"batch 0, one of the examples .*validation-3"):
        list(stream.batches())
