"""Networks of this project in plain PyTorch, with as many parameters; they need PyTorch alone."""

import torch
import torch.nn.functional as F
from encoders import BasicBlock, Bottleneck, EfficientNetLite0, ResNet, cbr, resized
from torch import nn
from vit_dpt import ViTDPT


class ASPP(nn.Module):
    """1×1, three dilated 3×3 and the pooled branch, side by side."""

    def __init__(self, inputs, channels=256, rates=(3, 6, 9)):
        super().__init__()
        branches = [cbr(inputs, channels, 1), *(cbr(inputs, channels, 3, 1, r) for r in rates)]
        self.branches = nn.ModuleList(branches)
        self.pooled = cbr(inputs, channels, 1)
        self.project = cbr(5 * channels, channels, 1)

    def forward(self, x):
        found = [branch(x) for branch in self.branches]
        pooled = self.pooled(x.mean((2, 3), keepdim=True))
        return self.project(torch.cat([*found, pooled.expand_as(found[0])], 1))


class Branched(nn.Module):
    """A dilated ResNet, and for each task an ASPP and a decoder with a skip."""

    def __init__(self, outputs, encoder):
        super().__init__()
        self.encoder = encoder
        skip = 64 * type(encoder.stages[0][0]).expansion
        self.aspp = nn.ModuleList(ASPP(encoder.channels) for _ in outputs)
        self.skip = nn.ModuleList(cbr(skip, 48, 1) for _ in outputs)
        self.conv = nn.ModuleList(
            nn.Sequential(cbr(304, 256), cbr(256, 256), nn.Conv2d(256, n, 1)) for n in outputs
        )

    def forward(self, image):
        skip, *_, last = self.encoder(image)
        found = []
        for aspp, reduce, conv in zip(self.aspp, self.skip, self.conv):
            early = reduce(skip)
            x = conv(torch.cat([resized(aspp(last), early), early], 1))
            found.append(resized(x, image))
        return found


class FCN(nn.Module):
    """FCN-32s: scores at stride 32, and one transposed convolution."""

    def __init__(self, outputs):
        super().__init__()
        self.encoder = ResNet(BasicBlock, (2, 2, 2, 2))
        self.score = nn.ModuleList(nn.Conv2d(512, n, 1) for n in outputs)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(n, n, 64, 32, padding=16, bias=False) for n in outputs
        )

    def forward(self, image):
        last = self.encoder(image)[-1]
        return [up(score(last)) for score, up in zip(self.score, self.up)]


class TopDown(nn.Module):
    """EfficientNet-Lite0, and for each task a top-down decoder."""

    def __init__(self, outputs, channels=64):
        super().__init__()
        self.encoder = EfficientNetLite0()

        def lateral(inputs):
            conv = nn.Conv2d(inputs, channels, 1, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(channels))

        self.laterals = nn.ModuleList(
            nn.ModuleList(lateral(n) for n in (24, 40, 112, 320)) for _ in outputs
        )
        self.convs = nn.ModuleList(
            nn.ModuleList(cbr(channels, channels) for _ in range(4)) for _ in outputs
        )
        self.predict = nn.ModuleList(nn.Conv2d(channels, n, 1) for n in outputs)

    def forward(self, image):
        features, found = self.encoder(image), []
        for laterals, convs, predict in zip(self.laterals, self.convs, self.predict):
            x = None
            for index in (3, 2, 1, 0):
                y = laterals[index](features[index])
                x = convs[index](F.relu(y if x is None else y + resized(x, y)))
            found.append(resized(predict(x), image))
        return found


def _activated(inputs, momentum=0.01):
    """BatchNorm ─► ReLU, before the convolution that follows."""
    return nn.Sequential(nn.BatchNorm2d(inputs, momentum=momentum), nn.ReLU())


class UNet(nn.Module):
    """One pre-activated U-Net of `StackedUNet`."""

    def __init__(self, inputs, width, outputs, levels, dilation):
        super().__init__()
        self.activate = _activated(inputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None
        self.reduce = nn.Conv2d(inputs, width, 1)
        down, up = [], []
        for level in range(levels):
            rate = dilation * 2**level
            one = nn.Conv2d(width, width, 3, 1 if rate else 2, rate or 1, rate or 1)
            two = nn.Conv2d(width, width, 3, 1, 2 * rate or 1, 2 * rate or 1)
            down.append(nn.Sequential(_activated(width), one, _activated(width), two))
            entry = width if level == levels - 1 else 2 * width
            if rate:
                back = nn.ConvTranspose2d(entry, width, 3, 1, 2 * rate, dilation=2 * rate)
            else:
                back = nn.ConvTranspose2d(entry, width, 3, 2, 1, output_padding=1)
            last = nn.Conv2d(width, width, 3, 1, rate or 1, rate or 1)
            up.append(nn.ModuleList([_activated(entry), back, _activated(width), last]))
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.expand = nn.Sequential(_activated(width), nn.Conv2d(width, outputs, 1))

    def forward(self, x):
        h = self.activate(x)
        shortcut = x if self.shortcut is None else self.shortcut(h)
        h, skips = self.reduce(h), []
        for step in self.down:
            skips.append(h)
            h = step(h)
        for level in reversed(range(len(self.up))):
            enter, back, activate, last = self.up[level]
            like = skips[level]
            h = last(activate(back(enter(h))[:, :, : like.shape[2], : like.shape[3]]))
            h = torch.cat([h, like], 1) if level else h
        return self.expand(h) + shortcut


class StackedUNet(nn.Module):
    """SUNet-64 of output stride 16, and for each task a degridding head."""

    def __init__(self, outputs, width=64, blocks=(2, 4, 4, 1), pools=2):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 7, 2, 3)
        self.enter = _activated(width)
        self.residual = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            _activated(2 * width, 0.1),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
        )
        self.shortcut = nn.Conv2d(width, 2 * width, 1, 2)
        inputs, steps = 2 * width, []
        for block, count in enumerate(blocks):
            for _ in range(count):
                levels, dilation = (1 if block == 3 else 2), 2 * max(0, block - pools)
                steps.append(UNet(inputs, width, 4 * (block + 1) * width, levels, dilation))
                inputs = 4 * (block + 1) * width
            if block < pools:
                steps.append(nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False))
        self.body = nn.Sequential(*steps, _activated(inputs))
        self.heads = nn.ModuleList(
            nn.Sequential(
                *[nn.Conv2d(inputs, 512, 3, 1, 2, 2), *_activated(512)],
                *[nn.Conv2d(512, 512, 3, 1, 1), *_activated(512)],
                nn.Conv2d(512, n, 1),
            )
            for n in outputs
        )

    def forward(self, image):
        x = self.enter(self.stem(image))
        x = self.body(self.residual(x) + self.shortcut(x))
        return [resized(head(x), image, align_corners=True) for head in self.heads]


class Stage(nn.Module):
    """Convolutions with BatchNorm and ReLU; what the first and what the last of them gave."""

    def __init__(self, inputs, width, count):
        super().__init__()
        self.convs = nn.ModuleList(
            cbr(inputs if k == 0 else width, width, bias=True) for k in range(count)
        )

    def forward(self, x):
        first = None
        for conv in self.convs:
            x = conv(x)
            first = x if first is None else first
        return first, x


def _mask(inputs, width):
    return nn.Sequential(
        cbr(inputs, width, 1, bias=True),
        nn.Conv2d(width, width, 1),
        nn.BatchNorm2d(width),
        nn.Sigmoid(),
    )


class MTAN(nn.Module):
    """Attention of each task over a shared SegNet."""

    def __init__(self, outputs, widths=(64, 128, 256, 512, 512), convs=(2, 2, 3, 3, 3)):
        super().__init__()
        entries = (3, *widths[:-1])
        exits = [widths[max(k - 1, 0)] for k in range(5)]
        self.down = nn.ModuleList(Stage(*one) for one in zip(entries, widths, convs))
        self.up = nn.ModuleList(Stage(*one) for one in zip(widths, exits, convs))
        after = [*widths[1:], widths[-1]]
        self.shared_down = nn.ModuleList(cbr(a, b, bias=True) for a, b in zip(widths, after))
        before = [after[-1], *reversed(exits[1:])]  # from deep to shallow
        self.shared_up = nn.ModuleList(
            cbr(a, b, bias=True) for a, b in zip(before, reversed(exits))
        )
        seen = [2 * n if k else n for k, n in enumerate(widths)]
        self.masks_down = nn.ModuleList(
            nn.ModuleList(_mask(a, b) for a, b in zip(seen, widths)) for _ in outputs
        )
        seen = [w + e for w, e in zip(reversed(widths), reversed(exits))]
        self.masks_up = nn.ModuleList(
            nn.ModuleList(_mask(a, b) for a, b in zip(seen, reversed(exits))) for _ in outputs
        )
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(widths[0], widths[0], 3, 1, 1), nn.Conv2d(widths[0], n, 1))
            for n in outputs
        )

    def forward(self, image):
        x, encoded, decoded = image, [], []
        for stage in self.down:
            first, last = stage(x)
            x, position = F.max_pool2d(last, 2, 2, return_indices=True)
            encoded.append((first, last, position))
        for k in reversed(range(5)):
            unpooled = F.max_unpool2d(x, encoded[k][2], 2, 2, output_size=encoded[k][1].shape[2:])
            _, x = self.up[k](unpooled)
            decoded.append((unpooled, x))
        found = []
        for down, up, head in zip(self.masks_down, self.masks_up, self.heads):
            x = None
            for k, (first, last, _) in enumerate(encoded):
                mask = down[k](first if x is None else torch.cat([first, x], 1))
                x = F.max_pool2d(self.shared_down[k](mask * last), 2, 2)
            for k, (unpooled, last) in enumerate(decoded):
                x = self.shared_up[k](resized(x, last, align_corners=True))
                x = up[k](torch.cat([unpooled, x], 1)) * last
            found.append(head(x))
        return found


# name: outputs of the tasks ─► network
NETWORKS = {
    "branched_resnet34": lambda outputs: Branched(
        outputs, ResNet(BasicBlock, (3, 4, 6, 3), (False, False, True))
    ),
    "branched_resnet50": lambda outputs: Branched(
        outputs, ResNet(Bottleneck, (3, 4, 6, 3), (False, False, True))
    ),
    "stacked_unet": StackedUNet,
    "fcn32s_resnet18": FCN,
    "mtan_segnet": MTAN,
    "streets_default": TopDown,
    "vit_s_dpt": lambda outputs: ViTDPT(outputs, "S"),
    "vit_l_dpt": lambda outputs: ViTDPT(outputs, "L"),
}
