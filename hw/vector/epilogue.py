# SPDX-License-Identifier: Apache-2.0
"""From finished accumulators to the memories: bias, multiplier, activation, gain and offset, narrowing, destination."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.machine import LANES, SLICE, TN, MachineConfig
from golden.spec.status import Status
from golden.spec.tables import WEIGHT_MAX
from hw.array.array import drain_beat
from hw.interfaces import (
    GATE_BEAT,
    KEY_WRITE,
    LINE_BITS,
    OPERAND_WRITE,
    RESIDUAL_WRITE,
    ROW_BITS,
    TOKEN_BITS,
    VALUE_WRITE,
    Route,
    lane_bits,
    score_beat,
    tile_context,
)
from hw.lib.queue import Queue
from hw.vector.activation import SHIFT_BITS, Activation
from hw.vector.block_writer import Narrow
from hw.vector.epilogue_params import EpilogueParams
from hw.vector.requantize import Affine, Requant
from hw.vector.residual_update import ResidualUpdate
from hw.vector.write_back import FINISHED, TILE_BITS, WriteBack


class Epilogue(wiring.Component):
    """``cfg.lanes`` accumulators a cycle, from the drain banks to wherever their tile's context says
    (golden/README.md, Linear). ::

        i_context, i_param -> EpilogueParams -> queue -> [active context]
        i + lane's context -> [part] -> Requant -> Activation -> Affine -> Narrow -> [half] -> queue -> WriteBack
           |                              | s = acc + bias                                                  |
           +-> queue -> [half] -> o_score +-> [half] -> queue -> o_gate                                     v memories

    A half of a lane is F = ``cfg.serialization`` parts: they pass the arithmetic one behind the other and meet again
    behind it.
    The arithmetic never stalls: a lane enters only when the queue behind it has places for both halves. Those of GATE
    leave early, tile by tile as they come (``Gate`` takes them so: all lanes' tile 0, then all lanes' tile 1); an
    empty one traversals on for them, so that instructions retire in order.
    Timing: a lane's first part enters 2 F - 1 cycles before its transfer at ``i``; from there LATENCY cycles to
    ``o_key``, ``o_value``, LATENCY + F to ``o_operand``, RESIDUAL_LATENCY to ``o_residual``. SCORE_LATENCY from the
    transfer of a lane of scores to ``o_score``. II = 2 F cycles a lane, 1 for scores (which leave at one cycle for
    each half that holds a key), also from tile to tile.
    Domain: every accumulator; with its bias it wraps. K and V tiles below ``cfg.kv_tiles``, rows within 16 bits: others
    are not written and ``fault`` pulses with RANGE_LOCAL. A GATE context's ``tile`` is below 4.
    Reference model: ``golden.ops.epilogue``.

    Members: as in hw/README.md; ``idle`` is high when nothing is held, no context or beat waits at the inputs, and
    every write has landed.
    """

    QUEUE_DEPTH = 32
    RAW_DEPTH = 16
    SCORE_DEPTH = 32
    """Lanes of scores, so that the array gets rid of a group's at its own pace."""
    CONTEXTS_AHEAD = 4
    """Tiles by which loading parameters runs ahead."""
    SCORE_LATENCY = 2
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
    fault: Signal
    fault_code: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        self.narrow = Narrow(cfg.lanes)
        self.ARITHMETIC = 1 + Requant.LATENCY + Activation.LATENCY + Affine.LATENCY + self.narrow.LATENCY
        to_write_back = self.ARITHMETIC + cfg.serialization - 1 + 2
        self.LATENCY = to_write_back + WriteBack.LATENCY
        self.RESIDUAL_LATENCY = to_write_back + ResidualUpdate.LATENCY
        super().__init__({
            "i": In(stream.Signature(drain_beat(cfg))), "i_context": In(stream.Signature(tile_context(cfg))),
            "i_param": In(stream.Signature(LINE_BITS)),
            "o_residual_read": Out(stream.Signature(ROW_BITS)), "i_residual_row": In(LINE_BITS),
            "o_residual": Out(stream.Signature(RESIDUAL_WRITE)), "o_operand": Out(stream.Signature(OPERAND_WRITE)),
            "o_key": Out(stream.Signature(KEY_WRITE)), "o_value": Out(stream.Signature(VALUE_WRITE)),
            "o_gate": Out(stream.Signature(GATE_BEAT)), "o_score": Out(stream.Signature(score_beat(cfg))),
            "idle": Out(1), "retire": Out(1), "fault": Out(1), "fault_code": Out(8),
        })

    def tag(self) -> data.StructLayout:
        """What a beat takes along: its tile's context, its lane's part of it."""
        context = tile_context(self.cfg)
        lane = context.members["lanes"].elem_shape
        members = {name: shape for name, shape in context.members.items() if name not in ("lanes", "load")}
        return data.StructLayout(members | lane.members | {
            "lane": unsigned(lane_bits(self.cfg)), "part": range(2 * self.cfg.serialization), "last": 1})

    def elaborate(self, platform):
        m = Module()
        cfg = self.cfg
        m.d.comb += self.fault_code.eq(Status.RANGE_LOCAL)

        # The active context: replaced in the cycle in which its last beat enters.
        params = m.submodules.params = EpilogueParams(cfg)
        ahead = m.submodules.ahead = Queue(tile_context(cfg), self.CONTEXTS_AHEAD)
        connect(m, flipped(self.i_context), params.i_context)
        connect(m, flipped(self.i_param), params.i_param)
        connect(m, params.o_context, ahead.i)
        context, active = Signal(tile_context(cfg)), Signal()
        part, inside, ends_lane = Signal(range(2 * cfg.serialization)), Signal(), Signal()
        enters, is_score, score_enters, ends_tile = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            inside.eq(part != 0), ends_lane.eq(part == 2 * cfg.serialization - 1),
            ends_tile.eq((enters & ends_lane | score_enters) & (self.i.p.lane == cfg.tm - 1)),
            ahead.o.ready.eq(~active | ends_tile), is_score.eq(context.route == Route.SOFTMAX),
        ]
        with m.If(ahead.o.ready):
            m.d.sync += [active.eq(ahead.o.valid), context.eq(ahead.o.p)]

        # Entry. A lane's parts follow each other, so the first asks for two places; the answers are a cycle old.
        held, room = Signal(range(self.QUEUE_DEPTH + 1)), Signal()
        raw_room, score_room = Signal(), Signal()
        m.d.sync += room.eq(held <= self.QUEUE_DEPTH - 3)
        m.d.comb += [
            self.i.ready.eq(ends_lane | (active & is_score & score_room)),
            enters.eq(self.i.valid & (inside | (
                active & ~is_score & room & (raw_room | (context.route != Route.GATE))))),
            score_enters.eq(self.i.valid & active & is_score & score_room),
        ]
        m.d.sync += part.eq(part + enters)
        s0 = Signal(self.tag())
        for name in s0.shape().members:
            if name in context.shape().members:
                m.d.comb += s0[name].eq(context[name])
        lane = context.lanes[self.i.p.lane]
        m.d.comb += [
            s0.lane.eq(self.i.p.lane), s0.part.eq(part), s0.last.eq(ends_tile),
            s0.present.eq(lane.present), s0.row.eq(lane.row), s0.token.eq(lane.token),
            s0.multiplier.eq(lane.multiplier), s0.shift.eq(lane.shift),
            params.early_slot.eq(context.slot), params.early_half.eq(part[-1]),
        ]
        self._scores(m, context, lane, score_enters, score_room)
        tags, valid = [s0], [enters]
        for stage in range(1, self.ARITHMETIC + 1):
            register, flag = Signal(self.tag(), name=f"s{stage}", reset_less=True), Signal(name=f"s{stage}_valid")
            m.d.sync += [register.eq(tags[-1]), flag.eq(valid[-1])]
            tags.append(register)
            valid.append(flag)

        # Stage 1: bias and multiplier, from the parameters or, when attention divides, from the lane.
        requant = m.submodules.requant = Requant(cfg.lanes)
        s1, s1_value = tags[1], Signal(data.ArrayLayout(signed(32), cfg.lanes), reset_less=True)
        m.d.sync += [s1_value[n].eq(value) for n, value in enumerate(self._part(self.i.p.value, part))]
        m.d.comb += [requant.acc.eq(s1_value), requant.shift.eq(Mux(s1.divide, s1.shift, s1.shift1))]
        for n, early in enumerate(self._part(params.early, self._within_half(s1.part))):
            m.d.comb += [
                requant.bias[n].eq(Mux(s1.divide, 0, early.bias)),
                requant.multiplier[n].eq(Mux(s1.divide, s1.multiplier, early.multiplier)),
            ]
        raw_at = 1 + Requant.S_LATENCY
        self._raw_exits(m, valid[raw_at], tags[raw_at], requant.s, raw_room)

        # Activation. Gain and offset are fetched beside its last two stages.
        at = 1 + Requant.LATENCY
        activation = m.submodules.activation = Activation(cfg.lanes)
        act_shift = Signal(SHIFT_BITS, reset_less=True)
        m.d.sync += act_shift.eq(Mux(tags[at - 1].activation != 0, tags[at - 1].act_shift, 0))
        m.d.comb += [
            activation.u.eq(requant.o), activation.activation.eq(tags[at].activation),
            activation.act_shift.eq(act_shift),
        ]
        at += Activation.LATENCY
        fetch, select = tags[at - 2], tags[at - 1]
        m.d.comb += [
            params.late_slot.eq(fetch.slot), params.late_half.eq(fetch.part[-1]),
            params.done.eq(valid[at - 2] & fetch.last),
        ]
        affine = m.submodules.affine = Affine(cfg.lanes)
        m.d.comb += [affine.g.eq(activation.o)]
        shift2 = Signal(6, reset_less=True)
        m.d.sync += shift2.eq(Mux(select.affine | select.gate_weight, select.shift2, 0))
        m.d.comb += affine.shift.eq(shift2)
        for n, late in enumerate(self._part(params.late, self._within_half(select.part))):
            factor = Signal(affine.factor.shape().elem_shape, name=f"chosen_factor_{n}", reset_less=True)
            offset = Signal(signed(32), name=f"chosen_offset_{n}", reset_less=True)
            m.d.sync += [
                factor.eq(Mux(select.affine, late.gain, Mux(select.gate_weight, select.multiplier, 1))),
                offset.eq(Mux(select.affine, late.offset, 0)),
            ]
            m.d.comb += [affine.factor[n].eq(factor), affine.offset[n].eq(offset)]

        # Narrowing, and the other destinations' clipping beside it.
        at += Affine.LATENCY
        narrow = m.submodules.narrow = self.narrow
        m.d.comb += [narrow.v.eq(affine.o), narrow.later.eq(tags[at].part != 0)]
        clipped = self._clip(m, affine.o, tags[at], narrow.LATENCY)
        place = self._address(m, tags, self.ARITHMETIC)

        # The queue; entries that write nothing and retire nothing are dropped here.
        done, done_valid = tags[-1], Signal()
        queue = m.submodules.queue = Queue(FINISHED, self.QUEUE_DEPTH)
        finished, dropped, popped = queue.i.p, Signal(), Signal()
        wanted = done.present & (done.route != Route.GATE)
        m.d.comb += [
            done_valid.eq(valid[-1] & self._ends_half(done.part)),
            finished.route.eq(done.route), finished.write.eq(wanted & ~place.beyond), finished.half.eq(done.part[-1]),
            finished.end.eq(done.final & done.last), finished.odd.eq(done.tile[0]),
            finished.accumulate.eq(done.accumulate), finished.row.eq(done.row), finished.low_row.eq(place.low_row),
            finished.tile.eq(place.tile), finished.place.eq(place.place), finished.exp.eq(narrow.exp),
            queue.i.valid.eq(done_valid & (finished.write | finished.end)),
            dropped.eq(done_valid & ~queue.i.valid), popped.eq(queue.o.valid & queue.o.ready),
        ]
        results = [Mux(done.route == Route.OPERAND8, byte, other)
                   for byte, other in zip(narrow.byte, clipped, strict=True)]
        m.d.comb += finished.value.as_value().eq(self._half(m, "result", results))
        entered = enters & self._ends_half(part)
        m.d.sync += [held.eq(held + entered - dropped - popped), self.fault.eq(done_valid & wanted & place.beyond)]

        # Exits.
        back = m.submodules.back = WriteBack(cfg)
        connect(m, queue.o, back.i)
        for name in ("o_residual_read", "o_residual", "o_operand", "o_key", "o_value"):
            connect(m, getattr(back, name), flipped(getattr(self, name)))
        m.d.comb += [
            back.i_residual_row.eq(self.i_residual_row), back.hold.eq(self.raw_busy), self.retire.eq(back.retire),
        ]

        # A K write takes `steps` cycles behind its transfer, all others less.
        landing = Signal(range(cfg.steps + 2))
        with m.If(back.moved):
            m.d.sync += landing.eq(cfg.steps + 1)
        with m.Elif(landing != 0):
            m.d.sync += landing.eq(landing - 1)
        waiting = self.i.valid | self.i_context.valid | ~params.idle | (ahead.level != 0) | active
        leaving = (held != 0) | ~back.idle | back.moved | (landing != 0) | self.raw_busy | self.scores_left
        m.d.sync += self.idle.eq(~(waiting | leaving))
        return m

    def _within_half(self, part):
        return part & (self.cfg.serialization - 1)

    def _ends_half(self, part):
        return self._within_half(part) == self.cfg.serialization - 1

    def _part(self, values, number) -> list:
        """Part ``number`` of ``values``."""
        lanes = self.cfg.lanes
        return [Array(values[first + n] for first in range(0, len(values), lanes))[number] for n in range(lanes)]

    def _half(self, m, name: str, values):
        """A half's earlier parts and its last, ``values``, beside which they waited."""
        part = whole = Cat(*values)
        for n in range(1, self.cfg.serialization):
            before = Signal.like(part, name=f"{name}_before{n}", reset_less=True)
            m.d.sync += before.eq(part)
            part, whole = before, Cat(before, whole)
        return whole

    def _scores(self, m, context, lane, enters, room):
        """Scores as they are: whole lanes in, halves that hold a key out; sets ``room``, ``self.scores_left``."""
        shape = data.StructLayout({
            "value": data.ArrayLayout(signed(32), TN), "lane": unsigned(lane_bits(self.cfg)), "tile": unsigned(7),
            "both": 1})
        queue = m.submodules.scores = Queue(shape, self.SCORE_DEPTH)
        into, out, score, half = queue.i.p, queue.o.p, self.o_score, Signal()
        first_keys = [Cat(Const(half * SLICE, TN.bit_length() - 1), context.tile) for half in range(2)]
        m.d.comb += [
            queue.i.valid.eq(enters & lane.present & (first_keys[0] < lane.token)), into.value.eq(self.i.p.value),
            into.lane.eq(self.i.p.lane), into.tile.eq(context.tile), into.both.eq(first_keys[1] < lane.token),
            score.valid.eq(queue.o.valid), score.p.chunk.eq(Cat(half, out.tile)), score.p.lane.eq(out.lane),
            queue.o.ready.eq(score.ready & (half | ~out.both)),
        ]
        for n in range(LANES):
            m.d.comb += score.p.value[n].eq(Mux(half, out.value[LANES + n], out.value[n]))
        with m.If(score.valid & score.ready):
            m.d.sync += half.eq(~half & out.both)
        self.scores_left = Signal()
        m.d.comb += self.scores_left.eq(queue.level != 0)
        m.d.sync += room.eq(queue.level <= self.SCORE_DEPTH - 3)

    def _raw_exits(self, m, valid, tag, values, raw_room):
        """Gate accumulators with their bias; sets ``raw_room`` and ``self.raw_busy``."""
        queue = m.submodules.raw_queue = Queue(GATE_BEAT, self.RAW_DEPTH)
        into = queue.i.p
        m.d.comb += [
            queue.i.valid.eq(valid & tag.present & (tag.route == Route.GATE) & self._ends_half(tag.part)),
            into.value.as_value().eq(self._half(m, "raw", values)), into.low.eq(tag.part[-1]), into.tile.eq(tag.tile),
        ]
        # Two places asked for, halves between the entry and this queue, and the delays of level and room.
        m.d.sync += raw_room.eq(queue.level <= self.RAW_DEPTH - 5 - Requant.S_LATENCY)
        connect(m, queue.o, flipped(self.o_gate))
        self.raw_busy = Signal()
        m.d.comb += self.raw_busy.eq(queue.level != 0)

    @staticmethod
    def _clip(m, values, tag, latency: int):
        """``sat16`` for OPERAND16, [-127, 127] for KEY and VALUE, ``latency`` cycles later; RESIDUAL keeps 17 bits."""
        is_byte = (tag.route == Route.KEY) | (tag.route == Route.VALUE)
        is_word = tag.route == Route.OPERAND16
        results = []
        for n, value in enumerate(values):
            high = Mux(is_byte, WEIGHT_MAX, Mux(is_word, (1 << 15) - 1, (1 << 16) - 1))
            low = Mux(is_byte, -WEIGHT_MAX, Mux(is_word, -(1 << 15), -(1 << 16)))
            stages = [Signal.like(value, name=f"clip_s{stage + 1}_{n}", reset_less=True) for stage in range(latency)]
            m.d.sync += stages[0].eq(Mux(value > high, high, Mux(value < low, low, value)))
            m.d.sync += [after.eq(before) for before, after in zip(stages, stages[1:], strict=False)]
            results.append(stages[-1])
        return results

    def _address(self, m, tags, at: int):
        """K and V tile and place within it, row of the low plane, for the beat at stage ``at``; three stages before."""
        shape = data.StructLayout({"tile": TILE_BITS, "place": 5, "low_row": ROW_BITS, "beyond": 1})
        s1, s2, s3 = tags[at - 3], tags[at - 2], tags[at - 1]
        s2_a, s2_b = Signal(8, reset_less=True), Signal(8, reset_less=True)
        s3_product, result = Signal(16, reset_less=True), Signal(shape, reset_less=True)
        is_key = s1.route == Route.KEY
        key_log2, value_log2 = TN.bit_length() - 1, SLICE.bit_length() - 1
        m.d.sync += [s2_a.eq(Mux(is_key, s1.token[key_log2:], s1.tile)), s2_b.eq(s1.pitch), s3_product.eq(s2_a * s2_b)]
        s3_key = s3.route == Route.KEY
        s3_inner = Signal(TOKEN_BITS, reset_less=True)
        m.d.sync += s3_inner.eq(Mux(s2.route == Route.KEY, Cat(s2.part[-1], s2.tile), s2.token[value_log2:]) + s2.base)
        tile, low_row = Signal(17), Signal(ROW_BITS + 1)
        m.d.comb += [tile.eq(s3_product + s3_inner), low_row.eq(s3.row + s3.pitch)]
        m.d.sync += [
            result.tile.eq(tile), result.low_row.eq(low_row),
            result.place.eq(Mux(s3_key, s3.token[:key_log2], s3.token[:value_log2])),
            result.beyond.eq(Mux(s3_key | (s3.route == Route.VALUE), tile >= self.cfg.kv_tiles,
                                 (s3.route == Route.OPERAND16) & low_row[-1])),
        ]
        return result

