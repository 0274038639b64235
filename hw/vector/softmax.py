# SPDX-License-Identifier: Apache-2.0
"""Single-pass softmax: attention scores become probabilities for the array and a reciprocal for each lane."""

from itertools import product

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.spec.machine import LANES, SLICE, MachineConfig
from golden.spec.tables import (
    ATTENTION_FRAC,
    LOG2_FRAC,
    PROB_CARRY_START,
    RECIPROCAL_BITS,
    SCORE_BITS,
    SCORE_REFERENCE_MIN,
)
from hw.arith.exp2 import DISTANCE_BITS, EXPONENTIAL_BITS, Exponential
from hw.arith.reciprocal import Reciprocal
from hw.arith.round_shift import SCALED_LATENCY, round_shift_scaled, scaled
from hw.interfaces import SCORE_BEAT_FIELDS, SOFTMAX_JOB, SOFTMAX_SLOTS, lane_bits, score_beat, softmax_done

REFERENCE = signed(SCORE_BITS - LOG2_FRAC + 1)
"""A whole power of two, from SCORE_REFERENCE_MIN to its opposite."""
MULTIPLIER_BITS = SOFTMAX_JOB.members["multiplier"].width + 7
"""Bits of a job's multiplier with the fine part of the shift included."""
JOB = data.StructLayout(SOFTMAX_JOB.members | {"multiplier": MULTIPLIER_BITS, "shift1": 3})
"""A job as stored: ``shift1`` counts bytes."""
CHUNK_BITS = SCORE_BEAT_FIELDS["chunk"].width
LANE_SHIFT = 31 - ATTENTION_FRAC - RECIPROCAL_BITS
"""``23 + sh`` is the total's bit length plus this."""


class Softmax(wiring.Component):
    r"""Single-pass softmax, formula in golden/README.md; jobs use SOFTMAX_SLOTS slots of each memory in rotation.

    ::

        A: i -> [x multiplier, 3] -> [>> shift1, 2] -> [ceil] -> [max tree, 2] -> [m] -> [m - ceil] -> [EXP, 3] ->
        score rows
                                                      one cycle loop, by lane ^                 (exponentials, m)
        C: score rows -> [read, 2] -> [m_last - m] -> [>>] -> [+ carry or >> p_shift] -> P memory -> p_data
                                                                   ^ one cycle loop  \-> [sum, 5] -> reciprocal -> o

    The multiplier of a job is shifted left by up to 7 places once, so that its scores shift right by whole bytes.
    Timing: II = F = ``cfg.serialization``: A takes a beat and C a row in F parts, one a cycle; the beat stays at ``i``
    meanwhile and keys wait after m until the last part of their chunk has updated it. A of a job overlaps C of earlier
    ones. With n beats in a job and nothing in the way, ``o`` is valid LATENCY + F * n cycles after the transfer of the
    job's last beat. ``i`` waits only for its job, and that for the slot it needs; C waits until the slot it writes was
    released.
    Domain: 1 <= keys <= ``cfg.max_keys``; beats of lanes 0 .. lanes - 1, chunks ascending within a lane, none empty.
    Plane 0 of P holds the 8-bit probabilities or the high bytes of the 16-bit ones, plane 1 the low bytes. Lanes from
    ``lanes`` on read as 0; their reciprocals are undefined.
    Reference model: ``golden.ops.softmax.softmax`` and ``golden.ops.arith.reciprocal``.
    Members: ``i_job`` In(stream SOFTMAX_JOB), ``i`` In(stream score_beat), ``o`` Out(stream softmax_done); ``p_slot,
    p_chunk, p_plane, p_en`` In -> ``p_data`` Out(tm x 16 bytes) READ_LATENCY later; ``p_release`` In(1), a pulse frees
    the oldest slot; ``idle`` Out(1), no job accepted whose slot is not released.
    """

    i_job: stream.Interface
    i: stream.Interface
    o: stream.Interface
    p_slot: Signal
    p_chunk: Signal
    p_plane: Signal
    p_en: Signal
    p_data: data.View
    p_release: Signal
    idle: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        self.chunks = cfg.max_keys // SLICE
        self.II = cfg.serialization
        self.A_LATENCY = 3 + SCALED_LATENCY + 5 + (cfg.serialization - 1) + Exponential.LATENCY
        """Cycles from the transfer of a beat to the write of its last exponentials."""
        self.C_LATENCY = 5 + exact_log2(cfg.lanes) + 1
        """Cycles from a row's last read to its total."""
        self.LATENCY = self.A_LATENCY + self.C_LATENCY + Reciprocal.LATENCY + 2
        super().__init__({
            "i_job": In(stream.Signature(SOFTMAX_JOB)), "i": In(stream.Signature(score_beat(cfg))),
            "o": Out(stream.Signature(softmax_done(cfg))),
            "p_slot": In(range(SOFTMAX_SLOTS)), "p_chunk": In(CHUNK_BITS), "p_plane": In(1), "p_en": In(1),
            "p_data": Out(data.ArrayLayout(data.ArrayLayout(unsigned(8), SLICE), cfg.tm)), "p_release": In(1),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # A job of each slot, from its acceptance until C has read its rows.
        job = Array(Signal(JOB, name=f"job{slot}") for slot in range(SOFTMAX_SLOTS))
        last = Array(Signal(range(self.cfg.max_keys), name=f"last{slot}") for slot in range(SOFTMAX_SLOTS))  # last key
        self.job, self.last = job, last
        taken, fed, scored = (Signal(SOFTMAX_SLOTS, name=name) for name in ("taken", "fed", "scored"))
        used = Signal(SOFTMAX_SLOTS)  # slots of P, from C's last read until the release
        in_slot, a_slot, c_slot, free_slot = (Signal(range(SOFTMAX_SLOTS), name=f"{name}_slot") for name in (
            "in", "a", "c", "free"))

        accept = Signal()
        m.d.comb += [self.i_job.ready.eq(~taken.bit_select(in_slot, 1)),
                     accept.eq(self.i_job.valid & self.i_job.ready)]
        accepted, kept = self.i_job.payload, Signal(JOB)
        multiplier, count = scaled(accepted.multiplier, accepted.shift1)
        m.d.comb += [kept[name].eq(accepted[name]) for name in JOB.members if name not in ("multiplier", "shift1")]
        m.d.comb += [kept.multiplier.eq(multiplier), kept.shift1.eq(count)]
        with m.If(accept):
            m.d.sync += [job[in_slot].eq(kept), last[in_slot].eq(accepted.keys - 1),
                         taken.bit_select(in_slot, 1).eq(1), in_slot.eq(in_slot + 1)]

        store = m.submodules.scored_rows = memory.Memory(
            shape=unsigned(self.cfg.lanes * EXPONENTIAL_BITS + REFERENCE.width), init=[],
            depth=SOFTMAX_SLOTS * self.cfg.tm * self.chunks * self.cfg.serialization)
        finals = [[Signal(REFERENCE, name=f"final{slot}_{lane}") for lane in range(self.cfg.tm)]
                  for slot in range(SOFTMAX_SLOTS)]

        # Stage A: the job's beats enter; its slot is complete when the last of them is in memory.
        opened = Signal()
        m.d.comb += opened.eq((taken & ~fed).bit_select(a_slot, 1))
        a_end, a_end_slot, fed_now = self._exponentiate(m, a_slot, opened, store.write_port(), finals)
        with m.If(fed_now):
            m.d.sync += [fed.bit_select(a_slot, 1).eq(1), a_slot.eq(a_slot + 1)]
        with m.If(a_end):
            m.d.sync += scored.bit_select(a_end_slot, 1).eq(1)

        # Stage C.
        reading = Signal()
        m.d.comb += reading.eq((scored & ~used).bit_select(c_slot, 1))
        read_now = self._rescale(m, c_slot, reading, store.read_port(), finals)
        with m.If(read_now):
            m.d.sync += [part.bit_select(c_slot, 1).eq(0) for part in (taken, fed, scored)]
            m.d.sync += [used.bit_select(c_slot, 1).eq(1), c_slot.eq(c_slot + 1)]
        with m.If(self.p_release):
            m.d.sync += [used.bit_select(free_slot, 1).eq(0), free_slot.eq(free_slot + 1)]

        m.d.sync += self.idle.eq(~accept & (taken == 0) & (used == 0))
        return m

    def _row(self, slot, lane, chunk, part):
        return Cat(part, chunk[:(self.chunks - 1).bit_length()], lane, slot)

    def _part(self, values, part):
        """Those of a chunk's 16 values that ``part`` consists of."""
        firsts = range(0, SLICE, self.cfg.lanes)
        return [Array(values[first + k] for first in firsts)[part] for k in range(self.cfg.lanes)]

    def _exponentiate(self, m, a_slot, opened, port, finals):
        """Stage A. (a job's last row is written now, its slot, its last beat is accepted now)"""
        lanes, serial = self.cfg.lanes, self.cfg.serialization
        beat = self.i.payload
        job = self.job[a_slot]
        entry, transfer, row_ends, fed_now = Signal(), Signal(), Signal(), Signal()
        part_now, rows = Signal(range(serial), name="part"), Signal(4)
        last_key = self.last[a_slot]
        m.d.comb += [entry.eq(self.i.valid & opened), self.i.ready.eq(opened & (part_now == serial - 1)),
                     transfer.eq(self.i.valid & self.i.ready), row_ends.eq(beat.chunk == last_key[4:]),
                     fed_now.eq(transfer & row_ends & (rows + 1 == job.lanes))]
        m.d.sync += part_now.eq(part_now + entry)
        with m.If(transfer & row_ends):
            m.d.sync += rows.eq(Mux(fed_now, 0, rows + 1))

        def staged(value, count, name, reset_less=True):
            """``value`` after 1..count registers, as a list that starts with the value itself."""
            found = [value]
            for stage in range(1, count + 1):
                held = Signal(value.shape(), name=f"s{stage}_{name}", reset_less=reset_less)
                m.d.sync += held.eq(found[-1])
                found.append(held)
            return found

        total = self.A_LATENCY
        slot, lane = staged(a_slot, total, "slot"), staged(beat.lane, total, "lane")
        chunk, part = staged(beat.chunk, total, "chunk"), staged(part_now, total, "part")
        valid = staged(entry, total, "valid", reset_less=False)
        end, ends = staged(fed_now, total, "end", reset_less=False), staged(row_ends, 9, "row_ends")
        count = staged(job.shift1, 3, "count")

        # Stages 1..3: multiply, as two products of 16 x MULTIPLIER_BITS bits.
        s1_multiplier = Signal(MULTIPLIER_BITS, reset_less=True)
        m.d.sync += s1_multiplier.eq(job.multiplier)
        products = []
        for k, score in enumerate(self._part(beat.value, part_now)):
            s1_score = Signal(signed(32), name=f"s1_score{k}", reset_less=True)
            s2_high = Signal(signed(16 + MULTIPLIER_BITS), name=f"s2_high{k}", reset_less=True)
            s2_low = Signal(16 + MULTIPLIER_BITS, name=f"s2_low{k}", reset_less=True)
            s3_product = Signal(signed(32 + MULTIPLIER_BITS), name=f"s3_product{k}", reset_less=True)
            m.d.sync += [s1_score.eq(score),
                         s2_high.eq(s1_score[16:].as_signed() * s1_multiplier),
                         s2_low.eq(s1_score[:16] * s1_multiplier),
                         s3_product.eq(Cat(s2_low[:16], s2_high + s2_low[16:]))]
            products.append(s3_product)

        # Stages 4, 5: shift, round, clip.
        scores = round_shift_scaled(m, "t", products, count[3], SCORE_BITS)

        # Stage 6: whole part rounded up and fraction below it; keys beyond the last do not count.
        s5_live = Signal(lanes, reset_less=True)
        live_now = Signal(LANES)
        within = self.last[slot[4]]
        m.d.comb += live_now.eq(Mux(ends[4], (2 << within[:4]) - 1, -1))
        m.d.sync += s5_live.eq(Cat(self._part(live_now, part[4])))
        wait = serial - 1  # of each key, between stages 9 and 10, for the last part of its chunk
        live = staged(s5_live, 4 + wait, "live")
        wholes, fractions = [], []
        for k, t in enumerate(scores):
            s6_whole = Signal(REFERENCE, name=f"s6_whole{k}", reset_less=True)
            s6_fraction = Signal(LOG2_FRAC, name=f"s6_fraction{k}", reset_less=True)
            m.d.sync += [s6_whole.eq(Mux(live[0][k], (t >> LOG2_FRAC) + t[:LOG2_FRAC].any(), SCORE_REFERENCE_MIN)),
                         s6_fraction.eq(-t)]
            wholes.append(staged(s6_whole, 3 + wait, f"whole{k}"))
            fractions.append(staged(s6_fraction, 4 + wait, f"fraction{k}"))

        # Stages 7, 8: the part's maximum. Stage 9: the lane's reference, which is the chunk's with its last part.
        tops = [column[0] for column in wholes]
        for stage in (7, 8):
            tops = [top_of_four(m, tops[i:i + 4], f"s{stage}_top{i // 4}") for i in range(0, len(tops), 4)]
        references = Array(Signal(REFERENCE, name=f"reference{i}") for i in range(1 << lane_bits(self.cfg)))
        before, reference, s8_first = Signal(REFERENCE), Signal(REFERENCE), Signal(reset_less=True)
        m.d.sync += s8_first.eq((chunk[7] == 0) & (part[7] == 0))
        m.d.comb += [before.eq(Mux(s8_first, SCORE_REFERENCE_MIN, references[lane[8]])),
                     reference.eq(Mux(tops[0] > before, tops[0], before))]
        with m.If(valid[8]):
            m.d.sync += references[lane[8]].eq(reference)
            for h, row in enumerate(finals):
                for i, final in enumerate(row):
                    with m.If(ends[8] & (slot[8] == h) & (lane[8] == i)):
                        m.d.sync += final.eq(reference)
        s9_reference = Signal(REFERENCE, reset_less=True)
        with m.If(part[8] == serial - 1):
            m.d.sync += s9_reference.eq(reference)
        reference_of_row = staged(s9_reference, 1 + Exponential.LATENCY, "row_reference")

        # Stage 10: distance below the reference; an absent key gets the largest distance. Stages 11..13: exponentials.
        exponential = m.submodules.exponential = Exponential(lanes)
        for k in range(lanes):
            s10_distance = Signal(DISTANCE_BITS, name=f"s10_distance{k}", reset_less=True)
            m.d.sync += s10_distance.eq(Mux(live[-1][k], s9_reference - wholes[k][-1], EXPONENTIAL_BITS))
            m.d.comb += [exponential.i[k].whole.eq(s10_distance), exponential.i[k].fraction.eq(fractions[k][-1])]

        m.d.comb += [port.addr.eq(self._row(slot[-1], lane[-1], chunk[-1], part[-1])), port.en.eq(valid[-1]),
                     port.data.eq(Cat(exponential.o, reference_of_row[-1]))]
        return end[-1], slot[-1], fed_now

    def _rescale(self, m, c_slot, reading, port, finals):
        """Stage C, and the P memory. Whether a job's last row is read now."""
        tm, lanes, serial = self.cfg.tm, self.cfg.lanes, self.cfg.serialization
        job, last_chunk = self.job[c_slot], self.last[c_slot][4:]
        lane, chunk = Signal(lane_bits(self.cfg)), Signal(CHUNK_BITS)
        part = Signal(range(serial), name="c_part")
        row_ends, end = Signal(), Signal()
        chunk_ends = part == serial - 1
        m.d.comb += [row_ends.eq(chunk_ends & (chunk == last_chunk)),
                     end.eq(reading & row_ends & (lane + 1 == job.lanes)),
                     port.addr.eq(self._row(c_slot, lane, chunk, part)), port.en.eq(reading)]
        with m.If(reading):
            m.d.sync += [part.eq(part + 1), chunk.eq(Mux(row_ends, 0, chunk + chunk_ends))]
            with m.If(row_ends):
                m.d.sync += lane.eq(Mux(end, 0, lane + 1))

        # Tag of a row.
        tag = data.StructLayout({"slot": range(SOFTMAX_SLOTS), "lane": lane_bits(self.cfg), "chunk": CHUNK_BITS,
                                 "part": range(serial), "first": 1, "ends": 1, "wide": 1, "p_shift": 4})
        tags, valids = [Signal(tag, name="c0_tag")], [reading]
        m.d.comb += [tags[0].slot.eq(c_slot), tags[0].lane.eq(lane), tags[0].chunk.eq(chunk), tags[0].part.eq(part),
                     tags[0].first.eq(chunk == 0), tags[0].ends.eq(row_ends), tags[0].wide.eq(job.wide),
                     tags[0].p_shift.eq(job.p_shift)]
        for stage in range(1, self.C_LATENCY):
            c_tag, c_valid = Signal(tag, name=f"c{stage}_tag", reset_less=True), Signal(name=f"c{stage}_valid")
            m.d.sync += [c_tag.eq(tags[-1]), c_valid.eq(valids[-1])]
            tags.append(c_tag)
            valids.append(c_valid)

        # Stages 1, 2: read. Stage 3: how far the reference rose since.
        c2_row, c2_final = Signal.like(port.data, name="c2_row", reset_less=True), Signal(REFERENCE, reset_less=True)
        final = Array(final for row in finals for final in row)[Cat(tags[1].lane, tags[1].slot)]
        c3_distance, rise = Signal(range(EXPONENTIAL_BITS + 1), reset_less=True), Signal(DISTANCE_BITS)
        m.d.comb += rise.eq(c2_final - c2_row[lanes * EXPONENTIAL_BITS:].as_signed())
        m.d.sync += [c2_row.eq(port.data), c2_final.eq(final),
                     c3_distance.eq(Mux(rise >= EXPONENTIAL_BITS, EXPONENTIAL_BITS, rise))]

        # Stage 4: rescale. Stage 5: round to 8 bits with the key lane's carry, or shift. Carries of the parts rotate.
        p = []
        for k in range(lanes):
            c3_exp = Signal(EXPONENTIAL_BITS, name=f"c3_exp{k}", reset_less=True)
            c4_q = Signal(EXPONENTIAL_BITS, name=f"c4_q{k}", reset_less=True)
            c5_p = Signal(EXPONENTIAL_BITS, name=f"c5_p{k}", reset_less=True)
            carries = Signal(8 * serial, name=f"carries{k}", reset_less=True)
            total = Signal(EXPONENTIAL_BITS, name=f"carried{k}")
            m.d.comb += total.eq(c4_q + Mux(tags[4].first, PROB_CARRY_START, carries[:8]))
            m.d.sync += [c3_exp.eq(c2_row.word_select(k, EXPONENTIAL_BITS)), c4_q.eq(c3_exp >> c3_distance),
                         c5_p.eq(Mux(tags[4].wide, c4_q >> tags[4].p_shift, total[8:]))]
            with m.If(valids[4]):
                m.d.sync += carries.eq(Cat(carries[8:], total[:8]))
            p.append(c5_p)

        # P memory: a lane's 16 bytes in each of two planes, written part by part.
        store = m.submodules.p = memory.Memory(shape=data.ArrayLayout(unsigned(8 * lanes), 2 * tm * serial), init=[],
                                               depth=SOFTMAX_SLOTS * self.chunks)
        write, read = store.write_port(granularity=1), store.read_port()
        address_bits = (self.chunks - 1).bit_length()
        high = Cat(Mux(tags[5].wide, value[8:], value[:8]) for value in p)
        m.d.comb += [write.addr.eq(Cat(tags[5].chunk[:address_bits], tags[5].slot)),
                     read.addr.eq(Cat(self.p_chunk[:address_bits], self.p_slot)), read.en.eq(self.p_en)]
        for i, n in product(range(tm), range(serial)):
            hit = valids[5] & (tags[5].lane == i) & (tags[5].part == n)
            plane0, plane1 = 2 * i * serial + n, (2 * i + 1) * serial + n
            m.d.comb += [write.data[plane0].eq(high), write.data[plane1].eq(Cat(value[:8] for value in p)),
                         write.en[plane0].eq(hit), write.en[plane1].eq(hit & tags[5].wide)]
        p_lanes = Array(Signal(4, name=f"p_lanes{slot}") for slot in range(SOFTMAX_SLOTS))
        with m.If(reading & tags[0].first & (lane == 0)):
            m.d.sync += p_lanes[c_slot].eq(job.lanes)
        s1_slot, s1_plane = Signal.like(self.p_slot), Signal()
        m.d.sync += [s1_slot.eq(self.p_slot), s1_plane.eq(self.p_plane)]
        for i in range(tm):
            plane0, plane1 = (Cat(read.data[(2 * i + plane) * serial + n] for n in range(serial)) for plane in range(2))
            m.d.sync += self.p_data[i].eq(Mux(i < p_lanes[s1_slot], Mux(s1_plane, plane1, plane0), 0))

        # Stages 6..9, fewer for smaller parts: sum of the part. The stage after them: of the row.
        terms, stage = p, 6
        while len(terms) > 1:
            sums = [Signal(len(terms[0]) + 1, name=f"c{stage}_sum{i}", reset_less=True) for i in range(len(terms) // 2)]
            m.d.sync += [s.eq(terms[2 * i] + terms[2 * i + 1]) for i, s in enumerate(sums)]
            terms, stage = sums, stage + 1
        tag, valid = tags[-1], valids[-1]
        row_total, row_valid = Signal(Reciprocal.WIDTH, reset_less=True), Signal()
        with m.If(valid):
            m.d.sync += row_total.eq(Mux(tag.first & (tag.part == 0), 0, row_total) + terms[0])
        m.d.sync += row_valid.eq(valid & tag.ends)
        self._divide(m, row_total, row_valid, p_lanes)
        return end

    def _divide(self, m, total, valid, p_lanes):
        """Reciprocals of the lanes, in order; a job is done with the last of them."""
        reciprocal = m.submodules.reciprocal = Reciprocal()
        m.d.comb += [reciprocal.i_total.eq(total), reciprocal.i_valid.eq(valid)]
        slot, lane = Signal(range(SOFTMAX_SLOTS)), Signal(lane_bits(self.cfg))
        results = [[Signal(RECIPROCAL_BITS + 6, name=f"result{h}_{i}", reset_less=True) for i in range(self.cfg.tm)]
                   for h in range(SOFTMAX_SLOTS)]
        shift = Signal(6)
        m.d.comb += shift.eq(reciprocal.o_length + LANE_SHIFT)
        done, o_slot = Signal(SOFTMAX_SLOTS), Signal(range(SOFTMAX_SLOTS))
        with m.If(reciprocal.o_valid):
            for h in range(SOFTMAX_SLOTS):
                for i, result in enumerate(results[h]):
                    with m.If((slot == h) & (lane == i)):
                        m.d.sync += result.eq(Cat(reciprocal.o_recip, shift))
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane + 1 == p_lanes[slot]):
                m.d.sync += [lane.eq(0), slot.eq(slot + 1), done.bit_select(slot, 1).eq(1)]

        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(done.bit_select(o_slot, 1)), self.o.payload.slot.eq(o_slot)]
            for i in range(self.cfg.tm):
                chosen = Array(row[i] for row in results)[o_slot]
                m.d.sync += [self.o.payload.recip[i].eq(chosen[:RECIPROCAL_BITS]),
                             self.o.payload.shift[i].eq(chosen[RECIPROCAL_BITS:])]
            with m.If(done.bit_select(o_slot, 1)):
                m.d.sync += [done.bit_select(o_slot, 1).eq(0), o_slot.eq(o_slot + 1)]


def top_of_four(m, values, name):
    """The largest of up to four, a cycle later."""
    top = Signal(values[0].shape(), name=name, reset_less=True)
    while len(values) > 1:
        values = [Mux(x > y, x, y) for x, y in zip(values[::2], values[1::2], strict=True)]
    m.d.sync += top.eq(values[0])
    return top
