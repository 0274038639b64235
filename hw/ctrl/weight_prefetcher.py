# SPDX-License-Identifier: Apache-2.0
"""Weight prefetcher: reads the program ahead of the sequencer and requests every line of the weight stream early."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import INSTRUCTION_BYTES, INSTRUCTIONS, STREAM_BITS, Opcode
from golden.spec.machine import NORM_PARAM_LINES, PARAM_LINES, SLICE, SLICE_LINES, TN, MachineConfig
from hw.ctrl.credits import Credits
from hw.dma.weight_lines import CHUNK, CHUNK_LINES, ROUTE, Destination
from hw.moe.expert_queues import ARRIVALS_BITS, EXPERT_BITS, ROUND_BITS
from hw.shapes import INSTRUCTION

READ_CYCLES = 2
"""Cycles from a program index to its instruction."""


def _times(value, factor: int):
    """A product by shifts and additions; the factors have two bits set."""
    high = 1 << factor.bit_length() - 1
    return value * high + value * (factor - high)


class WeightPrefetcher(wiring.Component):
    """Weight prefetcher: requests the weight-stream lines of each instruction, in order, with their destinations.

    LINEAR: for each tile PARAM_LINES to PARAM, then SLICE_LINES a slice to RING (none with ``reuse_weights``). NORM:
    NORM_PARAM_LINES a block to NORM. ATTENTION: a line to MULTIPLIERS, then PARAM_LINES for each 32 output channels to
    PARAM.
    EXPERTS: repeats the body once for each expert, in order of arrival, as soon as the gate has named it, and goes on
    after as many as the sequencer reports; streams in the body count from ``stream + expert * pitch``.

    ::

        program[index] -> [decoded] -> segments (destination, lines) -> o_route
                                           \\-> chunks of up to 8 lines, against the destination's credit -> o_chunk

    A credit is a free line at the destination: taken with the chunk, returned when the consumer frees the line. So
    nothing is requested that could not be stored, and a full queue never stalls the bus.

    The experts named by the gate belong to this EXPERTS once the gate has begun as many rounds (GATEs without
    ``append``) as precede it in the program.

    Timing: a chunk in two cycles, four times what the ports can bring; two cycles between segments, about six between
    instructions, EXPERT_BITS more before an expert.
    Domain: programs that passed ``hw.ctrl.checker``; the consumers take lines in program order.
    Reference model: the stream lines of ``golden.spec.instructions``, followed by ``golden.iss``.

    Members: ``start`` In; ``index`` Out, ``word`` In, READ_CYCLES later; ``i_total`` In(stream): experts in
    all; ``arrivals`` In, experts named so far, ``round`` In, rounds of the gate; ``place`` Out, ``arrival`` In, the
    expert of that place a cycle later; ``o_chunk``, ``o_route`` Out(streams); ``ring_release`` In, rows, with
    ``ring_release_en``; ``param_release``, ``norm_release``, ``multipliers_release`` In, one line each.
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
        view = {opcode: layout(self.word) for opcode, layout in INSTRUCTION.items()}

        # The current instruction. `start_line` is its first line, `line` the next line to request.
        opcode = Signal(4)
        start_line, line, fresh = Signal(STREAM_BITS), Signal(STREAM_BITS), Signal(init=1)
        tiles, slices, blocks, heads, head_slices = Signal(8), Signal(9), Signal(9), Signal(6), Signal(4)
        reuse = Signal()
        # EXPERTS: place of the current expert in the order of arrival, its line, and the body.
        place, rounds, limit = Signal(ARRIVALS_BITS), Signal(ROUND_BITS), Signal(ARRIVALS_BITS)
        experts_line, pitch, expert_line = (Signal(STREAM_BITS, name=name) for name in (
            "experts_line", "pitch", "expert_line"))
        multiple, factor = Signal(STREAM_BITS), Signal(EXPERT_BITS)
        named, over = Signal(), Signal()
        in_body, body, body_left, body_index = Signal(), Signal(4), Signal(4), Signal.like(self.index)

        # The current segment.
        destination, left = Signal(Destination), Signal(ROUTE["lines"].width)
        jump, whole, last = Signal(), Signal(), Signal()
        m.d.comb += [self.o_route.payload.destination.eq(destination), self.o_route.payload.lines.eq(left)]

        m.d.comb += self.place.eq(place)
        m.d.sync += [named.eq((self.round == rounds) & (place < self.arrivals) | self.i_total.valid),
                     over.eq(self.i_total.valid & (place == self.i_total.payload))]

        m.submodules.credit = credit = Credits(self.cfg)
        m.d.comb += [
            credit.ring_release.eq(Mux(self.ring_release_en, self.ring_release, 0)),
            credit.param_release.eq(self.param_release), credit.norm_release.eq(self.norm_release),
            credit.multipliers_release.eq(self.multipliers_release),
        ]
        lines = Signal(range(CHUNK_LINES + 1))
        m.d.comb += [
            lines.eq(Mux(whole, CHUNK_LINES, left[:CHUNK_LINES.bit_length() - 1])),
            self.o_chunk.payload.line.eq(line), self.o_chunk.payload.lines.eq(lines),
            self.o_chunk.payload.jump.eq(jump), credit.destination.eq(destination),
        ]

        wait = Signal(range(READ_CYCLES + 1))
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [self.index.eq(1), wait.eq(READ_CYCLES), fresh.eq(1), in_body.eq(0), rounds.eq(0)]
                with m.If(self.start):
                    m.next = "FETCH"

            with m.State("FETCH"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 1):
                    m.next = "DECODE"
            with m.State("DECODE"):
                m.d.sync += opcode.eq(self.word[:4])
                with m.Switch(self.word[:4]):
                    with m.Case(Opcode.LINEAR):
                        v = view[Opcode.LINEAR]
                        m.d.sync += [start_line.eq(v.stream), tiles.eq(v.tiles), slices.eq(v.slices),
                                     reuse.eq(v.reuse_weights)]
                        m.next = "PLACE"
                    with m.Case(Opcode.NORM):
                        v = view[Opcode.NORM]
                        m.d.sync += [start_line.eq(v.stream), blocks.eq(v.blocks)]
                        m.next = "PLACE"
                    with m.Case(Opcode.ATTENTION):
                        v = view[Opcode.ATTENTION]
                        m.d.sync += [start_line.eq(v.stream), heads.eq(v.heads), head_slices.eq(v.head_slices)]
                        m.next = "PLACE"
                    with m.Case(Opcode.EXPERTS):
                        v = view[Opcode.EXPERTS]
                        m.d.sync += [experts_line.eq(v.stream), pitch.eq(v.pitch), limit.eq(v.experts), body.eq(v.body),
                                     body_index.eq(self.index + 1), place.eq(0)]
                        m.next = "SETTLE"
                    with m.Case(Opcode.GATE):
                        m.d.sync += rounds.eq(rounds + ~view[Opcode.GATE].append)
                        m.next = "NEXT"
                    with m.Case(*(code for code, record in INSTRUCTIONS.items()
                                  if record.unit and not record.streams and code is not Opcode.GATE)):
                        m.next = "NEXT"
                    with m.Default():
                        m.next = "END"

            # Where its lines begin: a body's streams count from the expert's part.
            with m.State("PLACE"):
                with m.If(in_body):
                    m.d.sync += start_line.eq(start_line + expert_line)
                m.next = "COMPARE"
                # 6 x 4 bits by shifts and additions: a DSP would be wasted on it.
                partial = [Mux(head_slices[n], heads << n, 0) for n in range(len(head_slices))]
                with m.If(opcode == Opcode.ATTENTION):
                    m.d.sync += blocks.eq(((partial[0] + partial[1]) + (partial[2] + partial[3])) * SLICE // TN)
            with m.State("COMPARE"):
                m.d.sync += [line.eq(start_line), jump.eq(fresh | (start_line != line)), fresh.eq(0)]
                with m.Switch(opcode):
                    with m.Case(Opcode.LINEAR):
                        m.d.sync += [destination.eq(Destination.PARAM), left.eq(PARAM_LINES)]
                    with m.Case(Opcode.NORM):
                        m.d.sync += [destination.eq(Destination.NORM), left.eq(_times(blocks, NORM_PARAM_LINES))]
                    with m.Default():
                        m.d.sync += [destination.eq(Destination.MULTIPLIERS), left.eq(1)]
                m.next = "ROUTE"

            # Segments.
            with m.State("ROUTE"):
                m.d.comb += self.o_route.valid.eq(1)
                with m.If(self.o_route.ready):
                    m.next = "CREDIT"
            with m.State("CREDIT"):
                m.d.sync += [whole.eq(left >= CHUNK_LINES), last.eq(left <= CHUNK_LINES)]
                with m.If(credit.possible):
                    m.next = "CHUNK"
            with m.State("CHUNK"):
                m.d.comb += self.o_chunk.valid.eq(1)
                with m.If(self.o_chunk.ready):
                    m.d.comb += credit.taken.eq(lines)
                    m.d.sync += [left.eq(left - lines), line.eq(line + lines), jump.eq(0)]
                    m.next = "CREDIT"
                    with m.If(last):
                        m.next = "SEGMENT"
            with m.State("SEGMENT"):
                m.next = "ROUTE"
                with m.If((opcode == Opcode.LINEAR) & (destination == Destination.PARAM)):
                    m.d.sync += [destination.eq(Destination.RING), left.eq(slices * SLICE_LINES), tiles.eq(tiles - 1)]
                    with m.If(reuse & (tiles == 1)):
                        m.next = "NEXT"
                    with m.Elif(reuse):  # the weights are in the ring: on to the next tile's parameters
                        m.d.sync += [destination.eq(Destination.PARAM), left.eq(PARAM_LINES), jump.eq(1),
                                     line.eq(line + slices * SLICE_LINES)]
                with m.Elif((opcode == Opcode.LINEAR) & (tiles != 0)):
                    m.d.sync += [destination.eq(Destination.PARAM), left.eq(PARAM_LINES)]
                with m.Elif((opcode == Opcode.ATTENTION) & (destination == Destination.MULTIPLIERS)):
                    m.d.sync += [destination.eq(Destination.PARAM), left.eq(_times(blocks, PARAM_LINES))]
                with m.Else():
                    m.next = "NEXT"

            with m.State("NEXT"):
                m.d.sync += [self.index.eq(self.index + 1), wait.eq(READ_CYCLES), body_left.eq(body_left - 1)]
                m.next = "FETCH"
                with m.If(in_body & (body_left == 1)):
                    m.d.sync += place.eq(place + 1)
                    m.next = "SETTLE"

            # EXPERTS. `named` and `over` refer to the place of the previous cycle.
            with m.State("SETTLE"):
                m.next = "NAMED"
            with m.State("NAMED"):
                m.d.sync += [wait.eq(READ_CYCLES), body_left.eq(body), self.index.eq(body_index), in_body.eq(1),
                             multiple.eq(pitch), expert_line.eq(experts_line), factor.eq(self.arrival)]
                with m.If(over):
                    m.d.comb += self.i_total.ready.eq(1)
                    m.d.sync += [in_body.eq(0), self.index.eq(body_index + body)]
                    m.next = "FETCH"
                with m.Elif(named):
                    m.next = "LINE"
                    with m.If(self.arrival >= limit):
                        m.d.sync += place.eq(place + 1)
                        m.next = "SETTLE"
            with m.State("LINE"):
                m.d.sync += [multiple.eq(multiple << 1), factor.eq(factor >> 1)]
                with m.If(factor[0]):
                    m.d.sync += expert_line.eq(expert_line + multiple)
                with m.If(factor == 0):
                    m.next = "FETCH"
            with m.State("END"):
                pass
        return m
