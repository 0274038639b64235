# SPDX-License-Identifier: Apache-2.0
"""Programs of the ablation, with experts one after the other and token by token, and how they are predicted."""

from dataclasses import dataclass, replace

import numpy as np

from golden.device import GoldenDevice
from golden.iss.trace import Entry
from golden.model.int_model import IntModel
from golden.spec.boards.dram import DramTiming
from golden.spec.machine import MachineConfig
from golden.spec.program.image import Image
from golden.spec.quantized import quantized_schema
from host.compiler.compile import compile_model
from host.driver.session import Session
from host.explore.routing import queues
from host.performance.ablation import AblatedTimeline, Idea, best_shares, dram_bytes, kinds_of
from host.performance.timeline import Arrival

LONG_PROGRAM = 4096
"""Instructions that a machine can hold at most: five for each token and layer with experts, token by token."""


@dataclass(frozen=True)
class Predicted:
    """Cycles and DRAM bytes of a frame by the performance model."""

    cycles: float
    bytes: int


@dataclass(frozen=True)
class Program:
    """A compiled program, and the experts of each EXPERTS on one picture."""

    image: Image
    task: str
    arrivals: list[list[Arrival]]

    def predict(self, dram: DramTiming | None, off: frozenset[Idea]) -> Predicted:
        """Without the ideas in ``off``; multipliers are divided among engines as is best for this program."""
        words = self.image.words(self.task)
        kinds, machine = kinds_of(self.image.symbols[self.task], words), self.image.machine
        full = AblatedTimeline(machine, dram, frozenset(), kinds, {})
        full.run(words, self.arrivals)
        timeline = AblatedTimeline(machine, dram, off, kinds, best_shares(full.work))
        spans = timeline.run(words, self.arrivals)
        return Predicted(spans[-1].end, dram_bytes(machine, words, spans, off))

    @property
    def engines(self) -> int:
        """Kinds of layers that multiply."""
        return len({kind for kind in kinds_of(self.image.symbols[self.task], self.image.words(self.task)) if kind})


def first_task(model: IntModel) -> IntModel:
    """``model`` with its first task only."""
    config = replace(model.config, tasks=model.config.tasks[:1])
    return IntModel(config, model.plan, {name: model.tensors[name] for name in quantized_schema(config)}, model.source)


def long_machine(machine: MachineConfig) -> MachineConfig:
    """``machine`` with as much program memory as there can be; all else is the same."""
    return replace(machine, name=f"{machine.name}-long", program_depth=LONG_PROGRAM)


def program(model: IntModel, machine: MachineConfig, pixels: np.ndarray, token_by_token: bool) -> Program:
    """The program of a model's only task on ``machine``; its routing is measured on the golden machine."""
    image = compile_model(model, machine, expert_tokens=1 if token_by_token else None)
    task, entries = next(iter(image.programs)), list[Entry]()
    Session(image, GoldenDevice(machine, trace=entries.append)).frame(pixels, task)
    return Program(image, task, queues(entries))
