# SPDX-License-Identifier: Apache-2.0
"""Layer norm of residual rows into operand blocks; statistics of a token overlap the normalization of older ones."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.spec.isa import Opcode
from golden.spec.machine import MAX_NORM_DIM, NORM_PARAM_BYTES, NORM_PARAM_LINES, MachineConfig
from golden.spec.model import BLOCK
from golden.spec.tables import NORMALIZED_FRAC, RSQRT_RADICAND_BITS
from hw.arith.block_quantize import LATENCY as BLOCK_QUANTIZE_LATENCY
from hw.arith.block_quantize import block_quantize
from hw.arith.round_shift import LATENCY as ROUND_SHIFT_LATENCY
from hw.arith.round_shift import round_shift
from hw.arith.rsqrt import ROOT_BITS, ReciprocalRoot
from hw.interfaces import ISSUE, LINE_BITS, OPERAND_WRITE, READ_LATENCY, ROW_BITS
from hw.lib.queue import Queue
from hw.shapes import INSTRUCTION
from hw.vector.block_pairs import PAIR, PLANES, PairGather, part_layout

MAX_BLOCKS = MAX_NORM_DIM // BLOCK
S1_SHAPE = signed(15 + MAX_NORM_DIM.bit_length())
S2_BITS = 30 + MAX_NORM_DIM.bit_length()
CHANNEL_BITS = 8 * NORM_PARAM_BYTES
LEAST_SHIFT = 33 - NORMALIZED_FRAC - (RSQRT_RADICAND_BITS - 1) // 2  # 22 - j of the variance 1; shifts count from there


class LayerNorm(wiring.Component):
    r"""Layer norm: ``normalized`` and ``rsh(normalized * gain + offset, shift)`` of residual rows (golden/README.md).

    ::

        rows -> [parts] -> [ring of parts]-----------------------------\
                     \-> [x^2] -> [sum trees] -> [S1, S2] -> [V, 5] -> | [1/root, 35] -> tokens
        ring, tokens -> [D x] -> [- S1] -> [x r] -> [>> by j and normalized_shift, 3] -> normalized
                     -> [x gain] -> [+ offset] -> [>> shift, 3] -> [block exponent, 3]
                     -> queue, pairs of blocks -> [one plane a cycle] -> o

    Timing: a row of 32 channels passes in F = ``cfg.serialization`` parts, one a cycle, through both passes. A NORM of
    T tokens and B blocks that is not stalled makes its last write LATENCY + F * (T + 1) * B cycles after its transfer
    at ``i`` (8-bit result). Parameters, a part of a line a cycle, delay that where 3 * F * B is more than
    F * B + KNOWN. Two blocks share a write: with 1 (8 bit) or 2 planes (wide), and 2 more for the normalized values, a
    pair takes max(2, planes) cycles at F = 1, otherwise 2 * F + planes - 1. Rows are read once, ahead of the
    normalization by up to RING_ROWS rows and TOKENS tokens. One NORM at a time.
    Domain: ``golden.spec.isa.LIMITS``; channels are a multiple of 32.
    Reference model: ``golden.ops.layernorm.layernorm``.
    Members: ``i`` In(stream ISSUE), ``i_param`` In(stream of LINE_BITS), NORM_PARAM_LINES a block; ``o_read``
    Out(stream of row) with the answer ``i_row`` READ_LATENCY after the transfer; ``o`` Out(stream OPERAND_WRITE);
    ``idle``, ``retire``.
    """

    RING_ROWS = 128
    TOKENS = 32

    i: stream.Interface
    i_param: stream.Interface
    o_read: stream.Interface
    i_row: Signal
    o: stream.Interface
    idle: Signal
    retire: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        self.CHANNELS = 2 * cfg.lanes
        """Channels of a part."""
        self.TREE = self.CHANNELS.bit_length() - 1
        self.SPLIT = int(cfg.serialization > 1)
        """Registers after the selection of a part, if there is more than one."""
        self.PAIRS = min(16, 32 // cfg.serialization)
        """Depth of the result queue, no less than what is in flight at full rate (of tokens of two blocks or more)."""
        self.STATISTICS = 2 + self.SPLIT + (1 + self.TREE) + 5
        """Cycles from a part's arrival to V, for the last part of a token."""
        self.KNOWN = 1 + READ_LATENCY + self.STATISTICS + ReciprocalRoot.LATENCY + 2
        """Cycles that loading parameters may take beyond the first token's parts without delaying its normalization."""
        self.NORMALISE = 2 + 3 + 2 * ROUND_SHIFT_LATENCY + 2 + (cfg.serialization - 1) + BLOCK_QUANTIZE_LATENCY
        """Cycles from a part's issue to its results: the exponent of a block waits for its last part."""
        self.LATENCY = self.KNOWN + 1 + self.NORMALISE + 3
        self.II = cfg.serialization
        super().__init__({
            "i": In(stream.Signature(ISSUE)), "i_param": In(stream.Signature(LINE_BITS)),
            "o_read": Out(stream.Signature(ROW_BITS)), "i_row": In(LINE_BITS),
            "o": Out(stream.Signature(OPERAND_WRITE)), "idle": Out(1, init=1), "retire": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        serial = self.cfg.serialization
        # The current instruction.
        self.norm = norm = Signal(INSTRUCTION[Opcode.NORM])
        begin, busy, ended = Signal(), Signal(), Signal()
        m.d.comb += [self.i.ready.eq(~busy), begin.eq(self.i.valid & self.i.ready)]
        with m.If(begin):
            m.d.sync += [norm.eq(self.i.payload.word), busy.eq(1), self.idle.eq(0)]
        with m.If(self.retire):
            m.d.sync += [busy.eq(0), self.idle.eq(1)]
        m.d.sync += self.retire.eq(ended)

        block_freed, token_freed = Signal(), Signal()
        table, loaded = self._parameters(m, begin)
        ring = m.submodules.ring = memory.Memory(shape=LINE_BITS // serial, depth=self.RING_ROWS * serial, init=[])
        part, part_valid, part_ends = self._read_rows(m, begin, ring.write_port(), block_freed, token_freed)
        sums = m.submodules.sums = memory.Memory(shape=S1_SHAPE, depth=self.TOKENS, init=[])
        roots = m.submodules.roots = memory.Memory(shape=unsigned(ROOT_BITS + 5), depth=self.TOKENS, init=[])
        known = self._statistics(m, part, part_valid, part_ends, sums.write_port(), roots.write_port())

        # Pass 2: a part a cycle while a token is known and the queue after it has room for all parts in flight. Neither
        # condition ends within a block, so its parts follow each other.
        results, pairs = self._results(m)
        known_count, pairs_free = Signal(range(self.TOKENS + 1)), Signal(range(self.PAIRS + 1), init=self.PAIRS)
        block, token, number = Signal(range(MAX_BLOCKS)), Signal(12), Signal(range(serial))
        issue, whole, ends, pair_opens, pair_popped = Signal(), Signal(), Signal(), Signal(), Signal()
        ready_tokens, room = Signal(), Signal()
        m.d.comb += [ends.eq(block + 1 == norm.blocks), issue.eq(ready_tokens & room & loaded),
                     whole.eq(issue & (number == serial - 1)), pair_opens.eq(whole & ~block[0]),
                     block_freed.eq(whole), token_freed.eq(whole & ends),
                     ready_tokens.eq(known_count != 0), room.eq(block[0] | (pairs_free != 0)),
                     pair_popped.eq(pairs.valid & pairs.ready)]
        m.d.sync += [known_count.eq(known_count + known - token_freed), number.eq(number + issue),
                     pairs_free.eq(pairs_free + pair_popped - pair_opens)]
        with m.If(whole):
            m.d.sync += block.eq(Mux(ends, 0, block + 1))
        with m.If(token_freed):
            m.d.sync += token.eq(token + 1)
        with m.If(begin):
            m.d.sync += token.eq(0)
        ring_port, sum_port, root_port = ring.read_port(), sums.read_port(), roots.read_port()
        ring_part, slot = Signal.like(ring_port.addr, name="ring_part"), Signal(range(self.TOKENS))
        m.d.sync += [ring_part.eq(ring_part + issue), slot.eq(slot + token_freed)]
        m.d.comb += [ring_port.addr.eq(ring_part), sum_port.addr.eq(slot), root_port.addr.eq(slot)]
        tag = Signal(data.StructLayout({"number": range(serial), "block": range(MAX_BLOCKS), "ends": 1, "final": 1}),
                     name="n0_tag")
        m.d.comb += [tag.number.eq(number), tag.block.eq(block), tag.ends.eq(ends),
                     tag.final.eq(ends & (token + 1 == norm.tokens))]
        self._normalise(m, results, issue, tag, ring_port.data, sum_port.data, root_port.data, table)
        self._write(m, begin, pairs, ended)
        return m

    def _parameters(self, m, begin):
        """Gains and offsets of all blocks, a row for each part; (the memory, whether they are complete)."""
        serial = self.cfg.serialization
        # A line is `serial` pieces long, a part has as many pieces as a block has lines.
        table = m.submodules.parameters = memory.Memory(
            shape=data.ArrayLayout(unsigned(LINE_BITS // serial), NORM_PARAM_LINES), depth=MAX_BLOCKS * serial, init=[])
        port = table.write_port(granularity=1)
        part, column, piece = Signal.like(port.addr), Signal(2), Signal(range(serial))
        loading, loaded, write, last = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [self.i_param.ready.eq(loading & (piece == serial - 1)), write.eq(self.i_param.valid & loading),
                     last.eq(column == NORM_PARAM_LINES - 1), port.addr.eq(part)]
        for n in range(NORM_PARAM_LINES):
            m.d.comb += [port.data[n].eq(self.i_param.payload.word_select(piece, LINE_BITS // serial)),
                         port.en[n].eq(write & (column == n))]
        with m.If(write):
            m.d.sync += [column.eq(Mux(last, 0, column + 1)), piece.eq(piece + 1)]
            with m.If(last):
                m.d.sync += part.eq(part + 1)
                with m.If(part + 1 == self.norm.blocks << exact_log2(serial)):
                    m.d.sync += [loading.eq(0), loaded.eq(1), part.eq(0)]
        with m.If(begin):
            m.d.sync += [loading.eq(1), loaded.eq(0)]
        return table, loaded

    def _read_rows(self, m, begin, port, block_freed, token_freed):
        """Request rows while there is a place for them; (a part of a row, valid, last of its token)."""
        serial = self.cfg.serialization
        norm = self.norm
        base, block, left = Signal(ROW_BITS), Signal(range(MAX_BLOCKS)), Signal(12)
        rows_free = Signal(range(self.RING_ROWS + 1), init=self.RING_ROWS)
        tokens_free = Signal(range(self.TOKENS + 1), init=self.TOKENS)
        more, ask, ends, opens = Signal(), Signal(), Signal(), Signal()
        begun, asked = Signal(), Signal()
        m.d.sync += begun.eq(begin)
        # Rows are requested at least `serial` cycles apart.
        pause, rest = Signal(range(serial)), Signal(range(serial))
        m.d.sync += rest.eq(pause)
        m.d.comb += [asked.eq(self.o_read.valid & self.o_read.ready),
                     pause.eq(Mux(asked, serial - 1, Mux(rest == 0, 0, rest - 1))),
                     more.eq((left != 0) & (rows_free != 0) & ((block != 0) | (tokens_free != 0)) & (pause == 0)),
                     ask.eq(more & (~self.o_read.valid | self.o_read.ready)),
                     ends.eq(block + 1 == norm.blocks), opens.eq(ask & (block == 0))]
        m.d.sync += [rows_free.eq(rows_free + block_freed - ask), tokens_free.eq(tokens_free + token_freed - opens)]
        asked_ends = Signal()
        with m.If(~self.o_read.valid | self.o_read.ready):
            m.d.sync += [self.o_read.valid.eq(more), self.o_read.payload.eq(base + block), asked_ends.eq(ends)]
        with m.If(ask):
            m.d.sync += block.eq(block + 1)
            with m.If(ends):
                m.d.sync += [block.eq(0), base.eq(base + norm.src_stride), left.eq(left - 1)]
        with m.If(begun):
            m.d.sync += [base.eq(norm.src_row), left.eq(norm.tokens)]

        # The answer comes READ_LATENCY after the transfer.
        valid, last = [asked], [asked_ends]
        for stage in range(READ_LATENCY):
            held_valid, held_last = Signal(name=f"r{stage}_valid"), Signal(name=f"r{stage}_last", reset_less=True)
            m.d.sync += [held_valid.eq(valid[-1]), held_last.eq(last[-1])]
            valid.append(held_valid)
            last.append(held_last)

        # A row stays for its parts.
        row = Signal(LINE_BITS, reset_less=True)
        row_valid, row_last, done = Signal(), Signal(reset_less=True), Signal()
        number, place = Signal(range(serial), init=serial - 1), Signal.like(port.addr)
        m.d.comb += done.eq(number == serial - 1)
        m.d.sync += number.eq(number + (valid[-1] | ~done))
        with m.If(done):
            m.d.sync += [row.eq(self.i_row), row_valid.eq(valid[-1]), row_last.eq(last[-1])]
        part = _delayed(m, row.word_select(number, LINE_BITS // serial), self.SPLIT, "part")
        part_valid = _delayed(m, row_valid, self.SPLIT, "part_valid", reset_less=False)
        part_last = _delayed(m, row_last & done, self.SPLIT, "part_last")
        m.d.sync += place.eq(place + part_valid)
        m.d.comb += [port.addr.eq(place), port.data.eq(part), port.en.eq(part_valid)]
        return part, part_valid, part_last

    def _statistics(self, m, part, valid, ends, sum_port, root_port):
        """Pass 1: fills the token tables; a pulse for each token whose statistics are complete."""
        norm = self.norm
        channels = [part.word_select(k, 16).as_signed() for k in range(self.CHANNELS)]
        valids, lasts = [valid], [ends]
        for stage in range(1, self.TREE + 8):
            s_valid, s_last = Signal(name=f"s{stage}_valid"), Signal(name=f"s{stage}_last", reset_less=True)
            m.d.sync += [s_valid.eq(valids[-1]), s_last.eq(lasts[-1])]
            valids.append(s_valid)
            lasts.append(s_last)

        # Stage 1: squares. Then trees of TREE stages: S1 in stages 1.., S2 in stages 2.., both ready at `t0`, from
        # which the later stages are counted.
        squares = [Signal(31, name=f"s1_square{k}", reset_less=True) for k in range(self.CHANNELS)]
        m.d.sync += [square.eq(x * x) for square, x in zip(squares, channels, strict=True)]
        t0_sum = _delayed(m, _tree(m, "s1_sum", channels), 1, "t0_sum")
        t0_squares = _tree(m, "s2_square", squares)
        t0 = 1 + self.TREE

        # Stage t1: over the token's parts.
        t1_s1, t1_s2, opens = Signal(S1_SHAPE, reset_less=True), Signal(S2_BITS, reset_less=True), Signal(init=1)
        with m.If(valids[t0]):
            m.d.sync += [t1_s1.eq(Mux(opens, 0, t1_s1) + t0_sum), t1_s2.eq(Mux(opens, 0, t1_s2) + t0_squares),
                         opens.eq(lasts[t0])]

        # Stages t2..t6: V = max(D * S2 - S1^2 + eps, 1), wide products in parts of at most 27 x 18 bits.
        split = S2_BITS // 2
        t2_low, t2_high = Signal(split + 6, reset_less=True), Signal(S2_BITS - split + 6, reset_less=True)
        s1_low, s1_high = t1_s1[:13], t1_s1[13:].as_signed()
        t2_ll, t2_hl, t2_hh = (Signal(26, reset_less=True), Signal(signed(27), reset_less=True),
                               Signal(26, reset_less=True))
        m.d.sync += [t2_low.eq(t1_s2[:split] * norm.blocks), t2_high.eq(t1_s2[split:] * norm.blocks),
                     t2_ll.eq(s1_low * s1_low), t2_hl.eq(s1_high * s1_low), t2_hh.eq(s1_high * s1_high)]
        bits = ReciprocalRoot.WIDTH
        t3_d_s2, t3_square, t4_sum, t4_square, t5_v, t6_v = (
            Signal(bits, name=name, reset_less=True)
            for name in ("t3_d_s2", "t3_square", "t4_sum", "t4_square", "t5_v", "t6_v"))
        m.d.sync += [
            t3_d_s2.eq(Cat(Const(0, 5), t2_low + (t2_high << split))),
            t3_square.eq(Cat(t2_ll, t2_hh) + (t2_hl << 14)),
            t4_sum.eq(t3_d_s2 + norm.eps), t4_square.eq(t3_square),
            t5_v.eq(t4_sum - t4_square), t6_v.eq(t5_v | (t5_v == 0)),
        ]
        root = m.submodules.root = ReciprocalRoot()
        m.d.comb += [root.i_valid.eq(valids[t0 + 6] & lasts[t0 + 6]), root.i_variance.eq(t6_v)]

        # Tables: S1 as soon as it is known, the rest with the root.
        sum_slot, root_slot = Signal(range(self.TOKENS)), Signal(range(self.TOKENS))
        shift = Signal(5)
        m.d.comb += [
            sum_port.addr.eq(sum_slot), sum_port.data.eq(t1_s1), sum_port.en.eq(valids[t0 + 1] & lasts[t0 + 1]),
            shift.eq(33 - NORMALIZED_FRAC - LEAST_SHIFT - root.o_j + norm.normalized_shift),
            root_port.addr.eq(root_slot), root_port.data.eq(Cat(root.o_r, shift)), root_port.en.eq(root.o_valid),
        ]
        known = Signal()
        m.d.sync += [sum_slot.eq(sum_slot + sum_port.en), root_slot.eq(root_slot + root.o_valid),
                     known.eq(root.o_valid)]
        return known

    def _results(self, m):
        """From parts to pairs of blocks: (stream in, stream out). The queue comes where its entries have fewer bits."""
        gather = m.submodules.gather = PairGather(self.CHANNELS)
        if self.cfg.serialization == 1:
            queue = m.submodules.queue = Queue(PAIR, self.PAIRS)
            first, second = gather, queue
        else:
            queue = m.submodules.queue = Queue(part_layout(self.CHANNELS), self.PAIRS * 2 * self.cfg.serialization)
            first, second = queue, gather
        wiring.connect(m, first.o, second.i)
        return first.i, second.o

    def _normalise(self, m, results, issue, tag, part, s1, root, table):
        """Pass 2: results of parts."""
        norm, wait = self.norm, self.cfg.serialization - 1
        tags, valids = [tag], [issue]
        for stage in range(1, self.NORMALISE + 1):
            n_tag, n_valid = Signal.like(tag, name=f"n{stage}_tag", reset_less=True), Signal(name=f"n{stage}_valid")
            m.d.sync += [n_tag.eq(tags[-1]), n_valid.eq(valids[-1])]
            tags.append(n_tag)
            valids.append(n_valid)

        def registers(shape, name):
            return [Signal(shape, name=f"{name}{k}", reset_less=True) for k in range(self.CHANNELS)]

        # Stages 1, 2: read. Stages 3..5: (D x - S1) r. Stages 6..8: normalized.
        n2_part = _delayed(m, part, 1, "n2_part")
        n3_s1, n4_r, n5_shift = (_delayed(m, s1, 2, "s1"), _delayed(m, root[:ROOT_BITS], 3, "r"),
                                 _delayed(m, root[ROOT_BITS:], 4, "j"))
        n3_product, n4_difference = registers(signed(22), "n3_product"), registers(signed(27), "n4_difference")
        n5_scaled = registers(signed(45 - LEAST_SHIFT), "n5_scaled")  # with one fraction bit for the least shift
        for k in range(self.CHANNELS):
            m.d.sync += [n3_product[k].eq(n2_part.word_select(k, 16).as_signed() * norm.blocks),
                         n4_difference[k].eq((n3_product[k] << 5) - n3_s1),
                         n5_scaled[k].eq(n4_difference[k] * n4_r >> LEAST_SHIFT - 1)]
        n8_normalized = round_shift(m, "normalized", n5_scaled, n5_shift, 16, halves=True)

        # Stage 9: gain. Stage 10: offset. Stages 11..13: v. The parameters are read two stages before they are needed.
        port = table.read_port()
        m.d.comb += port.addr.eq(Cat(tags[6].number, tags[6].block))
        n8_params = _delayed(m, Cat(port.data), 1, "n8_params")
        n9_product, n9_offset, n10_sum = (registers(signed(32), "n9_product"), registers(signed(32), "n9_offset"),
                                          registers(signed(33), "n10_sum"))
        for k in range(self.CHANNELS):
            gain_offset = n8_params[k * CHANNEL_BITS:(k + 1) * CHANNEL_BITS]
            m.d.sync += [n9_product[k].eq(n8_normalized[k] * gain_offset[:16].as_signed()),
                         n9_offset[k].eq(gain_offset[16:].as_signed()), n10_sum[k].eq(n9_product[k] + n9_offset[k])]
        n13_v = round_shift(m, "v", n10_sum, norm.shift, 16)

        # The last three stages: block exponent. Values wait until the exponent of the block's last part is known.
        waited = [_delayed(m, v, wait, f"v_waits{k}") for k, v in enumerate(n13_v)]
        place = tags[13].number
        block_bytes, exponent = block_quantize(m, "quantize", n13_v, waited, opens=place == 0, closes=place == wait)
        v = [_delayed(m, value, BLOCK_QUANTIZE_LATENCY, f"v_last{k}") for k, value in enumerate(waited)]
        normalized = [_delayed(m, value, len(tags) - 1 - 8, f"normalized_last{k}")
                      for k, value in enumerate(n8_normalized)]
        done, result = tags[-1], results.payload
        bytes_of = [[Mux(norm.wide, value[8:], byte.as_unsigned()) for value, byte in zip(v, block_bytes, strict=True)],
                    [value[:8] for value in v], [value[8:] for value in normalized],
                    [value[:8] for value in normalized]]
        m.d.comb += [plane.eq(Cat(values)) for plane, values in zip(result.results.planes, bytes_of, strict=True)]
        m.d.comb += [results.valid.eq(valids[-1]), result.results.exp.eq(Mux(norm.wide, 0, exponent)),
                     result.odd.eq(done.block[0]), result.ends.eq(done.ends), result.final.eq(done.final)]

    def _write(self, m, begin, pairs, ended):
        """One plane of two blocks a cycle: main (high, low), then, if requested, normalized values (high, low)."""
        norm, pair = self.norm, pairs.payload
        begun = Signal()
        m.d.sync += begun.eq(begin)
        bases = [(norm.dst_row, norm.dst_stride, norm.dst_plane), (norm.normalized_row, norm.normalized_stride,
                                                                   norm.normalized_plane)]
        plane, free, last, last_pair = Signal(2), Signal(), Signal(), Signal()
        m.d.comb += [free.eq(~self.o.valid | self.o.ready),
                     last.eq(plane == Mux(norm.normalized, 3, norm.wide)), pairs.ready.eq(free & last)]
        rows = []
        for n, (first, stride, _) in enumerate(bases):
            token_row, row = Signal(ROW_BITS, name=f"token_row{n}"), Signal(ROW_BITS, name=f"row{n}")
            following = Signal(ROW_BITS, name=f"following{n}")
            m.d.comb += following.eq(token_row + stride)
            with m.If(begun):
                m.d.sync += [token_row.eq(first), row.eq(first)]
            with m.Elif(pairs.valid & pairs.ready):
                m.d.sync += row.eq(row + 1)
                with m.If(pair.ends):
                    m.d.sync += [token_row.eq(following), row.eq(following)]
            rows.append(row)
        offset = Mux(plane[0], Mux(plane[1], norm.normalized_plane, norm.dst_plane), 0)
        o = self.o.payload
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(pairs.valid), last_pair.eq(pairs.valid & last & pair.final),
                o.row.eq(Mux(plane[1], rows[1], rows[0]) + offset), o.mask.eq(Cat(1, pair.both)),
            ]
            m.d.sync += [o.exp[n].eq(Mux(plane == 0, pair.blocks[n].exp, 0)) for n in range(2)]
            with m.Switch(plane):
                for n in range(PLANES):
                    with m.Case(n):
                        m.d.sync += o.data.eq(Cat(block.planes[n] for block in pair.blocks))
            with m.If(pairs.valid):
                # An 8-bit result has no low plane.
                m.d.sync += plane.eq(Mux(last, 0, Mux((plane == 0) & ~norm.wide, 2, plane + 1)))
        # The last write is in its memory two cycles after its transfer.
        s1_ended = Signal()
        m.d.sync += [s1_ended.eq(self.o.valid & self.o.ready & last_pair), ended.eq(s1_ended)]


def _delayed(m, value, count: int, name: str, *, reset_less: bool = True):
    """``value`` of ``count`` cycles ago."""
    for stage in range(count):
        kept = Signal(value.shape(), name=f"{name}_{stage}", reset_less=reset_less)
        m.d.sync += kept.eq(value)
        value = kept
    return value


def _tree(m, name, terms):
    """Sum of a power of two of terms, two by two, a level a cycle."""
    level = 0
    while len(terms) > 1:
        shape = terms[0].shape()
        wider = signed(shape.width + 1) if shape.signed else unsigned(shape.width + 1)
        sums = [Signal(wider, name=f"{name}_level{level}_{i}", reset_less=True) for i in range(len(terms) // 2)]
        m.d.sync += [s.eq(terms[2 * i] + terms[2 * i + 1]) for i, s in enumerate(sums)]
        terms, level = sums, level + 1
    return terms[0]
