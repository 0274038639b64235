# SPDX-License-Identifier: Apache-2.0
"""Machines that the fuzzers build a simulated board of."""

import os
from dataclasses import replace

from golden.spec.machine import NANO, MachineConfig

TWO_LINES = replace(NANO, name="nano-4x256", ports=4, port_bytes=32, max_burst=16)
"""Two lines of the weight stream a cycle, everything else as on nano."""

_ROOMY = {"ring_lines": 2048, "operand_rows": 4096, "residual_rows": 1024, "kv_tiles": 64, "lane_rows": 32,
          "max_keys": 128, "program_depth": 512, "queue_depth": 256}
_OTHERS = (
    replace(NANO, name="roomy", **_ROOMY),
    MachineConfig(name="wide", tm=4, tk=16, ports=4, param_lines=64, serialization=1, **_ROOMY),
    MachineConfig(name="tall", tm=8, tk=2, ports=2, param_lines=16, serialization=4, **_ROOMY),
    replace(NANO, name="pair", tm=4, clusters=2),
    TWO_LINES,
    MachineConfig(name="quad", tm=8, tk=4, ports=2, param_lines=64, serialization=1, clusters=4, **_ROOMY),
    MachineConfig(name="thin", tm=2, tk=8, ports=1, param_lines=512, serialization=8, **_ROOMY | {"ring_lines": 768}),
)
RTL_MACHINES: tuple[MachineConfig, ...] = (NANO, *(_OTHERS if os.environ.get("FUZZ_MACHINES") else ()))
"""In `make test` the board that the other tests use anyway; in `make fuzz` others of every geometry."""
