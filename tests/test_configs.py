"""Every protocol of every config builds, with its train step, and is read again as it was saved."""

import functools
import importlib
import json
import sys
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
import tiny
import traced
from ml_collections import ConfigDict
from test_conformance_models import LONG

from mtl_jax import architectures, optimizers, options, parallel, system, training
from mtl_jax.commands import config as configuration
from mtl_jax.configs import from_workdir
from mtl_jax.runs import files, workdir

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NOT_RUNS = ("benchmarks", "command_line", "common", "from_sweep", "from_workdir", "__init__")
NAMES = [
    (path.stem, protocol)
    for path in sorted(CONFIGS.glob("*.py"))
    if path.stem not in NOT_RUNS
    for protocol in importlib.import_module(f"mtl_jax.configs.{path.stem}").PROTOCOLS
]


def load(name: str, protocol: str):
    return importlib.import_module(f"mtl_jax.configs.{name}").get_config(protocol)


def on_streets(architecture: str):
    """The first config that trains an architecture on Streets, or one with its defaults."""
    for name, protocol in NAMES:
        config = load(name, protocol)
        if config.data.dataset == "streets" and config.model.architecture == architecture:
            return config
    config = load("branched", "streets_scratch")
    config.model = ConfigDict({"architecture": architecture})
    filled = config.copy_and_resolve_references()
    options.fill(filled)
    config.model = filled.model
    return config


def specs_of(config) -> dict:
    """The data sets' label specs, where there is such a data set already."""
    mixed = [source.dataset for source in config.data.mixture.values()]
    return {key: spec for name in mixed or [config.data.dataset] for key, spec in _specs(name)}


@functools.cache
def _specs(name: str) -> list[tuple[str, dict]]:
    from input_pipeline import datasets
    from input_pipeline.errors import DatasetError

    try:
        _, builder = datasets._builder(name, "")
        return [(key, spec.as_dict()) for key, spec in builder.label_specs.items()]
    except DatasetError:
        return []


def synthetic_batch(parts, size: int, height: int, width: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    batch = {
        "image": random.integers(0, 256, (size, height, width, 3), np.uint8),
        "valid": np.ones(size, bool),
    }
    for task in parts.tasks.values():
        shape = (size, height, width, *task.label_channels)
        if task.class_names:
            labels = random.integers(0, task.channels, shape)
        elif task.label_channels:
            labels = random.normal(size=shape)
            labels /= np.linalg.norm(labels, axis=-1, keepdims=True)
        elif hasattr(task, "valid_range"):
            labels = random.uniform(*task.valid_range, shape)
        else:  # ids, or yes and no
            labels = random.integers(0, 2, shape)
        batch[task.key] = labels.astype(task.label_dtype)
    return batch


def zeros(parts, key, image_shape):
    """In place of `System.init`, which compiles."""
    return jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype),
        jax.eval_shape(lambda: parts.zeros(image_shape)),
    )


def kind(leaf):
    return leaf.shape, leaf.dtype


def test_that_parts_fit_is_seen_without_a_data_set():
    for name, protocol in NAMES:
        system.network(load(name, protocol))


_PREDICTED = set()


def assert_predicts(config_model, parts) -> None:
    """Each task's channels, at the size of an image of at least 256×256.

    Most networks have an encoder that others have too, and many differ in nothing but the numbers
    of their outputs, or in where they start from: one of them is traced.
    """
    channels = {name: task.channels for name, task in parts.tasks.items()}
    said = {k: v for k, v in config_model.to_dict().items() if not k.startswith("pretrained")}
    network = (json.dumps(said, sort_keys=True), *channels)
    if network in _PREDICTED:
        return
    size = parts.sizes.fitting((256, 256))
    image = jax.ShapeDtypeStruct((1, *size, 3), np.float32)
    init = functools.partial(parts.model.init_with_output, jax.random.key(0), train=False)
    outputs = traced.shapes(init, image)[0].final
    assert {task: output.shape for task, output in outputs.items()} == {
        task: (1, *size, count) for task, count in channels.items()
    }
    _PREDICTED.add(network)


def one_of_each_network():
    """Every protocol; those are weekly whose architecture another one trains after that encoder.

    Of those of the multi-task benchmarks, with their full networks, the first of each file is slow.
    """
    found, seen = [], set()
    for name, protocol in NAMES:
        config = load(name, protocol)
        large = config.data.dataset.startswith(("pascal_context", "nyud/"))
        encoder = config.model.get("encoder", {}).get("name")
        kind = (name, "large") if large else (config.model.architecture, encoder)
        marks = pytest.mark.slow if large else ()
        found.append(
            pytest.param(name, protocol, marks=pytest.mark.weekly if kind in seen else marks)
        )
        seen.add(kind)
    return found


@pytest.mark.parametrize(("name", "protocol"), NAMES)
def test_every_config_builds_and_is_complete(name, protocol):
    config = load(name, protocol)
    assert config.name
    system.build(config, specs_of(config))
    schedule = optimizers.make_schedule(config.schedule, steps_per_epoch=10, total_steps=100)
    optimizers.make_optimizer(config.optimizer, schedule)
    assert np.isfinite(schedule(99))


@pytest.mark.parametrize(("name", "protocol"), one_of_each_network())
def test_every_config_predicts_its_tasks(name, protocol):
    config = load(name, protocol)
    assert_predicts(config.model, system.build(config, specs_of(config)))


def test_report_e_is_also_evaluated_without_void():
    """On the 19 classes of the benchmark, by their ids among the 34."""
    config = load("uncertainty", "cityscapes")
    task = system.build(config, specs_of(config)).tasks["semseg"]
    ids = (7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33)
    assert task.evaluated_ids == ids


def first_protocols():
    """[(file, protocol)], the first of each file; those of large networks are slow, or weekly."""
    found = []
    for name, protocol in dict(reversed(NAMES)).items():
        large = name in ("mtan", "stacked_unet", "vit")
        large |= load(name, protocol).model.architecture in LONG
        marks = pytest.mark.slow if large else ()
        if name in ("hrnet", "invpt", "mlore", "mti_net"):
            marks = pytest.mark.weekly
        found.append(pytest.param(name, protocol, marks=marks, id=name))
    return found


@pytest.mark.parametrize(("name", "protocol"), first_protocols())
def test_every_config_takes_a_step(name, protocol):
    """As shapes, which is all that a config decides: the state after a step is like that before.

    Of few layers: all of them are looked at above. What a step computes is tested on small
    networks, and in test_architectures_train on all.
    """
    config = load(name, protocol)
    tiny.narrow(config.model)
    parts = system.build(config, specs_of(config))
    mesh = parallel.make_mesh(jax.devices()[:1])
    schedule = optimizers.make_schedule(config.schedule, steps_per_epoch=10, total_steps=100)
    optimizer = optimizers.make_optimizer(config.optimizer, schedule)
    size = parts.sizes.fitting((64, 64))
    with mock.patch.object(system.System, "init", zeros):
        state = training.create_state(parts, optimizer, seed=0, image_shape=size, mesh=mesh)
    step = training.make_train_step(
        parts, optimizer, schedule, seed=0, steps_per_epoch=10, mesh=mesh
    )
    after, logs = traced.shapes(step, state, synthetic_batch(parts, 2, *size))
    assert jax.tree.map(kind, after) == jax.tree.map(kind, state)
    assert set(logs["losses"]) == {*parts.tasks, *parts.penalties}
    assert {kind(leaf) for leaf in jax.tree.leaves(logs["losses"])} == {((), np.dtype("float32"))}


@pytest.mark.parametrize("architecture", ["fcn", "mtan"])
def test_a_new_architecture_needs_no_config_to_be_tested(architecture, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "NAMES", [])
    config = on_streets(architecture)
    tiny.narrow(config.model)
    assert config.model.architecture == architecture
    assert architectures.build(config.model, {"semseg": 2}) is not None
    assert not config.model.pretrained


def test_what_is_offered_is_a_config():
    assert set(configuration.names()) == {name for name, _ in NAMES}


def test_unknown_protocol_names_the_known_ones():
    with pytest.raises(
        ValueError, match=r"'citiscapes'\. Did you mean 'cityscapes'\? Expected one of streets"
    ):
        load("branched", "citiscapes")


@pytest.mark.parametrize(("name", "protocol"), NAMES)
def test_what_a_run_saves_is_read_again(name, protocol, tmp_path):
    config = load(name, protocol)
    options.fill(config)
    directory = workdir.Workdir(tmp_path)
    files.write_json(directory.config, files.to_json(config))
    found = from_workdir.get_config(str(tmp_path))
    directory.check_config(found, may_differ=())
    directory.check_config(config, may_differ=())


@pytest.mark.parametrize("protocol", ["streets", "streets_mixed"])
def test_a_run_that_is_older_than_some_keys_can_be_used(protocol, tmp_path):
    config = load("stacked_unet", protocol)
    config.train.epochs = 1.5
    directory = workdir.Workdir(tmp_path)
    options.fill(config)
    old = files.to_json(config)
    del old["train"]["freeze"], old["optimizer"]["bias_scale"], old["eval"]["tta"]["flip"]
    del old["predict"], old["task_order"], old["weighting"]["weights"]
    old["weighting"] |= {"temperature": 2.0, "form": "gaussian", "initial_variance": [1.0, 1.0]}
    old["schedule"] |= {"power": 0.9, "every_epochs": 25, "factor": 0.5}
    files.write_json(directory.config, old)
    (tmp_path / "results.json").touch()
    found = from_workdir.get_config(str(tmp_path))
    options.keep_order(config, old)
    assert found == config
    directory.check_config(found, may_differ=())
    directory.claim(found)
    asked_for = load("stacked_unet", protocol)  # with the order in which the tasks are written now
    asked_for.train.epochs = 1.5
    options.fill(asked_for)
    assert asked_for.task_order != config.task_order
    directory.claim(asked_for)
    assert asked_for.task_order == config.task_order
