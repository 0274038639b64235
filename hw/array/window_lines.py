# SPDX-License-Identifier: Apache-2.0
"""Window lines: lines of a convolution's results, and where the source positions around a group of results lie."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from hw.interfaces import ROW_BITS
from hw.shapes import EDGES, INSTRUCTION


class WindowLines(wiring.Component):
    """Window lines: counts the results of a LINEAR with ``window`` line by line, next to the token iterator. ::

        word -> [ x | y ] -> line_done, edges    -> (the token's s1)
                  '-> [ s1: step = pitch * stride ] -> [ s2: line ] -> [ s3: corner ] -> corner, step, stride

    The corner of a group is the source position one line above and one column before its first result; it may lie
    beyond the strip, then the address wraps and nothing is read there.
    Corner of a pass: src_row - (with TOP: step) - (with LEFT: stride); ``step`` further for each line, tm * ``stride``
    for each group.
    Timing: LATENCY = 3 from ``take`` to ``corner``, ``step`` and ``stride``; II = 1 result. Without ``advance`` nothing
    moves.
    Domain: a group ends with its line; ``window`` is high for a LINEAR with ``window`` only.
    Reference model: ``golden.iss.execute._window``.

    Members: ``begin``, ``word`` In: an instruction begins; ``window`` In: the current one has ``window``; ``advance``
    In; ``take`` In: a result leaves, ``group_done``, ``pass_done`` In: the last of its group, of its pass;
    ``line_done`` Out: the last of its line, ``edges`` Out: Edge bits of the map's edges next to it; ``corner``,
    ``step``, ``stride`` Out.
    """

    LATENCY = 3
    II = 1

    begin: Signal
    word: data.View
    window: Signal
    advance: Signal
    take: Signal
    group_done: Signal
    pass_done: Signal
    line_done: Signal
    edges: Signal
    corner: Signal
    step: Signal
    stride: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "begin": In(1), "word": In(INSTRUCTION[Opcode.LINEAR]), "window": In(1), "advance": In(1), "take": In(1),
            "group_done": In(1), "pass_done": In(1), "line_done": Out(1), "edges": Out(4), "corner": Out(ROW_BITS),
            "step": Out(ROW_BITS), "stride": Out(8)})

    def elaborate(self, platform):
        m = Module()
        start, pitch, stride, edges = Signal(ROW_BITS), Signal(10), Signal(8), Signal(EDGES)
        with m.If(self.begin):
            m.d.sync += [pitch.eq(self.word.pitch), stride.eq(self.word.src_stride), edges.eq(self.word.edges),
                         start.eq(self.word.src_row - Mux(EDGES(self.word.edges).left, self.word.src_stride, 0))]
        new_pass, new_line, new_group = self._results(m, edges)

        # Stage 1: the rows from line to line.
        s1 = {name: Signal(name=f"s1_{name}") for name in ("group", "line", "pass", "top")}
        s1_start, s1_step, s1_stride = Signal(ROW_BITS), Signal(ROW_BITS), Signal(8)
        with m.If(self.advance):
            m.d.sync += [s1["group"].eq(self.take & new_group), s1["line"].eq(self.take & new_line),
                         s1["pass"].eq(new_pass), s1["top"].eq(edges.top), s1_start.eq(start),
                         s1_step.eq(pitch * stride), s1_stride.eq(stride)]

        # Stage 2: the corner of the line's first group. Stage 3: of the group.
        s2_group, s2_line, line = Signal(), Signal(), Signal(ROW_BITS)
        s2_step, s2_stride = Signal(ROW_BITS), Signal(8)
        with m.If(self.advance):
            m.d.sync += [s2_group.eq(s1["group"]), s2_line.eq(s1["line"]), s2_step.eq(s1_step),
                         s2_stride.eq(s1_stride), self.step.eq(s2_step), self.stride.eq(s2_stride)]
            with m.If(s1["line"]):
                m.d.sync += line.eq(Mux(s1["pass"], s1_start - Mux(s1["top"], s1_step, 0), line + s1_step))
            with m.If(s2_group):
                m.d.sync += self.corner.eq(Mux(s2_line, line, self.corner + s2_stride * self.cfg.tm))
        return m

    def _results(self, m, edges) -> tuple[Signal, Signal, Signal]:
        """The place of the result: (whether it is the first of its pass, of its line, of its group)"""
        x, width_last, y, lines_last = Signal(10), Signal(10), Signal(8), Signal(8)
        first_line, first_group = Signal(init=1), Signal(init=1)  # of the pass, of the line
        new_line, new_group, line_end = Signal(init=1), Signal(init=1), Signal()
        ends = Signal(EDGES)
        m.d.comb += [
            line_end.eq(x == width_last), self.line_done.eq(self.window & line_end),
            ends.top.eq(edges.top & first_line), ends.bottom.eq(edges.bottom & (y == lines_last)),
            ends.left.eq(edges.left & first_group), ends.right.eq(edges.right & line_end),
            self.edges.eq(ends),
        ]
        with m.If(self.take):
            m.d.sync += [x.eq(x + 1), new_line.eq(0), new_group.eq(self.group_done)]
            with m.If(self.group_done):
                m.d.sync += first_group.eq(0)
            with m.If(self.line_done | self.pass_done):
                m.d.sync += [x.eq(0), y.eq(y + 1), first_line.eq(0), new_line.eq(1), first_group.eq(1)]
            with m.If(self.pass_done):
                m.d.sync += [y.eq(0), first_line.eq(1)]
        with m.If(self.begin):
            m.d.sync += [width_last.eq(self.word.width - 1), lines_last.eq(self.word.lines - 1)]
        return first_line, new_line, new_group
