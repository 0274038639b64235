# SPDX-License-Identifier: Apache-2.0
"""Write-back of the epilogue: finished half blocks to the memories."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.machine import LANES, TN, MachineConfig
from hw.interfaces import (
    EXP_BITS,
    KEY_WRITE,
    LINE_BITS,
    OPERAND_WRITE,
    RESIDUAL_WRITE,
    ROW_BITS,
    VALUE_WRITE,
    Route,
)
from hw.vector.epilogue.residual_update import ResidualUpdate
from hw.vector.requantize import V_BITS

TILE_BITS = 10
FINISHED = data.StructLayout({
    "route": Route,
    "write": 1,                 # 0: nothing to write, the entry only carries `end`
    "end": 1,                   # last beat of its instruction
    "half": 1,
    "odd": 1,                   # OPERAND: this block is the upper half of its row
    "accumulate": 1,
    "row": unsigned(ROW_BITS),  # RESIDUAL; OPERAND (high plane)
    "low_row": unsigned(ROW_BITS),
    "tile": unsigned(TILE_BITS), "place": unsigned(5),  # KEY: column, VALUE: position
    "exp": unsigned(EXP_BITS),
    "value": data.ArrayLayout(signed(V_BITS), LANES),  # RESIDUAL 17 bits, OPERAND16 16 bits, all others a byte each
})
"""16 values after the arithmetic, clipped for their destination, with their address."""


class WriteBack(wiring.Component):
    """Write-back: sends every entry to its memory, in order; ``retire`` after the last write of an instruction. ::

        i -+-> ResidualUpdate ------------> o_residual_read, o_residual
           +-> [half 0] -> [32 channels] -> o_operand      OPERAND16: high plane, then low plane
           +-> [ ] -----------------------> o_key
           +-> [ ] -----------------------> o_value

    Timing: LATENCY = 1 from ``i`` to ``o_key``, ``o_value``, ``o_operand`` (half 1), ResidualUpdate.LATENCY to
    ``o_residual``; II = 1. After ``end`` the input waits until every write was accepted, then ``retire`` pulses.
    Domain: half 1 of a block follows its half 0.
    Reference model: the writes of ``golden.iss``.

    Members: ``i`` In(stream FINISHED); ``o_*`` as in hw/README.md; ``hold`` In: do not retire yet (the gate's beats are
    still in flight); ``ended`` Out: ready to retire; ``others`` In: another cluster is not; ``retire`` Out; ``idle``
    Out: empty; ``moved`` Out: a write was accepted in this cycle.
    """

    LATENCY = 1
    II = 1

    i: stream.Interface
    o_residual_read: stream.Interface
    i_residual_row: Signal
    o_residual: stream.Interface
    o_operand: stream.Interface
    o_key: stream.Interface
    o_value: stream.Interface
    hold: Signal
    ended: Signal
    others: Signal
    retire: Signal
    idle: Signal
    moved: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(FINISHED)), "o_residual_read": Out(stream.Signature(ROW_BITS)),
            "i_residual_row": In(LINE_BITS), "o_residual": Out(stream.Signature(RESIDUAL_WRITE)),
            "o_operand": Out(stream.Signature(OPERAND_WRITE)), "o_key": Out(stream.Signature(KEY_WRITE)),
            "o_value": Out(stream.Signature(VALUE_WRITE)), "hold": In(1), "ended": Out(1), "others": In(1),
            "retire": Out(1), "idle": Out(1), "moved": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        entry = self.i.p
        retiring, quiet, ready, taken = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~retiring & (ready | ~entry.write)), taken.eq(self.i.valid & self.i.ready & entry.write),
        ]

        residual = m.submodules.residual = ResidualUpdate()
        connect(m, residual.o_read, flipped(self.o_residual_read))
        connect(m, residual.o_write, flipped(self.o_residual))
        m.d.comb += [
            residual.i_row.eq(self.i_residual_row),
            residual.i.valid.eq(taken & (entry.route == Route.RESIDUAL)),
            residual.i.p.row.eq(entry.row), residual.i.p.half.eq(entry.half),
            residual.i.p.accumulate.eq(entry.accumulate), residual.i.p.value.eq(entry.value),
        ]

        # Output registers of the other three.
        free = {}
        for name, port in (("operand", self.o_operand), ("key", self.o_key), ("value", self.o_value)):
            free[name] = Signal(name=f"{name}_free")
            m.d.comb += free[name].eq(~port.valid | port.ready)
            with m.If(port.ready):
                m.d.sync += port.valid.eq(0)

        bytes_ = Cat(value[:8] for value in entry.value)
        lows = bytes_
        highs = Cat(value[8:16] for value in entry.value)
        first, first_low = Signal(8 * LANES, reset_less=True), Signal(8 * LANES, reset_less=True)
        low_plane, low_full = Signal(OPERAND_WRITE), Signal()
        out = self.o_operand.p
        with m.If(low_full & free["operand"]):
            m.d.sync += [out.eq(low_plane), self.o_operand.valid.eq(1), low_full.eq(0)]

        with m.Switch(entry.route):
            with m.Case(Route.RESIDUAL):
                m.d.comb += ready.eq(residual.i.ready)
            with m.Case(Route.OPERAND8, Route.OPERAND16, Route.UNSIGNED8):
                wide = entry.route == Route.OPERAND16
                mask = Cat(~entry.odd, entry.odd)
                upper = Cat(first, Mux(wide, highs, bytes_))
                lower = Cat(first_low, lows)
                m.d.comb += ready.eq(~entry.half | (free["operand"] & ~low_full))
                with m.If(taken & ~entry.half):
                    m.d.sync += [first.eq(Mux(wide, highs, bytes_)), first_low.eq(lows)]
                with m.If(taken & entry.half):
                    m.d.sync += [
                        self.o_operand.valid.eq(1), out.row.eq(entry.row), out.mask.eq(mask),
                        out.data.eq(Cat(upper, upper)),
                        low_full.eq(wide), low_plane.row.eq(entry.low_row), low_plane.mask.eq(mask),
                        low_plane.data.eq(Cat(lower, lower)),
                    ]
                    m.d.sync += [exp.eq(Mux(entry.route == Route.OPERAND8, entry.exp, 0)) for exp in out.exp]
            with m.Case(Route.KEY):
                m.d.comb += ready.eq(free["key"])
                with m.If(taken):
                    m.d.sync += [self.o_key.valid.eq(1), self.o_key.p.tile.eq(entry.tile),
                                 self.o_key.p.column.eq(entry.place), self.o_key.p.data.as_value().eq(bytes_)]
            with m.Case(Route.VALUE):
                m.d.comb += ready.eq(free["value"])
                with m.If(taken):
                    m.d.sync += [self.o_value.valid.eq(1), self.o_value.p.tile.eq(entry.tile),
                                 self.o_value.p.position.eq(entry.place), self.o_value.p.half.eq(entry.half),
                                 self.o_value.p.data.as_value().eq(bytes_)]
            with m.Default():
                m.d.comb += ready.eq(1)

        outputs = [self.o_residual, self.o_operand, self.o_key, self.o_value]
        m.d.comb += [
            quiet.eq(residual.idle & ~(self.o_operand.valid | low_full | self.o_key.valid | self.o_value.valid)),
            self.idle.eq(quiet & ~retiring), self.moved.eq(Cat(port.valid & port.ready for port in outputs).any()),
            self.ended.eq(retiring & quiet & ~self.hold), self.retire.eq(self.ended & ~self.others),
        ]
        with m.If(self.i.valid & self.i.ready & entry.end):
            m.d.sync += retiring.eq(1)
        with m.Elif(self.retire):
            m.d.sync += retiring.eq(0)
        return m


assert TN == 2 * LANES, "A block is two half blocks."
