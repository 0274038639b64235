# SPDX-License-Identifier: Apache-2.0
"""Load/store unit: LOAD, STORE and COPY move rows between DRAM and the on-chip row memories; UPSAMPLE and KEEP."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Memory, Opcode, Region
from golden.spec.machine import LINE, MachineConfig
from golden.spec.status import Status
from hw.axi import ADDRESS_BITS, BEAT_BITS, LINE_BEATS, TRANSFER
from hw.dma.keep.keep import Keep
from hw.dma.upsample.upsample import Upsample
from hw.interfaces import ISSUE, LINE_BITS, OPERAND_ROW, OPERAND_WRITE, READ_LATENCY, RESIDUAL_WRITE, ROW_BITS
from hw.lib.queue import Queue
from hw.shapes import INSTRUCTION

ROWS_BITS = 17
ROW_QUEUE = 8
"""Rows between the two sides of a transfer; covers the memories' latency."""


class LoadStore(wiring.Component):
    """Load/store unit: moves ``rows`` rows of 64 bytes; operand rows that are loaded get exponent 0. UPSAMPLE enlarges
    a strip of a map (:class:`Upsample`) on its way from operand rows to operand rows, KEEP moves residual rows of some
    tokens together (:class:`Keep`).

    ::

        LOAD:         i_data, 4 beats a row --\\                /--> o_operand_write | o_residual_write
        STORE, COPY:  read client, latency 2 --> [8 rows] -----<---> [Upsample] -> o_operand_write
        UPSAMPLE, KEEP                                          |--> [Keep] -> o_residual_write
                                                                \\--> 4 beats a row -> o_data

    The local rows of a move are checked first: a range that leaves its memory moves nothing (RANGE_LOCAL). The DRAM
    range is checked as a whole by the engines (RANGE_READ, RANGE_WRITE). A STORE ends when it is acknowledged, so a
    later LOAD from the output finds what it wrote.

    Timing: LOAD and STORE 4 cycles a row, COPY 1, UPSAMPLE 1 a row written; LATENCY cycles from a move to its first
    request.
    Domain: instructions that passed the checker. Rows of an UPSAMPLE or KEEP beyond the memory are refused by it.
    Reference model: ``golden.iss``.

    Members: ``i`` In(stream of ISSUE); ``table_addr``, ``input_addr``, ``output_addr`` In; ``o_load``, ``o_store``
    Out(stream of TRANSFER), ``i_data`` In, ``o_data`` Out(streams of a beat), ``stored`` In, no write is in flight;
    ``o_operand_read``, ``o_residual_read`` Out(stream of row), ``i_operand_row``, ``i_residual_row`` In, READ_LATENCY
    after the transfer; ``o_operand_write``, ``o_residual_write`` Out(streams); ``idle``, ``retire``; ``fault``,
    ``fault_code`` Out; ``at`` Out, index of the current instruction.
    """

    LATENCY = 3

    i: stream.Interface
    table_addr: Signal
    input_addr: Signal
    output_addr: Signal
    o_load: stream.Interface
    o_store: stream.Interface
    i_data: stream.Interface
    o_data: stream.Interface
    stored: Signal
    o_operand_read: stream.Interface
    o_residual_read: stream.Interface
    i_residual_row: Signal
    o_operand_write: stream.Interface
    o_residual_write: stream.Interface
    idle: Signal
    retire: Signal
    fault: Signal
    fault_code: Signal
    at: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(ISSUE)),
            **{name: In(ADDRESS_BITS) for name in ("table_addr", "input_addr", "output_addr")},
            "o_load": Out(stream.Signature(TRANSFER)), "o_store": Out(stream.Signature(TRANSFER)),
            "i_data": In(stream.Signature(BEAT_BITS)), "o_data": Out(stream.Signature(BEAT_BITS)), "stored": In(1),
            "o_operand_read": Out(stream.Signature(ROW_BITS)), "i_operand_row": In(OPERAND_ROW),
            "o_residual_read": Out(stream.Signature(ROW_BITS)), "i_residual_row": In(LINE_BITS),
            "o_operand_write": Out(stream.Signature(OPERAND_WRITE)),
            "o_residual_write": Out(stream.Signature(RESIDUAL_WRITE)),
            "idle": Out(1), "retire": Out(1), "fault": Out(1), "fault_code": Out(8, init=Status.RANGE_LOCAL),
            "at": Out(16),
        })

    def elaborate(self, platform):
        m = Module()
        # The instruction: where it reads and writes locally, and its DRAM address, half by half.
        is_load, is_store, is_copy, residual = Signal(), Signal(), Signal(), Signal()
        is_upsample, is_keep = Signal(), Signal()
        source, target, rows = Signal(ROW_BITS), Signal(ROW_BITS), Signal(ROWS_BITS)
        base, offset = Signal(ADDRESS_BITS), Signal(32)
        into = SimpleNamespace(source=source, target=target, rows=rows, residual=residual, base=base, offset=offset,
                               is_load=is_load, is_store=is_store, is_copy=is_copy, is_upsample=is_upsample,
                               is_keep=is_keep)
        source_end, target_end = Signal(ROWS_BITS + 1), Signal(ROWS_BITS + 1)
        half = ADDRESS_BITS // 2
        carry = Signal()
        addr = Signal(ADDRESS_BITS)
        for out in (self.o_load, self.o_store):
            m.d.comb += [out.payload.addr.eq(addr), out.payload.beats.eq(rows * LINE_BEATS)]

        to_read, to_write = Signal(ROWS_BITS), Signal(ROWS_BITS)
        running = Signal()
        beyond = Signal()
        limit = Mux(residual, self.cfg.residual_rows, self.cfg.operand_rows)
        m.d.comb += beyond.eq((source_end > limit) & ~is_load | (target_end > limit) & ~is_store)
        m.d.sync += [self.retire.eq(0), self.fault.eq(0)]
        m.d.comb += self.fault_code.eq(Status.RANGE_LOCAL)

        m.submodules.upsample = upsample = Upsample()
        m.submodules.pruning = keep = Keep(self.cfg)
        m.d.comb += [part.i.payload.eq(self.i.payload.word) for part in (upsample, keep)]
        with m.FSM():
            with m.State("ACCEPT"):
                m.d.comb += [self.i.ready.eq(1), self.idle.eq(1)]
                self._decode(m, into)
                with m.If(self.i.valid):
                    m.d.sync += self.at.eq(self.i.payload.index)
                    m.next = "ENDS"
                    with m.If(upsample.i.payload.opcode == Opcode.UPSAMPLE):
                        m.d.comb += upsample.i.valid.eq(1)
                        m.next = "PART"
                    with m.If(keep.i.payload.opcode == Opcode.KEEP):
                        m.d.comb += keep.i.valid.eq(1)
                        m.next = "PART"
            with m.State("ENDS"):
                m.d.sync += [
                    source_end.eq(source + rows), target_end.eq(target + rows),
                    Cat(addr[:half], carry).eq(base[:half] + (offset * LINE)[:half]),
                ]
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [
                    addr[half:].eq(base[half:] + (offset * LINE)[half:] + carry), to_read.eq(rows), to_write.eq(rows),
                ]
                m.next = "REQUEST"
                with m.If(beyond):
                    m.d.sync += self.fault.eq(1)
                    m.next = "REFUSED"
            with m.State("REQUEST"):
                m.d.comb += [self.o_load.valid.eq(is_load), self.o_store.valid.eq(is_store)]
                with m.If(is_copy | is_load & self.o_load.ready | is_store & self.o_store.ready):
                    m.next = "MOVE"
            with m.State("MOVE"):
                m.d.comb += running.eq(1)
                with m.If(to_write == 0):
                    m.next = "LAND"
            with m.State("PART"):
                m.d.comb += running.eq(1)
                with m.If(upsample.idle & keep.idle):
                    m.next = "LAND"
            # Every store must be acknowledged before it counts as done; local rows have been written by then.
            with m.State("LAND"):
                with m.If(~is_store | self.stored):
                    m.d.sync += self.retire.eq(1)
                    m.next = "ACCEPT"
            with m.State("REFUSED"):
                pass

        m.submodules.rows = queue = Queue(LINE_BITS, ROW_QUEUE)
        self._fill(m, queue, running, into, to_read, [(is_upsample, upsample.o_read), (is_keep, keep.o_read)])
        self._empty(m, queue, running, into, to_write)
        self._parts(m, queue, into, upsample, keep)
        return m

    def _decode(self, m, into: SimpleNamespace) -> None:
        """The registers ``into`` from the instruction that is offered."""
        load, store, copy = (INSTRUCTION[code](self.i.payload.word) for code in (
            Opcode.LOAD, Opcode.STORE, Opcode.COPY))
        opcode = load.opcode
        m.d.sync += [
            into.is_load.eq(opcode == Opcode.LOAD), into.is_store.eq(opcode == Opcode.STORE),
            into.is_copy.eq(opcode == Opcode.COPY), into.is_upsample.eq(opcode == Opcode.UPSAMPLE),
            into.is_keep.eq(opcode == Opcode.KEEP),
        ]
        with m.Switch(opcode):
            with m.Case(Opcode.LOAD):
                m.d.sync += [
                    into.offset.eq(load.offset), into.target.eq(load.row), into.rows.eq(load.rows),
                    into.residual.eq(load.memory == Memory.RESIDUAL),
                ]
                with m.Switch(load.region):
                    for region, addr in ((Region.TABLES, self.table_addr), (Region.INPUT, self.input_addr),
                                         (Region.OUTPUT, self.output_addr)):
                        with m.Case(region):
                            m.d.sync += into.base.eq(addr)
            with m.Case(Opcode.STORE):
                m.d.sync += [
                    into.offset.eq(store.offset), into.source.eq(store.row), into.rows.eq(store.rows),
                    into.residual.eq(store.memory == Memory.RESIDUAL), into.base.eq(self.output_addr),
                ]
            with m.Case(Opcode.UPSAMPLE):
                m.d.sync += into.residual.eq(0)
            with m.Case(Opcode.KEEP):
                m.d.sync += into.residual.eq(1)
            with m.Default():
                m.d.sync += [into.source.eq(copy.src_row), into.target.eq(copy.dst_row), into.rows.eq(copy.rows),
                             into.residual.eq(1)]

    def _fill(self, m, queue, running, into: SimpleNamespace, to_read, parts: list[tuple]):
        """Rows into the queue: gathered from beats, or read from a memory while the queue has room for the answers.
        ``parts``: whether an instruction is theirs, and the requests, of the units that ask for rows themselves."""
        is_load, residual, source = into.is_load, into.residual, into.source
        beats, beat_count = Signal(LINE_BITS), Signal(range(LINE_BEATS))
        gathered = Signal()
        room = Signal()
        m.d.comb += [room.eq(~gathered | queue.i.ready), self.i_data.ready.eq(running & is_load & room)]
        with m.If(room):
            m.d.sync += gathered.eq(0)
            with m.If(self.i_data.valid & running & is_load):
                m.d.sync += [
                    beats.eq(Cat(beats[BEAT_BITS:], self.i_data.payload)), beat_count.eq(beat_count + 1),
                    gathered.eq(beat_count == LINE_BEATS - 1),
                ]

        free = Signal(range(ROW_QUEUE + 1), init=ROW_QUEUE)
        want, asked = Signal(), Signal()
        more, row = ~is_load & (to_read != 0), source
        for mine, o_read in parts:
            more, row = Mux(mine, o_read.valid, more), Mux(mine, o_read.payload, row)
            m.d.comb += o_read.ready.eq(asked & mine)
        m.d.comb += want.eq(running & more & (free != 0))
        for out, mine in ((self.o_operand_read, ~residual), (self.o_residual_read, residual)):
            m.d.comb += [out.valid.eq(want & mine), out.payload.eq(row)]
        m.d.comb += asked.eq(want & Mux(residual, self.o_residual_read.ready, self.o_operand_read.ready))
        with m.If(asked):
            m.d.sync += [source.eq(source + 1), to_read.eq(to_read - 1)]
        m.d.sync += free.eq(free - asked + (queue.o.valid & queue.o.ready & ~is_load))

        on_its_way = Signal(READ_LATENCY)
        m.d.sync += on_its_way.eq(Cat(asked, on_its_way))
        with m.If(is_load):
            m.d.comb += [queue.i.valid.eq(gathered), queue.i.payload.eq(beats)]
        with m.Else():
            m.d.comb += [
                queue.i.valid.eq(on_its_way[-1]),
                queue.i.payload.eq(Mux(residual, self.i_residual_row, self.i_operand_row.data)),
            ]

    def _empty(self, m, queue, running, into: SimpleNamespace, to_write):
        """Rows out of the queue: into a memory, or as beats to the write engine."""
        is_store, residual, target = into.is_store, into.residual, into.target
        moves = queue.o.valid & running & ~is_store & ~into.is_upsample & ~into.is_keep
        writes = ((self.o_operand_write, ~residual), (self.o_residual_write, residual))
        for out, mine in writes:
            m.d.comb += [
                out.valid.eq(moves & mine),
                out.payload.row.eq(target), out.payload.mask.eq(0b11), out.payload.data.eq(queue.o.payload),
            ]
        beat_count, sent = Signal(range(LINE_BEATS)), Signal()
        m.d.comb += [
            self.o_data.valid.eq(queue.o.valid & running & is_store),
            self.o_data.payload.eq(queue.o.payload.word_select(beat_count, BEAT_BITS)),
            sent.eq(self.o_data.valid & self.o_data.ready & (beat_count == LINE_BEATS - 1)),
        ]
        with m.If(self.o_data.valid & self.o_data.ready):
            m.d.sync += beat_count.eq(beat_count + 1)
        written = Signal()
        m.d.comb += [
            written.eq(Cat(out.valid & out.ready for out, _ in writes).any()),
            queue.o.ready.eq(Mux(is_store, sent, written)),
        ]
        with m.If(queue.o.valid & queue.o.ready):
            m.d.sync += [target.eq(target + 1), to_write.eq(to_write - 1)]

    def _parts(self, m, queue, into: SimpleNamespace, upsample: Upsample, keep: Keep):
        """Rows out of the queue to the unit that asked for them, and what that writes."""
        for part, mine, write in ((upsample, into.is_upsample, self.o_operand_write),
                                  (keep, into.is_keep, self.o_residual_write)):
            m.d.comb += part.i_row.payload.eq(queue.o.payload)
            with m.If(mine):
                m.d.comb += [
                    part.i_row.valid.eq(queue.o.valid), queue.o.ready.eq(part.i_row.ready),
                    write.valid.eq(part.o.valid), write.payload.eq(part.o.payload), part.o.ready.eq(write.ready),
                ]
