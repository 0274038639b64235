# SPDX-License-Identifier: Apache-2.0
"""Jobs of the softmax by slot, and the addresses of their rows of exponentials."""

from typing import NamedTuple

from amaranth.hdl import Array, Cat, Signal
from amaranth.lib import data

from golden.spec.machine import SLICE, MachineConfig
from hw.arith.round_shift import scaled
from hw.interfaces import SCORE_BEAT_FIELDS, SOFTMAX_JOB, SOFTMAX_SLOTS

MULTIPLIER_BITS = SOFTMAX_JOB.members["multiplier"].width + 7
"""Bits of a job's multiplier with the fine part of the shift included."""
JOB = data.StructLayout(SOFTMAX_JOB.members | {"multiplier": MULTIPLIER_BITS, "shift1": 3})
"""A job as stored: ``shift1`` counts bytes."""
CHUNK_BITS = SCORE_BEAT_FIELDS["chunk"].width


class Jobs(NamedTuple):
    """``kept``, the job of each slot, from its acceptance until its rows are read, and ``last``, its last key."""

    kept: Array
    last: Array


def make_jobs(cfg: MachineConfig) -> Jobs:
    return Jobs(kept=Array(Signal(JOB, name=f"job{slot}") for slot in range(SOFTMAX_SLOTS)),
                last=Array(Signal(range(cfg.max_keys), name=f"last{slot}") for slot in range(SOFTMAX_SLOTS)))


def keep_job(m, jobs: Jobs, slot, accept, job) -> None:
    """Puts ``job`` (SOFTMAX_JOB) into ``slot`` when ``accept`` is high."""
    kept = Signal(JOB)
    multiplier, count = scaled(job.multiplier, job.shift1)
    m.d.comb += [kept[name].eq(job[name]) for name in JOB.members if name not in ("multiplier", "shift1")]
    m.d.comb += [kept.multiplier.eq(multiplier), kept.shift1.eq(count)]
    with m.If(accept):
        m.d.sync += [jobs.kept[slot].eq(kept), jobs.last[slot].eq(job.keys - 1)]


def chunk_address(cfg: MachineConfig, chunk):
    """The bits of ``chunk`` that tell the chunks of a row apart."""
    return chunk[:(cfg.max_keys // SLICE - 1).bit_length()]


def row_address(cfg: MachineConfig, slot, lane, chunk, part):
    """Where a part of a lane's chunk stands in the memory of exponentials."""
    return Cat(part, chunk_address(cfg, chunk), lane, slot)
