# SPDX-License-Identifier: Apache-2.0
"""Expert routing of one picture, from the golden machine's trace: which experts have work, in which order."""

from collections.abc import Sequence

import numpy as np

from golden.device import GoldenDevice
from golden.iss.trace import Entry
from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from host.compiler.compile import compile_model
from host.driver.session import Session
from host.performance.timeline import Arrival


def queues(entries: Sequence[Entry]) -> list[list[Arrival]]:
    """For each EXPERTS of a golden trace in program order, its experts in order of arrival."""
    loops = {entry.index: {} for entry in entries if entry.opcode is Opcode.EXPERTS}
    for entry in entries:
        if entry.expert >= 0 and entry.tokens is not None:
            loop = loops[max(index for index in loops if index < entry.index)]
            loop[entry.expert] = Arrival(entry.expert, len(entry.tokens), int(entry.tokens[0]))
    return [list(loops[index].values()) for index in sorted(loops)]


def measured(model, machine: MachineConfig, tasks: Sequence[str], picture: np.ndarray) -> list[list[Arrival]]:
    """Queues of the program for ``tasks`` on a picture (uint8, the model's size). ``machine`` must hold it; the
    result does not depend on which."""
    entries: list[Entry] = []
    image = compile_model(model, machine)
    Session(image, GoldenDevice(machine, trace=entries.append)).frame(picture, "+".join(tasks))
    return queues(entries)
