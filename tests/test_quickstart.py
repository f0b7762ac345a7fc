"""docs/quickstart.ipynb: its code runs, with a toy for the network, and what it shows is whole.

The notebook is committed as it was run, from the folder of the repository:
`jupyter nbconvert --to notebook --execute --inplace docs/quickstart.ipynb`.
"""

import json
import re
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
import tiny
import toy_network
from conftest import TINY

from mtl_jax import architectures

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "quickstart.ipynb"
LARGEST = 800_000  # bytes


@pytest.fixture(scope="module")
def cells():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def _code(cells):
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture
def shown(monkeypatch):
    """The figures that are shown."""
    matplotlib.use("agg")
    figures = []
    monkeypatch.setattr(plt, "show", lambda: figures.append(plt.gcf()))
    yield figures
    plt.close("all")


@pytest.mark.slow
def test_the_code_runs(cells, shown, streets_dir, tmp_path, monkeypatch, capfd):
    """All cells in one namespace, with the settings of the cell that is tagged for that changed."""
    for name, value in tiny.environment(devices=1).items():
        monkeypatch.setenv(name, value)
    # Compiled programs are kept in the user's folder.
    monkeypatch.setenv("MPLCONFIGDIR", matplotlib.get_cachedir())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(architectures, "build", toy_network.build)
    settings = {
        "DATASET": TINY,
        "DATA_DIR": streets_dir,
        "RUN": str(tmp_path / "run"),
        "CHANGES": {
            "model.pretrained": "",
            "data.augment.crop": (32, 64),
            "train.epochs": 2.0,
            "train.eval_every_epochs": 1,
            "train.log_every": 2,
            "eval.images": 1,
        },
    }
    namespace = {}
    for cell in _code(cells):
        source = "".join(cell["source"])
        exec(compile(source, f"{NOTEBOOK.name}:{cell['id']}", "exec"), namespace)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert settings.keys() < namespace.keys()
            namespace.update(settings)
    assert len(shown) == 4  # data, curves, an example, one's own picture
    said = capfd.readouterr().out
    assert "train: 24 scenes" in said
    assert "semseg/miou " in said
    assert re.search(r"depth: float32 \(\d+, \d+\)", said)


def test_it_was_run_in_order_and_shows_pictures(cells):
    code = _code(cells)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert "error" not in {output["output_type"] for output in outputs}
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 4
    assert NOTEBOOK.stat().st_size < LARGEST


def test_its_links_lead_somewhere(cells):
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        assert (NOTEBOOK.parent / link).exists(), link
