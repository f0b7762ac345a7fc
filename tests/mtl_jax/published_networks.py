"""Names and shapes of published classification networks, from their papers' tables."""

import numpy as np

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
VGG16 = ((0, 1), (2, 1), (5, 2), (7, 2), (10, 4), (12, 4), (14, 4), *((i, 8) for i in (17, 19, 21)))
ALEXNET = ((0, 64, 11), (3, 192, 5), (6, 384, 3), (8, 256, 3), (10, 256, 3))


def _norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (channels,) for leaf in leaves} | {f"{name}.num_batches_tracked": ()}


def resnet(depth: int, width: int = 64, classes: int = 1000) -> dict[str, tuple[int, ...]]:
    """{name: shape} of ResNet-18/34 (basic blocks) and ResNet-50/101 (bottlenecks)."""
    shapes = {"conv1.weight": (width, 3, 7, 7)} | _norm("bn1", width)
    inputs, expansion = width, 1 if depth < 50 else 4
    for stage, blocks in enumerate(BLOCKS[depth]):
        planes = width * 2**stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            widths = (planes, planes) if depth < 50 else (planes, planes, 4 * planes)
            kernels = (3, 3) if depth < 50 else (1, 3, 1)
            channels = inputs
            for index, (width_, kernel) in enumerate(zip(widths, kernels), start=1):
                shapes[f"{name}.conv{index}.weight"] = (width_, channels, kernel, kernel)
                shapes |= _norm(f"{name}.bn{index}", width_)
                channels = width_
            if block == 0 and (stage > 0 or expansion > 1):
                shapes[f"{name}.downsample.0.weight"] = (channels, inputs, 1, 1)
                shapes |= _norm(f"{name}.downsample.1", channels)
            inputs = channels
    return shapes | {"fc.weight": (classes, inputs), "fc.bias": (classes,)}


def _plain(convolutions, hidden: int, side: int, places, classes: int):
    shapes, inputs = {}, 3
    for place, outputs, kernel in convolutions:
        shapes[f"features.{place}.weight"] = (outputs, inputs, kernel, kernel)
        shapes[f"features.{place}.bias"] = (outputs,)
        inputs = outputs
    inputs *= side**2
    for place, outputs in zip(places, (hidden, hidden, classes)):
        shapes[f"classifier.{place}.weight"] = (outputs, inputs)
        shapes[f"classifier.{place}.bias"] = (outputs,)
        inputs = outputs
    return shapes


def vgg16(width: int = 64, hidden: int = 4096, classes: int = 1000):
    """{name: shape} of VGG-16 without batch normalisation."""
    factors = (*VGG16, (24, 8), (26, 8), (28, 8))
    convolutions = [(place, factor * width, 3) for place, factor in factors]
    return _plain(convolutions, hidden, 7, (0, 3, 6), classes)


def alexnet(width: int = 64, hidden: int = 4096, classes: int = 1000):
    """{name: shape} of AlexNet."""
    convolutions = [(place, outputs * width // 64, kernel) for place, outputs, kernel in ALEXNET]
    return _plain(convolutions, hidden, 6, (1, 4, 6), classes)


# repeats, kernel, expansion and channels of the blocks of EfficientNet-Lite0, 1 and 2
LITE = {
    variant: tuple(zip(repeats, (3, 3, 5, 3, 5, 5, 3), (1, *[6] * 6), channels))
    for variant, repeats, channels in (
        (0, (1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320)),
        (1, (1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320)),
        (2, (1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352)),
    )
}


def efficientnet_lite(stages=LITE[0], stem: int = 32, head: int = 1280, classes: int = 1000):
    """{name: shape} of an EfficientNet-Lite, as the PyTorch packages name them."""
    shapes = {"_conv_stem.weight": (stem, 3, 3, 3)} | _norm("_bn0", stem)
    inputs, index = stem, 0
    for repeats, kernel, expansion, outputs in stages:
        for _ in range(repeats):
            name, hidden = f"_blocks.{index}", expansion * inputs
            if expansion > 1:
                shapes[f"{name}._expand_conv.weight"] = (hidden, inputs, 1, 1)
                shapes |= _norm(f"{name}._bn0", hidden)
            shapes[f"{name}._depthwise_conv.weight"] = (hidden, 1, kernel, kernel)
            shapes |= _norm(f"{name}._bn1", hidden)
            shapes[f"{name}._project_conv.weight"] = (outputs, hidden, 1, 1)
            shapes |= _norm(f"{name}._bn2", outputs)
            inputs, index = outputs, index + 1
    shapes |= {"_conv_head.weight": (head, inputs, 1, 1)} | _norm("_bn1", head)
    return shapes | {"_fc.weight": (classes, head), "_fc.bias": (classes,)}


def arrays(shapes: dict[str, tuple[int, ...]], dtype=np.float32) -> dict[str, np.ndarray]:
    """Random numbers of these shapes; counters are integers."""
    rng = np.random.default_rng(0)
    return {
        name: np.asarray(rng.standard_normal(shape), dtype) if shape else np.array(7, np.int64)
        for name, shape in shapes.items()
    }


def timm(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays as timm names and shapes them; VGG's hidden layers are convolutions there."""
    renamed = {}
    for name, array in found.items():
        for place, new in (("0", "pre_logits.fc1"), ("3", "pre_logits.fc2"), ("6", "head.fc")):
            name = name.replace(f"classifier.{place}.", f"{new}.")
        if name == "pre_logits.fc1.weight":
            array = array.reshape(len(array), -1, 7, 7)
        elif name == "pre_logits.fc2.weight":
            array = array[:, :, None, None]
        renamed[name] = array
    return renamed
