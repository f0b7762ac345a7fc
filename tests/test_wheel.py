"""The package as it is installed from a wheel, used from another directory."""

import os
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("mtl_jax", "configs", "input_pipeline")
FILES = ("setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")


def run(*command, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "COLUMNS")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder of the programs of a virtual environment with the wheel and all else."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignore)
    for name in FILES:
        shutil.copy(ROOT / name, folder / "source" / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    offline = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(*pip, "wheel", *offline, "--wheel-dir", folder, folder / "source", cwd=folder)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", symlinks=True)
    paths = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    packages = Path(sysconfig.get_path("purelib", "venv", paths))
    # The dependencies, but neither an editable install nor the clone itself.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    python = folder / "venv" / "bin" / "python"
    run(
        *pip, "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder
    )
    return python.parent


@pytest.mark.slow
def test_the_console_command_from_another_directory(installed, tmp_path):
    mtl = installed / "mtl"
    assert "--config.<key>=<value>" in run(mtl, "--help", cwd=tmp_path)
    assert "mtl_jax 0." in run(mtl, "--version", cwd=tmp_path)
    printed = run(mtl, "config", "--config=branched:kitti", "--config.seed=3", cwd=tmp_path)
    assert {"seed=3", "data.dataset=kitti"} <= set(printed.splitlines())
    rows = run(mtl, "sweep", "--sweep=depth_loss:streets", "--sweep_list", cwd=tmp_path)
    assert "berhu" in rows
    assert "--output" in run(mtl, "report", "--help", cwd=tmp_path)
    assert "--manual_dir" in run(mtl, "prepare", "--help", cwd=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_config_of_ones_own_and_the_library(installed, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from mtl_jax.configs import branched\n\n\ndef get_config():\n"
        "    config = branched.get_config()\n    config.name = 'mine'\n    return config\n"
    )
    assert "name=mine" in run(installed / "mtl", "config", "--config=mine.py", cwd=tmp_path)
    code = """
import sys
from pathlib import Path
import mtl_jax
assert not {"jax", "tensorflow"} & set(sys.modules)
assert Path(sys.prefix) in Path(mtl_jax.__file__).parents
from mtl_jax.studies import sweeps
assert sweeps.read_published()
from mtl_jax.weightings import dwa
from importlib import metadata, util
assert metadata.version("mtl-jax") == mtl_jax.__version__
assert Path(mtl_jax.__file__).with_name("py.typed").exists()
from mtl_jax.demo import server
assert server.examples() and (Path(server.__file__).parent / "page/index.html").exists()
for name in ("configs", "serving", "commands", "tests", "main", "benchmarks"):
    found = util.find_spec(name)
    assert found is None or not found.origin or "venv" not in found.origin, found
"""
    run(installed / "python", "-c", code, cwd=tmp_path)
