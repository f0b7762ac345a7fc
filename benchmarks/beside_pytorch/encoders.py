"""The encoders of `networks` in plain PyTorch, and the blocks that they are made of."""

import torch.nn.functional as F
from torch import nn


def cbr(inputs, outputs, kernel=3, stride=1, dilation=1, *, bias=False, act=nn.ReLU):
    """Convolution ─► BatchNorm ─► activation."""
    padding = dilation * (kernel - 1) // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), act(inplace=True))


def resized(x, like, align_corners=False):
    """Bilinear, to the height and width of another map."""
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=align_corners)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs, width, stride, first, dilation):
        super().__init__()
        self.conv1 = cbr(inputs, width, 3, stride, first)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(inputs, width, stride)

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(self.conv1(x))) + self.shortcut(x), inplace=True)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions and a shortcut."""

    expansion = 4

    def __init__(self, inputs, width, stride, first, dilation):
        super().__init__()
        del dilation
        self.conv1 = cbr(inputs, width, 1)
        self.conv2 = cbr(width, width, 3, stride, first)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shortcut = _shortcut(inputs, 4 * width, stride)

    def forward(self, x):
        y = self.bn3(self.conv3(self.conv2(self.conv1(x))))
        return F.relu(y + self.shortcut(x), inplace=True)


def _shortcut(inputs, outputs, stride):
    if inputs == outputs and stride == 1:
        return nn.Identity()
    conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """Stages of strides 4, 8, 16 and 32, where a flag dilates instead."""

    def __init__(self, block, repeats, flags=(False, False, False), ceil_mode=False):
        super().__init__()
        self.stem = cbr(3, 64, 7, 2)
        self.pool = nn.MaxPool2d(3, 2, 0 if ceil_mode else 1, ceil_mode=ceil_mode)
        inputs, dilation, stages = 64, 1, []
        for width, count, flag in zip((64, 128, 256, 512), repeats, (None, *flags)):
            stride, first = (1 if flag is None else 2), dilation
            if flag:
                stride, dilation = 1, 2 * dilation
            blocks = []
            for index in range(count):
                start = index == 0
                blocks.append(
                    block(
                        inputs,
                        width,
                        stride if start else 1,
                        first if start else dilation,
                        dilation,
                    )
                )
                inputs = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages, self.channels = nn.ModuleList(stages), inputs

    def forward(self, x):
        x, found = self.pool(self.stem(x)), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class SamePad(nn.Module):
    """TensorFlow's SAME: no more zeros than needed, the larger half below and on the right."""

    def __init__(self, kernel, stride):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x):
        sides = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
            sides += [total // 2, total - total // 2]
        return F.pad(x, sides) if any(sides) else x


class InvertedResidual(nn.Module):
    """1×1 expansion ─► depthwise ─► 1×1 projection."""

    def __init__(self, inputs, outputs, kernel, stride, expansion):
        super().__init__()
        width = expansion * inputs
        steps = [_lite_cbr(inputs, width, 1)] if expansion != 1 else []
        steps += [SamePad(kernel, stride), _lite_cbr(width, width, kernel, stride, groups=width)]
        steps += [nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs, 1e-3, 0.01)]
        self.steps, self.adds = nn.Sequential(*steps), stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.steps(x) if self.adds else self.steps(x)


def _lite_cbr(inputs, outputs, kernel, stride=1, groups=1):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, 1e-3, 0.01), nn.ReLU6(inplace=True))


class EfficientNetLite0(nn.Module):
    """Features of strides 4, 8, 16 and 32: 24, 40, 112 and 320 channels."""

    stages = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(SamePad(3, 2), _lite_cbr(3, 32, 3, 2))
        inputs, blocks = 32, []
        for repeats, kernel, stride, expansion, outputs in self.stages:
            stage = []
            for index in range(repeats):
                step = stride if index == 0 else 1
                stage.append(InvertedResidual(inputs, outputs, kernel, step, expansion))
                inputs = outputs
            blocks.append(nn.Sequential(*stage))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, image):
        x, found = self.stem(image), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in (1, 2, 4, 6):
                found.append(x)
        return found
