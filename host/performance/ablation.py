# SPDX-License-Identifier: Apache-2.0
"""Edge-MoE's ideas switched off one by one in the performance model, and the DRAM bytes of a program.

Each function states what a machine without the idea does instead, as a formula, and what is assumed in its favour.
"""

import enum
from collections.abc import Mapping, Sequence
from math import sqrt

from golden.spec import isa
from golden.spec.boards.dram import DramTiming
from golden.spec.isa import Opcode, stream_lines
from golden.spec.machine import LINE, SLICE, MachineConfig
from golden.spec.program.image import Symbol
from host.performance.cycles import attention_cycles, linear_cycles
from host.performance.timeline import Span, Timeline


class Idea(enum.Enum):
    """The ideas of the Edge-MoE paper, in the order in which its ablation adds them."""

    EXPERT_BY_EXPERT = "expert-by-expert reordering"
    SINGLE_PASS = "single-pass softmax"
    LOW_COST_GELU = "low-cost GELU"
    UNIFIED_LINEAR = "unified linear unit"
    ATTENTION_REORDERING = "attention reordering"


TWO_PASSES = 2
"""Passes over the scores without the running maximum: one for the maximum, one for the exponentials and their sum."""


def kinds_of(symbols: Sequence[Symbol], words: Sequence[int]) -> list[str]:
    """The kind of layer of each instruction that multiplies: what has an engine of its own in a machine without a
    unified linear unit. An empty text for the others."""
    found, body = [], range(0)
    for index, (symbol, word) in enumerate(zip(symbols, words, strict=True)):
        opcode, fields = isa.decode(word)
        if opcode is Opcode.EXPERTS:
            body = range(index + 1, index + 1 + fields["body"])
        found.append(_kind(symbol.name, opcode, index in body))
    return found


def _kind(name: str, opcode: Opcode, expert: bool) -> str:
    if opcode is Opcode.ATTENTION:
        return "scores and P x V"
    if opcode is not Opcode.LINEAR:
        return ""
    if expert:
        return "experts"
    kinds = {".attn.": "attention's linears", ".mlp.": "dense FFN", ".gate.": "gate"}
    return next((kind for part, kind in kinds.items() if part in name), "patches and heads")


def best_shares(work: Mapping[str, float]) -> dict[str, float]:
    """How to divide the multipliers among engines that work one after the other, each on its kind of layer.

    An engine with the share s of the multipliers takes ``work / s``; the sum over all engines, with shares that add up
    to 1, is least where they are as the square roots of the work, and then ``(sum of sqrt(work)) ** 2``. In favour of
    such a machine: shares need not be whole rows of multipliers, and its engines have one picture's balance.
    """
    total = sum(map(sqrt, work.values()))
    return {kind: sqrt(cycles) / total for kind, cycles in work.items()}


def attention_bytes(fields: Mapping[str, int], queries_together: int = 1) -> int:
    """DRAM bytes of keys and values of one ATTENTION without attention reordering: what is multiplied with one query
    is not kept for the next, so K and V of the head come again for each group of ``queries_together``.

    ``heads * ceil(queries / together) * 2 * keys * head_dim`` bytes at int8, and once ``2 * keys * dim`` bytes that K
    and V take on their way to DRAM. 1 is the order of the plain product; Edge-MoE's reordering has groups of 4.
    """
    dim = fields["heads"] * fields["head_slices"] * SLICE
    passes = -(-fields["queries"] // queries_together)
    return 2 * fields["keys"] * dim * (passes + 1)


def bytes_a_cycle(machine: MachineConfig, together: int) -> int:
    """Bytes of K (then of V) that the array takes a cycle while ``together`` queries share them: with all its lanes
    together one row, whatever their number; without reordering one row for each lane."""
    return machine.row_bytes * (machine.tm // together)


class AblatedTimeline(Timeline):
    """Timeline of a machine without the ideas in ``off`` (expert-by-expert reordering is a matter of the program).

    Two passes: the unit that takes the scores reads them a second time when the last one of a group is there, and takes
    no others meanwhile; what follows it is unchanged. No unified unit: an instruction's products are made by its kind's
    ``shares`` of the multipliers; loading, draining and all else stay. No attention reordering: an ATTENTION ends no
    sooner than its keys and values can come through the weight ports, which carry nothing else meanwhile; writing them
    to DRAM is hidden.
    """

    def __init__(self, machine: MachineConfig, dram: DramTiming | None, off: frozenset[Idea], kinds: Sequence[str],
                 shares: Mapping[str, float]):
        super().__init__(machine, dram)
        self.off, self.kinds, self.shares = off, kinds, shares
        self.work: dict[str, float] = {}
        """Cycles of each kind of layer on all multipliers."""
        self.score_passes = TWO_PASSES if Idea.SINGLE_PASS in off else 1

    def share(self, at: int) -> float:
        return self.shares[self.kinds[at]] if Idea.UNIFIED_LINEAR in self.off else 1.0

    def _linear(self, at: int, f: dict, issue: float, tokens: int, expert: int) -> Span:
        self._work(at, linear_cycles(self.machine, f, tokens))
        return super()._linear(at, f, issue, tokens, expert)

    def _work(self, at: int, cycles: float) -> None:
        self.work[self.kinds[at]] = self.work.get(self.kinds[at], 0.0) + cycles

    def _attention(self, at: int, f: dict, issue: float) -> Span:
        self._work(at, attention_cycles(self.machine, f, 0))
        span = super()._attention(at, f, issue)
        if Idea.ATTENTION_REORDERING not in self.off:
            return span
        moving = attention_bytes(f) / LINE / self.stream.lines_per_cycle
        longer = max(0.0, span.start + self.stream.latency + moving - self.array_free)
        self.stream.fetched += moving
        self.array_free += longer
        self.idle[isa.Unit.ARRAY] += longer
        return Span(at, span.expert, span.start, span.end + longer, span.waited)


def dram_bytes(machine: MachineConfig, words: Sequence[int], spans: Sequence[Span], off: frozenset[Idea]) -> int:
    """Bytes that a program moves on a machine: itself, each instruction's part of the weight stream, LOADs and STOREs;
    without attention reordering also keys and values."""
    total = len(words) * isa.INSTRUCTION_BYTES
    for span in spans:
        opcode, fields = isa.decode(words[span.index])
        if opcode is not Opcode.EXPERTS:
            total += LINE * stream_lines(opcode, fields, machine).lines
        if opcode in (Opcode.LOAD, Opcode.STORE):
            total += LINE * fields["rows"]
        if opcode is Opcode.ATTENTION and Idea.ATTENTION_REORDERING in off:
            total += attention_bytes(fields)
    return total
