# SPDX-License-Identifier: Apache-2.0
"""Time of a program layer by layer, as the performance model predicts it from the program's instructions."""

from dataclasses import dataclass

from golden.spec.heads import WINDOWS
from golden.spec.program.image import Image
from host.performance.timeline import predict


@dataclass
class Layer:
    """One layer of a program. ``kind``: ``block``, ``experts``, ``head`` or ``other``."""

    name: str
    kind: str
    cycles: float = 0.0
    macs: int = 0
    bytes: int = 0


def layers_of(image: Image, program: str) -> list[Layer]:
    """Layers in the order in which they end. An instruction's cycles run from the latest end before it to its own, so
    that those of all layers add up to the whole job although units overlap. Experts are taken to share the tokens
    evenly.
    """
    symbols, found, last = image.symbols[program], dict[str, Layer](), 0.0
    for symbol in symbols:
        name = _layer_of(symbol.name)
        layer = found.setdefault(name, Layer(name, _kind(name, image)))
        layer.macs += symbol.macs
        layer.bytes += symbol.bytes
    order: dict[str, Layer] = {}
    for span in sorted(predict(image, program), key=lambda span: span.end):
        layer = found[_layer_of(symbols[span.index].name)]
        layer.cycles += max(0.0, span.end - last)
        last = max(last, span.end)
        order[layer.name] = order.pop(layer.name, layer)
    return list(order.values())


def _layer_of(symbol: str) -> str:
    """Name of the layer of an instruction: a block, a convolution of a head, what comes before and after. The last
    convolutions of a head work tile by tile, so they are one layer.

    >>> [_layer_of(name) for name in ("blocks.3.attn.q", "heads.depth.conv_1.2", "heads.depth.conv_4", "patch_embed")]
    ['block 3', 'depth conv 1', 'depth last convs', 'embedding']
    """
    parts = symbol.split(".")
    if parts[0] == "blocks":
        return f"block {parts[1]}"
    if parts[0] == "heads":
        step, _, number = (parts[2] if len(parts) > 2 else "").partition("_")
        last = step not in ("norm", "conv", "up") or number.isdecimal() and int(number) >= WINDOWS - 1 - (step == "up")
        return f"{parts[1]} last convs" if last else f"{parts[1]} conv {number or 0}"
    return "embedding" if parts[0] in ("begin", "pos_embed", "patches", "patch_embed") else "output"


def _kind(name: str, image: Image) -> str:
    word, _, number = name.partition(" ")
    if word == "block":
        return "experts" if int(number) in image.model.moe_layers else "block"
    return "head" if number else "other"
