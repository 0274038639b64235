# SPDX-License-Identifier: Apache-2.0
"""Linear schedule: the order of the array beats of LINEAR instructions."""

from typing import NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.instructions.linear import MAX_BLOCK
from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from hw.array.micro_op import LaneMove, RingMove, Source, micro_op
from hw.array.token_group import group
from hw.interfaces import ISSUE, SLOT_BITS, Route, tile_context
from hw.shapes import INSTRUCTION


class Loops(NamedTuple):
    """Place in the loops: the counters, and which of them are at their last value in this beat; ``number`` and
    ``first_tile`` of the block, ``..._done``: with this beat the tile, the group of the block, the plane is done."""

    tile: Signal
    number: Signal
    first_tile: Signal
    plane: Signal
    slice_: Signal
    step: Signal
    step_last: Signal
    slice_last: Signal
    plane_done: Signal
    tile_done: Signal
    tile_last: Signal
    block_last: Signal
    group_done: Signal


class LinearSchedule(wiring.Component):
    """Loops of LINEAR: block of output tiles, token group, tile of the block, plane, slice, step; with dst GATE all
    tiles are one block.

    ::

        i       -> [ instruction ] --.
        i_group -> (head) -----------+-> [ block | tile | plane | slice | step ] -> o, context

    Packed weights have two steps in a row, which is read for each of them.
    The weights of a block are read once for each group and released after the last one (``reuse_weights``: those of all
    tiles after the last group; ``retain_weights``: not at all). Lane rows are freed by the last tile of the block.
    Timing: LATENCY = 1 from ``i`` to ``o``, which also needs a group; II = 1 beat, across groups, tiles and
    instructions; a LINEAR with ``reuse_weights`` first takes a cycle to move the ring pointer back. A stalled ``o``
    keeps its payload.
    Domain: fields within ``golden.spec.isa.LIMITS``; GATE has at most 4 tiles.
    Reference model: the loops of LINEAR in ``golden.iss``.

    Members: ``i`` In(stream ISSUE), ``i_group`` In(stream group), ``o`` Out(stream micro_op), ``context`` Out, the
    tile's context while ``o`` carries its last beat, ``busy`` Out, an instruction is in progress.
    """

    LATENCY = 1
    II = 1

    i: stream.Interface
    i_group: stream.Interface
    o: stream.Interface
    busy: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(ISSUE)), "i_group": In(stream.Signature(group(cfg))),
            "o": Out(stream.Signature(micro_op(cfg))), "context": Out(tile_context(cfg)), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        group_ = self.i_group.p

        # Instruction, replaced in the cycle in which its last beat leaves.
        word = Signal(INSTRUCTION[Opcode.LINEAR])
        after = INSTRUCTION[Opcode.LINEAR](self.i.p.word)
        numbers_last, tiles_last, slices_last = Signal(SLOT_BITS), Signal(8), Signal(9)
        collect, seek = Signal(), Signal()  # release weights at the end only; first jump to retained ones
        done = Signal()
        m.d.comb += self.i.ready.eq(~self.busy | done)
        with m.If(self.i.ready):
            m.d.sync += [
                self.busy.eq(self.i.valid), word.as_value().eq(self.i.p.word),
                numbers_last.eq(Mux(after.dst == Route.GATE.value, MAX_BLOCK - 1, after.block)),
                tiles_last.eq(after.tiles - 1),
                slices_last.eq(after.slices - 1), seek.eq(after.reuse_weights),
                collect.eq(after.retain_weights | after.reuse_weights),
            ]

        # Place in the loops.
        tile, plane, slice_, step = Signal(8), Signal(), Signal(9), Signal(3)
        step_last, slice_last, tile_last, tile_done = Signal(), Signal(), Signal(), Signal()
        number, first_tile, block_last = Signal(SLOT_BITS), Signal(8), Signal()
        plane_done, group_done, take = Signal(), Signal(), Signal()
        m.d.comb += [
            step_last.eq(step == self.cfg.steps - 1), slice_last.eq(slice_ == slices_last),
            tile_last.eq(tile == tiles_last), block_last.eq(tile_last | (number == numbers_last)),
            plane_done.eq(step_last & slice_last), tile_done.eq(plane_done & (plane | ~word.src_wide)),
            group_done.eq(tile_done & block_last),
            self.o.valid.eq(self.busy & (self.i_group.valid | seek)), take.eq(self.o.valid & self.o.ready & ~seek),
            self.i_group.ready.eq(take & group_done), done.eq(take & tile_done & tile_last & group_.last),
        ]
        with m.If(self.busy & seek & self.o.ready):
            m.d.sync += seek.eq(0)
        with m.If(take):
            m.d.sync += step.eq(Mux(step_last, 0, step + 1))
            with m.If(step_last):
                m.d.sync += slice_.eq(Mux(slice_last, 0, slice_ + 1))
            with m.If(plane_done):
                m.d.sync += plane.eq(word.src_wide & ~plane)
            with m.If(group_done):
                following = Mux(group_.last, Mux(tile_last, 0, tile + 1), first_tile)
                m.d.sync += [number.eq(0), tile.eq(following), first_tile.eq(following)]
            with m.Elif(tile_done):
                m.d.sync += [number.eq(number + 1), tile.eq(tile + 1)]

        loops = Loops(tile, number, first_tile, plane, slice_, step, step_last, slice_last, plane_done, tile_done,
                      tile_last, block_last, group_done)
        self._plan(m, word, loops, collect, seek)
        self._context(m, word, loops)
        return m

    def _plan(self, m, word, at: Loops, collect, seek) -> None:
        """The beat, and what moves after it."""
        group_, plan = self.i_group.p, self.o.p
        first = (at.slice_ == 0) & (at.step == 0)
        m.d.comb += [
            plan.source.eq(Mux(seek, Source.NONE, Source.RING)), plan.reuse.eq(word.reuse_weights),
            plan.packed.eq(word.packed), plan.high.eq(at.step[0] if self.cfg.steps > 1 else at.slice_[0]),
            plan.jump.eq(word.reuse_offset << (self.cfg.steps.bit_length() - 1)), plan.quarter.eq(at.slice_[:2]),
            plan.step.eq(at.step), plan.scaled.eq(~word.src_wide),
            plan.unsigned.eq(word.src_unsigned | at.plane), plan.present.eq(Cat(lane.present for lane in group_.lanes)),
            plan.first.eq(first & ~at.plane), plan.shift8.eq(first & at.plane), plan.last.eq(at.tile_done & ~seek),
            plan.final.eq(at.tile_done & at.tile_last & group_.last & ~seek),
        ]
        with m.If(word.packed & ~plan.high):
            m.d.comb += plan.ring.eq(RingMove.STAY)
        with m.Elif(at.tile_done & at.tile_last & group_.last):
            m.d.comb += plan.ring.eq(Mux(word.retain_weights, RingMove.KEEP, RingMove.RELEASE))
        with m.Elif(at.group_done & group_.last):
            m.d.comb += plan.ring.eq(Mux(collect, RingMove.BLOCK, RingMove.RELEASE))
        with m.Elif(at.group_done):
            m.d.comb += plan.ring.eq(RingMove.RESTART)
        with m.Elif(at.tile_done):
            m.d.comb += plan.ring.eq(RingMove.MARK)
        with m.Elif(at.plane_done):
            m.d.comb += plan.ring.eq(RingMove.AGAIN)
        with m.If(at.step_last & (at.slice_last | (at.slice_[:2] == 3))):
            m.d.comb += plan.lane.eq(Mux(at.block_last, LaneMove.FREE,
                                         Mux(at.tile_done, LaneMove.REWIND, LaneMove.NEXT)))

    def _context(self, m, word, at: Loops) -> None:
        """The tile's context. The group's rows are those of the block's first tile."""
        group_ = self.i_group.p
        context, offset = self.context, Signal(SLOT_BITS)
        with m.Switch(word.dst):
            with m.Case(Route.RESIDUAL):
                m.d.comb += offset.eq(at.number)
            with m.Case(Route.OPERAND8, Route.OPERAND16, Route.UNSIGNED8):
                m.d.comb += offset.eq((at.number + at.first_tile[0]) >> 1)
        m.d.comb += [
            context.route.as_value().eq(word.dst), context.tile.eq(at.tile), context.slot.eq(at.tile),
            context.load.eq(group_.first), context.activation.eq(word.activation),
            context.affine.eq(word.affine),
            context.gate_weight.eq(word.gate_weight), context.accumulate.eq(word.accumulate),
            context.shift1.eq(word.shift1), context.shift2.eq(word.shift2), context.act_shift.eq(word.act_shift),
            context.base.eq(word.dst_row),
            context.pitch.eq(Mux(word.dst == Route.OPERAND16.value, word.dst_plane, word.dst_stride)),
            context.final.eq(self.o.p.final),
        ]
        for lane, token in zip(context.lanes, group_.lanes, strict=True):
            m.d.comb += [lane.present.eq(token.present), lane.row.eq(token.row + offset), lane.token.eq(token.token),
                         lane.multiplier.eq(token.multiplier)]
