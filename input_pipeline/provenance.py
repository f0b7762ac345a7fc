"""What records were made from, kept beside them, so that other files are never taken for them.

An example is known by its split and its id, and by the name, the size and the time of last change
of each of its files; of a member of a zip archive the checksum counts instead of the time. Names
are relative to the folder of the release, so a release may be moved. What nobody can see without
reading everything again is not seen: contents that changed while size and time stayed.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from input_pipeline import checks, integrity
from input_pipeline.conversion import Item

FILE = "made_from.json"  # beside the records

Provenance = dict[str, Any]


def of(items: Mapping[str, Sequence[Item]], folder: str | os.PathLike, **more: Any) -> Provenance:
    """Describes what records are made from.

    Args:
      items: by split.
      folder: where the files are.
      **more: what else is kept, JSON-able.

    Returns:
      `folder`, `more`, and `splits`: {split: {id: digest of the files}}, as in the records.

    Raises:
      DatasetError: a file is gone.
    """
    folder = os.path.abspath(folder)
    splits = {
        split: {item.id: _digest(item, folder) for item in of_split}
        for split, of_split in items.items()
    }
    return {"folder": os.path.realpath(folder), **more, "splits": splits}


def fingerprint(provenance: Provenance) -> str:
    """32 hexadecimal digits that differ if any example, its order or a file of it differs."""
    text = json.dumps([[s, list(ids.items())] for s, ids in provenance["splits"].items()])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def write(provenance: Provenance, directory: str | os.PathLike) -> None:
    """Writes it into the folder of the records."""
    with open(os.path.join(directory, FILE), "w", encoding="utf-8") as file:
        json.dump(provenance, file, ensure_ascii=False, indent=1)


def read(directory: str | os.PathLike) -> Provenance | None:
    """What the records in a folder were made from; None if an earlier version made them.

    Raises:
      DatasetError: the file is damaged.
    """
    if not os.path.exists(os.path.join(directory, FILE)):
        return None
    found = integrity.read_json(directory, FILE)
    splits = found.get("splits")
    if not isinstance(splits, dict) or not all(isinstance(ids, dict) for ids in splits.values()):
        raise integrity.damaged(directory, f"{FILE} does not list the examples of splits")
    return found


def differences(before: Provenance, now: Provenance) -> list[str]:
    """In words, how the files of today differ from those that records were made from."""
    lines = []
    for split in dict.fromkeys([*before["splits"], *now["splits"]]):
        old, new = before["splits"].get(split, {}), now["splits"].get(split, {})
        kinds = {
            "new": [name for name in new if name not in old],
            "gone": [name for name in old if name not in new],
            "with other files": [n for n in new if n in old and new[n] != old[n]],
        }
        if not any(kinds.values()) and list(old) != list(new):
            lines.append(f"split {split!r}: in another order")
        for kind, names in kinds.items():
            if names:
                lines.append(f"split {split!r}: {len(names)} {kind}: {checks.first(names)}")
    return lines


def _digest(item: Item, folder: str) -> str:
    files = []
    for key, file in sorted(item.files.items()):
        path = os.path.relpath(os.path.abspath(file.path), folder)
        files.append((key, path, file.member, file.stamp()))
    return hashlib.sha256(repr((files, item.data)).encode()).hexdigest()[:16]
