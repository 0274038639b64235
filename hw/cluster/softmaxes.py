# SPDX-License-Identifier: Apache-2.0
"""Softmax units of all clusters: each has its own queries, all work on the same job in the same slot."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.machine import MachineConfig
from hw.array.issue import probabilities
from hw.interfaces import SOFTMAX_JOB, SOFTMAX_SLOTS, score_beat, softmax_done
from hw.lib.fork import Fork
from hw.lib.queue import Queue
from hw.lib.shared import add_clusters
from hw.vector.softmax.jobs import CHUNK_BITS
from hw.vector.softmax.softmax import Softmax


class ClusterSoftmaxes(wiring.Component):
    """A :class:`Softmax` for each cluster. ::

        i_job -> [ Fork ] -> queries of cluster n -> [ Softmax ] -> [ queue ] -> (all are done) -> o
        i[n] ----------------------------------------^     '-> p_data of its lanes

    A job of a cluster without a query has one, whose lane is absent: the result is not used.
    Timing: as of Softmax; jobs arrive Fork.LATENCY and are done as much later.
    Domain: as of Softmax; every job comes to all clusters in the same order, so it has the same slot in all.
    Reference model: ``golden.ops.softmax.softmax``.

    Members: as of Softmax, ``i`` of each cluster.
    """

    i_job: stream.Interface
    i: list[stream.Interface]
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
        super().__init__({
            "i_job": In(stream.Signature(SOFTMAX_JOB)),
            "i": In(stream.Signature(score_beat(cfg.cluster))).array(cfg.clusters),
            "o": Out(stream.Signature(softmax_done(cfg))), "p_slot": In(range(SOFTMAX_SLOTS)),
            "p_chunk": In(CHUNK_BITS), "p_plane": In(1), "p_en": In(1), "p_data": Out(probabilities(cfg)),
            "p_release": In(1), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        count, lanes = self.cfg.clusters, self.cfg.cluster.tm
        units = [Softmax(self.cfg.cluster) for _ in range(count)]
        jobs = m.submodules.jobs = Fork(SOFTMAX_JOB, count)
        connect(m, flipped(self.i_job), jobs.i)
        results, idle = [], []
        add_clusters(m, platform, units)
        for n, (unit, job) in enumerate(zip(units, jobs.o, strict=True)):
            connect(m, flipped(self.i[n]), unit.i)
            before, queries = n * lanes, job.p.lanes
            m.d.comb += [unit.i_job.valid.eq(job.valid), job.ready.eq(unit.i_job.ready), unit.i_job.p.eq(job.p)]
            if count > 1:
                m.d.comb += unit.i_job.p.lanes.eq(Mux(queries <= before, 1, Mux(
                    queries >= before + lanes, lanes, (queries - before)[:len(queries)])))
            for name in ("p_slot", "p_chunk", "p_plane", "p_en", "p_release"):
                m.d.comb += getattr(unit, name).eq(getattr(self, name))
            m.d.comb += [self.p_data[before + lane].eq(unit.p_data[lane]) for lane in range(lanes)]
            results.append(self._result(m, n, unit))
            idle.append(unit.idle & ~job.valid)

        done = Cat(result.valid for result in results).all()
        m.d.comb += [self.o.valid.eq(done), self.o.p.slot.eq(results[0].p.slot), self.idle.eq(Cat(idle).all())]
        for n, result in enumerate(results):
            m.d.comb += result.ready.eq(done & self.o.ready)
            for lane in range(lanes):
                at = n * lanes + lane
                m.d.comb += [self.o.p.recip[at].eq(result.p.recip[lane]), self.o.p.shift[at].eq(result.p.shift[lane])]
        return m

    def _result(self, m, n: int, unit: Softmax):
        """Where a cluster's results wait for those of the others."""
        if self.cfg.clusters == 1:
            return unit.o
        queue = m.submodules[f"done{n}"] = Queue(softmax_done(self.cfg.cluster), 2)
        connect(m, unit.o, queue.i)
        return queue.o
