# SPDX-License-Identifier: Apache-2.0
"""Which experts each token of a picture chose, for the page: by the model's network, else by its program."""

from collections.abc import Callable

import numpy as np

from golden.iss.run import run_image
from golden.iss.trace import Entry
from golden.model.nested import narrow
from golden.spec.model import ModelConfig
from golden.spec.program.names import width_of
from host.driver.layout import prepare_input
from host.expert_choices import Choices, choices_of_entries, choices_of_network, routes
from host.service.models import Model


def why_not(config: ModelConfig) -> str | None:
    """Why a model's choices are not shown: a sentence, or None where they are."""
    if not config.moe_layers:
        return "This model has no experts: every token passes the same FFNs."
    if config.keep:
        return "This model drops patches on the way; whose experts are whose is not shown for such models."
    return None


def chosen_experts(model: Model, task: str, picture: np.ndarray, check: Callable[[], None] = lambda: None) -> Choices:
    """The choices of a picture at the model's size; takes as long as the reference model does. ``check`` is called
    many times meanwhile; what it raises ends the work."""
    image = model.image
    if model.network is not None:
        network = narrow(model.network, width_of(task, image.model))
        return choices_of_network(network, image.tasks(task), picture, check)
    gated: list[Entry] = []

    def hears(entry: Entry) -> None:
        check()
        if routes(entry):
            gated.append(entry)
    run_image(image, prepare_input(picture, image.input), task, hears)
    return choices_of_entries(gated, image.symbols[task])


def of_patches(chosen: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Rows of the patches, row by row over the picture, of rows of all tokens."""
    rows = chosen[config.extra_tokens:]
    found = np.empty_like(rows)
    found[config.patch_order()] = rows
    return found
