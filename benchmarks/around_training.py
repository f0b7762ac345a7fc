"""What is around training: the second start, evaluation and prediction, reports.

    python -m benchmarks.around_training --workdir=runs/branched_streets
    python -m benchmarks.around_training --workdir=runs/branched_streets --parts=report --runs=70

`--workdir` is that of a trained run. Prints one line of JSON for each of

* start: seconds from starting `mtl train` with the run's config to its first step, in a new work
  directory each time; from the second time on, the compiled programs are in the cache;
* evaluation: images/s of the whole evaluation, reading included, beside the forward pass alone;
* photographs, video: images/s from files to files beside the network alone, on images of the
  evaluation's split enlarged to `--size`;
* report: seconds for the report of `--runs` copies of the run.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

PARTS = ("start", "evaluation", "photographs", "video", "report")
_LONGEST_START = 600  # seconds


def start(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Seconds to the first step, of one start after the other."""
    with tempfile.TemporaryDirectory() as folder:
        cache = flags.cache or f"{folder}/cache"
        for number in range(flags.rounds + (not flags.cache)):
            path = Path(folder) / f"run_{number}"
            command = [sys.executable, "-m", "mtl_jax", f"--config={flags.config}"]
            command += [f"--workdir={path}", f"--compilation_cache={cache}"]
            command += ["--config.train.log_every=1"]
            begun = time.perf_counter()
            with (Path(folder) / "log").open("w") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                while not _has_text(path / "training.jsonl"):
                    if process.poll() is not None or time.perf_counter() - begun > _LONGEST_START:
                        raise RuntimeError((Path(folder) / "log").read_text()[-2000:])
                    time.sleep(0.01)
                seconds = time.perf_counter() - begun
            finally:
                process.kill()
                process.wait()
            yield {"start": number + 1 if not flags.cache else "cached", "seconds": seconds}


def _has_text(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def evaluation(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The evaluation beside the forward pass."""
    from mtl_jax import evaluation as evaluating
    from mtl_jax import parallel
    from mtl_jax.commands import assembly
    from mtl_jax.configs import from_workdir
    from mtl_jax.runs.workdir import Workdir

    where, config = Workdir(flags.workdir), from_workdir.get_config(flags.workdir)
    parts, mesh = assembly.trained(config, where), parallel.make_mesh()
    builder, _ = assembly.dataset(config)
    stream = assembly.eval_stream(builder, config, parts)
    variables, _ = assembly.variables(config, where, parts)
    variables = jax.device_put(variables, parallel.replicated(mesh))
    images = [batch["image"] for batch in stream.batches()]
    predict, evaluator = jax.jit(parts.predict), evaluating.Evaluator(parts, mesh)
    yield from _beside(
        "evaluation",
        lambda: [jax.block_until_ready(predict(variables, image)) for image in images],
        lambda: evaluator(variables, stream.batches()),
        stream.num_examples,
        flags.rounds,
    )


def photographs(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Prediction of photographs beside the bare network."""
    yield from _predicted(flags, "photographs", _write_photographs)


def video(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Prediction of a video beside the bare network."""
    yield from _predicted(flags, "video", _write_video)


def _write_photographs(folder: Path, images: list[np.ndarray]) -> list[Path]:
    files = [folder / f"{number:04d}.jpg" for number in range(len(images))]
    for file, image in zip(files, images):
        Image.fromarray(image).save(file, quality=90)
    return files


def _write_video(folder: Path, images: list[np.ndarray]) -> list[Path]:
    from fractions import Fraction

    from mtl_jax.prediction import videos

    rate = Fraction(25)
    with videos.VideoWriter(folder / "video.mp4", rate, 1 / rate) as writer:
        for number, image in enumerate(images):
            writer.write(image, number / rate)
    return [folder / "video.mp4"]


def _predicted(
    flags: argparse.Namespace, what: str, write: Callable[[Path, list[np.ndarray]], list[Path]]
) -> Iterator[dict[str, Any]]:
    import mtl_jax
    from mtl_jax import prediction
    from mtl_jax.prediction import network

    model, images = mtl_jax.load(flags.workdir), _images(flags)
    padded = [network.pad(i, model.settings.sizes.padded(i.shape[:2]))[None] for i in images]
    with tempfile.TemporaryDirectory() as folder:
        files = write(Path(folder), images)

        def predict():
            output = Path(folder) / f"predicted_{time.monotonic_ns()}"
            prediction.predict_files(
                model.raw, model.tasks, files, output, model.settings, report=lambda _: None
            )

        yield from _beside(
            what,
            lambda: [jax.block_until_ready(model.raw(image)) for image in padded],
            predict,
            len(images),
            flags.rounds,
        )


def _images(flags: argparse.Namespace) -> list[np.ndarray]:
    """Images of the evaluation's split, enlarged."""
    from mtl_jax.commands import assembly
    from mtl_jax.configs import from_workdir
    from mtl_jax.runs.workdir import Workdir

    config = from_workdir.get_config(flags.workdir)
    builder, _ = assembly.dataset(config)
    stream = assembly.eval_stream(builder, config, assembly.trained(config, Workdir(flags.workdir)))
    height, width = (int(side) for side in flags.size.split("x"))
    found = []
    for batch in stream.batches():
        for image in batch["image"]:
            found.append(np.asarray(Image.fromarray(image).resize((width, height))))
            if len(found) == flags.images:
                return found
    return found


def _beside(
    what: str, bare: Callable[[], Any], whole: Callable[[], Any], images: int, rounds: int
) -> Iterator[dict[str, Any]]:
    """Rates of both in turn; the first time of each compiles."""
    whole()
    for number in range(rounds):
        rates = {}
        for name, action in [("network alone", bare), (what, whole)][:: (-1) ** number]:
            begun = time.perf_counter()
            action()
            rates[name] = images / (time.perf_counter() - begun)
        yield {"use": what, "network alone images/s": rates["network alone"]} | {
            "images/s": rates[what],
            "ratio": rates[what] / rates["network alone"],
        }


def report(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The report of many runs."""
    from mtl_jax.reporting import report as reporting

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"run_{number:02d}" for number in range(flags.runs)]
        for path in paths:
            shutil.copytree(flags.workdir, path, ignore=shutil.ignore_patterns("checkpoints"))
        for _ in range(flags.rounds):
            begun, processor = time.perf_counter(), time.process_time()
            reporting.write(paths, Path(folder) / "report")
            yield {
                "report of runs": flags.runs,
                "seconds": time.perf_counter() - begun,
                "processor seconds": time.process_time() - processor,
            }


def main() -> None:
    """Prints a line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True, help="of a trained run")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--config", default="branched", help="that is started")
    parser.add_argument("--cache", default="", help="compiled programs of an earlier start")
    parser.add_argument("--size", default="480x640", help="of photographs and frames")
    parser.add_argument("--images", type=int, default=200, help="photographs, and frames")
    parser.add_argument("--runs", type=int, default=70, help="in the report")
    flags = parser.parse_args()
    measures = {name: globals()[name] for name in PARTS}
    for name in flags.parts.split(","):
        if name not in measures:
            parser.error(f"--parts: there is no {name}; expected {', '.join(PARTS)}.")
        for row in measures[name](flags):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
