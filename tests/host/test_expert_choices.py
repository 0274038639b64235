# SPDX-License-Identifier: Apache-2.0
"""Choices of the tokens: the network's are the program's, one for every token, and counted in the loops that ran."""

from dataclasses import replace

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.iss.trace import Entry
from golden.model.random_int_model import random_int_model
from golden.spec.isa import Opcode
from golden.spec.machine import NANO as MACHINE
from golden.spec.machine import ZCU102
from golden.spec.model import NANO
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.driver.session import Session
from host.expert_choices import choices_of_entries, choices_of_network, load_of, routes
from tests.host.support.services import STREET, noise

WINDOWS = replace(NANO, name="windows", image_height=64, extra_tokens=0, window=2, window_layers=(0,))
DROPS = replace(NANO, name="drops", depth=3, moe_layers=(2,), keep=((1, 9),))


@pytest.mark.parametrize("config, machine", [(STREET, ZCU102), (NANO, MACHINE), (WINDOWS, MACHINE), (DROPS, MACHINE)],
                         ids=lambda value: value.name)
def test_a_program_chooses_as_its_network(config, machine):
    network = random_int_model(config, Plan.fast(config.depth, config.task_heads), 3)
    image, pixels = compile_model(network, machine), noise(config)
    for program in image.programs:
        entries: list[Entry] = []
        Session(image, GoldenDevice(machine, trace=entries.append)).frame(pixels, program)
        by_network = choices_of_network(network, image.tasks(program), pixels)
        by_image = choices_of_entries(entries, image.symbols[program])
        assert list(by_network) == list(by_image) == list(image.tasks(program))
        for task, layers in by_network.items():
            assert list(layers) == list(by_image[task]) == sorted(config.moe_layers)
            for layer, rows in layers.items():
                assert rows.shape == (config.tokens_after(layer), config.top_k)
                np.testing.assert_array_equal(rows, by_image[task][layer])
        load = load_of(by_image, config.experts)
        assert {task: set(layers) for task, layers in load.items()} == {
            task: set(config.moe_layers) for task in image.tasks(program)}
        together = sum(sum(layers.values()) for layers in load.values())
        np.testing.assert_array_equal(together, executed(entries, config.experts))
        assert choices_of_entries(filter(routes, entries), image.symbols[program]).keys() == by_image.keys()


def executed(entries, experts):
    """Tokens of each expert in the bodies of all loops, counted at the first instruction of each body."""
    found, first = np.zeros(experts, int), set[int]()
    for entry in entries:
        if entry.opcode is Opcode.EXPERTS:
            first.add(entry.index + 1)
    for entry in entries:
        if entry.index in first and entry.tokens is not None:
            found[entry.expert] += len(entry.tokens)
    return found


def test_a_network_without_experts_is_not_run():
    network = random_int_model(replace(NANO, moe_layers=()), seed=1)
    assert choices_of_network(network, ("task0",), np.zeros(0, np.uint8)) == {"task0": {}}
    assert load_of({"task0": {}}, 4) == {"task0": {}}


def test_the_check_ends_the_work():
    def breaks():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        choices_of_network(random_int_model(NANO, seed=1), ("task0",), noise(NANO), breaks)
