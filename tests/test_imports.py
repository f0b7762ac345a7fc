"""The arrows between the rooms point one way, and importing mtl_jax never loads TensorFlow."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    path
    for folder in ("mtl_jax", "input_pipeline", "configs")
    for path in (ROOT / folder).rglob("*.py")
)
# room: the rooms that it may import, besides itself, `mtl_jax.errors` and `mtl_jax._files`, which
# all may.
# A room is a top-level package, or what is directly in mtl_jax.
ALLOWED = {
    "input_pipeline": "",
    "mtl_jax": "commands prediction",
    "mtl_jax.configs": "options runs studies tasks weightings",
    "mtl_jax.errors": "",
    "mtl_jax.overrides": "",
    "mtl_jax._arguments": "",
    "mtl_jax._discovery": "",
    "mtl_jax._files": "",
    "mtl_jax._options": "_discovery",
    "mtl_jax._sections": "_options",
    "mtl_jax.options": "_options _sections architectures encoders optimizers overrides"
    " tasks weightings",
    "mtl_jax._segments": "",
    "mtl_jax.clustering": "",
    "mtl_jax.layers": "",
    "mtl_jax.losses": "",
    "mtl_jax.metrics": "_segments",
    "mtl_jax.pictures": "",
    "mtl_jax.parallel": "",
    "mtl_jax.resident": "",
    "mtl_jax.trackers": "_discovery",
    "mtl_jax.train_state": "",
    "mtl_jax.encoders": "_discovery _options layers",
    "mtl_jax.heads": "_options encoders layers",
    "mtl_jax.architectures": "_discovery _options encoders heads layers",
    "mtl_jax.tasks": "_discovery _options _segments clustering losses metrics pictures",
    "mtl_jax.weightings": "_discovery _options",
    "mtl_jax.views": "_options layers tasks",
    "mtl_jax.optimizers": "_discovery _options layers",
    "mtl_jax.system": "architectures encoders layers optimizers options tasks views weightings",
    "mtl_jax.sharing": "system weightings",
    "mtl_jax.micro_batches": "sharing system",
    "mtl_jax.gradients": "micro_batches sharing train_state weightings",
    "mtl_jax.look_ahead": "gradients micro_batches train_state",
    "mtl_jax.training": "gradients look_ahead micro_batches optimizers parallel sharing system"
    " train_state",
    "mtl_jax.own_size": "tasks",
    "mtl_jax.evaluation": "metrics own_size parallel system tasks views",
    "mtl_jax.checkpoints": "train_state",
    "mtl_jax.weights": "_discovery architectures checkpoints encoders heads optimizers tasks"
    " train_state",
    "mtl_jax.runs": "checkpoints evaluation look_ahead metrics optimizers options parallel"
    " resident system tasks train_state training views weightings weights",
    "mtl_jax.studies": "_arguments metrics options runs tasks",
    "mtl_jax.hub": "checkpoints export metrics options runs system weights",
    "mtl_jax.prediction": "checkpoints hub layers options pictures runs system tasks views",
    "mtl_jax.demo": "pictures prediction",
    "mtl_jax.export": "runs system tasks views",
    "mtl_jax.serving": "export",
    "mtl_jax.reporting": "_arguments metrics runs studies tasks",
    "mtl_jax.commands": "input_pipeline _arguments _discovery checkpoints configs demo evaluation"
    " export hub layers options overrides own_size parallel pictures prediction reporting runs"
    " serving studies system tasks trackers views weights",
    "mtl_jax.__main__": "commands",
}
# Nothing of ours, as they run where this project is not installed.
ALONE = ("mtl_jax.serving.run_saved_model",)
FOREIGN = {"input_pipeline": ("jax", "flax", "optax", "clu"), "mtl_jax": ("tensorflow",)}
# Writes exported networks for TensorFlow: the one room that needs both halves to be loaded.
BOTH = "mtl_jax.serving"
# Sees both halves as well, but imports the input pipeline, and with it TensorFlow, in functions.
COMMANDS = "mtl_jax.commands"


def imports(path: Path) -> set[str]:
    """Full names of all that a file imports, at any depth, and of the modules that it names."""
    tree = ast.parse(path.read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    named = {t for t in texts if isinstance(t, str) and re.fullmatch(r"mtl_jax(\.\w+)+", t)}
    return imports_of(tree) | {name for name in named if room(name) in ALLOWED}


def imports_of(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import: {ast.unparse(node)}"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module(path: Path) -> str:
    """configs/ is the package mtl_jax.configs, and where it is installed there is no other."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return f"mtl_jax.{name}" if name.split(".")[0] == "configs" else name


def room(name: str) -> str:
    """`mtl_jax.layers` of `mtl_jax.layers.resize.f`; `input_pipeline` of `input_pipeline.f`."""
    return ".".join(name.split(".")[: 2 if name.startswith("mtl_jax.") else 1])


def rooms(allowed: str) -> set[str]:
    """Their full names, of a line of `ALLOWED`."""
    return {r if r == "input_pipeline" else f"mtl_jax.{r}" for r in allowed.split()}


def test_every_room_has_an_entry():
    assert {room(module(path)) for path in FILES} == set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=module)
def test_arrows_point_one_way(path):
    name = module(path)
    here = room(name)
    allowed = {here, "mtl_jax", "mtl_jax.errors", "mtl_jax._files"}
    allowed |= rooms(ALLOWED[here])
    for found in imports(path):
        top = found.split(".")[0]
        if top in ("mtl_jax", "input_pipeline", "configs"):
            assert name not in ALONE, f"{name} ─► {found}"
            assert room(found) in allowed, f"{here} ─► {found}"
        if here != BOTH:
            assert top not in FOREIGN.get(name.split(".")[0], ()), f"{name} ─► {found}"


def test_every_room_is_in_the_documentation():
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## The rooms")[2]
    table = table.partition("\n## ")[0]
    known = set(re.findall(r"`(\w+)`", table))
    public = {name.partition(".")[2] for name in ALLOWED}
    assert {name for name in public if name and not name.startswith("_")} <= known


def test_every_arrow_that_is_listed_is_there():
    there = {here: set() for here in ALLOWED}
    for path in FILES:
        there[room(module(path))] |= {room(name) for name in imports(path)}
    for here, allowed in ALLOWED.items():
        assert rooms(allowed) <= there[here], here


def test_arrows_make_no_circle():
    graph = {here: rooms(allowed) for here, allowed in ALLOWED.items()}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_commands_import_the_input_pipeline_in_functions_only():
    for path in FILES:
        if room(module(path)) == COMMANDS:
            top = [
                name
                for node in ast.parse(path.read_text()).body
                if isinstance(node, ast.Import | ast.ImportFrom)
                for name in imports_of(node)
            ]
            assert not [name for name in top if name.startswith("input_pipeline")], path


def test_only_checkpoints_imports_orbax():
    users = {module(p) for p in FILES if any(n.startswith("orbax") for n in imports(p))}
    assert users == {"mtl_jax.checkpoints"}


def test_matplotlib_is_imported_where_it_draws():
    """Its import takes half a second, which no start of a training is to wait for."""
    for path in FILES:
        if module(path).startswith("mtl_jax") and not module(path).startswith("mtl_jax.demo"):
            statements = ast.parse(path.read_text()).body
            top = [s for s in statements if isinstance(s, ast.Import | ast.ImportFrom)]
            assert not [n for s in top for n in imports_of(s) if n.startswith("matplotlib")], path


def test_mtl_jax_never_loads_tensorflow():
    modules = [
        module(path)
        for path in FILES
        if module(path).startswith("mtl_jax") and room(module(path)) != BOTH
    ]
    code = f"import sys, {', '.join(modules)}; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
