# SPDX-License-Identifier: Apache-2.0
"""Matrix arrays of all clusters: the same weights for every cluster, each cluster's token lanes of its own."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.machine import MachineConfig
from golden.spec.status import Status
from hw.array.array import MatrixArray, drain_beat
from hw.interfaces import array_beat
from hw.lib.shared import add_clusters


class ClusterArrays(wiring.Component):
    """A :class:`MatrixArray` for each cluster, in step. ::

        i -+- lanes 0 .. -> [ MatrixArray ] -> o[0]
           +- lanes n .. -> [ MatrixArray ] -> o[1]
           '- weights to all

    Timing and domain as of MatrixArray.
    Reference model: ``golden.ops.matmul``.

    Members: ``i`` In(stream array_beat); of each cluster: ``o`` Out(stream drain_beat), ``release`` Out(1); ``idle``,
    ``fault``, ``fault_code`` of all together.
    """

    II = 1

    i: stream.Interface
    o: list[stream.Interface]
    release: Signal
    idle: Signal
    fault: Signal
    fault_code: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(array_beat(cfg))),
            "o": Out(stream.Signature(drain_beat(cfg.cluster))).array(cfg.clusters), "release": Out(cfg.clusters),
            "idle": Out(1), "fault": Out(1), "fault_code": Out(8)})

    def elaborate(self, platform):
        m = Module()
        beat, arrays = self.i.p, [MatrixArray(self.cfg.cluster) for _ in self.o]
        add_clusters(m, platform, arrays)
        for n, array in enumerate(arrays):
            m.d.comb += [array.i.valid.eq(self.i.valid), self.release[n].eq(array.release)]
            m.d.comb += [array.i.p[name].eq(beat[name]) for name in ("weight", "first", "shift8", "last")]
            for lane in range(self.cfg.cluster.tm):
                at = n * self.cfg.cluster.tm + lane
                m.d.comb += [array.i.p.operand[lane].eq(beat.operand[at]), array.i.p.exp[lane].eq(beat.exp[at])]
            connect(m, array.o, flipped(self.o[n]))
        m.d.comb += [
            self.i.ready.eq(1), self.fault_code.eq(Status.INTERNAL),
            self.fault.eq(Cat(array.fault for array in arrays).any()),
            self.idle.eq(Cat(array.idle for array in arrays).all()),
        ]
        return m
