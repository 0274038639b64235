# SPDX-License-Identifier: Apache-2.0
"""Layers of a run: the instructions that were executed, by layer, with their cycles, work, bytes and experts."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from golden.iss.trace import Entry
from golden.spec.heads import WINDOWS
from golden.spec.isa import UNIT, Opcode, Unit
from golden.spec.machine import LINE, MachineConfig
from golden.spec.program.image import Symbol
from host.profile import work


class Retirement(Protocol):
    """An executed instruction and the cycle at which it was over."""

    @property
    def entry(self) -> Entry: ...

    @property
    def cycle(self) -> float: ...


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


def kind_of(layer: str, experts: bool) -> str:
    """What a layer of :func:`part_of` is; ``experts``: whether it has an FFN of experts."""
    if layer.startswith("heads."):
        return "convolution"
    if layer.startswith("blocks."):
        return "attention" if layer.endswith(".attn") else "MoE FFN" if experts else "dense FFN"
    return {"embedding": "patch embedding", "norm": "classifier", "head": "classifier", "head_dist": "classifier"}.get(
        layer, "transfer")


@dataclass
class Layer:
    """Totals of the instructions of one layer.

    ``steps``: cycles in which the array made a step for it; ``weights``, ``loaded`` and ``stored``: bytes through the
    weight ports, read and written by the main port; ``queues``: tokens of each expert that was hit, of ``experts``;
    ``skipped``: bytes of weights of the others, which were not read.
    """

    name: str
    kind: str = ""
    cycles: float = 0
    macs: int = 0
    steps: int = 0
    waited: float = 0
    weights: int = 0
    loaded: int = 0
    stored: int = 0
    queues: dict[int, int] = field(default_factory=dict)
    experts: int = 0
    skipped: int = 0

    @property
    def bytes(self) -> int:
        """All bytes from and to DRAM."""
        return self.weights + self.loaded + self.stored

    def use(self, machine: MachineConfig) -> float:
        """Useful MACs over what the array could have done in these cycles."""
        return self.macs / max(1, self.cycles * machine.macs_per_cycle)


def layers(retired: Iterable[Retirement], symbols: Sequence[Symbol], machine: MachineConfig,
           name: Callable[[str], str] = block_of) -> list[Layer]:
    """One :class:`Layer` for each block and for what comes before and after, in program order, or as ``name`` says;
    ``machine``: what they ran on.

    A cycle belongs to the layer of the instruction that the array ends next, whatever other units do meanwhile, and
    after the array's last one to that of the instruction which any unit ends next: cycles add up to the whole frame
    although units overlap, and what is hidden by the array has none.
    """
    found: dict[str, Layer] = {}
    bodies: dict[str, dict[int, dict[int, int]]] = {}
    last, ordered = 0.0, sorted(retired, key=lambda r: r.cycle)
    array_ends = max((item.cycle for item in ordered if UNIT[item.entry.opcode] is Unit.ARRAY), default=0.0)
    for item in ordered:
        entry, called = item.entry, name(symbols[item.entry.index].name)
        layer = found.setdefault(called, Layer(called))
        if UNIT[entry.opcode] is Unit.ARRAY or item.cycle > array_ends:
            layer.cycles += max(0, item.cycle - last)
            last = max(last, item.cycle)
        layer.macs += work.macs(entry)
        layer.steps += work.array_steps(entry, machine)
        layer.waited += getattr(item, "waited", 0.0)
        layer.weights += work.weight_bytes(entry, machine)
        layer.loaded += work.loaded_bytes(entry)
        layer.stored += work.stored_bytes(entry)
        if entry.expert >= 0 and entry.tokens is not None:
            bodies.setdefault(called, {}).setdefault(entry.index, {})[entry.expert] = len(entry.tokens)
    for called, by_index in bodies.items():
        for index in by_index.keys() - {index + 1 for index in by_index}:  # a body's first: the others have the same
            for expert, count in by_index[index].items():
                found[called].queues[expert] = found[called].queues.get(expert, 0) + count
    return list(found.values())


def count_experts(found: Sequence[Layer], entries: Sequence[Entry], symbols: Sequence[Symbol],
                  name: Callable[[str], str] = part_of) -> None:
    """Note for each layer with experts how many it has, and what was not read of those without a token."""
    by_name = {layer.name: layer for layer in found}
    for loop in (entry for entry in entries if entry.opcode is Opcode.EXPERTS):
        layer = by_name[name(symbols[loop.index].name)]
        layer.experts = loop.fields["experts"]
        layer.skipped += (layer.experts - len(queues_of(loop, entries))) * loop.fields["pitch"] * LINE


def queues_of(loop: Entry, entries: Iterable[Entry]) -> dict[int, np.ndarray]:
    """Tokens of each expert that an executed EXPERTS ran."""
    return {entry.expert: entry.tokens for entry in entries
            if loop.index < entry.index <= loop.index + loop.fields["body"] and entry.tokens is not None}


def total(layers: Sequence[Layer]) -> Layer:
    """All layers as one; of experts only what was skipped."""
    whole = Layer("all", f"{len(layers)} layers")
    for layer in layers:
        for name in ("cycles", "macs", "steps", "waited", "weights", "loaded", "stored", "skipped"):
            setattr(whole, name, getattr(whole, name) + getattr(layer, name))
    return whole
