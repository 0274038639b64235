# SPDX-License-Identifier: Apache-2.0
"""Single-pass softmax: attention scores become probabilities for the array and a reciprocal for each lane."""

from amaranth.hdl import Array, Module, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.machine import SLICE, MachineConfig
from hw.arith.exp2 import EXPONENTIAL_BITS
from hw.arith.log2_score import REFERENCE
from hw.interfaces import SOFTMAX_JOB, SOFTMAX_SLOTS, score_beat, softmax_done
from hw.vector.softmax import probabilities as softmax_probabilities
from hw.vector.softmax import scores as softmax_scores
from hw.vector.softmax.division import SoftmaxDivision
from hw.vector.softmax.jobs import CHUNK_BITS, keep_job, make_jobs
from hw.vector.softmax.probability_memory import ProbabilityMemory


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
        self.II = cfg.serialization
        # From the transfer of a beat to the write of its exponentials, from the read of a row to its total, and
        # the division.
        self.LATENCY = (sum(softmax_scores.stages(cfg).values()) + sum(softmax_probabilities.stages(cfg).values()) + 1
                        + SoftmaxDivision.LATENCY)
        super().__init__({
            "i_job": In(stream.Signature(SOFTMAX_JOB)), "i": In(stream.Signature(score_beat(cfg))),
            "o": Out(stream.Signature(softmax_done(cfg))),
            "p_slot": In(range(SOFTMAX_SLOTS)), "p_chunk": In(CHUNK_BITS), "p_plane": In(1), "p_en": In(1),
            "p_data": Out(data.ArrayLayout(data.ArrayLayout(unsigned(8), SLICE), cfg.tm)), "p_release": In(1),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        cfg, jobs = self.cfg, make_jobs(self.cfg)
        taken, fed, scored = (Signal(SOFTMAX_SLOTS, name=name) for name in ("taken", "fed", "scored"))
        used = Signal(SOFTMAX_SLOTS)  # slots of P, from C's last read until the release
        in_slot, a_slot, c_slot, free_slot = (Signal(range(SOFTMAX_SLOTS), name=f"{name}_slot") for name in (
            "in", "a", "c", "free"))

        accept = Signal()
        m.d.comb += [self.i_job.ready.eq(~taken.bit_select(in_slot, 1)),
                     accept.eq(self.i_job.valid & self.i_job.ready)]
        keep_job(m, jobs, in_slot, accept, self.i_job.payload)
        with m.If(accept):
            m.d.sync += [taken.bit_select(in_slot, 1).eq(1), in_slot.eq(in_slot + 1)]

        store = m.submodules.scored_rows = memory.Memory(
            shape=unsigned(cfg.lanes * EXPONENTIAL_BITS + REFERENCE.width), init=[],
            depth=SOFTMAX_SLOTS * cfg.tm * (cfg.max_keys // SLICE) * cfg.serialization)

        # Stage A: the job's beats enter; its slot is complete when the last of them is in memory.
        opened = Signal()
        m.d.comb += opened.eq((taken & ~fed).bit_select(a_slot, 1))
        rows = softmax_scores.score(m, cfg, self.i, jobs, a_slot, opened, store.write_port())
        with m.If(rows.fed):
            m.d.sync += [fed.bit_select(a_slot, 1).eq(1), a_slot.eq(a_slot + 1)]
        with m.If(rows.written):
            m.d.sync += scored.bit_select(rows.written_slot, 1).eq(1)

        # Stage C.
        reading = Signal()
        m.d.comb += reading.eq((scored & ~used).bit_select(c_slot, 1))
        rescaled = softmax_probabilities.rescale(m, cfg, jobs, c_slot, reading, store.read_port(), rows.finals)
        with m.If(rescaled.read):
            m.d.sync += [part.bit_select(c_slot, 1).eq(0) for part in (taken, fed, scored)]
            m.d.sync += [used.bit_select(c_slot, 1).eq(1), c_slot.eq(c_slot + 1)]
        with m.If(self.p_release):
            m.d.sync += [used.bit_select(free_slot, 1).eq(0), free_slot.eq(free_slot + 1)]
        lanes = [Signal(4, name=f"p_lanes{slot}") for slot in range(SOFTMAX_SLOTS)]
        with m.If(rescaled.opens):
            m.d.sync += Array(lanes)[c_slot].eq(jobs.kept[c_slot].lanes)
        self._give_out(m, rescaled, lanes)

        m.d.sync += self.idle.eq(~accept & (taken == 0) & (used == 0))
        return m

    def _give_out(self, m, rescaled, lanes: list[Signal]) -> None:
        """Probabilities into their memory, totals to the division; ``lanes``: how many each slot's job has."""
        p_memory = m.submodules.p_memory = ProbabilityMemory(self.cfg)
        beat, write = rescaled.pipe.at("rounded"), p_memory.write
        m.d.comb += [write[field].eq(getattr(beat, field)) for field in ("slot", "lane", "chunk", "part", "wide")]
        m.d.comb += [value.eq(p) for value, p in zip(write.p, rescaled.p, strict=True)]
        m.d.comb += [p_memory.write_en.eq(beat.valid), p_memory.p_slot.eq(self.p_slot),
                     p_memory.p_chunk.eq(self.p_chunk), p_memory.p_plane.eq(self.p_plane),
                     p_memory.p_en.eq(self.p_en), self.p_data.eq(p_memory.p_data)]
        division = m.submodules.division = SoftmaxDivision(self.cfg)
        m.d.comb += [division.i_total.eq(rescaled.total), division.i_valid.eq(rescaled.total_valid)]
        connect(m, division.o, flipped(self.o))
        for slot, count in enumerate(lanes):
            m.d.comb += [p_memory.lanes[slot].eq(count), division.lanes[slot].eq(count)]
