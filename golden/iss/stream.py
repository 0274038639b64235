# SPDX-License-Identifier: Apache-2.0
"""Weight stream decoder: parameters and weights of an instruction from the bytes of the weight planes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golden.ops.matmul import unpacked
from golden.spec.isa import STREAM_LINES, Opcode, stream_lines
from golden.spec.machine import (
    LINE,
    NORM_PARAM_LINES,
    NORM_PARAMS,
    PARAM_LINES,
    PARAMS,
    SCORE_MULTIPLIER,
    SLICE,
    SLICE_LINES,
    TN,
    MachineConfig,
)

_PARAM, _NORM_PARAM = np.dtype(list(PARAMS)), np.dtype(list(NORM_PARAMS))


@dataclass(frozen=True)
class LinearStream:
    """Stream part of one LINEAR: ``params`` with bias, multiplier, gain, offset of each output channel;
    ``weight`` int8 [32 * tiles, 16 * slices]."""

    params: np.ndarray
    weight: np.ndarray


class Stream:
    """Weight stream with its retained weights; ``read(first, count)`` gives lines uint8 [count, 64]."""

    def __init__(self, config: MachineConfig, read: Callable[[int, int], np.ndarray]):
        self.config, self._read = config, read
        self._retained = np.zeros((0, SLICE_LINES, LINE), np.uint8)
        """Slices of the ring with weights that LINEARs retained, oldest first."""

    def linear(self, f: dict) -> LinearStream:
        """What a LINEAR with the fields ``f`` uses: parameters from the stream; weights from there, or retained."""
        c, first, tiles, slices = self.config, f["stream"], f["tiles"], f["slices"]
        used, stored = stream_lines(Opcode.LINEAR, f, c), f["tiles"] * slices >> f["packed"]
        if f["reuse_weights"]:
            starts = [(first + tile * used.pitch) % STREAM_LINES for tile in range(tiles)]
            params = np.stack([self._read(start, PARAM_LINES) for start in starts])
            end = f["reuse_offset"] + stored
            weights = self._retained[f["reuse_offset"]:end]
            self._retained = self._retained if f["retain_weights"] else self._retained[end:]
        else:
            lines = self._read(first, used.lines).reshape(tiles, used.pitch, LINE)
            params, weights = lines[:, :PARAM_LINES], lines[:, PARAM_LINES:].reshape(-1, SLICE_LINES, LINE)
            self._retained = np.concatenate([self._retained, weights]) if f["retain_weights"] else self._retained[:0]
        rows = weights.reshape(-1, c.row_bytes)
        rows = unpacked(rows) if f["packed"] else rows
        steps = rows.reshape(tiles, slices * c.steps, TN, c.tk).transpose(0, 2, 1, 3)
        return LinearStream(np.ascontiguousarray(params).reshape(-1).view(_PARAM),
                            np.ascontiguousarray(steps).reshape(tiles * TN, slices * SLICE).view(np.int8))

    def norm(self, f: dict) -> np.ndarray:
        """Record array with gain and offset of each channel of a NORM with the fields ``f``."""
        lines = self._read(f["stream"], stream_lines(Opcode.NORM, f, self.config).lines)
        blocks = lines.reshape(f["blocks"], -1, LINE)[:, :NORM_PARAM_LINES]
        return np.ascontiguousarray(blocks).reshape(-1).view(_NORM_PARAM)

    def attention(self, f: dict) -> tuple[np.ndarray, np.ndarray]:
        """Score multipliers uint16 [heads] of an ATTENTION and the parameters of its output channels."""
        lines = self._read(f["stream"], stream_lines(Opcode.ATTENTION, f, self.config).lines)
        params = lines[self.config.beat_lines:]
        return lines[0].view(SCORE_MULTIPLIER)[:f["heads"]], params.reshape(-1).view(_PARAM)
