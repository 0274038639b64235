# SPDX-License-Identifier: Apache-2.0
"""The part that is routed for, and the places of LUTs that a design takes on it."""

from pathlib import Path

from sim.implementation.targets import Part, read_target

TARGET_FILE = Path(__file__).parent / "targets" / "gw5ast_138c.toml"
TARGET = read_target(TARGET_FILE, Part)


def column(kind: str) -> str | None:
    """What a cell of type ``kind`` is counted as, if at all."""
    return next((name for begin, name in TARGET.columns.items() if kind.startswith(begin)), None)


def places(luts: int, carries: int, memories: int) -> int:
    """Places of LUTs that LUTs, carries and memories of LUTs take together."""
    return luts + carries + TARGET.memory_places * memories
