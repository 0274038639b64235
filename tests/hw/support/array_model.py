# SPDX-License-Identifier: Apache-2.0
"""Model of LINEAR's and ATTENTION's loops in plain Python: every array beat and every context, in order."""

import functools
import random
from dataclasses import dataclass, field

from golden.spec import isa
from golden.spec.instructions.linear import MAX_BLOCK
from golden.spec.isa import Dest, Edge, Index, Opcode
from golden.spec.machine import LINE, SCORES_AHEAD, SLICE, TN, MachineConfig
from golden.spec.tables import WEIGHT_LEVELS
from golden.spec.tiling import SLICES_PER_ROW, WINDOW, ceil_div
from hw.interfaces import Route

BEYOND = -1
"""Instead of a row: zeros beyond an edge of the map."""


def window_row(f: dict, i: int, number: int) -> int:
    """Operand row ``number`` of result ``i`` of a convolution: window line, operand row, window column."""
    line, row, column = number // WINDOW // f["window"], number // WINDOW % f["window"], number % WINDOW
    at = []
    for length, place, before, after in ((f["lines"], i // f["width"] + line, Edge.TOP, Edge.BOTTOM),
                                         (f["width"], i % f["width"] + column, Edge.LEFT, Edge.RIGHT)):
        if f["edges"] & before and place == 0 or f["edges"] & after and place == length + WINDOW - 2:
            return BEYOND
        at.append(place - bool(f["edges"] & before))
    return f["src_row"] + (at[0] * f["pitch"] + at[1]) * f["src_stride"] + row


def window_loads(f: dict, group: range) -> int:
    """Operand rows of one plane that a group's windows consist of, those of several lanes counted once."""
    rows = range(WINDOW * WINDOW * f["window"])
    places = {(number // WINDOW, i + number % WINDOW) for i in group for number in rows
              if window_row(f, i, number) != BEYOND}
    return len(places)


def groups_of(f: dict, count: int, tm: int) -> list[range]:
    """Tokens that share a group; those of a convolution share a line."""
    length = f["width"] if f["window"] else count
    return [range(begin + g, begin + min(g + tm, length)) for begin in range(0, count, length or 1)
            for g in range(0, length, tm)] or [range(0)]


@functools.cache
def noise(kind: str, *place: int, bits: int) -> int:
    """The same random bits for the same place."""
    return random.Random(f"{kind}{place}").getrandbits(bits)


@dataclass
class Testbench:
    """What the memories answer, as functions of an address; queues and jobs as tables."""

    config: MachineConfig
    seed: int
    queues: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def operand(self, row: int) -> tuple[bytes, tuple[int, int]]:
        data = noise("operand", self.seed, row, bits=8 * LINE).to_bytes(LINE, "little")
        exps = noise("exp", self.seed, row, bits=4)
        return data, (exps & 3, exps >> 2)

    def step_row(self, kind: str, row: int) -> int:
        return noise(kind, self.seed, row, bits=8 * self.config.row_bytes)

    def multipliers(self, number: int) -> list[int]:
        bits = noise("multipliers", self.seed, number, bits=8 * LINE)
        return [bits >> (16 * n) & 0xFFFF for n in range(LINE // 2)]

    def probability(self, job: int, chunk: int, plane: int, lane: int) -> bytes:
        return noise("p", self.seed, job, chunk, plane, lane, bits=8 * SLICE).to_bytes(SLICE, "little")

    def ratio(self, job: int, lane: int) -> tuple[int, int]:
        bits = noise("ratio", self.seed, job, lane, bits=22)
        return bits & 0xFFFF, bits >> 16


@dataclass
class Loops:
    """Runs instructions; collects ``beats``, ``contexts``, ``jobs``, ``traversals``, ``releases``, ``loads`` (a count)
    and ``ends``, the number of beats up to each instruction's last. ``ring``: the oldest row not released, ``held``:
    how many rows from there on were read already."""

    tb: Testbench
    beats: list[dict] = field(default_factory=list)
    contexts: list[dict] = field(default_factory=list)
    jobs: list[dict] = field(default_factory=list)
    traversals: list[int] = field(default_factory=list)
    releases: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    loads: int = 0
    ring: int = 0
    held: int = 0
    attentions: int = 0
    entries: list[dict] = field(default_factory=list)

    def run(self, issue: dict) -> None:
        opcode, f = isa.decode(issue["word"])
        self.linear(f, issue) if opcode == Opcode.LINEAR else self.attention(f)
        self.contexts[-1]["final"] = 1
        self.ends.append(len(self.beats))

    def lane_slices(self, rows: list[int | None], slice_: int, step: int) -> tuple[list, list]:
        """Bytes and exponents of one step of every lane; ``rows``: the row of each token that holds the slice, None
        when absent."""
        tk, operands, exps = self.tb.config.tk, [], []
        for row in rows:
            if row is None:
                operands.append(None)
                exps.append(0)
                continue
            data, exp = (bytes(LINE), (0, 0)) if row == BEYOND else self.tb.operand(row & 0xFFFF)
            at = slice_ % SLICES_PER_ROW * SLICE + step * tk
            operands.append(data[at:at + tk])
            exps.append(exp[slice_ % SLICES_PER_ROW // 2])
        return operands, exps

    def beat(self, operands, exps, weight, *, unsigned, first, shift8, last, kind) -> None:
        tk = self.tb.config.tk
        signed = [[0] * tk if lane is None else [b if unsigned or b < 128 else b - 256 for b in lane]
                  for lane in operands]
        self.beats.append({"operand": signed, "exp": exps, "weight": weight, "first": int(first), "shift8": int(shift8),
                           "last": int(last), "kind": kind, "job": len(self.jobs) - 1 if kind == "key" else -1})

    def linear(self, f: dict, issue: dict) -> None:
        cfg = self.tb.config
        queued = f["src_index"] != Index.DIRECT or f["dst_index"] != Index.DIRECT
        count = issue["count"] if queued else f["tokens"]
        entries = self.tb.queues.get(issue["expert"], [])
        named = Index.QUEUE_TOKEN in (f["src_index"], f["dst_index"]) or f["gate_weight"]
        named = named and count > 0
        gate, keeps = f["dst"] == Dest.GATE, f["retain_weights"] or f["reuse_weights"]
        groups = groups_of(f, count, cfg.tm)
        tile_steps = f["slices"] * cfg.steps
        tile_rows = tile_steps >> f["packed"]
        first_row = self.ring + (f["reuse_offset"] * cfg.steps if f["reuse_weights"] else self.held)
        block = f["tiles"] if gate else f["block"] + 1
        blocks = [range(first, min(first + block, f["tiles"])) for first in range(0, f["tiles"], block)]
        passes = len(blocks)
        if named:
            self.traversals += [issue["expert"]] * passes
            self.entries += [{"token": t, "weight": w, "last": int(n == len(entries) - 1)}
                             for n, (t, w) in enumerate(entries)] * passes
        self.loads += passes * (1 + f["src_wide"]) * (
            sum(window_loads(f, group) for group in groups) if f["window"]
            else max(count, 1) * ceil_div(f["slices"], SLICES_PER_ROW))

        def row_of(which: str, i: int) -> int:
            token = entries[i][0] if f[f"{which}_index"] == Index.QUEUE_TOKEN else i
            return f[f"{which}_row"] + token * f[f"{which}_stride"]

        def source(i: int, slice_: int, plane: int) -> int:
            number = slice_ // SLICES_PER_ROW
            row = window_row(f, i, number) if f["window"] else row_of("src", i) + number
            return row if row == BEYOND else row + plane * f["src_plane"]

        def one(tile: int, group: range) -> None:
            base = first_row + tile * tile_rows
            for plane in range(1 + f["src_wide"]):
                for n in range(tile_steps):
                    slice_, step = divmod(n, cfg.steps)
                    rows = [source(i, slice_, plane) for i in group] + [None] * (cfg.tm - len(group))
                    operands, exps = self.lane_slices(rows, slice_, step)
                    exps = [0] * cfg.tm if f["src_wide"] else exps  # exponents of planes mean nothing
                    self.beat(operands, exps, self.ring_step(base, n, f["packed"]),
                              unsigned=plane or f["src_unsigned"], first=n == plane == 0, shift8=n == 0 and plane,
                              last=n == tile_steps - 1 and plane == f["src_wide"], kind="ring")
            offset = {Dest.RESIDUAL: tile, Dest.OPERAND8: tile // 2, Dest.OPERAND16: tile // 2,
                      Dest.UNSIGNED8: tile // 2}.get(f["dst"], 0)
            lanes = [{"present": 1, "row": (row_of("dst", i) + offset) & 0xFFFF,
                      "token": entries[i][0] if f["dst_index"] == Index.QUEUE_TOKEN else i,
                      **({"multiplier": entries[i][1]} if named else {})} for i in group]
            self.contexts.append({
                "route": f["dst"], "tile": tile, "slot": tile % MAX_BLOCK, "load": int(group.start == 0),
                "divide": 0, "final": 0, "base": f["dst_row"] & 1023,
                "pitch": f["dst_plane"] if f["dst"] == Dest.OPERAND16 else f["dst_stride"],
                **{name: f[name] for name in ("activation", "affine", "gate_weight", "accumulate", "shift1", "shift2",
                                              "act_shift")},
                "lanes": lanes})

        for tiles in blocks:
            for group in groups:
                for tile in tiles:
                    one(tile, group)
        end = first_row + tile_rows * f["tiles"] - self.ring
        if f["retain_weights"]:
            self.held = max(self.held, end)
        elif gate or keeps:
            self.release(end)
        else:
            for tiles in blocks:
                self.release(first_row + tile_rows * tiles.stop - self.ring)

    def ring_step(self, base: int, step: int, packed: int) -> int:
        """Weights of a step of a tile whose rows begin at ``base``; packed ones are nibbles of a row's bytes."""
        if not packed:
            return self.tb.step_row("ring", base + step)
        row = self.tb.step_row("ring", base + step // 2).to_bytes(self.tb.config.row_bytes, "little")
        codes = [byte >> 4 if step % 2 else byte & 15 for byte in row]
        return int.from_bytes(bytes(WEIGHT_LEVELS[code] & 255 for code in codes), "little")

    def release(self, rows: int) -> None:
        self.releases.append(rows)
        self.ring += rows
        self.held = max(0, self.held - rows)

    def attention(self, f: dict) -> None:
        cfg, multipliers = self.tb.config, self.tb.multipliers(self.attentions)
        self.attentions += 1
        hs, chunks, key_tiles = f["head_slices"], ceil_div(f["keys"], SLICE), ceil_div(f["keys"], TN)
        groups = [range(g, min(g + cfg.tm, f["queries"])) for g in range(0, f["queries"], cfg.tm)]
        pending = []
        for head in range(f["heads"]):
            row_count = (head * hs + hs - 1) // SLICES_PER_ROW - head * hs // SLICES_PER_ROW + 1
            self.loads += f["queries"] * row_count
            for group in groups:
                pending.append((head, group, len(self.jobs)))
                self.scores(f, head, group, multipliers[head], key_tiles)
                if len(pending) > SCORES_AHEAD:
                    self.outputs(f, *pending.pop(0), chunks)
        for left in pending:
            self.outputs(f, *left, chunks)

    def scores(self, f, head, group, multiplier, key_tiles) -> None:
        cfg, hs = self.tb.config, f["head_slices"]
        rows = [f["q_row"] + q * f["q_stride"] for q in group] + [None] * (cfg.tm - len(group))
        self.jobs.append({"multiplier": multiplier, "shift1": f["shift1"], "wide": f["wide_p"], "p_shift": f["p_shift"],
                          "keys": f["keys"], "lanes": len(group)})
        for kt in range(key_tiles):
            for n in range(hs * cfg.steps):
                slice_ = head * hs + n // cfg.steps
                tile = f["key_tile"] + kt * f["key_pitch"] + slice_
                of_slice = [None if row is None else row + slice_ // SLICES_PER_ROW for row in rows]
                operands, exps = self.lane_slices(of_slice, slice_, n % cfg.steps)
                weight = self.tb.step_row("key", (tile * cfg.steps + n % cfg.steps) % cfg.kv_rows)
                self.beat(operands, exps, weight, unsigned=False, first=n == 0, shift8=0,
                          last=n == hs * cfg.steps - 1, kind="key")
            self.contexts.append({"route": Route.SOFTMAX.value, "tile": kt, "final": 0,
                                  "lanes": [{"present": 1, "token": f["keys"]} for _ in group]})

    def outputs(self, f, head, group, job, chunks) -> None:
        cfg, of_keys = self.tb.config, f["class_scores"]
        blocks = ceil_div(f["keys"], TN) if of_keys else f["head_slices"] // 2
        route = Route.RESIDUAL if of_keys else Route.OPERAND16 if f["wide"] else Route.OPERAND8
        for dt in range(blocks):
            block = head * blocks + dt
            for plane in range(1 + f["wide_p"]):
                for n in range(chunks * cfg.steps):
                    chunk, step = divmod(n, cfg.steps)
                    row = ((f["value_tile"] + block * chunks + chunk) * cfg.steps + step) % cfg.kv_rows
                    operands = [self.tb.probability(job, chunk, plane, lane)[step * cfg.tk:(step + 1) * cfg.tk]
                                for lane in range(len(group))] + [None] * (cfg.tm - len(group))
                    weight = self.tb.step_row("value", row)
                    if of_keys:
                        weight = int.from_bytes(bytes(127 * (TN * dt + c == SLICE * chunk + cfg.tk * step + j)
                                                      for c in range(TN) for j in range(cfg.tk)), "little")
                    self.beat(operands, [0] * cfg.tm, weight, unsigned=True,
                              first=n == plane == 0, shift8=n == 0 and plane,
                              last=n == chunks * cfg.steps - 1 and plane == f["wide_p"], kind="value")
            ratios = [self.tb.ratio(job, lane) for lane in range(len(group))]
            self.contexts.append({
                "route": route.value, "tile": block, "slot": 0 if of_keys else dt,
                "load": int(block == 0 if of_keys else group.start == 0), "activation": 0, "affine": 1,
                "gate_weight": 0, "accumulate": int(of_keys and head > 0),
                "divide": 1, "shift2": f["shift2"], "pitch": f["dst_plane"], "final": 0,
                "lanes": [{"present": 1, "multiplier": recip, "shift": shift,
                           "row": (f["dst_row"] + q * f["dst_stride"] + (dt if of_keys else block // 2)) & 0xFFFF}
                          for q, (recip, shift) in zip(group, ratios, strict=True)]})
