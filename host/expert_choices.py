# SPDX-License-Identifier: Apache-2.0
"""Experts that each token of a picture chose, by task and MoE layer, from the reference models; tokens of each expert.

The choices of an integer network and those of the instruction-set simulator's trace are equal to the machine's, bit for
bit; no machine tells its own.
"""

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from golden.iss.trace import Entry
from golden.model.int_model import IntModel
from golden.ops.queues import Queue
from golden.spec.isa import Opcode
from golden.spec.program.image import Symbol

Choices = dict[str, dict[int, np.ndarray]]
"""Task -> layer -> experts of each token, int [tokens, top_k], the one of the largest weight first."""
Load = dict[str, dict[int, np.ndarray]]
"""Task -> layer -> tokens of each expert, int [experts]."""


def choices_of_network(network: IntModel, tasks: Iterable[str], picture: np.ndarray,
                       check: Callable[[], None] = lambda: None) -> Choices:
    """Choices of the tokens of a picture at the model's size. ``check`` is called many times meanwhile; what it raises
    ends the work."""
    found: Choices = {}
    for task in tasks:
        layers = found[task] = {}

        def hears(name: str, value: np.ndarray, layers=layers) -> None:
            check()
            if match := re.fullmatch(r"blocks\.(\d+)\.gate\.experts", name):
                layers[int(match[1])] = value
        if network.config.moe_layers:
            network.run(picture, task, trace=hears)
    return found


def routes(entry: Entry) -> bool:
    """Whether :func:`choices_of_entries` needs an executed instruction."""
    return entry.opcode is Opcode.GATE or entry.queues is not None


def choices_of_entries(entries: Iterable[Entry], symbols: Sequence[Symbol]) -> Choices:
    """Choices of the tokens of one picture, from the executed instructions of a program and its symbols."""
    parts: dict[str, dict[int, list[np.ndarray]]] = {}
    gate: dict[str, int] = {}
    for entry in entries:
        if entry.opcode is Opcode.GATE:  # the tokens that follow count from its first one
            gate = entry.fields
        elif entry.queues is not None:
            match = re.fullmatch(r"blocks\.(\d+)\.gate\.(.+)", symbols[entry.index].name)
            assert match is not None, "what goes to the gate is called so by the compiler"
            rows = _by_token(entry.queues, gate["first_token"], entry.fields["tokens"], gate["top_k"])
            parts.setdefault(match[2], {}).setdefault(int(match[1]), []).append(rows)
    return {task: {layer: np.concatenate(rows) for layer, rows in sorted(layers.items())}
            for task, layers in parts.items()}


def load_of(choices: Choices, experts: int) -> Load:
    """Tokens of each expert, int [experts], of the choices of all tokens."""
    return {task: {layer: np.bincount(chosen.reshape(-1), minlength=experts) for layer, chosen in layers.items()}
            for task, layers in choices.items()}


def _by_token(queues: tuple[Queue, ...], first: int, tokens: int, top_k: int) -> np.ndarray:
    """Experts of the ``tokens`` from number ``first`` on, int [tokens, top_k], from the queues of the experts."""
    token = np.concatenate([queue.tokens for queue in queues]) - first
    weight = np.concatenate([queue.weights for queue in queues]).astype(np.int64)
    expert = np.repeat(np.arange(len(queues)), [len(queue) for queue in queues])
    order = np.lexsort((expert, -weight, token))
    order = order[(token[order] >= 0) & (token[order] < tokens)]
    return expert[order].reshape(tokens, top_k)
