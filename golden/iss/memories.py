# SPDX-License-Identifier: Apache-2.0
"""On-chip memories as arrays, with the row arithmetic of ``golden.spec.tiling``."""

import numpy as np

from golden.iss.faults import check
from golden.iss.hazards import HazardRecorder
from golden.iss.trace import Write
from golden.ops.operand import Operand
from golden.spec.legality import Resource
from golden.spec.machine import LINE, SLICE, TN, MachineConfig
from golden.spec.status import Status
from golden.spec.tiling import BLOCKS_PER_ROW, SLICES_PER_ROW, ceil_div


class Memories:
    """State of all on-chip memories: ``operand`` uint8 [rows, 64], ``exp`` uint8 [rows, 2]; ``residual`` int16 [rows,
    32]; ``key`` int8 [tile, key, channel] and ``value`` int8 [tile, channel, key]. ``index``: the instruction
    reported for a bad row; ``recorder`` gets every use."""

    def __init__(self, config: MachineConfig, recorder: HazardRecorder | None = None):
        self.config, self.index, self.recorder = config, 0, recorder
        self.operand = np.zeros((config.operand_rows, LINE), np.uint8)
        self.exp = np.zeros((config.operand_rows, BLOCKS_PER_ROW), np.uint8)
        self.residual = np.zeros((config.residual_rows, LINE // 2), np.int16)
        self.key = np.zeros((config.kv_tiles, TN, SLICE), np.int8)
        self.value = np.zeros((config.kv_tiles, TN, SLICE), np.int8)

    def rows(self, base: int, tokens: np.ndarray, stride: int, count: int, limit: int, what: str) -> np.ndarray:
        """Row numbers [len(tokens), count]: ``base + token * stride + i``. RANGE_LOCAL beyond ``limit``."""
        rows = base + np.asarray(tokens, np.int64)[:, None] * stride + np.arange(count)
        check(not rows.size or int(rows.max()) < limit, Status.RANGE_LOCAL, self.index,
              f"{what} row {int(rows.max()) if rows.size else 0} of {limit}")
        return rows

    def note(self, resource: Resource, parts: np.ndarray | int, *, write: bool, late: bool = False) -> None:
        """Tell the recorder, if any, which parts of a memory are used: see :mod:`golden.iss.hazards`."""
        if self.recorder is not None:
            self.recorder.use(resource, parts, write, late)

    # -- operands

    def operand_rows(self, base: int, tokens: np.ndarray, stride: int, count: int) -> np.ndarray:
        return self.rows(base, tokens, stride, count, self.config.operand_rows, "operand")

    def read_operand(self, base: int, tokens: np.ndarray, stride: int, slices: int, plane: int = 0, *,
                     wide: bool = False, unsigned: bool = False) -> Operand:
        """``16 * slices`` channels of ``tokens``; ``plane`` rows lie between high and low bytes."""
        rows, n = self.operand_rows(base, tokens, stride, ceil_div(slices, SLICES_PER_ROW)), len(tokens)
        used = _blocks(rows)[:, :ceil_div(slices * SLICE, TN)]
        self.note(Resource.OPERAND, used, write=False)
        data = self.operand[rows].reshape(n, rows.shape[1] * LINE)[:, :slices * SLICE]
        if wide:
            self.note(Resource.OPERAND, used + plane * BLOCKS_PER_ROW, write=False)
            low = self.operand[self.operand_rows(base + plane, tokens, stride, rows.shape[1])]
            low = low.reshape(data.shape[0], -1)[:, :slices * SLICE]
            return Operand((data.view(np.int8).astype(np.int16) << 8) | low)
        exp = self.exp[rows].reshape(n, rows.shape[1] * BLOCKS_PER_ROW)[:, :ceil_div(slices * SLICE, TN)]
        return Operand(np.ascontiguousarray(data if unsigned else data.view(np.int8)), np.ascontiguousarray(exp))

    def write_operand(self, base: int, tokens: np.ndarray, stride: int, plane: int, value: Operand) -> Write:
        """Store whole blocks of 32 channels; wide ones as two planes with exponents 0."""
        parts = value.planes() if value.wide else (value.bytes,)
        blocks = value.shape[1] // TN
        exp = np.zeros((len(tokens), blocks), np.uint8) if value.exp is None else value.exp
        count = ceil_div(blocks, BLOCKS_PER_ROW)
        block_rows, halves = np.arange(blocks) // BLOCKS_PER_ROW, np.arange(blocks) % BLOCKS_PER_ROW
        touched = []
        for p, part in enumerate(parts):
            rows = self.operand_rows(base + p * plane, tokens, stride, count)
            self.operand.reshape(-1, BLOCKS_PER_ROW, TN)[rows[:, block_rows], halves] = (
                part.view(np.uint8).reshape(len(tokens), blocks, TN))
            self.exp[rows[:, block_rows], halves] = exp
            self.note(Resource.OPERAND, _blocks(rows)[:, :blocks], write=True)
            touched.append(rows)
        rows = np.concatenate([r.reshape(-1) for r in touched])
        mask = np.zeros((count, BLOCKS_PER_ROW), bool)
        mask[block_rows, halves] = True
        mask = np.tile(mask.repeat(TN, 1), (len(rows) // count, 1))
        return Write("operand", rows, self.operand[rows], mask, self.exp[rows])

    # -- residual

    def residual_rows(self, base: int, tokens: np.ndarray, stride: int, count: int) -> np.ndarray:
        return self.rows(base, tokens, stride, count, self.config.residual_rows, "residual")

    def read_residual(self, base: int, tokens: np.ndarray, stride: int, blocks: int, *,
                      late: bool = False) -> np.ndarray:
        """int16 [len(tokens), 32 * blocks]; ``late``: by the epilogue, which will write them."""
        rows = self.residual_rows(base, tokens, stride, blocks)
        self.note(Resource.RESIDUAL, rows, write=False, late=late)
        return self.residual[rows].reshape(len(tokens), blocks * TN)

    def write_residual(self, base: int, tokens: np.ndarray, stride: int, values: np.ndarray) -> Write:
        blocks = values.shape[1] // TN
        rows = self.residual_rows(base, tokens, stride, blocks).reshape(-1)
        self.residual[rows] = values.reshape(-1, TN)
        self.note(Resource.RESIDUAL, rows, write=True)
        return self.residual_write(rows)

    def residual_write(self, rows: np.ndarray) -> Write:
        data = self.residual[rows].astype("<i2").view(np.uint8)
        return Write("residual", rows, data, np.ones(data.shape, bool))

    # -- keys and values

    def _kv(self, name: str, tiles: np.ndarray) -> np.ndarray:
        check(not tiles.size or int(tiles.max()) < self.config.kv_tiles, Status.RANGE_LOCAL, self.index,
              f"{name} tile {int(tiles.max()) if tiles.size else 0} of {self.config.kv_tiles}")
        return tiles

    def _key_tiles(self, base: int, pitch: int, tokens: np.ndarray, slices: int) -> np.ndarray:
        return self._kv("K", base + tokens[:, None] // TN * pitch + np.arange(slices))

    def _value_tiles(self, base: int, pitch: int, tokens: np.ndarray, tiles: int) -> np.ndarray:
        return self._kv("V", base + np.arange(tiles) * pitch + tokens[:, None] // SLICE)

    def write_key(self, base: int, pitch: int, tokens: np.ndarray, values: np.ndarray) -> Write:
        """int8 [len(tokens), channels] as columns of K tiles."""
        tiles = self._key_tiles(base, pitch, tokens, values.shape[1] // SLICE)
        self.key[tiles, tokens[:, None] % TN] = values.reshape(*tiles.shape, SLICE)
        self.note(Resource.KEY, tiles * TN + tokens[:, None] % TN, write=True)
        mask = np.zeros(self.key.shape, bool)
        mask[tiles, tokens[:, None] % TN] = True
        return self._kv_write("key", self.key, mask, tiles)

    def write_value(self, base: int, pitch: int, tokens: np.ndarray, values: np.ndarray) -> Write:
        """int8 [len(tokens), channels] as input positions of V tiles."""
        tiles = self._value_tiles(base, pitch, tokens, values.shape[1] // TN)
        self.value[tiles, :, tokens[:, None] % SLICE] = values.reshape(*tiles.shape, TN)
        self.note(Resource.VALUE, tiles * SLICE + tokens[:, None] % SLICE, write=True)
        mask = np.zeros(self.value.shape, bool)
        mask[tiles, :, tokens[:, None] % SLICE] = True
        return self._kv_write("value", self.value, mask, tiles)

    def _kv_write(self, name: str, memory: np.ndarray, mask: np.ndarray, tiles: np.ndarray) -> Write:
        used, steps, tk = np.unique(tiles), self.config.steps, self.config.tk

        def step_rows(a: np.ndarray) -> np.ndarray:
            return a[used].reshape(-1, TN, steps, tk).transpose(0, 2, 1, 3).reshape(-1, TN * tk)

        rows = (used[:, None] * steps + np.arange(steps)).reshape(-1)
        return Write(name, rows, step_rows(memory).view(np.uint8), step_rows(mask))

    def read_key(self, base: int, pitch: int, keys: int, slices: int) -> np.ndarray:
        """int8 [keys, 16 * slices]."""
        tokens = np.arange(keys)
        tiles, columns = self._key_tiles(base, pitch, tokens, slices), tokens[:, None] % TN
        self.note(Resource.KEY, tiles * TN + columns, write=False)
        return self.key[tiles, columns].reshape(keys, -1)

    def read_value(self, base: int, pitch: int, keys: int, tiles: int) -> np.ndarray:
        """int8 [keys, 32 * tiles]."""
        tokens = np.arange(keys)
        numbers, positions = self._value_tiles(base, pitch, tokens, tiles), tokens[:, None] % SLICE
        self.note(Resource.VALUE, numbers * SLICE + positions, write=False)
        return self.value[numbers, :, positions].reshape(keys, -1)


def _blocks(rows: np.ndarray) -> np.ndarray:
    """Numbers of the blocks of 32 channels in operand rows [n, count]: [n, 2 * count]."""
    return (rows[..., None] * BLOCKS_PER_ROW + np.arange(BLOCKS_PER_ROW)).reshape(len(rows), -1)
