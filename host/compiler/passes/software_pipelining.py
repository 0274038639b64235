# SPDX-License-Identifier: Apache-2.0
"""Software pipelining of layer norms: a NORM and a neighbouring LINEAR are cut so that both units have work.

    LINEAR, NORM                      LINEAR but its last tiles; these for tokens A; NORM A; these for tokens B; NORM B
    NORM, LINEAR (after experts)      NORM A; LINEAR A; NORM B; LINEAR B; what NORM does not write goes with LINEAR A

The parameters of the cut tiles come from DRAM twice; their weights stay in the ring, if they fit it
(:mod:`host.compiler.passes.retain_weights`). A cut is made where it saves more than that costs, in cycles of
``host.performance.timeline``; results are the same to the bit.
"""

from functools import partial
from math import ceil

from golden.spec.isa import Dest, Opcode
from golden.spec.machine import BEAT_BYTES, LINE, MachineConfig
from golden.spec.model import ModelConfig
from golden.spec.tiling import operand_rows, residual_rows, slices, tiles
from host.compiler.split import linear_part, norm_part, span
from host.ir.nodes import Node
from host.ir.weight_ring import lines_again
from host.performance.cycles import drain, linear_pass, norm_cycles
from host.performance.latencies import latencies

LINE_COST = 1.0
"""Cost of a stream line that is read a second time, in cycles that the weight ports need for it: it delays the
array by as many where weights set the pace, elsewhere it only costs traffic."""
LEAST_GAIN = 50
"""Cycles below which a cut is not worth its instructions."""


def _line_cost(machine: MachineConfig) -> float:
    return LINE_COST * LINE / (BEAT_BYTES * machine.ports)


def patch_ranges(config: ModelConfig, machine: MachineConfig) -> int:
    """In how many ranges of tokens to load and embed an image, so that the array need not wait for the last patch."""
    rows = operand_rows(config.patch_dim) + residual_rows(config.dim)
    loading = config.patches * rows * LINE / BEAT_BYTES
    lines = lines_again(tiles(config.dim), slices(config.patch_dim), machine)
    more = _line_cost(machine) * lines + _restart(machine)
    return min(range(1, 9), key=lambda n: (loading / n + (n - 1) * more, n))


def software_pipelining(nodes: list[Node], machine: MachineConfig) -> list[Node]:
    """The program with norms hidden where that pays."""
    result: list[Node] = []
    pending = list(nodes)
    while pending:
        node = pending.pop(0)
        if node.opcode is not Opcode.NORM or node.whole:
            result.append(node)
        elif result and _writes_last(result[-1], node):
            *parts, last = _after_linear(result.pop(), node, machine)
            result += parts
            reader = pending and last.opcode is Opcode.NORM and _reads_all(pending[0], last)
            result += _before_linear(last, pending.pop(0), machine) if reader else [last]
        elif pending and _reads_all(pending[0], node):
            result += _before_linear(node, pending.pop(0), machine)
        else:
            result.append(node)
    return result


def _writes_last(linear: Node, norm: Node) -> bool:
    """``linear`` writes the last tokens, or all, of the residual rows that ``norm`` reads."""
    if linear.opcode is not Opcode.LINEAR or linear.dest is not Dest.RESIDUAL or linear.whole:
        return False
    (first, end), (norm_first, norm_end) = span(linear.writes[0]), span(norm.reads[0])
    return linear.writes[0].region is norm.reads[0].region and norm_first <= first < end == norm_end


def _reads_all(linear: Node, norm: Node) -> bool:
    """``linear`` reads what ``norm`` writes as its last tokens, or all, and writes operand rows, token by token."""
    if linear.opcode is not Opcode.LINEAR or linear.dest not in (Dest.OPERAND8, Dest.OPERAND16):
        return False
    (first, end), (norm_first, norm_end) = span(linear.reads[0]), span(norm.writes[0])
    return linear.reads[0].region is norm.writes[0].region and first <= norm_first and end == norm_end


def _norm_cycles(norm: Node, machine: MachineConfig, tokens: int) -> float:
    return latencies(machine).norm + norm_cycles(machine, norm.fields, tokens)


def _after_linear(linear: Node, norm: Node, machine: MachineConfig) -> list[Node]:
    """Cut at the tile and token that save most; a LINEAR of the last tokens only is a cut already."""
    tokens, fed = norm.fields["tokens"], linear.fields["tokens"]
    if fed < tokens - tokens // 4:
        a = tokens - fed
        return [norm_part(norm, 0, a), *_after_linear(linear, norm_part(norm, a, fed), machine)]
    if fed != tokens:
        return [linear, norm]
    restart, cycles = _restart(machine), partial(_norm_cycles, norm, machine)
    best, cut, whole = LEAST_GAIN, None, linear.fields["tiles"]
    ranged = linear.writes[0].region.count > fed  # its weights serve other tokens too, all tiles of them or none
    for last in range(whole if ranged else 1, whole + 1):
        one = linear_pass(machine, linear.fields, last)
        # Fewer tiles at a time share a loading of operands.
        before = linear_pass(machine, linear.fields, whole - last) if last < whole else 0
        longer = before + one - linear_pass(machine, linear.fields)
        for a in range(machine.tm, tokens, machine.tm):
            work = ceil((tokens - a) / machine.tm) * one
            exposed = max(work + restart, cycles(a)) - work + cycles(tokens - a)
            lines = lines_again(last, linear.fields["slices"], machine, linear.fields["packed"])
            gain = cycles(tokens) - exposed - _line_cost(machine) * lines - ceil(tokens / machine.tm) * longer
            if gain > best:
                best, cut = gain, (last, a)
    if cut is None:
        return [linear, norm]
    last, a = cut
    kept = [linear_part(linear, 0, whole - last, 0, tokens)] if last < whole else []
    return [*kept, linear_part(linear, whole - last, last, 0, a), norm_part(norm, 0, a),
            linear_part(linear, whole - last, last, a, tokens - a), norm_part(norm, a, tokens - a)]


def _before_linear(norm: Node, linear: Node, machine: MachineConfig) -> list[Node]:
    """Cut at the token that saves most. Tokens of ``linear`` before those of ``norm`` are there already."""
    tokens, everything, whole = norm.fields["tokens"], linear.fields["tokens"], linear.fields["tiles"]
    there = everything - tokens
    one = linear_pass(machine, linear.fields)
    lines = lines_again(whole, linear.fields["slices"], machine, linear.fields["packed"])
    cycles = partial(_norm_cycles, norm, machine)
    best, cut = LEAST_GAIN, 0
    for a in range(machine.tm, tokens, machine.tm):
        work = ceil((there + a) / machine.tm) * one
        exposed = cycles(a) + max(0, cycles(tokens - a) - work) + _restart(machine) // 2
        gain = cycles(tokens) - exposed - _line_cost(machine) * lines
        if gain > best:
            best, cut = gain, a
    if not cut:
        return [norm, linear]
    return [norm_part(norm, 0, cut), linear_part(linear, 0, whole, 0, there + cut), norm_part(norm, cut, tokens - cut),
            linear_part(linear, 0, whole, there + cut, tokens - cut)]


def _restart(machine: MachineConfig) -> int:
    """Cycles between the last beat of a LINEAR and the first of one that waits for it."""
    lat = latencies(machine)
    return lat.array + drain(machine) + lat.epilogue + lat.issue + lat.load
