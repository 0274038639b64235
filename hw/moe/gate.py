# SPDX-License-Identifier: Apache-2.0
"""MoE gate: the top-k experts of each token, their weights, and the queues of all experts."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from hw.arith.reciprocal import Reciprocal
from hw.array.token_iterator import TRAVERSAL
from hw.interfaces import GATE_BEAT, ISSUE, QUEUE_ENTRY, TOKEN_BITS
from hw.lib.queue import Queue
from hw.moe.choices import Choices
from hw.moe.expert_queues import ARRIVALS_BITS, READERS, ROUND_BITS, ExpertQueues
from hw.moe.gate_powers import GatePowers
from hw.moe.gate_scores import GateScores
from hw.moe.gate_shapes import COUNT_BITS, GROUP_BITS, SLOTS
from hw.moe.gate_weights import DIVISION, GateWeights
from hw.moe.logit_loader import LogitLoader
from hw.moe.top_k import EXPERT_BITS, TILE_BITS, TopK
from hw.shapes import INSTRUCTION


class Gate(wiring.Component):
    r"""MoE gate: appends each token with its gate weights to the queues of its experts (golden/README.md, Gate).

    ::

        i_logits -> [high] -> [high * 128 + low] -> logits -> [TopK] ------------> chosen -------\
                                                         \-> [x multiplier, 2] [>>, 3] [ceil] [max] -> scaled, m
        scaled, m, chosen -> [m - ceil] -> [EXP, 3] -> p -> [sum] -> reciprocal -> [p * R] -> [>>, 3] -> ExpertQueues

    Four stages (top-k, scaling, exponentials, weights) each process one token after the other of SLOTS in flight;
    logits are kept for ``logit_slots(cfg)`` of them, until top-k and scaling have read them.
    Timing: a token takes max(top_k * (T + 2), ceil(experts / 4), 2 * top_k, 2 * T) cycles with T = ceil(experts / 16),
    6 for top-2 of 16 experts; LATENCY cycles from a token's last beat to its append, at top-1 of up to 4 experts.
    ``i_logits`` waits while no GATE is in progress and while all slots are taken.
    Domain: ``golden.spec.isa.LIMITS``; a ``top_k`` beyond ``experts`` counts as ``experts``. Tokens ascend within each
    tile, low beats follow their high ones; a token's tiles may come together or after the earlier tiles of a group
    of up to tm tokens.
    Reference model: ``golden.ops.gate.route``, ``golden.ops.queues.fill``, ``golden.ops.queues.arrivals``.
    Members: ``i`` In(stream ISSUE), ``i_logits`` In(stream GATE_BEAT); ``i_traverse``, ``o_entry``, ``i_count_expert``,
    ``o_count``, ``o_arrivals``, ``o_round`` (GATEs without ``append`` so far), ``i_place``, ``o_arrival``, ``fault``,
    ``fault_code`` as in ExpertQueues; ``idle``, ``retire``.
    """

    LATENCY = 51

    i: stream.Interface
    i_logits: stream.Interface
    i_traverse: stream.Interface
    o_entry: stream.Interface
    i_count_expert: Signal
    o_count: Signal
    o_arrivals: Signal
    o_round: Signal
    idle: Signal
    retire: Signal
    fault: Signal
    fault_code: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(ISSUE)), "i_logits": In(stream.Signature(GATE_BEAT)),
            "i_traverse": In(stream.Signature(TRAVERSAL)), "o_entry": Out(stream.Signature(QUEUE_ENTRY)),
            "i_count_expert": In(EXPERT_BITS), "o_count": Out(TOKEN_BITS), "o_arrivals": Out(ARRIVALS_BITS),
            "o_round": Out(ROUND_BITS), "i_place": In(EXPERT_BITS).array(READERS),
            "o_arrival": Out(EXPERT_BITS).array(READERS),
            "idle": Out(1, init=1), "retire": Out(1), "fault": Out(1), "fault_code": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        # The current instruction.
        word, gate = INSTRUCTION[Opcode.GATE](self.i.payload.word), Signal(INSTRUCTION[Opcode.GATE])
        last_tile, last_group = Signal(TILE_BITS), Signal(GROUP_BITS)
        begin, busy = Signal(), Signal()
        m.d.comb += [self.i.ready.eq(~busy), begin.eq(self.i.valid & self.i.ready)]
        with m.If(begin):
            m.d.sync += [gate.eq(word), busy.eq(1), self.idle.eq(0),
                         gate.top_k.eq(Mux(word.top_k > word.experts, word.experts, word.top_k)),
                         last_tile.eq((word.experts - 1) >> 4), last_group.eq((word.experts - 1) >> 2)]
        with m.If(self.retire):
            m.d.sync += [busy.eq(0), self.idle.eq(1)]

        loader = m.submodules.loader = LogitLoader(self.cfg)
        top_k = m.submodules.top_k = TopK(COUNT_BITS)
        choices = m.submodules.choices = Choices()
        scores = m.submodules.scores = GateScores()
        powers = m.submodules.powers = GatePowers()
        weights = m.submodules.weights = GateWeights()
        queues = self._queues(m, begin & ~word.append)
        connect(m, flipped(self.i_logits), loader.i_logits)
        connect(m, self._divisions(m, powers), weights.i)
        for stage in (scores, powers):
            m.d.comb += [stage.gate.eq(gate), stage.last_group.eq(last_group)]
        m.d.comb += [
            loader.begin.eq(begin), loader.tokens.eq(word.tokens), loader.last_tile.eq(last_tile),
            loader.finished.eq(weights.finished),
            top_k.experts.eq(gate.experts), top_k.top_k.eq(gate.top_k),
            top_k.pending.eq(loader.loaded != top_k.current), top_k.row.eq(loader.row[0]),
            loader.tile[0].eq(top_k.tile), loader.token[0].eq(top_k.token), loader.done[0].eq(top_k.current),
            choices.expert.eq(top_k.o_expert), choices.valid.eq(top_k.o_valid), choices.last.eq(top_k.o_last),
            scores.loaded.eq(loader.loaded), scores.row.eq(loader.row[1]),
            loader.tile[1].eq(scores.tile), loader.token[1].eq(scores.at), loader.done[1].eq(scores.at),
            powers.scored.eq(scores.scored), powers.selected.eq(choices.selected), powers.scores.eq(scores.scores),
            powers.reference.eq(scores.reference), powers.set.eq(choices.set),
            scores.slot.eq(powers.slot), scores.group.eq(powers.group), choices.set_slot.eq(powers.slot),
            weights.gate.eq(gate), weights.busy.eq(busy), weights.expert.eq(choices.read),
            weights.powers.eq(powers.powers), choices.slot.eq(weights.slot), choices.place.eq(weights.place),
            powers.read_slot.eq(weights.power_slot), powers.read_group.eq(weights.power_group),
            queues.i_append.valid.eq(weights.valid), queues.i_append.payload.expert.eq(weights.o_expert),
            queues.i_append.payload.token.eq(weights.o_token), queues.i_append.payload.weight.eq(weights.o_weight),
        ]
        m.d.sync += self.retire.eq(weights.ended)
        return m

    def _queues(self, m, clear) -> ExpertQueues:
        """The experts' queues and all ports that are theirs."""
        queues = m.submodules.queues = ExpertQueues(self.cfg)
        m.d.comb += [
            queues.clear.eq(clear), self.o_arrivals.eq(queues.o_arrivals), self.o_round.eq(queues.o_round),
            queues.i_count_expert.eq(self.i_count_expert), self.o_count.eq(queues.o_count),
            *(queues.i_place[n].eq(self.i_place[n]) for n in range(READERS)),
            *(self.o_arrival[n].eq(queues.o_arrival[n]) for n in range(READERS)),
            self.fault.eq(queues.fault), self.fault_code.eq(queues.fault_code),
        ]
        connect(m, flipped(self.i_traverse), queues.i_traverse)
        connect(m, queues.o_entry, flipped(self.o_entry))
        return queues

    def _divisions(self, m, powers: GatePowers):
        """Reciprocals of the tokens' totals, until their weights' turn comes: a stream."""
        reciprocal = m.submodules.reciprocal = Reciprocal()
        divisions = m.submodules.divisions = Queue(DIVISION, SLOTS)
        m.d.comb += [
            reciprocal.i_total.eq(powers.total), reciprocal.i_valid.eq(powers.total_valid),
            divisions.i.valid.eq(reciprocal.o_valid), divisions.i.payload.recip.eq(reciprocal.o_recip),
            divisions.i.payload.shift.eq(reciprocal.o_length - 1),
        ]
        return divisions.o
