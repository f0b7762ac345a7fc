"""What is in a data set, counted over every pixel: class frequencies, range, mean and spread.

Counts of examples add up to those of a split, so that they can be made wherever the arrays are: by
the processes that convert a release, or from the records.
"""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from input_pipeline import integrity
from input_pipeline.labels import LabelSpec

FILE = "summary.json"  # beside the records

Counts = dict[str, dict[str, Any]]


def count(example: Mapping[str, np.ndarray], specs: Mapping[str, LabelSpec]) -> Counts:
    """Counts one example. Its arrays are as in a batch; keys without a spec are passed over.

    Returns:
      By key: for class maps `classes`, the pixels of each class and, last, those that are ignored;
      for instances `instances`, how many there are; for other labels `pixels`, `valid`, and of maps
      of one channel `sum`, `squares`, `least` and `greatest` of the valid values.
    """
    counts = {}
    for key, spec in specs.items():
        if key not in example or spec.kind == "image":
            continue
        value = np.asarray(example[key])
        if spec.kind == "classes":
            ids = np.minimum(value, len(spec.class_names))  # ignore is beyond the last class
            counts[key] = {"classes": np.bincount(ids.ravel(), minlength=len(spec.class_names) + 1)}
        elif spec.kind == "instances":
            counts[key] = {"instances": np.count_nonzero(np.unique(value))}
        else:
            counts[key] = _count_values(value, spec)
    return counts


def _count_values(value: np.ndarray, spec: LabelSpec) -> dict[str, Any]:
    planes = value if spec.channels else value[..., None]
    valid = np.full(value.shape[:2], True) if spec.invalid is None else planes != spec.invalid
    if valid.ndim == 3:
        valid = valid.any(-1)
    counts = {"pixels": valid.size, "valid": int(valid.sum())}
    if spec.channels == 0:
        known = value[valid].astype(np.float64)
        counts |= {
            "sum": known.sum(),
            "squares": (known**2).sum(),
            "least": known.min(initial=np.inf),
            "greatest": known.max(initial=-np.inf),
        }
    return counts


def add(total: Counts, counts: Counts) -> None:
    """Adds the counts of an example to those of a split, in place."""
    for key, values in counts.items():
        of_key = total.setdefault(key, {})
        of_key["examples"] = of_key.get("examples", 0) + 1
        for name, value in values.items():
            combine = {"least": min, "greatest": max}.get(name, lambda a, b: a + b)
            of_key[name] = combine(of_key[name], value) if name in of_key else value


def describe(total: Counts, num_examples: int, specs: Mapping[str, LabelSpec]) -> dict[str, Any]:
    """Turns the counts of a split into numbers for people and for LabelSpecs, which JSON can hold.

    Returns:
      `examples`, and by key: `examples` that have it; of class maps the share `ignored` and the
      `frequency` of each class among the rest; of instances their number `per_example`; of other
      labels the share `valid` and, of maps of one channel, `mean`, `stddev`, `least`, `greatest`.
    """
    result: dict[str, Any] = {"examples": num_examples}
    for key, counts in total.items():
        found: dict[str, Any] = {"examples": counts["examples"]}
        if "classes" in counts:
            *of_class, ignored = (int(n) for n in counts["classes"])
            known = sum(of_class)
            found["ignored"] = ignored / max(known + ignored, 1)
            names = specs[key].class_names
            found["frequency"] = {n: c / max(known, 1) for n, c in zip(names, of_class)}
        elif "instances" in counts:
            found["per_example"] = counts["instances"] / counts["examples"]
        else:
            found["valid"] = counts["valid"] / counts["pixels"]
        if "sum" in counts and counts["valid"]:
            mean = counts["sum"] / counts["valid"]
            variance = max(counts["squares"] / counts["valid"] - mean**2, 0.0)
            found |= {"mean": float(mean), "stddev": math.sqrt(variance)}
            found |= {"least": float(counts["least"]), "greatest": float(counts["greatest"])}
        result[key] = found
    return result


def write(summary: Mapping[str, Any], directory: str | os.PathLike) -> None:
    """Writes the summary into the folder of the records."""
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    with open(os.path.join(directory, FILE), "w", encoding="utf-8") as file:
        file.write(text + "\n")


def read(directory: str | os.PathLike) -> dict[str, Any] | None:
    """The summary in the folder of the records, or None where there is none.

    Raises:
      DatasetError: it is damaged.
    """
    if not os.path.exists(os.path.join(directory, FILE)):
        return None
    found = integrity.read_json(directory, FILE)
    for split, of_split in found.items():
        if not _is_split(of_split):
            raise integrity.damaged(directory, f"{FILE} has no counts of the split {split[:80]!r}")
    return found


def _is_split(found: Any) -> bool:
    """Whether a JSON value is what `describe` gives."""
    return (
        isinstance(found, dict)
        and type(found.get("examples")) is int
        and all(_is_label(of_key) for key, of_key in found.items() if key != "examples")
    )


def _is_label(found: Any) -> bool:
    if not isinstance(found, dict) or type(found.get("examples")) is not int:
        return False
    kinds = ({"frequency", "ignored"}, {"per_example"}, {"valid"})
    whole = any(kind <= found.keys() for kind in kinds) and (
        "mean" not in found or {"stddev", "least", "greatest"} <= found.keys()
    )
    frequencies = found.get("frequency", {})
    rest = [value for name, value in found.items() if name != "frequency"]
    return (
        whole
        and isinstance(frequencies, dict)
        and all(
            isinstance(value, int | float) and math.isfinite(value)
            for value in (*rest, *frequencies.values())
        )
    )


def text(summary: Mapping[str, Any], specs: Mapping[str, LabelSpec]) -> str:
    """The summary as a table for the terminal."""
    lines = []
    for split, found in summary.items():
        lines.append(f"{split}: {found['examples']} examples")
        for key, of_key in found.items():
            if key == "examples":
                continue
            some = of_key["examples"] < found["examples"]
            labelled = f", in {of_key['examples']} examples" if some else ""
            if "frequency" in of_key:
                ignored = f"{of_key['ignored']:.2%} ignored{labelled}; of the rest"
                lines.append(f"  {key}: {ignored}")
                lines += [f"    {n:22} {f:8.3%}" for n, f in of_key["frequency"].items()]
            elif "per_example" in of_key:
                lines.append(f"  {key}: {of_key['per_example']:.1f} per example{labelled}")
            else:
                lines.append(f"  {key}: {of_key['valid']:.2%} valid{labelled}")
            if "mean" in of_key:
                unit = specs[key].unit
                numbers = ("mean", "stddev", "least", "greatest")
                values = ", ".join(f"{name} {of_key[name]:.6g}" for name in numbers)
                lines.append(f"    {values}{' ' * bool(unit)}{unit}")
    return "\n".join(lines)
