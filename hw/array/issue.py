# SPDX-License-Identifier: Apache-2.0
"""Beat issuer: issues a planned beat when its operands, weights and drain bank are ready, and fetches its data."""

from typing import NamedTuple

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import SLICE, TN, MachineConfig
from golden.spec.tables import WEIGHT_LEVELS, WEIGHT_MAX
from hw.array.array import DRAIN_BANKS
from hw.array.lane_buffer import pointer_bits
from hw.array.micro_op import LaneMove, RingMove, Source, micro_op
from hw.interfaces import EXP_BITS, OPERAND_BITS, SOFTMAX_SLOTS, array_beat
from hw.lib.pipeline import Pipeline


def probabilities(config: MachineConfig) -> data.ArrayLayout:
    """16 probability bytes of each lane."""
    return data.ArrayLayout(data.ArrayLayout(8, SLICE), config.tm)


class Ring(NamedTuple):
    """The place of the next row, of the row after it, and where the ring's filled part ends."""

    now: Signal
    following: Signal
    head: Signal


class BeatIssue(wiring.Component):
    """Beat issuer: keeps the pointers into weight ring and lane rows, and assembles the array's beats.

    ::

        i -> (rows loaded? ring row there? drain credit?) -> [ s1: requests ] -> memories, READ_LATENCY
                                                             [ s1 .. s3: tags ] -> [ o_beat ]

    A beat is issued when its lane row is loaded (RING, KEY), its ring row has arrived (RING) and, if it is the last of
    a tile, one of the array's drain banks is free. A row of packed weights is read for two beats, one for each half of
    its bytes, whose codes become weights on the way to the beat.
    Timing: LATENCY = 4 from ``i`` to ``o_beat``; II = 1. The array is always ready.
    Domain: plans in which no row is read twice after it was freed.
    Reference model: none, it changes nothing.

    Members: ``i`` In(stream micro_op); ``release`` In, of each cluster: a bank became free; ``loaded`` In, ``free``
    Out, pointers to the end and to the start of the lane rows in use; ``lane_*`` to and from the lane buffers;
    ``ring_*``, ``key_*``, ``value_*``, ``p_*`` to and from the memories; ``o_beat`` Out(stream array_beat);
    ``retired`` Out, the last beat of an instruction left; ``busy``, ``wait_weights``, ``wait_operands``, ``wait_drain``
    Out, what this cycle did with the plan at ``i``, all low when there was none.
    """

    LATENCY = 4
    II = 1

    i: stream.Interface
    o_beat: stream.Interface

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        kv_row, pointer = range(cfg.kv_rows), pointer_bits(cfg)
        super().__init__({
            "i": In(stream.Signature(micro_op(cfg))), "release": In(cfg.clusters), "loaded": In(pointer),
            "free": Out(pointer),
            "lane_row": Out(pointer - 1), "lane_quarter": Out(2), "lane_step": Out(3), "lane_unsigned": Out(1),
            "lane_present": Out(cfg.tm), "lane_en": Out(1),
            "lane_operand": In(data.ArrayLayout(data.ArrayLayout(OPERAND_BITS, cfg.tk), cfg.tm)),
            "lane_exp": In(data.ArrayLayout(EXP_BITS, cfg.tm)),
            "ring_level": In(range(cfg.ring_rows + 1)), "ring_row": Out(range(cfg.ring_rows)), "ring_en": Out(1),
            "ring_data": In(8 * cfg.row_bytes), "ring_release": Out(range(cfg.ring_rows + 1)),
            "ring_release_en": Out(1),
            "key_row": Out(kv_row), "key_en": Out(1), "key_data": In(8 * cfg.row_bytes),
            "value_row": Out(kv_row), "value_en": Out(1), "value_data": In(8 * cfg.row_bytes),
            "p_slot": Out(range(SOFTMAX_SLOTS)), "p_chunk": Out(8), "p_plane": Out(1), "p_en": Out(1),
            "p_data": In(probabilities(cfg)),
            "p_release": Out(1), "o_beat": Out(stream.Signature(array_beat(cfg))), "retired": Out(1),
            "busy": Out(1), "wait_weights": Out(1), "wait_operands": Out(1), "wait_drain": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        plan, go = self.i.p, Signal()
        from_ring = plan.source == Source.RING
        from_lanes = from_ring | (plan.source == Source.KEY)
        ring = self._ring(m, go, from_ring)
        lane = self._lane_row(m, go, from_lanes)

        # Drain banks.
        credits = [Signal(range(DRAIN_BANKS + 1), name=f"credits{n}", init=DRAIN_BANKS)
                   for n in range(self.cfg.clusters)]
        m.d.sync += [left.eq(left + back - (go & plan.last)) for left, back in zip(credits, self.release, strict=True)]

        # The decision.
        no_weights, no_operands, no_bank = Signal(), Signal(), Signal()
        m.d.comb += [
            no_weights.eq(from_ring & (ring.now.at == ring.head)),
            no_operands.eq(from_lanes & (lane == self.loaded)),
            no_bank.eq(plan.last & Cat(left == 0 for left in credits).any()),
            go.eq(self.i.valid & ~(no_weights | no_operands | no_bank)), self.i.ready.eq(go),
        ]
        m.d.sync += [
            self.busy.eq(go & (plan.source != Source.NONE)), self.wait_weights.eq(self.i.valid & no_weights),
            self.wait_operands.eq(self.i.valid & no_operands & ~no_weights),
            self.wait_drain.eq(self.i.valid & no_bank & ~no_operands & ~no_weights),
        ]

        # Stage 1: requests.
        m.d.sync += [
            self.ring_en.eq(go & from_ring), self.ring_row.eq(ring.now.offset),
            self.ring_release.eq(ring.following.offset),
            self.ring_release_en.eq(go & from_ring & (plan.ring == RingMove.RELEASE)),
            self.key_en.eq(go & (plan.source == Source.KEY)), self.key_row.eq(plan.row),
            self.value_en.eq(go & (plan.source == Source.VALUE)), self.value_row.eq(plan.row),
            self.lane_en.eq(go & from_lanes), self.lane_row.eq(lane),
            self.lane_quarter.eq(plan.quarter), self.lane_step.eq(plan.step), self.lane_unsigned.eq(plan.unsigned),
            self.lane_present.eq(plan.present),
            self.p_en.eq(go & (plan.source == Source.VALUE)), self.p_slot.eq(plan.slot), self.p_chunk.eq(plan.chunk),
            self.p_plane.eq(plan.plane),
        ]

        # Stages tag .. answer: in parallel with the memories.
        pipe = Pipeline(m, "s", {"tag": 1, "answer": 2}, flags={
            "valid": go & (plan.source != Source.NONE), "plan": plan})
        self._beat(m, pipe.at("answer").valid, pipe.at("answer").plan)
        return m

    def _ring(self, m, go, from_ring) -> Ring:
        """Where the next row lies, a pointer with one bit to spare, and its offset from the base; how far the ring
        is filled. ``fresh`` is the first row that nobody has read yet: where the next LINEAR begins."""
        plan = self.i.p
        bits = self.cfg.ring_rows.bit_length()
        ring, mark, start, fresh = (Signal(data.StructLayout({"at": bits, "offset": bits}), name=name)
                                    for name in ("ring", "ring_mark", "ring_start", "ring_fresh"))
        ring_tail, ring_head, ring_base = Signal(bits), Signal(bits), Signal(bits)
        # Tail and level below belong to the same cycle: the ring counts a release in the cycle after it saw it.
        with m.If(self.ring_release_en):
            m.d.sync += ring_tail.eq(ring_tail + self.ring_release)
        m.d.sync += ring_head.eq(ring_tail + self.ring_level)
        following, resume = Signal.like(ring), Signal.like(ring)  # the next row; where an instruction leaves off
        m.d.comb += [following.at.eq(ring.at + 1), following.offset.eq(ring.offset + 1)]
        with m.If(plan.reuse):
            m.d.comb += [resume.at.eq(fresh.at), resume.offset.eq(  # less the rows up to this one
                Mux(plan.ring == RingMove.RELEASE, fresh.offset + ~ring.offset, fresh.offset))]
        with m.Else():
            m.d.comb += [resume.at.eq(following.at),
                         resume.offset.eq(Mux(plan.ring == RingMove.RELEASE, 0, following.offset))]
        with m.If(go & from_ring):
            with m.Switch(plan.ring):
                with m.Case(RingMove.NEXT):
                    m.d.sync += ring.eq(following)
                with m.Case(RingMove.AGAIN):
                    m.d.sync += ring.eq(mark)
                with m.Case(RingMove.MARK):
                    m.d.sync += [ring.eq(following), mark.eq(following)]
                with m.Case(RingMove.BLOCK):
                    m.d.sync += [place.eq(following) for place in (ring, mark, start)]
                with m.Case(RingMove.RESTART):
                    m.d.sync += [ring.eq(start), mark.eq(start)]
                with m.Case(RingMove.RELEASE, RingMove.KEEP):
                    m.d.sync += [place.eq(resume) for place in (ring, mark, start, fresh)]
                    with m.If(plan.ring == RingMove.RELEASE):
                        m.d.sync += ring_base.eq(following.at)
        with m.If(go & (plan.source == Source.NONE)):
            sought = {"at": ring_base + plan.jump, "offset": plan.jump}
            m.d.sync += [place[name].eq(value) for place in (ring, mark, start) for name, value in sought.items()]
        return Ring(now=ring, following=following, head=ring_head)

    def _lane_row(self, m, go, from_lanes) -> Signal:
        """The row of the lane buffers."""
        plan, lane = self.i.p, Signal(pointer_bits(self.cfg))
        with m.If(go & from_lanes):
            with m.Switch(plan.lane):
                with m.Case(LaneMove.NEXT):
                    m.d.sync += lane.eq(lane + 1)
                with m.Case(LaneMove.REWIND):
                    m.d.sync += lane.eq(self.free)
                with m.Case(LaneMove.FREE):
                    m.d.sync += [lane.eq(lane + 1), self.free.eq(lane + 1)]
        return lane

    def _beat(self, m, valid, tag) -> None:
        """The beat, from the memories' answers. Lane buffers zero absent lanes themselves."""
        cfg = self.cfg
        beat = Signal(array_beat(cfg), reset_less=True)
        m.d.comb += self.o_beat.p.eq(beat)
        m.d.sync += [
            self.o_beat.valid.eq(valid), beat.first.eq(tag.first), beat.shift8.eq(tag.shift8), beat.last.eq(tag.last),
            self.p_release.eq(valid & tag.p_release), self.retired.eq(valid & tag.final),
        ]
        with m.Switch(tag.source):
            for source, word in ((Source.RING, self._ring_row(tag)), (Source.KEY, self.key_data)):
                with m.Case(source):
                    m.d.sync += beat.weight.as_value().eq(word)
            with m.Default():
                m.d.sync += beat.weight.as_value().eq(Mux(tag.unit, self._unit_row(tag), self.value_data))
        from_lanes = tag.source != Source.VALUE  # the beat's own
        for n in range(cfg.tm):
            steps = [self.p_data[n].as_value().word_select(place, 8 * cfg.tk) for place in range(cfg.steps)]
            p_step = Signal(8 * cfg.tk, name=f"p_step{n}")
            m.d.comb += p_step.eq(Array(steps)[tag.step[:(cfg.steps - 1).bit_length()]] if cfg.steps > 1 else steps[0])
            m.d.sync += beat.exp[n].eq(Mux(tag.scaled, self.lane_exp[n], 0))
            for j in range(cfg.tk):
                m.d.sync += beat.operand[n][j].eq(
                    Mux(from_lanes, self.lane_operand[n][j], Mux(tag.present[n], p_step[8 * j:8 * j + 8], 0)))

    def _ring_row(self, tag) -> Value:
        """The step's weights: the ring's row, or what the codes in a half of each of its bytes stand for."""
        row, levels = [], Array(Const(level & 255, 8) for level in WEIGHT_LEVELS)
        for n in range(self.cfg.row_bytes):
            byte = self.ring_data.word_select(n, 8)
            code = Mux(tag.high, byte[4:], byte[:4])
            row.append(Mux(tag.packed, levels[code], byte))
        return Cat(*row)

    def _unit_row(self, tag) -> Value:
        """127 where channel c of the tile is key c of its 32, of this step's keys."""
        cfg, row = self.cfg, []
        for c in range(TN):
            step, own = divmod(c % SLICE, cfg.tk)
            hit = tag.diagonal & (tag.chunk[0] == c // SLICE) & (tag.step == step)
            row += [Mux(hit, Const(WEIGHT_MAX, 8), 0) if j == own else Const(0, 8) for j in range(cfg.tk)]
        return Cat(*row)
