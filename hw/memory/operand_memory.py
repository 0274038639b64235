# SPDX-License-Identifier: Apache-2.0
"""Operand memory: the activations that the array reads, 64 bytes and two block exponents a row."""

from golden.spec.machine import MachineConfig
from hw.interfaces import LINE_BITS, OPERAND_ROW, OPERAND_WRITE
from hw.memory.row_memory import RowMemory


class OperandMemory(RowMemory):
    """Operand memory, a :class:`RowMemory` of ``cfg.operand_rows`` rows; a half is a block of 32 bytes and exponent.

    Read clients: operand loader, DMA. Write clients: the epilogue of each cluster, the norm of each cluster, DMA.
    Datapath, timing, domain and members as there. Reference model: the operand memory of ``golden.iss``.
    """

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__(rows=cfg.operand_rows, row_shape=OPERAND_ROW, write_shape=OPERAND_WRITE, readers=2,
                         writers=2 * cfg.clusters + 1, banks=cfg.banks, uram=cfg.uram)

    def halves(self, word):
        middle = LINE_BITS // 2
        return [[word.data[:middle], word.exp[0]], [word.data[middle:], word.exp[1]]]
