# SPDX-License-Identifier: Apache-2.0
"""Which experts each patch of a picture chose, from the reference models: no machine tells its host.

A quantized model routes as its integer network; a program image as the instruction-set simulator runs it. Both are
equal to the machine bit for bit.
"""

import re

import numpy as np

from golden.iss.run import run_image
from golden.iss.trace import Entry
from golden.model.int_model import IntModel
from golden.model.nested import narrow
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


def chosen_experts(model: Model, task: str, picture: np.ndarray) -> Chosen:
    """The choices of all patches of a picture at the model's size; takes as long as the reference model does."""
    if model.network is not None:
        return _of_network(narrow(model.network, width_of(task, model.image.model)), model.image.tasks(task), picture)
    return _of_image(model.image, task, picture)


def _of_network(network: IntModel, tasks: tuple[str, ...], picture: np.ndarray) -> Chosen:
    found: Chosen = {}
    for task in tasks:
        layers = found[task] = {}

        def hears(name: str, value: np.ndarray, layers=layers) -> None:
            if match := re.fullmatch(r"blocks\.(\d+)\.gate\.experts", name):
                layers[int(match[1])] = _placed(value, network.config)
        network.run(picture, task, trace=hears)
    return found


def _of_image(image: Image, program: str, picture: np.ndarray) -> Chosen:
    config, symbols, tasks = image.model, image.symbols[program], image.tasks(program)
    queues: dict[int, np.ndarray] = {}

    def hears(entry: Entry) -> None:
        match = re.match(r"blocks\.(\d+)\.gate\.", symbols[entry.index].name)
        if match and entry.queues is not None:  # of all tokens that were gated up to here: the last entry counts
            queues[int(match[1])] = _by_token(entry, len(tasks) * config.tokens, config.top_k)
    run_image(image, prepare_input(picture, image.input), program, hears)
    return {task: {layer: _placed(rows[number * config.tokens:(number + 1) * config.tokens], config)
                   for layer, rows in sorted(queues.items())} for number, task in enumerate(tasks)}


def _by_token(entry: Entry, tokens: int, top_k: int) -> np.ndarray:
    """Experts of each token, int [tokens, top_k], from the queues of the experts."""
    assert entry.queues is not None
    token = np.concatenate([queue.tokens for queue in entry.queues])
    weight = np.concatenate([queue.weights for queue in entry.queues]).astype(np.int64)
    expert = np.repeat(np.arange(len(entry.queues)), [len(queue) for queue in entry.queues])
    order = np.lexsort((expert, -weight, token))
    found = np.full((tokens, top_k), -1)
    rank = np.arange(len(order)) - np.searchsorted(token[order], token[order])
    found[token[order], rank] = expert[order]
    return found


def _placed(rows: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Rows of the patches, row by row over the picture, of rows of all tokens."""
    found = np.empty_like(rows[config.extra_tokens:])
    found[config.patch_order()] = rows[config.extra_tokens:]
    return found
