# SPDX-License-Identifier: Apache-2.0
"""What the host computes of a program's features, in exact integers: the final norm, and a classifier of their mean.

Bit for bit :meth:`golden.model.int_forward.Forward.host_norm` and ``pooled_logits``, written again in numpy alone.
"""

import math

import numpy as np

from golden.spec.program.host_part import layout
from golden.spec.program.image import Image
from golden.spec.tables import NORMALIZED_FRAC

_ROOT_BITS = 33
"""Fraction bits of the reciprocal square root."""


class HostPart:
    """The tensors for the host in a program image, and the functions of them. ``frac``: fraction bits of normed
    features, None without a final norm.
    """

    def __init__(self, image: Image):
        self.config = image.model
        self._tensors = {name: np.frombuffer(image.host, np.dtype(kind).newbyteorder("<"), math.prod(shape),
                                             offset).astype(np.int64).reshape(shape)
                         for name, (offset, kind, shape) in layout(image.model).items()}
        self.frac = int(self._tensors["features_norm.frac"]) if "features_norm.frac" in self._tensors else None

    def normed(self, residual: np.ndarray) -> np.ndarray:
        """Features after the final norm, int16 [tokens, dim] in steps of 2**-frac, of a residual stream."""
        return self._norm("features_norm", residual)

    def scores(self, residual: np.ndarray) -> np.ndarray:
        """Class scores int16 [1, classes] of a residual stream, where the classifier reads a mean over patches."""
        c, t = self.config, self._tensors
        y = residual if c.fc_norm else self.normed(residual)
        patches = y[c.extra_tokens:].astype(np.int64)
        mean = (2 * patches.sum(0, keepdims=True) + len(patches)) // (2 * len(patches))
        read = self._norm("fc_norm", mean) if c.fc_norm else mean
        read = np.concatenate([y[:1], read], 1) if c.pool == "class_mean" else read
        sums = read.astype(np.int64) @ t["head.weight"].T + t["head.bias"]
        return _int16(_shifted(sums * t["head.multiplier"], int(t["head.shift"])))

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        parts = {field: self._tensors[f"{name}.{field}"] for field in ("gain", "offset", "shift", "eps",
                                                                       "normalized_shift")}
        x, dim = x.astype(np.int64), x.shape[-1]
        total = x.sum(-1, keepdims=True)
        spread = np.maximum(dim * (x * x).sum(-1, keepdims=True) - total * total + int(parts["eps"]), 1)
        root, power = (np.array(values)[:, None] for values in zip(*map(_reciprocal_root, spread[:, 0].tolist()),
                                                                   strict=True))
        down = _ROOT_BITS - NORMALIZED_FRAC - power + int(parts["normalized_shift"])
        normalized = _int16(_shifted((dim * x - total) * root, down)).astype(np.int64)
        return _int16(_shifted(normalized * parts["gain"] + parts["offset"], int(parts["shift"])))


def _reciprocal_root(value: int) -> tuple[int, int]:
    """``r`` and ``j`` with r about 2**(33 - j) / sqrt(value), from 33 or 34 bits of the value."""
    j = (_ROOT_BITS + 1 - value.bit_length()) // 2
    return ((1 << _ROOT_BITS) - 1) // math.isqrt(value << 2 * j if j >= 0 else value >> -2 * j), j


def _shifted(values: np.ndarray, shift) -> np.ndarray:
    """``values / 2**shift`` to the nearest integer, ties upwards."""
    shift = np.asarray(shift, np.int64)
    return (values + (np.left_shift(1, shift) >> 1)) >> shift


def _int16(values: np.ndarray) -> np.ndarray:
    return np.clip(values, -(1 << 15), (1 << 15) - 1).astype(np.int16)
