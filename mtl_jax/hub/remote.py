"""The Hugging Face hub: folders to it and from it. Its package is an extra, imported in here."""

import re
from pathlib import Path
from typing import Any

from mtl_jax.hub import release
from mtl_jax.hub.release import ReleaseError

_PREFIX = "hub:"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def repository(text: str) -> str | None:
    """'owner/name' if that is what a text means, and no folder; None otherwise.

    'hub:owner/name' always means the hub. 'owner/name' does where there is no folder 'owner' here,
    so that a mistyped run is never looked for on the hub.
    """
    name = text.removeprefix(_PREFIX)
    if not _NAME.fullmatch(name):
        if text != name:
            raise ReleaseError(f"{text}: expected hub:<owner>/<name>.")
        return None
    if text == name and (Path(text).exists() or Path(text.partition("/")[0]).exists()):
        return None
    return name


def download(name: str, revision: str | None = None) -> Path:
    """The folder of a network in the hub's cache; what is not there yet is fetched.

    With HF_HUB_OFFLINE=1 in the environment nothing but the cache is looked at. Only the files of
    `release.READ` are fetched.

    Args:
      name: 'owner/name'.
      revision: a branch, tag or commit; the newest by default.

    Raises:
      ReleaseError: there is no package to fetch it, no network, or no such repository.
    """
    hub = _package(f"mtl_jax.load({name!r})")
    try:
        return Path(
            hub.snapshot_download(name, revision=revision, allow_patterns=list(release.READ))
        )
    except Exception as error:  # no network, no cache, no such repository: many types
        raise ReleaseError(
            f"{name} is not in the hub's cache and cannot be fetched ({_short(error)}). A run's "
            "directory, if that was meant, has to exist."
        ) from error


def upload(folder: Path, name: str, *, private: bool = True, message: str = "") -> str:
    """Puts a released folder on the hub, as the user that `hf auth login` has logged in.

    Args:
      folder: as `release.write` writes it.
      name: 'owner/name'; created if need be.
      private: of a repository that is created.
      message: of the commit.

    Returns:
      The address of the commit.

    Raises:
      ReleaseError: there is no package, nobody is logged in, or the hub refuses.
    """
    if not _NAME.fullmatch(name):
        raise ReleaseError(f"push_to_hub({name!r}): expected '<owner>/<name>'.")
    api = _package("push_to_hub").HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True, repo_type="model")
        done = api.upload_folder(
            repo_id=name,
            folder_path=str(folder),
            repo_type="model",
            commit_message=message or f"Upload {release.WEIGHTS}",
        )
    except Exception as error:  # nobody logged in, no right to it, no network: many types
        raise ReleaseError(
            f"{name} cannot be put on the hub ({_short(error)}). `hf auth login` logs in."
        ) from error
    return str(done)


def _package(what: str) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ReleaseError(
            f"{what} needs the package huggingface_hub, which is not installed: "
            "pip install 'mtl-jax[hub]'."
        ) from error
    return huggingface_hub


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
