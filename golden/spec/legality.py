# SPDX-License-Identifier: Apache-2.0
"""Bounds check formulas: address ranges against capacities, and combinations of fields that are not allowed.

The formulas are arithmetic on fields that are plain integers for the simulator and signals for the gateware, so that
both refuse the same programs; therefore no ``if``, no ``max`` and no ``and`` on them. ``f`` below: the fields and what
``golden.spec.derived`` makes of them. The result of a program that passes does not depend on the order inside a unit:
no instruction writes a row twice or reads a row that it writes.
"""

import enum
from dataclasses import dataclass, replace
from typing import Any

from golden.spec.derived import ceil_shift, choose, crowded, is_operand
from golden.spec.isa import Dest, Index, Opcode
from golden.spec.machine import SLICE, TN, MachineConfig
from golden.spec.tiling import BLOCKS_PER_ROW, SLICES_PER_ROW, window_slices

TOKENS = 4095
"""Most entries a queue can have: its counters have 12 bits."""
TOKEN_NUMBERS = TOKENS + 1
"""Token numbers that a queue entry can hold."""
LOGITS = TN // 2
"""Logits that one output tile brings to the gate, each a column of high parts and one of low parts."""
SLOTS = 5
"""Address ranges that an instruction can have at the same time."""
Number = Any
"""An integer for the simulator and the compiler, an Amaranth value for the gateware, whose types are unknown here."""


class Resource(enum.IntEnum):
    """Storage with a capacity. OPERAND, RESIDUAL: rows; KEY, VALUE: tiles; RING: slices of weights, those retained and
    one output tile's (all tiles' for dst GATE and with ``retain_weights``); LANE_BUFFER: rows of a token group's
    operands that are read more than once; SOFTMAX: keys; QUEUES: entries of all expert queues; QUEUE: entries of one.
    """

    OPERAND = 0
    RESIDUAL = 1
    KEY = 2
    VALUE = 3
    RING = 4
    LANE_BUFFER = 5
    SOFTMAX = 6
    QUEUES = 7
    QUEUE = 8


MEMORIES = (Resource.OPERAND, Resource.RESIDUAL, Resource.KEY, Resource.VALUE)
"""Resources whose rows or tiles instructions address."""


def capacity(config: MachineConfig, resource: Resource) -> int:
    """How many rows, tiles, slices, keys or entries ``resource`` has."""
    return {Resource.OPERAND: config.operand_rows, Resource.RESIDUAL: config.residual_rows,
            Resource.KEY: config.kv_tiles, Resource.VALUE: config.kv_tiles,
            Resource.RING: config.ring_rows // config.steps, Resource.LANE_BUFFER: 2 * config.lane_rows,
            Resource.SOFTMAX: config.max_keys, Resource.QUEUES: config.queue_depth, Resource.QUEUE: TOKENS}[resource]


@dataclass(frozen=True)
class AddressRange:
    """Where ``when`` holds, the instruction uses ``base`` to ``base + steps * stride + count - 1`` of ``resource``.

    Ranges of an instruction with the same ``slot`` exclude each other; those of slots 0 and 1 must not overlap in
    one resource. ``write``: the instruction changes it.
    """

    slot: int
    resource: Resource
    when: Number = True
    base: Number = 0
    steps: Number = 0
    stride: Number = 0
    count: Number = 0
    write: bool = False

    @property
    def end(self):
        """First row after the range."""
        return self.base + self.steps * self.stride + self.count


@dataclass(frozen=True, kw_only=True)
class ProgramState:
    """State that an instruction starts from: ``left`` tokens the gate still waits for and its ``experts``;
    one more than the highest token that a queue can name (``named``), the most entries that a queue (``slots``) and
    all together (``entries``) can have; slices of weights retained in the ring (``held``); whether the instruction
    is in a ``body`` of EXPERTS."""

    left: Number = 0
    experts: Number = 0
    named: Number = 0
    slots: Number = 0
    entries: Number = 0
    held: Number = 0
    body: Number = False


def after_gate(f, s: ProgramState, pick=choose) -> dict:
    """Fields of the state after a GATE. Every LINEAR into the gate then decreases ``left``."""
    end = f["first_token"] + f["tokens"]
    return {"left": f["tokens"], "experts": f["experts"],
            "named": pick(f["append"] & (s.named > end), s.named, end),
            "slots": f["tokens"] + f["append"] * s.slots,
            "entries": f["tokens"] * f["top_k"] + f["append"] * s.entries}


def retained(f, s: ProgramState, pick=choose):
    """``held`` after a LINEAR. One with ``reuse_weights`` releases all weights up to its last."""
    left = pick(f["reuse_weights"], s.held - f["until"], 0)
    return pick(f["retain_weights"], s.held + pick(f["reuse_weights"], 0, f["weights"]), left)


def after(opcode: Opcode, f: dict, s: ProgramState) -> ProgramState:
    """The state that the next instruction finds; integers only."""
    if opcode is Opcode.GATE:
        return replace(s, **after_gate(f, s))
    if opcode is Opcode.LINEAR:
        return replace(s, left=s.left - (f["tokens"] if f["dst"] == Dest.GATE else 0), held=retained(f, s))
    return s


def _floor(value, by: int):
    return value >> by.bit_length() - 1


def queued(f):
    """Whether a LINEAR's rows follow an expert's queue."""
    return (f["src_index"] != Index.DIRECT) | (f["dst_index"] != Index.DIRECT)


def _count(f, index, s: ProgramState, pick):
    """How many different rows an operand or result of a LINEAR can have: with a queue none outside of EXPERTS."""
    of_queue = pick(f[index] == Index.QUEUE_TOKEN, s.named, s.slots)
    return pick(queued(f), pick(s.body, of_queue, 0), f["tokens"])


def contradictions(opcode: Opcode, f, s: ProgramState, pick=choose) -> list:
    """Conditions that must all be false whatever the memory sizes; otherwise BAD_FIELD."""
    waiting = s.left != 0
    if opcode is Opcode.NORM:
        return [f["crowded"], f["crowded_normalized"]]
    if opcode is Opcode.LINEAR:
        to_gate = f["dst"] == Dest.GATE
        return [f["src_wide"] & f["src_unsigned"], f["gate_weight"] & (queued(f) == 0),
                f["gate_weight"] & ((f["activation"] != 0) | f["affine"]),
                (f["dst"] >= Dest.KEY) & queued(f), to_gate & s.body, to_gate & (f["tokens"] > s.left),
                to_gate & (f["tiles"] != ceil_shift(s.experts, LOGITS)),
                (f["retain_weights"] | f["reuse_weights"]) & s.body,
                f["reuse_weights"] & (f["until"] > s.held), f["crowded"],
                (f["window"] != 0) & (queued(f) | to_gate | (f["slices"] != f["window"] * window_slices(1))
                                      | (f["tokens"] != f["positions"]) | (f["tokens"] == 0)),
                (f["window"] == 0) & ((f["width"] | f["lines"] | f["pitch"] | f["edges"]) != 0),
                f["overlapping"] & (pick(queued(f), pick(s.body, s.slots, 0), f["tokens"]) > 1)]
    if opcode is Opcode.ATTENTION:
        rows = ceil_shift(f["head_rows"], SLICES_PER_ROW)
        return [f["head_slices"] & 1,
                crowded(f["queries"] > 1, f["dst_stride"], rows, f["wide"], f["dst_plane"], pick)]
    if opcode is Opcode.GATE:
        return [f["top_k"] > f["experts"], waiting, s.body != 0, f["first_token"] + f["tokens"] > TOKEN_NUMBERS]
    if opcode is Opcode.EXPERTS:
        return [waiting, s.held != 0]
    return [waiting] if opcode is Opcode.END else []


def ranges(opcode: Opcode, f, s: ProgramState, pick=choose) -> list[AddressRange]:
    """Everything the instruction uses: RANGE_LOCAL beyond :func:`capacity`, BAD_FIELD where slots 0 and 1 overlap."""
    if opcode in (Opcode.LOAD, Opcode.STORE):
        write = opcode is Opcode.LOAD
        return [AddressRange(0, Resource.OPERAND, when=f["memory"] == 0, base=f["row"], count=f["rows"], write=write),
                AddressRange(1, Resource.RESIDUAL, when=f["memory"] == 1, base=f["row"], count=f["rows"], write=write)]
    if opcode is Opcode.COPY:
        return [AddressRange(i, Resource.RESIDUAL, base=f[row], count=f["rows"], write=row == "dst_row")
                for i, row in enumerate(("src_row", "dst_row"))]
    if opcode is Opcode.UPSAMPLE:
        return [AddressRange(0, Resource.OPERAND, base=f["src_row"], steps=f["strip_last"], stride=f["rows"],
                             count=f["rows"]),
                AddressRange(1, Resource.OPERAND, base=f["dst_row"], steps=f["results"] - 1, stride=f["rows"],
                             count=f["rows"], write=True)]
    if opcode is Opcode.NORM:
        last, rows = f["tokens"] - 1, ceil_shift(f["blocks"], BLOCKS_PER_ROW)
        return [AddressRange(0, Resource.OPERAND, base=f["dst_row"], steps=last, stride=f["dst_stride"],
                             count=rows + pick(f["wide"], f["dst_plane"], 0), write=True),
                AddressRange(1, Resource.OPERAND, when=f["normalized"], base=f["normalized_row"], steps=last,
                             stride=f["normalized_stride"], count=rows + f["normalized_plane"], write=True),
                AddressRange(2, Resource.RESIDUAL, base=f["src_row"], steps=last, stride=f["src_stride"],
                             count=f["blocks"])]
    if opcode is Opcode.LINEAR:
        return _linear(f, s, pick)
    if opcode is Opcode.ATTENTION:
        rows, last = f["head_rows"], f["queries"] - 1
        operand_rows = ceil_shift(rows, SLICES_PER_ROW)
        return [AddressRange(0, Resource.OPERAND, base=f["q_row"], steps=last, stride=f["q_stride"],
                             count=operand_rows),
                AddressRange(1, Resource.OPERAND, base=f["dst_row"], steps=last, stride=f["dst_stride"],
                             count=operand_rows + pick(f["wide"], f["dst_plane"], 0), write=True),
                AddressRange(2, Resource.KEY, base=f["key_tile"], steps=_floor(f["keys"] - 1, TN),
                             stride=f["key_pitch"], count=rows),
                AddressRange(3, Resource.VALUE, base=f["value_tile"], steps=ceil_shift(rows, BLOCKS_PER_ROW),
                             stride=ceil_shift(f["keys"], SLICE)),
                AddressRange(4, Resource.SOFTMAX, count=f["keys"])]
    if opcode is Opcode.GATE:
        return [AddressRange(0, Resource.QUEUES, base=f["append"] * s.entries, steps=f["tokens"], stride=f["top_k"]),
                AddressRange(1, Resource.QUEUE, base=f["append"] * s.slots, count=f["tokens"])]
    return []


def _linear(f, s: ProgramState, pick) -> list[AddressRange]:
    sources, results = _count(f, "src_index", s, pick), _count(f, "dst_index", s, pick)
    work, dst = (sources != 0) & (results != 0), f["dst"]
    rows = ceil_shift(f["slices"], SLICES_PER_ROW)
    to_gate, to_residual = dst == Dest.GATE, dst == Dest.RESIDUAL
    to_operand, window = is_operand(dst), f["window"] != 0
    target = {"base": f["dst_row"], "steps": results - 1, "stride": f["dst_stride"], "write": True}
    return [
        AddressRange(0, Resource.OPERAND, when=work, base=f["src_row"],
                     steps=pick(window, f["strip_last"], sources - 1), stride=f["src_stride"],
                     count=pick(window, f["window"], rows) + pick(f["src_wide"], f["src_plane"], 0)),
        AddressRange(1, Resource.RESIDUAL, when=work & to_residual, **target, count=f["tiles"]),
        AddressRange(1, Resource.OPERAND, when=work & to_operand, **target,
                     count=ceil_shift(f["tiles"], BLOCKS_PER_ROW) + pick(dst == Dest.OPERAND16, f["dst_plane"], 0)),
        AddressRange(1, Resource.KEY, when=work & (dst == Dest.KEY), base=f["dst_row"], steps=_floor(results - 1, TN),
                     stride=f["dst_stride"], count=f["tiles"] * (TN // SLICE), write=True),
        AddressRange(1, Resource.VALUE, when=work & (dst == Dest.VALUE), base=f["dst_row"], steps=f["tiles"] - 1,
                     stride=f["dst_stride"], count=_floor(results - 1, SLICE) + 1, write=True),
        AddressRange(2, Resource.RING, when=f["reuse_weights"] == 0, base=s.held, steps=f["slices"],
                     stride=pick(to_gate | f["retain_weights"], f["tiles"], 1)),
        AddressRange(3, Resource.LANE_BUFFER, when=to_gate, steps=rows, stride=pick(f["src_wide"], 2, 1)),
    ]
