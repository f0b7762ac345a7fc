"""The arrows between the rooms point one way, and importing mtl_jax never loads TensorFlow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    path
    for folder in ("mtl_jax", "input_pipeline", "configs", "serving")
    for path in (ROOT / folder).rglob("*.py")
)
BLOCKS = (
    "mtl_jax._",
    "mtl_jax.errors",
    "mtl_jax.layers",
    "mtl_jax.pooling",
    "mtl_jax.transposed",
)
# room: what it may import of ours. Longest matching room wins.
ALLOWED = {
    "input_pipeline": ("input_pipeline",),
    "configs": ("configs", "mtl_jax.errors", "mtl_jax.sweeps", "mtl_jax.workdir"),
    "mtl_jax": ("mtl_jax",),
    "mtl_jax.layers": ("mtl_jax._", "mtl_jax.errors"),
    "mtl_jax.encoders": (*BLOCKS, "mtl_jax.encoders"),
    "mtl_jax.heads": (*BLOCKS, "mtl_jax.heads"),
    "mtl_jax.architectures": (
        *BLOCKS,
        "mtl_jax.encoders",
        "mtl_jax.heads",
        "mtl_jax.architectures",
    ),
    "mtl_jax.losses": (),
    "mtl_jax.metrics": ("mtl_jax._", "mtl_jax.metrics"),
    "mtl_jax.visualization": (),
    "mtl_jax.instance_drawing": ("mtl_jax.visualization",),
    "mtl_jax.clustering": ("mtl_jax._",),
    "mtl_jax.tasks": (
        "mtl_jax._",
        "mtl_jax.clustering",
        "mtl_jax.instance_drawing",
        "mtl_jax.losses",
        "mtl_jax.metrics",
        "mtl_jax.visualization",
        "mtl_jax.tasks",
    ),
    "mtl_jax.weightings": ("mtl_jax._", "mtl_jax.weightings"),
    "serving": ("mtl_jax", "serving"),
    "serving.run_saved_model": (),  # it runs where this project is not installed
}
FOREIGN = {"input_pipeline": ("jax", "flax", "optax", "clu"), "mtl_jax": ("tensorflow",)}


def imports(path: Path) -> set[str]:
    """Full names of all that a file imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def within(name: str, room: str) -> bool:
    return (
        name == room
        or name.startswith(room + ".")
        or (room.endswith("_") and name.startswith(room))
    )


@pytest.mark.parametrize("path", FILES, ids=module)
def test_arrows_point_one_way(path):
    room = max((r for r in ALLOWED if within(module(path), r)), key=len)
    for name in imports(path):
        top = name.split(".")[0]
        if top in ("mtl_jax", "input_pipeline", "configs", "serving"):
            if name in ("mtl_jax", "mtl_jax._discovery"):
                continue
            assert any(within(name, allowed) for allowed in ALLOWED[room]), f"{room} ─► {name}"
        assert top not in FOREIGN.get(module(path).split(".")[0], ()), f"{module(path)} ─► {name}"


def test_only_checkpoints_imports_orbax():
    users = {module(p) for p in FILES if any(n.startswith("orbax") for n in imports(p))}
    assert users == {"mtl_jax.checkpoints"}


def test_mtl_jax_never_loads_tensorflow():
    modules = [module(path) for path in FILES if module(path).startswith("mtl_jax")]
    code = f"import sys, {', '.join(modules)}; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
