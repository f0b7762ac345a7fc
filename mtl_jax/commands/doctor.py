"""What is installed, found and missing on this machine, and the command that gets what is missing.

Quick: nothing is read but names of files, and TensorFlow is imported only where that is asked for.
"""

import ast
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import mtl_jax
from mtl_jax import _arguments
from mtl_jax.runs.workdir import Workdir

_DISTRIBUTION = "mtl-jax"
# What an extra is for, where its name does not say it.
_EXTRAS = {
    "cuda12": "NVIDIA GPUs",
    "hub": "models by name: mtl_jax.load('owner/name'), push_to_hub, resnet34 as a start",
    "kubernetes": "several processes on Kubernetes: --distributed=auto",
    "mlflow": "runs in MLflow",
    "parquet": "nyuv2 from the benchmarks' Parquet files",
    "pretrained": "the larger EfficientNet-Lite as a start",
    "submitit": "studies on a SLURM cluster: mtl sweep --engine=submitit",
    "video": "videos in predict and demo",
    "wandb": "runs in Weights & Biases",
}
_NOT_FOR_USERS = ("test", "dev", "docs")
_GIB = 2**30
_LEAST_FREE = 5 * _GIB  # Streets and a run with its checkpoints take about half of it


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what is found; returns 1 if something is missing that every command needs."""
    parser = _arguments.Parser(
        prog="mtl doctor", description=__doc__.partition("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--data_dir", default="", help="of prepared data; default: that of TFDS")
    parser.add_argument("--runs", default="runs", help="the folder of runs; default: runs")
    parser.add_argument("--tensorflow", action="store_true", help="import TensorFlow, too")
    given = _arguments.parse(parser, arguments)
    problems: list[str] = []
    for title, lines in (
        ("program", _program()),
        ("packages", _packages(problems)),
        ("extras", _extras()),
        ("devices", _devices(problems)),
        ("data", _data(given.data_dir)),
        ("weights", _weights()),
        ("runs", _runs(Path(given.runs).expanduser())),
        ("folders", _folders(given.data_dir)),
        *([("tensorflow", _tensorflow(problems))] if given.tensorflow else []),
    ):
        print("\n".join(_in_columns(title, lines)), flush=True)
    print(
        "\n"
        + ("\n".join(f"MISSING: {p}" for p in problems) or "Nothing that is needed is missing.")
    )
    return int(bool(problems))


def _in_columns(title: str, lines: Iterator[str]) -> list[str]:
    return [f"{title if i == 0 else '':11}{line}" for i, line in enumerate(lines)]


def _program() -> Iterator[str]:
    yield f"mtl_jax {mtl_jax.__version__} in {Path(mtl_jax.__file__).parent}"
    yield f"Python {platform.python_version()} at {sys.executable}; {platform.platform()}"


def _packages(problems: list[str]) -> Iterator[str]:
    """The required packages, and those of them that are absent or too old."""
    try:
        required = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        problems.append("this clone is not installed: pip install -e .")
        yield "unknown, as this clone is not installed: pip install -e ."
        return
    found, missing = [], []
    for requirement in map(Requirement, required):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            version = _version(requirement.name)
            fits = version is not None and requirement.specifier.contains(version, prereleases=True)
            (found if fits else missing).append(f"{requirement.name} {version or 'absent'}")
            if not fits:
                problems.append(
                    f"{requirement.name} {requirement.specifier}, found {version or 'none'}: "
                    f"pip install '{requirement.name}{requirement.specifier}'"
                )
    yield ", ".join(found)
    if missing:
        yield f"missing or too old: {', '.join(missing)}"


def _extras() -> Iterator[str]:
    """What is optional, and how to get it."""
    for name, packages in _extra_packages().items():
        absent = [package for package in packages if _version(package) is None]
        what = f"{name:11}{_EXTRAS.get(name, '')}"
        yield f"{what}: {'no; pip install ' if absent else 'yes'}" + (
            f"'{_DISTRIBUTION}[{name}]'" if absent else ""
        )


def _extra_packages() -> dict[str, list[str]]:
    """{extra: its packages} of those that a user may want."""
    try:
        about = metadata.metadata(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return {}
    names = [name for name in about.get_all("Provides-Extra") or [] if name not in _NOT_FOR_USERS]
    requirements = [Requirement(text) for text in metadata.requires(_DISTRIBUTION) or []]
    optional = [r for r in requirements if r.marker and "extra" in str(r.marker)]
    return {
        name: [
            package
            for r in optional
            if r.marker and r.marker.evaluate({"extra": name})
            for package in (r.name, *_packages_of_extras(r))
        ]
        for name in sorted(names)
    }


def _packages_of_extras(requirement: Requirement) -> list[str]:
    """What 'jax[cuda12]' needs besides jax; nothing where jax itself is absent."""
    if not requirement.extras or _version(requirement.name) is None:
        return []
    theirs = map(Requirement, metadata.requires(requirement.name) or [])
    return [
        r.name
        for r in theirs
        if r.marker
        and not r.marker.evaluate({"extra": ""})
        and any(r.marker.evaluate({"extra": extra}) for extra in requirement.extras)
    ]


def _devices(problems: list[str]) -> Iterator[str]:
    """What JAX computes on, and a GPU that it does not see."""
    try:
        import jax

        devices = jax.devices()
    except (ImportError, RuntimeError) as error:  # no package, or a driver that does not start
        problems.append(f"JAX has no device: {' '.join(str(error).split())[:200]}")
        yield "none"
        return
    from input_pipeline import cores

    kinds = {device.device_kind for device in devices}
    yield f"{len(devices)} × {', '.join(sorted(kinds))} ({jax.default_backend()}), " + (
        f"{cores.available()} CPU cores"
    )
    if jax.default_backend() == "cpu" and _nvidia():
        yield f"an NVIDIA GPU is here that JAX does not use: pip install '{_DISTRIBUTION}[cuda12]'"


def _nvidia() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _data(data_dir: str) -> Iterator[str]:
    """Prepared data sets, and how to get the others."""
    folder = _data_dir(data_dir)
    found = _prepared(folder)
    for name, configurations in found.items():
        yield f"{name}: {', '.join(configurations)}"
    if not found:
        yield f"nothing is prepared in {folder} yet"
    others = {name: made for name, made in _data_sets().items() if name not in found}
    if made := [name for name, embedded in others.items() if embedded]:
        yield f"made on first use: {', '.join(made)}"
    if read := [name for name, embedded in others.items() if not embedded]:
        yield f"not prepared: {', '.join(read)}; each by"
        yield "  mtl prepare --dataset=<name> --manual_dir=<folder of the official files>"


def _data_dir(data_dir: str) -> Path:
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(chosen).expanduser()


def _prepared(folder: Path) -> dict[str, list[str]]:
    """{data set: [configuration/version ...]} of what is below a data folder."""
    found: dict[str, list[str]] = {}
    for depth in ("*/*", "*/*/*"):
        for info in sorted(folder.glob(f"{depth}/dataset_info.json")):
            name, *rest = info.parent.relative_to(folder).parts
            found.setdefault(name, []).append("/".join(rest))
    return dict(sorted(found.items()))


def _data_sets() -> dict[str, bool]:
    """{data set of this project: whether it needs no files}, read off their modules' text."""
    spec = importlib.util.find_spec("input_pipeline")
    assert spec is not None  # as it is installed with this package
    (where,) = spec.submodule_search_locations or ()
    found = {}
    for module in sorted(Path(where, "datasets").glob("[a-z]*.py")):
        names = {
            target.id
            for node in ast.parse(module.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        if module.stem != "folder":  # that is one's own images
            found[module.stem] = "EMBEDDED" in names
    return found


def _weights() -> Iterator[str]:
    """Published weights that are here, and how the others come."""
    try:
        from mtl_jax.weights import published
    except ImportError as error:
        yield f"unknown: {error}"
        return
    here = {name: published.where(name) for name in published.sources()}
    yield f"here: {', '.join(name for name, path in here.items() if path) or 'none'}"
    absent: Mapping[str, str] = {
        name: published.how_to_get(name) for name, path in here.items() if not path
    }
    for how in dict.fromkeys(absent.values()):
        yield f"not here: {', '.join(name for name, way in absent.items() if way == how)}; {how}"


def _runs(folder: Path) -> Iterator[str]:
    """The runs of a folder; only names of files are looked at."""
    runs = sorted(path.parent for path in folder.glob("*/config.json"))
    for run in runs[:20]:
        where = Workdir(run)
        saved = any(each.has_checkpoint() for each in (where, *where.seeds().values()))
        yield f"{run}: {'finished or under way' if saved else 'no checkpoint yet'}"
    if len(runs) > 20:
        yield f"... and {len(runs) - 20} more in {folder}"
    if not runs:
        yield f"none in {folder}; mtl train --config=branched makes one"


def _folders(data_dir: str) -> Iterator[str]:
    """Free room where data and runs are written."""
    for what, path in (("data", _data_dir(data_dir)), ("here", Path.cwd())):
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        free = shutil.disk_usage(there).free
        low = "" if free > _LEAST_FREE else " - little: data and a run of the default take 3 GiB"
        writable = "" if os.access(there, os.W_OK) else ", NOT WRITABLE"
        yield f"{what}: {path}, {free / _GIB:.0f} GiB free{low}{writable}"


def _tensorflow(problems: list[str]) -> Iterator[str]:
    try:
        from input_pipeline.quiet_tensorflow import tf
    except ImportError as error:
        problems.append(f"TensorFlow cannot be imported: {error}")
        yield "cannot be imported"
        return
    yield f"{tf.__version__} works"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
