# SPDX-License-Identifier: Apache-2.0
"""Weight stream decoder: parameters and weights of an instruction from the bytes of the weight planes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golden.spec.isa import STREAM_LINES
from golden.spec.machine import LINE, NORM_PARAM_LINES, PARAM_LINES, SLICE, SLICE_LINES, TN, MachineConfig
from golden.spec.tiling import attention_lines, linear_lines, linear_tile_lines, norm_lines

_PARAM = np.dtype([("bias", "<i4"), ("multiplier", "<u2"), ("gain", "<i2"), ("offset", "<i4")])
_NORM_PARAM = np.dtype([("gain", "<i2"), ("offset", "<i4")])


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
        """Slices of weights that LINEARs retained in the ring, oldest first."""

    def linear(self, f: dict) -> LinearStream:
        """What a LINEAR with the fields ``f`` uses: parameters from the stream; weights from there, or retained."""
        c, first, tiles, slices = self.config, f["stream"], f["tiles"], f["slices"]
        pitch = linear_tile_lines(slices)
        if f["reuse_weights"]:
            params = np.stack([self._read((first + tile * pitch) % STREAM_LINES, PARAM_LINES) for tile in range(tiles)])
            end = f["reuse_offset"] + tiles * slices
            weights = self._retained[f["reuse_offset"]:end]
            self._retained = self._retained if f["retain_weights"] else self._retained[end:]
        else:
            lines = self._read(first, linear_lines(tiles, slices)).reshape(tiles, pitch, LINE)
            params, weights = lines[:, :PARAM_LINES], lines[:, PARAM_LINES:].reshape(-1, SLICE_LINES, LINE)
            self._retained = np.concatenate([self._retained, weights]) if f["retain_weights"] else self._retained[:0]
        steps = weights.reshape(tiles, slices * c.steps, TN, c.tk).transpose(0, 2, 1, 3)
        return LinearStream(np.ascontiguousarray(params).reshape(-1).view(_PARAM),
                            np.ascontiguousarray(steps).reshape(tiles * TN, slices * SLICE).view(np.int8))

    def norm(self, first: int, blocks: int) -> np.ndarray:
        """Record array with gain and offset of each channel."""
        assert norm_lines(blocks) == blocks * NORM_PARAM_LINES
        return self._read(first, norm_lines(blocks)).reshape(-1).view(_NORM_PARAM)

    def attention(self, first: int, heads: int, head_slices: int) -> tuple[np.ndarray, np.ndarray]:
        """Score multipliers uint16 [heads] and the parameters of the output channels."""
        lines = self._read(first, attention_lines(heads, head_slices))
        return lines[0].view("<u2")[:heads], lines[1:].reshape(-1).view(_PARAM)
