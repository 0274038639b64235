# SPDX-License-Identifier: Apache-2.0
"""Top-k selection: the k largest logits of a token, one maximum search after the other."""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import LANES, MAX_EXPERTS, MAX_TOP_K
from golden.spec.tables import GATE_RADIX_LOG2

LOGIT = signed(32 + GATE_RADIX_LOG2 + 1)
LOGIT_ROW = data.ArrayLayout(LOGIT, LANES)
"""Logits of 16 consecutive experts."""
EXPERT_BITS = (MAX_EXPERTS - 1).bit_length()
TILE_BITS = (MAX_EXPERTS // LANES - 1).bit_length()
GROUP = 4


class TopK(wiring.Component):
    """Top-k selection: experts of the ``top_k`` largest logits, descending, ties to the lower index.

    ::

        tile -> row -> [4 x best of 4, without those chosen] -> [best of 4] -> [best of the tiles so far] -> o_expert
                                         one round's choice --^

    Timing: a round takes T + 2 cycles for T tiles of 16 experts, a token ``top_k`` rounds without a gap, the next token
    follows at once. LATENCY = 3 from the last tile of a round in ``row`` to ``o_valid``. Results cannot be stalled.
    Domain: 1 <= top_k <= experts <= 64, both stable from two cycles before ``pending`` and until the token's results.
    Reference model: the choice of ``golden.ops.gate.route``.
    Members: ``experts``, ``top_k`` In; ``pending`` In, a token's rows are there (its row 0 could be read a cycle
    before); ``token`` Out (counts tokens, wraps) and ``tile`` Out address a synchronous read, ``row`` In its answer a
    cycle later; ``current`` Out, tokens done (wraps); ``o_valid``, ``o_expert``, ``o_last`` Out.
    """

    LATENCY = 3

    experts: Signal
    top_k: Signal
    pending: Signal
    token: Signal
    tile: Signal
    row: data.View
    current: Signal
    o_valid: Signal
    o_expert: Signal
    o_last: Signal

    def __init__(self, count_bits: int):
        self.count_bits = count_bits
        super().__init__({
            "experts": In(7), "top_k": In(4), "pending": In(1), "token": Out(count_bits), "tile": Out(TILE_BITS),
            "row": In(LOGIT_ROW), "current": Out(count_bits), "o_valid": Out(1), "o_expert": Out(EXPERT_BITS),
            "o_last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        last_tile, last_phase, last_turn = Signal(TILE_BITS), Signal(3), Signal(range(MAX_TOP_K))
        last_usable = Signal(LANES)
        m.d.sync += [last_tile.eq((self.experts - 1) >> 4), last_phase.eq(last_tile + 2),
                     last_turn.eq(self.top_k - 1), last_usable.eq((2 << (self.experts - 1)[:4]) - 1)]

        # A round: a tile a phase, and two phases until its choice is known.
        phase, turn = Signal(3), Signal(range(MAX_TOP_K))
        round_ends, token_ends, live = Signal(), Signal(), Signal()
        m.d.comb += [round_ends.eq(self.pending & (phase == last_phase)),
                     token_ends.eq(round_ends & (turn == last_turn)), live.eq(self.pending & (phase <= last_tile)),
                     self.token.eq(self.current + token_ends),
                     self.tile.eq(Mux(self.pending & ~round_ends, phase + 1, 0))]
        with m.If(self.pending):
            m.d.sync += phase.eq(Mux(round_ends, 0, phase + 1))
        with m.If(round_ends):
            m.d.sync += turn.eq(Mux(token_ends, 0, turn + 1))
        with m.If(token_ends):
            m.d.sync += self.current.eq(self.current + 1)

        # Already chosen: a bit an expert, set in a round's first phase; in that phase itself the choice is looked at.
        best, best_expert, best_any = Signal(LOGIT, reset_less=True), Signal(EXPERT_BITS, reset_less=True), Signal()
        chosen = [Signal(LANES, name=f"chosen{t}") for t in range(1 << TILE_BITS)]
        fresh = Signal()
        m.d.comb += fresh.eq((phase == 0) & (turn != 0))
        one_hot = Signal(MAX_EXPERTS)
        m.d.comb += one_hot.eq(Mux(fresh, 1 << best_expert, 0))
        for t, part in enumerate(chosen):
            m.d.sync += part.eq(Mux(token_ends, 0, part | one_hot[t * LANES:(t + 1) * LANES]))
        here = Array(chosen)[phase[:TILE_BITS]] | one_hot[:LANES]  # only tile 0 is looked at in phase 0

        # Stage 1: best of each four. Stage 2: best of the tile.
        usable = Signal(LANES)
        m.d.comb += usable.eq(~here & Mux(phase[:TILE_BITS] == last_tile, last_usable, -1))
        s1_best = [_best(m, f"s1_{first}", [(self.row[k], usable[k], Const(k - first, 2))
                                            for k in range(first, first + GROUP)])
                   for first in range(0, LANES, GROUP)]
        s2_value, s2_any, s2_place = _best(m, "s2", [(value, any_, Cat(place, Const(g, 2)))
                                                     for g, (value, any_, place) in enumerate(s1_best)])

        # Stage 3: best of the tiles so far, the earlier one at a tie.
        s1 = Signal(data.StructLayout({"live": 1, "first": 1, "last": 1, "ends": 1, "tile": unsigned(TILE_BITS)}))
        s2, s3_done, s3_ends = Signal.like(s1), Signal(), Signal()
        m.d.sync += [s1.live.eq(live), s1.first.eq(phase == 0), s1.last.eq(phase == last_tile),
                     s1.ends.eq(turn == last_turn), s1.tile.eq(phase), s2.eq(s1),
                     s3_done.eq(s2.live & s2.last), s3_ends.eq(s2.ends)]
        better = s2.first | (s2_any & (~best_any | (s2_value > best)))
        with m.If(s2.live & better):
            m.d.sync += [best.eq(s2_value), best_any.eq(s2_any), best_expert.eq(Cat(s2_place, s2.tile))]
        m.d.comb += [self.o_valid.eq(s3_done), self.o_expert.eq(best_expert), self.o_last.eq(s3_ends)]
        return m


def _best(m, name, entries):
    """(value, usable, place) of the best of some, ascending in place, a cycle later; the lower place at a tie.

    Each pair is compared once; an entry wins when it is usable and beats every other usable one.
    """
    count = len(entries)
    above = {(i, j): entries[j][0] > entries[i][0] for i in range(count) for j in range(i + 1, count)}
    value = Signal(LOGIT, name=f"{name}_value", reset_less=True)
    usable = Signal(name=f"{name}_usable", reset_less=True)
    place = Signal(len(entries[0][2]), name=f"{name}_place", reset_less=True)
    wins = []
    for i in range(count):
        beats = [~entries[j][1] | (~above[i, j] if i < j else above[j, i]) for j in range(count) if j != i]
        win = Signal(name=f"{name}_win{i}")
        m.d.comb += win.eq(Cat(entries[i][1], *beats).all())
        wins.append(win)
    for target, part in ((value, 0), (place, 2)):
        chosen = [Value.cast(entry[part])[:] & win.replicate(len(target))
                  for win, entry in zip(wins, entries, strict=True)]
        m.d.sync += target.eq(reduce(or_, chosen))
    m.d.sync += usable.eq(Cat(entry[1] for entry in entries).any())
    return value, usable, place
