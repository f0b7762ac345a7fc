"""main.py --mode=export, and what runs without the project: the script and the lines of docs."""

import itertools
import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict
from PIL import Image
from run_main import ROOT, call
from sklearn import datasets

from input_pipeline import from_config
from mtl_jax import options, system
from mtl_jax.runs import files, workdir

SIZE = (90, 120)  # no multiples of 32
TASKS = {
    "semseg": {"type": "segmentation"},
    "depth": {"type": "depth", "loss": "l1"},
    "normals": {"type": "normals"},
    "instance": {"type": "instances", "semantics": "semseg"},
    "parts": {"type": "segmentation", "key": "nowhere", "num_classes": 5},  # never trained
}
# Few layers, of many kinds: strided and transposed convolutions, pooling, resizing.
NETWORK = {
    "architecture": "fcn",
    "encoder": {"name": "alexnet", "width": 16},
    "tail": {"classifier_kernel": 3, "hidden": 16},
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
SLOW, WEEKLY = pytest.mark.slow, pytest.mark.weekly


def alone(program, *arguments, without, where, code=0) -> str:
    """Runs a program in another folder, with `without` not to be imported."""
    flags = {"XLA_FLAGS": ""}  # those of the tests are not known to TensorFlow's XLA
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT, without, *map(str, (program, *arguments))],
        cwd=where,
        env=os.environ | flags,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def run(streets_dir, tmp_path_factory):
    """The work directory of a run whose weights are noise, so that every class occurs."""
    config = tiny.config(streets_dir)
    config.tasks = ConfigDict(TASKS)
    config.model = ConfigDict(NETWORK)
    options.fill(config)
    directory = workdir.Workdir(tmp_path_factory.mktemp("run"))
    directory.claim(config)
    builder = from_config.load(config.data)
    specs = {key: spec.as_dict() for key, spec in builder.label_specs.items()}
    files.write_json(directory.label_specs, specs)
    variables = system.build(config, specs).init(jax.random.key(0), (64, 64))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: x + 0.05 * rng.standard_normal(x.shape, np.float32), variables["params"]
    )
    tiny.save_best(directory, {"params": params, "batch_stats": {}})
    return directory.path


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere") / "exported"
    output = call("--mode=export", f"--workdir={run}", "--size=90x120", f"--output={folder}")
    assert "Step 7" in output
    assert "90×120" in output
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Real ones, of the network's size, larger, and smaller; and two that cannot be used."""
    folder = tmp_path_factory.mktemp("photographs")
    china, flower = map(Image.fromarray, datasets.load_sample_images().images)
    china.resize((120, 90)).save(folder / "china.png")
    flower.resize((120, 90)).save(folder / "flower.jpg")
    china.resize((240, 180)).save(folder / "large.png")
    flower.resize((50, 60)).save(folder / "small.png")
    (folder / "text.jpg").write_text("no photograph")
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(folder / "deep.png")
    return folder


@pytest.fixture(scope="module")
def predicted(run, photographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predicted")
    call(
        "--mode=predict",
        f"--workdir={run}",
        f"--input={photographs}/china.png,{photographs}/flower.jpg",
        f"--output={folder}",
    )
    return folder


@pytest.fixture(scope="module")
def by_script(exported, photographs, tmp_path_factory):
    """(folder, what is printed)."""
    folder = tmp_path_factory.mktemp("by_script")
    output = alone(
        exported / "run_saved_model.py",
        f"--output={folder / 'out'}",
        *sorted(photographs.iterdir()),
        without="mtl_jax,flax,jax,serving",
        where=folder,
        code=1,
    )
    return folder / "out", output


def read(path):
    with Image.open(path) as image:
        return image.mode, image.getpalette(), np.array(image).astype(np.int64)


@SLOW
@pytest.mark.parametrize("name", ["china", "flower"])
@pytest.mark.parametrize("task", EXPORTED)
def test_the_script_writes_what_predict_writes(name, task, predicted, by_script):
    mode, palette, expected = read(predicted / f"{name}_{task}.png")
    its_mode, its_palette, found = read(by_script[0] / f"{name}_{task}.png")
    assert (its_mode, its_palette) == (mode, palette)
    assert len(np.unique(expected)) > 1
    if task in ("semseg", "instance"):
        np.testing.assert_array_equal(found, expected)
    else:  # another compiler rounds the last bit otherwise
        np.testing.assert_allclose(found, expected, rtol=0, atol=1)


@SLOW
def test_files_have_the_photographs_size(by_script):
    folder, output = by_script
    good = ("china", "flower", "large", "small")
    expected = {f"{name}_{task}.png" for name in good for task in EXPORTED}
    assert {path.name for path in folder.iterdir()} == expected
    assert read(folder / "large_depth.png")[2].shape == (180, 240)
    assert read(folder / "small_semseg.png")[2].shape == (60, 50)
    assert "Predicted on 4 of 6 images" in output


@SLOW
def test_photographs_that_the_script_cannot_use(by_script):
    _, output = by_script
    assert "text.jpg: does not decode as JPEG or PNG" in output
    assert "deep.png: expected a photograph of 8 bits per channel, found mode 'I;16'" in output
    assert "Traceback" not in output


@SLOW
def test_metadata(exported):
    facts = json.loads((exported / "metadata.json").read_text())
    assert set(facts["maps"]) == set(EXPORTED)
    assert facts["step"] == 7
    assert len(facts["maps"]["semseg"]["class_names"]) == 19
    assert set(facts["versions"]) == {"jax", "jaxlib", "flax"}


@WEEKLY  # the script, too, calls what is exported to TensorFlow; test_export calls the rest
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


@SLOW
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output="], "needs --output="),
        (["--config.eval.checkpoint=latest"], "checkpoint"),
    ],
)
def test_mistakes_get_one_clear_message(arguments, message, run, tmp_path):
    output = call(
        "--mode=export",
        f"--workdir={run}",
        "--size=64x96",
        f"--output={tmp_path / 'exported'}",
        *arguments,
        code=1,
    )
    assert message in output
    assert "Traceback" not in output
    assert not list(tmp_path.iterdir())
