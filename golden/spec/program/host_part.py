# SPDX-License-Identifier: Apache-2.0
"""What a program image holds for the host: tensors of the final norm and of a classifier that reads all patches."""

import math

from golden.spec.isa import Opcode, bounds
from golden.spec.model import ModelConfig
from golden.spec.quantized import host_schema
from golden.spec.tables import RESIDUAL_FRACS

SIZES = {"int8": 1, "int16": 2, "uint16": 2, "int32": 4, "int64": 8}
"""Bytes of the types of tensors."""
_LIMITS = {"normalized_shift": bounds(Opcode.NORM, "normalized_shift"), "eps": bounds(Opcode.NORM, "eps"),
           "frac": (RESIDUAL_FRACS[0], RESIDUAL_FRACS[-1])}
_SHIFTS = {"norm": bounds(Opcode.NORM, "shift"), "head": bounds(Opcode.LINEAR, "shift1")}


def layout(config: ModelConfig) -> dict[str, tuple[int, str, tuple[int, ...]]]:
    """Name -> first byte, type and shape of each tensor."""
    places, offset = {}, 0
    for name, (kind, shape) in host_schema(config).items():
        places[name] = offset, kind, shape
        offset += SIZES[kind] * math.prod(shape)
    return places


def size(config: ModelConfig) -> int:
    """Bytes of all tensors."""
    return sum(SIZES[kind] * math.prod(shape) for _, kind, shape in layout(config).values())


def host_problem(data: bytes, config: ModelConfig) -> str | None:
    """What is wrong with the bytes for the host, a sentence, or None."""
    if len(data) != size(config):
        return (f"The host needs {size(config)} bytes for the final norm and the classifier of {config.name!r}; the "
                f"image holds {len(data)}.")
    for name, (offset, kind, shape) in layout(config).items():
        stem, _, field = name.rpartition(".")
        low, high = _SHIFTS[stem.rpartition("_")[2]] if field == "shift" else _LIMITS.get(field, (0, 0))
        value = int.from_bytes(data[offset:offset + SIZES[kind]], "little", signed=True)
        if (field == "shift" or field in _LIMITS) and not shape and not low <= value <= high:
            return f"{name} must lie in {low}..{high}, not {value}."
    return None
