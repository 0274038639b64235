# SPDX-License-Identifier: Apache-2.0
"""Passes: rewrites of a program, each a function from instructions and machine to instructions with the same result.

A pass finds what it changes by the data edges of the instructions; where it does not find it, the program stays as it
is. Regions have no addresses yet.
"""

from collections.abc import Callable

from golden.spec.machine import MachineConfig
from host.compiler.passes.early_routing import early_routing
from host.compiler.passes.retain_weights import retain_weights
from host.compiler.passes.software_pipelining import software_pipelining
from host.compiler.passes.tile_blocks import tile_blocks
from host.ir.nodes import Node

Pass = Callable[[list[Node], MachineConfig], list[Node]]

PASSES: tuple[Pass, ...] = (tile_blocks, early_routing, software_pipelining, retain_weights)
"""All passes, in the order in which they run."""
CUTTING = (early_routing, software_pipelining)
"""Passes that need more instructions or memory; where there are too few, the first of them is left out first."""
