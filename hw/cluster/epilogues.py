# SPDX-License-Identifier: Apache-2.0
"""Epilogues of all clusters: tile contexts and parameters for all of them, instructions retired together."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.machine import MachineConfig
from golden.spec.status import Status
from hw.array.array import drain_beat
from hw.cluster.gate_merge import GateMerge
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
from hw.lib.fork import Fork
from hw.lib.shared import add_clusters
from hw.vector.epilogue.epilogue import Epilogue


class ClusterEpilogues(wiring.Component):
    """An :class:`Epilogue` for each cluster. ::

        i_context -> [ Fork ] -> lanes of cluster n -> [ Epilogue ] -> o_*[n]
        i_param   -> [ Fork ] --------------------------^      '-> [ GateMerge ] -> o_gate

    An instruction retires in all clusters at once, and only then is anything of the next one written: an update of a
    residual row finds what another cluster wrote there before.
    A cluster without a query sends the scores of one absent lane, so that its softmax has a job like the others.
    Timing and domain as of Epilogue; a context arrives Fork.LATENCY later.
    Reference model: ``golden.ops.epilogue``.

    Members: as of Epilogue; ``retired`` Out: an instruction is over in all clusters; ``i``, ``o_residual_read``,
    ``i_residual_row``, ``o_residual``, ``o_operand``, ``o_key``, ``o_value``, ``o_score`` of each cluster, all others
    once.
    """

    II = 1

    i: list[stream.Interface]
    i_context: stream.Interface
    i_param: stream.Interface
    o_residual_read: list[stream.Interface]
    i_residual_row: list[Signal]
    o_residual: list[stream.Interface]
    o_operand: list[stream.Interface]
    o_key: list[stream.Interface]
    o_value: list[stream.Interface]
    o_gate: stream.Interface
    o_score: list[stream.Interface]
    idle: Signal
    retired: Signal
    fault: Signal
    fault_code: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        each = {"o_residual_read": ROW_BITS, "o_residual": RESIDUAL_WRITE, "o_operand": OPERAND_WRITE,
                "o_key": KEY_WRITE, "o_value": VALUE_WRITE, "o_score": score_beat(cfg.cluster)}
        super().__init__({
            "i": In(stream.Signature(drain_beat(cfg.cluster))).array(cfg.clusters),
            "i_context": In(stream.Signature(tile_context(cfg))), "i_param": In(stream.Signature(LINE_BITS)),
            **{name: Out(stream.Signature(shape)).array(cfg.clusters) for name, shape in each.items()},
            "i_residual_row": In(LINE_BITS).array(cfg.clusters), "o_gate": Out(stream.Signature(GATE_BEAT)),
            "idle": Out(1), "retired": Out(1), "fault": Out(1), "fault_code": Out(8)})

    def elaborate(self, platform):
        m = Module()
        count = self.cfg.clusters
        epilogues = [Epilogue(self.cfg.cluster) for _ in range(count)]
        contexts = m.submodules.contexts = Fork(tile_context(self.cfg), count)
        params = m.submodules.params = Fork(LINE_BITS, count)
        connect(m, flipped(self.i_param), params.i)
        add_clusters(m, platform, epilogues)
        for n, epilogue in enumerate(epilogues):
            self._context(m, n, contexts.o[n], epilogue.i_context)
            connect(m, params.o[n], epilogue.i_param)
            connect(m, flipped(self.i[n]), epilogue.i)
            for name in ("o_residual_read", "o_residual", "o_operand", "o_key", "o_value", "o_score"):
                connect(m, getattr(epilogue, name), flipped(getattr(self, name)[n]))
            m.d.comb += epilogue.i_residual_row.eq(self.i_residual_row[n])
        self._gate(m, epilogues, contexts)

        ended = Cat(epilogue.ended for epilogue in epilogues).all()
        m.d.comb += [epilogue.hold.eq(~ended) for epilogue in epilogues]
        m.d.comb += [
            self.retired.eq(epilogues[0].retire), self.fault_code.eq(Status.RANGE_LOCAL),
            self.fault.eq(Cat(epilogue.fault for epilogue in epilogues).any()),
            self.idle.eq(Cat(*(epilogue.idle & ~branch.valid for epilogue, branch in
                               zip(epilogues, contexts.o, strict=True))).all()),
        ]
        return m

    def _context(self, m, n: int, whole, part) -> None:
        """A tile's context with the lanes of cluster ``n``."""
        lanes = part.p.lanes
        m.d.comb += [part.valid.eq(whole.valid), whole.ready.eq(part.ready)]
        m.d.comb += [part.p[name].eq(whole.p[name]) for name in part.p.shape().members if name != "lanes"]
        m.d.comb += [lanes[lane].eq(whole.p.lanes[n * len(lanes) + lane]) for lane in range(len(lanes))]
        with m.If(whole.p.route == Route.SOFTMAX):
            m.d.comb += lanes[0].present.eq(1)

    def _gate(self, m, epilogues: list[Epilogue], contexts: Fork) -> None:
        """The gate gets tokens in order, whatever cluster they are in."""
        if len(epilogues) == 1:
            connect(m, flipped(self.i_context), contexts.i)
            connect(m, epilogues[0].o_gate, flipped(self.o_gate))
            return
        merge = m.submodules.merge = GateMerge(self.cfg)
        is_gate = self.i_context.p.route == Route.GATE
        m.d.comb += [
            contexts.i.p.eq(self.i_context.p), merge.i_tile.p.eq(Cat(lane.present for lane in self.i_context.p.lanes)),
            self.i_context.ready.eq(contexts.i.ready & merge.i_tile.ready),
            contexts.i.valid.eq(self.i_context.valid & merge.i_tile.ready),
            merge.i_tile.valid.eq(self.i_context.valid & contexts.i.ready & is_gate),
        ]
        for epilogue, beats in zip(epilogues, merge.i, strict=True):
            connect(m, epilogue.o_gate, beats)
        connect(m, merge.o, flipped(self.o_gate))
