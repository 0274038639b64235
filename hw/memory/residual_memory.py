# SPDX-License-Identifier: Apache-2.0
"""Residual memory: the residual stream between the layers, 32 channels of int16 a row."""

from golden.spec.machine import MachineConfig
from hw.interfaces import LINE_BITS, RESIDUAL_WRITE
from hw.memory.row_memory import RowMemory


class ResidualMemory(RowMemory):
    """Residual memory, a :class:`RowMemory` of ``cfg.residual_rows`` rows of 64 bytes; a half is 16 channels.

    Read clients: the epilogue of each cluster, the norm of each cluster, DMA. Write clients: the epilogues, DMA.
    Datapath, timing, domain and members as there. Reference model: the residual memory of ``golden.iss``.
    """

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__(rows=cfg.residual_rows, row_shape=LINE_BITS, write_shape=RESIDUAL_WRITE,
                         readers=2 * cfg.clusters + 1, writers=cfg.clusters + 1, banks=cfg.banks,
                         uram=cfg.uram)

    def halves(self, word):
        bits = getattr(word, "data", word)  # a write is a structure, a row is its bits
        return [[bits[:LINE_BITS // 2]], [bits[LINE_BITS // 2:]]]
