# SPDX-License-Identifier: Apache-2.0
"""Token pruning unit: KEEP, the tokens with the largest scores, moved together in the residual memory."""

from types import SimpleNamespace

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from golden.spec.machine import TN, MachineConfig
from hw.dma.keep.threshold import COUNT_BITS, KEY_BITS, KEYS, Threshold
from hw.interfaces import LINE_BITS, READ_LATENCY, RESIDUAL_WRITE, ROW_BITS
from hw.shapes import INSTRUCTION

WORD = INSTRUCTION[Opcode.KEEP]
WORDS = TN // KEYS
"""Words of scores of a residual row."""


class Keep(wiring.Component):
    """Token pruning unit: reads the scores, finds the threshold, then decides token after token. ::

        i_row -> [4 scores] -> [Threshold] -> [decide token] -> its rows -> o_read
                                                   '-> [numbers of kept tokens] -> o
        i_row ---------------------------------------------- rows that move ----'

    The first tokens get the largest key, and of equal keys the first wins, so they are always kept. Rows move down
    in order: a row is read before its place is written.
    Timing: a row of scores takes WORDS + 1 cycles, the search as in Threshold, a token DECIDE cycles and its rows if it
    is kept, every fourth one FETCH more. II = 1 row a cycle.
    Domain: instructions that passed the checker.
    Reference model: ``golden.ops.keep.kept``.
    Members: ``i`` In(stream of the KEEP instruction); ``o_read`` Out(stream of row), ``i_row`` In(stream of 64 bytes),
    the rows requested, in order, any time later; ``o`` Out(stream of RESIDUAL_WRITE); ``idle`` Out, the last row has
    left.
    """

    II = 1
    DECIDE = 2
    FETCH = READ_LATENCY

    i: stream.Interface
    o_read: stream.Interface
    i_row: stream.Interface
    o: stream.Interface
    idle: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(WORD)), "o_read": Out(stream.Signature(ROW_BITS)),
            "i_row": In(stream.Signature(LINE_BITS)), "o": Out(stream.Signature(RESIDUAL_WRITE)),
            "idle": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.threshold = threshold = Threshold(self.cfg)
        word, start, moving = Signal(WORD), Signal(), Signal()
        m.d.comb += [self.i.ready.eq(self.idle), start.eq(self.i.valid & self.idle), threshold.keep.eq(word.keep),
                     threshold.last.eq((word.tokens - 1) >> (KEYS - 1).bit_length())]
        with m.If(start):
            m.d.sync += [word.eq(self.i.payload), self.idle.eq(0)]
        read, left = Signal(ROW_BITS), Signal(range(64))  # the next row to request, how many
        owed = Signal(ROW_BITS)  # rows requested that have not been written or stored
        asked = Signal()
        m.d.comb += [self.o_read.valid.eq(left != 0), self.o_read.payload.eq(read),
                     asked.eq(self.o_read.valid & self.o_read.ready)]
        m.d.sync += owed.eq(owed + asked - (self.i_row.valid & self.i_row.ready))
        with m.If(asked):
            m.d.sync += [read.eq(read + 1), left.eq(left - 1)]

        landed, sought = Signal(), Signal()  # a cycle late, but for rows that are just being ``sought``
        m.d.sync += landed.eq((left == 0) & (owed == 0) & ~sought)
        numbers = self._numbers(m, start, landed)
        token_now = self._in_hand(m, word, threshold)
        stored, row_ends = self._scores(m, word, threshold, moving)
        self._writes(m, start, moving, row_ends, numbers)
        with m.FSM():
            with m.State("REST"):
                with m.If(start):
                    m.d.sync += moving.eq(0)
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += sought.eq(1)
                m.d.sync += [read.eq(word.score_row), left.eq((word.tokens + TN - 1) >> (TN - 1).bit_length())]
                m.next = "SCORES"
            with m.State("SCORES"):
                with m.If(landed & ~stored):
                    m.d.comb += threshold.start.eq(1)
                    m.next = "SEARCH"
            with m.State("SEARCH"):
                m.next = "SEARCHED"
            with m.State("SEARCHED"):
                with m.If(threshold.done):
                    m.d.sync += moving.eq(1)
                    m.next = "BEGIN"
            self._decide(m, word, token_now, threshold, numbers, read, left, sought)
            with m.State("LAND"):
                with m.If(landed & numbers.empty):
                    m.d.sync += self.idle.eq(1)
                    m.next = "REST"
        return m

    def _numbers(self, m, start, landed) -> SimpleNamespace:
        """The row of numbers that fills up: ``push`` shifts ``number`` in; ``full`` it waits until the rows before it
        have ``landed``, then it ``leaves``."""
        row, count, full = Signal(LINE_BITS), Signal(range(TN)), Signal(name="numbers_full")
        at, push, number = Signal(ROW_BITS, name="numbers_row"), Signal(), Signal(COUNT_BITS)
        leaves, written = Signal(name="numbers_leave"), Signal(name="numbers_written")
        m.d.comb += [leaves.eq(full & landed), written.eq(leaves & self.o.ready)]
        with m.If(push):
            m.d.sync += [row.eq(Cat(row[KEY_BITS:], number)), count.eq(count + 1),
                         full.eq(count == TN - 1)]
        with m.If(written):
            m.d.sync += [full.eq(0), at.eq(at + 1)]
        with m.If(start):
            m.d.sync += [at.eq(self.i.payload.score_row), count.eq(0), full.eq(0)]
        empty = Signal(name="numbers_empty")
        m.d.comb += empty.eq((count == 0) & ~full)
        return SimpleNamespace(row=row, count=count, full=full, at=at, push=push, number=number, leaves=leaves,
                               empty=empty)

    def _scores(self, m, word, threshold, moving) -> tuple[Signal, Signal]:
        """Rows of scores become words of keys: (one is on its way to the memory, the row's last one is taken)."""
        part, index = Signal(range(WORDS)), Signal(COUNT_BITS + 1)  # of the word's first token
        taken, taken_valid, addr = Signal(KEYS * KEY_BITS), Signal(), Signal(range(threshold.words))
        here = self.i_row.valid & ~moving
        m.d.sync += taken_valid.eq(here)
        with m.If(here):
            m.d.sync += [taken.eq(self.i_row.payload.word_select(part, KEYS * KEY_BITS)), part.eq(part + 1)]
        for n in range(KEYS):
            number = index + n
            score = taken.word_select(n, KEY_BITS)
            key = Cat(score[:-1], ~score[-1])
            m.d.comb += threshold.write_keys[n].eq(
                Mux(number < word.first, (1 << KEY_BITS) - 1, Mux(number < word.tokens, key, 0)))
        m.d.comb += [threshold.write_en.eq(taken_valid), threshold.write_addr.eq(addr)]
        with m.If(taken_valid):
            m.d.sync += [index.eq(index + KEYS), addr.eq(addr + 1)]
        with m.If(self.idle):
            m.d.sync += [index.eq(0), addr.eq(0), part.eq(0)]
        row_ends = Signal()
        m.d.comb += row_ends.eq(here & (part == WORDS - 1))
        return taken_valid, row_ends

    def _writes(self, m, start, moving, row_ends, numbers) -> None:
        """Rows that move, to places that follow each other, or a row of numbers: never both, since no row that moves is
        on its way when one leaves."""
        target = Signal(ROW_BITS)
        move = self.i_row.valid & moving
        m.d.comb += [
            self.o.valid.eq(numbers.leaves | move), self.o.payload.mask.eq(0b11),
            self.o.payload.row.eq(Mux(numbers.leaves, numbers.at, target)),
            self.o.payload.data.eq(Mux(numbers.leaves, numbers.row, self.i_row.payload)),
            self.i_row.ready.eq(Mux(moving, self.o.ready, row_ends)),
        ]
        with m.If(move & self.o.ready):
            m.d.sync += target.eq(target + 1)
        with m.If(start):
            m.d.sync += target.eq(self.i.payload.row)

    def _in_hand(self, m, word, threshold) -> SimpleNamespace:
        """The token in hand: its number, its first row, whether its key is above the threshold or equal to it, whether
        it is the ``last``; how many more of the keys equal to the threshold are wanted."""
        token, row, ties = Signal(COUNT_BITS), Signal(ROW_BITS, name="token_row"), Signal(COUNT_BITS)
        key, lane_bits = Signal(KEY_BITS), (KEYS - 1).bit_length()
        above, equal, last = Signal(), Signal(), Signal()
        m.d.comb += [threshold.addr.eq(token >> lane_bits), key.eq(Array(threshold.keys)[token[:lane_bits]])]
        m.d.sync += [above.eq(key > threshold.threshold), equal.eq(key == threshold.threshold),
                     last.eq(token == word.tokens - 1)]
        return SimpleNamespace(token=token, row=row, ties=ties, above=above, equal=equal, last=last,
                               ends_word=token[:lane_bits] == KEYS - 1)

    def _decide(self, m, word, token_now, threshold, numbers, read, left, sought) -> None:
        """States from BEGIN on."""
        token, row, ties, wait = token_now.token, token_now.row, token_now.ties, Signal(range(self.FETCH))
        with m.State("BEGIN"):
            m.d.sync += [token.eq(0), row.eq(word.row), ties.eq(threshold.ties), wait.eq(self.FETCH - 1)]
            m.next = "FETCH"
        with m.State("FETCH"):
            m.d.sync += wait.eq(wait - 1)
            with m.If(wait == 0):
                m.next = "DECIDE"
        with m.State("DECIDE"):
            with m.If((left == 0) & ~numbers.full):
                m.next = "GO"
        with m.State("GO"):
            tie = token_now.equal & (ties != 0)
            m.d.comb += numbers.number.eq(token)
            m.d.sync += [token.eq(token + 1), row.eq(row + word.blocks), ties.eq(ties - tie)]
            with m.If(token_now.above | tie):
                m.d.comb += [numbers.push.eq(1), sought.eq(1)]
                m.d.sync += [read.eq(row), left.eq(word.blocks)]
            m.next = "DECIDE"
            with m.If(token_now.ends_word):
                m.d.sync += wait.eq(self.FETCH - 1)
                m.next = "FETCH"
            with m.If(token_now.last):
                m.next = "FILL"
        with m.State("FILL"):
            with m.If(numbers.empty | numbers.full):
                m.next = "LAND"
            with m.Else():
                m.d.comb += numbers.push.eq(1)
