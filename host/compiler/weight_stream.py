# SPDX-License-Identifier: Apache-2.0
"""The weight stream: parameters and weights as 64-byte lines in consumption order, split into one plane a port."""

import numpy as np
from numpy.typing import ArrayLike

from golden.ops.gate import split
from golden.ops.matmul import packed as pack
from golden.ops.window import window_weight
from golden.spec.legality import LOGITS
from golden.spec.machine import LINE, MAX_HEADS, NORM_PARAMS, PARAMS, SCORE_MULTIPLIER, SLICE, TN, MachineConfig
from golden.spec.tiling import operand_rows, slices, tiles

_PARAM, _NORM_PARAM = np.dtype(list(PARAMS)), np.dtype(list(NORM_PARAMS))


def params(outputs: int, bias: ArrayLike = 0, multiplier: ArrayLike = 0, gain: ArrayLike = 0,
           offset: ArrayLike = 0) -> np.ndarray:
    """Parameters of ``outputs`` channels, zero-filled to whole tiles: uint8 ``[tiles, PARAM_LINES * LINE]``.

    Raises :class:`ValueError` when a value does not fit its field.
    """
    record = np.zeros(tiles(outputs) * TN, _PARAM)
    for name, values in (("bias", bias), ("multiplier", multiplier), ("gain", gain), ("offset", offset)):
        _fill(record, name, values, outputs)
    return record.view(np.uint8).reshape(tiles(outputs), -1)


def _fill(record: np.ndarray, name: str, values: ArrayLike, count: int) -> None:
    filled = np.broadcast_to(np.asarray(values, np.int64), (count,))
    info = np.iinfo(record.dtype[name])
    if count and not info.min <= filled.min() <= filled.max() <= info.max:
        raise ValueError(f"The parameter {name} must lie in {info.min}..{info.max}; "
                         f"the values lie in {filled.min()}..{filled.max()}.")
    record[name][:count] = filled


def weights(weight: np.ndarray, machine: MachineConfig, packed: bool = False) -> np.ndarray:
    """int8 ``[outputs, inputs]`` -> step rows, uint8 ``[tiles, slices * SLICE * TN]``, zero-filled at both ends.

    Step row ``s`` of a tile holds, for channel c and input j, byte ``c * tk + j`` = weight[c, s * tk + j].
    ``packed``: half as many rows, of each two the codes (:func:`golden.ops.matmul.packed`).
    """
    outputs, inputs = weight.shape
    padded = np.zeros((tiles(outputs) * TN, slices(inputs) * SLICE), np.int8)
    padded[:outputs, :inputs] = weight
    rows = padded.reshape(tiles(outputs), TN, -1, machine.tk).transpose(0, 2, 1, 3)
    rows = np.ascontiguousarray(rows).view(np.uint8).reshape(-1, machine.row_bytes)
    return (pack(rows) if packed else rows).reshape(tiles(outputs), -1)


def linear(machine: MachineConfig, weight: np.ndarray, bias: ArrayLike, multiplier: ArrayLike, gain: ArrayLike = 0,
           offset: ArrayLike = 0, packed: bool = False) -> bytes:
    """Stream of one LINEAR: for each tile its parameters, then its weights."""
    return np.concatenate([params(weight.shape[0], bias, multiplier, gain, offset), weights(weight, machine, packed)],
                          1).tobytes()


def window(machine: MachineConfig, weight: np.ndarray, bias: np.ndarray, multiplier: np.ndarray,
           gain: int = 0) -> bytes:
    """Stream of a 3x3 convolution, int8 ``[outputs, inputs, 3, 3]``; outputs are filled up to whole operand rows, with
    results of 0."""
    more = operand_rows(len(weight)) * LINE - len(weight)
    return linear(machine, np.pad(window_weight(weight), ((0, more), (0, 0))), np.pad(bias, (0, more)),
                  np.pad(multiplier, (0, more)), gain)


def gate(machine: MachineConfig, weight: np.ndarray, bias: np.ndarray) -> bytes:
    """Stream of a LINEAR into the gate: int16 ``[experts, inputs]``, int64 ``[experts]``.

    A tile holds 16 experts, their high parts in columns 0..15, their low parts in 16..31; value = high * 128 + low.
    """
    experts, inputs = weight.shape
    columns = np.zeros((tiles(2 * experts), 2, LOGITS, inputs + 1), np.int64)
    high, low = split(np.concatenate([weight.astype(np.int64), np.asarray(bias, np.int64)[:, None]], 1))
    for e in range(experts):
        tile, column = divmod(e, LOGITS)
        columns[tile, 0, column], columns[tile, 1, column] = high[e], low[e]
    columns = columns.reshape(-1, inputs + 1)
    return linear(machine, columns[:, :-1].astype(np.int8), columns[:, -1], 0)


def norm(machine: MachineConfig, gain: np.ndarray, offset: np.ndarray) -> bytes:
    """Stream of one NORM, channels zero-filled to whole blocks, blocks to whole stream beats."""
    record = np.zeros(tiles(len(gain)) * TN, _NORM_PARAM)
    _fill(record, "gain", gain, len(gain))
    _fill(record, "offset", offset, len(gain))
    return _filled(machine, record.view(np.uint8).reshape(tiles(len(gain)), -1)).tobytes()


def attention(machine: MachineConfig, score_multiplier: np.ndarray, gain: np.ndarray, offset: np.ndarray) -> bytes:
    """Stream of one ATTENTION: a line of multipliers, filled up to a stream beat, then the parameters of its output
    channels."""
    line = np.zeros(MAX_HEADS, SCORE_MULTIPLIER)
    line[:len(score_multiplier)] = score_multiplier
    return _filled(machine, line.view(np.uint8)[None]).tobytes() + params(len(gain), gain=gain, offset=offset).tobytes()


def _filled(machine: MachineConfig, records: np.ndarray) -> np.ndarray:
    """Records of whole lines, uint8 ``[records, bytes]``, each filled up with zeros to whole stream beats."""
    size = records.shape[1]
    return np.pad(records, ((0, 0), (0, machine.whole_beats(size // LINE) * LINE - size)))


class Stream:
    """Weight stream under construction: payloads laid end to end, each stored once."""

    def __init__(self):
        self._lines: dict[str, int] = {}
        self._parts: list[bytes] = []
        self.lines = 0

    def add(self, name: str, data: bytes) -> int:
        """First line of ``data``, which goes by ``name``."""
        if name not in self._lines:
            if len(data) % LINE:
                raise ValueError(f"{name!r} must be whole lines of {LINE} bytes, not {len(data)} bytes.")
            self._lines[name] = self.lines
            self._parts.append(data)
            self.lines += len(data) // LINE
        return self._lines[name]

    def __contains__(self, name: str) -> bool:
        return name in self._lines

    def __getitem__(self, name: str) -> int:
        return self._lines[name]

    def planes(self, machine: MachineConfig) -> tuple[bytes, ...]:
        """What each port reads: its share of every stream beat, beat after beat."""
        beats = np.frombuffer(b"".join(self._parts), np.uint8).reshape(-1, machine.ports, machine.share_bytes)
        return tuple(np.ascontiguousarray(beats[:, p]).tobytes() for p in range(machine.ports))
