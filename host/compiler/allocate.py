# SPDX-License-Identifier: Apache-2.0
"""Allocation of on-chip memory: a region occupies rows from its first use to its last; refuses what does not fit."""

import random
from collections.abc import Iterator

from golden.spec import legality
from golden.spec.legality import Resource
from golden.spec.machine import LINE, SLICE, TN, MachineConfig
from host.ir.nodes import Memory, Node, NotFitting, Region, flat

_SHUFFLES = 50


def capacity(machine: MachineConfig, memory: Memory) -> tuple[int, int]:
    """Units (rows or tiles) of a memory, and bytes of one."""
    resource, size = {
        Memory.OPERAND: (Resource.OPERAND, LINE), Memory.RESIDUAL: (Resource.RESIDUAL, LINE),
        Memory.KEY: (Resource.KEY, TN * SLICE), Memory.VALUE: (Resource.VALUE, TN * SLICE),
        Memory.QUEUE: (Resource.QUEUES, 4)}[memory]
    return legality.capacity(machine, resource), size


def lifetimes(nodes: list[Node]) -> dict[Region, tuple[int, int]]:
    """First and last use of every region, as positions in the program; a loop keeps what it touches until it ends."""
    lives: dict[Region, tuple[int, int]] = {}
    position = 0
    for node in nodes:
        first = position
        position += 1 + len(node.body)
        for step in flat([node]):
            for access in (*step.reads, *step.writes):
                start, _ = lives.get(access.region, (first, first))
                lives[access.region] = (start, position - 1)
    return lives


def _alive_together(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


def peak(regions: list[Region], lives: dict[Region, tuple[int, int]]) -> tuple[int, list[Region]]:
    """The most rows alive at one time, and the regions that they belong to."""
    best: tuple[int, list[Region]] = (0, [])
    for region in regions:
        alive = [other for other in regions if lives[other][0] <= lives[region][0] <= lives[other][1]]
        best = max(best, (sum(other.size for other in alive), alive), key=lambda pair: pair[0])
    return best


def _place(region: Region, placed: list[Region], lives: dict, limit: int, *, oldest: bool) -> bool:
    """Give ``region`` a base clear of all regions alive with it: among all gaps the lowest, or with ``oldest`` the one
    whose rows have been idle longest (a later writer then need not wait)."""
    rivals = [other for other in placed if _alive_together(lives[other], lives[region])]
    spots = []
    for base in sorted({0, *(other.first_row + other.size for other in placed)}):
        end = base + region.size
        if end > limit or any(base < other.first_row + other.size and other.first_row < end for other in rivals):
            continue
        used = max((lives[other][1] for other in placed
                    if base < other.first_row + other.size and other.first_row < end), default=-1)
        spots.append((used if oldest else 0, base))
    if spots:
        region.base = min(spots)[1]
    return bool(spots)


def _try(regions: list[Region], lives: dict, limit: int, *, oldest: bool) -> bool:
    for region in regions:
        region.base = None
    placed: list[Region] = []
    for region in regions:
        if not _place(region, placed, lives, limit, oldest=oldest):
            return False
        placed.append(region)
    return True


def _orders(regions: list[Region], lives: dict) -> Iterator[list[Region]]:
    """Allocation orders when memory is tight: program order, longest lifetime first, largest first, then random."""
    yield regions
    yield sorted(regions, key=lambda r: (lives[r][0] - lives[r][1], lives[r]))
    yield sorted(regions, key=lambda r: (-r.size, lives[r]))
    rng = random.Random(0)  # the same program every time
    for _ in range(_SHUFFLES):
        yield rng.sample(regions, len(regions))


def allocate(nodes: list[Node], machine: MachineConfig, what: str) -> dict[Memory, int]:
    """Set the base of every region in ``nodes``; the most rows (tiles, entries) used of each memory.

    Raises :class:`NotFitting` with a sentence that begins with ``what`` is being compiled.
    """
    lives = lifetimes(nodes)
    used = {}
    for memory in Memory:
        regions = sorted((r for r in lives if r.memory is memory), key=lambda r: lives[r])
        limit, unit = capacity(machine, memory)
        if memory is Memory.QUEUE:  # one at a time: a GATE empties the queues
            need, alive = max(((r.size, [r]) for r in regions), key=lambda pair: pair[0], default=(0, []))
        else:
            need, alive = peak(regions, lives)
        if need > limit:
            raise NotFitting(
                f"{what} needs {need * unit} bytes of {memory.value} ({', '.join(_size(r, unit) for r in alive)}); "
                f"the machine {machine.name!r} has {limit * unit}: {(need - limit) * unit} too few. "
                "Take a larger machine or a smaller image.")
        if memory is Memory.QUEUE:
            for region in regions:
                region.base = 0
        elif not (_try(regions, lives, limit, oldest=True)
                or any(_try(order, lives, limit, oldest=False) for order in _orders(regions, lives))):
            raise NotFitting(
                f"{what} needs {need * unit} of the {limit * unit} bytes of {memory.value} of the machine "
                f"{machine.name!r}, but its regions do not pack into it without gaps. Take a larger machine.")
        used[memory] = max((r.first_row + r.size for r in regions), default=0)
    return used


def _size(region: Region, unit: int) -> str:
    return f"{region.name} {region.size * unit}"
