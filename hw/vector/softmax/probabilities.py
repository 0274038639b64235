# SPDX-License-Identifier: Apache-2.0
"""Stage C of the softmax: exponentials of a row become its probabilities and their total."""

from typing import NamedTuple

from amaranth.hdl import Array, Cat, Mux, Signal
from amaranth.utils import exact_log2

from golden.spec.machine import MachineConfig
from golden.spec.tables import PROB_CARRY_START
from hw.arith.exp2 import DISTANCE_BITS, EXPONENTIAL_BITS
from hw.arith.log2_score import REFERENCE
from hw.arith.reciprocal import Reciprocal
from hw.arith.trees import sum_tree
from hw.interfaces import lane_bits
from hw.lib.pipeline import Pipeline
from hw.vector.softmax.jobs import CHUNK_BITS, Jobs, row_address


class Rescaled(NamedTuple):
    """``read``: a job's last row is read now; ``opens``: its first; ``pipe``, ``p``: after stage rounded, a part's
    probabilities; ``total``, ``total_valid``: of a row."""

    read: Signal
    opens: Signal
    pipe: Pipeline
    p: list[Signal]
    total: Signal
    total_valid: Signal


def stages(cfg: MachineConfig) -> dict[str, int]:
    """Registers from the read of a part to its sum."""
    return {"read": 1, "row": 1, "rise": 1, "rescaled": 1, "rounded": 1, "sum": exact_log2(cfg.lanes)}


def rescale(m, cfg: MachineConfig, jobs: Jobs, slot, reading, port, finals) -> Rescaled:
    """Reads the rows of the job in ``slot`` at ``port`` while ``reading``. Reference model:
    ``golden.ops.softmax.softmax``."""
    job, (lane, chunk, part, row_ends, read) = jobs.kept[slot], _positions(m, cfg, jobs, slot, reading)
    m.d.comb += [port.addr.eq(row_address(cfg, slot, lane, chunk, part)), port.en.eq(reading)]
    pipe = Pipeline(m, "c", stages(cfg), flags={"valid": reading}, tag={
        "slot": slot, "lane": lane, "chunk": chunk, "part": part, "first": chunk == 0, "ends": row_ends,
        "wide": job.wide, "p_shift": job.p_shift})
    p = _rounded(m, cfg, pipe, _rescaled(m, cfg, pipe, port.data, finals))
    total, total_valid = _total(m, pipe, p)
    return Rescaled(read=read, opens=reading & (chunk == 0) & (lane == 0), pipe=pipe, p=p, total=total,
                    total_valid=total_valid)


def _positions(m, cfg, jobs, slot, reading) -> tuple[Signal, ...]:
    """Lanes, their chunks, their parts: (lane, chunk, part, last of its lane, last of its job)."""
    serial = cfg.serialization
    job, last_chunk = jobs.kept[slot], jobs.last[slot][4:]
    lane, chunk = Signal(lane_bits(cfg), name="c_lane"), Signal(CHUNK_BITS, name="c_chunk")
    part = Signal(range(serial), name="c_part")
    row_ends, end = Signal(name="c_row_ends"), Signal(name="c_end")
    chunk_ends = part == serial - 1
    m.d.comb += [row_ends.eq(chunk_ends & (chunk == last_chunk)),
                 end.eq(reading & row_ends & (lane + 1 == job.lanes))]
    with m.If(reading):
        m.d.sync += [part.eq(part + 1), chunk.eq(Mux(row_ends, 0, chunk + chunk_ends))]
        with m.If(row_ends):
            m.d.sync += lane.eq(Mux(end, 0, lane + 1))
    return lane, chunk, part, row_ends, end


def _rescaled(m, cfg, pipe: Pipeline, stored, finals) -> list[Signal]:
    """Stages read, row: the part and its lane's final reference. Stage rise: how far that rose since. Stage
    rescaled."""
    at_read = pipe.at("read")
    row, final = Signal.like(stored, name="row", reset_less=True), Signal(REFERENCE, name="row_final", reset_less=True)
    distance, rise = Signal(range(EXPONENTIAL_BITS + 1), reset_less=True), Signal(DISTANCE_BITS)
    m.d.comb += rise.eq(final - row[cfg.lanes * EXPONENTIAL_BITS:].as_signed())
    m.d.sync += [row.eq(stored),
                 final.eq(Array(final for lanes in finals for final in lanes)[Cat(at_read.lane, at_read.slot)]),
                 distance.eq(Mux(rise >= EXPONENTIAL_BITS, EXPONENTIAL_BITS, rise))]
    results = []
    for k in range(cfg.lanes):
        exponential = Signal(EXPONENTIAL_BITS, name=f"rise_exponential{k}", reset_less=True)
        rescaled = Signal(EXPONENTIAL_BITS, name=f"rescaled{k}", reset_less=True)
        m.d.sync += [exponential.eq(row.word_select(k, EXPONENTIAL_BITS)), rescaled.eq(exponential >> distance)]
        results.append(rescaled)
    return results


def _rounded(m, cfg, pipe: Pipeline, values: list[Signal]) -> list[Signal]:
    """Stage rounded: to 8 bits with the key lane's carry, or shifted. Carries of the parts rotate."""
    beat, results = pipe.at("rescaled"), []
    for k, value in enumerate(values):
        p = Signal(EXPONENTIAL_BITS, name=f"p{k}", reset_less=True)
        carries = Signal(8 * cfg.serialization, name=f"carries{k}", reset_less=True)
        total = Signal(EXPONENTIAL_BITS, name=f"carried{k}")
        m.d.comb += total.eq(value + Mux(beat.first, PROB_CARRY_START, carries[:8]))
        m.d.sync += p.eq(Mux(beat.wide, value >> beat.p_shift, total[8:]))
        with m.If(beat.valid):
            m.d.sync += carries.eq(Cat(carries[8:], total[:8]))
        results.append(p)
    return results


def _total(m, pipe: Pipeline, p: list[Signal]) -> tuple[Signal, Signal]:
    """Stage sum: of the part. The cycle after it: (of the row, valid)."""
    part_sum, beat = sum_tree(m, "sum", p), pipe.at("sum")
    total, valid = Signal(Reciprocal.WIDTH, name="row_total", reset_less=True), Signal(name="row_valid")
    with m.If(beat.valid):
        m.d.sync += total.eq(Mux(beat.first & (beat.part == 0), 0, total) + part_sum)
    m.d.sync += valid.eq(beat.valid & beat.ends)
    return total, valid
