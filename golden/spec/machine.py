# SPDX-License-Identifier: Apache-2.0
"""Machine configuration: array geometry and memory depths, with presets."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property

from golden.spec.activations import ACTIVATIONS
from golden.spec.model import BLOCK, require

ABI_VERSION = 8
"""Changes whenever the ISA, the register map, a memory layout or an arithmetic rule changes."""

TN = BLOCK
"""Output channels of one array tile; one tile of one token is one operand block."""
SLICE = 16
"""Inputs (or keys) that operand rows, K/V tiles and softmax chunks count in."""
LANES = 16
"""Values of one beat through epilogue and softmax: half a tile of one token, or the attention scores of a chunk."""
LINE = 64
"""Bytes of one stream line, of one operand row and of one residual row."""
MAX_BEAT_LINES = 2
"""Most stream lines that the weight ports of any machine together carry a cycle."""
PARAMS = (("bias", "<i4"), ("multiplier", "<u2"), ("gain", "<i2"), ("offset", "<i4"))
"""Parameters of one output channel in the weight stream, in this order: names and types, as numpy writes them."""
NORM_PARAMS = (("gain", "<i2"), ("offset", "<i4"))
"""Parameters of one normalised channel."""
SCORE_MULTIPLIER = "<u2"
"""Type of a head's score multiplier; a line of them comes first in an ATTENTION's part of the stream."""


def record_bytes(record: tuple[tuple[str, str], ...]) -> int:
    """Bytes of a packed record like :data:`PARAMS`."""
    return sum(int(kind[2:]) for _, kind in record)


PARAM_BYTES = record_bytes(PARAMS)
PARAM_LINES = TN * PARAM_BYTES // LINE
"""Stream lines of parameters in front of each tile's weights."""
SLICE_LINES = TN * SLICE // LINE
"""Stream lines of one slice of one tile's weights."""
NORM_PARAM_BYTES = record_bytes(NORM_PARAMS)
NORM_PARAM_LINES = BLOCK * NORM_PARAM_BYTES // LINE
SCORES_AHEAD = 4
"""Token groups of queries whose attention scores are computed before a group's outputs (software pipelining)."""
SOFTMAX_SLOTS = 4
"""Token groups of queries in the softmax at once, from the first attention score to the release of the
probabilities."""
BEAT_BYTES = 16
"""Bytes of a beat of the main port, one a cycle; those of the weight ports have ``port_bytes``."""
MAX_BURST = 64
"""Most beats of a burst of any machine."""
BANK_ROWS = 32
"""A bank of operand or residual rows has a multiple of these."""
PAGE = 4096
"""Bytes of a page: program image sections and device buffers begin on one."""
MAX_EXPERTS = 64
MAX_TOP_K = 8
MAX_HEADS = LINE // int(SCORE_MULTIPLIER[2:])
MAX_NORM_DIM = 1024


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


def _three_quarters(value: int) -> bool:
    """A power of two or three quarters of one: depths that fill block RAMs and whose bounds check is cheap."""
    return _power_of_two(value) or value % 3 == 0 and _power_of_two(value // 3)


def most_weight_bytes(tk: int) -> int:
    """Most bytes a cycle of all weight ports of a machine whose array takes ``tk`` inputs a cycle: no more than a row
    of the ring."""
    return min(MAX_BEAT_LINES * LINE, max(LINE, TN * tk))


@dataclass(frozen=True, kw_only=True)
class MachineConfig:
    """Configuration of one bitstream. The array makes ``tm * TN * tk`` multiply-accumulates a cycle.

    ``tm`` token lanes (2, 4, 8 or 16) in ``clusters`` (1, 2 or 4), each with an epilogue, a softmax and a layer norm of
    its own; ``tk`` inputs a cycle (2, 4, 8 or 16), ``ports`` weight ports (1, 2, 4) whose beats have
    ``port_bytes`` (16 or 32), together at most two lines of 64 bytes a cycle and no more than the array takes.
    ``max_burst``: most beats of a burst of any port (16, 32 or 64; AXI3 has bursts of at most 16); bursts end at
    multiples of as many beats.
    Depths, powers of two or three quarters of one: ``ring_lines`` of weights in 64-byte lines; ``operand_rows`` and
    ``residual_rows`` of 64 bytes. Depths, powers of two: ``param_lines`` of parameters in 64-byte lines; ``kv_tiles``
    of TN x SLICE bytes for each of K and V; ``lane_rows`` 64-byte rows in each half of a lane buffer; ``max_keys`` a
    softmax row may have; ``program_depth`` instructions; ``queue_depth`` (token, expert) pairs. ``serialization``:
    cycles that LANES values take in layer norm, epilogue and softmax (1, 2, 4 or 8); a larger factor makes these
    units smaller, for arrays whose tiles take that long anyway. Clusters work on different tokens with the same
    weights, keys and values, so the bytes of these that are read a cycle do not grow with them. ``uram``: the weight
    ring, the operand and the residual memory are UltraRAM, where a device has it.
    """

    name: str
    tm: int
    tk: int
    ports: int
    ring_lines: int
    param_lines: int
    operand_rows: int
    residual_rows: int
    kv_tiles: int
    lane_rows: int
    max_keys: int
    program_depth: int
    queue_depth: int
    serialization: int = 1
    clusters: int = 1
    uram: bool = False
    port_bytes: int = BEAT_BYTES
    max_burst: int = MAX_BURST

    def __post_init__(self):
        require(self.tm in (2, 4, 8, 16), f"tm must be 2, 4, 8 or 16, not {self.tm}.")
        require(self.tk in (2, 4, 8, 16), f"tk must be 2, 4, 8 or 16, not {self.tk}.")
        require(self.ports in (1, 2, 4), f"ports must be 1, 2 or 4, not {self.ports}.")
        require(self.port_bytes in (16, 32), f"port_bytes must be 16 or 32, not {self.port_bytes}.")
        most = most_weight_bytes(self.tk)
        require(self.weight_bytes_per_cycle <= most, f"{self.ports} ports of {self.port_bytes} bytes carry more than "
                f"the {most} bytes a cycle that the array and the weight ring of this machine take.")
        require(self.max_burst in (16, 32, MAX_BURST), f"max_burst must be 16, 32 or 64, not {self.max_burst}.")
        require(self.clusters in (1, 2, 4), f"clusters must be 1, 2 or 4, not {self.clusters}.")
        require(self.tm >= 2 * self.clusters,
                f"tm must be at least 2 for each cluster, not {self.tm} for {self.clusters}.")
        require(self.serialization in (1, 2, 4, 8), f"serialization must be 1, 2, 4 or 8, not {self.serialization}.")
        for field in ("ring_lines", "operand_rows", "residual_rows"):
            value = getattr(self, field)
            require(_three_quarters(value) and 64 <= value <= 1 << 16,
                    f"{field} must be a power of two, or three quarters of one, in 64..65536, not {value}.")
        for field in ("operand_rows", "residual_rows"):
            require(getattr(self, field) % (BANK_ROWS * self.banks) == 0, f"{field} must be a multiple of "
                    f"{BANK_ROWS * self.banks} for {self.clusters} clusters, not {getattr(self, field)}.")
        for field, low, high in (("param_lines", 16, 1 << 12), ("kv_tiles", 8, 1 << 10), ("lane_rows", 4, 128),
                                 ("max_keys", 16, 2048), ("program_depth", 16, 4096), ("queue_depth", 16, 1 << 14)):
            value = getattr(self, field)
            require(_power_of_two(value) and low <= value <= high,
                    f"{field} must be a power of two in {low}..{high}, not {value}.")
        require(self.ring_lines * LINE >= 2 * self.row_bytes,
                f"ring_lines {self.ring_lines} must hold at least two rows of {self.row_bytes} bytes.")

    @property
    def banks(self) -> int:
        """Banks of the operand and of the residual memory: several, where several clusters use them."""
        return 1 if self.clusters == 1 else 2 * self.clusters

    @cached_property
    def cluster(self) -> "MachineConfig":
        """The configuration of one cluster's units: its token lanes only."""
        return replace(self, tm=self.tm // self.clusters, clusters=1)

    @property
    def macs_per_cycle(self) -> int:
        return self.tm * TN * self.tk

    @property
    def lanes(self) -> int:
        """Values a cycle through epilogue and softmax; the layer norm takes twice as many channels."""
        return LANES // self.serialization

    @property
    def row_bytes(self) -> int:
        """Bytes of weights (or K, or V) the array takes a cycle."""
        return TN * self.tk

    @property
    def ring_rows(self) -> int:
        return self.ring_lines * LINE // self.row_bytes

    @property
    def ring_slices(self) -> int:
        """Slices of weights that the ring holds."""
        return self.ring_rows // self.steps

    @property
    def steps(self) -> int:
        """Array cycles of one slice of 16 inputs."""
        return SLICE // self.tk

    @property
    def kv_rows(self) -> int:
        return self.kv_tiles * self.steps

    @property
    def weight_bytes_per_cycle(self) -> int:
        """Bytes that all weight ports together carry a cycle."""
        return self.ports * self.port_bytes

    @property
    def beat_lines(self) -> int:
        """Lines of a stream beat, which all weight ports together carry: as many as they do in a cycle, at least one.
        Each record of the stream is filled up to whole beats."""
        return max(1, self.weight_bytes_per_cycle // LINE)

    @property
    def share_bytes(self) -> int:
        """Bytes of each stream beat that one weight port carries; its plane holds these, beat after beat."""
        return self.beat_lines * LINE // self.ports

    @property
    def share_beats(self) -> int:
        """Beats of a weight port in which it carries its share of a stream beat."""
        return self.share_bytes // self.port_bytes

    @property
    def line_bytes_per_port(self) -> int:
        """Bytes of a weight plane for each line of the stream."""
        return LINE // self.ports

    def whole_beats(self, lines: int) -> int:
        """Lines that a record of ``lines`` lines takes in the stream: those of whole stream beats."""
        return -(-lines // self.beat_lines) * self.beat_lines

    @cached_property
    def fingerprint(self) -> int:
        """64-bit hash of this record, :data:`ABI_VERSION` and the activations; a program runs only where it equals the
        register."""
        text = json.dumps({"abi": ABI_VERSION, "activations": list(ACTIVATIONS), **asdict(self)}, sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


NANO = MachineConfig(
    name="nano", tm=2, tk=4, ports=1, ring_lines=1024, param_lines=64, operand_rows=512, residual_rows=256,
    kv_tiles=16, lane_rows=8, max_keys=64, program_depth=128, queue_depth=128, serialization=2)
SMALL = MachineConfig(
    name="small", tm=2, tk=2, ports=1, ring_lines=512, param_lines=64, operand_rows=1024, residual_rows=512,
    kv_tiles=64, lane_rows=16, max_keys=256, program_depth=256, queue_depth=512, serialization=8)
ZCU102 = MachineConfig(
    name="zcu102", tm=4, tk=16, ports=4, ring_lines=16384, param_lines=512, operand_rows=6144, residual_rows=4096,
    kv_tiles=512, lane_rows=64, max_keys=1024, program_depth=512, queue_depth=2048)
KV260 = MachineConfig(
    name="kv260", tm=4, tk=8, ports=4, ring_lines=16384, param_lines=256, operand_rows=4096, residual_rows=4096,
    kv_tiles=256, lane_rows=32, max_keys=256, program_depth=512, queue_depth=512, serialization=2, uram=True)
U280 = MachineConfig(
    name="u280", tm=16, tk=16, ports=4, ring_lines=32768, param_lines=1024, operand_rows=65536, residual_rows=16384,
    kv_tiles=1024, lane_rows=64, max_keys=2048, program_depth=1024, queue_depth=8192, clusters=4, uram=True,
    port_bytes=32, max_burst=16)
MACHINES = {machine.name: machine for machine in (NANO, SMALL, KV260, ZCU102, U280)}
