# SPDX-License-Identifier: Apache-2.0
"""Layer norm of residual rows into operand blocks; statistics of a token overlap the normalization of older ones."""

from typing import NamedTuple

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from hw.arith.rsqrt import ReciprocalRoot
from hw.interfaces import ISSUE, LINE_BITS, OPERAND_WRITE, READ_LATENCY, ROW_BITS
from hw.lib.queue import Queue
from hw.shapes import INSTRUCTION
from hw.vector.layernorm import lanes as norm_lanes
from hw.vector.layernorm import shapes as norm_shapes
from hw.vector.layernorm import statistics as norm_statistics
from hw.vector.layernorm.block_pairs import PAIR, PairGather, part_layout
from hw.vector.layernorm.lanes import NormLanes
from hw.vector.layernorm.parameters import NormParameters
from hw.vector.layernorm.reader import NormReader
from hw.vector.layernorm.shapes import MAX_BLOCKS, TOKENS, part_tag
from hw.vector.layernorm.statistics import NormStatistics
from hw.vector.layernorm.writer import NormWriter


class Issue(NamedTuple):
    """Second pass: a part of a block is issued ``now``, ``tag`` of it; a whole block, its token's last block was."""

    now: Signal
    tag: Signal
    whole: Signal
    ends_token: Signal


class LayerNorm(wiring.Component):
    r"""Layer norm: ``normalized`` and ``rsh(normalized * gain + offset, shift)`` of residual rows (golden/README.md).

    ::

        rows -> [parts] -> [ring of parts]-----------------------------\
                     \-> [x^2] -> [sum trees] -> [S1, S2] -> [V, 5] -> | [1/root, 35] -> tokens
        ring, tokens -> [D x] -> [- S1] -> [x r] -> [>> by j and normalized_shift, 3] -> normalized -> [x gain]
                     -> [+ offset] -> [>> shift, 3] -> [block exponent, 3] -> queue, pairs -> [one plane a cycle] -> o


    Timing: a row of 32 channels passes in F = ``cfg.serialization`` parts, one a cycle, through both passes. A NORM of
    T tokens and B blocks that is not held up makes its last write LATENCY + F * (T + 1) * B cycles after its transfer
    at ``i`` (8-bit result). Parameters, a part of a line a cycle, delay that where 3 * F * B is more than F * B +
    KNOWN. Two blocks share a write: with 1 (8 bit) or 2 planes (wide), and 2 more for normalized, a pair takes
    max(2, planes) cycles at F = 1, otherwise 2 * F + planes - 1. Rows are read once, ahead of the normalising by
    up to RING_ROWS rows and TOKENS tokens. One NORM at a time.
    Domain: ``golden.spec.isa.LIMITS``; channels are a multiple of 32.
    Reference model: ``golden.ops.layernorm.layernorm``.
    Members: ``i`` In(stream ISSUE), ``i_param`` In(stream of LINE_BITS), NORM_PARAM_LINES a block; ``o_read``
    Out(stream of row) with the answer ``i_row`` READ_LATENCY after the transfer; ``o`` Out(stream OPERAND_WRITE);
    ``idle``, ``retire``.
    """

    RING_ROWS = norm_shapes.RING_ROWS
    TOKENS = norm_shapes.TOKENS

    i: stream.Interface
    i_param: stream.Interface
    o_read: stream.Interface
    i_row: Signal
    o: stream.Interface
    idle: Signal
    retire: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        self.PAIRS = min(16, 32 // cfg.serialization)
        """Room for results, no less than what is in flight at full rate (of tokens of two blocks and more)."""
        # From a part's arrival to V, for the last part of a token.
        statistics = 1 + norm_shapes.split(cfg) + sum(norm_statistics.stages(cfg).values())
        self.KNOWN = 1 + READ_LATENCY + statistics + ReciprocalRoot.LATENCY + 2
        """Cycles in which parameters may load, during the first token's parts, without delaying its second pass."""
        self.LATENCY = self.KNOWN + 1 + sum(norm_lanes.stages(cfg).values()) + 3
        self.II = cfg.serialization
        super().__init__({
            "i": In(stream.Signature(ISSUE)), "i_param": In(stream.Signature(LINE_BITS)),
            "o_read": Out(stream.Signature(ROW_BITS)), "i_row": In(LINE_BITS),
            "o": Out(stream.Signature(OPERAND_WRITE)), "idle": Out(1, init=1), "retire": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # The current instruction.
        norm = Signal(INSTRUCTION[Opcode.NORM])
        begin, begun, busy, ended = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [self.i.ready.eq(~busy), begin.eq(self.i.valid & self.i.ready)]
        m.d.sync += begun.eq(begin)
        with m.If(begin):
            m.d.sync += [norm.eq(self.i.payload.word), busy.eq(1), self.idle.eq(0)]
        with m.If(self.retire):
            m.d.sync += [busy.eq(0), self.idle.eq(1)]
        m.d.sync += self.retire.eq(ended)

        parameters = m.submodules.parameters = NormParameters(self.cfg)
        reader = m.submodules.reader = NormReader(self.cfg)
        statistics = m.submodules.statistics = NormStatistics(self.cfg)
        lanes = m.submodules.lanes = NormLanes(self.cfg)
        writer = m.submodules.writer = NormWriter()
        for part in (parameters, reader, statistics, lanes, writer):
            m.d.comb += part.norm.eq(norm)
        results, pairs = self._results(m)
        issue = self._issue(m, norm, begin, statistics.known, parameters.loaded, pairs.valid & pairs.ready)

        slot = Signal(range(TOKENS))
        m.d.sync += slot.eq(slot + issue.ends_token)
        m.d.comb += [
            parameters.begin.eq(begin), parameters.number.eq(lanes.param_number),
            parameters.block.eq(lanes.param_block), lanes.param_data.eq(parameters.data),
            reader.begun.eq(begun), reader.i_row.eq(self.i_row), reader.block_freed.eq(issue.whole),
            reader.token_freed.eq(issue.ends_token), reader.ring_read.eq(issue.now),
            statistics.part.eq(reader.part), statistics.valid.eq(reader.valid), statistics.ends.eq(reader.ends),
            statistics.slot.eq(slot),
            lanes.issue.eq(issue.now), lanes.tag.eq(issue.tag), lanes.part.eq(reader.ring_part),
            lanes.s1.eq(statistics.s1), lanes.root.eq(statistics.root),
            results.valid.eq(lanes.o_valid), results.payload.eq(lanes.o),
            writer.begun.eq(begun), ended.eq(writer.ended),
        ]
        connect(m, flipped(self.i_param), parameters.i_param)
        connect(m, reader.o_read, flipped(self.o_read))
        connect(m, pairs, writer.i)
        connect(m, writer.o, flipped(self.o))
        return m

    def _issue(self, m, norm, begin, known, loaded, pair_popped) -> Issue:
        """Pass 2: a part a cycle while a token is known and the queue after it has room for what is in flight. Neither
        ends within a block, so its parts follow each other."""
        serial = self.cfg.serialization
        known_count, pairs_free = Signal(range(TOKENS + 1)), Signal(range(self.PAIRS + 1), init=self.PAIRS)
        block, token, number = Signal(range(MAX_BLOCKS)), Signal(12), Signal(range(serial))
        now, whole, ends, pair_opens, ends_token = Signal(), Signal(), Signal(), Signal(), Signal()
        ready_tokens, room = Signal(), Signal()
        m.d.comb += [ends.eq(block + 1 == norm.blocks), now.eq(ready_tokens & room & loaded),
                     whole.eq(now & (number == serial - 1)), pair_opens.eq(whole & ~block[0]),
                     ends_token.eq(whole & ends), ready_tokens.eq(known_count != 0),
                     room.eq(block[0] | (pairs_free != 0))]
        m.d.sync += [known_count.eq(known_count + known - ends_token), number.eq(number + now),
                     pairs_free.eq(pairs_free + pair_popped - pair_opens)]
        with m.If(whole):
            m.d.sync += block.eq(Mux(ends, 0, block + 1))
        with m.If(ends_token):
            m.d.sync += token.eq(token + 1)
        with m.If(begin):
            m.d.sync += token.eq(0)
        tag = Signal(part_tag(self.cfg))
        m.d.comb += [tag.number.eq(number), tag.block.eq(block), tag.ends.eq(ends),
                     tag.final.eq(ends & (token + 1 == norm.tokens))]
        return Issue(now=now, tag=tag, whole=whole, ends_token=ends_token)

    def _results(self, m):
        """Where results of parts go and, in the end, pairs of blocks come from: (stream in, stream out).

        The queue between stands where its entries are fewest bits: before parts become pairs, if there are parts.
        """
        channels = norm_shapes.channels(self.cfg)
        gather = m.submodules.gather = PairGather(channels)
        if self.cfg.serialization == 1:
            queue = m.submodules.queue = Queue(PAIR, self.PAIRS)
            first, second = gather, queue
        else:
            queue = m.submodules.queue = Queue(part_layout(channels), self.PAIRS * 2 * self.cfg.serialization)
            first, second = queue, gather
        connect(m, first.o, second.i)
        return first.i, second.o
