# SPDX-License-Identifier: Apache-2.0
"""Hashed noise over numpy arrays: the same values on every machine.

Only integer operations and the IEEE operations that every processor rounds alike are used (no sine, power or
exponential of numpy, whose last bits differ between processors).
"""

import numpy as np


def hashed(x: np.ndarray, y: np.ndarray, salt: int) -> np.ndarray:
    """A float32 in [0, 1) for each pair of int32 lattice coordinates.

    >>> x = np.arange(3, dtype=np.int32)
    >>> bool((hashed(x, x, 1) == hashed(x, x, 1)).all()), bool((hashed(x, x, 1) == hashed(x, x, 2)).any())
    (True, False)
    """
    h = x.astype(np.uint32) * np.uint32(0x9E3779B1) + y.astype(np.uint32) * np.uint32(0x85EBCA77)
    h += np.uint32(salt * 0xC2B2AE3D & 0xFFFFFFFF)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x2C1B3C6D)
    h ^= h >> np.uint32(12)
    h *= np.uint32(0x297A2D39)
    h ^= h >> np.uint32(15)
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0 ** -24)


def cells(x: np.ndarray, y: np.ndarray, salt: int) -> np.ndarray:
    """A constant in [0, 1) for each unit cell of the plane."""
    return hashed(np.floor(x).astype(np.int32), np.floor(y).astype(np.int32), salt)


def smooth(x: np.ndarray, y: np.ndarray, salt: int) -> np.ndarray:
    """Value noise in [0, 1): lattice values at whole coordinates, smoothly interpolated between them."""
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    ix, iy = x0.astype(np.int32), y0.astype(np.int32)
    a, b = hashed(ix, iy, salt), hashed(ix + 1, iy, salt)
    c, d = hashed(ix, iy + 1, salt), hashed(ix + 1, iy + 1, salt)
    a += (b - a) * fx
    c += (d - c) * fx
    return a + (c - a) * fy


def fractal(x: np.ndarray, y: np.ndarray, salt: int, octaves: int = 3) -> np.ndarray:
    """Sum of ``octaves`` of :func:`smooth`, each twice as fine and half as strong, in [0, 1)."""
    total, weight = smooth(x, y, salt), 1.0
    for octave in range(1, octaves):
        total += smooth(x * 2 ** octave, y * 2 ** octave, salt + octave) * np.float32(0.5 ** octave)
        weight += 0.5 ** octave
    return total / np.float32(weight)
