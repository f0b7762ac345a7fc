"""Converts a release on disk to the records that training reads, and tells what is in them.

python -m input_pipeline.prepare --dataset=camvid --manual_dir=/path/to/CamVid --preview=camvid.png
"""

from typing import Any

import tqdm
from absl import app, flags, logging

from input_pipeline import datasets, pipeline, preview, summary
from input_pipeline._tensorflow import tfds

FLAGS = flags.FLAGS


def summarize(builder: tfds.core.DatasetBuilder) -> dict[str, Any]:
    """{split: numbers as of `summary.describe`}: what lies beside the records, or read from them.

    Data sets that are drawn have no such file; every record of theirs is read once.
    """
    return summary.read(builder.data_dir) or {
        split: _summarize_split(builder, split) for split in builder.info.splits
    }


def _summarize_split(builder: tfds.core.DatasetBuilder, split: str) -> dict[str, Any]:
    specs = builder.label_specs
    stream = pipeline.EvalStream(builder, split=split, keys=tuple(specs), batch_size=1)
    total: summary.Counts = {}
    for batch in tqdm.tqdm(stream.batches(), total=stream.num_batches, desc=f"reading {split}"):
        summary.add(total, summary.count({key: batch[key][0] for key in specs}, specs))
    return summary.describe(total, stream.num_examples, specs)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}.")
    logging.set_verbosity(logging.ERROR)  # TFDS has a progress bar; its log would tear it apart.
    try:
        builder = datasets.prepare(
            FLAGS.dataset,
            data_dir=FLAGS.data_dir,
            manual_dir=FLAGS.manual_dir,
            partial=FLAGS.partial,
        )
    except datasets.DatasetError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{builder.info.full_name} in {builder.data_dir}\n")
    print(summary.text(summarize(builder), builder.label_specs))
    if FLAGS.preview:
        preview.write(builder, FLAGS.preview)
        print(f"\nSome examples are drawn in {FLAGS.preview}.")


if __name__ == "__main__":
    flags.DEFINE_string("dataset", None, f"One of {', '.join(datasets.names())}.", required=True)
    flags.DEFINE_string("manual_dir", "", "Folder of the release.")
    flags.DEFINE_string("data_dir", "", "Where the records go; default: that of TFDS.")
    flags.DEFINE_bool("partial", False, "Accept a release of which examples are missing.")
    flags.DEFINE_string("preview", "", "An image file to draw some examples in.")
    app.run(main)
