# SPDX-License-Identifier: Apache-2.0
"""How far an instruction reaches into the memories, and which fields contradict each other: what is refused beforehand.

Everything here is arithmetic on fields that are plain integers for the simulator and signals for the gateware, so that
both refuse the same programs; therefore no ``if``, no ``max`` and no ``and`` on them.
"""

import enum
from dataclasses import dataclass, replace

from golden.spec.isa import Dest, Index, Opcode
from golden.spec.machine import SLICE, TN, MachineConfig
from golden.spec.tiling import BLOCKS_PER_ROW, SLICES_PER_ROW

TOKENS = 4095
"""Most entries a queue can have: its counters have 12 bits."""
LOGITS = TN // 2
"""Logits that one output tile brings to the gate: columns of high parts and of low parts."""
SLOTS = 5
"""Spans that an instruction can have at the same time."""


class Store(enum.IntEnum):
    """What has a size. RING: slices of weights, those held and one output tile's (all tiles' for the gate and where
    they are to be held); LANES: rows of a group's operands that are read more than once; SOFTMAX: keys; QUEUES:
    entries of all queues; QUEUE: entries of one."""

    OPERAND = 0
    RESIDUAL = 1
    KEY_VALUE = 2
    RING = 3
    LANES = 4
    SOFTMAX = 5
    QUEUES = 6
    QUEUE = 7


def depth(config: MachineConfig, store: Store) -> int:
    """How many rows (tiles, slices, keys, entries) ``store`` has."""
    return {Store.OPERAND: config.operand_rows, Store.RESIDUAL: config.residual_rows,
            Store.KEY_VALUE: config.kv_tiles, Store.RING: config.ring_rows // config.steps,
            Store.LANES: 2 * config.lane_rows, Store.SOFTMAX: config.max_keys, Store.QUEUES: config.queue_depth,
            Store.QUEUE: TOKENS}[store]


@dataclass(frozen=True)
class Span:
    """Where ``when`` holds, the instruction reaches row ``base + steps * stride + count - 1`` of ``store``, no higher.
    Spans of an instruction with the same ``slot`` exclude each other.
    """

    slot: int
    store: Store
    when: object = True
    base: object = 0
    steps: object = 0
    stride: object = 0
    count: object = 0


@dataclass(frozen=True, kw_only=True)
class Routing:
    """What the GATEs so far leave for those who come behind: ``left`` tokens the gate still waits for and its
    ``experts``; one more than the highest token that a queue can name (``named``), the most entries that a queue
    (``slots``) and all together (``entries``) can have; slices of weights that LINEARs left in the ring (``held``);
    whether the instruction stands in a ``body`` of EXPERTS."""

    left: object = 0
    experts: object = 0
    named: object = 0
    slots: object = 0
    entries: object = 0
    held: object = 0
    body: object = False


def choose(condition, yes, no):
    """``yes`` where ``condition`` holds: for integers; the gateware brings a multiplexer."""
    return yes if condition else no


def routed(f, r: Routing, pick=choose) -> dict:
    """Fields of the Routing behind a GATE. ``left`` then goes down with every LINEAR into the gate."""
    end = f["first_token"] + f["tokens"]
    return {"left": f["tokens"], "experts": f["experts"],
            "named": pick(f["append"] & (r.named > end), r.named, end),
            "slots": f["tokens"] + f["append"] * r.slots,
            "entries": f["tokens"] * f["top_k"] + f["append"] * r.entries}


def kept(f, r: Routing, pick=choose):
    """``held`` behind a LINEAR. One that takes its weights again gives back all up to its last."""
    left = pick(f["again"], r.held - f["until"], 0)
    return pick(f["hold"], r.held + pick(f["again"], 0, f["weights"]), left)


def behind(opcode: Opcode, f: dict, r: Routing) -> Routing:
    """What the next instruction finds; integers only."""
    if opcode is Opcode.GATE:
        return replace(r, **routed(f, r))
    if opcode is Opcode.LINEAR:
        return replace(r, left=r.left - (f["tokens"] if f["dst"] == Dest.GATE else 0), held=kept(f, r))
    return r


def derived(opcode: Opcode, f) -> dict:
    """What the functions above and below want beside the fields themselves."""
    if opcode is Opcode.ATTENTION:
        return {"head_rows": f["heads"] * f["head_slices"]}
    if opcode is Opcode.LINEAR:
        weights = f["tiles"] * f["slices"]
        return {"weights": weights, "until": f["back"] + weights}
    return {}


def _ceil(value, by: int):
    """``value / by`` rounded up, ``by`` a power of two."""
    return (value + by - 1) >> by.bit_length() - 1


def _floor(value, by: int):
    return value >> by.bit_length() - 1


def _queued(f):
    return (f["src_index"] != Index.DIRECT) | (f["dst_index"] != Index.DIRECT)


def _count(f, index, r: Routing, pick):
    """How many different rows an operand or result of a LINEAR can have."""
    behind_queue = pick(f[index] == Index.QUEUE_TOKEN, r.named, r.slots)
    return pick(_queued(f), behind_queue, f["tokens"])


def contradictions(opcode: Opcode, f, r: Routing) -> list:
    """Conditions of which none may hold, whatever the memories: BAD_FIELD."""
    waiting = r.left != 0
    if opcode is Opcode.COPY:
        return [(f["src_row"] < f["dst_row"] + f["rows"]) & (f["dst_row"] < f["src_row"] + f["rows"])]
    if opcode is Opcode.LINEAR:
        to_gate = f["dst"] == Dest.GATE
        return [f["src_wide"] & f["src_unsigned"], f["score"] & (_queued(f) == 0),
                (f["dst"] >= Dest.KEY) & _queued(f), to_gate & r.body, to_gate & (f["tokens"] > r.left),
                to_gate & (f["tiles"] != _ceil(r.experts, LOGITS)), (f["hold"] | f["again"]) & r.body,
                f["again"] & (f["until"] > r.held)]
    if opcode is Opcode.ATTENTION:
        return [f["head_slices"] & 1]
    if opcode is Opcode.GATE:
        return [f["top_k"] > f["experts"], waiting, r.body != 0]
    if opcode is Opcode.EXPERTS:
        return [waiting, r.held != 0]
    return [waiting] if opcode is Opcode.END else []


def spans(opcode: Opcode, f, r: Routing, pick=choose) -> list[Span]:
    """Everything the instruction reaches: RANGE_LOCAL beyond :func:`depth`."""
    if opcode in (Opcode.LOAD, Opcode.STORE):
        return [Span(0, Store.OPERAND, when=f["memory"] == 0, base=f["row"], count=f["rows"]),
                Span(0, Store.RESIDUAL, when=f["memory"] == 1, base=f["row"], count=f["rows"])]
    if opcode is Opcode.COPY:
        return [Span(i, Store.RESIDUAL, base=f[row], count=f["rows"])
                for i, row in enumerate(("src_row", "dst_row"))]
    if opcode is Opcode.NORM:
        last, rows = f["tokens"] - 1, _ceil(f["blocks"], BLOCKS_PER_ROW)
        return [Span(0, Store.RESIDUAL, base=f["src_row"], steps=last, stride=f["src_stride"], count=f["blocks"]),
                Span(1, Store.OPERAND, base=f["dst_row"], steps=last, stride=f["dst_stride"],
                     count=rows + pick(f["wide"], f["dst_plane"], 0)),
                Span(2, Store.OPERAND, when=f["xhat"], base=f["xhat_row"], steps=last, stride=f["xhat_stride"],
                     count=rows + f["xhat_plane"])]
    if opcode is Opcode.LINEAR:
        return _linear(f, r, pick)
    if opcode is Opcode.ATTENTION:
        rows, last = f["head_rows"], f["queries"] - 1
        operand_rows = _ceil(rows, SLICES_PER_ROW)
        return [Span(0, Store.OPERAND, base=f["q_row"], steps=last, stride=f["q_stride"], count=operand_rows),
                Span(1, Store.OPERAND, base=f["dst_row"], steps=last, stride=f["dst_stride"],
                     count=operand_rows + pick(f["wide"], f["dst_plane"], 0)),
                Span(2, Store.KEY_VALUE, base=f["key_tile"], steps=_floor(f["keys"] - 1, TN), stride=f["key_pitch"],
                     count=rows),
                Span(3, Store.KEY_VALUE, base=f["value_tile"], steps=_ceil(rows, BLOCKS_PER_ROW),
                     stride=_ceil(f["keys"], SLICE)),
                Span(4, Store.SOFTMAX, count=f["keys"])]
    if opcode is Opcode.GATE:
        return [Span(0, Store.QUEUES, base=f["append"] * r.entries, steps=f["tokens"], stride=f["top_k"]),
                Span(1, Store.QUEUE, base=f["append"] * r.slots, count=f["tokens"])]
    return []


def _linear(f, r: Routing, pick) -> list[Span]:
    sources, results = _count(f, "src_index", r, pick), _count(f, "dst_index", r, pick)
    work, dst = (sources != 0) & (results != 0), f["dst"]
    rows = _ceil(f["slices"], SLICES_PER_ROW)
    to_gate, to_residual = dst == Dest.GATE, dst == Dest.RESIDUAL
    to_operand = (dst == Dest.OPERAND8) | (dst == Dest.OPERAND16)
    target = {"base": f["dst_row"], "steps": results - 1, "stride": f["dst_stride"]}
    return [
        Span(0, Store.OPERAND, when=work, base=f["src_row"], steps=sources - 1, stride=f["src_stride"],
             count=rows + pick(f["src_wide"], f["src_plane"], 0)),
        Span(1, Store.RESIDUAL, when=work & to_residual, **target, count=f["tiles"]),
        Span(1, Store.OPERAND, when=work & to_operand, **target,
             count=_ceil(f["tiles"], BLOCKS_PER_ROW) + pick(dst == Dest.OPERAND16, f["dst_plane"], 0)),
        Span(1, Store.KEY_VALUE, when=work & (dst == Dest.KEY), base=f["dst_row"], steps=_floor(results - 1, TN),
             stride=f["dst_stride"], count=f["tiles"] * (TN // SLICE)),
        Span(1, Store.KEY_VALUE, when=work & (dst == Dest.VALUE), base=f["dst_row"], steps=f["tiles"] - 1,
             stride=f["dst_stride"], count=_floor(results - 1, SLICE) + 1),
        Span(2, Store.RING, when=f["again"] == 0, base=r.held, steps=f["slices"],
             stride=pick(to_gate | f["hold"], f["tiles"], 1)),
        Span(3, Store.LANES, when=to_gate, steps=rows, stride=pick(f["src_wide"], 2, 1)),
    ]
