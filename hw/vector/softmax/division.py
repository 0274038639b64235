# SPDX-License-Identifier: Apache-2.0
"""Division of the softmax: totals of the rows become reciprocals for the epilogue."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import MachineConfig
from golden.spec.tables import ATTENTION_FRAC, RECIPROCAL_BITS
from hw.arith.reciprocal import Reciprocal
from hw.interfaces import SOFTMAX_SLOTS, lane_bits, softmax_done

LANE_SHIFT = 31 - ATTENTION_FRAC - RECIPROCAL_BITS
"""``23 + sh`` is the total's bit length plus this."""


class SoftmaxDivision(wiring.Component):
    """Softmax division: reciprocals of a job's lanes, in order; the job is done with the last of them. ::

        total -> [Reciprocal] -> [by slot and lane] -> o

    Timing: LATENCY cycles from a job's last total to ``o.valid``. II = 1 total.
    Domain: ``i_total`` as of Reciprocal; jobs use the slots in rotation.
    Reference model: ``golden.ops.arith.reciprocal``.
    Members: ``i_total``, ``i_valid`` In; ``lanes`` In, of each slot's job; ``o`` Out(stream softmax_done).
    """

    LATENCY = Reciprocal.LATENCY + 2
    II = 1

    i_total: Signal
    i_valid: Signal
    o: stream.Interface

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({"i_total": In(Reciprocal.WIDTH), "i_valid": In(1), "lanes": In(4).array(SOFTMAX_SLOTS),
                          "o": Out(stream.Signature(softmax_done(cfg)))})

    def elaborate(self, platform):
        m = Module()
        reciprocal = m.submodules.reciprocal = Reciprocal()
        m.d.comb += [reciprocal.i_total.eq(self.i_total), reciprocal.i_valid.eq(self.i_valid)]
        slot, lane = Signal(range(SOFTMAX_SLOTS)), Signal(lane_bits(self.cfg))
        results = [[Signal(RECIPROCAL_BITS + 6, name=f"result{h}_{i}", reset_less=True) for i in range(self.cfg.tm)]
                   for h in range(SOFTMAX_SLOTS)]
        shift = Signal(6)
        m.d.comb += shift.eq(reciprocal.o_length + LANE_SHIFT)
        done, o_slot = Signal(SOFTMAX_SLOTS), Signal(range(SOFTMAX_SLOTS))
        with m.If(reciprocal.o_valid):
            for h in range(SOFTMAX_SLOTS):
                for i, result in enumerate(results[h]):
                    with m.If((slot == h) & (lane == i)):
                        m.d.sync += result.eq(Cat(reciprocal.o_recip, shift))
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane + 1 == Array(self.lanes)[slot]):
                m.d.sync += [lane.eq(0), slot.eq(slot + 1), done.bit_select(slot, 1).eq(1)]

        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(done.bit_select(o_slot, 1)), self.o.payload.slot.eq(o_slot)]
            for i in range(self.cfg.tm):
                chosen = Array(row[i] for row in results)[o_slot]
                m.d.sync += [self.o.payload.recip[i].eq(chosen[:RECIPROCAL_BITS]),
                             self.o.payload.shift[i].eq(chosen[RECIPROCAL_BITS:])]
            with m.If(done.bit_select(o_slot, 1)):
                m.d.sync += [done.bit_select(o_slot, 1).eq(0), o_slot.eq(o_slot + 1)]
        return m
