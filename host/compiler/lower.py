# SPDX-License-Identifier: Apache-2.0
"""Lowering: from a quantized network to instructions without addresses and the payloads of the weight stream."""

from dataclasses import replace
from functools import partial

from golden.spec.isa import LIMITS, Dest, Opcode
from golden.spec.isa import Region as Base
from golden.spec.machine import SLICE, MachineConfig
from golden.spec.model import ModelConfig
from golden.spec.program.outputs import FEATURES, LOGITS, OutputBuffer, expected
from golden.spec.quantized import LayerPlan
from golden.spec.tiling import ceil_div, operand_rows, residual_rows, slices, tiles
from host.compiler import weight_stream as lay
from host.compiler.builder import Builder
from host.compiler.experts import add_experts, add_gates
from host.compiler.heads.lower import HeadLowering
from host.compiler.heads.plan import INSTRUCTION_PRICE, Room
from host.compiler.limits import check_limits
from host.compiler.nested import Nest, by_tile, rest_linear, rest_payload
from host.compiler.pruning import prune
from host.compiler.split import linear_part
from host.ir.model import QuantizedModel
from host.ir.nodes import Access, Memory, Node, Region, Row

_MOST_TILES = LIMITS[Opcode.LINEAR]["tiles"][1]


def hidden_rows(config: ModelConfig, plan: LayerPlan, i: int) -> int:
    """Operand rows that the hidden layer of FFN ``i`` takes for each token."""
    return operand_rows(config.ffn_hidden(i)) * (2 if plan.hidden else 1)


class Lowering(Builder):
    """Builds the program of one task, or of several on one image: these share everything before the first gate, then
    each has its copy of the residual stream, and an expert's weights serve the tokens of all of them.

    ``model`` has ``config``, ``plan`` and ``tensors`` (``golden.spec.quantized``). ``stream`` collects payloads.
    ``room``: most operand rows that the hidden operands of an FFN may take, which is otherwise done in ranges of tokens
    (its weights come once a range); ``patch_ranges``: in how many ranges of tokens the image is loaded and embedded;
    ``instruction``: cycles that a task head may cost to save an instruction. ``output`` describes the results, once
    :meth:`program` is done.
    """

    def __init__(self, model: QuantizedModel, machine: MachineConfig, stream: lay.Stream, tasks: tuple[str, ...],
                 room: int = 1 << 16, patch_ranges: int = 1, instruction: int = INSTRUCTION_PRICE,
                 nest: Nest | None = None):
        super().__init__(model, machine, stream, tasks, nest)
        self.room, self.patch_ranges, self.instruction = room, patch_ranges, instruction
        self.first_moe = min(self.config.moe_layers, default=self.config.depth)
        self.copies, self.left = 1, self.config.tokens
        check_limits(self.config, self.plan, machine)

    @property
    def tokens(self) -> int:
        """Tokens of all copies of the residual stream: those ``left`` of each."""
        return self.left * self.copies

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

    def attention_half(self, i: int) -> None:
        c, b, plan = self.config, f"blocks.{i}.", self.plan.layers[i]
        if i in dict(self.config.keep):
            prune(self, i)
            return
        a = self.norm(f"{b}norm1", plan.norm1, self.tokens)
        q = self.operand(f"{b}attn.q", self.tokens, c.dim)
        out = self.operand(f"{b}attn.out", self.tokens, c.dim, plan.attn)
        square = partial(self.linear, outputs=c.dim, inputs=c.dim)
        self.nodes.append(square(f"{b}attn.q", a, q, Dest.OPERAND8, tokens=self.tokens,
                                 shift1=self.number(f"{b}attn.q.shift")))
        keys = []
        for copy in range(self.copies):
            k = Region(f"{b}attn.k", Memory.KEY, tiles(self.left), slices(c.dim))
            v = Region(f"{b}attn.v", Memory.VALUE, tiles(c.dim), slices(self.left))
            keys.append((k, v))
            for part, dst, dest in (("k", k, Dest.KEY), ("v", v, Dest.VALUE)):
                self.nodes.append(square(
                    f"{b}attn.{part}", a, dst, dest, tokens=self.left, src_first=copy * self.left,
                    shift1=self.number(f"{b}attn.{part}.shift")))
        for copy, (k, v) in enumerate(keys):
            self.attention(i, q, k, v, out, copy * self.left, self.left)
        self.nodes.append(square(f"{b}attn.proj", out, self.x, Dest.RESIDUAL, tokens=self.tokens,
                                 accumulate=1, shift1=self.number(f"{b}attn.proj.shift")))

    def attention(self, i: int, q: Region, k: Region, v: Region, out: Region, first: int, keys: int) -> None:
        c, b, plan, queries = self.config, f"blocks.{i}.attn", self.plan.layers[i], self.left
        payload = self.payload(b, lambda: lay.attention(
            self.t(f"{b}.score_multiplier"), self.t(f"{b}.out.gain"), self.t(f"{b}.out.offset")))
        self.add(Opcode.ATTENTION, b, payload=payload, macs=2 * queries * keys * c.dim, tokens=queries,
                 reads=(Access(q, first, queries), Access(k), Access(v)), writes=(Access(out, first, queries),),
                 fields={
                     "heads": c.heads, "head_slices": c.head_dim // SLICE, "queries": queries, "keys": keys,
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
        normalized = self.operand(f"{b}normalized", self.tokens, c.dim, True) if c.is_moe(i) else None
        a = self.norm(f"{b}norm2", plan.norm2, self.tokens, normalized=normalized)
        width = c.ffn_hidden(i)
        for first, count in self.ranges(hidden_rows(c, plan, i)):
            hidden = self.operand(f"{b}mlp.fc1", count, width, plan.hidden)
            if normalized is not None:
                queue = add_gates(self, i, normalized, first, count)
                add_experts(self, i, a, hidden, queue, count)
            else:
                fc1, fc2 = self.ffn(f"{b}mlp", a, hidden, width, count)
                fc1.fields["src_row"], fc2.fields["dst_row"] = Row(a, first), Row(self.x, first)
                fc1.reads = (Access(a, first, count),)
                fc2.reads, fc2.writes = (Access(hidden), Access(self.x, first, count)), (Access(self.x, first, count),)
                rest = self.nest.place(self.model, f"{b}mlp")
                if rest is not None:
                    payload = self.payload(f"{b}mlp.rest.{rest}", lambda name=f"{b}mlp": rest_payload(
                        self.machine, self.model.rest[name], self.t(f"{name}.fc2.multiplier")))
                    self.nodes.append(rest_linear(f"{b}mlp", fc1, fc2, payload))
                self.nodes += [fc1, *by_tile(fc2, self.nest.stored.ffn_hidden(i))]

    def finish(self) -> None:
        """Store the residual stream of every copy and the classifier's logits; then come the task heads."""
        c = self.config
        outputs = expected(c, self.plan, self.tasks)
        at = {(output.task, output.name, output.kind): i for i, output in enumerate(outputs)}
        for copy, task in enumerate(self.tasks):
            first = copy * self.left
            self.store(f"residual.{task}", self.x, first, self.left, outputs[at[task, FEATURES, FEATURES]].offset)
            if not c.classes or c.pooled:
                continue
            a = self.norm("norm", self.plan.head, len(c.class_heads), first)
            for slot, name in enumerate(c.class_heads):
                y = Region(f"{name} logits", Memory.RESIDUAL, 1, residual_rows(c.classes))
                head = self.linear(name, a, y, Dest.RESIDUAL, outputs=c.classes, inputs=c.dim, tokens=1,
                                   src_first=slot, shift1=self.number(f"{name}.shift"), dst_stride=0)
                self.nodes += [linear_part(head, first, min(_MOST_TILES, tiles(c.classes) - first), 0, 1)
                               for first in range(0, tiles(c.classes), _MOST_TILES)]
                self.store(f"{name}.{task}", y, 0, 1, outputs[at[task, LOGITS, LOGITS]].offset + slot * y.stride)
        lines = scratch = outputs[-1].end
        heads = [(copy, task, head) for copy, task in enumerate(self.tasks) for head in c.heads_of(task)]
        for left, (copy, task, head) in zip(reversed(range(len(heads))), heads, strict=True):
            room = Room(self.machine, self.machine.residual_rows - (self.x.size if left else 0), self.instruction)
            i = at[task, head.task, head.kind]
            part = HeadLowering(self, head, copy * c.tokens, outputs[i], scratch, room, repr(c.name))
            part.lower()
            outputs[i], lines = replace(outputs[i], tiles=part.tiles), max(lines, part.end)
        self.output = OutputBuffer(tuple(outputs), lines)
