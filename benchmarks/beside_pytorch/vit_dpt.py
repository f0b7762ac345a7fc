"""A vision transformer with a DPT decoder for each task, in plain PyTorch: see `networks`."""

import torch
import torch.nn.functional as F
from torch import nn

# size: width, blocks, heads, and the blocks that the decoders read
SIZES = {"S": (384, 12, 6, (2, 5, 8, 11)), "L": (1024, 24, 16, (5, 11, 17, 23))}
_PATCH, _TABLE = 16, 14  # side of a patch; of the table of positions, in patches


class Block(nn.Module):
    """Attention and MLP, normalised before."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, count, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, count, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(attended.transpose(1, 2).reshape(batch, count, width))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    """(map [B, C, h, w], class token [B, C]) after each of four blocks."""

    def __init__(self, size):
        super().__init__()
        width, depth, heads, self.taps = SIZES[size]
        self.patch_embed = nn.Conv2d(3, width, _PATCH, _PATCH)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + _TABLE**2, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, 1e-6)  # of heads other than DPT
        self.width = width

    def forward(self, image):
        x = self.patch_embed(image)
        grid = x.shape[2:]
        table = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (_TABLE, _TABLE))
        x = x + F.interpolate(table, grid, mode="bicubic", antialias=True)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x, found = torch.cat([first, x.flatten(2).transpose(1, 2)], 1), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taps:
                found.append((x[:, 1:].transpose(1, 2).unflatten(2, grid), x[:, 0]))
        return found


class Reassemble(nn.Module):
    """One block's tokens as a map at 4, 2, 1 or half times their grid."""

    def __init__(self, width, level, channels):
        super().__init__()
        inner = width // (8, 4, 2, 1)[level]
        self.readout = nn.Linear(2 * width, width)
        self.project = nn.Conv2d(width, inner, 1)
        self.resize = (
            nn.ConvTranspose2d(inner, inner, 4, 4),
            nn.ConvTranspose2d(inner, inner, 2, 2),
            nn.Identity(),
            nn.Conv2d(inner, inner, 3, 2, 1),
        )[level]
        self.conv = nn.Conv2d(inner, channels, 3, 1, 1, bias=False)

    def forward(self, patches, token):
        x = torch.cat([patches, token[..., None, None].expand_as(patches)], 1)
        x = F.gelu(self.readout(x.movedim(1, 3))).movedim(3, 1)
        return self.conv(self.resize(self.project(x)))


class ResidualUnit(nn.Module):
    """Two activated convolutions with BatchNorm, and a shortcut."""

    def __init__(self, channels):
        super().__init__()
        steps = [nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1, bias=False)]
        steps += [nn.BatchNorm2d(channels), nn.ReLU()]
        steps += [nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)]
        self.steps = nn.Sequential(*steps)

    def forward(self, x):
        return x + self.steps(x)


class DPT(nn.Module):
    """The decoder of isl-org's segmentation networks."""

    def __init__(self, width, outputs, channels=256):
        super().__init__()
        self.maps = nn.ModuleList(Reassemble(width, level, channels) for level in range(4))
        self.finer = nn.ModuleList(ResidualUnit(channels) for _ in range(3))
        self.fused = nn.ModuleList(ResidualUnit(channels) for _ in range(4))
        self.project = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(4))
        self.head = nn.Sequential(
            *[nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)],
            *[nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(channels, outputs, 1)],
        )

    def forward(self, tokens):
        maps = [step(*token) for step, token in zip(self.maps, tokens)]
        x = maps[3]
        for index in range(4):
            if index:
                x = x + self.finer[index - 1](maps[3 - index])
            x = self.project[index](_doubled(self.fused[index](x)))
        return _doubled(self.head(x))


def _doubled(x):
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class ViTDPT(nn.Module):
    """For images whose sides are multiples of 32."""

    def __init__(self, outputs, size):
        super().__init__()
        self.encoder = ViT(size)
        self.decoders = nn.ModuleList(DPT(self.encoder.width, n) for n in outputs)

    def forward(self, image):
        tokens = self.encoder(image)
        return [decoder(tokens) for decoder in self.decoders]
