# SPDX-License-Identifier: Apache-2.0
"""Epilogue of the array: bias, requantization, activation, gain and offset, block quantization, write-back."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.machine import MachineConfig
from golden.spec.status import Status
from hw.arith.block_quantize import BlockWriter, block_latency
from hw.array.array import drain_beat
from hw.interfaces import (
    GATE_BEAT,
    KEY_WRITE,
    LINE_BITS,
    OPERAND_WRITE,
    RESIDUAL_WRITE,
    ROW_BITS,
    VALUE_WRITE,
    Route,
    score_beat,
    tile_context,
)
from hw.lib.pipeline import Pipeline
from hw.lib.queue import Queue
from hw.vector.activation import SHIFT_BITS, Activation
from hw.vector.epilogue.destination import PLACE_LATENCY, clipped, place
from hw.vector.epilogue.early_exits import GateExit, ScoreExit
from hw.vector.epilogue.entry import EpilogueEntry
from hw.vector.epilogue.params import EpilogueParams
from hw.vector.epilogue.residual_update import ResidualUpdate
from hw.vector.epilogue.write_back import FINISHED, WriteBack
from hw.vector.parts import ends_half, half, part_of, within_half
from hw.vector.requantize import V_BITS, Affine, Requantize


class Epilogue(wiring.Component):
    """Epilogue: ``cfg.lanes`` accumulators a cycle, from the drain banks to the destination in their tile's context
    (golden/README.md, Linear). ::

        i_context, i_param -> EpilogueParams -> queue -> [active context]
        i + lane's context -> [part] -> Requantize -> Activation -> Affine -> BlockWriter -> [half] -> queue
           |                              | s = acc + bias                                               v
           |                              |                                                          WriteBack
           +-> queue -> [half] -> o_score +-> [half] -> queue -> o_gate

    A half of a lane is F = ``cfg.serialization`` parts: they pass the arithmetic one after the other and are joined
    after it.
    The arithmetic never stalls: a lane enters only when the queue after it has places for both halves. Those of GATE
    leave early, tile by tile as they come (``Gate`` takes them so: all lanes' tile 0, then all lanes' tile 1); an
    empty entry continues through the pipeline in their place, so that instructions retire in order.
    Timing: a lane's first part enters 2 F - 1 cycles before its transfer at ``i``; from there LATENCY cycles to
    ``o_key``, ``o_value``, LATENCY + F to ``o_operand``, RESIDUAL_LATENCY to ``o_residual``. SCORE_LATENCY from the
    transfer of a lane of attention scores to ``o_score``. II = 2 F cycles a lane, 1 for scores (which leave at one
    cycle for each half that holds a key), also from tile to tile.
    Domain: every accumulator; with its bias it wraps. K and V tiles below ``cfg.kv_tiles``, rows within 16 bits: others
    are not written and ``fault`` pulses with RANGE_LOCAL. A GATE context's ``tile`` is below 4.
    Reference model: ``golden.ops.epilogue``.

    Members: as in hw/README.md; ``ended`` Out: ready to retire an instruction, which waits for ``hold`` In to fall (of
    the other clusters one is not ready), and what follows with it; ``idle`` is high when the unit is empty, no context
    or beat waits at the inputs, and every write is in its memory.
    """

    QUEUE_DEPTH = 32
    SCORE_LATENCY = ScoreExit.LATENCY
    II = 1

    i: stream.Interface
    i_context: stream.Interface
    i_param: stream.Interface
    o_residual_read: stream.Interface
    i_residual_row: Signal
    o_residual: stream.Interface
    o_operand: stream.Interface
    o_key: stream.Interface
    o_value: stream.Interface
    o_gate: stream.Interface
    o_score: stream.Interface
    idle: Signal
    retire: Signal
    ended: Signal
    hold: Signal
    fault: Signal
    fault_code: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        quantize = block_latency(cfg.lanes)
        self.stages = {
            "taken": 1, "biased": Requantize.S_LATENCY, "multiplied": Requantize.LATENCY - Requantize.S_LATENCY - 1,
            "requantized": 1, "activating": Activation.LATENCY - 2, "late": 1, "chosen": 1, "affine": Affine.LATENCY,
            "quantizing": quantize - PLACE_LATENCY, "factors": 1, "product": 1, "done": 1}
        """Registers of the arithmetic, from the entry of a part to the queue of results."""
        to_write_back = sum(self.stages.values()) + cfg.serialization - 1 + 2
        self.LATENCY = to_write_back + WriteBack.LATENCY
        self.RESIDUAL_LATENCY = to_write_back + ResidualUpdate.LATENCY
        super().__init__({
            "i": In(stream.Signature(drain_beat(cfg))), "i_context": In(stream.Signature(tile_context(cfg))),
            "i_param": In(stream.Signature(LINE_BITS)),
            "o_residual_read": Out(stream.Signature(ROW_BITS)), "i_residual_row": In(LINE_BITS),
            "o_residual": Out(stream.Signature(RESIDUAL_WRITE)), "o_operand": Out(stream.Signature(OPERAND_WRITE)),
            "o_key": Out(stream.Signature(KEY_WRITE)), "o_value": Out(stream.Signature(VALUE_WRITE)),
            "o_gate": Out(stream.Signature(GATE_BEAT)), "o_score": Out(stream.Signature(score_beat(cfg))),
            "idle": Out(1), "retire": Out(1), "ended": Out(1), "hold": In(1), "fault": Out(1), "fault_code": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        cfg = self.cfg
        m.d.comb += self.fault_code.eq(Status.RANGE_LOCAL)
        params = m.submodules.params = EpilogueParams(cfg)
        entry = m.submodules.entry = EpilogueEntry(cfg)
        connect(m, flipped(self.i_context), params.i_context)
        connect(m, flipped(self.i_param), params.i_param)
        connect(m, params.o_context, entry.i_context)
        connect(m, flipped(self.i), entry.i)
        m.d.comb += [params.early_slot.eq(entry.context.slot), params.early_half.eq(entry.part[-1])]

        pipe = self._pipeline(m, entry)
        scores = self._scores(m, entry)
        u, s = self._requantized(m, pipe, params)
        gate = self._gate_exit(m, pipe, s)
        v = self._affine(m, pipe, params, self._activated(m, pipe, u))
        back, held = self._finish(m, pipe, entry, self._values(m, pipe, v))
        m.d.comb += [entry.raw_room.eq(gate.room), entry.score_room.eq(scores.room), back.hold.eq(gate.holds)]
        m.d.sync += entry.room.eq(held <= self.QUEUE_DEPTH - 3)

        # A K write takes `steps` cycles after its transfer, all others less.
        landing = Signal(range(cfg.steps + 2))
        with m.If(back.moved):
            m.d.sync += landing.eq(cfg.steps + 1)
        with m.Elif(landing != 0):
            m.d.sync += landing.eq(landing - 1)
        waiting = self.i.valid | self.i_context.valid | ~params.idle | entry.holds
        leaving = (held != 0) | ~back.idle | back.moved | (landing != 0) | gate.holds | scores.holds
        m.d.sync += self.idle.eq(~(waiting | leaving))
        return m

    def _pipeline(self, m, entry: EpilogueEntry) -> Pipeline:
        """Tag of a beat: its tile's context, its lane's part of it."""
        context, lane = entry.context, entry.context.lanes[self.i.p.lane]
        tag = {name: context[name] for name in context.shape().members if name not in ("lanes", "load")}
        tag |= {name: lane[name] for name in context.shape().members["lanes"].elem_shape.members}
        tag |= {"lane": self.i.p.lane, "part": entry.part, "last": entry.last}
        return Pipeline(m, "s", self.stages, flags={"valid": entry.enters}, tag=tag)

    def _scores(self, m, entry: EpilogueEntry) -> ScoreExit:
        """Scores as they are."""
        scores, lane = ScoreExit(self.cfg), entry.context.lanes[self.i.p.lane]
        m.submodules.scores = scores
        m.d.comb += [scores.enters.eq(entry.score_enters), scores.present.eq(lane.present),
                     scores.keys.eq(lane.token), scores.tile.eq(entry.context.tile), scores.lane.eq(self.i.p.lane),
                     scores.value.eq(self.i.p.value)]
        connect(m, scores.o, flipped(self.o_score))
        return scores

    def _requantized(self, m, pipe: Pipeline, params: EpilogueParams) -> tuple:
        """Bias and multiplier, from the parameters or, when attention divides, from the lane: (u, s)."""
        cfg, beat = self.cfg, pipe.at("taken")
        requantize = m.submodules.requantize = Requantize(cfg.lanes)
        taken = Signal(data.ArrayLayout(signed(32), cfg.lanes), reset_less=True)
        m.d.sync += [value.eq(part) for value, part in
                     zip(taken, part_of(cfg, self.i.p.value, pipe.at("entry").part), strict=True)]
        m.d.comb += [requantize.acc.eq(taken), requantize.shift.eq(Mux(beat.divide, beat.shift, beat.shift1))]
        for n, early in enumerate(part_of(cfg, params.early, within_half(cfg, beat.part))):
            m.d.comb += [requantize.bias[n].eq(Mux(beat.divide, 0, early.bias)),
                         requantize.multiplier[n].eq(Mux(beat.divide, beat.multiplier, early.multiplier))]
        return requantize.o, requantize.s

    def _gate_exit(self, m, pipe: Pipeline, s) -> GateExit:
        """Gate accumulators with their bias."""
        gate, beat = GateExit(self.cfg, way=Requantize.S_LATENCY), pipe.at("biased")
        m.submodules.gate_exit = gate
        m.d.comb += [
            gate.ends.eq(beat.valid & beat.present & (beat.route == Route.GATE) & ends_half(self.cfg, beat.part)),
            gate.value.eq(s), gate.low.eq(beat.part[-1]), gate.tile.eq(beat.tile)]
        connect(m, gate.o, flipped(self.o_gate))
        return gate

    def _activated(self, m, pipe: Pipeline, u):
        """The context's activation."""
        activation, before, beat = Activation(self.cfg.lanes), pipe.at("multiplied"), pipe.at("requantized")
        m.submodules.activation = activation
        act_shift = Signal(SHIFT_BITS, reset_less=True)
        m.d.sync += act_shift.eq(Mux(before.activation != 0, before.act_shift, 0))
        m.d.comb += [activation.u.eq(u), activation.activation.eq(beat.activation),
                     activation.act_shift.eq(act_shift)]
        return activation.o

    def _affine(self, m, pipe: Pipeline, params: EpilogueParams, g):
        """Gain and offset, fetched in parallel with the last two stages of the activation."""
        fetch, select = pipe.at("activating"), pipe.at("late")
        m.d.comb += [params.late_slot.eq(fetch.slot), params.late_half.eq(fetch.part[-1]),
                     params.done.eq(fetch.valid & fetch.last)]
        affine = m.submodules.affine = Affine(self.cfg.lanes)
        shift2 = Signal(6, reset_less=True)
        m.d.sync += shift2.eq(Mux(select.affine | select.gate_weight, select.shift2, 0))
        m.d.comb += [affine.g.eq(g), affine.shift.eq(shift2)]
        for n, late in enumerate(part_of(self.cfg, params.late, within_half(self.cfg, select.part))):
            factor = Signal(affine.factor.shape().elem_shape, name=f"chosen_factor_{n}", reset_less=True)
            offset = Signal(signed(32), name=f"chosen_offset_{n}", reset_less=True)
            m.d.sync += [
                factor.eq(Mux(select.affine, late.gain, Mux(select.gate_weight, select.multiplier, 1))),
                offset.eq(Mux(select.affine, late.offset, 0)),
            ]
            m.d.comb += [affine.factor[n].eq(factor), affine.offset[n].eq(offset)]
        return affine.o

    def _values(self, m, pipe: Pipeline, v) -> tuple:
        """Block quantization, and the clipping for other destinations in parallel: (a half's values, exponent)."""
        cfg, beat, done = self.cfg, pipe.at("affine"), pipe.at("done")
        writer = m.submodules.block_writer = BlockWriter(cfg.lanes, V_BITS)
        m.d.comb += [writer.v.eq(v), writer.later.eq(beat.part != 0)]
        results = [Mux(done.route == Route.OPERAND8, byte, other) for byte, other in
                   zip(writer.byte, clipped(m, v, beat.route, writer.LATENCY), strict=True)]
        return half(m, cfg, "result", results), writer.exp

    def _finish(self, m, pipe: Pipeline, entry: EpilogueEntry, values: tuple) -> tuple[WriteBack, Signal]:
        """The queue and the write-back after it: (write-back, places taken or requested). Entries that write and
        retire nothing are dropped here."""
        cfg, done, (value, exp) = self.cfg, pipe.at("done"), values
        where = place(m, cfg, pipe.at("quantizing"), pipe.at("factors"), pipe.at("product"))
        queue = m.submodules.queue = Queue(FINISHED, self.QUEUE_DEPTH)
        finished, valid, dropped, popped = queue.i.p, Signal(), Signal(), Signal()
        wanted = done.present & (done.route != Route.GATE)
        m.d.comb += [
            valid.eq(done.valid & ends_half(cfg, done.part)), finished.value.as_value().eq(value),
            finished.route.eq(done.route), finished.write.eq(wanted & ~where.beyond), finished.half.eq(done.part[-1]),
            finished.end.eq(done.final & done.last), finished.odd.eq(done.tile[0]),
            finished.accumulate.eq(done.accumulate), finished.row.eq(done.row), finished.low_row.eq(where.low_row),
            finished.tile.eq(where.tile), finished.place.eq(where.place), finished.exp.eq(exp),
            queue.i.valid.eq(valid & (finished.write | finished.end)),
            dropped.eq(valid & ~queue.i.valid), popped.eq(queue.o.valid & queue.o.ready),
        ]
        held = Signal(range(self.QUEUE_DEPTH + 1))
        entered = entry.enters & ends_half(cfg, entry.part)
        m.d.sync += [held.eq(held + entered - dropped - popped), self.fault.eq(valid & wanted & where.beyond)]

        back = m.submodules.back = WriteBack(cfg)
        connect(m, queue.o, back.i)
        for name in ("o_residual_read", "o_residual", "o_operand", "o_key", "o_value"):
            connect(m, getattr(back, name), flipped(getattr(self, name)))
        m.d.comb += [back.i_residual_row.eq(self.i_residual_row), self.retire.eq(back.retire),
                     self.ended.eq(back.ended), back.others.eq(self.hold)]
        return back, held
