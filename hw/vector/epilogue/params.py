# SPDX-License-Identifier: Apache-2.0
"""Epilogue parameters: sets taken from the weight stream tile by tile, before the tiles that use them."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.instructions.linear import MAX_BLOCK
from golden.spec.machine import LANES, LINE, PARAM_BYTES, PARAM_LINES, PARAMS, TN, MachineConfig
from hw.interfaces import LINE_BITS, Route, tile_context
from hw.shapes import struct_of_record

SLOTS = MAX_BLOCK
HALVES = TN // LANES
HALF_LINES = PARAM_LINES // HALVES
EARLY = struct_of_record(PARAMS[:2])
"""First part of a channel's PARAM_BYTES, used by the first multiplication: bias and multiplier."""
LATE = struct_of_record(PARAMS[2:])
"""The rest, used by the second multiplication: gain and offset."""
PARTS = (EARLY, LATE)
assert HALF_LINES * LINE == LANES * PARAM_BYTES


class EpilogueParams(wiring.Component):
    """Parameter loader: takes a tile's context, loads its parameter set if ``load`` is set, passes the context on. ::

        i_context -> [ held context ] -> o_context
                          | load, slot free
        i_param ----> [ line n ] -> 3 memories x (early bytes | late bytes); entries: slot, half
                                        early_slot, early_half -> [ ] -> early      16 x (bias, multiplier)
                                        late_slot, late_half ---> [ ] -> late       16 x (gain, offset)

    Loading runs while older tiles are in the pipeline: a set is overwritten when every tile with that slot has read it.
    Timing: LATENCY = 1 from a context without ``load`` to ``o_context``, and 1 from slot and half to the parameters;
    a load takes PARAM_LINES + 2 cycles when the lines are there.
    Domain: at most 15 tiles between ``o_context`` and ``done``.
    Reference model: the record ``golden.ops.epilogue.Epilogue``.

    Members: ``i_context`` In, ``o_context`` Out(stream tile_context), ``i_param`` In(stream of LINE_BITS),
    ``early_slot``, ``early_half``, ``late_slot``, ``late_half`` In, ``early``, ``late`` Out(16 lanes), ``done`` In: the
    last read of ``late_slot`` by its oldest tile; ``idle`` Out: no context held.
    """

    LATENCY = 1

    i_context: stream.Interface
    o_context: stream.Interface
    i_param: stream.Interface
    early_slot: Signal
    early_half: Signal
    early: data.View
    late_slot: Signal
    late_half: Signal
    late: data.View
    done: Signal
    idle: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        context, slot = tile_context(cfg), range(SLOTS)
        super().__init__({
            "i_context": In(stream.Signature(context)), "o_context": Out(stream.Signature(context)),
            "i_param": In(stream.Signature(LINE_BITS)), "early_slot": In(slot), "early_half": In(1),
            "early": Out(data.ArrayLayout(EARLY, LANES)), "late_slot": In(slot), "late_half": In(1),
            "late": Out(data.ArrayLayout(LATE, LANES)), "done": In(1), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        held, full, ready_set = Signal(tile_context(self.cfg)), Signal(), Signal()
        line, upper = Signal(range(HALF_LINES)), Signal()
        loading = Signal()

        # Tiles that were passed on and have not read their late parameters, for each slot. Attention scores need none.
        users = [Signal(4, name=f"users{n}") for n in range(SLOTS)]
        passed = Signal()
        for n, count in enumerate(users):
            m.d.sync += count.eq(count + (passed & (held.slot == n) & (held.route != Route.SOFTMAX))
                                 - (self.done & (self.late_slot == n)))

        m.d.comb += [
            self.i_context.ready.eq(~full), self.o_context.valid.eq(full & ready_set), self.o_context.p.eq(held),
            passed.eq(self.o_context.valid & self.o_context.ready), self.i_param.ready.eq(loading),
            self.idle.eq(~full),
        ]
        with m.If(~full):
            m.d.sync += [full.eq(self.i_context.valid), held.eq(self.i_context.p), ready_set.eq(~self.i_context.p.load)]
        with m.Elif(passed):
            m.d.sync += full.eq(0)
        with m.Elif(~ready_set & ~loading):
            m.d.sync += [loading.eq(Array(users)[held.slot] == 0), line.eq(0), upper.eq(0)]
        with m.Elif(loading & self.i_param.valid):
            m.d.sync += line.eq(line + 1)
            with m.If(line == HALF_LINES - 1):
                m.d.sync += [line.eq(0), upper.eq(1), loading.eq(~upper), ready_set.eq(upper)]

        # A half's bytes fill HALF_LINES lines. Each memory keeps one line's early or late bytes.
        reads = [(self.early, Cat(self.early_half, self.early_slot)), (self.late, Cat(self.late_half, self.late_slot))]
        for number in range(HALF_LINES):
            places = range(number * LINE, (number + 1) * LINE)
            for part, (out, address) in enumerate(reads):
                mine = [byte for byte in places if (byte % PARAM_BYTES * 8 >= EARLY.size) == part]
                store = m.submodules[f"line{number}_part{part}"] = memory.Memory(
                    shape=8 * len(mine), depth=SLOTS * HALVES, init=[])
                write_port, read_port = store.write_port(), store.read_port()
                m.d.comb += [
                    write_port.addr.eq(Cat(upper, held.slot)), read_port.addr.eq(address),
                    write_port.en.eq(loading & self.i_param.valid & (line == number)),
                    write_port.data.eq(Cat(self.i_param.p.word_select(byte % LINE, 8) for byte in mine)),
                ]
                for n, byte in enumerate(mine):
                    channel, within = divmod(byte, PARAM_BYTES)
                    place = channel * PARTS[part].size + 8 * within - part * EARLY.size
                    m.d.comb += out.as_value()[place:place + 8].eq(read_port.data.word_select(n, 8))
        return m
