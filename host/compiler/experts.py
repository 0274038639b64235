# SPDX-License-Identifier: Apache-2.0
"""Lowering of a mixture of experts: gate, queues, and the body that runs once for each expert with work."""

from golden.spec.isa import Dest, Index, Opcode
from golden.spec.legality import LOGITS
from golden.spec.machine import TN
from golden.spec.model import GateKind
from golden.spec.tiling import ceil_div, linear_lines, slices, tiles
from host.compiler import weight_stream as lay
from host.ir.nodes import Access, Memory, Region


class ExpertsLowering:
    """The part of :class:`host.compiler.lower.Lowering` that MoE blocks need."""

    def gates(self, i: int, normalized: Region, first: int, count: int) -> None:
        """GATE and its LINEAR for every copy that has tokens in this range; all gates of the layer join the stream."""
        c, b = self.config, f"blocks.{i}."
        self.queue = Region(f"{b}queues", Memory.QUEUE, count * c.top_k, 1)
        for task in c.tasks:
            self._payload(f"{b}gate.{task}", lambda g=f"{b}gate.{task}": lay.gate(
                self.machine, self.t(f"{g}.weight"), self.t(f"{g}.bias")))
        append = 0
        for copy, task in enumerate(self.tasks):
            start = max(first, copy * c.tokens)
            end = min(first + count, (copy + 1) * c.tokens)
            if start >= end:
                continue
            g = f"{b}gate.{task}"
            self.add(Opcode.GATE, f"{g}.route", writes=(Access(self.queue),), tokens=end - start, fields={
                "tokens": end - start, "first_token": start, "experts": c.experts, "top_k": c.top_k, "append": append,
                "renormalise": int(c.gate is GateKind.TOPK_THEN_SOFTMAX), "multiplier": self.number(f"{g}.multiplier"),
                "shift1": self.number(f"{g}.shift")})
            columns = TN * ceil_div(c.experts, LOGITS)
            self.nodes.append(self.linear(g, normalized, None, Dest.GATE, outputs=columns, inputs=c.dim,
                                          tokens=end - start,
                                          src_first=start, payload=g))
            self.nodes[-1].macs = (end - start) * c.dim * c.experts
            append = 1

    def experts(self, i: int, a: Region, hidden: Region, count: int) -> None:
        c, name = self.config, f"blocks.{i}.mlp"
        width = c.expert_hidden
        pitch_fc1 = linear_lines(tiles(width), slices(c.dim))
        pitch = pitch_fc1 + linear_lines(tiles(c.dim), slices(width))
        payload = self._payload(name, lambda: b"".join(self._expert(name, e) for e in range(c.experts)))
        fc1, fc2 = self.ffn(name, a, hidden, width, count, payload)
        fc1.fields |= {"tokens": 0, "stream": 0, "src_index": Index.QUEUE_TOKEN, "dst_index": Index.QUEUE_SLOT}
        fc2.fields |= {"tokens": 0, "stream": pitch_fc1, "src_index": Index.QUEUE_SLOT, "dst_index": Index.QUEUE_TOKEN,
                       "gate_weight": 1, "shift2": self.number(f"{name}.fc2.shift2")}
        queue = Access(self.queue)
        fc1.reads, fc1.writes = (Access(a), queue), (Access(hidden),)
        fc2.reads, fc2.writes = (Access(hidden), queue, Access(self.x)), (Access(self.x),)
        for node in (fc1, fc2):
            node.passes = min(c.experts, count * c.top_k)
            node.tokens = count * c.top_k / node.passes
            node.macs *= c.top_k
            node.payload = None
        self.add(Opcode.EXPERTS, name, reads=(queue,), payload=payload, body=(fc1, fc2),
                 fields={"experts": c.experts, "body": 2, "pitch": pitch})

    def _expert(self, name: str, e: int) -> bytes:
        one, two = f"{name}.fc1", f"{name}.fc2"
        return (lay.linear(self.machine, self.t(f"{one}.weight")[e], self.t(f"{one}.bias")[e],
                           self.t(f"{one}.multiplier")[e],
                           self.t(f"{one}.gain")[e], self.t(f"{one}.offset")[e])
                + lay.linear(self.machine, self.t(f"{two}.weight")[e], self.t(f"{two}.bias")[e],
                             self.t(f"{two}.multiplier")[e]))
