"""Converts a release on disk to the records that training reads.

python -m input_pipeline.prepare --dataset=camvid --manual_dir=/path/to/CamVid
"""

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from absl import app, flags, logging

from input_pipeline import datasets, pipeline

FLAGS = flags.FLAGS


def summary(builder: tfds.core.DatasetBuilder) -> str:
    """Reads every record once and tells what is in them.

    Returns:
      Per split the number of examples; per class map the share of each class among the pixels with
      a class; per metric map the mean and standard deviation over valid pixels.
    """
    lines = [f"{builder.info.full_name} in {builder.data_dir}"]
    specs = builder.label_specs
    for split in builder.info.splits:
        stream = pipeline.EvalStream(builder, split=split, keys=tuple(specs), batch_size=1)
        counts = {
            key: np.zeros(len(spec.class_names) + 1, np.int64)
            for key, spec in specs.items()
            if spec.kind == "classes"
        }
        moments = {key: np.zeros(3) for key, spec in specs.items() if spec.valid_range}
        batches = tqdm.tqdm(stream.batches(), total=stream.num_batches, desc=f"reading {split}")
        for batch in batches:
            for key, count in counts.items():
                ids = np.minimum(batch[key], len(count) - 1)  # ignore is beyond the last class
                count += np.bincount(ids.ravel(), minlength=len(count))
            for key, moment in moments.items():
                valid = batch[key][batch[key] != specs[key].invalid].astype(np.float64)
                moment += valid.size, valid.sum(), (valid**2).sum()
        lines.append(f"\n{split}: {stream.num_examples} examples")
        for key, count in counts.items():
            lines.append(f"  {key}: {count[-1] / max(count.sum(), 1):.2%} ignored; of the rest")
            share = count[:-1] / max(count[:-1].sum(), 1)
            lines += [f"    {n:20} {s:8.3%}" for n, s in zip(specs[key].class_names, share)]
        for key, (number, total, squares) in moments.items():
            mean = total / max(number, 1)
            stddev = np.sqrt(max(squares / max(number, 1) - mean**2, 0))
            lines.append(f"  {key}: mean {mean:.4f}, standard deviation {stddev:.4f}")
    return "\n".join(lines)


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
    print(summary(builder))


if __name__ == "__main__":
    flags.DEFINE_string("dataset", None, f"One of {', '.join(datasets.names())}.", required=True)
    flags.DEFINE_string("manual_dir", "", "Folder of the release.")
    flags.DEFINE_string("data_dir", "", "Where the records go; default: that of TFDS.")
    flags.DEFINE_bool("partial", False, "Accept a release of which images are missing.")
    app.run(main)
