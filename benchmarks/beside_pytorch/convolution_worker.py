"""The PyTorch side of `convolutions`: computes the part that each line names, and says how long.

It imports nothing of this project.
"""

import json
import sys
import time

import torch


def main() -> None:
    """Serves parts until standard input ends."""
    given = json.loads(sys.argv[1])
    torch.manual_seed(0)
    size, stride, dilation = given["size"], given["stride"], given["dilation"]
    padding = dilation * (size - 1) // 2
    shape = (given["batch"], given["inputs"], given["height"], given["width"])
    x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(given["outputs"], given["inputs"], size, size)
    kernel = kernel.contiguous(memory_format=torch.channels_last)

    def forward():
        return torch.nn.functional.conv2d(x, kernel, None, stride, padding, dilation)

    gradient = torch.randn_like(forward())

    def backward(*wanted):
        return torch.ops.aten.convolution_backward(
            gradient,
            x,
            kernel,
            None,
            [stride] * 2,
            [padding] * 2,
            [dilation] * 2,
            False,
            [0, 0],
            1,
            [*wanted, False],
        )

    parts = {
        "forward": forward,
        "image": lambda: backward(True, False),
        "kernel": lambda: backward(False, True),
    }
    print(json.dumps({"torch": torch.__version__}), flush=True)
    times = 5
    for line in sys.stdin:
        part = parts[line.strip()]
        with torch.no_grad():
            part()
            start, processor = time.perf_counter(), time.process_time()
            for _ in range(times):
                part()
            took = time.perf_counter() - start, time.process_time() - processor
        print(json.dumps({"wall": took[0] / times, "processor": took[1] / times}), flush=True)


if __name__ == "__main__":
    main()
