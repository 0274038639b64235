# SPDX-License-Identifier: Apache-2.0
"""Other networks: multiply-accumulates by kind, from published shapes, for ``host/doc/other-networks.md``."""

from collections import Counter

from golden.spec.machine import LINE, ZCU102
from host.report.instruction_set import table

LINEAR, ATTENTION, CONV, DEPTHWISE, MIXING = "linear and 1x1", "attention", "convolution", "depthwise", "own weights"
KINDS = (LINEAR, ATTENTION, CONV, DEPTHWISE, MIXING)
"""Products with common weights at each position; of queries, keys and values; of k x k windows over all channels, and
over one; with weights that each token or channel has for itself."""


def linear(positions: int, inputs: int, outputs: int) -> Counter:
    return Counter({LINEAR: positions * inputs * outputs})


def conv(positions: int, size: int, inputs: int, outputs: int) -> Counter:
    return Counter({CONV: positions * size * size * inputs * outputs})


def depthwise(positions: int, size: int, channels: int) -> Counter:
    return Counter({DEPTHWISE: positions * size * size * channels})


def total(*parts: Counter) -> Counter:
    return sum(parts, Counter())


def vit(tokens: int, dim: int, depth: int, ratio: int = 4, keys: int | None = None) -> Counter:
    """Blocks of a vision transformer, whose queries see ``keys`` tokens (all by default)."""
    block = Counter({LINEAR: (4 + 2 * ratio) * tokens * dim * dim, ATTENTION: 2 * tokens * (keys or tokens) * dim})
    return total(*[block] * depth)


def tiny_vit(dims: tuple[int, ...], depths: tuple[int, ...], windows: tuple[int, ...]) -> Counter:
    """TinyViT at 224: stem, MBConv, three stages of windowed attention with a depthwise convolution a block."""
    side, (first, *_) = 56, dims
    parts = [conv(112 * 112, 3, 3, first // 2), conv(side * side, 3, first // 2, first)]
    for _ in range(depths[0]):
        parts += [linear(side * side, first, 8 * first), depthwise(side * side, 3, 4 * first)]
    for before, dim, depth, window in zip(dims, dims[1:], depths[1:], windows[1:], strict=False):
        parts.append(linear(side * side, before, dim))
        side //= 2
        parts += [depthwise(side * side, 3, dim), linear(side * side, dim, dim)]
        parts += [vit(side * side, dim, depth, keys=window * window), *[depthwise(side * side, 3, dim)] * depth]
    return total(*parts, linear(1, dims[-1], 1000))


def fast_vit(dims: tuple[int, ...], depths: tuple[int, ...], ratio: int, attending: int, extra: bool) -> Counter:
    """MCi encoder of MobileCLIP at 256, its branches folded: the last ``attending`` stages have attention. ``extra``:
    the depthwise expansion before the projection."""
    side = 64
    parts = [conv(128 * 128, 3, 3, dims[0]), depthwise(side * side, 3, dims[0]), linear(side * side, dims[0], dims[0])]
    for i, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
        if i:
            side //= 2
            parts += [depthwise(side * side, 7, dim), linear(side * side, dim, dim)]
        ffn = total(depthwise(side * side, 7, dim), linear(side * side, dim, 2 * ratio * dim))
        if i >= len(dims) - attending:
            parts.append(depthwise(side * side, 7, dim))  # positions
            mixer = vit(side * side, dim, 1, ratio=0)
        else:
            mixer = depthwise(side * side, 3, dim)
        parts += [mixer, ffn] * depth
    return total(*parts, *([depthwise(side * side, 3, 2 * dims[-1])] if extra else []))


def mobileclip_b() -> Counter:
    """Stem of three convolutions without overlap (4, 2, 2), then ViT-B/16."""
    return total(linear(56 * 56, 48, 192), linear(28 * 28, 4 * 192, 192), linear(14 * 14, 4 * 192, 768),
                 vit(197, 768, 12))


def sparse_former(tokens: int = 49, conv_dim: int = 96, points: int = 36, focus: int = 256, cortex: int = 512,
                  repeats: int = 4, depth: int = 8) -> Counter:
    """SparseFormer-T: the first block of each width samples ``points`` of the early map and mixes them by weights that
    it makes for each token."""
    def sampling(dim: int) -> Counter:
        made = conv_dim * conv_dim + points * points
        return total(linear(tokens, dim, 2 * points + 4 + dim // 4), linear(tokens, dim // 4, made),
                     linear(tokens, points * conv_dim, dim),
                     Counter({MIXING: tokens * points * conv_dim * (conv_dim + points)}))
    return total(conv(112 * 112, 7, 3, conv_dim), *[total(vit(tokens, focus, 1), sampling(focus))] * repeats,
                 linear(tokens, focus, cortex), vit(tokens, cortex, depth), sampling(cortex), linear(1, cortex, 1000))


def hyena(patches: int = 196, dim: int = 192, depth: int = 12, order: int = 2) -> Counter:
    """DeiT-Tiny with Hyena N-D of order 2 for attention: long convolutions as sums, not by Fourier transforms."""
    block = total(linear(patches, dim, (order + 2) * dim), linear(patches, dim, 8 * dim),
                  depthwise(patches, 3, (order + 1) * dim), Counter({MIXING: order * patches * patches * dim}))
    return total(linear(patches, 768, dim), *[block] * depth)


def ahiq() -> Counter:
    """AHIQ on a pair of pictures of 224 x 224: ViT-B/8, first stage of ResNet-50, fusion, prediction."""
    large, small = 56 * 56, 28 * 28
    first, other = (total(linear(large, inputs, 64), conv(large, 3, 64, 64), linear(large, 64, 256))
                    for inputs in (64, 256))
    resnet = total(conv(112 * 112, 7, 3, 64), first, linear(large, 64, 256), other, other)
    fusion = total(conv(large, 3, 5 * 768, 18), conv(large, 3, 768, 768), conv(small, 3, 768, 512),
                   conv(small, 3, 512, 768))
    one = total(linear(small, 192, 768), vit(785, 768, 12), resnet, fusion, linear(small, 6 * 768, 256))
    return total(one, one, conv(small, 3, 768, 1024), conv(small, 3, 1024, 512), conv(small, 3, 512, 256))


def anchored(patches: int = 196, dim: int = 384, depth: int = 12) -> Counter:
    """DeiT-Small with anchored patches and positions by one depthwise convolution."""
    return total(linear(patches, 768, dim), vit(patches, dim, depth), depthwise(patches, 3, dim))


NETWORKS = {
    "TinyViT-5M": tiny_vit((64, 128, 160, 320), (2, 2, 6, 2), (7, 7, 14, 7)),
    "TinyViT-21M": tiny_vit((96, 192, 384, 576), (2, 2, 6, 2), (7, 7, 14, 7)),
    "MobileCLIP2-S0, image": fast_vit((64, 128, 256, 512), (2, 6, 10, 2), 3, 1, True),
    "MobileCLIP2-S4, image": fast_vit((128, 256, 512, 1024, 2048), (2, 12, 24, 4, 4), 4, 2, False),
    "MobileCLIP2-B, image": mobileclip_b(),
    "SparseFormer-T": sparse_former(),
    "Hyena N-D, DeiT-Tiny": hyena(),
    "AHIQ, a pair": ahiq(),
    "anchored DeiT-Small": anchored(),
}


def cycles(macs: Counter) -> tuple[int, int]:
    """Cycles of all but depthwise convolutions and own weights at the array's peak; of depthwise convolutions, were
    they run as windows over an operand row of 64 channels."""
    plain = macs[LINEAR] + macs[ATTENTION] + macs[CONV]
    return round(plain / ZCU102.macs_per_cycle), round(LINE * macs[DEPTHWISE] / ZCU102.macs_per_cycle)


def other_networks() -> str:
    """Millions of multiply-accumulates by kind, and cycles."""
    return table(["network", "all, M", *(f"{kind}, M" for kind in KINDS), "cycles without the last two",
                  "cycles of depthwise as dense windows"],
                 [[name, f"{sum(macs.values()) / 1e6:,.1f}", *(f"{macs[kind] / 1e6:,.1f}" for kind in KINDS),
                   *(f"{count:,}" for count in cycles(macs))] for name, macs in NETWORKS.items()])


if __name__ == "__main__":
    print(other_networks())
