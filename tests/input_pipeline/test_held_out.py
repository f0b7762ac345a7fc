"""What is held out of a split: drawn by seed, nothing twice and nothing lost."""

import numpy as np
import pytest
import toy_dataset

from input_pipeline import from_config, mixture, pipeline
from input_pipeline.errors import OptionError
from input_pipeline.held_out import Part
from mtl_jax.configs import common

KEYS = ("image", "semseg", "depth")


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return toy_dataset.prepare(tmp_path_factory.mktemp("same"))


@pytest.mark.parametrize(("share", "count"), [(0.1, 10), (0.001, 1), (0.5, 50)])
def test_a_part_is_drawn_by_seed_and_the_other_is_the_rest(share, count):
    drawn = [Part(share, seed, held_out=True).indices(100) for seed in range(3)]
    assert {len(found) for found in drawn} == {count}
    assert len({tuple(found) for found in drawn}) > 1
    for seed, found in enumerate(drawn):
        kept = Part(share, seed, held_out=False).indices(100)
        np.testing.assert_array_equal(np.sort(np.concatenate([found, kept])), np.arange(100))
        np.testing.assert_array_equal(found, Part(share, seed, held_out=True).indices(100))


def test_the_part_is_the_same_for_all_time():
    assert Part(0.05, 0, held_out=True).indices(100).tolist() == [44, 91, 92, 94, 97]


def configured(**changes):
    config = common.base()
    config.data.held_out = 0.4
    config.train.batch_size = config.eval.batch_size = 2
    config.seed = 3
    for key, value in changes.items():
        section, name = key.split("__")
        config[section][name] = value
    return config


def ids(stream) -> set[str]:
    """Of an epoch, or of a whole split."""
    count = getattr(stream, "steps_per_epoch", None) or stream.num_batches
    return {name for step in range(count) for name in stream.example_ids(step)} - {""}


def test_nothing_that_is_held_out_is_trained_on(builder):
    config = configured()
    kept = from_config.train_stream(builder, config, KEYS)
    others = from_config.held_out_stream(builder, config, KEYS)
    config.eval.split = "held_out"
    evaluated = from_config.eval_stream(builder, config, KEYS)
    assert (kept.num_examples, others.num_examples, evaluated.num_examples) == (7, 4, 4)
    assert kept.labelled_per_epoch["semseg"] == 7
    assert ids(others) == ids(evaluated)
    assert not ids(kept) & ids(others)
    seen = {
        name
        for epoch in range(9)
        for step in range(3)
        for name in kept.example_ids(3 * epoch + step)
    }
    assert len(seen) == 7
    assert seen | ids(others) == ids(
        from_config.train_stream(builder, configured(data__held_out=0.0, train__batch_size=1), KEYS)
    )
    (batch,) = [next(others.batches(1))]
    assert batch["image"].shape[0] == 2
    again = from_config.held_out_stream(builder, configured(), KEYS)
    np.testing.assert_array_equal(next(again.batches(1))["image"], batch["image"])


def test_held_out_examples_are_changed_by_other_numbers(builder):
    """Those beside a batch do not have its crops."""
    streams = [
        f(builder, configured(), KEYS)
        for f in (from_config.train_stream, from_config.held_out_stream)
    ]
    numbers = [stream._read(0)[1] for stream in streams]
    assert not {tuple(row) for row in numbers[0]} & {tuple(row) for row in numbers[1]}


def test_of_a_mixture_each_data_set_holds_out_its_share(builder):
    both = mixture.Mixture(
        [
            mixture.Source("first", builder, 1.0, {"semseg": "semseg"}),
            mixture.Source("second", builder, 1.0, {"depth": "depth"}),
        ]
    )
    streams = [
        pipeline.TrainStream(
            both, keys=KEYS, batch_size=1, seed=0, part=Part(0.3, 0, held_out=held)
        )
        for held in (False, True)
    ]
    kept, others = map(ids, streams)
    assert {name.partition("/")[0] for name in others} == {"first", "second"}
    assert (len(kept), len(others)) == (16, 6)
    assert not kept & others


@pytest.mark.parametrize("split", ["validation", "held_out"])
def test_where_nothing_is_held_out_that_is_said(builder, split):
    config = configured(data__held_out=0.0, eval__split=split)
    opened = from_config.held_out_stream if split == "validation" else from_config.eval_stream
    with pytest.raises(OptionError, match=r"config\.data\.held_out=0\.0, but .*held_out=0\.1"):
        opened(builder, config, KEYS)
