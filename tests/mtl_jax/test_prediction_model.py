"""A trained network in Python, and that all ways of predicting say the same of an image."""

import functools
import shutil

import jax
import jax.numpy as jnp
import mixed_systems
import numpy as np
import pytest
import tiny
from flax import linen as nn
from PIL import Image
from test_export import ALL, NO_VIEWS, VIEWS, parts_of
from toy_predictions import photograph, read, save

from mtl_jax import architectures, checkpoints, export, prediction, system, tasks
from mtl_jax.configs import branched
from mtl_jax.prediction import Model, PredictionError, Settings
from mtl_jax.runs import files, learned, workdir


class FarSighted(nn.Module):
    """Every output depends on every pixel, and on how many there are."""

    channels: dict[str, int]

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.avg_pool(image, (32, 32), (32, 32)).repeat(32, 1).repeat(32, 2)
        x = jnp.concatenate([image, x, 0 * image + image.mean((1, 2), keepdims=True)], -1)
        x = nn.Conv(8, (5, 5), name="conv")(x)
        final = {name: nn.Conv(c, (3, 3), name=name)(x) for name, c in self.channels.items()}
        return architectures.Predictions(final=final)


@functools.cache
def far_sighted():
    parts = parts_of(FarSighted({name: task.channels for name, task in ALL.items()}), ALL)
    return parts, parts.init(jax.random.key(3), (32, 32))


def maps_of_system(image, tta):
    """By `System.predict` and the tasks alone."""
    parts, variables = far_sighted()

    @jax.jit
    def maps(image):
        return tasks.postprocess_all(ALL, parts.predict(variables, image, tta))

    found = maps(image[None])
    return {name: np.asarray(found[name][name][0]) for name in ALL}


def padded_by_hand(image):
    """By NumPy's padding and the bare network."""
    parts, variables = far_sighted()
    height, width = image.shape[:2]
    pads = ((0, -height % 32), (0, -width % 32), (0, 0))
    padded = np.pad(image, pads, mode="edge")[None]

    @jax.jit
    def maps(padded):
        raw = parts.model.apply(variables, parts.normalize(padded), train=False).final
        raw = {name: value[:, :height, :width] for name, value in raw.items()}
        return tasks.postprocess_all(ALL, raw)

    found = maps(padded)
    return {name: np.asarray(found[name][name][0]) for name in ALL}


def files_of_predict(image, model, folder):
    files = [save(folder / "in/photo.png", image)]
    prediction.predict_files(model.raw, ALL, files, folder / "out", model.settings, report=str)
    with np.load(folder / "out/photo.npz") as arrays:
        maps = {name: arrays[f"{name}/prediction"] for name in ALL}
    np.testing.assert_array_equal(read(folder / "out/photo_semseg.png"), maps["semseg"])
    np.testing.assert_array_equal(read(folder / "out/photo_instance.png"), maps["instance"])
    return maps


def maps_of_export(image, tta):
    parts, variables = far_sighted()
    network = export.Exportable(parts, ALL, tta, image.shape[:2])
    weights = export.flatten(variables)
    exported = export.lower(network.maps, weights, network.size)
    found = jax.device_get(exported.call(weights, image[None]))
    return {name: value[0] for name, value in found.items()}


@pytest.mark.parametrize(
    ("size", "tta"),
    [
        ((45, 60), NO_VIEWS),
        pytest.param((1, 33), NO_VIEWS, marks=pytest.mark.slow),
        pytest.param((31, 50), VIEWS, marks=pytest.mark.slow),
    ],
)
def test_all_ways_of_predicting_agree(size, tta, tmp_path):
    image = photograph(*size)
    expected = maps_of_system(image, tta)
    model = Model(*far_sighted(), tta=tta, settings=Settings(save_npz=True))
    found = {
        "predict": files_of_predict(image, model, tmp_path),
        "model": model.predict(image),
        "export": maps_of_export(image, tta),
    }
    if tta is NO_VIEWS:
        found["by hand"] = padded_by_hand(image)
    for way, maps in found.items():
        for name, value in maps.items():
            assert (value.dtype, value.shape) == (expected[name].dtype, expected[name].shape)
            value, same = (m > 0 if name == "instance" else m for m in (value, expected[name]))
            differs = ~np.isclose(value, same, rtol=1e-4, atol=1e-4)
            # Rounding may decide a near tie; without padding a tenth of the pixels is another.
            assert np.mean(differs) < 0.01, (way, name)
    for name, value in found["predict"].items():
        np.testing.assert_array_equal(found["model"][name], value, err_msg=name)


def model(**settings) -> Model:
    return Model(*far_sighted(), settings=Settings(**settings), step=3)


def test_paths_and_pictures_are_images_too(tmp_path):
    image = photograph(9, 12)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "turned.png", np.ascontiguousarray(np.rot90(image)), exif=exif)
    one = model()
    expected = one.predict(image)
    grey = photograph(9, 12)[..., 0]
    with Image.open(path) as picture:
        for same in (path, str(path), picture):
            jax.tree.map(np.testing.assert_array_equal, one.predict(same), expected)
    found = one.predict(grey)
    expected = one.predict(np.stack([grey] * 3, -1))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_many_images_come_in_order():
    images = [photograph(*size) for size in ((5, 6), (40, 8), (7, 8))]
    one = model(batch_size=2)
    several = list(one.predict_all(iter(images)))
    for image, maps in zip(images, several, strict=True):
        alone = one.predict(image)
        jax.tree.map(np.testing.assert_array_equal, maps, alone)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.zeros((4, 4, 3), np.float32),
            r"one of float32 of shape \(4, 4, 3\); for values from 0",
        ),
        (np.zeros((2, 4, 4, 3), np.uint8), r"shape \(2, 4, 4, 3\); for several images there is"),
        (np.zeros((3, 4, 5), np.uint8), "channels come last"),
        (np.zeros((4, 5, 4), np.uint8), "leave out the fourth channel"),
        (np.zeros((0, 5, 3), np.uint8), "empty array"),
        (None, "found a NoneType"),
        ("nothing.png", "nothing.png: cannot be read .No such file"),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(PredictionError, match=message):
        model().predict(image)


def test_figures_are_those_of_predict(tmp_path):
    image = photograph(20, 30)
    found = model(figure="both", figure_width=120)
    files = [save(tmp_path / "in/a.png", image)]
    prediction.predict_files(found.raw, ALL, files, tmp_path, found.settings, report=str)
    for kind in ("overlay", "side_by_side"):
        np.testing.assert_array_equal(
            found.draw(image, kind=kind), read(tmp_path / f"a_{kind}.png")
        )
    maps = found.predict(image)
    alone = found.draw(image, {"depth": maps["depth"]})
    assert alone.shape[1] == 2 * 120 + 10
    with pytest.raises(PredictionError, match="kind='both'; expected one of overlay, side_by_side"):
        found.draw(image, kind="both")
    with pytest.raises(
        PredictionError, match=r"maps\['sky'\]: expected maps of the tasks instance"
    ):
        found.draw(image, {"sky": maps["depth"]})
    with pytest.raises(
        PredictionError, match=r"of the image's size \(20, 30\), found .* \(10, 30\)"
    ):
        found.draw(image, {"depth": maps["depth"][::2]})


# Of a run.


def run(folder, monkeypatch, **changes):
    """A work directory with the toy network in it, and its system."""
    config, toy = branched.get_config(), mixed_systems.config(**changes)
    config.tasks = toy.tasks
    parts = mixed_systems.build(toy)
    monkeypatch.setattr(system, "build", lambda config, specs: parts)
    variables = parts.init(jax.random.key(5), (8, 8))
    directory = workdir.Workdir(folder)
    directory.create()
    directory.claim(config)
    specs = {key: spec.as_dict() for key, spec in mixed_systems.SPECS.items()}
    directory.claim_labels(specs)
    directory.claim_learned_tasks(learned.decide(parts.tasks, specs, config.model))
    tiny.save_best(directory, variables)
    return directory, parts, variables


def test_load_gives_what_the_run_has_learned(tmp_path, monkeypatch):
    directory, parts, variables = run(tmp_path / "run", monkeypatch)
    image = photograph(10, 9)
    found = prediction.load(directory.path, batch_size=2)
    assert (found.step, list(found.tasks), found.unlearned) == (7, list(parts.tasks), ())
    assert found.settings == Settings(batch_size=2)
    expected = parts.predict(variables, image[None])
    for name, value in found.predict(image).items():
        np.testing.assert_array_equal(value, expected[name][0].argmax(-1))
    assert str(found) == f"Model({', '.join(parts.tasks)}; step 7)"
    with pytest.raises(PredictionError, match=r"no option 'tiles'; expected .* one of .*max_size"):
        prediction.load(directory.path, tiles=3)
    with pytest.raises(files.WorkdirError, match="holds no run"):
        prediction.load(tmp_path / "nothing")
    other = r"no checkpoint in .*latest\. There is one of step 7 in best.*eval\.checkpoint=best"
    with pytest.raises(checkpoints.CheckpointError, match=other):
        prediction.load(directory.path, checkpoint="latest")
    best = directory.checkpoints / "best"
    best.rename(directory.checkpoints / "latest")  # as of a run that was stopped early
    with pytest.raises(checkpoints.CheckpointError, match=r"step 7 in latest.* train it on\.$"):
        prediction.load(directory.path)
    shutil.rmtree(directory.checkpoints)
    with pytest.raises(checkpoints.CheckpointError, match=r"first evaluated, or stopped\.$"):
        prediction.load(directory.path)


# Which tasks a run has learned.

PARTS_ONLY = {"parts": mixed_systems.SPECS["parts"].as_dict()}


def begun(folder, specs, **changes):
    """A work directory as training begins it, and what it needs to be read."""
    config = mixed_systems.config(**changes)
    parts, directory = mixed_systems.build(config), workdir.Workdir(folder)
    directory.create()
    directory.claim(config)
    directory.claim_labels(specs)
    directory.claim_learned_tasks(learned.decide(parts.tasks, specs, config.model))
    directory.training.touch()
    return directory, parts.tasks, config.model


def test_a_run_learns_what_has_labels(tmp_path):
    assert learned.read(*begun(tmp_path, PARTS_ONLY)) == {"parts"}


def test_what_a_run_started_from_need_not_exist_any_more(tmp_path):
    specs = {key: spec.as_dict() for key, spec in mixed_systems.SPECS.items()}
    begun(tmp_path / "parent", {"semseg": specs["semseg"]})
    start = {"model__pretrained": str(tmp_path / "parent"), "model__pretrained_scope": "all"}
    child = begun(tmp_path / "child", PARTS_ONLY, **start)
    grandchild = {"model__pretrained": str(tmp_path / "child"), "model__pretrained_scope": "all"}
    third = begun(tmp_path / "third", {}, **grandchild)
    fourth = begun(tmp_path / "fourth", {}, **start)
    encoder = start | {"model__pretrained_scope": "encoder"}
    other = begun(tmp_path / "other", PARTS_ONLY, **encoder)
    for name in ("parent", "child"):
        (tmp_path / name).rename(tmp_path / f"{name}_moved")
    child = (workdir.Workdir(tmp_path / "child_moved"), *child[1:])
    assert learned.read(*child) == {"parts", "semseg"}
    assert learned.read(*third) == {"parts", "semseg"}
    assert learned.read(*fourth) == {"semseg"}
    assert learned.read(*other) == {"parts"}


@pytest.mark.parametrize(
    ("pretrained", "scope", "expected"),
    [
        ("", "all", {"parts"}),
        ("runs/moved_since", "all", {"parts", "semseg"}),
        ("runs/moved_since", "encoder", {"parts"}),
        ("resnet18", "all", {"parts"}),
        ("weights/resnet18-f37072fd.pth", "all", {"parts"}),
    ],
)
def test_older_directories_do_not_say(tmp_path, pretrained, scope, expected):
    changes = {"model__pretrained": pretrained, "model__pretrained_scope": scope}
    directory, tasks, model = begun(tmp_path, PARTS_ONLY, **changes)
    directory.learned_tasks.unlink()
    assert learned.read(directory, tasks, model) == expected


def test_going_on_changes_nothing_about_what_is_learned(tmp_path):
    directory, tasks, model = begun(tmp_path, PARTS_ONLY)
    directory.claim_learned_tasks([])
    assert learned.read(directory, tasks, model) == {"parts"}
