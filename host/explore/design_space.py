# SPDX-License-Identifier: Apache-2.0
"""Design space: every array geometry and port count, memories as the model needs them and smaller, every ring depth."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from golden.spec.boards import Board
from golden.spec.machine import BANK_ROWS, BEAT_BYTES, MAX_BURST, TN, MachineConfig, most_weight_bytes
from golden.spec.tiling import ceil_div
from host.compiler.allocate import lifetimes, peak
from host.compiler.compile import plan_program
from host.compiler.limits import check_limits
from host.compiler.skeleton import ModelSkeleton
from host.compiler.weight_stream import Stream
from host.explore.unit_area import LUT_DEPTH, in_luts
from host.ir.nodes import Memory, Node, NotFitting, flat

TM, TK, PORTS = (2, 4, 8), (2, 4, 8, 16), (1, 2, 4)
CLUSTERS = (2, 4)
"""Of the widest arrays, with CLUSTER_LANES token lanes each: what smaller ones would gain is their registers' size."""
CLUSTER_LANES = 4
RINGS = tuple(sorted({1 << n for n in range(6, 17)} | {3 << n for n in range(5, 15)}))
"""Depths of the weight ring, in lines."""
OPERAND_SHARES = (2, 1, 1 / 2, 1 / 4, 1 / 8)
"""Operand memory, in parts of what the uncut program needs at least: more lets units overlap, less cuts FFNs. Task
heads take what there is, so with them there is one more step up."""
PARAMS = (64, 512, 1024)
"""Lines of array parameters, six a tile: they limit how many tiles can be prefetched, however large the ring."""
_ROOMY = {"ring_lines": 1 << 16, "param_lines": PARAMS[-1], "operand_rows": 1 << 16, "residual_rows": 1 << 16,
          "kv_tiles": 1 << 10, "lane_rows": 128, "max_keys": 2048, "program_depth": 4096, "queue_depth": 1 << 14}


@dataclass(frozen=True)
class Geometry:
    """Array shape and port count; a worker explores one at a time."""

    tm: int
    tk: int
    ports: int
    clusters: int = 1
    uram: bool = False
    port_bytes: int = BEAT_BYTES
    max_burst: int = MAX_BURST


def geometries(board: Board) -> list[Geometry]:
    """Every array, with the port counts that the board has in addition to the main port and whose bytes the array
    takes, and the largest in clusters where the board has the multipliers; large memories in UltraRAM where it has
    any."""
    shapes = [(tm, tk, ports, 1) for tm, tk in product(TM, TK) for ports in _port_counts(board, tk)]
    shapes += [(CLUSTER_LANES * clusters, TK[-1], _port_counts(board, TK[-1])[-1], clusters) for clusters in CLUSTERS
               if CLUSTER_LANES * clusters * TN * TK[-1] <= 2 * board.dsp]
    return [Geometry(*shape, board.uram > 0, board.port_bytes, min(MAX_BURST, board.max_burst))
            for shape in shapes if shape[2] < board.ports]


def _port_counts(board: Board, tk: int) -> list[int]:
    return [ports for ports in PORTS if ports * board.port_bytes <= most_weight_bytes(tk)]


def roomy(geometry: Geometry) -> MachineConfig:
    """The largest machine of a geometry."""
    return MachineConfig(name="roomy", tm=geometry.tm, tk=geometry.tk, ports=geometry.ports,
                         clusters=geometry.clusters, uram=geometry.uram, port_bytes=geometry.port_bytes,
                         max_burst=geometry.max_burst, **_ROOMY)


def families(model: ModelSkeleton, tasks: tuple[str, ...],
             geometry: Geometry) -> Iterator[tuple[MachineConfig, list[Node]]]:
    """Machines of a geometry with ever smaller operand memories, each with its program. Their rings are the smallest
    that hold the widest tile twice over.

    Raises :class:`NotFitting` when not even the largest machine can hold the model.
    """
    most = roomy(geometry)
    nodes = plan_program(model, most, Stream(), tasks)
    need, least = _peaks(nodes), max(64, BANK_ROWS * most.banks)
    base = replace(
        most, lane_rows=_least(model, most, "lane_rows"), max_keys=_least(model, most, "max_keys"),
        ring_lines=2 * _least(model, most, "ring_lines"),
        residual_rows=_power(need[Memory.RESIDUAL], least), queue_depth=_power(need[Memory.QUEUE], 16),
        kv_tiles=_power(max(need[Memory.KEY], need[Memory.VALUE]), 8))
    seen = set()
    shares = (2 * OPERAND_SHARES[0], *OPERAND_SHARES) if model.config.task_heads else OPERAND_SHARES
    for share in shares:
        machine = replace(base, operand_rows=max(least, int(_power(need[Memory.OPERAND], 64) * share)))
        if machine.operand_rows in seen or machine.operand_rows > most.operand_rows:
            continue
        seen.add(machine.operand_rows)
        try:
            nodes = plan_program(model, machine, Stream(), tasks)
        except NotFitting:
            return  # nor will it fit into less
        machine = replace(machine, program_depth=_power(len(flat(nodes)), 128))
        yield machine, nodes
        if in_luts(machine.kv_rows):  # many LUTs: in block memories the same program runs
            yield replace(machine, kv_tiles=2 * LUT_DEPTH // machine.steps), nodes


def rings(machine: MachineConfig) -> list[MachineConfig]:
    """The machine with every ring from its own on and with all parameter stores, named by what distinguishes it:
    geometry, weight ports, K and V tiles, operand rows, parameter and ring lines."""
    name = f"{machine.tm}x32x{machine.tk}-p{machine.ports}-k{machine.kv_tiles}-o{machine.operand_rows}"
    name += "-u" * machine.uram
    return [replace(machine, ring_lines=ring, param_lines=params, name=f"{name}-a{params}-r{ring}")
            for ring in RINGS if ring >= machine.ring_lines for params in PARAMS]


def _peaks(nodes: list[Node]) -> dict[Memory, int]:
    lives = lifetimes(nodes)
    return {memory: peak([region for region in lives if region.memory is memory and not region.elastic], lives)[0]
            for memory in Memory}


def _power(value: int, least: int) -> int:
    return max(least, 1 << max(0, value - 1).bit_length())


def _least(model: ModelSkeleton, machine: MachineConfig, field: str) -> int:
    """The smallest value of ``field`` with which the machine is one for the model."""
    value, found = getattr(machine, field), getattr(machine, field)
    while value > 1:
        value = ceil_div(value, 2)
        try:
            check_limits(model.config, model.plan, replace(machine, **{field: value}))
        except ValueError:
            break
        found = value
    return found
