# SPDX-License-Identifier: Apache-2.0
"""Instruction semantics: one function per opcode, which changes the memories and returns what it wrote."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from golden.iss.faults import check
from golden.iss.memories import Memories
from golden.iss.stream import Stream
from golden.iss.trace import Write
from golden.ops import gate as gate_reference
from golden.ops import queues as queue_reference
from golden.ops.arith import DomainError, wrap32
from golden.ops.attention import Attention, attention
from golden.ops.epilogue import Epilogue, epilogue, to_key_value, to_residual, to_unsigned
from golden.ops.keep import class_attention, kept
from golden.ops.layernorm import Norm, layernorm
from golden.ops.matmul import matmul
from golden.ops.operand import Operand, to_operand
from golden.ops.upsample import upsample as upsample_reference
from golden.ops.window import padding, windows
from golden.spec.isa import Dest, Index, Memory, Opcode, Region
from golden.spec.legality import LOGITS, Resource, queued
from golden.spec.machine import LINE, SLICE, TN
from golden.spec.status import Status
from golden.spec.tiling import SLICES_PER_ROW, WINDOW
from golden.spec.tiling import slices as slices_of
from golden.spec.tiling import tiles as tiles_of

Result = tuple[tuple[Write, ...], dict]
"""Writes, and further fields of the trace entry."""


@dataclass
class GateState:
    """State of the gate between GATE and the LINEARs into it: fields of the GATE, tokens still to come, queues, and
    the experts in the order in which their queues got their first entries."""

    fields: dict | None = None
    left: int = 0
    queues: list[queue_reference.Queue] = field(default_factory=list)
    order: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Context:
    """What an instruction works on: memories, weight stream, gate, the ``expert`` whose body runs (-1 outside EXPERTS).

    ``load(region, offset, rows)`` reads uint8 [rows, 64] from DRAM, ``store(offset, lines)`` writes them; lines are
    counted from the base addresses. Both raise :class:`golden.iss.IssFault`.
    """

    memories: Memories
    stream: Stream
    gate: GateState
    expert: int
    load: Callable[[Region, int, int], np.ndarray]
    store: Callable[[int, np.ndarray], None]


def begin(f: dict, context: Context) -> Result:
    return (), {}


def norm(f: dict, context: Context) -> Result:
    memories, tokens = context.memories, np.arange(f["tokens"])
    params = context.stream.norm(f)
    x = memories.read_residual(f["src_row"], tokens, f["src_stride"], f["blocks"])
    out, normalized = layernorm(x, Norm(gain=params["gain"], offset=params["offset"], shift=f["shift"], eps=f["eps"],
                                  wide=bool(f["wide"]), normalized_shift=f["normalized_shift"]))
    writes = [memories.write_operand(f["dst_row"], tokens, f["dst_stride"], f["dst_plane"], out)]
    if f["normalized"]:
        writes.append(memories.write_operand(f["normalized_row"], tokens, f["normalized_stride"], f["normalized_plane"],
                                             Operand(normalized)))
    return tuple(writes), {}


def linear(f: dict, context: Context) -> Result:
    """Outside EXPERTS a queue is empty."""
    memories, gate, over_queue = context.memories, context.gate, bool(queued(f))
    none = queue_reference.Queue(np.zeros(0, np.int64), np.zeros(0, np.uint16))
    queue = gate.queues[context.expert] if context.expert >= 0 else none
    if over_queue:
        memories.note(Resource.QUEUES, 0, write=False)
    if f["gate_weight"] and not over_queue:
        raise DomainError("Expert weights belong to a LINEAR over a queue.")
    slots = np.arange(len(queue) if over_queue else f["tokens"])

    def index(kind: int) -> np.ndarray:
        return queue.tokens if kind == Index.QUEUE_TOKEN else slots

    source = context.stream.linear(f)
    if not len(slots):
        return (), {}
    operand = _window(f, memories) if f["window"] else memories.read_operand(
        f["src_row"], index(f["src_index"]), f["src_stride"], f["slices"], f["src_plane"],
        wide=bool(f["src_wide"]), unsigned=bool(f["src_unsigned"]))
    extra = {"tokens": queue.tokens} if over_queue else {}
    acc = matmul(operand, source.weight)
    if f["dst"] == Dest.GATE:
        return route(acc + source.params["bias"], memories, gate)
    v = epilogue(acc, Epilogue(
        bias=source.params["bias"], multiplier=source.params["multiplier"], shift1=f["shift1"],
        activation=f["activation"], affine=bool(f["affine"]), gate_weight=bool(f["gate_weight"]),
        gain=source.params["gain"], offset=source.params["offset"], shift2=f["shift2"], act_shift=f["act_shift"]),
        queue.weights if f["gate_weight"] else None)
    target = index(f["dst_index"])
    return (_store(Dest(f["dst"]), f, memories, target, v),), extra


def _positions(pitch: int, lines: int, width: int) -> np.ndarray:
    """Numbers of the positions of a strip, line by line."""
    return (np.arange(lines)[:, None] * pitch + np.arange(width)).reshape(-1)


def _window(f: dict, memories: Memories) -> Operand:
    """Operand of a 3x3 convolution."""
    (top, bottom), (left, right) = padding(f["edges"])
    lines, width = f["lines"] + WINDOW - 1 - top - bottom, f["width"] + WINDOW - 1 - left - right
    strip = memories.read_operand(f["src_row"], _positions(f["pitch"], lines, width), f["src_stride"],
                                  f["window"] * SLICES_PER_ROW, f["src_plane"], wide=bool(f["src_wide"]),
                                  unsigned=bool(f["src_unsigned"]))
    return windows(strip, lines, width, f["edges"])


def upsample(f: dict, context: Context) -> Result:
    memories = context.memories
    strip = memories.read_operand(f["src_row"], _positions(f["pitch"], f["lines"], f["width"]), f["rows"],
                                  f["rows"] * SLICES_PER_ROW, unsigned=True)
    out = upsample_reference(strip.bytes.reshape(f["lines"], f["width"], -1), f["edges"])
    out = Operand.pixels(out.reshape(-1, f["rows"] * LINE))
    return (memories.write_operand(f["dst_row"], np.arange(out.shape[0]), f["rows"], 0, out),), {}


def _store(dest: Dest, f: dict, memories: Memories, target: np.ndarray, v: np.ndarray) -> Write:
    where = f["dst_row"], f["dst_stride"]
    if dest is Dest.RESIDUAL:
        if not f["accumulate"]:
            return memories.write_residual(where[0], target, where[1], to_residual(v))
        tokens, which = np.unique(target, return_inverse=True)  # a queue may name a token twice
        after = queue_reference.scatter_add(memories.read_residual(where[0], tokens, where[1], f["tiles"], late=True),
                                       which, v)
        return memories.write_residual(where[0], target, where[1], after[which])
    if dest is Dest.KEY:
        return memories.write_key(*where, target, to_key_value(v))
    if dest is Dest.VALUE:
        return memories.write_value(*where, target, to_key_value(v))
    operand = to_unsigned(v) if dest is Dest.UNSIGNED8 else to_operand(v, dest is Dest.OPERAND16)
    return memories.write_operand(where[0], target, where[1], f["dst_plane"], operand)


def start_gate(f: dict, context: Context) -> Result:
    gate = context.gate
    kept = gate.queues if f["append"] else []
    new = [queue_reference.Queue(np.zeros(0, np.int64), np.zeros(0, np.uint16)) for _ in range(len(kept), f["experts"])]
    gate.fields, gate.left, gate.queues = f, f["tokens"], kept + new
    gate.order = gate.order if f["append"] else []
    context.memories.note(Resource.QUEUES, 0, write=True)
    return (), {}


def route(s: np.ndarray, memories: Memories, gate: GateState) -> Result:
    """Raw accumulators int64 [tokens, 32 * tiles] of a LINEAR into the gate."""
    s, f = wrap32(s), gate.fields
    if f is None or len(s) > gate.left:
        raise DomainError(f"The gate waits for {gate.left} tokens; a LINEAR brings {len(s)}.")
    pairs = s.reshape(len(s), -1, 2, LOGITS)
    both = [pairs[:, :, part].reshape(len(s), -1)[:, :f["experts"]] for part in (0, 1)]
    logits = gate_reference.combine(*both)
    if logits.shape[1] < f["experts"]:
        raise DomainError(f"The gate chooses among {f['experts']} experts; a LINEAR brings {logits.shape[1]} logits.")
    chosen, weights = gate_reference.route(logits, gate_reference.Gate(
        top_k=f["top_k"], renormalise=bool(f["renormalise"]), multiplier=f["multiplier"], shift1=f["shift1"]))
    first = f["first_token"] + f["tokens"] - gate.left
    gate.queues = queue_reference.fill(chosen, weights, len(gate.queues), first, gate.queues)
    gate.order = queue_reference.arrivals(chosen, gate.order)
    gate.left -= len(s)
    check(sum(len(q) for q in gate.queues) <= memories.config.queue_depth, Status.RANGE_LOCAL, memories.index,
          f"more than {memories.config.queue_depth} entries in the expert queues")
    return (), {"logits": logits, "queues": tuple(gate.queues), "order": tuple(gate.order)}


def attend(f: dict, context: Context) -> Result:
    memories, width = context.memories, f["head_slices"] * SLICE
    if width % TN:
        raise DomainError(f"A head must have a multiple of {TN} channels, not {width}.")
    check(f["keys"] <= memories.config.max_keys, Status.RANGE_LOCAL, memories.index,
          f"{f['keys']} keys of {memories.config.max_keys}")
    multiplier, params = context.stream.attention(f)
    queries = np.arange(f["queries"])
    q = memories.read_operand(f["q_row"], queries, f["q_stride"], f["heads"] * f["head_slices"])
    k = memories.read_key(f["key_tile"], f["key_pitch"], f["keys"], f["heads"] * f["head_slices"])
    record = Attention(
        score_multiplier=multiplier, shift1=f["shift1"], gain=params["gain"], offset=params["offset"],
        shift2=f["shift2"], wide_p=bool(f["wide_p"]), wide=bool(f["wide"]), p_shift=f["p_shift"] if f["wide_p"] else 0)
    if f["class_scores"]:
        return (memories.write_residual(f["dst_row"], queries, 0, class_attention(q, k, record)[None]),), {}
    v = memories.read_value(f["value_tile"], slices_of(f["keys"]), f["keys"], tiles_of(f["heads"] * width))
    out = attention(q, k, v, record)
    return (memories.write_operand(f["dst_row"], queries, f["dst_stride"], f["dst_plane"], out),), {}


def load(f: dict, context: Context) -> Result:
    memories, none, rows = context.memories, np.zeros(1, np.int64), f["rows"]
    lines = context.load(Region(f["region"]), f["offset"], rows)
    if f["memory"] == Memory.OPERAND:
        where = memories.operand_rows(f["row"], none, 0, rows)[0]
        memories.operand[where], memories.exp[where] = lines, 0
        memories.note(Resource.OPERAND, np.stack([2 * where, 2 * where + 1]), write=True)
        return (Write("operand", where, lines.copy(), np.ones(lines.shape, bool), memories.exp[where]),), {}
    where = memories.residual_rows(f["row"], none, 0, rows)[0]
    memories.residual[where] = np.ascontiguousarray(lines).view("<i2")
    memories.note(Resource.RESIDUAL, where, write=True)
    return (memories.residual_write(where),), {}


def store(f: dict, context: Context) -> Result:
    memories, none, rows = context.memories, np.zeros(1, np.int64), f["rows"]
    if f["memory"] == Memory.OPERAND:
        where = memories.operand_rows(f["row"], none, 0, rows)[0]
        memories.note(Resource.OPERAND, np.stack([2 * where, 2 * where + 1]), write=False)
        lines = memories.operand[where]
    else:
        where = memories.residual_rows(f["row"], none, 0, rows)[0]
        memories.note(Resource.RESIDUAL, where, write=False)
        lines = memories.residual[where].astype("<i2").view(np.uint8)
    assert lines.shape == (rows, LINE)
    context.store(f["offset"], lines)
    return (Write("output", f["offset"] + np.arange(rows), lines.copy(), np.ones(lines.shape, bool)),), {}


def copy(f: dict, context: Context) -> Result:
    memories, none, rows = context.memories, np.zeros(1, np.int64), f["rows"]
    src = memories.residual_rows(f["src_row"], none, 0, rows)[0]
    dst = memories.residual_rows(f["dst_row"], none, 0, rows)[0]
    memories.residual[dst] = memories.residual[src]
    memories.note(Resource.RESIDUAL, src, write=False)
    memories.note(Resource.RESIDUAL, dst, write=True)
    return (memories.residual_write(dst),), {}


def keep(f: dict, context: Context) -> Result:
    """Reads scores and tokens before it writes any."""
    memories, lines = context.memories, tiles_of(f["tokens"])
    score = memories.read_residual(f["score_row"], np.arange(lines), 1, 1).reshape(-1)[:f["tokens"]]
    x = memories.read_residual(f["row"], np.arange(f["tokens"]), f["blocks"], f["blocks"])
    chosen = kept(score, f["first"], f["keep"])
    numbers = np.zeros((tiles_of(f["keep"]), TN), np.int16)
    numbers.reshape(-1)[:len(chosen)] = chosen
    moved = memories.write_residual(f["row"], np.arange(len(chosen)), f["blocks"], x[chosen])
    return (moved, memories.write_residual(f["score_row"], np.arange(len(numbers)), 1, numbers)), {}


SEMANTICS: dict[Opcode, Callable[[dict, Context], Result]] = {
    Opcode.BEGIN: begin, Opcode.LOAD: load, Opcode.STORE: store, Opcode.COPY: copy, Opcode.NORM: norm,
    Opcode.LINEAR: linear, Opcode.ATTENTION: attend, Opcode.GATE: start_gate, Opcode.UPSAMPLE: upsample,
    Opcode.KEEP: keep}
"""What each instruction does; the machine itself runs the bodies of EXPERTS and stops at END."""
