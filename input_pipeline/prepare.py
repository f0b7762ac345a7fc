"""Converts a release on disk to the records that training reads, and tells what is in them.

python -m input_pipeline.prepare --dataset=camvid --manual_dir=/path/to/CamVid --preview=camvid.png
python -m input_pipeline.prepare --dataset=streets --arrays=streets_arrays
"""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from input_pipeline.errors import DatasetError, did_you_mean

if TYPE_CHECKING:  # all else is imported in functions: --help is not to wait for TensorFlow
    from input_pipeline.arrays import Arrays
    from input_pipeline.quiet_tensorflow import tfds


def summarize(builder: "tfds.core.DatasetBuilder") -> dict[str, Any]:
    """{split: numbers as of `summary.describe`}: what lies beside the records, or read from them.

    Data sets that are drawn have no such file; every record of theirs is read once.
    """
    from input_pipeline import summary

    return summary.read(builder.data_dir) or {
        split: _summarize_split(builder, split) for split in builder.info.splits
    }


def _summarize_split(builder: "tfds.core.DatasetBuilder", split: str) -> dict[str, Any]:
    from input_pipeline import _progress, pipeline, summary

    specs = builder.label_specs
    stream = pipeline.EvalStream(builder, split=split, keys=tuple(specs), batch_size=1)
    total: summary.Counts = {}
    for batch in _progress.bar(stream.batches(), total=stream.num_batches, desc=f"reading {split}"):
        summary.add(total, summary.count({key: batch[key][0] for key in specs}, specs))
    return summary.describe(total, stream.num_examples, specs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepares a data set; returns the exit status."""
    parser = _Parser(prog="mtl prepare", description=__doc__.partition("\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("--dataset", required=True, help="<name>[/<configuration>], see docs/datasets.md")
    add("--manual_dir", default="", help="folder of the release")
    add("--data_dir", default="", help="where the records go; default: that of TFDS")
    add("--partial", action="store_true", help="accept a release of which examples are missing")
    add("--preview", default="", help="an image file to draw some examples in")
    add(
        "--arrays",
        default="",
        help="a folder to write plain arrays to, for runs without TensorFlow",
    )
    try:
        _prepare(parser.parse_args(arguments))
    except DatasetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


class _Parser(argparse.ArgumentParser):
    """Its mistakes are `DatasetError`s, and an unknown flag's names the nearest."""

    def error(self, message: str) -> NoReturn:
        """See `ArgumentParser`."""
        flags = [option for action in self._actions for option in action.option_strings]
        unknown = re.match(r"unrecognized arguments: ([^\s=]+)", message)
        hint = did_you_mean(unknown[1], flags) if unknown else ""
        raise DatasetError(f"{message}.{hint} `{self.prog} --help` lists the flags.")


def _prepare(given: argparse.Namespace) -> None:
    if given.arrays and given.dataset.partition("/")[0] == "streets":
        _draw_into_arrays(given)
        return
    from absl import logging

    from input_pipeline import datasets, preview, summary, to_arrays

    logging.set_verbosity(logging.ERROR)  # TFDS has a progress bar; its log would tear it apart.
    if given.preview:
        preview.check(given.preview)
    builder = datasets.prepare(
        given.dataset,
        data_dir=given.data_dir,
        manual_dir=given.manual_dir,
        partial=given.partial,
    )
    print(f"{builder.info.full_name} in {builder.data_dir}\n")
    print(summary.text(summarize(builder), builder.label_specs))
    if given.preview:
        preview.write(builder, given.preview)
        print(f"\nSome examples are drawn in {given.preview}.")
    if given.arrays:
        _tell(to_arrays.prepared(builder, given.arrays))


def _draw_into_arrays(given: argparse.Namespace) -> None:
    """Streets need neither records nor TensorFlow."""
    from input_pipeline import to_arrays

    if unused := [name for name in ("preview", "manual_dir", "data_dir") if getattr(given, name)]:
        raise DatasetError(
            f"--{unused[0]} is of no use with --arrays for streets, which are drawn straight into "
            "the arrays; leave it out."
        )
    _tell(to_arrays.streets(given.dataset.partition("/")[2], given.arrays))


def _tell(found: "Arrays") -> None:
    print(
        f"\nArrays of {found.name} are in {found.path}; train from them, without TensorFlow, with\n"
        f"  --config.data.dataset=arrays:{found.path}"
    )


if __name__ == "__main__":
    sys.exit(main())
