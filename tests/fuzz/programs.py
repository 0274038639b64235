# SPDX-License-Identifier: Apache-2.0
"""Random programs for the nano machine: legal by grammar, then perhaps mutated; with every wait that they need.

A program loads rows, computes on them with any fields, and stores both row memories whole, so that everything an
instruction did can be seen in the output. Weights and parameters are random bytes.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import strategies as st

from golden.iss.bounds_check import meet
from golden.spec.activations import BY_CODE
from golden.spec.instructions.linear import MAX_BLOCK
from golden.spec.isa import FORMATS, LIMITS, MAGIC, Dest, Index, Opcode, Region, Unit
from golden.spec.legality import ProgramState, after, capacity, contradictions, derived, ranges
from golden.spec.machine import ABI_VERSION, LINE, NANO, MachineConfig
from golden.spec.program.hazards import hazards
from golden.spec.tiling import linear_lines, window_slices

STREAM_LINES = 4096
"""Length of the random weight stream, in lines."""
INPUT_ROWS, TABLE_ROWS = 256, 128
OUTPUT_LINES = NANO.operand_rows + NANO.residual_rows

Instruction = tuple[Opcode, dict]


def legal(opcode: Opcode, fields: dict, state: ProgramState, machine: MachineConfig) -> bool:
    """Whether the machine accepts the instruction where ``state`` holds."""
    for name, (low, high) in LIMITS.get(opcode, {}).items():
        if not low <= fields[name] <= high:
            return False
    f = fields | derived(opcode, fields)
    used = [r for r in ranges(opcode, f, state) if r.when]
    pair = {r.slot: r for r in used if r.slot < 2}
    return (not any(contradictions(opcode, f, state)) and all(r.end <= capacity(machine, r.resource) for r in used)
            and not (len(pair) == 2 and meet(pair[0], pair[1])))


def _fields(opcode: Opcode, **values: int) -> dict:
    return {each.name: 0 for each in FORMATS[opcode].fields[1:]} | {key: int(v) for key, v in values.items()}


@dataclass
class Grammar:
    """Draws instructions that nano accepts, most of them at their first attempt; ``pinned``: fields that are not
    drawn."""

    draw: object
    machine: MachineConfig = NANO
    pinned: dict[str, int] = field(default_factory=dict)

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def flag(self, name: str = "") -> int:
        return self.pinned[name] if name in self.pinned else self.draw(st.integers(0, 1))

    def operand(self, rows: int) -> int:
        """A first operand row with room for ``rows``."""
        return self.number(0, max(0, self.machine.operand_rows - rows))

    def stream(self, lines: int) -> int:
        return self.number(0, max(0, STREAM_LINES - lines))

    def load(self) -> Instruction:
        rows, memory, region = self.number(1, 120), self.flag("memory"), self.draw(st.sampled_from(Region))
        depth = self.machine.residual_rows if memory else self.machine.operand_rows
        have = {Region.TABLES: TABLE_ROWS, Region.INPUT: INPUT_ROWS, Region.OUTPUT: OUTPUT_LINES}[region]
        return Opcode.LOAD, _fields(Opcode.LOAD, region=region, memory=memory, rows=rows,
                                    row=self.number(0, depth - rows), offset=self.number(0, have - min(rows, have)))

    def store(self) -> Instruction:
        rows, memory = self.number(1, 100), self.flag("memory")
        depth = self.machine.residual_rows if memory else self.machine.operand_rows
        return Opcode.STORE, _fields(Opcode.STORE, memory=memory, rows=rows, row=self.number(0, depth - rows),
                                     offset=self.number(0, OUTPUT_LINES - rows))

    def copy(self) -> Instruction:
        rows = self.number(1, 60)
        return Opcode.COPY, _fields(Opcode.COPY, rows=rows, src_row=self.number(0, 256 - rows),
                                    dst_row=self.number(0, 256 - rows))

    def upsample(self) -> Instruction:
        rows, width, lines = self.number(1, 3), self.number(2, 6), self.number(2, 4)
        return Opcode.UPSAMPLE, _fields(
            Opcode.UPSAMPLE, rows=rows, width=width, lines=lines, pitch=self.number(max(2, width - 1), width + 2),
            edges=self.number(0, 15), src_row=self.operand(300), dst_row=self.operand(rows * 4 * width * lines))

    def keep(self) -> Instruction:
        tokens, blocks = self.number(1, 40), self.number(1, 4)
        keep = self.number(1, tokens)
        return Opcode.KEEP, _fields(
            Opcode.KEEP, score_row=self.number(0, 250), row=self.number(0, 256 - tokens * blocks), blocks=blocks,
            tokens=tokens, first=self.number(0, min(3, keep)), keep=keep)

    def norm(self) -> Instruction:
        tokens, blocks = self.number(1, 12), self.number(1, 6)
        wide, normalized = self.flag("wide"), self.flag("normalized")
        rows = -(-blocks // 2)
        plane, normalized_plane = self.number(rows, rows + 2), self.number(rows, rows + 2)
        stride, normalized_stride = (self.number(rows + p, rows + p + 2) for p in (plane * wide, normalized_plane))
        src_stride = self.number(0, blocks + 2)
        return Opcode.NORM, _fields(
            Opcode.NORM, stream=self.stream(3 * blocks), tokens=tokens, blocks=blocks, wide=wide, normalized=normalized,
            src_row=self.number(0, max(0, 256 - tokens * max(src_stride, blocks))), src_stride=src_stride,
            dst_row=self.operand(tokens * stride), dst_stride=stride, dst_plane=plane,
            normalized_row=self.operand(tokens * normalized_stride), normalized_stride=normalized_stride,
            normalized_plane=normalized_plane,
            shift=self.number(0, 31), eps=self.draw(st.sampled_from([0, 1, 1 << 20, (1 << 40) - 1])),
            normalized_shift=self.number(0, 3))

    def linear(self, state: ProgramState, dest: Dest | None = None, queue: bool = False) -> Instruction:
        dest = self.pinned.get("dst", dest)
        dst = self.draw(st.sampled_from([d for d in Dest if d is not Dest.GATE])) if dest is None else dest
        dst = min(dst, Dest.OPERAND16) if queue else dst
        tokens, tiles, slices = self.number(0 if self.flag() else 1, 14), self.number(1, 4), self.number(1, 12)
        wide, packed = self.flag("src_wide"), self.flag("packed")
        slices += slices & packed
        stored = slices >> packed
        reuse = self.flag("reuse_weights") and state.held > 0 and not state.body
        retain = self.flag("retain_weights") and not state.body
        source, plane = -(-slices // 4), self.number(0, 4)
        src_stride = self.number(0, source + plane + 1)
        rows = tiles if dst == Dest.RESIDUAL else -(-tiles // 2)
        dst_plane = self.number(rows, rows + 2)
        stride = {Dest.KEY: self.number(2 * tiles, 2 * tiles + 1), Dest.VALUE: self.number(1, 2)}.get(
            dst, self.number(rows + dst_plane * (dst == Dest.OPERAND16), rows + dst_plane + 3))
        depth = {Dest.RESIDUAL: self.machine.residual_rows, Dest.KEY: self.machine.kv_tiles,
                 Dest.VALUE: self.machine.kv_tiles}.get(dst, self.machine.operand_rows)
        indices = st.sampled_from([Index.QUEUE_TOKEN, Index.QUEUE_SLOT] if queue else [Index.DIRECT])
        second = self.draw(st.sampled_from(
            ["none", "affine", "activation", "activation affine"] + ["gate_weight"] * queue))
        return Opcode.LINEAR, _fields(
            Opcode.LINEAR, stream=self.stream(tiles * (6 + 8 * slices)), tokens=tokens, tiles=tiles, slices=slices,
            src_index=self.draw(indices), dst_index=self.draw(indices),
            src_row=self.operand(14 * src_stride + plane + 3), src_stride=src_stride, src_plane=plane, src_wide=wide,
            src_unsigned=self.flag() and not wide, dst=dst,
            dst_row=self.number(0, max(0, depth - 14 * stride)), dst_stride=stride, dst_plane=dst_plane,
            accumulate=self.flag(), affine="affine" in second,
            activation=self.number(1, len(BY_CODE) - 1) if "activation" in second else 0,
            gate_weight=second == "gate_weight",
            shift1=self.number(0, 47) if self.number(0, 3) == 0 else self.number(14, 32), shift2=self.number(0, 40),
            retain_weights=retain, reuse_weights=reuse,
            reuse_offset=self.number(0, max(0, state.held - tiles * stored)) if reuse else 0,
            act_shift=self.number(0, 4), block=self.block(state, tiles, slices, wide, packed), packed=packed)

    def block(self, state: ProgramState, tiles: int, slices: int, wide: bool, packed: int) -> int:
        """Tiles of a block, less one: any for which ring and lane buffers have room."""
        rows, machine = -(-slices // 4) * (1 + wide), self.machine
        if rows > 2 * machine.lane_rows or state.held + tiles * (slices >> packed) > machine.ring_slices:
            return 0
        return self.number(0, MAX_BLOCK - 1)

    def window(self, state: ProgramState) -> Instruction:
        """A 3x3 convolution of a small strip."""
        opcode, fields = self.linear(state)
        rows, width, tiles = self.number(1, 3), self.number(1, 6), fields["tiles"]
        lines, plane, edges = self.number(1, 14 // width), self.number(0, 3), self.number(0, 15)
        height, columns = (n + 2 - (edges >> side & 1) - (edges >> side + 1 & 1)
                           for n, side in ((lines, 0), (width, 2)))
        pitch, stride, slices = self.number(0, columns + 2), self.number(0, rows + 2), window_slices(rows)
        last = (height - 1) * pitch + columns - 1
        stored = tiles * slices >> fields["packed"]
        reuse = fields["retain_weights"] and stored <= state.held
        return opcode, fields | {
            "window": rows, "width": width, "lines": lines, "pitch": pitch, "edges": edges, "tokens": width * lines,
            "slices": slices, "stream": self.stream(linear_lines(tiles, slices)), "src_stride": stride,
            "src_plane": plane, "src_row": self.operand(last * stride + rows + plane), "reuse_weights": int(reuse),
            "block": self.block(state, tiles, slices, fields["src_wide"], fields["packed"]),
            "reuse_offset": self.number(0, max(0, state.held - stored)) if reuse else 0}

    def attention(self) -> Instruction:
        heads, head_slices, wide = self.number(1, 3), self.draw(st.sampled_from([2, 4])), self.flag("wide")
        queries, keys, wide_p = self.number(1, 12), self.number(1, 40), self.flag("wide_p")
        rows = -(-heads * head_slices // 4)
        plane = self.number(rows, rows + 1)
        stride, q_stride = self.number(rows + plane * wide, rows + plane * wide + 2), self.number(0, rows + 2)
        pitch, scores = self.number(0, heads * head_slices), int(self.number(0, 3) == 0)
        class_scores = self.pinned.get("class_scores", scores)
        return Opcode.ATTENTION, _fields(
            Opcode.ATTENTION, stream=self.stream(1 + heads * head_slices * 3), heads=heads, head_slices=head_slices,
            queries=1 if class_scores else queries, keys=keys, class_scores=class_scores,
            q_row=self.operand(queries * q_stride + rows), q_stride=q_stride,
            key_tile=self.number(0, 8), key_pitch=pitch, value_tile=self.number(0, 8),
            dst_row=self.number(0, 250) if class_scores else self.operand(queries * stride), dst_stride=stride,
            dst_plane=plane, wide_p=wide_p, wide=wide, p_shift=self.number(0, 14), shift1=self.number(8, 34),
            shift2=self.number(0, 40))

    def gate(self, append: bool) -> Instruction:
        experts = self.draw(st.sampled_from([1, 2, 5, 16, 17, 33]))
        return Opcode.GATE, _fields(
            Opcode.GATE, tokens=self.number(1, 10), first_token=self.number(0, 12), experts=experts,
            top_k=self.number(1, min(4, experts)), renormalise=self.flag(), append=append,
            multiplier=self.number(0, 65535), shift1=self.number(20, 45))

    def logits(self, gate: dict, state: ProgramState) -> list[Instruction]:
        """The LINEARs into a GATE, some tokens each; perhaps all use the weights of the first."""
        found: list[Instruction] = []
        shared, left, alike = self.flag("reuse_weights"), gate["tokens"], {}
        while left:
            count = self.number(1, left)
            _, fields = self.linear(replace(state, held=0, body=True), Dest.GATE)
            tiles, slices = -(-gate["experts"] // 16), self.number(1, 6)
            slices += slices & fields["packed"]
            shape = {"tiles": tiles, "slices": slices, "packed": fields["packed"]} | alike
            left -= count
            found.append((Opcode.LINEAR, fields | shape | {
                "stream": self.stream(linear_lines(tiles, shape["slices"])), "tokens": count, "src_index": 0,
                "dst_index": 0, "gate_weight": 0, "retain_weights": int(shared and left > 0),
                "reuse_weights": int(bool(alike)), "reuse_offset": 0}))
            alike = shape if shared else {}
        return found

    def moe(self, state: ProgramState) -> list[Instruction]:
        """A GATE and the LINEARs into it, then perhaps another that appends, then EXPERTS with a body."""
        found: list[Instruction] = []
        for append in [False] + [True] * self.flag("append"):
            opcode, gate = self.gate(append)
            found += [(opcode, gate), *self.logits(gate, state)]
        body = [replace(self, pinned={}).linear(replace(state, body=True), queue=bool(self.number(0, 3)))
                for _ in range(self.number(1, 3))]
        for _, fields in body:
            fields["stream"] = self.number(0, 200)
        pitch = self.number(0, 60)
        experts = _fields(Opcode.EXPERTS, stream=self.number(0, 200), pitch=pitch, body=len(body),
                          experts=self.draw(st.sampled_from([64, gate["experts"], 3])))
        return [*found, (Opcode.EXPERTS, experts), *body]


@st.composite
def programs(draw, machine: MachineConfig = NANO) -> list[Instruction]:
    """Instructions between BEGIN and END that ``machine`` accepts; those that it would refuse are left out."""
    grammar, state = Grammar(draw, machine), ProgramState()
    found = [grammar.load() for _ in range(draw(st.integers(1, 4)))]
    kinds = st.sampled_from(["linear"] * 4 + ["window"] * 2 + ["norm"] * 2 + ["attention"] * 2
                            + ["moe", "load", "copy", "store", "upsample", "keep"])
    for _ in range(draw(st.integers(1, 10))):
        kind = draw(kinds)
        group = grammar.moe(state) if kind == "moe" else [
            getattr(grammar, kind)(state) if kind in ("linear", "window") else getattr(grammar, kind)()]
        if kind == "moe" and state.held:  # nothing may be retained at EXPERTS
            group.insert(0, (Opcode.LINEAR, grammar.linear(state, Dest.RESIDUAL)[1] | {
                "retain_weights": 0, "reuse_weights": 0, "reuse_offset": 0, "tokens": 0}))
        reached = accepted(group, state, machine)
        if reached is not None:
            state = reached
            found += group
    return found


def accepted(group: list[Instruction], state: ProgramState, machine: MachineConfig) -> ProgramState | None:
    """The state after ``group``, or None where one of its instructions is refused."""
    body = 0
    for opcode, fields in group:
        if not legal(opcode, fields, replace(state, body=body > 0), machine):
            return None
        state = after(opcode, fields | derived(opcode, fields), state)
        body = fields["body"] if opcode is Opcode.EXPERTS else max(0, body - 1)
    return state


def finished(found: list[Instruction], machine: MachineConfig = NANO) -> list[Instruction]:
    """The whole program: BEGIN, the instructions, a STORE of everything, END; waits as they are needed."""
    program = [(Opcode.BEGIN, _fields(Opcode.BEGIN, magic=MAGIC, abi=ABI_VERSION, fingerprint=machine.fingerprint)),
               *((opcode, dict(fields)) for opcode, fields in found),
               (Opcode.STORE, _fields(Opcode.STORE, memory=0, rows=machine.operand_rows)),
               (Opcode.STORE, _fields(Opcode.STORE, memory=1, rows=machine.residual_rows, offset=machine.operand_rows)),
               (Opcode.END, _fields(Opcode.END))]
    program[0][1]["count"] = len(program)
    return with_waits(program)


def with_waits(program: list[Instruction]) -> list[Instruction]:
    """The same with every wait that the hazard check misses added."""
    while missing := hazards(program):
        for at, units in missing:
            program[at][1]["wait"] = int(Unit(program[at][1]["wait"]) | units)
    return program


def stream_bytes(seed: int) -> np.ndarray:
    """A random weight stream, uint8 [STREAM_LINES, 64], without the byte that is no weight."""
    lines = np.random.default_rng(seed).integers(0, 256, (STREAM_LINES, LINE), dtype=np.uint8)
    lines[lines == 128] = 129
    return lines
