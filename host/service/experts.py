# SPDX-License-Identifier: Apache-2.0
"""Which experts each patch of a picture chose, from the reference models: no machine tells its host.

A quantized model routes as its integer network; a program image as the instruction-set simulator runs it. Both are
equal to the machine bit for bit.
"""

import re
from collections.abc import Callable

import numpy as np

from golden.iss.run import run_image
from golden.iss.trace import Entry
from golden.model.int_model import IntModel
from golden.model.nested import narrow
from golden.ops.queues import Queue
from golden.spec.isa import Opcode
from golden.spec.model import ModelConfig
from golden.spec.program.image import Image
from golden.spec.program.names import width_of
from host.driver.layout import prepare_input
from host.service.models import Model

Chosen = dict[str, dict[int, np.ndarray]]
"""Task -> layer -> experts of each patch, int [patches, top_k], the one of the largest weight first."""


def why_not(config: ModelConfig) -> str | None:
    """Why a model's choices are not shown: a sentence, or None where they are."""
    if not config.moe_layers:
        return "This model has no experts: every token passes the same FFNs."
    if config.keep:
        return "This model drops patches on the way; whose experts are whose is not shown for such models."
    return None


def chosen_experts(model: Model, task: str, picture: np.ndarray, check: Callable[[], None] = lambda: None) -> Chosen:
    """The choices of all patches of a picture at the model's size; takes as long as the reference model does.
    ``check`` is called many times meanwhile; what it raises ends the work."""
    if model.network is not None:
        network = narrow(model.network, width_of(task, model.image.model))
        return _of_network(network, model.image.tasks(task), picture, check)
    return _of_image(model.image, task, picture, check)


def _of_network(network: IntModel, tasks: tuple[str, ...], picture: np.ndarray, check: Callable[[], None]) -> Chosen:
    found: Chosen = {}
    for task in tasks:
        layers = found[task] = {}

        def hears(name: str, value: np.ndarray, layers=layers) -> None:
            check()
            if match := re.fullmatch(r"blocks\.(\d+)\.gate\.experts", name):
                layers[int(match[1])] = _placed(value, network.config)
        network.run(picture, task, trace=hears)
    return found


def _of_image(image: Image, program: str, picture: np.ndarray, check: Callable[[], None]) -> Chosen:
    config, symbols = image.model, image.symbols[program]
    parts: dict[tuple[str, int], list[np.ndarray]] = {}
    first = 0

    def hears(entry: Entry) -> None:
        nonlocal first
        check()
        if entry.opcode is Opcode.GATE:  # the tokens that follow count from here
            first = entry.fields["first_token"]
        elif entry.queues is not None:
            match = re.match(r"blocks\.(\d+)\.gate\.(.+)", symbols[entry.index].name)
            assert match is not None, "what goes to the gate is called so by the compiler"
            rows = _by_token(entry.queues, first, entry.fields["tokens"], config.top_k)
            parts.setdefault((match[2], int(match[1])), []).append(rows)
    run_image(image, prepare_input(picture, image.input), program, hears)
    return {task: {layer: _placed(np.concatenate(parts[task, layer]), config) for layer in sorted(config.moe_layers)}
            for task in image.tasks(program)}


def _by_token(queues: tuple[Queue, ...], first: int, tokens: int, top_k: int) -> np.ndarray:
    """Experts of the ``tokens`` from number ``first`` on, int [tokens, top_k], from the queues of the experts."""
    token = np.concatenate([queue.tokens for queue in queues]) - first
    weight = np.concatenate([queue.weights for queue in queues]).astype(np.int64)
    expert = np.repeat(np.arange(len(queues)), [len(queue) for queue in queues])
    order = np.lexsort((expert, -weight, token))
    order = order[(token[order] >= 0) & (token[order] < tokens)]
    return expert[order].reshape(tokens, top_k)


def _placed(rows: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Rows of the patches, row by row over the picture, of rows of all tokens."""
    found = np.empty_like(rows[config.extra_tokens:])
    found[config.patch_order()] = rows[config.extra_tokens:]
    return found
