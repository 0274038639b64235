# SPDX-License-Identifier: Apache-2.0
"""Front end: fetches and checks the whole program, then lets the sequencer and the prefetcher read it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import FORMATS, INSTRUCTION_BYTES, MAGIC, Opcode
from golden.spec.machine import ABI_VERSION, MachineConfig
from golden.spec.status import Status
from hw.axi import ADDRESS_BITS, BEAT_BITS, BEAT_BYTES, TRANSFER
from hw.ctrl.checker import InstructionChecker
from hw.shapes import INSTRUCTION

WORD_BITS = 8 * INSTRUCTION_BYTES
WORD_BEATS = INSTRUCTION_BYTES // BEAT_BYTES


class FrontEnd(wiring.Component):
    """Front end: fetches ``count`` instructions from ``addr`` into the program memory; runs only if every one is legal.

    BEGIN comes first and alone: a program for another machine is refused before anything else is read. Faults, besides
    those of InstructionChecker: BAD_OPCODE (no BEGIN), BAD_VERSION (magic, ABI), BAD_CONFIG (fingerprint), BAD_FIELD
    (``count`` below 2 or beyond the memory, reserved bits), NO_END.

    ::

        i_data -> [two beats = one instruction] -> [program memory] -> [array] -> [register] -> prefetcher_word
                                   \\-> [checker]        \\-> [array] -> [register] -> sequencer_word

    Timing: two beats an instruction, after two latencies of the bus. READ_LATENCY cycles from an index to its word.
    Domain: ``addr`` a multiple of 64.
    Reference model: ``golden.iss``.

    Members: ``start`` In, ``addr`` In, ``o_request`` Out(stream of TRANSFER), ``i_data`` In(stream of a beat),
    ``fetching`` Out, the main port's data belong to the front end; ``loaded`` Out, a pulse; ``prefetcher_index``,
    ``sequencer_index`` In, ``prefetcher_word``, ``sequencer_word`` Out; ``fault``, ``fault_code``, ``fault_index`` Out.
    """

    READ_LATENCY = 2

    start: Signal
    addr: Signal
    o_request: stream.Interface
    i_data: stream.Interface
    fetching: Signal
    loaded: Signal
    prefetcher_index: Signal
    prefetcher_word: Signal
    sequencer_index: Signal
    sequencer_word: Signal
    fault: Signal
    fault_code: Signal
    fault_index: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        index = range(cfg.program_depth)
        super().__init__({
            "start": In(1), "addr": In(ADDRESS_BITS),
            "o_request": Out(stream.Signature(TRANSFER)), "i_data": In(stream.Signature(BEAT_BITS)),
            "fetching": Out(1), "loaded": Out(1),
            "prefetcher_index": In(index), "prefetcher_word": Out(WORD_BITS),
            "sequencer_index": In(index), "sequencer_word": Out(WORD_BITS),
            "fault": Out(1), "fault_code": Out(8), "fault_index": Out(16),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.checker = checker = InstructionChecker(self.cfg)
        m.submodules.program = program = memory.Memory(shape=WORD_BITS, depth=self.cfg.program_depth, init=[])
        for index, word in ((self.prefetcher_index, self.prefetcher_word), (self.sequencer_index, self.sequencer_word)):
            reader = program.read_port()
            m.d.comb += [reader.addr.eq(index), reader.en.eq(1)]
            m.d.sync += word.eq(reader.data)

        word, complete, at = self._words(m, program.write_port(), checker)
        begin = INSTRUCTION[Opcode.BEGIN](word)
        no_begin, no_magic, no_abi, no_print = Signal(), Signal(), Signal(), Signal()
        bad_count, bad_reserved, count = Signal(), Signal(), Signal(16)
        settle, refused = Signal(range(checker.LATENCY + 2)), Signal()

        def refuse(code):
            m.d.sync += [self.fault.eq(1), self.fault_code.eq(code), self.fault_index.eq(0), self.fetching.eq(0)]
            m.next = "REFUSED"

        m.d.sync += [self.fault.eq(checker.fault), self.loaded.eq(0)]
        with m.If(checker.fault):
            m.d.sync += [refused.eq(1), self.fault_code.eq(checker.fault_code),
                         self.fault_index.eq(checker.fault_index)]
        m.d.comb += self.o_request.payload.addr.eq(self.addr)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += self.fetching.eq(1)
                    m.next = "ASK_BEGIN"
            with m.State("ASK_BEGIN"):
                m.d.comb += [self.o_request.valid.eq(1), self.o_request.payload.beats.eq(WORD_BEATS)]
                with m.If(self.o_request.ready):
                    m.next = "READ_BEGIN"
            with m.State("READ_BEGIN"):
                m.d.sync += [
                    count.eq(begin.count), no_begin.eq(begin.opcode != Opcode.BEGIN), no_magic.eq(begin.magic != MAGIC),
                    no_abi.eq(begin.abi != ABI_VERSION), no_print.eq(begin.fingerprint != self.cfg.fingerprint),
                    bad_count.eq((begin.count < 2) | (begin.count > self.cfg.program_depth)),
                    bad_reserved.eq(word[FORMATS[Opcode.BEGIN].used:].any()),
                ]
                with m.If(complete):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "ASK_REST"
                with m.If(no_begin):
                    refuse(Status.BAD_OPCODE)
                with m.Elif(no_magic | no_abi):
                    refuse(Status.BAD_VERSION)
                with m.Elif(no_print):
                    refuse(Status.BAD_CONFIG)
                with m.Elif(bad_count | bad_reserved):
                    refuse(Status.BAD_FIELD)
            with m.State("ASK_REST"):
                m.d.comb += [
                    self.o_request.valid.eq(1),
                    self.o_request.payload.addr.eq(self.addr | INSTRUCTION_BYTES),
                    self.o_request.payload.beats.eq((count - 1) * WORD_BEATS),
                ]
                with m.If(self.o_request.ready):
                    m.next = "READ_REST"
            with m.State("READ_REST"):
                m.d.sync += settle.eq(checker.LATENCY + 1)
                with m.If(at == count):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += settle.eq(settle - 1)
                with m.If(refused):
                    m.d.sync += self.fetching.eq(0)
                    m.next = "REFUSED"
                with m.Elif(settle == 0):
                    m.d.sync += self.fetching.eq(0)
                    with m.If(checker.ended):
                        m.d.sync += self.loaded.eq(1)
                        m.next = "IDLE"
                    with m.Else():
                        m.d.sync += [self.fault.eq(1), self.fault_code.eq(Status.NO_END), self.fault_index.eq(count)]
                        m.next = "REFUSED"
            with m.State("REFUSED"):
                pass  # until reset
        return m

    def _words(self, m, writer, checker: InstructionChecker) -> tuple[Signal, Signal, Signal]:
        """Two beats to a word: (the word, whether it is complete, its place), which memory and checker get as well."""
        word, second, complete, at = Signal(WORD_BITS), Signal(), Signal(), Signal(16)
        m.d.sync += complete.eq(0)
        m.d.comb += self.i_data.ready.eq(self.fetching)
        with m.If(self.i_data.valid & self.i_data.ready):
            m.d.sync += [word.eq(word[BEAT_BITS:]), word[BEAT_BITS:].eq(self.i_data.payload), second.eq(~second),
                         complete.eq(second)]
        m.d.comb += [
            writer.addr.eq(at), writer.data.eq(word), writer.en.eq(complete),
            checker.word.eq(word), checker.at.eq(at), checker.valid.eq(complete & (at != 0)),
        ]
        with m.If(complete):
            m.d.sync += at.eq(at + 1)
        return word, complete, at
