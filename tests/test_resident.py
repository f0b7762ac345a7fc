"""Data that lie on the devices: the host's batches, made there; several steps in one call."""

import functools
import itertools
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
import toy_network as toy
from test_loop import assert_same_bits
from test_parallel import assert_close, free_port

from input_pipeline import arrays, labels, pipeline, to_arrays, transforms
from mtl_jax import checkpoints, parallel, resident
from mtl_jax.errors import ConfigError
from mtl_jax.runs import feeds, loop, workdir

toy_network = toy.in_every_run()

SPECS = {
    "image": labels.image(),
    "semseg": labels.classes(("a", "b", "c"), (), flip_swap=((1, 2),)),
    "depth": labels.depth((0.1, 80.0)),
    "disparity": labels.LabelSpec("disparity", "float32", zoom_power=1, fill=-1, invalid=-1.0),
    "instance": labels.instances(),
    "normals": labels.normals(),
    "edge": labels.edges(),
    "soft": labels.LabelSpec("depth", "float32", interpolation="bilinear", invalid=0.0),
    "turned": labels.LabelSpec(
        "normals", "float32", 3, "bilinear", flip_negate=(0,), vector_xy=(0, 1), invalid=0.0
    ),
}
EVERYTHING = {
    **{"crop": (24, 32), "scale": (0.5, 2.0), "flip": 0.5, "rotate": 20.0},
    **{"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1},
}
STEPS = range(1, 5)  # over the end of an epoch of two


def examples(count, height=28, width=40):
    for index in range(count):
        rng = np.random.default_rng(index)
        normals = rng.normal(size=(height, width, 3))
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        normals[:4] = 0
        depth = rng.uniform(1, 79, (height, width)).astype(np.float16)
        depth[-3:] = 0
        yield (
            f"train_{index}",
            {
                "image": rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
                "semseg": rng.choice([0, 1, 2, 255], (height, width)).astype(np.uint8),
                "depth": depth,
                "disparity": np.where(depth == 0, np.float16(-1), depth),
                "instance": rng.integers(0, 60000, (height, width)).astype(np.uint16),
                "normals": normals.astype(np.float16),
                "edge": rng.choice([-1, 0, 0.25, 1], (height, width)).astype(np.float16),
                "soft": depth,
                "turned": normals.astype(np.float16),
            },
        )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "everything"
    dtypes = {key: value.dtype for key, value in next(examples(1))[1].items()}
    with to_arrays.Writer(folder, "everything", SPECS) as writer:
        writer.write("train", examples(11), 11, dtypes)
    return arrays.Arrays(folder)


def stream_of(data, split="train", process=0, processes=1, **augmentation):
    return pipeline.TrainStream(
        data,
        split=split,
        keys=tuple(SPECS),
        batch_size=4,
        seed=3,
        augmentation=transforms.Augmentation(**augmentation),
        process_index=process,
        process_count=processes,
    )


def maker(stream, mesh, step):
    """What makes one batch after the other on the devices, from that step on."""
    feed = feeds.Resident(stream, mesh, step)
    make = jax.jit(lambda stored, given: feed.batch(stored, jax.tree.map(lambda x: x[0], given)))
    return lambda: make(feed.stored, feed.take(1, 1))


def assert_batches_agree(ours, theirs, *, recoloured):
    """That of the devices, and that of the host."""
    assert ours.keys() == theirs.keys()
    for key, expected in theirs.items():
        assert (ours[key].dtype, ours[key].shape) == (expected.dtype, expected.shape), key
        difference = np.abs(np.float64(ours[key]) - np.float64(expected))
        if key == "image":
            # A level that is rounded otherwise is magnified where colours change.
            assert difference.max() <= (2 if recoloured else 1)
            assert (difference > 1).mean() < 1e-3
            assert (difference > 0).mean() < 0.01
        elif key in ("soft", "turned"):  # at half the weight, rounding decides what is known
            assert np.mean(difference > 1e-3) < 0.002
        else:
            assert difference.max() <= 1e-5 * np.abs(expected).max(), key


AUGMENTATIONS = {"all": EVERYTHING, "crop": {"crop": (20, 48), "flip": 0.5}, "none": {}}
SHARES = [(1, "train"), (2, "train"), (4, "train[:5]")]  # of five, the last device has none
OFTEN = ((0, "all"), (2, "all"), (1, "crop"), (0, "none"))  # each of both at least once


def augmentations_and_shares():
    """All pairs; those whose two sides are in another pair each are weekly tests."""
    for (k, share), (name, augmentation) in itertools.product(
        enumerate(SHARES), AUGMENTATIONS.items()
    ):
        marks = () if (k, name) in OFTEN else pytest.mark.weekly
        yield pytest.param(augmentation, *share, id=f"{name}-{share[0]}-{share[1]}", marks=marks)


@pytest.mark.parametrize(("augmentation", "devices", "split"), [*augmentations_and_shares()])
def test_a_batch_is_that_of_the_host(data, augmentation, devices, split):
    stream = stream_of(data, split, **augmentation)
    make = maker(stream, parallel.make_mesh(jax.devices()[:devices]), STEPS.start)
    for _, theirs in zip(STEPS, stream.batches(STEPS.start)):
        ours = jax.device_get(make())
        assert_batches_agree(ours, theirs, recoloured="contrast" in augmentation)


def test_stepwise_changes_are_the_hosts_alone(data):
    stream = stream_of(data, crop=(8, 8), rotate=5.0, mode="stepwise")
    with pytest.raises(ValueError, match=r"mode='stepwise' is made by the host only"):
        feeds.Resident(stream, parallel.make_mesh(jax.devices()[:1]), 0)


def test_what_does_not_fit_is_refused_with_the_numbers(monkeypatch):
    mesh = parallel.make_mesh(jax.devices()[:2])
    layout = {
        "image": ((512, 1024, 3), np.dtype(np.uint8)),
        "depth": ((512, 1024), np.dtype(np.float16)),
    }
    monkeypatch.setattr(feeds, "_free_bytes", lambda mesh: 5 * 2**30)
    feeds.check_fits(layout, 3276, mesh)  # 2.5 MiB each, half of them on each device: 4 GiB
    expected = r"4,000 examples take 9\.77 GiB decoded \(image 5\.86 GiB, depth 3\.91 GiB\), "
    expected += r"of which each of 2 devices would keep 4\.88 GiB; 5 GiB are free"
    with pytest.raises(ConfigError, match=expected):
        feeds.check_fits(layout, 4000, mesh)


def test_memory_that_the_system_would_give_back_is_free(tmp_path, monkeypatch):
    """Of a machine that has read many files, hardly any is unused."""
    monkeypatch.setattr(feeds, "_MEMORY", tmp_path / "meminfo")
    assert feeds._free_on_machine() > 2**24  # all there is, where nothing tells
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 4096 kB\n")
    assert feeds._free_on_machine() == 4096 * 1024
    assert feeds._free_bytes(parallel.make_mesh(jax.devices()[:2])) == 2048 * 1024


def config(streets_dir, **overrides):
    changes = {
        "data__resident": True,
        "data__augment__scale": (0.5, 2.0),
        "data__augment__flip": 0.5,
        "data__augment__rotate": 10.0,
        "train__steps_per_call": 2,
        "train__log_every": 3,
        "train__checkpoint_every_steps": 5,
        "eval__images": 0,
        "eval__worst_images": 0,
    }
    return tiny.config(streets_dir, **(changes | overrides))


@pytest.fixture(scope="module")
def calls():
    """The steps of every call of the finished run."""
    return []


@pytest.fixture(scope="module")
def finished(streets_dir, tmp_path_factory, calls):
    """Six steps, as 2 + 1 to the log, 2 to the checkpoint at step 5, 1 to the end."""
    call = feeds.Calls.__call__

    def counted(self, state, most):
        found = call(self, state, most)
        calls.append(found[2])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeds.Calls, "__call__", counted)
        return guarded(config(streets_dir), tmp_path_factory.mktemp("resident"))


def guarded(config, directory, guard=lambda: jax.transfer_guard("disallow")):
    """A finished run of which no step waited for the devices.

    Nothing came back to the host, and nothing went there but what was put there, in a step; or
    what else `guard` makes sure of.
    """
    run = tiny.run(config, directory)
    steps = run._steps

    def of_state(like):
        make = steps(like)

        def of_step(step):
            advance = make(step)

            def alone(state, most):
                with guard():
                    return advance(state, most)

            return alone

        return of_step

    run._steps = of_state
    run.train()
    return run


@pytest.mark.parametrize(
    ("here", "steps"),
    [
        pytest.param(False, 1, id="host", marks=pytest.mark.slow),
        # Which of the two it is, should they not agree.
        pytest.param(False, 3, id="host_three_steps", marks=pytest.mark.weekly),
        pytest.param(True, 1, id="here", marks=pytest.mark.weekly),
    ],
)
def test_losses_are_those_of_the_host_and_of_single_steps(
    finished, streets_dir, tmp_path, here, steps
):
    chosen = {"data__resident": here, "train__steps_per_call": steps}
    run = guarded(config(streets_dir, **chosen), tmp_path)
    ours, theirs = finished.writer.scalars, run.writer.scalars
    assert theirs.keys() == ours.keys() == {3, 5, 6}
    for step in (3, 5, 6):
        expected = theirs[step]["train/loss"]
        np.testing.assert_allclose(ours[step]["train/loss"], expected, rtol=2e-3)


def stops_at_three(self, step, every):
    """In place of `loop.StopSignal.requested`."""
    return step == 3 and not setattr(self, "signum", 15)


@pytest.mark.slow  # test_loop stops a run of the host's batches; a batch of any step is made above
def test_a_run_that_is_stopped_goes_on_bit_for_bit(finished, streets_dir, tmp_path, monkeypatch):
    run = tiny.run(config(streets_dir), tmp_path)
    monkeypatch.setattr(loop.StopSignal, "requested", stops_at_three)
    with pytest.raises(loop.Stopped):
        run.train()
    monkeypatch.undo()
    again = tiny.run(config(streets_dir), tmp_path)
    again.train()
    assert_same_bits(tiny.latest_state(finished), tiny.latest_state(again))
    assert losses(finished.workdir) == losses(again.workdir)


def losses(directory):
    rows = map(json.loads, directory.training.read_text().splitlines())
    return [row["loss/depth"] for row in rows]


# Devices of one process do above, and two processes, with the host's data, in test_held_out_runs.
@pytest.mark.weekly
def test_two_processes_do_what_one_does(finished, data, streets_dir, tmp_path):
    """Real processes of two devices each, over loopback: batches, losses, and going on."""
    about = {"coordinator": f"127.0.0.1:{free_port()}", "processes": 2, "out": str(tmp_path)}
    about |= {"arrays": str(data.path), "streets": streets_dir}
    program = [sys.executable, str(Path(__file__).with_name("resident_in_processes.py"))]
    started = [
        subprocess.Popen(
            [*program, json.dumps(about | {"process": process})],
            env=tiny.environment(2),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in (0, 1)
    ]
    for process in started:
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0, output
    for step, theirs in zip(STEPS, stream_of(data, **EVERYTHING).batches(STEPS.start)):
        ours = dict(np.load(tmp_path / f"batch_{step}.npz"))
        assert_batches_agree(ours, theirs, recoloured=True)
    whole, parts = (workdir.Workdir(tmp_path / name) for name in ("whole", "parts"))
    assert losses(whole) == losses(parts)
    np.testing.assert_allclose(losses(whole), losses(finished.workdir), rtol=1e-4)
    whole, parts, one = (
        checkpoints.read_variables(directory.checkpoints, "latest")
        for directory in (whole, parts, finished.workdir)
    )
    assert whole[1] == parts[1] == one[1] == 6
    assert_same_bits(whole[0], parts[0])
    assert_close(whole[0], one[0])


def test_calls_end_where_something_is_done(finished, calls):
    assert finished.plan.total_steps == 6
    assert calls == [2, 1, 2, 1]


def test_images_travel_between_devices_as_they_are():
    mesh = parallel.make_mesh(jax.devices()[:2])
    for dtype in (np.uint8, np.uint16, np.float16, np.float32, np.int32):
        array = np.arange(6 * 2 * 3 * 2).reshape(6, 2, 3, 2).astype(dtype)
        index = np.array([5, 0, 3, 3], np.int32)
        put = functools.partial(jax.device_put, device=parallel.batch_sharding(mesh))
        fetch = jax.jit(functools.partial(resident._fetch, mesh=mesh))
        np.testing.assert_array_equal(fetch(put(array), put(index)), array[index])
