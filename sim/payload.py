# SPDX-License-Identifier: Apache-2.0
"""Stream payloads as plain Python values: dictionaries, lists, integers to bits and back, nothing wrapped silently."""

from amaranth.hdl import Shape
from amaranth.lib import data


def pack(shape, value) -> int:
    """Bits of ``value``: an int for a shape, a dict for a struct (missing fields are 0), a list for an array.

    Raises ``ValueError`` naming the field when a value does not fit.
    """
    if isinstance(shape, data.StructLayout):
        unknown = set(value) - set(shape.members)
        if unknown:
            raise ValueError(f"The struct has no field {sorted(unknown)}; it has {list(shape.members)}.")
        bits = 0
        for name, item in value.items():
            try:
                bits |= pack(shape.members[name], item) << shape[name].offset
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return bits
    if isinstance(shape, data.ArrayLayout):
        if len(value) != shape.length:
            raise ValueError(f"The array has {shape.length} elements, not {len(value)}.")
        width = Shape.cast(shape.elem_shape).width
        return sum(pack(shape.elem_shape, item) << (i * width) for i, item in enumerate(value))
    cast = Shape.cast(shape)
    value = int(value)
    low, high = (-(1 << cast.width >> 1), (1 << cast.width >> 1) - 1) if cast.signed else (0, (1 << cast.width) - 1)
    if not low <= value <= high:
        raise ValueError(f"{value} does not fit {low}..{high}.")
    return value & ((1 << cast.width) - 1)


def unpack(shape, bits: int):
    """Inverse of :func:`pack`."""
    if isinstance(shape, data.StructLayout):
        return {name: unpack(field.shape, bits >> field.offset & ((1 << field.width) - 1)) for name, field in shape}
    if isinstance(shape, data.ArrayLayout):
        width = Shape.cast(shape.elem_shape).width
        return [unpack(shape.elem_shape, bits >> (i * width) & ((1 << width) - 1)) for i in range(shape.length)]
    cast = Shape.cast(shape)
    bits &= (1 << cast.width) - 1
    return bits - (1 << cast.width) if cast.signed and cast.width and bits >> (cast.width - 1) else bits
