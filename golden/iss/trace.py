# SPDX-License-Identifier: Apache-2.0
"""Trace records: what a retired instruction wrote, for comparison with the gateware."""

from dataclasses import dataclass, field

import numpy as np

from golden.ops.queues import Queue
from golden.spec.isa import Opcode


@dataclass(frozen=True)
class Write:
    """Rows that an instruction wrote, as they are afterwards.

    ``memory`` is ``operand`` (``data`` uint8 [n, 64], ``exp`` uint8 [n, 2]), ``residual`` (uint8 [n, 64]: 32 int16),
    ``key`` or ``value`` (``rows`` are step rows, tile * steps + step; uint8 [n, TN * tk]) or ``output`` (``rows`` are
    64-byte lines from the output base). ``mask`` bool, shaped like ``data``: the bytes this instruction wrote.
    """

    memory: str
    rows: np.ndarray
    data: np.ndarray
    mask: np.ndarray
    exp: np.ndarray | None = None


@dataclass(frozen=True)
class Entry:
    """One retired instruction; ``index`` is its place in the program, ``expert`` -1 outside EXPERTS.

    A LINEAR into the gate carries ``logits`` int64 [tokens, experts], and ``queues`` and ``order`` (experts in the
    order of their first entries), all of them after it; a LINEAR over a queue its ``tokens``. GATE itself writes
    nothing.
    """

    index: int
    opcode: Opcode
    fields: dict[str, int]
    expert: int = -1
    writes: tuple[Write, ...] = ()
    tokens: np.ndarray | None = None
    logits: np.ndarray | None = None
    queues: tuple[Queue, ...] | None = field(default=None)
    order: tuple[int, ...] = ()
