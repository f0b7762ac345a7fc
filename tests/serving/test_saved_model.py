"""main.py --mode=export, and what runs without the project: the script and the lines of docs."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict
from PIL import Image
from sklearn import datasets

from input_pipeline import from_config
from mtl_jax import checkpoints, prediction, system, workdir
from mtl_jax.train_state import TrainState
from serving import run_saved_model

ROOT = Path(__file__).resolve().parents[2]
SIZE = (90, 120)  # no multiples of 32
TASKS = {
    "semseg": {"type": "segmentation"},
    "depth": {"type": "depth", "loss": "l1"},
    "normals": {"type": "normals"},
    "instance": {"type": "instances", "semantics": "semseg"},
    "parts": {"type": "segmentation", "key": "nowhere", "num_classes": 5},  # never trained
}
EXPORTED = ("semseg", "depth", "normals", "instance")
# Stands in the way of what must not be needed, then runs a program.
WITHOUT = """
import runpy, sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# Goes on where the lines of the docs end.
CALLS = """
from pathlib import Path

images = np.load("images.npy")
for batch in (1, 3):
    outputs = call(images[:batch])
    np.savez(f"{Path(__file__).stem}_{batch}", **{k: np.asarray(v) for k, v in outputs.items()})
"""

# Half a minute for exporting and predicting, and as much for starting TensorFlow a few times.
pytestmark = pytest.mark.slow


def main(*arguments, code=0) -> str:
    """Runs main.py; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "main.py", *map(str, arguments)],
        cwd=ROOT,
        env=tiny.environment(1),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def alone(program, *arguments, without, where, code=0) -> str:
    """Runs a program in another folder, with `without` not to be imported."""
    flags = {"XLA_FLAGS": ""}  # those of the tests are not known to TensorFlow's XLA
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT, without, *map(str, (program, *arguments))],
        cwd=where,
        env=os.environ | flags,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def run(streets_dir, tmp_path_factory):
    """The work directory of a run whose weights are noise, so that every class occurs."""
    config = tiny.config(streets_dir)
    config.tasks = ConfigDict(TASKS)
    directory = workdir.Workdir(tmp_path_factory.mktemp("run"))
    directory.claim(config)
    builder = from_config.load(config.data)
    specs = {key: spec.as_dict() for key, spec in builder.label_specs.items()}
    workdir.write_json(directory.label_specs, specs)
    variables = system.build(config, specs).init(jax.random.key(0), (64, 64))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: x + 0.05 * rng.standard_normal(x.shape, np.float32), variables["params"]
    )
    state = TrainState(
        step=jax.numpy.int32(7),
        params={"model": params, "weighting": {}},
        batch_stats=variables["batch_stats"],
        opt_state=(),
        weighting={},
        epoch_losses={},
    )
    with checkpoints.Checkpoints(directory.checkpoints) as saved:
        saved.save_best(state, {})
    return directory.path


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere") / "exported"
    output = main("--mode=export", f"--workdir={run}", "--size=90x120", f"--output={folder}")
    assert "Step 7" in output
    assert "90×120" in output
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Real ones: of the network's size, larger, and smaller."""
    folder = tmp_path_factory.mktemp("photographs")
    china, flower = map(Image.fromarray, datasets.load_sample_images().images)
    china.resize((120, 90)).save(folder / "china.png")
    flower.resize((120, 90)).save(folder / "flower.jpg")
    china.resize((240, 180)).save(folder / "large.png")
    flower.resize((50, 60)).save(folder / "small.png")
    return folder


@pytest.fixture(scope="module")
def predicted(run, photographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predicted")
    main(
        "--mode=predict",
        f"--workdir={run}",
        f"--input={photographs}/china.png,{photographs}/flower.jpg",
        f"--output={folder}",
    )
    return folder


@pytest.fixture(scope="module")
def by_script(exported, photographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("by_script")
    output = alone(
        exported / "run_saved_model.py",
        f"--output={folder / 'out'}",
        *sorted(photographs.iterdir()),
        without="mtl_jax,flax,jax,serving",
        where=folder,
    )
    assert "Predicted on 4 of 4 images" in output
    return folder / "out"


def read(path):
    with Image.open(path) as image:
        return image.mode, image.getpalette(), np.array(image).astype(np.int64)


@pytest.mark.parametrize("name", ["china", "flower"])
@pytest.mark.parametrize("task", EXPORTED)
def test_the_script_writes_what_predict_writes(name, task, predicted, by_script):
    mode, palette, expected = read(predicted / f"{name}_{task}.png")
    its_mode, its_palette, found = read(by_script / f"{name}_{task}.png")
    assert (its_mode, its_palette) == (mode, palette)
    assert len(np.unique(expected)) > 1
    if task in ("semseg", "instance"):
        np.testing.assert_array_equal(found, expected)
    else:  # another compiler rounds the last bit otherwise
        np.testing.assert_allclose(found, expected, rtol=0, atol=1)


def test_files_have_the_photographs_size(by_script, photographs):
    expected = {f"{p.stem}_{task}.png" for p in photographs.iterdir() for task in EXPORTED}
    assert {path.name for path in by_script.iterdir()} == expected
    assert read(by_script / "large_depth.png")[2].shape == (180, 240)
    assert read(by_script / "small_semseg.png")[2].shape == (60, 50)


def test_metadata(exported):
    facts = json.loads((exported / "metadata.json").read_text())
    assert set(facts["maps"]) == set(EXPORTED)
    assert facts["step"] == 7
    assert len(facts["maps"]["semseg"]["class_names"]) == 19
    assert set(facts["versions"]) == {"jax", "jaxlib", "flax"}


def test_lines_of_the_docs(exported, tmp_path):
    """They run as they stand, for any batch, and both frameworks compute the same."""
    rng = np.random.default_rng(1)
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (3, *SIZE, 3)).astype(np.uint8))
    (tmp_path / "exported").symlink_to(exported)
    in_tensorflow, in_jax = (
        snippet.replace("256, 512", "90, 120").replace("maps.bin", "raw.bin")
        for snippet in re.findall(
            r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL
        )
    )
    in_tensorflow += "call = lambda images: network.raw(images)\n"
    in_jax += "call = lambda images: jax.jit(network.call)(weights, images)\n"
    for name, lines, without in (
        ("tensorflow", in_tensorflow, "mtl_jax,flax,jax"),
        ("jax", in_jax, "mtl_jax,flax,tensorflow"),
    ):
        program = tmp_path / f"{name}_lines.py"
        program.write_text(lines + CALLS)
        alone(program, without=without, where=tmp_path)
    expected = np.load(tmp_path / "jax_lines_3.npz")
    assert set(expected) == set(EXPORTED)
    for name, batch in itertools.product(("jax", "tensorflow"), (1, 3)):
        found = np.load(tmp_path / f"{name}_lines_{batch}.npz")
        for task, value in expected.items():
            np.testing.assert_allclose(found[task], value[:batch], rtol=1e-4, atol=1e-4)


def test_inputs_that_the_script_cannot_use(exported, photographs, tmp_path):
    (tmp_path / "text.jpg").write_text("no photograph")
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "deep.png")
    output = alone(
        exported / "run_saved_model.py",
        f"--output={tmp_path / 'out'}",
        *(tmp_path / "text.jpg", tmp_path / "deep.png", photographs / "china.png"),
        without="mtl_jax,flax,jax,serving",
        where=tmp_path,
        code=1,
    )
    assert "Predicted on 1 of 3 images" in output
    assert "text.jpg: does not decode as JPEG or PNG" in output
    assert "deep.png: expected a photograph of 8 bits per channel, found mode 'I;16'" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a/x.jpg", "b/x.png", "--output=out"], "several photographs are called x"),
        (["a/x.jpg", "--output=file/out"], "--output=file/out cannot be written"),
        (["a/x.jpg"], "--output"),
    ],
)
def test_arguments_that_the_script_cannot_use(arguments, message, exported, tmp_path):
    (tmp_path / "file").write_text("")
    script = exported / "run_saved_model.py"
    output = alone(script, *arguments, without="tensorflow", where=tmp_path, code=2)
    assert message in output
    assert "Traceback" not in output


MISTAKES = {
    "no run": (["--workdir={empty}", "--config=configs/branched.py"], "holds no run"),
    "no output": (["--workdir={run}", "--output="], "needs --output="),
    "no size": (["--workdir={run}", "--size="], "needs --size=<height>x<width>"),
    "full folder": (["--workdir={run}", "--output={run}"], "not an empty folder"),
    "no checkpoint": (["--workdir={run}", "--config.eval.checkpoint=latest"], "checkpoint"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_one_clear_message(mistake, run, tmp_path):
    arguments, message = MISTAKES[mistake]
    (tmp_path / "empty").mkdir()
    given = [a.format(run=run, empty=tmp_path / "empty") for a in arguments]
    output = main(
        "--mode=export", "--size=64x96", f"--output={tmp_path / 'exported'}", *given, code=1
    )
    assert message in output
    assert "Traceback" not in output
    assert not (tmp_path / "exported").exists()


def test_the_script_reads_photographs_as_predict_does(tmp_path):
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (16, 24, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(pixels).quantize(16).save(tmp_path / "palette.png")
    Image.fromarray(np.dstack([pixels, pixels[..., :1]])).save(tmp_path / "alpha.png")
    Image.new("CMYK", (6, 5), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    for path in tmp_path.iterdir():
        found = run_saved_model.read_image(path)
        np.testing.assert_array_equal(found, prediction.read_image(path))
    assert run_saved_model.read_image(tmp_path / "turned.jpg").shape == (24, 16, 3)


@pytest.mark.parametrize("shape", [(8, 12), (5, 12), (8, 7), (16, 24), (80, 24), (16, 240), (9, 7)])
def test_every_photograph_fits(shape):
    image = np.random.default_rng(3).integers(0, 256, (*shape, 3)).astype(np.uint8)
    framed, (height, width) = run_saved_model.fit(image, (8, 12))
    assert framed.shape == (8, 12, 3)
    if shape[0] <= 8 and shape[1] <= 12:
        assert (height, width) == shape
        np.testing.assert_array_equal(framed[:height, :width], image)
    else:
        assert height == 8 or width == 12
        assert abs(height / shape[0] - width / shape[1]) < 0.5 / min(shape) + 0.1
    pads = ((0, 8 - height), (0, 12 - width), (0, 0))
    np.testing.assert_array_equal(framed, np.pad(framed[:height, :width], pads, mode="edge"))
    enlarged = run_saved_model.enlarge(framed[:height, :width], shape)
    assert enlarged.shape == image.shape
