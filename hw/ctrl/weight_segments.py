# SPDX-License-Identifier: Apache-2.0
"""Weight segments: which lines of the weight stream an instruction takes, segment after segment, in chunks."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data

from golden.spec.isa import STREAM_BITS, Opcode
from golden.spec.machine import NORM_PARAM_LINES, PARAM_LINES, SLICE, SLICE_LINES, TN, MachineConfig
from hw.dma.weight_lines import CHUNK_LINES, ROUTE, Destination

HALF_LINES = SLICE_LINES // 2
"""Lines of a slice of packed weights: half of one."""


def _times(value, factor: int):
    """A product by shifts and additions; the factors have at most two bits set."""
    high = 1 << factor.bit_length() - 1
    return value * high + value * (factor - high)


class WeightSegments:
    """Weight segments of the module ``m``, of one instruction at a time: ``left`` lines, whole stream beats of the
    machine, to ``destination``.

    ``line`` is the next line to request, ``lines`` how many with the next chunk, which is the segment's ``last``;
    ``jump``: it does not follow the chunk before. A method is what happens in the cycle in which the conditions around
    the call hold; for each instruction one of ``linear``, ``norm``, ``attention``, then ``locate``, ``begin``; for each
    chunk ``measure``, ``take``; after each segment ``follow``.
    """

    def __init__(self, m: Module, cfg: MachineConfig):
        self.m, self.cfg = m, cfg
        self.destination, self.left = Signal(Destination, name="destination"), Signal(ROUTE["lines"].width, name="left")
        self.line, self.jump, self.last = Signal(STREAM_BITS, name="line"), Signal(name="jump"), Signal(name="last")
        self.lines = Signal(range(CHUNK_LINES + 1), name="lines")
        self._start, self._fresh = Signal(STREAM_BITS, name="start_line"), Signal(init=1, name="fresh")
        self._tiles, self._halves = Signal(8, name="tiles"), Signal(10, name="halves")
        self._reuse = Signal(name="reuse")
        self._blocks, self._heads = Signal(9, name="blocks"), Signal(6, name="heads")
        self._head_slices, self._whole = Signal(4, name="head_slices"), Signal(name="whole")
        m.d.comb += self.lines.eq(Mux(self._whole, CHUNK_LINES, self.left[:CHUNK_LINES.bit_length() - 1]))

    def restart(self) -> None:
        """The next line does not follow any."""
        self.m.d.sync += self._fresh.eq(1)

    def linear(self, word: data.View) -> None:
        self.m.d.sync += [self._start.eq(word.stream), self._tiles.eq(word.tiles), self._reuse.eq(word.reuse_weights),
                          self._halves.eq(Mux(word.packed, word.slices, word.slices << 1))]

    def norm(self, word: data.View) -> None:
        self.m.d.sync += [self._start.eq(word.stream), self._blocks.eq(word.blocks)]

    def attention(self, word: data.View) -> None:
        one = word.class_scores  # set of parameters: as many as one head of two slices has
        self.m.d.sync += [self._start.eq(word.stream), self._heads.eq(Mux(one, 1, word.heads)),
                          self._head_slices.eq(Mux(one, 2, word.head_slices))]

    def locate(self, opcode: Signal, in_body, part) -> None:
        """Where its lines begin: a body's streams count from the expert's ``part``; and blocks of ATTENTION."""
        m, heads, slices = self.m, self._heads, self._head_slices
        with m.If(in_body):
            m.d.sync += self._start.eq(self._start + part)
        # 6 x 4 bits by shifts and additions: a DSP would be wasted on it.
        partial = [Mux(slices[n], heads << n, 0) for n in range(len(slices))]
        with m.If(opcode == Opcode.ATTENTION):
            m.d.sync += self._blocks.eq(((partial[0] + partial[1]) + (partial[2] + partial[3])) * SLICE // TN)

    def begin(self, opcode: Signal) -> None:
        """The instruction's first segment."""
        m = self.m
        m.d.sync += [self.line.eq(self._start), self.jump.eq(self._fresh | (self._start != self.line)),
                     self._fresh.eq(0)]
        with m.Switch(opcode):
            with m.Case(Opcode.LINEAR):
                self._segment(Destination.PARAM, PARAM_LINES)
            with m.Case(Opcode.NORM):
                self._segment(Destination.NORM, _times(self._blocks, self.cfg.whole_beats(NORM_PARAM_LINES)))
            with m.Default():
                self._segment(Destination.MULTIPLIERS, self.cfg.beat_lines)

    def measure(self) -> None:
        """How much of the segment the next chunk takes."""
        self.m.d.sync += [self._whole.eq(self.left >= CHUNK_LINES), self.last.eq(self.left <= CHUNK_LINES)]

    def take(self) -> None:
        """The chunk is requested."""
        self.m.d.sync += [self.left.eq(self.left - self.lines), self.line.eq(self.line + self.lines), self.jump.eq(0)]

    def follow(self, opcode: Signal, over: str) -> None:
        """The instruction's next segment; after its last one to the state ``over``."""
        m = self.m
        with m.If((opcode == Opcode.LINEAR) & (self.destination == Destination.PARAM)):
            self._segment(Destination.RING, self._halves * HALF_LINES)
            m.d.sync += self._tiles.eq(self._tiles - 1)
            with m.If(self._reuse & (self._tiles == 1)):
                m.next = over
            with m.Elif(self._reuse):  # the weights are in the ring: on to the next tile's parameters
                self._segment(Destination.PARAM, PARAM_LINES)
                m.d.sync += [self.jump.eq(1), self.line.eq(self.line + self._halves * HALF_LINES)]
        with m.Elif((opcode == Opcode.LINEAR) & (self._tiles != 0)):
            self._segment(Destination.PARAM, PARAM_LINES)
        with m.Elif((opcode == Opcode.ATTENTION) & (self.destination == Destination.MULTIPLIERS)):
            self._segment(Destination.PARAM, _times(self._blocks, PARAM_LINES))
        with m.Else():
            m.next = over

    def _segment(self, destination: Destination, lines) -> None:
        self.m.d.sync += [self.destination.eq(destination), self.left.eq(lines)]
