# SPDX-License-Identifier: Apache-2.0
"""Layers of a program: their names and kinds, each one's share of the cycles, and what the model predicts of them."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from golden.spec.heads import WINDOWS
from golden.spec.isa import INSTRUCTION_BYTES, UNIT, Opcode, Unit
from golden.spec.program.image import Image
from host.performance.timeline import predict

FETCH, END = "program", "end"
"""Layers without instructions of a unit: the fetch of the program, and what follows the last instruction."""
PRODUCT_KINDS = ("attention", "dense FFN", "MoE FFN", "patch embedding", "convolution", "classifier")
"""Kinds of layers that multiply."""
TRANSFER = "transfer"
"""Kind of all other layers."""


def block_of(symbol: str) -> str:
    """``blocks.3.attn.q`` -> ``blocks.3``, ``heads.depth.conv_1.3`` -> ``heads.depth.conv_1``.

    What overlaps is one layer: loads and patch embedding; a head's last two convolutions and the STORE of their
    result, one tile after the other.
    """
    parts = symbol.split(".")
    if parts[0] == "heads":
        head, step = _head(symbol)
        return f"{head}.last" if step in ("", f"conv_{WINDOWS - 1}", f"conv_{WINDOWS}") else f"{head}.{step}"
    if parts[0] == "blocks":
        return ".".join(parts[:2])
    return "embedding" if parts[0] in ("pos_embed", "patches", "patch_embed") else parts[0]


def part_of(symbol: str) -> str:
    """Like :func:`block_of`, with a block's attention and FFN, each with the norm before it, as layers of their own; a
    head's norm, enlargements and maps in DRAM belong to the convolution that reads them."""
    parts = symbol.split(".")
    if parts[0] == "blocks":
        return f"{block_of(symbol)}.{'ffn' if parts[2] in ('norm2', 'gate', 'mlp') else 'attn'}"
    if parts[0] == "heads":
        head, step = _head(symbol)
        kind, _, number = step.partition("_")
        if kind in ("norm", "up", "map"):
            return block_of(f"{head}.conv_{int(number) + 1 if number else 0}")
    return block_of(symbol)


_HEAD = re.compile(r"(heads\..*?)(?:\.(norm|(?:conv|up|map)_\d)(?:\.\d+)*)?")


def _head(symbol: str) -> tuple[str, str]:
    """``heads.a.b.conv_1.3`` -> ``heads.a.b``, ``conv_1``; a task's name may have dots. Its result is no step."""
    found = _HEAD.fullmatch(symbol)
    assert found is not None
    return found[1], found[2] or ""


def kind_of(layer: str, moe_layers: Collection[int]) -> str:
    """What a layer of :func:`part_of` is; ``moe_layers``: the blocks whose FFN is one of experts."""
    if layer.startswith("heads."):
        return "convolution"
    if layer.startswith("blocks."):
        _, block, part = layer.split(".")
        return "attention" if part == "attn" else "MoE FFN" if int(block) in moe_layers else "dense FFN"
    return {"embedding": "patch embedding", "norm": "classifier", "head": "classifier", "head_dist": "classifier"}.get(
        layer, TRANSFER)


class End(NamedTuple):
    """When an instruction of a layer ended, and whether the array executed it."""

    cycle: float
    layer: str
    array: bool


def shared_cycles(ends: Iterable[End]) -> dict[str, float]:
    """Cycles of each layer, from the first cycle to the last end, in the order of the layers' first ends.

    A cycle belongs to the layer of the instruction that the array ends next, whatever other units do meanwhile, and
    after the array's last one to that of the instruction which any unit ends next: cycles add up to the whole although
    units overlap, and what is hidden by the array has none.
    """
    ordered = sorted(ends, key=lambda end: end.cycle)
    array_ends = max((end.cycle for end in ordered if end.array), default=0)
    found: dict[str, float] = {}
    last: float = 0
    for cycle, layer, array in ordered:
        found.setdefault(layer, 0)
        if array or cycle > array_ends:
            found[layer] += cycle - last
            last = cycle
    return found


@dataclass
class PredictedLayer:
    """One layer of a program: cycles by the performance model, useful MACs and bytes by the compiler."""

    name: str
    kind: str
    cycles: float = 0.0
    macs: int = 0
    bytes: int = 0


def predicted_layers(image: Image, program: str) -> list[PredictedLayer]:
    """Layers of :func:`part_of` without a run, from the fetch of the program to what follows its last instruction, so
    that they add up to the job. Experts are taken to share the tokens evenly."""
    symbols, spans = image.symbols[program], predict(image, program)
    names = [part_of(symbol.name) for symbol in symbols]
    opcodes = [Opcode[symbol.kind] for symbol in symbols]
    cycles = shared_cycles(End(span.end, names[span.index], UNIT[opcodes[span.index]] is Unit.ARRAY)
                           for span in spans if opcodes[span.index] in UNIT)
    found = {name: PredictedLayer(name, kind_of(name, image.model.moe_layers), taken)
             for name, taken in cycles.items()}
    for name, opcode, symbol in zip(names, opcodes, symbols, strict=True):
        if opcode in UNIT:
            found[name].macs += symbol.macs
            found[name].bytes += symbol.bytes
    return [PredictedLayer(FETCH, TRANSFER, bytes=len(symbols) * INSTRUCTION_BYTES), *found.values(),
            PredictedLayer(END, TRANSFER, spans[-1].end - sum(cycles.values()))]
