# SPDX-License-Identifier: Apache-2.0
"""Instruction-set simulator: runs an assembled program on the reference models; its state are the memories."""

from golden.iss.dram import Dram
from golden.iss.faults import IssFault
from golden.iss.machine import Machine
from golden.iss.run import placed, run_image
from golden.iss.trace import Entry, Write

__all__ = ["Dram", "Entry", "IssFault", "Machine", "Write", "placed", "run_image"]
