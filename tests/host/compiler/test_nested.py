# SPDX-License-Identifier: Apache-2.0
"""Programs of several FFN widths from one weight stream equal the narrowed integer networks, bit for bit."""

from dataclasses import replace

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.iss import run_image
from golden.model.nested import narrow
from golden.spec import isa, machine, model
from golden.spec.isa import Opcode
from golden.spec.model import ConfigError
from golden.spec.program.image import Image
from golden.spec.program.names import width_of
from golden.spec.tiling import linear_lines, slices, tiles
from host.compiler.compile import compile_model
from host.driver.layout import find, prepare_input, read_output
from host.driver.session import Session
from host.ir.nodes import NotFitting
from tests.host.support.compiled import PLANS, SMALL_DEIT, TINY, compiled, picture

WIDTHS = (0.25, 0.5, 1)
NANO = replace(model.NANO, mlp_hidden=256, expert_hidden=128)


def check(network, image) -> None:
    """Every program gives what the network of its width gives for each of its tasks."""
    pixels = picture(network.config)
    for name in image.programs:
        part = narrow(network, width_of(name, network.config))
        out = run_image(image, prepare_input(pixels, image.input), name)
        for task in image.tasks(name):
            np.testing.assert_array_equal(read_output(out, find(image.results(name), "features", task)),
                                          part.run(pixels, task), err_msg=f"{name} {task}")


@pytest.mark.parametrize("config, target", [
    (NANO, machine.NANO), (replace(NANO, moe_layers=(0, 1), tasks=("a", "b", "c")), machine.SMALL),
    (replace(NANO, activation="relu", moe_layers=()), machine.NANO),
    (replace(TINY, depth=2, moe_layers=(1,)), machine.ZCU102),
    (replace(SMALL_DEIT, depth=1), machine.ZCU102)], ids=lambda v: v.name)
@pytest.mark.parametrize("plan", PLANS)
def test_every_width_equals_the_narrow_network(config, target, plan):
    network, image = compiled(config, target, plan, seed=3, widths=WIDTHS)
    joint = len(config.tasks) > 1 and f"{'+'.join(config.tasks)}" in image.programs
    assert len(image.programs) == 3 * (len(config.tasks) + joint)
    check(network, image)


@pytest.mark.parametrize("passes", [(), None], ids=["plain", "passes"])
def test_with_and_without_passes(passes):
    options = {} if passes is None else {"passes": passes}
    check(*compiled(NANO, replace(machine.NANO, operand_rows=192), "accurate", widths=WIDTHS, **options))


def test_names_order_and_file():
    network, image = compiled(NANO, machine.NANO, widths=(0.5, 1, 0.25, 0.5))
    assert list(image.programs) == [f"{tasks}{width}" for width in ("", "@0.5", "@0.25")
                                    for tasks in ("task0", "task1", "task0+task1")]
    assert Image.from_bytes(image.to_bytes()) == image
    assert image.tasks("task0+task1@0.25") == ("task0", "task1")
    session = Session(image, GoldenDevice(machine.NANO))
    pixels = picture(NANO)
    result = session.run(pixels, task="task1@0.5")
    np.testing.assert_array_equal(result.residuals["task1"], narrow(network, 0.5).run(pixels, "task1"))


@pytest.mark.parametrize("plan", PLANS)
def test_weights_are_stored_once(plan):
    """A width costs its rests and nothing else: 14 lines a tile of dim, of a dense FFN and of each expert."""
    _, whole = compiled(TINY, machine.ZCU102, plan)
    _, image = compiled(TINY, machine.ZCU102, plan, widths=WIDTHS)
    ffns = sum(TINY.experts if TINY.is_moe(i) else 1 for i in range(TINY.depth))
    more = image.stream_lines - whole.stream_lines
    assert more == 2 * ffns * linear_lines(tiles(TINY.dim), 1) == 2 * ffns * 14 * 6
    assert [image.words(name)[1:] == whole.words(name)[1:] for name in whole.programs] == [False] * 3  # other addresses
    assert [len(image.words(name)) for name in whole.programs] == [len(whole.words(name)) for name in whole.programs]


def test_the_widest_is_what_is_stored():
    network, image = compiled(NANO, machine.NANO, widths=(0.5, 0.25))
    assert list(image.programs)[0] == "task0@0.5"
    check(network, image)
    _, whole = compiled(NANO, machine.NANO)
    assert image.stream_lines < 0.8 * whole.stream_lines


def test_a_narrow_program_alone_is_a_program_of_the_narrow_network():
    network, image = compiled(NANO, machine.NANO, widths=(0.5,))
    assert all(isa.decode(word)[1]["tiles"] > 1 for word in image.words() if isa.decode(word)[0] is Opcode.LINEAR
               and isa.decode(word)[1]["slices"] == slices(128))
    alone = compile_model(narrow(network, 0.5), machine.NANO)
    assert list(alone.programs.values()) == list(image.programs.values()) and alone.planes == image.planes


def test_half_the_neurons_take_fewer_cycles():
    _, image = compiled(SMALL_DEIT, machine.ZCU102, widths=WIDTHS)
    cycles = {name: sum(symbol.cycles for symbol in image.symbols[name]) for name in image.programs}
    assert cycles["default@0.25"] < cycles["default@0.5"] < 0.8 * cycles["default"]


def test_refusals():
    wide = replace(model.NANO, dim=448, heads=7)
    with pytest.raises(NotFitting, match="A narrow expert of 'nano' takes 16 instructions, .* at most 15"):
        compiled(wide, machine.U280, widths=(0.5, 1))
    with pytest.raises(ConfigError, match=r"two programs called 'a@0.5'"):
        compiled(replace(NANO, tasks=("a", "a@0.5"), moe_layers=()), machine.NANO, widths=(0.5, 1))
    with pytest.raises(ConfigError, match="like 0.5, not 'half'"):
        width_of("task0@half", NANO)
