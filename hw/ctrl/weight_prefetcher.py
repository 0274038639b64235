# SPDX-License-Identifier: Apache-2.0
"""Weight prefetcher: reads the program ahead of the sequencer and requests every line of the weight stream early."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import INSTRUCTION_BYTES, INSTRUCTIONS, Opcode
from golden.spec.machine import MachineConfig
from hw.ctrl.credits import Credits
from hw.ctrl.expert_lines import ExpertLines
from hw.ctrl.program_pointer import READ_CYCLES, ProgramPointer
from hw.ctrl.weight_segments import WeightSegments
from hw.dma.weight_lines import CHUNK, ROUTE
from hw.moe.expert_queues import ARRIVALS_BITS, EXPERT_BITS, ROUND_BITS
from hw.shapes import INSTRUCTION


class WeightPrefetcher(wiring.Component):
    """Weight prefetcher: requests the weight-stream lines of each instruction, in order, with their destinations.

    LINEAR: for each tile PARAM_LINES to PARAM, then SLICE_LINES a slice to RING (half of them when packed, none with
    ``reuse_weights``). NORM: NORM_PARAM_LINES a block to NORM. ATTENTION: a line to MULTIPLIERS, then
    PARAM_LINES for each 32 output channels to PARAM. All of these are filled up to whole stream beats.
    EXPERTS: repeats the body once for each expert, in order of arrival, as soon as the gate has named it, and goes on
    after as many as the sequencer reports; streams in the body count from ``stream + expert * pitch``.

    ::

        program[index] -> [decoded] -> segments (destination, lines) -> o_route
                                           \\-> chunks of up to 8 lines, against the destination's credit -> o_chunk

    A credit is a free line at the destination: taken with the chunk, returned when the consumer frees the line. So
    nothing is requested that could not be stored, and a full queue never stalls the bus.

    The experts named by the gate belong to this EXPERTS once the gate has begun as many rounds (GATEs without
    ``append``) as precede it in the program.

    Timing: a chunk in two cycles, at least twice what the ports can bring; two cycles between segments, about six
    between instructions, EXPERT_BITS more before an expert.
    Domain: programs that passed ``hw.ctrl.checker``; the consumers take lines in program order.
    Reference model: the stream lines of ``golden.spec.instructions``, followed by ``golden.iss``.

    Members: ``start`` In; ``index`` Out, ``word`` In, READ_CYCLES later; ``i_total`` In(stream): experts in
    all; ``arrivals`` In, experts named so far, ``round`` In, rounds of the gate; ``place`` Out, ``arrival`` In, the
    expert of that place a cycle later; ``o_chunk``, ``o_route`` Out(streams); ``ring_release`` In, rows, with
    ``ring_release_en``; ``param_release``, ``norm_release``, ``multipliers_release`` In, a stream beat each.
    """

    start: Signal
    index: Signal
    word: Signal
    i_total: stream.Interface
    arrivals: Signal
    round: Signal
    place: Signal
    arrival: Signal
    o_chunk: stream.Interface
    o_route: stream.Interface
    ring_release: Signal
    ring_release_en: Signal
    param_release: Signal
    norm_release: Signal
    multipliers_release: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "start": In(1), "index": Out(range(cfg.program_depth)), "word": In(8 * INSTRUCTION_BYTES),
            "i_total": In(stream.Signature(ARRIVALS_BITS)), "arrivals": In(ARRIVALS_BITS), "round": In(ROUND_BITS),
            "place": Out(EXPERT_BITS), "arrival": In(EXPERT_BITS),
            "o_chunk": Out(stream.Signature(CHUNK)), "o_route": Out(stream.Signature(ROUTE)),
            "ring_release": In(range(cfg.ring_rows + 1)), "ring_release_en": In(1),
            "param_release": In(1), "norm_release": In(1), "multipliers_release": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        pointer, segments, experts = ProgramPointer(m, self.index, first=1), WeightSegments(m, self.cfg), ExpertLines(m)
        credit = self._credits(m, segments)
        opcode, wait = Signal(4), Signal(range(READ_CYCLES + 1))
        m.d.comb += [
            self.o_route.payload.destination.eq(segments.destination), self.o_route.payload.lines.eq(segments.left),
            self.o_chunk.payload.line.eq(segments.line), self.o_chunk.payload.lines.eq(segments.lines),
            self.o_chunk.payload.jump.eq(segments.jump), self.place.eq(experts.place),
        ]
        experts.watch(self.round, self.arrivals, self.i_total)
        with m.FSM():
            with m.State("IDLE"):
                pointer.restart()
                segments.restart()
                experts.restart()
                m.d.sync += wait.eq(READ_CYCLES)
                with m.If(self.start):
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 1):
                    m.next = "DECODE"
            with m.State("DECODE"):
                m.d.sync += opcode.eq(self.word[:4])
                self._decode(m, pointer, segments, experts)
            self._segments(m, opcode, pointer, segments, experts, credit)

            with m.State("NEXT"):
                pointer.advance()
                m.d.sync += wait.eq(READ_CYCLES)
                m.next = "FETCH"
                with m.If(pointer.at_body_end):
                    experts.advance()
                    m.next = "SETTLE"
            self._experts(m, pointer, experts, wait)
            with m.State("END"):
                pass
        return m

    def _credits(self, m, segments: WeightSegments) -> Credits:
        """The credit counters, with all that is released."""
        m.submodules.credit = credit = Credits(self.cfg)
        m.d.comb += [
            credit.ring_release.eq(Mux(self.ring_release_en, self.ring_release, 0)),
            credit.param_release.eq(self.param_release), credit.norm_release.eq(self.norm_release),
            credit.multipliers_release.eq(self.multipliers_release), credit.destination.eq(segments.destination),
        ]
        return credit

    def _decode(self, m, pointer: ProgramPointer, segments: WeightSegments, experts: ExpertLines) -> None:
        """Take from the word what its opcode has; the opcode decides on the next state."""
        view = {opcode: layout(self.word) for opcode, layout in INSTRUCTION.items()}
        streams = {Opcode.LINEAR: segments.linear, Opcode.NORM: segments.norm, Opcode.ATTENTION: segments.attention}
        with m.Switch(self.word[:4]):
            for code, take in streams.items():
                with m.Case(code):
                    take(view[code])
                    m.next = "PLACE"
            with m.Case(Opcode.EXPERTS):
                experts.begin(view[Opcode.EXPERTS])
                pointer.note_body(view[Opcode.EXPERTS].body)
                m.next = "SETTLE"
            with m.Case(Opcode.GATE):
                experts.gate(view[Opcode.GATE])
                m.next = "NEXT"
            with m.Case(*(code for code, record in INSTRUCTIONS.items()
                          if record.unit and not record.streams and code is not Opcode.GATE)):
                m.next = "NEXT"
            with m.Default():
                m.next = "END"

    def _segments(self, m, opcode, pointer: ProgramPointer, segments: WeightSegments, experts: ExpertLines,
                  credit: Credits) -> None:
        """States of an instruction with lines: its place, then segments, each announced and requested in chunks."""
        with m.State("PLACE"):
            segments.locate(opcode, pointer.in_body, experts.line)
            m.next = "COMPARE"
        with m.State("COMPARE"):
            segments.begin(opcode)
            m.next = "ROUTE"

        with m.State("ROUTE"):
            m.d.comb += self.o_route.valid.eq(1)
            with m.If(self.o_route.ready):
                m.next = "CREDIT"
        with m.State("CREDIT"):
            segments.measure()
            with m.If(credit.possible):
                m.next = "CHUNK"
        with m.State("CHUNK"):
            m.d.comb += self.o_chunk.valid.eq(1)
            with m.If(self.o_chunk.ready):
                segments.take()
                m.d.comb += credit.taken.eq(segments.lines)
                m.next = "CREDIT"
                with m.If(segments.last):
                    m.next = "SEGMENT"
        with m.State("SEGMENT"):
            m.next = "ROUTE"
            segments.follow(opcode, over="NEXT")

    def _experts(self, m, pointer: ProgramPointer, experts: ExpertLines, wait) -> None:
        """States of EXPERTS: once the gate has named the expert, its line and a pass over the body."""
        with m.State("SETTLE"):
            m.next = "NAMED"
        with m.State("NAMED"):
            m.d.sync += wait.eq(READ_CYCLES)
            pointer.enter_body()
            foreign = experts.load(self.arrival)
            with m.If(experts.over):
                m.d.comb += self.i_total.ready.eq(1)
                pointer.leave_body()
                m.next = "FETCH"
            with m.Elif(experts.named):
                m.next = "LINE"
                with m.If(foreign):
                    experts.advance()
                    m.next = "SETTLE"
        with m.State("LINE"):
            complete = experts.multiply()
            with m.If(complete):
                m.next = "FETCH"
