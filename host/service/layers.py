# SPDX-License-Identifier: Apache-2.0
"""Time of a program layer by layer, as the performance model predicts it from the program's instructions."""

from dataclasses import dataclass

from golden.spec.heads import WINDOWS
from golden.spec.program.image import Image
from host.performance.spans import Span
from host.performance.timeline import predict

ARRAY = ("LINEAR", "ATTENTION")
"""Instructions that the array executes."""


@dataclass
class Layer:
    """One layer of a program. ``kind``: ``block``, ``experts``, ``head`` or ``other``."""

    name: str
    kind: str
    cycles: float = 0.0
    macs: int = 0
    bytes: int = 0


def layers_of(image: Image, program: str) -> list[Layer]:
    """Layers in the order in which they end. While the array works, a cycle counts for the layer that it works for,
    else for the one whose instruction ends first: so the cycles of all layers add up to the whole job, although units
    overlap. Experts are taken to share the tokens evenly.
    """
    symbols, found = image.symbols[program], dict[str, Layer]()
    for symbol in symbols:
        name = _layer_of(symbol.name)
        layer = found.setdefault(name, Layer(name, _kind(name, image)))
        layer.macs += symbol.macs
        layer.bytes += symbol.bytes
    spans, now = predict(image, program), 0.0
    array = sorted((span for span in spans if symbols[span.index].kind in ARRAY), key=lambda span: span.start)
    others = sorted((span for span in spans if symbols[span.index].kind not in ARRAY), key=lambda span: span.end)
    order: dict[str, Layer] = {}

    def count(span: Span, until: float) -> None:
        nonlocal now
        name = _layer_of(symbols[span.index].name)
        order[name] = order.pop(name, found[name])
        order[name].cycles += max(0.0, until - now)
        now = max(now, until)
    for span in array:
        while others and now < span.start and (others[0].end <= span.start or others[0].start < span.start):
            count(others[0], min(others[0].end, span.start))
            if others[0].end <= span.start:
                others.pop(0)
        count(span, span.end)
    for span in others:
        count(span, span.end)
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
