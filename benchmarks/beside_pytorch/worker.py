"""The PyTorch side: makes a step of training when it is told to, and says how long it took.

    torchenv/bin/python benchmarks/beside_pytorch/worker.py '{"network": "fcn32s_resnet18", ...}'

Reads a line for each step that is asked for, prints a line of JSON for each that is made; the first
one says how many parameters there are. The line `forget the peak` is no step. It imports nothing of
this project but its neighbours.
"""

import json
import sys
import time

import memory
import torch
import torch.nn.functional as F
from networks import NETWORKS


def losses(outputs, classes, depth):
    """Cross-entropy of the first output, absolute error of the others."""
    total = F.cross_entropy(outputs[0].float(), classes, ignore_index=255)
    for other in outputs[1:]:
        total = total + (other.float()[:, 0] - depth).abs().mean()
    return total


def main() -> None:
    """Serves steps until standard input ends."""
    given = json.loads(sys.argv[1])
    torch.manual_seed(0)
    cuda = torch.cuda.is_available() and given["device"] == "cuda"
    device = torch.device("cuda" if cuda else "cpu")
    if given.get("threads"):
        torch.set_num_threads(given["threads"])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True  # tries its algorithms, as XLA does
    form = torch.channels_last if given["channels_last"] else torch.contiguous_format
    network = NETWORKS[given["network"]](given["outputs"]).to(device, memory_format=form).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    batch, height, width = given["batch"], given["height"], given["width"]
    image = torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8).to(device)
    classes = torch.randint(0, given["outputs"][0], (batch, height, width)).to(device)
    depth = torch.rand(batch, height, width).to(device)
    forward = torch.compile(network) if given.get("compile") else network

    def step():
        x = (image.float() / 255 - 0.45) / 0.25
        x = x.contiguous(memory_format=form)
        with torch.autocast(device.type, torch.bfloat16, enabled=given["dtype"] == "bfloat16"):
            total = losses(forward(x), classes, depth)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        return total

    parameters = sum(p.numel() for p in network.parameters())
    about = {"parameters": parameters, "torch": torch.__version__, "device": device.type}
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        if line.strip() == "forget the peak":
            memory.forget_peak()
            continue
        start, processor = time.perf_counter(), time.process_time()
        loss = step().item()  # waits for the device
        took = time.perf_counter() - start, time.process_time() - processor
        if cuda:
            peak = torch.cuda.max_memory_allocated()
        else:
            peak = memory.peak()
        found = {"wall": took[0], "processor": took[1], "loss": loss, "peak": peak}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
