"""The side of `augmentation` that has albumentations: it needs PyTorch and nothing of this project.

Reads a number of seconds for each measurement that is asked for, and prints a line of JSON.
"""

import json
import os
import sys
import time
import zlib
from pathlib import Path

import albumentations
import cv2
import numpy as np
import torch

_TICKS = os.sysconf("SC_CLK_TCK")


class Images(torch.utils.data.Dataset):
    """The files of a folder, over and over, each time changed in another way."""

    def __init__(self, folder, size, form):
        """Opens nothing yet."""
        self._folder, self._size = Path(folder), size
        self._count = len(list(self._folder.glob("*.image")))
        self._change = changes(size, form)

    def __len__(self):
        return 2**31

    def __getitem__(self, index):
        def read(key):
            return (self._folder / f"{index % self._count}.{key}").read_bytes()

        image = cv2.imdecode(np.frombuffer(read("image"), np.uint8), cv2.IMREAD_COLOR_RGB)
        classes = cv2.imdecode(np.frombuffer(read("semseg"), np.uint8), cv2.IMREAD_UNCHANGED)
        depth = np.frombuffer(zlib.decompress(read("depth")), np.float32)
        depth = depth.reshape(self._size)
        changed = self._change(image=image, mask=classes, depth=depth)
        return {key: torch.from_numpy(value) for key, value in changed.items()}


def changes(size, form):
    """What report D does to an example."""
    height, width = size
    flip = albumentations.HorizontalFlip(p=0.5)
    if form == "Affine":
        steps = [
            albumentations.Affine(
                scale=(0.5, 2.0),
                rotate=(-10, 10),
                translate_percent=(-0.25, 0.25),
                keep_ratio=True,
                fill_mask=255,
                p=1,
            ),
            flip,
        ]
    else:
        steps = [
            albumentations.RandomScale((-0.5, 1.0), p=1),
            albumentations.PadIfNeeded(height, width, border_mode=0, fill_mask=255, p=1),
            albumentations.RandomCrop(height, width, p=1),
            flip,
            albumentations.Rotate((-10, 10), border_mode=0, fill_mask=255, p=1),
        ]
    return albumentations.Compose(steps, additional_targets={"depth": "mask"})


def start_worker(_):
    """A worker has a core to itself."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def processor_seconds(processes) -> float:
    """Of this process and of others that run."""
    total = time.process_time()
    for process in processes:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / _TICKS  # user and system
    return total


def main() -> None:
    """Serves measurements until standard input ends."""
    given = json.loads(sys.argv[1])
    loader = torch.utils.data.DataLoader(
        Images(given["folder"], given["size"], given["form"]),
        batch_size=given["batch"],
        num_workers=given["workers"],
        worker_init_fn=start_worker,
    )
    batches = iter(loader)
    for _ in range(4):
        next(batches)
    workers = batches._workers
    about = {"albumentations": albumentations.__version__, "torch": torch.__version__}
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        seconds, images = float(line), 0
        start, processor = time.perf_counter(), processor_seconds(workers)
        while time.perf_counter() - start < seconds:
            next(batches)
            images += given["batch"]
        wall = time.perf_counter() - start
        processor = processor_seconds(workers) - processor
        print(json.dumps({"images/s": images / wall, "ms": 1e3 * processor / images}), flush=True)


if __name__ == "__main__":
    main()
