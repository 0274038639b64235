# SPDX-License-Identifier: Apache-2.0
"""Builder of programs: instructions of one kind each, without addresses, and the payloads of the weight stream."""

from collections.abc import Callable
from typing import Any

import numpy as np

from golden.spec.activations import ACTIVATIONS
from golden.spec.isa import Dest, Opcode
from golden.spec.isa import Region as Base
from golden.spec.machine import MachineConfig
from golden.spec.tiling import operand_rows, residual_rows, slices, tiles
from host.compiler import weight_stream as lay
from host.compiler.nested import Nest
from host.ir.model import QuantizedModel
from host.ir.nodes import Access, Memory, Node, Region, Row


class Builder:
    """One program under construction: its ``nodes``, and ``x``, the residual stream of all ``tasks``, for each task
    that of all ``pictures``.

    ``stream`` collects payloads, each once; it may be shared with other programs of the model, and with those of other
    FFN widths: ``nest``, by default the model alone.
    """

    def __init__(self, model: QuantizedModel, machine: MachineConfig, stream: lay.Stream, tasks: tuple[str, ...],
                 nest: Nest | None = None, pictures: int = 1):
        self.model, self.nest, self.pictures = model, nest or Nest((model,)), pictures
        self.config, self.plan, self.tensors = model.config, model.plan, model.tensors
        self.machine, self.stream, self.tasks = machine, stream, tasks
        self.nodes: list[Node] = []
        c = self.config
        self.x = Region("residual stream", Memory.RESIDUAL, c.tokens * pictures * len(tasks), residual_rows(c.dim))

    def t(self, name: str) -> np.ndarray:
        """A tensor of the quantized model."""
        return self.tensors[name]

    def number(self, name: str) -> int:
        """A tensor with one element."""
        return int(self.tensors[name])

    def operand(self, name: str, tokens: int, channels: int, wide: bool = False) -> Region:
        """A new region of the operand memory."""
        return Region(name, Memory.OPERAND, tokens, operand_rows(channels), 2 if wide else 1)

    def add(self, opcode: Opcode, name: str, **rest: Any) -> Node:
        """Append an instruction; ``rest``: fields of :class:`Node`."""
        node = Node(opcode, name, **rest)
        self.nodes.append(node)
        return node

    def payload(self, name: str, make: Callable[[], bytes]) -> str:
        """``name``, whose payload is made and added to the stream unless it is there."""
        if name not in self.stream:
            self.stream.add(name, make())
        return name

    def linear(self, name: str, src: Region, dst: Region | None, dest: Dest, *, outputs: int, inputs: int,
               tokens: int, src_first: int = 0, dst_first: int = 0, payload: str | None = None, **fields: Any) -> Node:
        """A LINEAR over ``tokens`` consecutive tokens; extra ``fields`` go to the instruction. Not yet appended."""
        packed = self.plan.packed(name, self.config)
        if payload is None:
            gain, offset = (self.t(f"{name}.gain"), self.t(f"{name}.offset")) if fields.get("affine") else (0, 0)
            payload = self.payload(name, lambda: lay.linear(
                self.machine, self.t(f"{name}.weight"), self.t(f"{name}.bias"), self.t(f"{name}.multiplier"), gain,
                offset, packed))
        fields = {"tokens": tokens, "tiles": tiles(outputs), "slices": slices(inputs), "src_row": Row(src, src_first),
                  "src_stride": src.stride, "src_plane": src.rows if src.wide else 0, "src_wide": int(src.wide),
                  "dst": int(dest), "packed": int(packed)} | fields
        reads, writes = [Access(src, src_first, tokens)], []
        if dst is not None:
            fields = {"dst_row": Row(dst, dst_first), "dst_stride": dst.stride} | fields
            if dest is Dest.OPERAND16:
                fields["dst_plane"] = dst.rows
            everything = dest in (Dest.KEY, Dest.VALUE)
            writes.append(Access(dst) if everything else Access(dst, dst_first, tokens))
            if fields.get("accumulate"):
                reads += writes
        return Node(Opcode.LINEAR, name, fields, tuple(reads), tuple(writes), payload,
                    macs=tokens * inputs * outputs, tokens=tokens)

    def load(self, name: str, base: Base, region: Region, first: int, count: int, source: int | None = None) -> None:
        """A LOAD of groups [first, first + count) of a region that lies in DRAM as it does on chip; ``source``: which
        of the groups there comes first, by default the same."""
        source = first if source is None else source
        self.add(Opcode.LOAD, name, writes=(Access(region, first, count),), fields={
            "region": int(base), "offset": source * region.stride, "memory": int(region.memory is Memory.RESIDUAL),
            "row": Row(region, first), "rows": count * region.stride})

    def copy(self, name: str, source: int, target: int, tokens: int) -> None:
        """A COPY of ``tokens`` of the residual stream to others."""
        self.add(Opcode.COPY, name, reads=(Access(self.x, source, tokens),), writes=(Access(self.x, target, tokens),),
                 fields={"src_row": Row(self.x, source), "dst_row": Row(self.x, target),
                         "rows": tokens * self.x.stride})

    def norm(self, name: str, wide: bool, tokens: int, first: int = 0, normalized: Region | None = None) -> Region:
        """A NORM of ``tokens`` rows of the residual stream from ``first``; its result, a new region."""
        out = self.operand(name, tokens, self.config.dim, wide)
        self.norm_into(Row(out), Access(out), name, wide, tokens, first, normalized)
        return out

    def norm_into(self, row: Row, out: Access, name: str, wide: bool, tokens: int, first: int = 0,
                  normalized: Region | None = None, **rest: Any) -> None:
        """The same into rows ``out`` of a region, from ``row`` on; ``rest``: fields of :class:`Node`."""
        c = self.config
        rows = operand_rows(c.dim)
        fields = {"tokens": tokens, "blocks": tiles(c.dim), "src_row": Row(self.x, first), "src_stride": self.x.stride,
                  "dst_row": row, "dst_stride": 2 * rows if wide else rows, "dst_plane": rows if wide else 0,
                  "wide": int(wide), "shift": self.number(f"{name}.shift"), "eps": self.number(f"{name}.eps"),
                  "normalized_shift": self.number(f"{name}.normalized_shift")}
        writes = [out]
        if normalized is not None:
            fields |= {"normalized": 1, "normalized_row": Row(normalized), "normalized_stride": normalized.stride,
                       "normalized_plane": normalized.rows}
            writes.append(Access(normalized))
        payload = self.payload(name, lambda: lay.norm(self.machine, self.t(f"{name}.gain"), self.t(f"{name}.offset")))
        self.add(Opcode.NORM, name, fields=fields, reads=(Access(self.x, first, tokens),), writes=tuple(writes),
                 payload=payload, tokens=tokens, **rest)

    def ffn(self, name: str, a: Region, hidden: Region, width: int, tokens: int,
            payload: str | None = None) -> tuple[Node, Node]:
        """fc1 and fc2 from and to the first tokens, not yet appended."""
        c = self.config
        fc1 = self.linear(f"{name}.fc1", a, hidden, Dest.OPERAND16 if hidden.wide else Dest.OPERAND8, outputs=width,
                          inputs=c.dim, tokens=tokens, payload=payload, affine=1,
                          activation=ACTIVATIONS[c.activation].code,
                          shift1=self.number(f"{name}.fc1.shift"), shift2=self.number(f"{name}.fc1.shift2"),
                          act_shift=self.number(f"{name}.fc1.act_shift"))
        fc2 = self.linear(f"{name}.fc2", hidden, self.x, Dest.RESIDUAL, outputs=c.dim, inputs=width, tokens=tokens,
                          payload=payload, accumulate=1, shift1=self.number(f"{name}.fc2.shift"))
        return fc1, fc2

    def store(self, name: str, region: Region, first: int, count: int, line: int) -> None:
        """A STORE of groups [first, first + count) of a region to ``line`` of the output buffer."""
        self.add(Opcode.STORE, name, reads=(Access(region, first, count),), fields={
            "offset": line, "memory": 1, "row": Row(region, first), "rows": count * region.stride})


def marked(name: str, picture: int) -> str:
    """``name`` of an instruction for one picture; after the first one with its number."""
    return f"{name}#{picture}" if picture else name
