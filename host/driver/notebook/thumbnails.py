# SPDX-License-Identifier: Apache-2.0
"""Maps as small pictures in a page: PNG with zlib, colours with numpy. Sheets (``host.pictures``) have legends."""

import base64
import struct
import zlib
from html import escape

import numpy as np

from host.driver.maps import TaskMap

LARGEST = 256
"""Pixels of a thumbnail's longer side at most: every n-th of the map's is taken."""


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 [H, W], grey, or [H, W, 3]."""
    height, width = pixels.shape[:2]
    lines = np.zeros((height, 1 + pixels[0].size), np.uint8)  # each begins with the number of its filter: none
    lines[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)


def pixels_of(found: TaskMap) -> np.ndarray:
    """A map as uint8: a hue for each class, directions as red, green and blue, else grey from its least to its largest
    value."""
    values = found.picture
    step = -(-max(values.shape[:2]) // LARGEST)
    values = values[::step, ::step]
    if found.kind == "semseg":
        hue = values.astype(np.float64)[..., None] * 0.6180339887 + np.array([0.0, 2 / 3, 1 / 3])
        return np.rint(127 + 100 * np.cos(2 * np.pi * hue)).astype(np.uint8)
    if found.kind == "normals":
        return np.rint(255 * np.clip(values / 2 + 0.5, 0, 1)).astype(np.uint8)
    low, high = float(values.min()), float(values.max())
    return np.rint(255 * (values - low) / ((high - low) or 1.0)).astype(np.uint8)


def thumbnail(found: TaskMap) -> str:
    """An HTML figure of a map, which needs no other file."""
    data = base64.b64encode(png(pixels_of(found))).decode()
    return (f'<figure style="display: inline-block; margin: 6px 12px 0 0"><img src="data:image/png;base64,{data}" '
            f'alt="{escape(found.name)}"><figcaption>{escape(found.name)}</figcaption></figure>')
