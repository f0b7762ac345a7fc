"""The loop over all of the user's photographs and videos."""

import collections
import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tqdm

from mtl_jax import _files
from mtl_jax.pictures import figures
from mtl_jax.prediction import inputs, outputs, videos
from mtl_jax.prediction.errors import PredictionError
from mtl_jax.prediction.network import Inferer, Item, naming
from mtl_jax.prediction.settings import FIGURES, Settings
from mtl_jax.tasks import Task

_END = object()
# Of names that a file system does not take, though the one that the input comes from does.
_NAME_ERRORS = (errno.ENAMETOOLONG, errno.EILSEQ)


def predict_files(
    apply_fn: Callable[[np.ndarray], Mapping[str, jax.Array]],
    tasks: Mapping[str, Task],
    files: Sequence[Path],
    output_dir: str | os.PathLike,
    settings: Settings | None = None,
    *,
    report: Callable[[str], None] = print,
    threads: int | None = None,
) -> list[Path]:
    """Writes what is predicted of each photograph and video, at its own size.

    For a photograph, `<name>_<task>.png` is a palette PNG of class ids, a 16-bit PNG of millimetres
    and so on, as the task encodes it; `<name>_overlay.png` and `<name>_side_by_side.png` are
    figures. For a video, the figures are `.mp4`. With `settings.save_npz` there are the arrays too:
    `<name>.npz`, or `<name>_frames/<number from 0>.npz`. <name> is the file's, or more of its path
    where two files would have an output of one name. Every file is written whole or not at all.

    Args:
      apply_fn: uint8 [B, H, W, 3] ─► {task: [B, H, W, C]}. It is compiled once per padded size.
      tasks: {name: Task}.
      files: from `expand_inputs`.
      output_dir: created if need be. It must not hold one of `files`.
      settings: `Settings(**config.predict)`; by default, one whole image at a time.
      report: is told at the end where the files are and what they could not hold.
      threads: that read and, besides them, that draw and encode, while the network predicts; by
        default as many as there are cores, up to 4. They change nothing about what is written.

    Returns:
      The files written.

    Raises:
      PredictionError: the output folder cannot be used, or there is a video and nothing to read it
        with, before anything is predicted; or some files could not be read, after all others are
        done.
    """
    for kind in FIGURES["both"]:
        if kind in tasks:
            raise PredictionError(f"A task called {kind!r} would overwrite the figures.")
    settings, folder = settings or Settings(), Path(output_dir)
    for file in filter(inputs.is_video, files):
        videos.check_available(file)
        break
    outputs.prepare_folder(folder, files)
    threads = threads or min(4, os.cpu_count() or 1)
    run = _Job(Inferer(apply_fn, tasks, settings), tasks, folder, settings, threads)
    names = inputs.output_names(files, suffixes=outputs.suffixes(tasks))
    named = list(zip(files, names, strict=True))
    try:
        run.photographs([(file, name) for file, name in named if not inputs.is_video(file)])
        for file, name in named:
            if inputs.is_video(file):
                run.video(file, name)
    except KeyboardInterrupt:
        report(f"Interrupted. {len(run.written)} files are complete: {folder}")
        raise
    run.sum_up(len(files), report)
    return run.written


class _Job:
    """One call of `predict_files`.

    Attributes:
      written: the files written.
      failures: what is wrong with the files that could not be read.
      remarks: what files could not hold.
      incomplete: which videos have fewer frames than they announce.
    """

    def __init__(
        self,
        network: Inferer,
        tasks: Mapping[str, Task],
        folder: Path,
        settings: Settings,
        threads: int,
    ):
        self._network, self._tasks, self._folder = network, tasks, folder
        self._settings, self._threads = settings, threads
        self.written: list[Path] = []
        self.failures: list[str] = []
        self.remarks: list[str] = []
        self.incomplete: list[str] = []

    def photographs(self, named: Sequence[tuple[Path, str]]) -> None:
        """Predicts on photographs, given with the names of their results."""
        if not named:
            return
        with (
            tqdm.tqdm(total=len(named), unit="image", disable=None) as progress,
            self._predicted(self._read(named, progress), self._write) as predicted,
        ):
            for written, remarks, failure in predicted:
                self.written += written
                self.remarks += remarks
                self.failures += failure
                progress.update()

    def _write(self, predicted: tuple[Item, dict[str, np.ndarray]]):
        """(files written, remarks, failures) of one photograph; in any thread."""
        item, maps = predicted
        with naming(item.origin):
            contents, remarks = outputs.encode(self._tasks, item, maps, self._settings)
        written = []
        for file, data in contents.items():
            try:
                written.append(_files.write(self._folder / file, data, durable=False))
            except OSError as error:
                if error.errno not in _NAME_ERRORS:
                    raise  # a full disk, for one, stops everything
                return written, remarks, [self._no_such_name(item.origin, error)]
        return written, remarks, []

    def video(self, file: Path, name: str) -> None:
        """Predicts on a video, frame by frame."""
        try:
            with videos.VideoReader(file) as reader:
                self._video(reader, file, name)
                if reader.missing_count:
                    self.incomplete.append(
                        f"{inputs.shown(file)}: its last {reader.missing_count} of "
                        f"{reader.frame_count} frames are missing. The file may have been cut off; "
                        "all others are done."
                    )
        except PredictionError as error:
            self.failures.append(str(error))
        except OSError as error:
            if error.errno not in _NAME_ERRORS:
                raise
            self.failures.append(self._no_such_name(inputs.shown(file), error))

    def sum_up(self, count: int, report: Callable[[str], None]) -> None:
        """Says what became of `count` files. Raises PredictionError if some failed."""
        report(f"Predicted on {count - len(self.failures)} of {count} files: {self._folder}")
        if self.remarks:
            rest = len(self.remarks) - 1
            report(f"{self.remarks[0]}." + (f" Likewise {rest} more files." if rest else ""))
        for incomplete in self.incomplete:
            report(incomplete)
        if self.failures:
            raise PredictionError(
                f"{len(self.failures)} of {count} files could not be read or written; all others "
                "are done.\n" + "\n".join(f"  {failure}" for failure in self.failures)
            )

    def _no_such_name(self, origin: str, error: OSError) -> str:
        return f"{origin}: {self._folder} takes no file of such a name ({error.strerror})."

    def _video(self, reader: videos.VideoReader, file: Path, name: str) -> None:
        frames = (
            Item(f"{i:06d}", f"{inputs.shown(file)}, frame {i}", image, time)
            for i, (image, time) in enumerate(reader.frames())
        )
        paths = {kind: self._folder / f"{name}_{kind}.mp4" for kind in self._settings.figures}
        arrays = self._folder / f"{name}_frames"
        with contextlib.ExitStack() as stack:
            writers = {
                kind: stack.enter_context(videos.VideoWriter(path, reader.rate, reader.time_base))
                for kind, path in paths.items()
            }
            total = reader.frame_count or None
            progress = tqdm.tqdm(total=total, unit="frame", desc=file.name, disable=None)
            stack.enter_context(progress)
            for item, drawn, npz in stack.enter_context(self._predicted(frames, self._draw)):
                for kind, writer in writers.items():
                    with naming(item.origin):
                        writer.write(drawn[kind], item.time)
                if npz is not None:
                    arrays.mkdir(exist_ok=True)
                    self.written.append(
                        _files.write(arrays / f"{item.name}.npz", npz, durable=False)
                    )
                progress.update()
        self.written += paths.values()

    def _draw(self, predicted: tuple[Item, dict[str, np.ndarray]]):
        """(frame, {kind: figure}, .npz or None); in any thread."""
        item, maps = predicted
        with naming(item.origin):
            drawn = {
                kind: figures.draw(
                    kind,
                    item.image,
                    maps,
                    self._tasks,
                    width=self._settings.figure_width,
                    whole_legends=True,
                )
                for kind in self._settings.figures
            }
            npz = outputs.encode_npz(maps) if self._settings.save_npz else None
        return item, drawn, npz

    def _read(self, named: Sequence[tuple[Path, str]], progress: tqdm.tqdm) -> Iterator[Item]:
        def read(file_and_name):
            file, name = file_and_name
            try:
                return Item(name, inputs.shown(file), inputs.read_image(file))
            except PredictionError as error:
                return str(error)

        for found in in_order(read, named, self._threads):
            if isinstance(found, Item):
                yield found
            else:
                self.failures.append(found)
                progress.update()

    @contextlib.contextmanager
    def _predicted(self, items: Iterator[Item], function: Callable[[Any], Any]):
        """What `function` makes of items with their maps.

        Reading, the network, `function` and what is done with its results overlap; the order stays.
        """
        with (
            contextlib.closing(items),
            contextlib.closing(ahead(items, self._settings.batch_size)) as read,
            contextlib.closing(ahead(self._network.run(read), 1)) as predicted,
            contextlib.closing(in_order(function, predicted, self._threads)) as done,
        ):
            yield done


def in_order(function: Callable[[Any], Any], items: Iterable[Any], threads: int) -> Iterator[Any]:
    """Yields `function` of each of `items`, in order; so many threads work on the next ones.

    `items` are drawn in the thread of the caller, when there is room for another one. An error of
    `function` is raised when its turn comes.
    """
    waiting: collections.deque[futures.Future] = collections.deque()
    with futures.ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def ahead(items: Iterable[Any], count: int) -> Iterator[Any]:
    """Yields `items` in order; a thread makes up to `count` more of them meanwhile."""
    iterator = iter(items)
    make = functools.partial(next, iterator, _END)
    with futures.ThreadPoolExecutor(1) as pool:
        waiting = collections.deque(pool.submit(make) for _ in range(count))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(pool.submit(make))
                yield item
        finally:
            pool.shutdown(cancel_futures=True)
