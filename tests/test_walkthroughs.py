"""The pages in docs/own: their files, their code and their commands run as they stand.

Commands that train are told, besides, to do so for two steps on the tiny Streets.
"""

import re
import shlex
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest
import run_main
import toy_network as toy
from conftest import TINY
from flax import linen as nn

from mtl_jax import _discovery, architectures, encoders, heads, layers, tasks, weightings
from mtl_jax.configs import branched

OWN = Path(__file__).resolve().parents[1] / "docs" / "own"
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PACKAGES = (architectures, encoders, heads, tasks, weightings)


@pytest.fixture
def walk(tmp_path, monkeypatch, streets_dir):
    """Does what a page says, in an empty folder; packages find what they found before, later."""
    before = {package: list(package.__path__) for package in PACKAGES}
    modules = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(_discovery.PARTS, "")
    data = [f"--config.data.dataset={TINY}", f"--config.data.data_dir={streets_dir}"]
    data += ["--config.data.augment.crop=32,64", "--config.train.batch_size=4"]

    def page(name, *, own_data=False):
        namespace = {}
        for language, title, text in BLOCK.findall((OWN / name).read_text()):
            if title:
                Path(title).parent.mkdir(parents=True, exist_ok=True)
                Path(title).write_text(text)
            elif language == "python":
                exec(compile(text, f"{name}:python", "exec"), namespace)
            elif language == "bash":
                for line in text.splitlines():
                    command(line, own_data)

    def command(line, own_data):
        if line.startswith("export "):
            monkeypatch.setenv(*line.removeprefix("export ").split("=", 1))
            return
        program, *arguments = shlex.split(line)
        assert program == "mtl", line
        if arguments[0] == "train":
            arguments += ["--config.train.max_steps=2", "--config.model.pretrained="]
            arguments += ["--config.eval.worst_images=0"]  # those of examples show what they do
            arguments += [] if own_data else data
        run_main.call(*arguments)

    yield page
    for package, path in before.items():
        package.__path__[:] = path
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


@pytest.fixture
def toy_network(monkeypatch):
    monkeypatch.setattr(architectures, "build", toy.build)


@pytest.mark.slow
def test_your_own_data(walk, toy_network):
    walk("data.md", own_data=True)


def test_your_own_data_start_from_the_default_run_or_from_imagenet():
    namespace = {}
    (text,) = (
        text
        for _, title, text in BLOCK.findall((OWN / "data.md").read_text())
        if title == "rooms.py"
    )
    exec(compile(text, "rooms.py", "exec"), namespace)
    config, default = namespace["get_config"](), branched.get_config()
    assert config.model == default.model
    assert config.model.pretrained == "efficientnet_lite0"
    assert config.tasks.depth.normalization == "log"  # of depth in metres


@pytest.mark.slow
def test_your_own_task(walk, toy_network):
    walk("task.md")


@pytest.mark.weekly  # a part of one's own that is named in the environment is one above
def test_your_own_method(walk, toy_network):
    walk("method.md")


class Scores(nn.Module):
    """A convolution for each task on what decoders read: an encoder's last map and its skip."""

    encoder: nn.Module
    channels: dict[str, int]

    @nn.compact
    def __call__(self, image, *, train):
        pyramid = self.encoder(image, train=train)
        size = pyramid.skip.shape[1:3]
        x = jnp.concatenate([layers.resize_bilinear(pyramid.last, size), pyramid.skip], axis=-1)
        scores = {
            task: layers.Conv(n, 1, name=f"to_{task}")(x) for task, n in self.channels.items()
        }
        final = {t: layers.resize_bilinear(y, image.shape[1:3]) for t, y in scores.items()}
        return architectures.Predictions(final=final)


@pytest.mark.weekly
def test_your_own_encoder(walk, monkeypatch):
    monkeypatch.setattr(
        architectures,
        "build",
        lambda config, channels: Scores(encoders.build(config.encoder), channels),
    )
    walk("encoder.md")


def test_a_folder_of_parts_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv(_discovery.PARTS, str(tmp_path / "prats"))
    with pytest.raises(ValueError, match=r"MTL_JAX_PARTS=.*: there is no folder"):
        _discovery.names(encoders)


def test_every_page_is_walked():
    assert {path.name for path in OWN.iterdir()} == {
        "data.md",
        "task.md",
        "method.md",
        "encoder.md",
    }
    for path in OWN.iterdir():
        kinds = {language for language, _, _ in BLOCK.findall(path.read_text())}
        assert kinds <= {"python", "yaml", "bash"}, path
