"""odsF, oisF and AP of the images of an evaluation, worked out by processes beside it.

`mtl_jax.metrics.boundaries` has the protocols. An image of 375 × 500 takes about 10 s of one core,
so this is for the end of a project and not for every evaluation of a training.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mtl_jax.metrics import boundaries
from mtl_jax.metrics.thinning import thin

TRUTHS = ("lines", "sides")


class EdgeScorer:
    """Collects the edge maps of a split, image by image."""

    def __init__(
        self,
        key: str,
        truth: str,
        *,
        max_distance: float,
        protocols: Sequence[str],
        workers: int,
    ):
        """Has seen nothing yet.

        Args:
          key: of the truth in a batch, float [H, W], −1 beyond the frame.
          truth: 'lines': its pixels of at least 0.5, thinned; 'sides': the thinned boundaries
            between its values.
          max_distance: see `boundaries.MAX_DISTANCE`.
          protocols: names in `boundaries.PROTOCOLS`.
          workers: processes, for all protocols together.

        Raises:
          ValueError: no such protocol, or no such truth.
        """
        for what, name, known in [
            *(("protocol", protocol, boundaries.PROTOCOLS) for protocol in protocols),
            ("truth", truth, TRUTHS),
        ]:
            if name not in known:
                raise ValueError(
                    f"The edge {what} {name!r} is unknown; expected one of {', '.join(known)}."
                )
        self.key, self._truth, self._max_distance = key, truth, max_distance
        self._rules = {name: boundaries.PROTOCOLS[name] for name in protocols}
        # Of the first image by every protocol, then of the second.
        self._counts: list[np.ndarray] = []
        self._pool = boundaries.Pool(workers)

    def add(self, row: Mapping[str, np.ndarray], value: np.ndarray) -> None:
        """Takes one image; one of which nothing is known is left out.

        Args:
          row: of the batch, {key: array}.
          value: [H, W] float32, the probability of an edge.
        """
        known = row[self.key] != -1.0
        if not known.any():
            return
        frame = _frame(known)
        known, labels = known[frame], row[self.key][frame]
        if self._truth == "lines":
            true = thin((labels >= 0.5) & known)
        else:
            true = boundaries.true_edges(labels) & known
        # What the benchmark's files hold; where nothing is known nothing is said.
        image = np.where(known, np.float32(255) * value[frame], 0).astype(np.uint8)
        for rules in self._rules.values():
            self._counts += self._pool.add(image, true, self._max_distance, rules)

    @property
    def done(self) -> int:
        """The number of images that the processes are through with."""
        return len(self._counts) // len(self._rules)

    def finish(self, progress: Callable[[], None] = lambda: None) -> dict[str, float]:
        """The figures, once every image was added.

        Args:
          progress: called whenever a process is through with an image by one of the protocols.

        Returns:
          `odsF`, `oisF`, `AP`, `ods_threshold`, `ods_precision` and `ods_recall` by InvPT's
          protocol, followed by `_survey` or `_mtdp` by those, and `scored_images`; nothing where
          every image was left out.
        """
        for each in self._pool.rest():
            self._counts.append(each)
            progress()
        if not self._counts:
            return {}
        found = {"scored_images": float(self.done)}
        for i, (name, rules) in enumerate(self._rules.items()):
            suffix = "" if name == "invpt" else f"_{name}"
            figures = boundaries.summary(self._counts[i :: len(self._rules)], rules)
            found |= {f"{figure}{suffix}": value for figure, value in figures.items()}
        return found

    def close(self) -> None:
        """Ends the processes, whatever is left to do."""
        self._pool.close()


def _frame(known: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the least rectangle with all that is known: without padding."""
    return tuple(
        slice(int(where[0]), int(where[-1]) + 1)
        for where in (np.flatnonzero(known.any(axis=1 - axis)) for axis in (0, 1))
    )
