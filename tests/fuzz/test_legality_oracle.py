# SPDX-License-Identifier: Apache-2.0
"""Brute-force oracle for golden/spec/legality: every row that an instruction uses, one by one, on a tiny machine.

An instruction that is accepted must keep inside its memories and write no row twice; one that is refused must not have
been harmless. The formulas under test feed the simulator, the gateware and the model of its bench alike.
"""

import itertools
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from golden.iss.bounds_check import meet
from golden.spec.isa import FORMATS, LIMITS, Dest, Index, Opcode
from golden.spec.legality import ProgramState, Resource, capacity, contradictions, derived, ranges
from golden.spec.machine import MachineConfig
from golden.spec.tiling import window_slices
from tests.fuzz.profile import LEGALITY, examples

TINY = MachineConfig(
    name="tiny", tm=2, tk=4, ports=1, ring_lines=64, param_lines=16, operand_rows=64, residual_rows=64, kv_tiles=8,
    lane_rows=4, max_keys=64, program_depth=16, queue_depth=32)
MEMORIES = (Resource.OPERAND, Resource.RESIDUAL, Resource.KEY, Resource.VALUE)


@dataclass
class Rows:
    """Rows used, by memory: those read, and those written with how often."""

    read: dict[Resource, set[int]]
    written: dict[Resource, Counter]

    @classmethod
    def none(cls) -> "Rows":
        return cls({m: set() for m in MEMORIES}, {m: Counter() for m in MEMORIES})

    def beyond(self) -> bool:
        return any(row >= capacity(TINY, m) for m in MEMORIES for row in {*self.read[m], *self.written[m]})

    def twice(self) -> bool:
        return any(count > 1 for written in self.written.values() for count in written.values())

    def both(self) -> bool:
        return any(self.read[m] & set(self.written[m]) for m in MEMORIES)


def _operand_write(rows: Rows, base: int, tokens, stride: int, count: int, wide: bool, plane: int) -> None:
    for token in tokens:
        for row in range(count):
            for p in range(2 if wide else 1):
                rows.written[Resource.OPERAND][base + token * stride + p * plane + row] += 1


def used_rows(opcode: Opcode, f: dict, state: ProgramState) -> Rows:
    """What the instruction does to the memories, by its description in golden/spec/isa and tiling."""
    rows = Rows.none()
    if opcode in (Opcode.LOAD, Opcode.STORE):
        memory = Resource.RESIDUAL if f["memory"] else Resource.OPERAND
        for row in range(f["row"], f["row"] + f["rows"]):
            if opcode is Opcode.LOAD:
                rows.written[memory][row] += 1
            else:
                rows.read[memory].add(row)
    elif opcode is Opcode.COPY:
        rows.read[Resource.RESIDUAL] = {f["src_row"] + i for i in range(f["rows"])}
        rows.written[Resource.RESIDUAL] = Counter(f["dst_row"] + i for i in range(f["rows"]))
    elif opcode is Opcode.NORM:
        tokens, count = range(f["tokens"]), (f["blocks"] + 1) // 2
        rows.read[Resource.RESIDUAL] = {f["src_row"] + t * f["src_stride"] + b for t in tokens
                                        for b in range(f["blocks"])}
        _operand_write(rows, f["dst_row"], tokens, f["dst_stride"], count, f["wide"], f["dst_plane"])
        if f["normalized"]:
            _operand_write(rows, f["normalized_row"], tokens, f["normalized_stride"], count, True,
                           f["normalized_plane"])
    elif opcode is Opcode.LINEAR:
        _linear_rows(rows, f, state)
    elif opcode is Opcode.ATTENTION:
        slices = f["heads"] * f["head_slices"]
        queries, count = range(f["queries"]), (slices + 3) // 4
        rows.read[Resource.OPERAND] = {f["q_row"] + q * f["q_stride"] + r for q in queries for r in range(count)}
        if f["class_scores"]:
            rows.written[Resource.RESIDUAL] = Counter(f["dst_row"] + n for n in range((f["keys"] + 31) // 32))
        else:
            _operand_write(rows, f["dst_row"], queries, f["dst_stride"], count, f["wide"], f["dst_plane"])
        for key in range(f["keys"]):
            rows.read[Resource.KEY] |= {f["key_tile"] + key // 32 * f["key_pitch"] + s for s in range(slices)}
            if f["class_scores"]:
                continue
            rows.read[Resource.VALUE] |= {f["value_tile"] + tile * ((f["keys"] + 15) // 16) + key // 16
                                          for tile in range((slices + 1) // 2)}
    elif opcode is Opcode.UPSAMPLE:
        _read_strip(rows, f, f["lines"], f["width"], f["rows"], f["rows"])
        edges = [f["edges"] >> side & 1 for side in range(4)]
        results = (2 * f["lines"] - 2 + edges[0] + edges[1]) * (2 * f["width"] - 2 + edges[2] + edges[3])
        rows.written[Resource.OPERAND] = Counter(f["dst_row"] + n for n in range(results * f["rows"]))
    elif opcode is Opcode.KEEP:
        of_scores, of_numbers = (range((f[name] + 31) // 32) for name in ("tokens", "keep"))
        of_tokens, of_kept = (range(f[name] * f["blocks"]) for name in ("tokens", "keep"))
        rows.read[Resource.RESIDUAL] = {f["score_row"] + n for n in of_scores} | {f["row"] + n for n in of_tokens}
        rows.written[Resource.RESIDUAL] = (Counter(f["score_row"] + n for n in of_numbers)
                                           + Counter(f["row"] + n for n in of_kept))
    return rows


def _read_strip(rows: Rows, f: dict, lines: int, width: int, stride: int, count: int, planes=(0,)) -> None:
    for y, x, row, plane in itertools.product(range(lines), range(width), range(count), planes):
        rows.read[Resource.OPERAND].add(f["src_row"] + (y * f["pitch"] + x) * stride + row + plane)


def _linear_rows(rows: Rows, f: dict, state: ProgramState) -> None:
    queued = f["src_index"] != Index.DIRECT or f["dst_index"] != Index.DIRECT

    def numbers(index: int) -> range:
        if not queued:
            return range(f["tokens"])
        if not state.body:  # there is no expert, so there is no queue
            return range(0)
        return range(state.named) if index == Index.QUEUE_TOKEN else range(state.slots)

    sources, results = numbers(f["src_index"]), numbers(f["dst_index"])
    if not len(sources) or not len(results):
        return
    if f["window"]:  # a halo around the results, except where the map ends
        top, bottom, left, right = (f["edges"] >> side & 1 for side in range(4))
        _read_strip(rows, f, f["lines"] + 2 - top - bottom, f["width"] + 2 - left - right, f["src_stride"], f["window"],
                    (0, f["src_plane"]) if f["src_wide"] else (0,))
    for token in sources if not f["window"] else ():
        for row in range((f["slices"] + 3) // 4):
            for plane in range(2 if f["src_wide"] else 1):
                rows.read[Resource.OPERAND].add(f["src_row"] + token * f["src_stride"] + plane * f["src_plane"] + row)
    base, stride, dst = f["dst_row"], f["dst_stride"], f["dst"]
    if dst in (Dest.OPERAND8, Dest.OPERAND16, Dest.UNSIGNED8):
        _operand_write(rows, base, results, stride, (f["tiles"] + 1) // 2, dst == Dest.OPERAND16, f["dst_plane"])
    elif dst == Dest.RESIDUAL:
        rows.written[Resource.RESIDUAL].update(base + token * stride + tile for token in results
                                               for tile in range(f["tiles"]))
    elif dst == Dest.KEY:  # a tile is written once for each of its keys: what must not meet are key groups
        rows.written[Resource.KEY].update(base + group * stride + s for group in range((len(results) + 31) // 32)
                                          for s in range(2 * f["tiles"]))
    elif dst == Dest.VALUE:
        rows.written[Resource.VALUE].update(base + tile * stride + group for tile in range(f["tiles"])
                                            for group in range((len(results) + 15) // 16))


SMALL = {"tokens": 20, "tiles": 3, "slices": 8, "blocks": 4, "queries": 12, "keys": 70, "heads": 3, "rows": 40,
         "row": 70, "src_row": 60, "dst_row": 60, "q_row": 60, "normalized_row": 60, "key_tile": 8, "value_tile": 8,
         "key_pitch": 6,
         "src_stride": 5, "dst_stride": 6, "q_stride": 5, "normalized_stride": 6, "src_plane": 5, "dst_plane": 5,
         "normalized_plane": 5, "first_token": 30, "experts": 20, "top_k": 4, "reuse_offset": 30, "body": 3,
         "window": 3, "width": 4, "lines": 4, "pitch": 6, "score_row": 70, "keep": 20, "first": 8}
"""Fields are drawn up to these, so that a tiny machine accepts about as often as it refuses."""


@st.composite
def windows(draw) -> dict:
    """Fields of a convolution, or of a LINEAR that is none."""
    rows, width, lines = draw(st.integers(0, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    if rows == 0:
        return dict.fromkeys(("window", "width", "lines", "pitch", "edges"), 0)
    return {"window": rows, "width": width, "lines": lines, "pitch": draw(st.integers(0, 6)),
            "edges": draw(st.integers(0, 15)), "tokens": width * lines, "slices": window_slices(rows), "src_index": 0,
            "dst_index": 0}


@st.composite
def instructions(draw) -> tuple[Opcode, dict, ProgramState]:
    opcode = draw(st.sampled_from([o for o in Opcode if o not in (Opcode.BEGIN, Opcode.END)]))
    fields = {}
    for field in FORMATS[opcode].fields[1:]:
        low, high = LIMITS.get(opcode, {}).get(field.name, (0, field.high))
        fields[field.name] = draw(st.integers(low, max(low, min(high, SMALL.get(field.name, high)))))
    slots = draw(st.sampled_from([0, 1, 2, 7, 12]))
    state = ProgramState(left=draw(st.sampled_from([0, 0, 0, 7, 20])), experts=draw(st.integers(1, 20)),
                         named=draw(st.integers(slots, 20)) if slots else 0, slots=slots,
                         entries=draw(st.integers(0, 20)), held=draw(st.sampled_from([0, 0, 4, 7])),
                         body=draw(st.booleans()))
    if opcode is Opcode.LINEAR and draw(st.booleans()):  # one that passes all other checks
        fields |= {"gate_weight": 0, "retain_weights": 0, "reuse_weights": 0, "src_unsigned": 0,
                   "src_wide": draw(st.integers(0, 1)), "packed": fields["packed"] & ~fields["slices"]}
        fields |= {} if state.body else {"src_index": 0, "dst_index": 0}
    if opcode is Opcode.LINEAR:
        fields |= draw(windows())
    if opcode is Opcode.UPSAMPLE:
        fields["rows"] = draw(st.integers(1, 3))
    return opcode, fields, state


@given(instructions())
@examples(LEGALITY)
def test_ranges_are_exactly_the_rows_that_are_used(instruction):
    opcode, fields, state = instruction
    f = fields | derived(opcode, fields)
    rows = used_rows(opcode, fields, state)
    said = [r for r in ranges(opcode, f, state) if r.when]
    for memory in MEMORIES:
        used = {*rows.read[memory], *rows.written[memory]}
        assert max((r.end for r in said if r.resource == memory), default=0) == max(used, default=-1) + 1, memory
        assert min((r.base for r in said if r.resource == memory), default=0) == min(used, default=0), memory
    beyond = any(r.end > capacity(TINY, r.resource) for r in said if r.resource in MEMORIES)
    assert beyond == rows.beyond()
    event(f"{opcode.name}: {'beyond' if beyond else 'inside'}")


@given(instructions())
@examples(LEGALITY)
def test_no_accepted_instruction_writes_a_row_twice_or_reads_what_it_writes(instruction):
    opcode, fields, state = instruction
    f = fields | derived(opcode, fields)
    said = [r for r in ranges(opcode, f, state) if r.when]
    pair = {r.slot: r for r in said if r.slot < 2}
    met = len(pair) == 2 and meet(pair[0], pair[1])
    rows = used_rows(opcode, fields, replace(state, named=min(state.named, state.slots)))  # as many as can be there
    refused = any(contradictions(opcode, f, state)) or met
    event(f"{opcode.name}: {'refused' if refused else 'accepted'}")
    if not refused:
        assert not rows.twice()
        assert opcode is Opcode.KEEP or not rows.both()  # moves rows in place, in order
    if met:
        assert pair[0].resource == pair[1].resource and max(pair[0].base, pair[1].base) < min(pair[0].end, pair[1].end)


@given(instructions())
@examples(LEGALITY)
def test_what_is_refused_for_its_strides_would_have_met(instruction):
    """Of results that no rule but the one on strides refuses, two do meet; or a token's planes do not lie together."""
    opcode, fields, state = instruction
    assume(opcode in (Opcode.NORM, Opcode.LINEAR, Opcode.ATTENTION))
    f = fields | derived(opcode, fields)
    wide = {Opcode.NORM: fields.get("wide") or fields.get("normalized"), Opcode.ATTENTION: fields.get("wide"),
            Opcode.LINEAR: fields.get("dst") == Dest.OPERAND16}[opcode]
    number = {Opcode.NORM: (0, 1), Opcode.LINEAR: (9, 12), Opcode.ATTENTION: (1,)}[opcode]
    strides = any(contradictions(opcode, f, state)[n] for n in number)
    rows = used_rows(opcode, fields, state)
    queue = opcode is Opcode.LINEAR and (fields["src_index"] or fields["dst_index"])
    assume(not queue or state.slots != 1 and fields["dst"] < Dest.KEY)  # one entry names one token; others are refused
    if strides and not wide:
        assert rows.twice()
    if rows.twice() and not (opcode is Opcode.NORM and fields["normalized"]):
        assert strides
    event(f"{opcode.name}: {'refused' if strides else 'accepted'}")


@pytest.mark.parametrize("dst, retain, reuse, retained, tiles, slices_packed, wide, block", itertools.product(
    (Dest.RESIDUAL, Dest.GATE), (0, 1), (0, 1), (0, 24), (1, 3), ((1, 0), (5, 0), (8, 0), (2, 1), (10, 1)), (0, 1),
    (0, 1, 2, 7)))
def test_the_ring_and_the_lanes_hold_what_is_used_more_than_once(dst, retain, reuse, retained, tiles, slices_packed,
                                                                 wide, block):
    """Slices in the ring at one time: those retained, and a block's or, for the gate and what stays, all tiles'; two
    packed ones take the place of one. Rows in the lanes: a group's, where several tiles use them."""
    slices, packed = slices_packed
    f = {field.name: 0 for field in FORMATS[Opcode.LINEAR].fields} | {
        "dst": dst, "retain_weights": retain, "reuse_weights": reuse, "tiles": tiles, "slices": slices,
        "src_wide": wide, "block": block, "packed": packed,
        "tokens": 2, "src_stride": 4, "src_plane": 2, "dst_stride": 3}
    state = ProgramState(held=retained, left=2, experts=16 * tiles)
    said = {r.resource: r.end for r in ranges(Opcode.LINEAR, f | derived(Opcode.LINEAR, f), state) if r.when}
    stays = tiles if retain or dst == Dest.GATE else min(tiles, block + 1)
    assert said.get(Resource.RING, 0) == (0 if reuse else retained + stays * (slices // 2 if packed else slices))
    assert said.get(Resource.LANE_BUFFER, 0) == ((slices + 3) // 4 * (1 + wide) if dst == Dest.GATE or block else 0)
