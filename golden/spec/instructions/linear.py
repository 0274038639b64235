# SPDX-License-Identifier: Apache-2.0
"""Matrix product on the array: LINEAR."""

from golden.spec.activations import ACT_SHIFT_MAX, ACTIVATION_BITS, BY_CODE
from golden.spec.instructions.codes import Dest, Destination, Edge, Index, Opcode, Resource, Unit
from golden.spec.instructions.record import (
    READS_QUEUES,
    STREAM,
    AddressRange,
    Instruction,
    ProgramState,
    Segment,
    StreamLines,
    choose,
    edge_bits,
    round_down,
    round_up,
)
from golden.spec.instructions.words import Field
from golden.spec.machine import PARAM_LINES, SLICE, TN, MachineConfig
from golden.spec.tiling import BLOCKS_PER_ROW, SLICES_PER_ROW, linear_tile_lines, window_slices

LOGITS = TN // 2
"""Logits that one output tile brings to the gate, each a column of high parts and one of low parts."""
MAX_BLOCK = 8
"""Most output tiles of a block: as many as the epilogue has parameter sets."""
SHIFT2 = Field("shift2", 6, "right shift after the second multiplication")


def retained(f, s: ProgramState, pick=choose):
    """``held`` after a LINEAR. One with ``reuse_weights`` releases all weights up to its last."""
    left = pick(f["reuse_weights"], s.held - f["until"], 0)
    return pick(f["retain_weights"], s.held + pick(f["reuse_weights"], 0, f["weights"]), left)


def queued(f):
    """Whether a LINEAR's rows follow an expert's queue."""
    return (f["src_index"] != Index.DIRECT) | (f["dst_index"] != Index.DIRECT)


def _extents(f, pick=choose) -> dict:
    """``stored``: slices of the ring that a tile's weights take; with ``window``, last line and column of the strip of
    operands."""
    top, bottom, left, right = edge_bits(f)
    return {"stored": pick(f["packed"], round_down(f["slices"], 2), f["slices"]),
            "line_last": f["lines"] + 1 - top - bottom, "column_last": f["width"] + 1 - left - right}


def _products(f, pick=choose) -> dict:
    """``weights`` in slices of the ring; with ``window``, ``positions`` of the results."""
    return {"weights": f["tiles"] * f["stored"], "positions": f["lines"] * f["width"],
            "strip_lines": f["line_last"] * f["pitch"]}


def _to_operand(dst):
    return (dst == Dest.OPERAND8) | (dst == Dest.OPERAND16) | (dst == Dest.UNSIGNED8)


def _totals(f, pick=choose) -> dict:
    """``until``: the last of the weights, counted from the oldest retained one; ``strip_last``: with ``window``, the
    last position of the strip that is read; ``overlapping``: the stride is too small for two tokens; ``crowded``:
    results overlap whatever queues hold."""
    dst, stride = f["dst"], f["dst_stride"]
    rows = round_up(f["tiles"], BLOCKS_PER_ROW)
    wide, operand = dst == Dest.OPERAND16, _to_operand(dst)
    key, value = dst == Dest.KEY, dst == Dest.VALUE
    return {
        "until": f["reuse_offset"] + f["weights"], "strip_last": f["strip_lines"] + f["column_last"],
        "overlapping": (dst == Dest.RESIDUAL) & (stride < f["tiles"])
        | operand & (stride < rows + pick(wide, f["dst_plane"], 0)),
        "crowded": wide & (f["dst_plane"] < rows)
        | key & (f["tokens"] > TN) & (stride < f["tiles"] * (TN // SLICE))
        | value & (f["tiles"] > 1) & (stride < round_up(f["tokens"], SLICE)),
    }


def _count(f, index, s: ProgramState, pick):
    """How many different rows an operand or result of a LINEAR can have: with a queue none outside of EXPERTS."""
    of_queue = pick(f[index] == Index.QUEUE_TOKEN, s.named, s.slots)
    return pick(queued(f), pick(s.body, of_queue, 0), f["tokens"])


def _contradictions(f, s: ProgramState, pick=choose) -> list:
    to_gate = f["dst"] == Dest.GATE
    return [f["src_wide"] & f["src_unsigned"], f["gate_weight"] & (queued(f) == 0),
            f["gate_weight"] & ((f["activation"] != 0) | f["affine"]),
            (f["dst"] >= Dest.KEY) & queued(f), to_gate & s.body, to_gate & (f["tokens"] > s.left),
            to_gate & (f["tiles"] != round_up(s.experts, LOGITS)),
            (f["retain_weights"] | f["reuse_weights"]) & s.body,
            f["reuse_weights"] & (f["until"] > s.held), f["crowded"],
            (f["window"] != 0) & (queued(f) | to_gate | (f["slices"] != f["window"] * window_slices(1))
                                  | (f["tokens"] != f["positions"]) | (f["tokens"] == 0)),
            (f["window"] == 0) & ((f["width"] | f["lines"] | f["pitch"] | f["edges"]) != 0),
            f["overlapping"] & (pick(queued(f), pick(s.body, s.slots, 0), f["tokens"]) > 1),
            f["packed"] & f["slices"] & 1]


def _tiles_in_ring(f, pick):
    """Output tiles whose weights the ring holds at the same time."""
    everything = (f["dst"] == Dest.GATE) | f["retain_weights"] | (f["tiles"] <= f["block"])
    return pick(everything, f["tiles"], f["block"] + 1)


def _ranges(f, s: ProgramState, pick=choose) -> list[AddressRange]:
    sources, results = _count(f, "src_index", s, pick), _count(f, "dst_index", s, pick)
    work, dst = (sources != 0) & (results != 0), f["dst"]
    rows = round_up(f["slices"], SLICES_PER_ROW)
    to_gate, to_residual = dst == Dest.GATE, dst == Dest.RESIDUAL
    to_operand, window = _to_operand(dst), f["window"] != 0
    target = {"base": f["dst_row"], "steps": results - 1, "stride": f["dst_stride"], "write": True}
    return [
        AddressRange(0, Resource.OPERAND, when=work, base=f["src_row"],
                     steps=pick(window, f["strip_last"], sources - 1), stride=f["src_stride"],
                     count=pick(window, f["window"], rows) + pick(f["src_wide"], f["src_plane"], 0)),
        AddressRange(1, Resource.RESIDUAL, when=work & to_residual, **target, count=f["tiles"],
                     updates=f["accumulate"]),
        AddressRange(1, Resource.OPERAND, when=work & to_operand, **target,
                     count=round_up(f["tiles"], BLOCKS_PER_ROW) + pick(dst == Dest.OPERAND16, f["dst_plane"], 0)),
        AddressRange(1, Resource.KEY, when=work & (dst == Dest.KEY), base=f["dst_row"],
                     steps=round_down(results - 1, TN), stride=f["dst_stride"], count=f["tiles"] * (TN // SLICE),
                     write=True),
        AddressRange(1, Resource.VALUE, when=work & (dst == Dest.VALUE), base=f["dst_row"], steps=f["tiles"] - 1,
                     stride=f["dst_stride"], count=round_down(results - 1, SLICE) + 1, write=True),
        AddressRange(2, Resource.RING, when=f["reuse_weights"] == 0, base=s.held, steps=f["stored"],
                     stride=_tiles_in_ring(f, pick)),
        AddressRange(3, Resource.LANE_BUFFER, when=to_gate | (f["block"] != 0), steps=rows,
                     stride=pick(f["src_wide"], 2, 1)),
    ]


def _changes(f, s: ProgramState) -> dict:
    return {"left": s.left - (f["tokens"] if f["dst"] == Dest.GATE else 0), "held": retained(f, s)}


def _stream(f, machine: MachineConfig) -> StreamLines:
    """For each tile its parameters, then its weights, which are not read again with ``reuse_weights``."""
    weights = Segment(Destination.RING, linear_tile_lines(f["slices"], f.get("packed", 0)) - PARAM_LINES,
                      bool(f.get("reuse_weights")))
    return StreamLines((Segment(Destination.PARAM, PARAM_LINES), weights), f["tiles"])


LINEAR = Instruction(
    opcode=Opcode.LINEAR, unit=Unit.ARRAY,
    about="acc = operand . weights over 16 * slices inputs, for each of 32 * tiles channels; then the epilogue. "
          "Weights leave the ring in stream order: a LINEAR without `retain_weights` releases its own and all retained "
          "so far; with `reuse_weights` only those up to its own last. Neither flag in a body; nothing may be retained "
          "at EXPERTS. With `window` it is a 3x3 convolution: index i is position (i // width, i % width) of `lines` "
          "lines; its operand are the nine positions around it in a strip of a map whose lines are `pitch` positions "
          "apart, zeros beyond an edge of the map. The strip has a halo of one position on each side without an edge. "
          "Inputs are ordered by map line, operand row of a position, map column, channel: "
          "`golden.spec.tiling.window_order`. Output tiles are computed in blocks of "
          "block + 1: a token group's operand is loaded once for all tiles of a block, whose weights are in the ring "
          "together (dst GATE: all tiles are one block). Of `packed` weights, codes of four bits, two slices take one "
          "slice of stream and ring: each step row holds two steps, the first in the low halves of its bytes.",
    fields=(
        STREAM, Field("tokens", 12, "how many, for DIRECT"), Field("tiles", 8, "32-channel output tiles"),
        Field("slices", 9, "16-input slices"), Field("src_index", 2, "rows of the operands: Index", codes=Index),
        Field("src_row", 16, "operand row of index 0"), Field("src_stride", 8, "operand rows from index to index"),
        Field("src_plane", 8, "rows from high to low bytes when wide"),
        Field("src_wide", 1, "16-bit operands, two passes"),
        Field("src_unsigned", 1, "bytes are 0..255 (8-bit operands only)"),
        Field("dst", 3, "Dest", codes=Dest),
        Field("dst_index", 2, "rows of the results: Index (RESIDUAL and OPERAND only)", codes=Index),
        Field("dst_row", 16, "row of index 0; for KEY and VALUE the first tile"),
        Field("dst_stride", 8, "rows from index to index; for KEY the slices of a key tile, for VALUE of all keys"),
        Field("dst_plane", 8, "rows from high to low bytes for OPERAND16"),
        Field("accumulate", 1, "add to the residual row instead of replacing it"),
        Field("activation", ACTIVATION_BITS, "code of the activation between the two multiplications; 0 none"),
        Field("affine", 1, "apply gain and offset"),
        Field("gate_weight", 1, "multiply by the queue entry's expert weight instead of a gain"),
        Field("shift1", 6, "right shift after the multiplier"), SHIFT2,
        Field("retain_weights", 1, "the weights stay in the ring after this instruction"),
        Field("reuse_weights", 1, "multiply by retained weights; only parameters are read from the stream"),
        Field("reuse_offset", 14,
              "with reuse_weights: slices of the ring from the oldest retained one to the first one used"),
        Field("act_shift", 3, "the activation's input has 9 - act_shift fraction bits"),
        Field("window", 4, "3x3 convolution: operand rows of a position; 0: none, src_row is a token's operand"),
        Field("width", 10, "with window: positions of a line of results"),
        Field("lines", 8, "with window: lines of results"),
        Field("pitch", 10, "with window: positions from line to line of the operands"),
        Field("edges", 4, "with window: Edge bits of the operands' strip", codes=Edge),
        Field("block", 3, "output tiles of a block, less one; changes no result"),
        Field("packed", 1, "weights are 4-bit codes, two to a byte; slices is then even")),
    limits={"tokens": (0, 4095), "tiles": (1, 255), "slices": (1, 511), "src_index": (0, len(Index) - 1),
            "dst": (0, len(Dest) - 1), "dst_index": (0, len(Index) - 1), "shift1": (0, 47), "shift2": (0, 40),
            "activation": (0, len(BY_CODE) - 1), "act_shift": (0, ACT_SHIFT_MAX),
            "window": (0, 14), "block": (0, MAX_BLOCK - 1)},
    extents=_extents, products=_products, totals=_totals, contradictions=_contradictions, ranges=_ranges,
    changes=_changes, queues=lambda f: (READS_QUEUES,) if queued(f) else (), stream=_stream)
