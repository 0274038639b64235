# SPDX-License-Identifier: Apache-2.0
"""Mixed precision: 16-bit operands in the blocks where they reduce the error most, under a cycle budget."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from golden.model.int_model import IntModel
from golden.spec.machine import ZCU102, MachineConfig
from golden.spec.model import require
from host.compiler.compile import compile_model

PROBES = 4
"""Calibration images that a block's gain is measured on."""


def frame_cycles(model: IntModel, machine: MachineConfig = ZCU102) -> int:
    """Estimated cycles of one frame of the first task."""
    image = compile_model(model, machine, joint=False)
    return sum(symbol.cycles for symbol in next(iter(image.symbols.values())))


def joined(fast: IntModel, accurate: IntModel, wide: set[int]) -> IntModel:
    """The fast model with the blocks of ``wide`` taken from the accurate one.

    Blocks interact through the residual stream only, whose step is fixed, so blocks of two quantizations of one
    network can be combined.
    """
    taken = tuple(f"blocks.{i}." for i in wide)
    tensors = {name: (accurate if taken and name.startswith(taken) else fast).tensors[name] for name in fast.tensors}
    layers = tuple((accurate if i in wide else fast).plan.layers[i] for i in range(fast.config.depth))
    return IntModel(fast.config, replace(fast.plan, layers=layers), tensors, fast.source)


def mixed(fast: IntModel, accurate: IntModel, images: np.ndarray, reference: Callable[[np.ndarray], np.ndarray],
          budget: int | None = None, machine: MachineConfig = ZCU102,
          progress: Callable[[int, int, str], None] | None = None) -> IntModel:
    """Fast model with blocks replaced by accurate ones, in order of the decrease of squared output error per cycle.

    ``reference`` gives the float residual stream of images; ``budget`` the estimated cycles one frame may take on
    ``machine``, midway between both models by default. Raises ConfigError when not even the fast model fits it.
    """
    least, most = frame_cycles(fast, machine), frame_cycles(accurate, machine)
    budget = (least + most) // 2 if budget is None else budget
    require(budget >= least, f"A frame of the fast plan takes about {least:,} cycles on {machine.name}; "
                             f"the budget of {budget:,} cannot be met.")
    probes = images[:: max(1, len(images) // PROBES)][:PROBES]
    wanted = reference(probes)

    def error(model: IntModel) -> float:
        return float(np.mean((np.stack([model.features(image) for image in probes]) - wanted) ** 2))

    depth, base, found = fast.config.depth, error(fast), []
    for i in range(depth):
        candidate = joined(fast, accurate, {i})
        cost = frame_cycles(candidate, machine) - least
        found.append(((base - error(candidate)) / max(1, cost), cost, i))
        if progress is not None:
            progress(i + 1, depth, f"gain of block {i}")
    wide, spent = set(), least
    for gain, cost, i in sorted(found, key=lambda entry: (-entry[0], entry[2])):
        if gain > 0 and spent + cost <= budget:
            wide.add(i)
            spent += cost
    return joined(fast, accurate, wide)
