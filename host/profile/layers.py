# SPDX-License-Identifier: Apache-2.0
"""Layers of a run: the instructions that were executed, by layer, with their cycles, work, bytes and experts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from golden.iss.trace import Entry
from golden.spec.isa import UNIT, Opcode, Unit
from golden.spec.machine import LINE, MachineConfig
from golden.spec.program.image import Symbol
from host.performance.layers import End, block_of, part_of, shared_cycles
from host.profile import work


class Retirement(Protocol):
    """An executed instruction and the cycle at which it was over."""

    @property
    def entry(self) -> Entry: ...

    @property
    def cycle(self) -> float: ...


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

    A cycle belongs to a layer as :func:`host.performance.layers.shared_cycles` says.
    """
    found: dict[str, Layer] = {}
    bodies: dict[str, dict[int, dict[int, int]]] = {}
    ordered = sorted(retired, key=lambda item: item.cycle)
    names = [name(symbols[item.entry.index].name) for item in ordered]
    cycles = shared_cycles(End(item.cycle, called, UNIT[item.entry.opcode] is Unit.ARRAY)
                           for item, called in zip(ordered, names, strict=True))
    for item, called in zip(ordered, names, strict=True):
        entry, layer = item.entry, found.setdefault(called, Layer(called, cycles=cycles[called]))
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
