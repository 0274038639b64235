# SPDX-License-Identifier: Apache-2.0
"""Implementation targets: what is known of the FPGAs synthesised and routed for, one TOML file per target."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar, get_origin

Target = TypeVar("Target", "Family", "Part")


class TargetError(ValueError):
    """A target file with a missing or an unknown field; the message names file and field."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family that Yosys maps to. ``yosys``: its name there; ``wire_delay``: picoseconds assumed for a wire while
    mapping; ``dsp_levels``: levels of a product without registers.

    Cell types: ``lut_memories`` with the LUTs that one takes; ``flip_flops``; ``carries`` with how many of the
    family's carry cells one is; ``blocks`` by how their names begin, with the column they are counted in; ``free``:
    without area, their level is that of the LUT before or after; ``constants``: without area and level.
    """

    yosys: str
    wire_delay: int
    dsp_levels: int
    lut_memories: Mapping[str, int]
    flip_flops: list[str]
    carries: Mapping[str, float]
    blocks: Mapping[str, str]
    free: list[str]
    constants: list[str]
    sources: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part that nextpnr routes for. ``part``, ``family``: its names there; ``yosys``: its family's name in Yosys;
    ``clock_mhz``: asked for; ``seed``; ``pins``: of the timing harness.

    ``columns``: what is counted, by how the names of its cells begin; ``has``: how many the part has.
    ``memory_places``: places of LUTs that a memory of 16 x 4 bits takes; ``block_bits``: memories from this size are
    block memories; ``narrow_product``: products with an operand narrower than this become logic.

    ``full``: share of the part's places from which a netlist counts as full; ``placer``, ``placer_full``: arguments of
    placer and router for a netlist that is not and one that is. Picoseconds: ``product_ps`` of a product,
    ``register_ps`` from clock to output and ``setup_ps`` of a register inside a DSP block.
    """

    part: str
    family: str
    yosys: str
    clock_mhz: int
    seed: int
    pins: Mapping[str, str]
    columns: Mapping[str, str]
    has: Mapping[str, int]
    memory_places: int
    block_bits: int
    narrow_product: int
    full: float
    placer: list[str]
    placer_full: list[str]
    product_ps: int
    register_ps: int
    setup_ps: int
    sources: Mapping[str, str]


def read_target(path: Path, kind: type[Target]) -> Target:
    """The target described by one file. Raises :class:`TargetError`."""
    try:
        found = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise TargetError(f"{path.name} is not TOML: {error}.") from None
    wanted = {field.name: get_origin(field.type) or field.type for field in fields(kind)}
    for name, of in wanted.items():
        if not isinstance(found.get(name), of):
            raise TargetError(f"{path.name} must give {name}, not {found.get(name)!r}.")
    if unknown := set(found) - set(wanted):
        raise TargetError(f"{path.name} gives {sorted(unknown)[0]}, which nothing reads; there are "
                          f"{', '.join(wanted)}.")
    if uncited := set(wanted) - {"sources"} - set(found["sources"]):
        raise TargetError(f"{path.name} does not say in [sources] where {sorted(uncited)[0]} comes from.")
    return kind(**found)
