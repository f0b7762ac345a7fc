"""Exported networks: what they compute, for any batch size, and what they are refused for."""

import functools
import json

import jax
import numpy as np
import pytest
import test_conformance_models as conformance
from flax import linen as nn
from jax import export as jax_export
from ml_collections import ConfigDict

from mtl_jax import architectures, export, system, tasks
from mtl_jax import views as test_time_augmentation
from mtl_jax.configs import branched
from mtl_jax.errors import UsageError
from mtl_jax.runs import files

SIZE = (40, 56)  # padded to 64×64
ALL = tasks.build(
    {
        "instance": {"type": "instances", "semantics": "semseg", "classes": (1, 3), "min_votes": 2},
        "semseg": {"type": "segmentation", "num_classes": 4},
        "depth": {"type": "depth", "normalization": "none", "range": (0.5, 4.0)},
        "normals": {"type": "normals"},
    },
    {},
)
NO_VIEWS = test_time_augmentation.TestTimeAugmentation()
VIEWS = test_time_augmentation.TestTimeAugmentation((0.5,), flip=True)
RNG = np.random.default_rng(0)


class Small(nn.Module):
    """One convolution for each task, and an auxiliary head that no output depends on."""

    channels: dict[str, int]

    @nn.compact
    def __call__(self, image, *, train):
        heads = {name: nn.Conv(c, (3, 3), name=f"head_{name}") for name, c in self.channels.items()}
        auxiliary = {"semseg": nn.Conv(4, (1, 1), name="auxiliary")(image)}
        final = {name: head(image) for name, head in heads.items()}
        return architectures.Predictions(final=final, auxiliary=(auxiliary,))


def parts_of(model, its_tasks) -> system.System:
    return system.System(
        model=model,
        tasks=its_tasks,
        weighting=None,
        image_mean=(0.4, 0.5, 0.6),
        image_std=(0.2, 0.3, 0.4),
        deep_supervision=False,
    )


@functools.cache
def small():
    """(parts, variables) of a small network for all types of tasks."""
    parts = parts_of(Small({name: task.channels for name, task in ALL.items()}), ALL)
    return parts, parts.init(jax.random.key(0), SIZE)


@functools.cache
def exported(tta=NO_VIEWS):
    parts, variables = small()
    return export.export(export.Exportable(parts, ALL, tta, SIZE), variables)


def images(batch: int) -> np.ndarray:
    return RNG.integers(0, 256, (batch, *SIZE, 3)).astype(np.uint8)


def predicted(parts, variables, its_tasks, image, tta=NO_VIEWS):
    """(maps, raw) of `System.predict` and the tasks."""

    @jax.jit
    def maps_and_raw(image):
        raw = parts.predict(variables, image, tta)
        return tasks.postprocess_all(its_tasks, raw), raw

    maps, raw = jax.device_get(maps_and_raw(image))
    return {name: found[name] for name, found in maps.items()}, raw


@pytest.mark.parametrize(
    ("tta", "batch"),
    [
        pytest.param(NO_VIEWS, 3, id="plain", marks=pytest.mark.slow),
        pytest.param(VIEWS, 1, id="augmented"),
        pytest.param(VIEWS, 3, id="augmented_several", marks=pytest.mark.weekly),
    ],
)
def test_outputs_are_those_of_predict(tta, batch):
    image = images(batch)
    maps, raw = predicted(*small(), ALL, image, tta)
    functions, weights = exported(tta).functions, exported(tta).weights
    found = jax.device_get(functions["maps"].call(weights, image))
    assert set(np.unique(found["semseg"])) == set(range(4))
    assert found["instance"].max() > 1
    for name, value in maps.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    found = jax.device_get(functions["raw"].call(weights, image))
    for name, value in raw.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", conformance.seldom_but_two())
def test_every_architecture_runs_with_any_batch(name):
    """All of them are slow to lower and compile, most of them weekly tests."""
    model, variables = conformance.initialised(name)
    its_tasks = {name: ALL[name] for name in conformance.CHANNELS}
    network = export.Exportable(parts_of(model, its_tasks), its_tasks, NO_VIEWS, SIZE)
    weights = export.flatten(variables)
    raw = export.lower(network.raw, weights, SIZE)
    image = images(3)
    expected = conformance.jit(network.raw)(variables, image)
    found = conformance.jit(raw.call)(weights, image[:1])
    for task, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[task], value[:1], rtol=1e-4, atol=1e-4 * scale)


def test_only_what_outputs_depend_on_is_written():
    _, variables = small()
    assert "auxiliary" in variables["params"]
    names = {f"params/head_{task}/{leaf}" for task in ALL for leaf in ("bias", "kernel")}
    assert set(exported().weights) == names


def test_artifacts_are_read_back_from_their_files(tmp_path):
    parts, _ = small()
    export.write(tmp_path, export.Exportable(parts, ALL, NO_VIEWS, SIZE), exported(), {"step": 7})
    image = images(2)
    weights = dict(np.load(tmp_path / "jax_export" / "weights.npz"))
    for name in ("maps", "raw"):
        contents = (tmp_path / "jax_export" / f"{name}.bin").read_bytes()
        function = jax_export.deserialize(bytearray(contents))
        assert function.platforms == ("cpu", "cuda")
        found, expected = (f.call(weights, image) for f in (function, exported().functions[name]))
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    facts = json.loads((tmp_path / "metadata.json").read_text())
    assert facts["step"] == 7
    assert facts["input"]["shape"] == ["batch", 40, 56, 3]
    assert facts["maps"]["depth"]["unit"] == "m"
    assert facts["maps"]["depth"]["range"] == [0.5, 4.0]
    assert facts["maps"]["semseg"]["class_names"] == [f"class_{i}" for i in range(4)]
    assert facts["maps"]["normals"]["shape"] == ["batch", 40, 56, 3]
    assert facts["raw"]["semseg"] == {"dtype": "float32", "shape": ["batch", 40, 56, 4]}


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((1, 40, 55, 3), np.uint8, r"args\[1\]"),
        ((1, 40, 56, 3), np.float32, r"args\[1\]: expected uint8 and called with float32"),
    ],
)
def test_other_images_are_refused(shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        exported().functions["maps"].call(exported().weights, np.zeros(shape, dtype))


def test_a_task_without_labels_is_left_out():
    config = branched.get_config()
    spec = {"kind": "depth", "unit": "m", "valid_range": (1, 9), "mean": 3.0, "stddev": 2.0}
    config.tasks.semseg.num_classes = 5
    parts = system.build(config, {"depth": spec})
    assert list(export.network(config, parts, {"depth"}, "64x96").tasks) == ["depth"]


@pytest.mark.parametrize(
    ("size", "configured", "expected"),
    [("64x96", (0, 0), (64, 96)), ("", (360, 480), (360, 480)), ("8x9", (360, 480), (8, 9))],
)
def test_size(size, configured, expected):
    assert _network(size, configured).size == expected


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("", r"needs --size=<height>x<width>.*config\.eval\.image_size says none"),
        ("64", r"--size=64; expected <height>x<width>"),
        ("0x64", r"--size=0x64; expected"),
        ("64×96", r"--size=64×96; expected"),
        ("99999999x99999999", r"=99999999x99999999; expected a height .* at most 268435456 pixels"),
        ("9" * 5000 + "x1", r"--size=9+; expected <height>x<width>"),
    ],
)
def test_sizes_that_are_none(size, message):
    with pytest.raises(UsageError, match=message):
        _network(size, (0, 0))


@pytest.mark.parametrize("configured", [(-1, 5), (0, 64), (1 << 20, 1 << 20), (64,)])
def test_configured_sizes_that_are_none(configured):
    with pytest.raises(UsageError, match=r"config.eval.image_size=\(.*; expected a height and a"):
        _network("", configured)


def _network(size, configured):
    config = ConfigDict(
        {
            "model": {"pretrained": "", "pretrained_scope": "encoder"},
            "eval": {
                "image_size": configured,
                "tta": {"scales": (), "flip": False, "semantics": "softmax"},
            },
        }
    )
    return export.network(config, small()[0], {}, size)


def test_folder_appears_when_all_is_done(tmp_path):
    target = tmp_path / "deep" / "exported"
    with files.new_folder(target) as folder:
        (folder / "file").write_text("whole")
        assert not target.exists()
    assert (target / "file").read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]
    (tmp_path / "empty").mkdir()
    with files.new_folder(tmp_path / "empty") as folder:
        (folder / "file").write_text("whole")
    assert (tmp_path / "empty" / "file").exists()


def test_folder_of_a_failure_is_gone(tmp_path):
    with pytest.raises(RuntimeError), files.new_folder(tmp_path / "exported"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(UsageError, match="not an empty folder"), files.new_folder(path):
            pass
    with (
        pytest.raises(UsageError, match="cannot be written"),
        files.new_folder(tmp_path / "file" / "x"),
    ):
        pass
    assert (tmp_path / "file").read_text() == "mine"
