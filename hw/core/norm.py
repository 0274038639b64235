# SPDX-License-Identifier: Apache-2.0
"""Layer norm of residual rows into operand blocks: statistics of a token run under the normalising of older ones."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from golden.spec.machine import MAX_NORM_DIM, NORM_PARAM_BYTES, NORM_PARAM_LINES, MachineConfig
from golden.spec.model import BLOCK
from golden.spec.tables import XHAT_FRAC
from hw.core.layouts import EXP_BITS, ISSUE, LINE_BITS, OPERAND_WRITE, READ_LATENCY, ROW_BITS
from hw.core.narrow_block import LATENCY as NARROW_LATENCY
from hw.core.narrow_block import narrow_block
from hw.core.round_shift import LATENCY as ROUND_SHIFT_LATENCY
from hw.core.round_shift import round_shift
from hw.core.rsqrt import ROOT_BITS, ReciprocalRoot
from hw.lib.queue import Queue
from hw.shapes import INSTRUCTION

MAX_BLOCKS = MAX_NORM_DIM // BLOCK
S1_SHAPE = signed(15 + MAX_NORM_DIM.bit_length())
S2_BITS = 30 + MAX_NORM_DIM.bit_length()
CHANNEL_BITS = 8 * NORM_PARAM_BYTES
TOKEN = data.StructLayout({"s1": S1_SHAPE, "r": unsigned(ROOT_BITS), "shift": unsigned(5)})
PLANE_BITS = 8 * BLOCK
BLOCK_RESULT = data.StructLayout({"main": unsigned(2 * PLANE_BITS), "xhat": unsigned(2 * PLANE_BITS),
                                  "exp": unsigned(EXP_BITS)})
"""32 results: a plane of high bytes (or of the only bytes) above nothing else, then a plane of low bytes."""
PAIR = data.StructLayout({"blocks": data.ArrayLayout(BLOCK_RESULT, 2), "both": 1, "ends": 1, "final": 1})


class LayerNorm(wiring.Component):
    r"""``xhat`` and ``rsh(xhat * gain + offset, shift)`` of residual rows, formula in golden/README.md.

    ::

        rows -> [ring of rows]------------------------------------\
             \-> [x^2] -> [sum trees, 5] -> [S1, S2] -> [V, 5] -> | [1/root, 35] -> tokens
        ring, tokens -> [D x] -> [- S1] -> [x r] -> [>> 22 - j, 3] -> xhat -> [x gain] -> [+ offset] -> [>> shift, 3]
                     -> [block exponent, 3] -> pairs of blocks -> [queue] -> [one plane a cycle] -> o

    Timing: 32 channels a cycle through both passes. A NORM of T tokens and B blocks that is not held up makes its last
    write LATENCY + (T + 1) * B cycles after its transfer at ``i`` (8-bit result). Two blocks share a write: a pair
    takes max(2, planes) cycles, where planes are 1 (8 bit), 2 (wide), and 2 more for xhat. Rows are read once, ahead
    of the normalising by up to RING_ROWS rows and TOKENS tokens. One NORM at a time.
    Domain: ``golden.spec.isa.LIMITS``; channels are a multiple of 32.
    Twin: ``golden.ops.layernorm.layernorm``.
    Members: ``i`` In(stream ISSUE), ``i_param`` In(stream of LINE_BITS), NORM_PARAM_LINES a block; ``o_read``
    Out(stream of row) with the answer ``i_row`` READ_LATENCY after the transfer; ``o`` Out(stream OPERAND_WRITE);
    ``idle``, ``retire``.
    """

    RING_ROWS = 128
    TOKENS = 32
    PAIRS = 16
    STATISTICS = 2 + 6 + 5
    """From a row's arrival to V, for the last row of a token."""
    NORMALISE = 2 + 3 + 2 * ROUND_SHIFT_LATENCY + 2 + NARROW_LATENCY
    """From a block's issue to its results."""
    LATENCY = 2 + READ_LATENCY + STATISTICS + ReciprocalRoot.LATENCY + 2 + NORMALISE + 3
    II = 1

    i: stream.Interface
    i_param: stream.Interface
    o_read: stream.Interface
    i_row: Signal
    o: stream.Interface
    idle: Signal
    retire: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(ISSUE)), "i_param": In(stream.Signature(LINE_BITS)),
            "o_read": Out(stream.Signature(ROW_BITS)), "i_row": In(LINE_BITS),
            "o": Out(stream.Signature(OPERAND_WRITE)), "idle": Out(1, init=1), "retire": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # The instruction at work.
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
        ring = m.submodules.ring = memory.Memory(shape=LINE_BITS, depth=self.RING_ROWS, init=[])
        row, row_valid, row_ends = self._read_rows(m, begin, ring.write_port(), block_freed, token_freed)
        sums = m.submodules.sums = memory.Memory(shape=S1_SHAPE, depth=self.TOKENS, init=[])
        roots = m.submodules.roots = memory.Memory(shape=unsigned(ROOT_BITS + 5), depth=self.TOKENS, init=[])
        known = self._statistics(m, row, row_valid, row_ends, sums.write_port(), roots.write_port())

        # Pass 2: a block a cycle while a token is known and the queue behind has room for what is on the way.
        queue = m.submodules.queue = Queue(PAIR, self.PAIRS)
        known_count, pairs_free = Signal(range(self.TOKENS + 1)), Signal(range(self.PAIRS + 1), init=self.PAIRS)
        block, token = Signal(range(MAX_BLOCKS)), Signal(12)
        issue, ends, pair_opens, pair_popped = Signal(), Signal(), Signal(), Signal()
        ready_tokens, room = Signal(), Signal()
        m.d.comb += [ends.eq(block + 1 == norm.blocks), issue.eq(ready_tokens & room & loaded),
                     pair_opens.eq(issue & ~block[0]), block_freed.eq(issue), token_freed.eq(issue & ends),
                     ready_tokens.eq(known_count != 0), room.eq(block[0] | (pairs_free != 0)),
                     pair_popped.eq(queue.o.valid & queue.o.ready)]
        m.d.sync += [known_count.eq(known_count + known - token_freed),
                     pairs_free.eq(pairs_free + pair_popped - pair_opens)]
        with m.If(issue):
            m.d.sync += block.eq(Mux(ends, 0, block + 1))
        with m.If(token_freed):
            m.d.sync += token.eq(token + 1)
        with m.If(begin):
            m.d.sync += token.eq(0)
        ring_port, sum_port, root_port = ring.read_port(), sums.read_port(), roots.read_port()
        ring_row = Signal(range(self.RING_ROWS))
        m.d.sync += ring_row.eq(ring_row + issue)
        slot = Signal(range(self.TOKENS))
        m.d.sync += slot.eq(slot + token_freed)
        m.d.comb += [ring_port.addr.eq(ring_row), sum_port.addr.eq(slot), root_port.addr.eq(slot)]
        final = Signal()
        m.d.comb += final.eq(ends & (token + 1 == norm.tokens))
        self._normalise(m, queue.i, issue, block, ends, final, ring_port.data, sum_port.data, root_port.data, table)
        self._write(m, begin, queue.o, ended)
        return m

    def _parameters(self, m, begin):
        """Gains and offsets of all blocks; (the memory, whether they are complete)."""
        table = m.submodules.parameters = memory.Memory(
            shape=data.ArrayLayout(unsigned(LINE_BITS), NORM_PARAM_LINES), depth=MAX_BLOCKS, init=[])
        port = table.write_port(granularity=1)
        block, part, loading, loaded = Signal(range(MAX_BLOCKS)), Signal(2), Signal(), Signal()
        transfer, last = Signal(), Signal()
        m.d.comb += [self.i_param.ready.eq(loading), transfer.eq(self.i_param.valid & loading),
                     last.eq(part == NORM_PARAM_LINES - 1), port.addr.eq(block)]
        for n in range(NORM_PARAM_LINES):
            m.d.comb += [port.data[n].eq(self.i_param.payload), port.en[n].eq(transfer & (part == n))]
        with m.If(transfer):
            m.d.sync += part.eq(Mux(last, 0, part + 1))
            with m.If(last):
                m.d.sync += block.eq(block + 1)
                with m.If(block + 1 == self.norm.blocks):
                    m.d.sync += [loading.eq(0), loaded.eq(1), block.eq(0)]
        with m.If(begin):
            m.d.sync += [loading.eq(1), loaded.eq(0)]
        return table, loaded

    def _read_rows(self, m, begin, port, block_freed, token_freed):
        """Asks for rows while there is a place for them; (a row a cycle after it came, valid, last of its token)."""
        norm = self.norm
        base, block, left = Signal(ROW_BITS), Signal(range(MAX_BLOCKS)), Signal(12)
        rows_free = Signal(range(self.RING_ROWS + 1), init=self.RING_ROWS)
        tokens_free = Signal(range(self.TOKENS + 1), init=self.TOKENS)
        more, ask, ends, opens = Signal(), Signal(), Signal(), Signal()
        begun = Signal()
        m.d.sync += begun.eq(begin)
        m.d.comb += [more.eq((left != 0) & (rows_free != 0) & ((block != 0) | (tokens_free != 0))),
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
        valid, last = [self.o_read.valid & self.o_read.ready], [asked_ends]
        for stage in range(READ_LATENCY + 1):
            held_valid, held_last = Signal(name=f"r{stage}_valid"), Signal(name=f"r{stage}_last", reset_less=True)
            m.d.sync += [held_valid.eq(valid[-1]), held_last.eq(last[-1])]
            valid.append(held_valid)
            last.append(held_last)
        row, place = Signal(LINE_BITS, reset_less=True), Signal(range(self.RING_ROWS))
        m.d.sync += [row.eq(self.i_row), place.eq(place + valid[-1])]
        m.d.comb += [port.addr.eq(place), port.data.eq(row), port.en.eq(valid[-1])]
        return row, valid[-1], last[-1]

    def _statistics(self, m, row, valid, ends, sum_port, root_port):
        """Pass 1: fills the token tables; a pulse for each token that became known."""
        norm = self.norm
        channels = [row.word_select(k, 16).as_signed() for k in range(BLOCK)]
        valids, lasts = [valid], [ends]
        for stage in range(1, 14):
            s_valid, s_last = Signal(name=f"s{stage}_valid"), Signal(name=f"s{stage}_last", reset_less=True)
            m.d.sync += [s_valid.eq(valids[-1]), s_last.eq(lasts[-1])]
            valids.append(s_valid)
            lasts.append(s_last)

        # Stage 1: squares. Then trees: S1 in stages 1..5, S2 in stages 2..6.
        squares = [Signal(31, name=f"s1_square{k}", reset_less=True) for k in range(BLOCK)]
        m.d.sync += [square.eq(x * x) for square, x in zip(squares, channels, strict=True)]
        s5_sum = _tree(m, "s1_sum", channels)
        s6_squares = _tree(m, "s2_square", squares)
        s6_sum = Signal.like(s5_sum, reset_less=True)
        m.d.sync += s6_sum.eq(s5_sum)

        # Stage 7: over the token's blocks.
        s7_s1, s7_s2, opens = Signal(S1_SHAPE, reset_less=True), Signal(S2_BITS, reset_less=True), Signal(init=1)
        with m.If(valids[6]):
            m.d.sync += [s7_s1.eq(Mux(opens, 0, s7_s1) + s6_sum), s7_s2.eq(Mux(opens, 0, s7_s2) + s6_squares),
                         opens.eq(lasts[6])]

        # Stages 8..12: V = max(D * S2 - S1^2 + eps, 1), wide products in parts of at most 27 x 18 bits.
        split = S2_BITS // 2
        s8_low, s8_high = Signal(split + 6, reset_less=True), Signal(S2_BITS - split + 6, reset_less=True)
        s1_low, s1_high = s7_s1[:13], s7_s1[13:].as_signed()
        s8_ll, s8_hl, s8_hh = (Signal(26, reset_less=True), Signal(signed(27), reset_less=True),
                               Signal(26, reset_less=True))
        m.d.sync += [s8_low.eq(s7_s2[:split] * norm.blocks), s8_high.eq(s7_s2[split:] * norm.blocks),
                     s8_ll.eq(s1_low * s1_low), s8_hl.eq(s1_high * s1_low), s8_hh.eq(s1_high * s1_high)]
        bits = ReciprocalRoot.WIDTH
        s9_d_s2, s9_square, s10_sum, s10_square, s11_v, s12_v = (
            Signal(bits, name=name, reset_less=True)
            for name in ("s9_d_s2", "s9_square", "s10_sum", "s10_square", "s11_v", "s12_v"))
        m.d.sync += [
            s9_d_s2.eq(Cat(Const(0, 5), s8_low + (s8_high << split))),
            s9_square.eq(Cat(s8_ll, s8_hh) + (s8_hl << 14)),
            s10_sum.eq(s9_d_s2 + norm.eps), s10_square.eq(s9_square),
            s11_v.eq(s10_sum - s10_square), s12_v.eq(s11_v | (s11_v == 0)),
        ]
        root = m.submodules.root = ReciprocalRoot()
        m.d.comb += [root.i_valid.eq(valids[12] & lasts[12]), root.i_variance.eq(s12_v)]

        # Tables: S1 as soon as it is known, the rest with the root.
        sum_slot, root_slot = Signal(range(self.TOKENS)), Signal(range(self.TOKENS))
        shift = Signal(5)
        m.d.comb += [
            sum_port.addr.eq(sum_slot), sum_port.data.eq(s7_s1), sum_port.en.eq(valids[7] & lasts[7]),
            shift.eq(33 - XHAT_FRAC - root.o_j),
            root_port.addr.eq(root_slot), root_port.data.eq(Cat(root.o_r, shift)), root_port.en.eq(root.o_valid),
        ]
        known = Signal()
        m.d.sync += [sum_slot.eq(sum_slot + sum_port.en), root_slot.eq(root_slot + root.o_valid),
                     known.eq(root.o_valid)]
        return known

    def _normalise(self, m, queue, issue, block, ends, final, row, s1, root, table):
        """Pass 2: blocks of results, two a queue entry."""
        norm = self.norm
        tag = data.StructLayout({"block": range(MAX_BLOCKS), "ends": 1, "final": 1})
        tags, valids = [Signal(tag, name="n0_tag")], [issue]
        m.d.comb += [tags[0].block.eq(block), tags[0].ends.eq(ends), tags[0].final.eq(final)]
        for stage in range(1, self.NORMALISE + 1):
            n_tag, n_valid = Signal(tag, name=f"n{stage}_tag", reset_less=True), Signal(name=f"n{stage}_valid")
            m.d.sync += [n_tag.eq(tags[-1]), n_valid.eq(valids[-1])]
            tags.append(n_tag)
            valids.append(n_valid)

        def held(value, count, name):
            for stage in range(count):
                kept = Signal(value.shape(), name=f"{name}_{stage}", reset_less=True)
                m.d.sync += kept.eq(value)
                value = kept
            return value

        def registers(shape, name):
            return [Signal(shape, name=f"{name}{k}", reset_less=True) for k in range(BLOCK)]

        # Stages 1, 2: read. Stages 3..5: (D x - S1) r. Stages 6..8: xhat.
        n2_row = held(row, 1, "n2_row")
        n3_s1, n4_r, n5_shift = (held(s1, 2, "s1"), held(root[:ROOT_BITS], 3, "r"), held(root[ROOT_BITS:], 4, "j"))
        n3_product, n4_difference = registers(signed(22), "n3_product"), registers(signed(27), "n4_difference")
        n5_scaled = registers(signed(44), "n5_scaled")
        for k in range(BLOCK):
            m.d.sync += [n3_product[k].eq(n2_row.word_select(k, 16).as_signed() * norm.blocks),
                         n4_difference[k].eq((n3_product[k] << 5) - n3_s1), n5_scaled[k].eq(n4_difference[k] * n4_r)]
        n8_xhat = round_shift(m, "xhat", n5_scaled, n5_shift, 16)

        # Stage 9: gain. Stage 10: offset. Stages 11..13: v. The parameters are read two stages before they are needed.
        port = table.read_port()
        m.d.comb += port.addr.eq(tags[6].block)
        n8_params = held(Cat(port.data), 1, "n8_params")
        n9_product, n9_offset, n10_sum = (registers(signed(32), "n9_product"), registers(signed(32), "n9_offset"),
                                          registers(signed(33), "n10_sum"))
        for k in range(BLOCK):
            gain_offset = n8_params[k * CHANNEL_BITS:(k + 1) * CHANNEL_BITS]
            m.d.sync += [n9_product[k].eq(n8_xhat[k] * gain_offset[:16].as_signed()),
                         n9_offset[k].eq(gain_offset[16:].as_signed()), n10_sum[k].eq(n9_product[k] + n9_offset[k])]
        n13_v = round_shift(m, "v", n10_sum, norm.shift, 16)
        n13_xhat = [held(xhat, ROUND_SHIFT_LATENCY + 2, f"xhat_kept{k}") for k, xhat in enumerate(n8_xhat)]

        # Stages 14..16: block exponent.
        block_bytes, exponent = narrow_block(m, "narrow", n13_v)
        v, xhat = ([held(value, NARROW_LATENCY, f"{name}_last{k}") for k, value in enumerate(values)]
                   for name, values in (("v", n13_v), ("xhat", n13_xhat)))
        result, earlier = Signal(BLOCK_RESULT), Signal(BLOCK_RESULT, reset_less=True)
        m.d.comb += [
            result.main.eq(Mux(norm.wide, _planes(v), Cat(block_bytes))), result.xhat.eq(_planes(xhat)),
            result.exp.eq(Mux(norm.wide, 0, exponent)),
        ]
        done, done_valid = tags[-1], valids[-1]
        odd = done.block[0]
        with m.If(done_valid & ~odd):
            m.d.sync += earlier.eq(result)
        s_push, s_pair = Signal(), Signal(PAIR, reset_less=True)
        m.d.sync += [s_push.eq(done_valid & (odd | done.ends)),
                     s_pair.blocks[0].eq(Mux(odd, earlier.as_value(), result.as_value())), s_pair.blocks[1].eq(result),
                     s_pair.both.eq(odd), s_pair.ends.eq(done.ends), s_pair.final.eq(done.final)]
        m.d.comb += [queue.valid.eq(s_push), queue.payload.eq(s_pair)]

    def _write(self, m, begin, queue, ended):
        """One plane of two blocks a cycle: main (high, low), then xhat (high, low), as far as the NORM wants them."""
        norm, pair = self.norm, queue.payload
        begun = Signal()
        m.d.sync += begun.eq(begin)
        bases = [(norm.dst_row, norm.dst_stride, norm.dst_plane), (norm.xhat_row, norm.xhat_stride, norm.xhat_plane)]
        plane, free, last, last_pair = Signal(2), Signal(), Signal(), Signal()
        m.d.comb += [free.eq(~self.o.valid | self.o.ready),
                     last.eq(plane == Mux(norm.xhat, 3, norm.wide)), queue.ready.eq(free & last)]
        rows = []
        for n, (first, stride, _) in enumerate(bases):
            token_row, row = Signal(ROW_BITS, name=f"token_row{n}"), Signal(ROW_BITS, name=f"row{n}")
            following = Signal(ROW_BITS, name=f"following{n}")
            m.d.comb += following.eq(token_row + stride)
            with m.If(begun):
                m.d.sync += [token_row.eq(first), row.eq(first)]
            with m.Elif(queue.valid & queue.ready):
                m.d.sync += row.eq(row + 1)
                with m.If(pair.ends):
                    m.d.sync += [token_row.eq(following), row.eq(following)]
            rows.append(row)
        halves = [[part[:PLANE_BITS] if high else part[PLANE_BITS:] for part in parts]
                  for parts in ([entry.main for entry in pair.blocks], [entry.xhat for entry in pair.blocks])
                  for high in (True, False)]
        offset = Mux(plane[0], Mux(plane[1], norm.xhat_plane, norm.dst_plane), 0)
        o = self.o.payload
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(queue.valid), last_pair.eq(queue.valid & last & pair.final),
                o.row.eq(Mux(plane[1], rows[1], rows[0]) + offset), o.mask.eq(Cat(1, pair.both)),
            ]
            m.d.sync += [o.exp[n].eq(Mux(plane == 0, pair.blocks[n].exp, 0)) for n in range(2)]
            with m.Switch(plane):
                for n, half in enumerate(halves):
                    with m.Case(n):
                        m.d.sync += o.data.eq(Cat(half))
            with m.If(queue.valid):
                # An 8-bit result has no low plane.
                m.d.sync += plane.eq(Mux(last, 0, Mux((plane == 0) & ~norm.wide, 2, plane + 1)))
        # The last write is in its memory two cycles after its transfer.
        s1_ended = Signal()
        m.d.sync += [s1_ended.eq(self.o.valid & self.o.ready & last_pair), ended.eq(s1_ended)]


def _planes(values):
    """Sixteen-bit values as a plane of their high bytes, then a plane of their low bytes."""
    return Cat(Cat(value[8:] for value in values), Cat(value[:8] for value in values))


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
