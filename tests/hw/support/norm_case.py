# SPDX-License-Identifier: Apache-2.0
"""One NORM with random rows and parameters: its instruction, its memories, and what it must write; and a memory of rows
that answers the unit."""

import struct

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from golden.ops.layernorm import Norm, eps_code, layernorm
from golden.spec.isa import Opcode, encode
from golden.spec.machine import LINE, NORM_PARAM_BYTES
from golden.spec.model import BLOCK
from hw.interfaces import LINE_BITS
from sim.streams import seeded


class Case:
    """One NORM: rows of residuals x [N, D], parameters, and where everything lies."""

    def __init__(self, rng, tokens: int, blocks: int, *, wide: bool, normalized: bool, kind: str = "spread"):
        dim = BLOCK * blocks
        gen = np.random.default_rng(rng.getrandbits(64))
        scale = {"spread": rng.choice([20, 300, 5000, 12000]), "flat": 0, "tiny": 1, "extreme": 0, "spike": 3}[kind]
        x = gen.normal(rng.randint(-500, 500), scale, (tokens, dim))
        if kind == "flat":
            x[:] = gen.integers(-32768, 32768, (tokens, 1))
        if kind == "extreme":
            x = gen.choice([-32768, 32767], (tokens, dim))
        if kind == "spike":
            x[np.arange(tokens), gen.integers(0, dim, tokens)] = gen.choice([-32768, 32767], tokens)
        self.x = np.clip(np.rint(x), -32768, 32767).astype(np.int16)
        self.eps = rng.choice([0, eps_code(1e-6, dim), eps_code(1e-5, dim), (1 << 40) - 1])
        # Normalized values are about 2**11 for one deviation: outputs of a few hundred need gain / 2**shift near 1/8.
        self.shift, self.normalized_shift = rng.choice([0, 8, 11, 15, 19, 31]), rng.choice([0, 0, 1, 2, 3])
        reach = min(32767, max(1, (1 << self.shift) * rng.choice([1, 2, 16]) // (64 if not wide else 2)))
        self.gain = gen.integers(-reach, reach + 1, dim)
        top = min((1 << 31) - 1, 200 << self.shift)
        self.offset = gen.integers(-top, top + 1, dim)
        self.tokens, self.blocks, self.wide, self.normalized = tokens, blocks, wide, normalized
        rows = -(-blocks // 2)
        self.src_row, self.src_stride = rng.randint(0, 5000), blocks + rng.randint(0, 3)
        planes = 2 if wide else 1
        self.dst_plane, self.normalized_plane = rows + rng.randint(0, 2), rows + rng.randint(0, 2)
        self.dst_row, self.dst_stride = rng.randint(0, 999), self.dst_plane * planes + rng.randint(0, 2)
        self.normalized_row = 30000 + rng.randint(0, 999)
        self.normalized_stride = 2 * self.normalized_plane + rng.randint(0, 2)

    def word(self) -> int:
        return encode(Opcode.NORM, tokens=self.tokens, blocks=self.blocks, src_row=self.src_row,
                      src_stride=self.src_stride, dst_row=self.dst_row, dst_stride=self.dst_stride,
                      dst_plane=self.dst_plane if self.wide else 0, wide=int(self.wide),
                      normalized=int(self.normalized), normalized_row=self.normalized_row,
                      normalized_stride=self.normalized_stride, normalized_plane=self.normalized_plane,
                      shift=self.shift, normalized_shift=self.normalized_shift, eps=self.eps)

    def param_lines(self) -> list[int]:
        raw = b"".join(struct.pack("<hi", int(g), int(o)) for g, o in zip(self.gain, self.offset, strict=True))
        assert len(raw) == NORM_PARAM_BYTES * len(self.gain)
        return [int.from_bytes(raw[i:i + LINE], "little") for i in range(0, len(raw), LINE)]

    def residual_rows(self) -> dict[int, int]:
        return {self.src_row + t * self.src_stride + b:
                int.from_bytes(self.x[t, b * BLOCK:(b + 1) * BLOCK].astype("<i2").tobytes(), "little")
                for t in range(self.tokens) for b in range(self.blocks)}

    def record(self) -> Norm:
        return Norm(gain=self.gain, offset=self.offset, shift=self.shift, eps=self.eps, wide=self.wide,
                    normalized_shift=self.normalized_shift)

    def expected(self) -> dict[tuple[int, int], tuple[bytes, int]]:
        """(row, half) -> (32 bytes, exponent) of everything the NORM writes."""
        operand, normalized = layernorm(self.x, self.record())
        found = {}

        def put(row, stride, plane, values):
            for t in range(self.tokens):
                for b in range(self.blocks):
                    part = values[t, b * BLOCK:(b + 1) * BLOCK]
                    for n, byte in enumerate((part >> 8, part & 255)):
                        key = row + t * stride + n * plane + b // 2, b % 2
                        assert key not in found
                        found[key] = (byte & 255).astype(np.uint8).tobytes(), 0

        if self.wide:
            put(self.dst_row, self.dst_stride, self.dst_plane, operand.bytes.astype(np.int64))
        else:
            for t in range(self.tokens):
                for b in range(self.blocks):
                    part = operand.bytes[t, b * BLOCK:(b + 1) * BLOCK].tobytes()
                    found[self.dst_row + t * self.dst_stride + b // 2, b % 2] = part, int(operand.exp[t, b])
        if self.normalized:
            put(self.normalized_row, self.normalized_stride, self.normalized_plane, normalized.astype(np.int64))
        return found


class RowAnswers:
    """Answers the stream ``request`` at ``answer`` from ``rows``, ``latency`` cycles after each transfer; noise in
    between. ``asked`` lists what was read."""

    def __init__(self, dut, request: str, answer: str, stall, latency: int):
        self.dut, self.stall, self.rng, self.rows, self.asked = dut, stall, seeded(request), {}, []
        self.valid, self.ready, self.row = (getattr(dut, f"{request}__{part}") for part in ("valid", "ready",
                                                                                            "payload"))
        self.answer, self.latency = getattr(dut, answer), latency
        self.task = cocotb.start_soon(self._run())

    async def _run(self):
        pipe = [None] * (self.latency - 1)
        while True:
            self.ready.value = ready = int(not self.stall(self.rng))
            await RisingEdge(self.dut.clk)
            asked = None
            if int(self.valid.value) and ready and not int(self.dut.rst.value):
                asked = int(self.row.value)
                self.asked.append(asked)
            await FallingEdge(self.dut.clk)
            pipe.append(asked)
            now = pipe.pop(0)
            self.answer.value = self.rng.getrandbits(LINE_BITS) if now is None else self.rows[now]
