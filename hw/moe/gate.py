# SPDX-License-Identifier: Apache-2.0
"""Gate: the best experts of each token, their weights, and the queues of all experts."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from golden.spec.machine import LANES, MAX_EXPERTS, MAX_TOP_K, MachineConfig
from golden.spec.tables import GATE_RADIX_LOG2, LOG2_FRAC, RECIPROCAL_BITS, SCORE_BITS, SCORE_REFERENCE_MIN
from hw.arith.exp2 import DISTANCE_BITS, EXPONENTIAL_BITS, Exponential
from hw.arith.log2_score import REFERENCE
from hw.arith.reciprocal import Reciprocal
from hw.arith.round_shift import LATENCY as ROUND_SHIFT_LATENCY
from hw.arith.round_shift import round_shift
from hw.arith.trees import top_of_four
from hw.array.token_iterator import TRAVERSAL
from hw.interfaces import GATE_BEAT, ISSUE, QUEUE_ENTRY, TOKEN_BITS
from hw.lib.queue import Queue
from hw.moe.expert_queues import ARRIVALS_BITS, READERS, ROUND_BITS, ExpertQueues
from hw.moe.top_k import EXPERT_BITS, LOGIT, LOGIT_ROW, TILE_BITS, TopK
from hw.shapes import INSTRUCTION

GROUP = 4
"""Experts a cycle through the multipliers and the exponentials."""
GROUP_BITS = (MAX_EXPERTS // GROUP - 1).bit_length()
SCORE = data.StructLayout({"whole": REFERENCE, "fraction": unsigned(LOG2_FRAC), "live": 1})
DIVISION = data.StructLayout({"recip": unsigned(RECIPROCAL_BITS), "shift": unsigned(6)})
WEIGHT_BITS = 16


class Gate(wiring.Component):
    r"""Chosen experts and weights of each token, formula in golden/README.md, appended to the experts' queues.

    ::

        i_logits -> [high] -> [high * 128 + low] -> logits -> [TopK] ------------> chosen -------\
                                                         \-> [x multiplier, 2] [>>, 3] [ceil] [max] -> scores, m
        scores, m, chosen -> [m - ceil] -> [EXP, 3] -> p -> [sum] -> reciprocal -> [p * R] -> [>>, 3] -> ExpertQueues

    Four workers (choice, scores, exponentials, weights) each take one token after the other out of ``slots`` in flight;
    logits are kept for ``logit_slots`` of them, until choice and scores have read them.
    Timing: a token takes max(top_k * (T + 2), ceil(experts / 4), 2 * top_k, 2 * T) cycles with T = ceil(experts / 16),
    6 for top-2 of 16 experts; LATENCY cycles from a token's last beat to its append, at top-1 of up to 4 experts.
    ``i_logits`` waits while no GATE is at work and while all slots are taken.
    Domain: ``golden.spec.isa.LIMITS``; a ``top_k`` beyond ``experts`` counts as ``experts``. Tokens ascend within each
    tile, low beats follow their high ones; a token's tiles may come together or behind the earlier tiles of a group
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
        self.slots = 16
        self.logit_slots = max(8, 2 * cfg.tm)
        self.count_bits = self.slots.bit_length()
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
        # The instruction at work.
        word = INSTRUCTION[Opcode.GATE](self.i.payload.word)
        self.gate = gate = Signal(INSTRUCTION[Opcode.GATE])
        self.last_tile, self.last_group = Signal(TILE_BITS), Signal(GROUP_BITS)
        self.busy = busy = Signal()
        begin, ended = Signal(), Signal()
        m.d.comb += [self.i.ready.eq(~busy), begin.eq(self.i.valid & self.i.ready)]
        m.d.sync += self.retire.eq(ended)
        with m.If(begin):
            m.d.sync += [gate.eq(word), busy.eq(1), self.idle.eq(0),
                         gate.top_k.eq(Mux(word.top_k > word.experts, word.experts, word.top_k)),
                         self.last_tile.eq((word.experts - 1) >> 4), self.last_group.eq((word.experts - 1) >> 2)]
        with m.If(self.retire):
            m.d.sync += [busy.eq(0), self.idle.eq(1)]

        queues = m.submodules.queues = ExpertQueues(self.cfg)
        m.d.comb += [
            queues.clear.eq(begin & ~word.append), self.o_arrivals.eq(queues.o_arrivals),
            self.o_round.eq(queues.o_round),
            queues.i_count_expert.eq(self.i_count_expert), self.o_count.eq(queues.o_count),
            *(queues.i_place[n].eq(self.i_place[n]) for n in range(READERS)),
            *(self.o_arrival[n].eq(queues.o_arrival[n]) for n in range(READERS)),
            self.fault.eq(queues.fault), self.fault_code.eq(queues.fault_code),
        ]
        wiring.connect(m, wiring.flipped(self.i_traverse), queues.i_traverse)
        wiring.connect(m, queues.o_entry, wiring.flipped(self.o_entry))

        # Tokens in flight: each worker counts those it is done with, modulo twice the slots.
        loaded, scored, finished = (Signal(self.count_bits, name=name) for name in ("loaded", "scored", "finished"))
        logits = m.submodules.logits = memory.Memory(shape=LOGIT_ROW, init=[],
                                                     depth=self.logit_slots * (1 << TILE_BITS))
        score_at = Signal(self.count_bits)

        top_k = m.submodules.top_k = TopK(self.count_bits)
        port = logits.read_port()
        m.d.comb += [
            top_k.experts.eq(gate.experts), top_k.top_k.eq(gate.top_k), top_k.pending.eq(loaded != top_k.current),
            port.addr.eq(Cat(top_k.tile, self._logit_slot(top_k.token))), top_k.row.eq(port.data),
        ]
        self._load(m, begin, logits.write_port(), loaded, finished, (top_k.current, score_at))
        chosen, chosen_sets, selected = self._remember(m, top_k)
        scores, references = self._score(m, logits.read_port(), loaded, score_at, scored)
        powers, total, total_valid = self._exponentiate(m, scores, references, chosen_sets, scored, selected)

        reciprocal = m.submodules.reciprocal = Reciprocal()
        divisions = m.submodules.divisions = Queue(DIVISION, self.slots)
        m.d.comb += [
            reciprocal.i_total.eq(total), reciprocal.i_valid.eq(total_valid), divisions.i.valid.eq(reciprocal.o_valid),
            divisions.i.payload.recip.eq(reciprocal.o_recip), divisions.i.payload.shift.eq(reciprocal.o_length - 1),
        ]
        self._weigh(m, chosen, powers, divisions.o, queues.i_append, finished, ended)
        return m

    def _slot(self, count):
        return count[:self.count_bits - 1]

    def _logit_slot(self, count):
        return count[:(self.logit_slots - 1).bit_length()]

    def _delay(self, m, value, stages: int, name: str, *, control=False):
        """``value`` after 0..stages registers."""
        found = [value]
        for stage in range(1, stages + 1):
            held = Signal.like(found[-1], name=f"{name}_s{stage}", reset_less=not control)
            m.d.sync += held.eq(found[-1])
            found.append(held)
        return found

    def _load(self, m, begin, port, loaded, finished, readers):
        """Beats to rows of logits. A token is loaded with its last tile; each tile counts its own tokens."""
        beat = self.i_logits.payload
        opened = Array(Signal(self.count_bits, name=f"opened{tile}") for tile in range(1 << TILE_BITS))
        left, some, room, accept = Signal(TOKEN_BITS), Signal(), Signal(), Signal()
        # A cycle late: behind a low beat that is only a high beat, which needs no room. At most tm of the tokens that
        # take the room, a group, are incomplete: when it is full others are complete, so it comes back whatever waits.
        full = [self._distance(opened[0], finished) == self.slots,
                *(self._distance(opened[0], reader) == self.logit_slots for reader in readers)]
        m.d.sync += room.eq(~Cat(full).any())
        m.d.comb += [self.i_logits.ready.eq(some & room),
                     accept.eq(self.i_logits.valid & self.i_logits.ready)]

        s1_valid, s1_ends, s1_address = Signal(), Signal(), Signal.like(port.addr, reset_less=True)
        s2_ends = Signal()
        for k in range(LANES):
            high, s1_logit = Signal(signed(32), name=f"high{k}"), Signal(LOGIT, name=f"s1_logit{k}", reset_less=True)
            with m.If(accept & ~beat.low):
                m.d.sync += high.eq(beat.value[k])
            m.d.sync += s1_logit.eq((high << GATE_RADIX_LOG2) + beat.value[k])
            m.d.comb += port.data[k].eq(s1_logit)
        ends = accept & beat.low & (beat.tile == self.last_tile)
        m.d.sync += [s1_valid.eq(accept & beat.low), s1_ends.eq(ends), s2_ends.eq(s1_ends),
                     s1_address.eq(Cat(beat.tile, self._logit_slot(opened[beat.tile])))]
        with m.If(accept & beat.low):
            m.d.sync += opened[beat.tile].eq(opened[beat.tile] + 1)
        with m.If(ends):
            m.d.sync += [left.eq(left - 1), some.eq(left != 1)]
        with m.If(begin):
            tokens = INSTRUCTION[Opcode.GATE](self.i.payload.word).tokens
            m.d.sync += [count.eq(finished) for count in opened]
            m.d.sync += [left.eq(tokens), some.eq(tokens != 0)]
        m.d.comb += [port.addr.eq(s1_address), port.en.eq(s1_valid)]
        # A token counts a cycle after its last row was written: TopK has already read its first one then.
        m.d.sync += loaded.eq(loaded + s2_ends)

    def _distance(self, ahead, behind):
        return (ahead - behind)[:self.count_bits]

    def _remember(self, m, top_k):
        """The choices in order and as a set, for each slot; (memories, tokens chosen)."""
        chosen = m.submodules.chosen = memory.Memory(shape=EXPERT_BITS, depth=self.slots * MAX_TOP_K, init=[])
        sets = m.submodules.chosen_sets = memory.Memory(shape=MAX_EXPERTS, depth=self.slots, init=[])
        selected, place, chosen_set = Signal(self.count_bits), Signal(range(MAX_TOP_K)), Signal(MAX_EXPERTS)
        with_this = Signal(MAX_EXPERTS)
        port, set_port = chosen.write_port(), sets.write_port()
        m.d.comb += [
            with_this.eq(chosen_set | (1 << top_k.o_expert)), port.addr.eq(Cat(place, self._slot(selected))),
            port.data.eq(top_k.o_expert), port.en.eq(top_k.o_valid), set_port.addr.eq(self._slot(selected)),
            set_port.data.eq(with_this), set_port.en.eq(top_k.o_valid & top_k.o_last),
        ]
        with m.If(top_k.o_valid):
            m.d.sync += [place.eq(place + 1), chosen_set.eq(with_this)]
            with m.If(top_k.o_last):
                m.d.sync += [place.eq(0), chosen_set.eq(0), selected.eq(selected + 1)]
        return chosen, sets, selected

    def _groups(self, m, name, ready, at, stages):
        """Walks the groups of the token ``at`` while ``ready``; what travels with each, after 0..stages registers."""
        tag = Signal(data.StructLayout({"valid": 1, "first": 1, "last": 1, "group": GROUP_BITS,
                                        "slot": self.count_bits - 1}), name=name)
        group = Signal(GROUP_BITS, name=f"{name}_group")
        m.d.comb += [tag.valid.eq(ready), tag.first.eq(group == 0), tag.last.eq(ready & (group == self.last_group)),
                     tag.group.eq(group), tag.slot.eq(self._slot(at))]
        with m.If(ready):
            m.d.sync += group.eq(Mux(tag.last, 0, group + 1))
        m.d.sync += at.eq(at + tag.last)
        return self._delay(m, tag, stages, name, control=True)

    def _score(self, m, port, loaded, at, scored):
        """Logits to scores in log2 units, GROUP a cycle; (memories of scores and of the token's reference)."""
        scores = m.submodules.scores = memory.Memory(shape=data.ArrayLayout(SCORE, GROUP), init=[],
                                                     depth=self.slots << GROUP_BITS)
        references = m.submodules.references = memory.Memory(shape=REFERENCE, depth=self.slots, init=[])
        tags = self._groups(m, "score", loaded != at, at, 7 + ROUND_SHIFT_LATENCY)
        m.d.comb += port.addr.eq(Cat(tags[0].group[2:], self._logit_slot(tags[0].slot)))

        # Stage 1: read. Stage 2: pick the group. Stages 3, 4: multiply in two parts. Stages 5..7: shift, round, clip.
        split, products = 20, []
        for k in range(GROUP):
            s2_logit = Signal(LOGIT, name=f"score_s2_logit{k}", reset_less=True)
            s3_low = Signal(split + 16, name=f"score_s3_low{k}", reset_less=True)
            s3_high = Signal(signed(LOGIT.width - split + 16), name=f"score_s3_high{k}", reset_less=True)
            s4_product = Signal(signed(LOGIT.width + 16), name=f"score_s4_product{k}", reset_less=True)
            m.d.sync += [
                s2_logit.eq(Array(port.data[g * GROUP + k] for g in range(GROUP))[tags[1].group[:2]]),
                s3_low.eq(s2_logit[:split] * self.gate.multiplier),
                s3_high.eq(s2_logit[split:].as_signed() * self.gate.multiplier),
                s4_product.eq(Cat(s3_low[:split], (s3_high + s3_low[split:])[:len(s3_high)]).as_signed()),
            ]
            products.append(s4_product)
        t = round_shift(m, "score", products, self.gate.shift1, SCORE_BITS)

        # Stage 8: whole part rounded up and fraction below it. Stage 9: best of four. Stage 10: of the token.
        s8, s8_score = tags[5 + ROUND_SHIFT_LATENCY], Signal(data.ArrayLayout(SCORE, GROUP), reset_less=True)
        for k, value in enumerate(t):
            live = Cat(Const(k, 2), tags[4 + ROUND_SHIFT_LATENCY].group) < self.gate.experts
            m.d.sync += [
                s8_score[k].live.eq(live), s8_score[k].fraction.eq(-value),
                s8_score[k].whole.eq(Mux(live, (value >> LOG2_FRAC) + value[:LOG2_FRAC].any(), SCORE_REFERENCE_MIN)),
            ]
        write = scores.write_port()
        m.d.comb += [write.addr.eq(Cat(s8.group, s8.slot)), write.data.eq(s8_score), write.en.eq(s8.valid)]
        s9_top = top_of_four(m, [s8_score[k].whole for k in range(GROUP)], "score_s9_top")
        s9, s10 = tags[6 + ROUND_SHIFT_LATENCY], tags[7 + ROUND_SHIFT_LATENCY]
        s10_reference = Signal(REFERENCE, reset_less=True)
        with m.If(s9.valid):
            m.d.sync += s10_reference.eq(Mux(s9.first | (s9_top > s10_reference), s9_top, s10_reference))
        write = references.write_port()
        m.d.comb += [write.addr.eq(s10.slot), write.data.eq(s10_reference), write.en.eq(s10.last)]
        m.d.sync += scored.eq(scored + s10.last)
        return scores, references

    def _exponentiate(self, m, scores, references, chosen_sets, scored, selected):
        """Scores to powers of two below the reference, and their sum; (memory of powers, the sum, valid)."""
        powers = m.submodules.powers = memory.Memory(shape=data.ArrayLayout(EXPONENTIAL_BITS, GROUP), init=[],
                                                     depth=self.slots << GROUP_BITS)
        at, ready = Signal(self.count_bits, name="power_at"), Signal()
        m.d.comb += ready.eq((scored != at) & (selected != at))
        last_stage = 3 + Exponential.LATENCY + 3
        tags = self._groups(m, "power", ready, at, last_stage)
        score_port, reference_port, set_port = scores.read_port(), references.read_port(), chosen_sets.read_port()
        m.d.comb += [score_port.addr.eq(Cat(tags[0].group, tags[0].slot)), reference_port.addr.eq(tags[0].slot),
                     set_port.addr.eq(tags[0].slot)]

        # Stages 1, 2: read. Stage 3: distance below the reference. Stages 4..6: exponentials.
        s2_score, s2_chosen = Signal(data.ArrayLayout(SCORE, GROUP), reset_less=True), Signal(GROUP, reset_less=True)
        s2_reference = Signal(REFERENCE, reset_less=True)
        m.d.sync += [s2_score.eq(score_port.data), s2_reference.eq(reference_port.data),
                     s2_chosen.eq(set_port.data.word_select(tags[1].group, GROUP))]
        exponential = m.submodules.exponential = Exponential(GROUP)
        for k in range(GROUP):
            s3_whole = Signal(DISTANCE_BITS, name=f"power_s3_whole{k}", reset_less=True)
            s3_fraction = Signal(LOG2_FRAC, name=f"power_s3_fraction{k}", reset_less=True)
            counts = s2_score[k].live & (s2_chosen[k] | ~self.gate.renormalise)
            m.d.sync += [s3_whole.eq(Mux(counts, s2_reference - s2_score[k].whole, EXPONENTIAL_BITS)),
                         s3_fraction.eq(s2_score[k].fraction)]
            m.d.comb += [exponential.i[k].whole.eq(s3_whole), exponential.i[k].fraction.eq(s3_fraction)]
        port, s6 = powers.write_port(), tags[3 + Exponential.LATENCY]
        m.d.comb += [port.addr.eq(Cat(s6.group, s6.slot)), port.data.eq(exponential.o), port.en.eq(s6.valid)]

        # Stages 7, 8: sum of the group. Stage 9: of the token.
        s7_sums = [Signal(EXPONENTIAL_BITS + 1, name=f"power_s7_sum{k}", reset_less=True) for k in range(2)]
        s8_sum = Signal(EXPONENTIAL_BITS + 2, reset_less=True)
        s9_total = Signal(EXPONENTIAL_BITS + EXPERT_BITS, reset_less=True)
        m.d.sync += [s7_sums[0].eq(exponential.o[0] + exponential.o[1]),
                     s7_sums[1].eq(exponential.o[2] + exponential.o[3]), s8_sum.eq(s7_sums[0] + s7_sums[1])]
        with m.If(tags[-2].valid):
            m.d.sync += s9_total.eq(Mux(tags[-2].first, 0, s9_total) + s8_sum)
        return powers, s9_total, tags[-1].last

    def _weigh(self, m, chosen, powers, divisions, append, finished, ended):
        """Weights of the chosen experts, one every two cycles, into the queues."""
        place, pause, token = Signal(range(MAX_TOP_K)), Signal(), Signal(TOKEN_BITS)
        go, token_ends, last_place, last_token = Signal(), Signal(), Signal(range(MAX_TOP_K)), Signal(TOKEN_BITS)
        m.d.sync += [last_place.eq(self.gate.top_k - 1), last_token.eq(self.gate.tokens - 1)]
        m.d.comb += [go.eq(divisions.valid & ~pause), token_ends.eq(go & (place == last_place)),
                     divisions.ready.eq(token_ends)]
        m.d.sync += pause.eq(go)
        with m.If(go):
            m.d.sync += place.eq(Mux(token_ends, 0, place + 1))
        with m.If(token_ends):
            m.d.sync += [token.eq(token + 1), finished.eq(finished + 1)]
        with m.If(~self.busy):
            m.d.sync += token.eq(0)

        stages = 5 + ROUND_SHIFT_LATENCY
        valid = self._delay(m, go, stages, "weigh_valid", control=True)
        final = self._delay(m, token_ends & (token == last_token), stages + 2, "weigh_final", control=True)
        number = self._delay(m, (token + self.gate.first_token)[:TOKEN_BITS], stages, "weigh_token")
        slot = self._delay(m, self._slot(finished), 1, "weigh_slot")
        recip = self._delay(m, divisions.payload.recip, 3, "weigh_recip")
        shift = self._delay(m, divisions.payload.shift, 4, "weigh_shift")

        # Stage 1: which expert. Stage 2: its power. Stages 3, 4: multiply. Stages 5..7: shift and round. Stage 8: clip.
        chosen_port, power_port = chosen.read_port(), powers.read_port()
        expert = self._delay(m, chosen_port.data, stages - 1, "weigh_expert")  # from stage 1 on
        s3_power = Signal(EXPONENTIAL_BITS, reset_less=True)
        s4_product, s8_weight = Signal(signed(33), reset_less=True), Signal(WEIGHT_BITS, reset_less=True)
        m.d.comb += [chosen_port.addr.eq(Cat(place, self._slot(finished))),
                     power_port.addr.eq(Cat(expert[0][2:], slot[1]))]
        m.d.sync += [s3_power.eq(Array(power_port.data[k] for k in range(GROUP))[expert[1][:2]]),
                     s4_product.eq(s3_power * recip[3])]
        s7_weight, = round_shift(m, "weigh", [s4_product], shift[4], WEIGHT_BITS + 2)
        m.d.sync += s8_weight.eq(Mux(s7_weight[WEIGHT_BITS:].any(), -1, s7_weight))
        m.d.comb += [append.valid.eq(valid[-1]), append.payload.expert.eq(expert[-1]),
                     append.payload.token.eq(number[-1]), append.payload.weight.eq(s8_weight), ended.eq(final[-1])]
