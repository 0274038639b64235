# SPDX-License-Identifier: Apache-2.0
"""Scoreboard of the epilogue's bench: tiles, and what its outputs must carry for them, from the reference models in
``golden.ops``."""

from dataclasses import dataclass, field

import numpy as np

from golden.ops.arith import block_quantize, rsh, sat, wrap32
from golden.ops.epilogue import Epilogue, affine, epilogue, to_key_value, to_residual, to_unsigned
from golden.spec.activations import ACT_SHIFT_MAX, BY_CODE
from golden.spec.machine import LANES, PARAM_BYTES, SLICE, TN, MachineConfig
from golden.spec.tiling import key_tile, value_tile
from hw.interfaces import Route

INT32 = (1 << 31) - 1


@dataclass
class Params:
    """One set of 32 channels."""

    bias: np.ndarray
    multiplier: np.ndarray
    gain: np.ndarray
    offset: np.ndarray

    def lines(self) -> list[int]:
        text = b"".join(int(b).to_bytes(4, "little", signed=True) + int(m).to_bytes(2, "little")
                        + int(g).to_bytes(2, "little", signed=True) + int(o).to_bytes(4, "little", signed=True)
                        for b, m, g, o in zip(self.bias, self.multiplier, self.gain, self.offset, strict=True))
        assert len(text) == TN * PARAM_BYTES
        return [int.from_bytes(text[n:n + 64], "little") for n in range(0, len(text), 64)]


@dataclass
class Tile:
    """One tile: its context and its accumulators [tm, 32]; ``params`` is the set in its slot."""

    context: dict
    acc: np.ndarray
    params: Params


@dataclass
class Stimulus:
    """All inputs, and what each output must carry, in order."""

    beats: list = field(default_factory=list)
    contexts: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    out: dict = field(default_factory=lambda: {name: [] for name in ("residual", "operand", "key", "value", "gate",
                                                                     "score")})
    ends: list = field(default_factory=list)
    """For each instruction how many transfers of every output precede its retirement."""
    refused: int = 0
    v: list = field(default_factory=list)
    maps: list = field(default_factory=list)
    """Results for UNSIGNED8 before they were clipped."""


def random_params(rng) -> Params:
    return Params(
        np.array([rng.choice((rng.randint(-1 << 24, 1 << 24), rng.randint(-1 << 31, INT32))) for _ in range(TN)]),
        np.array([rng.choice((65535, rng.randint(1, 65535), rng.randint(20000, 60000))) for _ in range(TN)]),
        np.array([rng.choice((-32768, 32767, rng.randint(-32768, 32767), rng.randint(-300, 300))) for _ in range(TN)]),
        np.array([rng.choice((rng.randint(-1 << 31, INT32), rng.randint(-1 << 20, 1 << 20))) for _ in range(TN)]))


def accumulators(rng, tm: int, params: Params, shift1: int, spread: int, multipliers=None) -> np.ndarray:
    """Drawn from the output: accumulators whose ``u`` lies within ``spread``, exact ties among them. In some tiles a
    few are anything, and wrap when the bias comes."""
    acc, wild = np.zeros((tm, TN), np.int64), rng.random() < 0.1
    for lane in range(tm):
        for c in range(TN):
            multiplier = int(params.multiplier[c]) if multipliers is None else multipliers[lane]
            bias = int(params.bias[c]) if multipliers is None else 0
            u2 = 2 * rng.randint(-spread, spread) + rng.choice((0, 0, 1))
            s = ((u2 << shift1) // 2 + rng.choice((0, -1, 1))) // max(1, multiplier)
            s = max(-INT32, min(INT32, s))
            acc[lane, c] = max(-INT32, min(INT32, s - bias))
            if wild and rng.random() < 0.1:
                acc[lane, c] = rng.choice((-1 << 31, INT32, rng.randint(-1 << 31, INT32)))
    return acc


class Testbench:
    """Builds instructions and follows the residual memory."""

    def __init__(self, cfg: MachineConfig, rng, residual_rows: int = 64):
        self.cfg, self.rng = cfg, rng
        self.residual = np.array([[rng.randint(-32768, 32767) for _ in range(TN)] for _ in range(residual_rows)])
        self.initial = self.residual.copy()
        self.slots: list[Params | None] = [None] * 4
        self.stimulus = Stimulus()

    def tile(self, route: Route, *, lanes: list[dict], load: bool, slot: int, spread: int = 0, **fields) -> None:
        """One tile; ``lanes`` are the present ones, the rest is absent."""
        rng, tm, s = self.rng, self.cfg.tm, self.stimulus
        if load:
            self.slots[slot] = random_params(rng)
            s.lines += self.slots[slot].lines()
        params = self.slots[slot] or random_params(rng)
        # Absent lanes carry whatever: nothing of it may come out.
        filler = [{"present": 0, "row": rng.getrandbits(16), "token": rng.getrandbits(12)}
                  for _ in range(tm - len(lanes))]
        context = {"route": route.value, "slot": slot, "load": int(load), "shift1": rng.randint(8, 30),
                   "shift2": 0, "tile": 0, "final": 0} | fields
        context["lanes"] = [{"present": 1} | lane for lane in lanes] + filler
        multipliers = [lane.get("multiplier", 0) for lane in context["lanes"]] if context.get("divide") else None
        shift = context["lanes"][0].get("shift", 0) if multipliers else context["shift1"]
        if multipliers:
            for lane in context["lanes"]:
                lane["shift"] = shift
        acc = accumulators(rng, tm, params, shift, spread or rng.choice((60, 240, 500, 1100, 9000, 60000)), multipliers)
        s.contexts.append(context)
        s.beats += [{"value": [int(x) for x in acc[lane]], "lane": lane} for lane in range(tm)]
        self._expect(Tile(context, acc, params), len(lanes))
        if context["final"]:
            s.ends.append({name: len(values) for name, values in s.out.items()})

    def _arithmetic(self, tile: Tile, count: int) -> np.ndarray:
        c, p, acc = tile.context, tile.params, tile.acc[:count]
        if c.get("divide"):
            multiplier = np.array([lane["multiplier"] for lane in c["lanes"][:count]])
            shift = np.array([lane["shift"] for lane in c["lanes"][:count]])
            u = sat(rsh(acc * multiplier[:, None], shift[:, None]), 16, "u")
            return affine(u, p.gain, p.offset, c["shift2"])
        record = Epilogue(bias=p.bias, multiplier=p.multiplier, shift1=c["shift1"],
                          activation=c.get("activation", 0), affine=bool(c.get("affine")),
                          gate_weight=bool(c.get("gate_weight")), gain=p.gain,
                          offset=p.offset, shift2=c["shift2"], act_shift=c.get("act_shift", 0))
        weight = np.array([lane["multiplier"] for lane in c["lanes"][:count]]) if record.gate_weight else None
        return epilogue(acc, record, weight)

    def _expect(self, tile: Tile, count: int) -> None:
        c, out, route = tile.context, self.stimulus.out, Route(tile.context["route"])
        if route == Route.SOFTMAX:
            for lane, record in enumerate(c["lanes"][:count]):
                for half in range(2):
                    if SLICE * (2 * c["tile"] + half) < record["token"]:
                        out["score"].append({"value": _row(tile.acc[lane], half), "chunk": 2 * c["tile"] + half,
                                             "lane": lane})
            return
        if route == Route.GATE:
            out["gate"] += [{"value": _row(row, half), "low": half, "tile": c["tile"]}
                            for row in wrap32(tile.acc[:count] + tile.params.bias) for half in range(2)]
            return
        v = self._arithmetic(tile, count)
        self.stimulus.v.append(v)
        for lane, record in enumerate(c["lanes"][:count]):
            self._write(route, c, record, v[lane])

    def _write(self, route: Route, c: dict, lane: dict, v: np.ndarray) -> None:
        out, odd = self.stimulus.out, c["tile"] & 1
        if route == Route.RESIDUAL:
            row = self.residual[lane["row"]]
            row[:] = to_residual(v, row if c.get("accumulate") else None)
            for half in range(2):
                bits = _bits(_row(row, half), 16)
                out["residual"].append({"row": lane["row"], "mask": 1 << half, "data": bits, "half": half})
        elif route == Route.OPERAND8:
            bytes_, exp = block_quantize(v[None])
            out["operand"].append({"row": lane["row"], "mask": 1 << odd, "data": _bits(bytes_[0], 8),
                                   "exp": int(exp[0, 0])})
        elif route == Route.OPERAND16:
            word = sat(v, 16, "wide")
            for row, plane in ((lane["row"], word >> 8), (lane["row"] + c["pitch"], word)):
                out["operand"].append({"row": row, "mask": 1 << odd, "data": _bits(plane, 8), "exp": 0})
        elif route == Route.UNSIGNED8:
            self.stimulus.maps += [int(x) for x in v]
            out["operand"].append({"row": lane["row"], "mask": 1 << odd, "exp": 0,
                                   "data": _bits(to_unsigned(v[None]).bytes[0], 8)})
        else:
            k = to_key_value(v)
            for half in range(2):
                data = [int(x) for x in _row(k, half)]
                if route == Route.KEY:
                    tile, column = key_tile(c["base"], c["pitch"], lane["token"], 2 * c["tile"] + half)
                    entry = {"tile": tile, "column": column, "data": data}
                else:
                    tile, position = value_tile(c["base"], c["pitch"], lane["token"], c["tile"])
                    entry = {"tile": tile, "position": position, "half": half, "data": data}
                if tile < self.cfg.kv_tiles:
                    out[route.name.lower()].append(entry)
                else:
                    self.stimulus.refused += 1

    # Instructions.

    def lanes(self, count: int, **fields) -> list[dict]:
        """``count`` lanes with random rows, all different."""
        rows = self.rng.sample(range(len(self.residual)), count)
        return [{"row": row, "token": self.rng.randrange(200)} | fields for row in rows]

    def linear(self, route: Route, tiles: int, groups: int, last_count: int, **fields) -> None:
        """LINEAR's order: output tile, then token group; parameters loaded by the first group."""
        for tile in range(tiles):
            for group in range(groups):
                final = tile == tiles - 1 and group == groups - 1
                lanes = self.lanes(last_count if group == groups - 1 else self.cfg.tm)
                if fields.get("gate_weight"):
                    for lane in lanes:
                        lane["multiplier"] = self.rng.choice((0, 65535, self.rng.randrange(65536)))
                self.tile(route, lanes=lanes, load=group == 0, slot=tile & 1, tile=tile, final=int(final), **fields)

    def gate(self, tiles: int, groups: int, last_count: int) -> None:
        for group in range(groups):
            count = last_count if group == groups - 1 else self.cfg.tm
            for tile in range(tiles):
                self.tile(Route.GATE, lanes=self.lanes(count), load=group == 0, slot=tile, tile=tile,
                          final=int(tile == tiles - 1 and group == groups - 1))

    def attention(self, heads: int, groups: int, blocks: int, keys: int, last_count: int, wide: bool) -> None:
        """Scores of a group, then the outputs of the group before it."""
        waiting = []
        shift2 = self.rng.randint(8, 26)
        for head in range(heads):
            for group in range(groups):
                count = last_count if group == groups - 1 else self.cfg.tm
                for tile in range(-(-keys // TN)):
                    self.tile(Route.SOFTMAX, lanes=self.lanes(count) and [
                        lane | {"token": keys} for lane in self.lanes(count)], load=False, slot=0, tile=tile)
                waiting.append((head, group, count))
                while len(waiting) > (0 if (head, group) == (heads - 1, groups - 1) else 1):
                    self._outputs(*waiting.pop(0), heads, groups, blocks, wide, shift2)

    def _outputs(self, head, group, count, heads, groups, blocks, wide, shift2):
        for block in range(blocks):
            final = (head, group, block) == (heads - 1, groups - 1, blocks - 1)
            shift, recip = self.rng.randint(8, 35), self.rng.randint(1 << 15, 65535)
            self.tile(Route.OPERAND16 if wide else Route.OPERAND8,
                      lanes=[lane | {"multiplier": recip, "shift": shift} for lane in self.lanes(count)],
                      load=group == 0, slot=block, tile=head * blocks + block, divide=1, affine=1, shift2=shift2,
                      pitch=self.rng.randrange(256), final=int(final))

    def random_instruction(self) -> None:
        rng = self.rng
        count, groups, tiles = rng.randint(1, self.cfg.tm), rng.randint(1, 3), rng.randint(1, 4)
        kind = rng.choice(("residual", "residual", "score", "operand8", "operand16", "unsigned8", "key", "value",
                           "gate", "attention"))
        extra = {"shift2": rng.choice((rng.randint(0, 40), rng.randint(14, 30), rng.randint(18, 26)))}
        activation = {"activation": rng.randrange(1, len(BY_CODE))}
        extra |= rng.choice(({}, activation, {"affine": 1}, activation | {"affine": 1}))
        extra["act_shift"] = rng.randint(0, ACT_SHIFT_MAX)
        if kind == "residual":
            self.linear(Route.RESIDUAL, tiles, groups, count, accumulate=rng.randrange(2), **extra)
        elif kind == "score":
            self.linear(Route.RESIDUAL, tiles, groups, count, accumulate=1, gate_weight=1, shift2=rng.randint(12, 20))
        elif kind in ("operand8", "operand16", "unsigned8"):
            self.linear(Route[kind.upper()], tiles, groups, count, pitch=rng.randrange(256), **extra)
        elif kind == "key":
            self.linear(Route.KEY, tiles, groups, count, base=rng.randrange(4), pitch=rng.randrange(3), **extra)
        elif kind == "value":
            self.linear(Route.VALUE, tiles, groups, count, base=rng.randrange(4), pitch=rng.randrange(3), **extra)
        elif kind == "gate":
            self.gate(tiles, groups, count)
        else:
            keys = rng.choice((16, 48, rng.randint(1, 64)))
            self.attention(rng.randint(1, 2), groups, rng.randint(1, 2), keys, count, bool(rng.randrange(2)))


def _row(values, half: int) -> list[int]:
    return [int(x) for x in values[half * LANES:(half + 1) * LANES]]


def _bits(values, width: int) -> int:
    return sum((int(x) & ((1 << width) - 1)) << (width * n) for n, x in enumerate(values))
