# SPDX-License-Identifier: Apache-2.0
"""Array control: turns LINEAR and ATTENTION into array beats and a context for each finished tile."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from hw.array.attention_schedule import AttentionSchedule
from hw.array.issue import BeatIssue, probabilities
from hw.array.lane_buffer import LaneBuffer
from hw.array.linear_schedule import LinearSchedule
from hw.array.micro_op import micro_op
from hw.array.operand_loader import OperandLoader
from hw.array.token_iterator import TRAVERSAL
from hw.interfaces import (
    ISSUE,
    LINE_BITS,
    OPERAND_ROW,
    QUEUE_ENTRY,
    READ_LATENCY,
    ROW_BITS,
    SOFTMAX_JOB,
    SOFTMAX_SLOTS,
    array_beat,
    softmax_done,
    tile_context,
)
from hw.lib.own_reset import add_with_own_reset
from hw.lib.queue import Queue
from hw.shapes import INSTRUCTION

INSTRUCTIONS_AHEAD = 2
PLANS_AHEAD = 4
CONTEXTS_AHEAD = 2


class ArrayControl(wiring.Component):
    """Array control: prefetches operands, runs the loops, fetches weights (or K, or V), sends one array beat a cycle.

    ::

        i -+-> [queue] -> [OperandLoader] -> [LaneBuffer] x tm -------------------------------.
           |                   | groups                                                       |
           '-> [queue] -> [LinearSchedule | AttentionSchedule] -+-> [plans] -> [BeatIssue] -> o_beat
                                                                '-> [contexts] -> o_context

    The loader runs ahead through groups, tiles and instructions as far as the lane buffers hold; the schedules make
    the loop order of ``golden.spec.isa``; the beat issuer checks the conditions of a beat and requests its data.
    Timing: LATENCY cycles from ``i`` to the first beat of a full group when nothing waits. II = 1 beat: no cycle is
    lost between groups, tiles and LINEARs as long as loading a group (one row of 64 bytes a cycle:
    tm * ceil(slices / 4), with ``window`` (tm + 2) / 3 times ceil(slices / 4)) takes no longer than computing it
    (slices * steps), each twice when wide. Bytes fetched a cycle from ring, K and V do not depend on tm. The array is
    always ready; ``release`` returns drain banks.
    Domain: fields within ``golden.spec.isa.LIMITS``; a tile's weights fit the ring (GATE: all).
    Reference model: the loops of ``golden.iss``.

    Members: as in ``hw/README.md``. ``idle_issue``: no instruction was accepted whose last beat has not left.
    ``busy``, ``wait_weights``, ``wait_operands``, ``wait_drain``: what the cycle was used for, at most one is high.
    """

    II = 1

    i: stream.Interface
    o_beat: stream.Interface
    o_context: stream.Interface
    o_operand_read: stream.Interface
    i_multipliers: stream.Interface
    o_traverse: stream.Interface
    i_entry: stream.Interface
    o_softmax_job: stream.Interface
    i_softmax_done: stream.Interface

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        self.LATENCY = 1 + OperandLoader.LATENCY + 2 * (cfg.tm - 1) + READ_LATENCY + 2 + BeatIssue.LATENCY
        kv_row, weights = range(cfg.kv_rows), 8 * cfg.row_bytes
        super().__init__({
            "i": In(stream.Signature(ISSUE)), "o_beat": Out(stream.Signature(array_beat(cfg))),
            "o_context": Out(stream.Signature(tile_context(cfg))), "release": In(cfg.clusters),
            "o_operand_read": Out(stream.Signature(ROW_BITS)), "i_operand_row": In(OPERAND_ROW),
            "ring_level": In(range(cfg.ring_rows + 1)), "ring_row": Out(range(cfg.ring_rows)), "ring_en": Out(1),
            "ring_data": In(weights), "ring_release": Out(range(cfg.ring_rows + 1)), "ring_release_en": Out(1),
            "key_row": Out(kv_row), "key_en": Out(1), "key_data": In(weights),
            "value_row": Out(kv_row), "value_en": Out(1), "value_data": In(weights),
            "i_multipliers": In(stream.Signature(LINE_BITS)), "o_traverse": Out(stream.Signature(TRAVERSAL)),
            "i_entry": In(stream.Signature(QUEUE_ENTRY)), "o_softmax_job": Out(stream.Signature(SOFTMAX_JOB)),
            "i_softmax_done": In(stream.Signature(softmax_done(cfg))),
            "p_slot": Out(range(SOFTMAX_SLOTS)), "p_chunk": Out(8), "p_plane": Out(1), "p_en": Out(1),
            "p_data": In(probabilities(cfg)),
            "p_release": Out(1), "idle_issue": Out(1, init=1),
            "busy": Out(1), "wait_weights": Out(1), "wait_operands": Out(1), "wait_drain": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        cfg = self.cfg
        loader, issue = OperandLoader(cfg), BeatIssue(cfg)
        linear, attention = LinearSchedule(cfg), AttentionSchedule(cfg)
        for name, part in (("loader", loader), ("linear", linear), ("attention", attention), ("issue", issue)):
            add_with_own_reset(m, name, part)

        # Every instruction goes to the loader and to the schedules.
        to_load = m.submodules.to_load = Queue(ISSUE, INSTRUCTIONS_AHEAD)
        to_schedule = m.submodules.to_schedule = Queue(ISSUE, INSTRUCTIONS_AHEAD)
        m.d.comb += [
            self.i.ready.eq(to_load.i.ready & to_schedule.i.ready),
            to_load.i.valid.eq(self.i.valid & to_schedule.i.ready), to_load.i.p.eq(self.i.p),
            to_schedule.i.valid.eq(self.i.valid & to_load.i.ready), to_schedule.i.p.eq(self.i.p),
        ]
        wiring.connect(m, to_load.o, loader.i)

        # One schedule at a time; the next instruction of the same kind follows without a gap.
        is_attention = INSTRUCTION[Opcode.LINEAR](to_schedule.o.p.word).opcode == Opcode.ATTENTION
        use_attention = attention.busy
        m.d.comb += [
            linear.i.valid.eq(to_schedule.o.valid & ~is_attention & ~attention.busy), linear.i.p.eq(to_schedule.o.p),
            attention.i.valid.eq(to_schedule.o.valid & is_attention & ~linear.busy), attention.i.p.eq(to_schedule.o.p),
            to_schedule.o.ready.eq(Mux(is_attention, attention.i.ready & ~linear.busy,
                                       linear.i.ready & ~attention.busy)),
            linear.i_group.valid.eq(loader.o_group.valid), linear.i_group.p.eq(loader.o_group.p),
            attention.i_group.valid.eq(loader.o_group.valid), attention.i_group.p.eq(loader.o_group.p),
            loader.o_group.ready.eq(Mux(use_attention, attention.i_group.ready, linear.i_group.ready)),
        ]

        # A tile's context leaves the schedule with the tile's last beat.
        plans = m.submodules.plans = Queue(micro_op(cfg), PLANS_AHEAD)
        contexts = m.submodules.contexts = Queue(tile_context(cfg), CONTEXTS_AHEAD)
        room = plans.i.ready & contexts.i.ready
        m.d.comb += [
            linear.o.ready.eq(room & ~use_attention), attention.o.ready.eq(room & use_attention),
            plans.i.valid.eq(contexts.i.ready & Mux(use_attention, attention.o.valid, linear.o.valid)),
            contexts.i.valid.eq(plans.i.valid & plans.i.ready & plans.i.p.last),
        ]
        with m.If(use_attention):
            m.d.comb += [plans.i.p.eq(attention.o.p), contexts.i.p.eq(attention.context)]
        with m.Else():
            m.d.comb += [plans.i.p.eq(linear.o.p), contexts.i.p.eq(linear.context)]
        wiring.connect(m, plans.o, issue.i)
        wiring.connect(m, contexts.o, wiring.flipped(self.o_context))

        self._lanes(m, loader, issue)
        self._outside(m, loader, attention, issue)

        # Instructions accepted whose last beat is not out.
        held = Signal(range(2 * INSTRUCTIONS_AHEAD + 4))
        next_held = held + (self.i.valid & self.i.ready) - issue.retired
        m.d.sync += [held.eq(next_held), self.idle_issue.eq(next_held == 0)]

        # A cycle without a plan waits for whatever the schedule waits for.
        no_plan, no_multipliers, no_room = Signal(), Signal(), Signal()
        m.d.sync += [no_plan.eq(~plans.o.valid & (held != 0)), no_multipliers.eq(attention.no_multipliers),
                     no_room.eq(~contexts.i.ready)]
        m.d.comb += [
            self.wait_weights.eq(issue.wait_weights | no_plan & no_multipliers),
            self.wait_drain.eq(issue.wait_drain | no_plan & ~no_multipliers & no_room),
            self.wait_operands.eq(issue.wait_operands | no_plan & ~no_multipliers & ~no_room),
        ]
        return m

    def _lanes(self, m, loader: OperandLoader, issue: BeatIssue) -> None:
        """The loader fills the lanes' buffers, the beats read them."""
        m.d.comb += [issue.loaded.eq(loader.loaded), loader.free.eq(issue.free)]
        for n in range(self.cfg.tm):
            lane = m.submodules[f"lane{n}"] = LaneBuffer(self.cfg)
            m.d.comb += [
                lane.write_row.eq(loader.lane_row[n]), lane.write_en.eq(loader.lane_en[n]),
                lane.write_data.eq(loader.lane_data), lane.row.eq(issue.lane_row),
                lane.quarter.eq(issue.lane_quarter), lane.step.eq(issue.lane_step),
                lane.unsigned.eq(issue.lane_unsigned), lane.present.eq(issue.lane_present[n]),
                lane.en.eq(issue.lane_en), issue.lane_operand[n].eq(lane.o), issue.lane_exp[n].eq(lane.exp),
            ]

    def _outside(self, m, loader: OperandLoader, attention: AttentionSchedule, issue: BeatIssue) -> None:
        """Ports that are those of a part."""
        wiring.connect(m, loader.o_traverse, wiring.flipped(self.o_traverse))
        wiring.connect(m, wiring.flipped(self.i_entry), loader.i_entry)
        wiring.connect(m, loader.o_operand_read, wiring.flipped(self.o_operand_read))
        wiring.connect(m, wiring.flipped(self.i_multipliers), attention.i_multipliers)
        wiring.connect(m, attention.o_softmax_job, wiring.flipped(self.o_softmax_job))
        wiring.connect(m, wiring.flipped(self.i_softmax_done), attention.i_softmax_done)
        wiring.connect(m, issue.o_beat, wiring.flipped(self.o_beat))
        m.d.comb += loader.i_operand_row.eq(self.i_operand_row)
        for name in ("release", "ring_level", "ring_data", "key_data", "value_data", "p_data"):
            m.d.comb += getattr(issue, name).eq(getattr(self, name))
        for name in ("ring_row", "ring_en", "ring_release", "ring_release_en", "key_row", "key_en", "value_row",
                     "value_en", "p_slot", "p_chunk", "p_plane", "p_en", "p_release", "busy"):
            m.d.comb += getattr(self, name).eq(getattr(issue, name))
