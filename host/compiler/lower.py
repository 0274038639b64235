# SPDX-License-Identifier: Apache-2.0
"""Lowering: from a quantized network to instructions without addresses and the payloads of the weight stream."""

from dataclasses import replace

from golden.spec.isa import LIMITS, Dest, Opcode
from golden.spec.isa import Region as Base
from golden.spec.machine import SLICE, MachineConfig
from golden.spec.model import ModelConfig
from golden.spec.program.outputs import FEATURES, LOGITS, OutputBuffer, expected
from golden.spec.quantized import LayerPlan
from golden.spec.tiling import ceil_div, operand_rows, residual_rows, slices, tiles
from host.compiler import weight_stream as lay
from host.compiler.builder import Builder, marked
from host.compiler.experts import experts_of, gates_of
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
    """Builds the program of one task, or of several, on one picture or several. Tasks share everything before the first
    gate, then each has its copy of the residual stream of every picture; weights serve all copies, an expert's the
    tokens of all of them that chose it. Keys and values are those of one copy.

    ``model`` has ``config``, ``plan`` and ``tensors`` (``golden.spec.quantized``). ``stream`` collects payloads.
    ``room``: most operand rows that the hidden operands of an FFN may take, which is otherwise done in ranges of tokens
    (its weights come once a range); ``patch_ranges``: in how many ranges of tokens the first picture is loaded and
    embedded; ``eager``: with several ranges, tokens are normalized as soon as their values are final; ``instruction``:
    cycles that a task head may cost to save an instruction; ``expert_tokens``: most tokens of a range of an FFN with
    experts. ``output`` describes the results, once :meth:`program` is done.
    """

    def __init__(self, model: QuantizedModel, machine: MachineConfig, stream: lay.Stream, tasks: tuple[str, ...],
                 room: int = 1 << 16, patch_ranges: int = 1, instruction: int = INSTRUCTION_PRICE,
                 nest: Nest | None = None, pictures: int = 1, eager: bool = False, expert_tokens: int | None = None):
        super().__init__(model, machine, stream, tasks, nest, pictures)
        self.expert_tokens = expert_tokens
        self.room, self.patch_ranges, self.instruction, self.eager = room, patch_ranges, instruction, eager
        self.first_moe = min(self.config.moe_layers, default=self.config.depth)
        self.copies, self.left, self.stored = pictures, self.config.tokens, 0
        self.outputs = expected(self.config, self.plan, tasks, pictures)
        self.at = {(output.task, output.picture, output.name, output.kind): i for i, output in enumerate(self.outputs)}
        check_limits(self.config, self.plan, machine)

    @property
    def tokens(self) -> int:
        """Tokens of all copies of the residual stream: those ``left`` of each."""
        return self.left * self.copies

    def program(self) -> list[Node]:
        """All instructions from BEGIN to END."""
        c = self.config
        self.add(Opcode.BEGIN, "begin")
        for picture in range(self.pictures):
            self.embed(picture)
        a: Region | None = self.norm("blocks.0.norm1", self.plan.layers[0].norm1, self.tokens)
        for i in range(c.depth):
            assert a is not None, "Every layer but the last normalizes for the next one."
            out = self.attend(i, a)
            if i == self.first_moe:
                self.project(i, out, 0, self.tokens)
                self.fork()
                out = None
            a = self.ffn_half(i, out)
        self.finish()
        self.add(Opcode.END, "end")
        return self.nodes

    def embed(self, picture: int) -> None:
        """Positions and patches come in, a range of tokens at a time; the array works on one while the next loads. The
        positions of the next picture are copied before this one's patches are added to them."""
        c, extra, start = self.config, self.config.extra_tokens, picture * self.config.tokens
        step = ceil_div(c.patches, ceil_div(self.patch_ranges, 2) if picture else self.patch_ranges)
        rows = operand_rows(c.patch_dim)
        together = c.patches * rows <= self.machine.operand_rows
        if not together:  # a range is loaded while the one before it is in use
            step = min(step, max(1, self.machine.operand_rows // (2 * rows)))
        pixels, begin = self.operand("patches", c.patches if together else step, c.patch_dim), 0
        for first in range(0, c.patches, step):
            count = min(step, c.patches - first)
            if not together:
                pixels, begin = self.operand("patches", count, c.patch_dim), first
            row = first + extra if first else 0  # the extra tokens come with the first range
            tokens = first + count + extra - row
            if not picture:
                self.load("pos_embed", Base.TABLES, self.x, row, tokens)
            if picture + 1 < self.pictures:
                self.copy("pos_embed", start + row, start + c.tokens + row, tokens)
            self.load("patches", Base.INPUT, pixels, first - begin, count, picture * c.patches + first)
            self.nodes.append(self.linear(
                "patch_embed", pixels, self.x, Dest.RESIDUAL, outputs=c.dim, inputs=c.patch_dim, tokens=count,
                src_first=first - begin, dst_first=start + first + extra, accumulate=1, src_unsigned=1,
                shift1=self.number("patch_embed.shift")))

    def attend(self, i: int, a: Region) -> Region:
        """Attention of layer ``i`` on normalized tokens ``a``, before the projection: of each run of tokens that see
        one another, a copy of the residual stream or a window of it; as many runs at a time as have their keys and
        values on chip."""
        c, b, plan = self.config, f"blocks.{i}.", self.plan.layers[i]
        if i in dict(c.keep):
            return prune(self, i, a)
        count = c.window ** 2 if i in c.window_layers else self.left
        q = self.operand(f"{b}attn.q", self.tokens, c.dim)
        out = self.operand(f"{b}attn.out", self.tokens, c.dim, plan.attn)
        self.nodes.append(self.linear(f"{b}attn.q", a, q, Dest.OPERAND8, outputs=c.dim, inputs=c.dim,
                                      tokens=self.tokens, shift1=self.number(f"{b}attn.q.shift")))
        size = max(tiles(count) * slices(c.dim), tiles(c.dim) * slices(count))
        step = count * max(1, self.machine.kv_tiles // size)
        for start in range(0, self.tokens, step):
            runs = range(start, min(start + step, self.tokens), count)
            for first, (k, v) in [(first, self.keys_values(i, a, first, count)) for first in runs]:
                self.attention(i, q, k, v, out, first, count, count)
        return out

    def keys_values(self, i: int, a: Region, first: int, count: int) -> tuple[Region, Region]:
        """K and V of tokens [first, first + count)."""
        dim, b = self.config.dim, f"blocks.{i}.attn"
        k = Region(f"{b}.k", Memory.KEY, tiles(count), slices(dim))
        v = Region(f"{b}.v", Memory.VALUE, tiles(dim), slices(count))
        for part, region, dest in (("k", k, Dest.KEY), ("v", v, Dest.VALUE)):
            self.nodes.append(self.linear(f"{b}.{part}", a, region, dest, outputs=dim, inputs=dim, tokens=count,
                                          src_first=first, shift1=self.number(f"{b}.{part}.shift")))
        return k, v

    def project(self, i: int, out: Region, first: int, count: int) -> None:
        """Attention's results ``out`` of tokens [first, first + count) into the residual stream."""
        name, dim = f"blocks.{i}.attn.proj", self.config.dim
        self.nodes.append(self.linear(name, out, self.x, Dest.RESIDUAL, outputs=dim, inputs=dim, tokens=count,
                                      src_first=first, dst_first=first, accumulate=1,
                                      shift1=self.number(f"{name}.shift")))

    def attention(self, i: int, q: Region, k: Region, v: Region, out: Region, first: int, count: int,
                  keys: int) -> None:
        """ATTENTION of ``count`` tokens from ``first`` on over ``keys`` tokens."""
        c, b, plan = self.config, f"blocks.{i}.attn", self.plan.layers[i]
        payload = self.payload(b, lambda: lay.attention(
            self.machine, self.t(f"{b}.score_multiplier"), self.t(f"{b}.out.gain"), self.t(f"{b}.out.offset")))
        self.add(Opcode.ATTENTION, b, payload=payload, macs=2 * count * keys * c.dim, tokens=count,
                 reads=(Access(q, first, count), Access(k), Access(v)), writes=(Access(out, first, count),),
                 fields={
                     "heads": c.heads, "head_slices": c.head_dim // SLICE, "queries": count, "keys": keys,
                     "q_row": Row(q, first), "q_stride": q.stride, "key_tile": Row(k), "key_pitch": k.stride,
                     "value_tile": Row(v), "dst_row": Row(out, first), "dst_stride": out.stride,
                     "dst_plane": out.rows if out.wide else 0, "wide_p": int(plan.prob), "wide": int(plan.attn),
                     "p_shift": self.number(f"{b}.p_shift") if plan.prob else 0,
                     "shift1": self.number(f"{b}.score_shift"), "shift2": self.number(f"{b}.out.shift2")})

    def fork(self) -> None:
        """After the shared prefix: one copy of the residual stream of all pictures for each task."""
        for number in range(1, len(self.tasks)):
            self.copy(f"residual.{self.tasks[number]}", 0, number * self.tokens, self.tokens)
        self.copies *= len(self.tasks)

    def ranges(self, i: int) -> list[tuple[int, int]]:
        """First token and number of tokens of each range of FFN ``i``: as few and as even ones as ``room`` and the
        expert queues allow."""
        most = max(1, self.room // hidden_rows(self.config, self.plan.layers[i], i))
        if self.config.is_moe(i):
            most = min(most, max(1, self.machine.queue_depth // self.config.top_k), self.expert_tokens or most)
        step = ceil_div(self.tokens, ceil_div(self.tokens, most))
        return [(first, min(step, self.tokens - first)) for first in range(0, self.tokens, step)]

    def ffn_half(self, i: int, out: Region | None) -> Region | None:
        """FFN ``i``, range by range, before it the projection of ``out`` unless it is done; the tokens of the next
        layer, normalized, if there is one.

        Eager: each range is projected and normalized before the FFN of the range before it, and normalized for the next
        layer after its own, so that the norm unit works while the array does.
        """
        following = None if i + 1 == self.config.depth else self.operand(
            f"blocks.{i + 1}.norm1", self.tokens, self.config.dim, self.plan.layers[i + 1].norm1)
        ranges = self.ranges(i)
        if not self.eager or len(ranges) == 1:
            if out is not None:
                self.project(i, out, 0, self.tokens)
            a, normalized = self.normalize(i, 0, self.tokens)
            for first, count in ranges:
                self.nodes += sum(self.ffn_range(i, a, normalized, 0, first, count), [])
            if following is not None:
                self.leave(i, following, 0, self.tokens)
            return following
        (first, count), rest = ranges[0], self.tokens - ranges[0][1]
        if out is not None:
            self.project(i, out, first, count)
        ready = [self.normalize(i, first, count, whole=True)]
        if out is not None:
            self.project(i, out, count, rest)
        for number, (first, count) in enumerate(ranges):
            begun, finished = self.ffn_range(i, *ready[number], first, first, count)
            self.nodes += begun
            ready += [self.normalize(i, *coming, whole=True) for coming in ranges[number + 1:number + 2]]
            for done in ranges[:number][-1:]:
                self.leave(i, following, *done, whole=True)
            self.nodes += finished
        self.leave(i, following, *ranges[-1])
        return following

    def leave(self, i: int, following: Region | None, first: int, count: int, whole: bool = False) -> None:
        """Tokens [first, first + count) are done with layer ``i``: normalized for the next one, or stored."""
        if following is None:
            self.stored = self.store_copies(self.stored, first + count)
            return
        self.load_prompts(i + 1, first, count)
        self.norm_into(Row(following, first), Access(following, first, count), f"blocks.{i + 1}.norm1",
                       self.plan.layers[i + 1].norm1, count, first, whole=whole)

    def load_prompts(self, i: int, first: int, count: int) -> None:
        """Prompts of block ``i``, if it has any, into their rows among tokens [first, first + count)."""
        c = self.config
        if i not in c.prompt_layers:
            return
        table = c.tokens + c.prompt_layers.index(i) * c.prompts
        for copy in range(self.copies):
            begin = copy * c.tokens + c.extra_tokens - c.prompts
            start, end = max(first, begin), min(first + count, begin + c.prompts)
            if start < end:
                self.load(f"blocks.{i}.prompts", Base.TABLES, self.x, start, end - start, table + start - begin)

    def normalize(self, i: int, first: int, count: int, whole: bool = False) -> tuple[Region, Region | None]:
        """Operands of FFN ``i``, and of its gate, for tokens [first, first + count)."""
        c, name, wide = self.config, f"blocks.{i}.norm2", self.plan.layers[i].norm2
        normalized = self.operand(f"blocks.{i}.normalized", count, c.dim, True) if c.is_moe(i) else None
        a = self.operand(name, count, c.dim, wide)
        self.norm_into(Row(a), Access(a), name, wide, count, first, normalized, whole=whole)
        return a, normalized

    def ffn_range(self, i: int, a: Region, normalized: Region | None, begin: int, first: int,
                  count: int) -> tuple[list[Node], list[Node]]:
        """FFN ``i`` of tokens [first, first + count), not yet appended: what reads ``normalized`` or, without experts,
        ``a``, and the rest. These hold the tokens from ``begin`` on."""
        b, width = f"blocks.{i}.", self.config.ffn_hidden(i)
        hidden = self.operand(f"{b}mlp.fc1", count, width, self.plan.layers[i].hidden)
        if normalized is not None:
            queue, gates = gates_of(self, i, normalized, begin, first, count)
            return gates, [experts_of(self, i, a, hidden, queue, begin, first, count)]
        fc1, fc2 = self.ffn(f"{b}mlp", a, hidden, width, count)
        fc1.fields["src_row"], fc2.fields["dst_row"] = Row(a, first - begin), Row(self.x, first)
        fc1.reads = (Access(a, first - begin, count),)
        fc2.reads, fc2.writes = (Access(hidden), Access(self.x, first, count)), (Access(self.x, first, count),)
        rest, before = self.nest.place(self.model, f"{b}mlp"), []
        if rest is not None:
            payload = self.payload(f"{b}mlp.rest.{rest}", lambda name=f"{b}mlp": rest_payload(
                self.machine, self.model.rest[name], self.t(f"{name}.fc2.multiplier")))
            before = [rest_linear(f"{b}mlp", fc1, fc2, payload)]
        return [*before, fc1], by_tile(fc2, self.nest.stored.ffn_hidden(i))

    @property
    def passed(self) -> list[tuple[str, int]]:
        """Task and number of the picture of each copy of the residual stream at the end."""
        return [(task, picture) for task in self.tasks for picture in range(self.pictures)]

    def store_copies(self, stored: int, tokens: int) -> int:
        """Store the residual stream of copies from ``stored`` on that lie in the first ``tokens``; how many are stored
        now."""
        done = tokens // self.left
        for copy in range(stored, done):
            task, picture = self.passed[copy]
            self.store(marked(f"residual.{task}", picture), self.x, copy * self.left, self.left,
                       self.outputs[self.at[task, picture, FEATURES, FEATURES]].offset)
        return done

    def finish(self) -> None:
        """Store the residual stream of every copy and the classifier's logits; then come the task heads."""
        c, outputs, at = self.config, self.outputs, self.at
        for copy, (task, picture) in enumerate(self.passed):
            first = copy * self.left
            self.stored = self.store_copies(self.stored, max(self.stored * self.left, first + self.left))
            if not c.classes or c.pooled:
                continue
            a = self.norm("norm", self.plan.head, len(c.class_heads), first)
            for slot, name in enumerate(c.class_heads):
                y = Region(f"{name} logits", Memory.RESIDUAL, 1, residual_rows(c.classes))
                head = self.linear(name, a, y, Dest.RESIDUAL, outputs=c.classes, inputs=c.dim, tokens=1,
                                   src_first=slot, shift1=self.number(f"{name}.shift"), dst_stride=0)
                self.nodes += [linear_part(head, first, min(_MOST_TILES, tiles(c.classes) - first), 0, 1)
                               for first in range(0, tiles(c.classes), _MOST_TILES)]
                self.store(marked(f"{name}.{task}", picture), y, 0, 1,
                           outputs[at[task, picture, LOGITS, LOGITS]].offset + slot * y.stride)
        lines = scratch = outputs[-1].end
        heads = [(copy, of, head) for copy, of in enumerate(self.passed) for head in c.heads_of(of[0])]
        for left, (copy, (task, picture), head) in zip(reversed(range(len(heads))), heads, strict=True):
            room = Room(self.machine, self.machine.residual_rows - (self.x.size if left else 0), self.instruction)
            i = at[task, picture, head.task, head.kind]
            part = HeadLowering(self, head, copy * c.tokens, outputs[i], scratch, room, repr(c.name))
            part.lower()
            outputs[i], lines = replace(outputs[i], tiles=part.tiles), max(lines, part.end)
        self.output = OutputBuffer(tuple(outputs), lines)
