# SPDX-License-Identifier: Apache-2.0
"""Lowering: from a quantized network to instructions without addresses and the payloads of the weight stream."""

from dataclasses import replace

import numpy as np

from golden.spec.activations import ACTIVATIONS
from golden.spec.isa import LIMITS, Dest, Opcode
from golden.spec.isa import Region as Base
from golden.spec.machine import SLICE, MachineConfig
from golden.spec.model import ModelConfig
from golden.spec.outputs import FEATURES, LOGITS, OutputBuffer, expected
from golden.spec.quantized import LayerPlan
from golden.spec.tiling import ceil_div, operand_rows, residual_rows, slices, tiles
from host.compiler import weight_stream as lay
from host.compiler.experts import ExpertsLowering
from host.compiler.heads.lower import HeadLowering
from host.compiler.heads.plan import INSTRUCTION_PRICE, Room
from host.compiler.limits import check_limits
from host.compiler.split import linear_part
from host.ir.nodes import Access, Memory, Node, Region, Row

_MOST_TILES = LIMITS[Opcode.LINEAR]["tiles"][1]


def hidden_rows(config: ModelConfig, plan: LayerPlan, i: int) -> int:
    """Operand rows that the hidden layer of FFN ``i`` takes for each token."""
    return operand_rows(config.ffn_hidden(i)) * (2 if plan.hidden else 1)


class Lowering(ExpertsLowering):
    """Builds the program of one task, or of several on one image: these share everything before the first gate, then
    each has its copy of the residual stream, and an expert's weights serve the tokens of all of them.

    ``model`` has ``config``, ``plan`` and ``tensors`` (``golden.spec.quantized``). ``stream`` collects payloads.
    ``room``: most operand rows that the hidden operands of an FFN may take, which is otherwise done in ranges of tokens
    (its weights come once a range); ``patch_ranges``: in how many ranges of tokens the image is loaded and embedded;
    ``instruction``: cycles that a task head may cost to save an instruction. ``output`` describes the results, once
    :meth:`program` is done.
    """

    def __init__(self, model, machine: MachineConfig, stream: lay.Stream, tasks: tuple[str, ...], room: int = 1 << 16,
                 patch_ranges: int = 1, instruction: int = INSTRUCTION_PRICE):
        self.config: ModelConfig = model.config
        self.plan, self.tensors = model.plan, model.tensors
        self.machine, self.stream, self.tasks = machine, stream, tasks
        self.room, self.patch_ranges, self.instruction = room, patch_ranges, instruction
        self.nodes: list[Node] = []
        c = self.config
        self.first_moe = min(c.moe_layers, default=c.depth)
        self.copies = 1
        self.x = Region("residual stream", Memory.RESIDUAL, c.tokens * len(tasks), residual_rows(c.dim))
        self.logits: list[Region] = []
        check_limits(self.config, self.plan, machine)

    # -- parts

    def t(self, name: str) -> np.ndarray:
        return self.tensors[name]

    def number(self, name: str) -> int:
        return int(self.tensors[name])

    @property
    def tokens(self) -> int:
        """Tokens of all copies of the residual stream."""
        return self.config.tokens * self.copies

    def operand(self, name: str, tokens: int, channels: int, wide: bool = False) -> Region:
        return Region(name, Memory.OPERAND, tokens, operand_rows(channels), 2 if wide else 1)

    def add(self, opcode: Opcode, name: str, **rest) -> Node:
        node = Node(opcode, name, **rest)
        self.nodes.append(node)
        return node

    def payload(self, name: str, make) -> str:
        """The name of a part of the weight stream, which ``make`` creates where it is new."""
        if name not in self.stream:
            self.stream.add(name, make())
        return name

    def linear(self, name: str, src: Region, dst: Region | None, dest: Dest, *, outputs: int, inputs: int,
               tokens: int, src_first: int = 0, dst_first: int = 0, payload: str | None = None, **fields) -> Node:
        """A LINEAR over ``tokens`` consecutive tokens; extra ``fields`` go to the instruction."""
        if payload is None:
            parts = ("gain", "offset") if fields.get("affine") else ()
            affine = {part: self.t(f"{name}.{part}") for part in parts}
            payload = self.payload(name, lambda: lay.linear(
                self.machine, self.t(f"{name}.weight"), self.t(f"{name}.bias"), self.t(f"{name}.multiplier"), **affine))
        fields = {"tokens": tokens, "tiles": tiles(outputs), "slices": slices(inputs), "src_row": Row(src, src_first),
                  "src_stride": src.stride, "src_plane": src.rows if src.wide else 0, "src_wide": int(src.wide),
                  "dst": int(dest)} | fields
        reads, writes = [Access(src, src_first, tokens)], []
        if dst is not None:
            fields = {"dst_row": Row(dst, dst_first), "dst_stride": dst.stride} | fields
            if dest is Dest.OPERAND16:
                fields["dst_plane"] = dst.rows
            everything = dest in (Dest.KEY, Dest.VALUE)
            writes.append(Access(dst) if everything else Access(dst, dst_first, tokens))
            if fields.get("accumulate"):
                reads += writes
        node = Node(Opcode.LINEAR, name, fields, tuple(reads), tuple(writes), payload,
                    macs=tokens * inputs * outputs, tokens=tokens)
        return node

    # -- the network

    def program(self) -> list[Node]:
        """All instructions from BEGIN to END."""
        c = self.config
        self.add(Opcode.BEGIN, "begin")
        self.embed()
        for i in range(c.depth):
            self.attention_half(i)
            if i == self.first_moe:
                self.fork()
            self.ffn_half(i)
        self.finish()
        self.add(Opcode.END, "end")
        return self.nodes

    def embed(self) -> None:
        """Positions and patches come in, a range of tokens at a time; the array works on one while the next loads."""
        c, extra = self.config, self.config.extra_tokens
        pixels = self.operand("patches", c.patches, c.patch_dim)
        step = ceil_div(c.patches, self.patch_ranges)
        for first in range(0, c.patches, step):
            count = min(step, c.patches - first)
            row = first + extra if first else 0  # the extra tokens come with the first range
            self.load("pos_embed", Base.TABLES, self.x, row, first + count + extra - row)
            self.load("patches", Base.INPUT, pixels, first, count)
            self.nodes.append(self.linear(
                "patch_embed", pixels, self.x, Dest.RESIDUAL, outputs=c.dim, inputs=c.patch_dim, tokens=count,
                src_first=first, dst_first=first + extra, accumulate=1, src_unsigned=1,
                shift1=self.number("patch_embed.shift")))

    def load(self, name: str, base: Base, region: Region, first: int, count: int) -> None:
        """A LOAD of groups [first, first + count) of a region that lies in DRAM as it does on chip."""
        self.add(Opcode.LOAD, name, writes=(Access(region, first, count),), fields={
            "region": int(base), "offset": first * region.stride, "memory": int(region.memory is Memory.RESIDUAL),
            "row": Row(region, first), "rows": count * region.stride})

    def norm(self, name: str, wide: bool, tokens: int, first: int = 0, normalized: Region | None = None) -> Region:
        """A NORM of ``tokens`` rows of the residual stream from ``first``; its result."""
        c = self.config
        out = self.operand(name, tokens, c.dim, wide)
        fields = {"tokens": tokens, "blocks": tiles(c.dim), "src_row": Row(self.x, first), "src_stride": self.x.stride,
                  "dst_row": Row(out), "dst_stride": out.stride, "dst_plane": out.rows if wide else 0,
                  "wide": int(wide), "shift": self.number(f"{name}.shift"), "eps": self.number(f"{name}.eps"),
                  "normalized_shift": self.number(f"{name}.normalized_shift")}
        writes = [Access(out)]
        if normalized is not None:
            fields |= {"normalized": 1, "normalized_row": Row(normalized), "normalized_stride": normalized.stride,
                       "normalized_plane": normalized.rows}
            writes.append(Access(normalized))
        payload = self.payload(name, lambda: lay.norm(self.t(f"{name}.gain"), self.t(f"{name}.offset")))
        self.add(Opcode.NORM, name, fields=fields, reads=(Access(self.x, first, tokens),), writes=tuple(writes),
                 payload=payload, tokens=tokens)
        return out

    def attention_half(self, i: int) -> None:
        c, b, plan = self.config, f"blocks.{i}.", self.plan.layers[i]
        a = self.norm(f"{b}norm1", plan.norm1, self.tokens)
        q = self.operand(f"{b}attn.q", self.tokens, c.dim)
        out = self.operand(f"{b}attn.out", self.tokens, c.dim, plan.attn)
        whole = {"outputs": c.dim, "inputs": c.dim}
        self.nodes.append(self.linear(f"{b}attn.q", a, q, Dest.OPERAND8, **whole, tokens=self.tokens,
                                      shift1=self.number(f"{b}attn.q.shift")))
        keys = []
        for copy in range(self.copies):
            k = Region(f"{b}attn.k", Memory.KEY, tiles(c.tokens), slices(c.dim))
            v = Region(f"{b}attn.v", Memory.VALUE, tiles(c.dim), slices(c.tokens))
            keys.append((k, v))
            for part, dst, dest in (("k", k, Dest.KEY), ("v", v, Dest.VALUE)):
                self.nodes.append(self.linear(
                    f"{b}attn.{part}", a, dst, dest, **whole, tokens=c.tokens, src_first=copy * c.tokens,
                    shift1=self.number(f"{b}attn.{part}.shift")))
        for copy, (k, v) in enumerate(keys):
            self.attention(i, q, k, v, out, copy * c.tokens)
        self.nodes.append(self.linear(f"{b}attn.proj", out, self.x, Dest.RESIDUAL, **whole, tokens=self.tokens,
                                      accumulate=1, shift1=self.number(f"{b}attn.proj.shift")))

    def attention(self, i: int, q: Region, k: Region, v: Region, out: Region, first: int) -> None:
        c, b, plan = self.config, f"blocks.{i}.attn", self.plan.layers[i]
        payload = self.payload(b, lambda: lay.attention(
            self.t(f"{b}.score_multiplier"), self.t(f"{b}.out.gain"), self.t(f"{b}.out.offset")))
        self.add(Opcode.ATTENTION, b, payload=payload, macs=2 * c.tokens * c.tokens * c.dim, tokens=c.tokens,
                 reads=(Access(q, first, c.tokens), Access(k), Access(v)), writes=(Access(out, first, c.tokens),),
                 fields={
                     "heads": c.heads, "head_slices": c.head_dim // SLICE, "queries": c.tokens, "keys": c.tokens,
                     "q_row": Row(q, first), "q_stride": q.stride, "key_tile": Row(k), "key_pitch": k.stride,
                     "value_tile": Row(v), "dst_row": Row(out, first), "dst_stride": out.stride,
                     "dst_plane": out.rows if out.wide else 0, "wide_p": int(plan.prob), "wide": int(plan.attn),
                     "p_shift": self.number(f"{b}.p_shift") if plan.prob else 0,
                     "shift1": self.number(f"{b}.score_shift"), "shift2": self.number(f"{b}.out.shift2")})

    def fork(self) -> None:
        """After the shared prefix: one copy of the residual stream for each task."""
        rows = self.config.tokens * self.x.stride
        for copy in range(1, len(self.tasks)):
            first = copy * self.config.tokens
            self.add(Opcode.COPY, f"residual.{self.tasks[copy]}", reads=(Access(self.x, 0, self.config.tokens),),
                     writes=(Access(self.x, first, self.config.tokens),),
                     fields={"src_row": Row(self.x), "dst_row": Row(self.x, first), "rows": rows})
        self.copies = len(self.tasks)

    def ranges(self, rows: int) -> list[tuple[int, int]]:
        """First token and number of tokens of each range of an FFN whose hidden operands take ``rows`` a token: as few
        and as even ones as ``room`` allows."""
        step = ceil_div(self.tokens, ceil_div(self.tokens, max(1, self.room // rows)))
        return [(first, min(step, self.tokens - first)) for first in range(0, self.tokens, step)]

    def ffn_half(self, i: int) -> None:
        c, b, plan = self.config, f"blocks.{i}.", self.plan.layers[i]
        moe = c.is_moe(i)
        normalized = self.operand(f"{b}normalized", self.tokens, c.dim, True) if moe else None
        a = self.norm(f"{b}norm2", plan.norm2, self.tokens, normalized=normalized)
        width = c.ffn_hidden(i)
        for first, count in self.ranges(hidden_rows(c, plan, i)):
            hidden = self.operand(f"{b}mlp.fc1", count, width, plan.hidden)
            if moe:
                self.gates(i, normalized, first, count)
                self.experts(i, a, hidden, count)
            else:
                fc1, fc2 = self.ffn(f"{b}mlp", a, hidden, width, count)
                fc1.fields["src_row"], fc2.fields["dst_row"] = Row(a, first), Row(self.x, first)
                fc1.reads = (Access(a, first, count),)
                fc2.reads, fc2.writes = (Access(hidden), Access(self.x, first, count)), (Access(self.x, first, count),)
                self.nodes += [fc1, fc2]

    def ffn(self, name: str, a: Region, hidden: Region, width: int, tokens: int,
            payload: str | None = None) -> tuple[Node, Node]:
        """fc1 and fc2 from and to the first tokens."""
        c = self.config
        fc1 = self.linear(f"{name}.fc1", a, hidden, Dest.OPERAND16 if hidden.wide else Dest.OPERAND8, outputs=width,
                          inputs=c.dim, tokens=tokens, payload=payload, affine=1,
                          activation=ACTIVATIONS[c.activation].code,
                          shift1=self.number(f"{name}.fc1.shift"), shift2=self.number(f"{name}.fc1.shift2"),
                          act_shift=self.number(f"{name}.fc1.act_shift"))
        fc2 = self.linear(f"{name}.fc2", hidden, self.x, Dest.RESIDUAL, outputs=c.dim, inputs=width, tokens=tokens,
                          payload=payload, accumulate=1, shift1=self.number(f"{name}.fc2.shift"))
        return fc1, fc2

    def finish(self) -> None:
        """Store the residual stream of every copy and the classifier's logits; then come the task heads."""
        c = self.config
        outputs = expected(c, self.plan, self.tasks)
        at = {(output.task, output.name): i for i, output in enumerate(outputs)}
        for copy, task in enumerate(self.tasks):
            first = copy * c.tokens
            self.store(f"residual.{task}", self.x, first, c.tokens, outputs[at[task, FEATURES]].offset)
            if not c.classes:
                continue
            a = self.norm("norm", self.plan.head, c.extra_tokens, first)
            for slot, name in enumerate(("head", "head_dist")[:c.extra_tokens]):
                y = Region(f"{name} logits", Memory.RESIDUAL, 1, residual_rows(c.classes))
                head = self.linear(name, a, y, Dest.RESIDUAL, outputs=c.classes, inputs=c.dim, tokens=1,
                                   src_first=slot, shift1=self.number(f"{name}.shift"), dst_stride=0)
                self.nodes += [linear_part(head, first, min(_MOST_TILES, tiles(c.classes) - first), 0, 1)
                               for first in range(0, tiles(c.classes), _MOST_TILES)]
                self.store(f"{name}.{task}", y, 0, 1, outputs[at[task, LOGITS]].offset + slot * y.stride)
        lines = scratch = outputs[-1].end
        heads = [(copy, task, head) for copy, task in enumerate(self.tasks) for head in c.heads_of(task)]
        for left, (copy, task, head) in zip(reversed(range(len(heads))), heads, strict=True):
            room = Room(self.machine, self.machine.residual_rows - (self.x.size if left else 0), self.instruction)
            i = at[task, head.task]
            part = HeadLowering(self, head, copy * c.tokens, outputs[i], scratch, room, repr(c.name))
            part.lower()
            outputs[i], lines = replace(outputs[i], tiles=part.tiles), max(lines, part.end)
        self.output = OutputBuffer(tuple(outputs), lines)

    def store(self, name: str, region: Region, first: int, count: int, line: int) -> None:
        self.add(Opcode.STORE, name, reads=(Access(region, first, count),), fields={
            "offset": line, "memory": 1, "row": Row(region, first), "rows": count * region.stride})
