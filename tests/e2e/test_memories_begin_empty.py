# SPDX-License-Identifier: Apache-2.0
"""Unwritten rows read as zeros in every job, whatever job ran before: golden and RTL, bit by bit."""

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.model.random_int_model import random_int_model
from golden.spec import isa
from golden.spec.isa import Memory, Opcode, Unit
from golden.spec.machine import NANO
from golden.spec.model import MODELS
from golden.spec.program.image import Image
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.driver.session import Session
from sim.board.settings import DramSettings
from sim.device import SimDevice
from tests.e2e.support.programs import with_program, words_of

pytestmark = pytest.mark.rtl
LIMIT = 2_000_000
TASK = "task0"
ROWS = 66
"""Of the output: 33 tokens of 64 channels."""

ODD = {
    "patches from unwritten rows": ("fast", [(Opcode.LINEAR, 0, {"src_row": 300})]),
    "sums onto unwritten rows": ("fast", [(Opcode.LINEAR, 0, {"dst_row": 130}),
                                                   (Opcode.STORE, 0, {"row": 128})]),
    "some keys of no token": ("fast", [(Opcode.ATTENTION, 0, {"key_tile": 2})]),
    "values of no token": ("fast", [(Opcode.ATTENTION, 0, {"value_tile": 6})]),
    "keys and values of no token": ("accurate", [(Opcode.ATTENTION, 0, {"key_tile": 8, "value_tile": 6})]),
    "queries from unwritten rows": ("fast", [(Opcode.ATTENTION, 0, {"q_row": 300})]),
    "a norm of unwritten rows": ("accurate", [(Opcode.NORM, 1, {"src_row": 130})]),
    "wide operands from unwritten rows": ("accurate", [(Opcode.LINEAR, 1, {"src_row": 400})]),
    "low bytes from unwritten rows": ("accurate", [
        (Opcode.LINEAR, 1, {"src_plane": 200, "dst_row": 480, "dst_stride": 1, "tokens": 30})]),
    "wide operands in rows that have exponents": ("fast", [(Opcode.LINEAR, 4, {"src_wide": 1})]),
    "operand rows of which the last is unwritten": ("fast", [(Opcode.STORE, 0, {"memory": Memory.OPERAND,
                                                                                "row": NANO.operand_rows - ROWS})]),
}
"""Plan of the model, and which instruction of its program (the n-th of its kind) gets which fields."""


@pytest.fixture(scope="module")
def images() -> dict[str, Image]:
    config = MODELS["nano"]
    return {name: compile_model(random_int_model(config, getattr(Plan, name)(config.depth), seed=1), NANO)
            for name in ("fast", "accurate")}


def edited(image: Image, changes: list) -> Image:
    words = words_of(image, TASK)
    for opcode, n, new in changes:
        at = [place for place, word in enumerate(words) if word & 15 == opcode][n]
        words[at] = isa.encode(opcode, **isa.decode(words[at])[1] | new)
    return with_program(image, TASK, isa.assemble(words))


def program(image: Image, *instructions: tuple[Opcode, dict]) -> Image:
    """The image with a program of these instructions and nothing else."""
    words = [isa.encode(opcode, **fields) for opcode, fields in instructions]
    begin = isa.decode(words_of(image, TASK)[0])[1] | {"count": len(words) + 2}
    return with_program(image, TASK, isa.assemble([isa.encode(Opcode.BEGIN, **begin), *words,
                                                   isa.encode(Opcode.END)]))


def result(image: Image, device, picture) -> np.ndarray:
    if isinstance(device, SimDevice):
        device.free()
        device.board.configure(DramSettings(latency=20))
    return Session(image, device, job_limit=LIMIT).frame(picture, TASK).residuals[TASK]


@pytest.fixture
def run_all(device, images, picture):
    """Runs an image on golden, alone and after others, and on the board: as its first job, after one owner, after
    another."""
    def run(image: Image) -> np.ndarray:
        wanted = result(image, GoldenDevice(NANO), picture)
        used = GoldenDevice(NANO)
        result(images["accurate"], used, picture)
        assert np.array_equal(result(image, used, picture), wanted), "golden remembers"
        new = SimDevice(NANO, dram_bytes=8 << 20)
        try:
            assert np.array_equal(result(image, new, picture), wanted), "the first job of a board differs"
        finally:
            new.close()
        for owner in ("fast", "accurate"):
            result(images[owner], device, 255 - picture)
            assert np.array_equal(result(image, device, picture), wanted), f"after {owner} it differs"
        return wanted
    return run


@pytest.mark.parametrize("case", list(ODD))
def test_a_program_that_reads_what_it_never_wrote(case, run_all, images, picture):
    plan, changes = ODD[case]
    got = run_all(edited(images[plan], changes))
    assert not np.array_equal(got, result(images[plan], GoldenDevice(NANO), picture)), "the change changed nothing"


@pytest.mark.parametrize("memory, depth", [(Memory.OPERAND, NANO.operand_rows), (Memory.RESIDUAL, NANO.residual_rows)])
def test_an_owner_who_only_looks_sees_zeros(memory, depth, run_all, images):
    for row in {*range(0, depth - ROWS, ROWS), depth - ROWS}:
        assert not run_all(program(images["fast"], (Opcode.STORE, {"memory": memory, "row": row, "rows": ROWS}))).any()


def test_a_copy_of_unwritten_rows_is_zeros(run_all, images):
    """While the sweep goes: rows are read that it has not reached, and written where it has just been."""
    load = {"memory": Memory.RESIDUAL, "rows": ROWS}
    copy = {"src_row": NANO.residual_rows - ROWS // 2, "dst_row": ROWS // 2, "rows": ROWS // 2, "wait": Unit.DMA}
    store = {"memory": Memory.RESIDUAL, "rows": ROWS, "wait": Unit.DMA}
    got = run_all(program(images["fast"], (Opcode.LOAD, load), (Opcode.COPY, copy), (Opcode.STORE, store)))
    flat = got.reshape(ROWS, -1)
    assert flat[:ROWS // 2].any() and not flat[ROWS // 2:].any()
