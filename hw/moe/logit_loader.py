# SPDX-License-Identifier: Apache-2.0
"""Beats of the gate's accumulators become rows of logits, stored until top-k and scaling have read them."""

from amaranth.hdl import Array, Cat, Module, Signal, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import LANES, MachineConfig
from golden.spec.tables import GATE_RADIX_LOG2
from hw.interfaces import GATE_BEAT, TOKEN_BITS
from hw.moe.gate_shapes import COUNT_BITS, SLOTS, logit_slot, logit_slots
from hw.moe.top_k import LOGIT, LOGIT_ROW, TILE_BITS

READERS = 2


class LogitLoader(wiring.Component):
    """Logit loader: a token is loaded with its last tile; each tile counts its own tokens. ::

        i_logits -> [high] -> [high * 128 + low] -> [logits] -> row of each reader

    Timing: LATENCY = 3 from a token's last beat to ``loaded``; II = 1 beat. ``row`` a cycle after its place.
    Domain: tokens ascend within each tile, low beats follow their high ones.
    Reference model: ``golden.ops.gate.route``.
    Members: ``begin`` In, with ``tokens`` and, from the next cycle on, ``last_tile``; ``i_logits`` In(stream
    GATE_BEAT); ``finished`` In, tokens that gave their slot back, ``done`` In of each reader, tokens that it has read;
    ``loaded`` Out; ``tile``, ``token`` In -> ``row`` Out, of each reader.
    """

    LATENCY = 3
    II = 1

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "begin": In(1), "tokens": In(TOKEN_BITS), "last_tile": In(TILE_BITS),
            "i_logits": In(stream.Signature(GATE_BEAT)), "finished": In(COUNT_BITS),
            "done": In(COUNT_BITS).array(READERS), "loaded": Out(COUNT_BITS),
            "tile": In(TILE_BITS).array(READERS), "token": In(COUNT_BITS).array(READERS),
            "row": Out(LOGIT_ROW).array(READERS)})

    def elaborate(self, platform):
        m = Module()
        beat = self.i_logits.payload
        store = m.submodules.logits = memory.Memory(shape=LOGIT_ROW, init=[],
                                                    depth=logit_slots(self.cfg) * (1 << TILE_BITS))
        for reader in range(READERS):
            read = store.read_port()
            m.d.comb += [read.addr.eq(Cat(self.tile[reader], logit_slot(self.cfg, self.token[reader]))),
                         self.row[reader].eq(read.data)]
        opened = Array(Signal(COUNT_BITS, name=f"opened{tile}") for tile in range(1 << TILE_BITS))
        accept = Signal()
        m.d.comb += accept.eq(self.i_logits.valid & self.i_logits.ready)
        self._write(m, accept, store.write_port(), opened)
        ends = accept & beat.low & (beat.tile == self.last_tile)
        # A token counts a cycle after its last row was written: TopK has already read its first one then.
        in_row, written = Signal(), Signal()
        m.d.sync += [in_row.eq(ends), written.eq(in_row), self.loaded.eq(self.loaded + written)]

        left, some = Signal(TOKEN_BITS), Signal()
        with m.If(accept & beat.low):
            m.d.sync += opened[beat.tile].eq(opened[beat.tile] + 1)
        with m.If(ends):
            m.d.sync += [left.eq(left - 1), some.eq(left != 1)]
        with m.If(self.begin):
            m.d.sync += [count.eq(self.finished) for count in opened]
            m.d.sync += [left.eq(self.tokens), some.eq(self.tokens != 0)]
        m.d.comb += self.i_logits.ready.eq(some & (self._room(m, opened) | (beat.tile != 0)))
        return m

    def _room(self, m, opened) -> Signal:
        """A cycle late: only a high beat follows a low beat, and needs no slot. Later tiles of a token find its slot:
        they pass when all slots are taken, so the tokens there become complete and a slot becomes free in any case."""
        room, slots = Signal(), logit_slots(self.cfg)
        full = [self._distance(opened[0], self.finished) == SLOTS,
                *(self._distance(opened[0], done) == slots for done in self.done)]
        m.d.sync += room.eq(~Cat(full).any())
        return room

    @staticmethod
    def _distance(count, other):
        return (count - other)[:COUNT_BITS]

    def _write(self, m, accept, port, opened) -> None:
        """Both beats of a row into one."""
        beat = self.i_logits.payload
        row_valid, address = Signal(), Signal.like(port.addr, reset_less=True)
        for k in range(LANES):
            high, logit = Signal(signed(32), name=f"high{k}"), Signal(LOGIT, name=f"row_logit{k}", reset_less=True)
            with m.If(accept & ~beat.low):
                m.d.sync += high.eq(beat.value[k])
            m.d.sync += logit.eq((high << GATE_RADIX_LOG2) + beat.value[k])
            m.d.comb += port.data[k].eq(logit)
        m.d.sync += [row_valid.eq(accept & beat.low),
                     address.eq(Cat(beat.tile, logit_slot(self.cfg, opened[beat.tile])))]
        m.d.comb += [port.addr.eq(address), port.en.eq(row_valid)]
