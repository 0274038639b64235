# SPDX-License-Identifier: Apache-2.0
"""Illegal values in every field of every instruction: refused with status and index, by golden and by the machine
alike; nothing is written outside the windows; the next job is exact."""

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.model.random_int_model import random_int_model
from golden.spec import isa
from golden.spec.isa import FORMATS, INSTRUCTION_BYTES, Opcode
from golden.spec.machine import LINE, NANO
from golden.spec.model import MODELS
from golden.spec.program.image import Image
from golden.spec.quantized import Plan
from golden.spec.status import Status
from host.compiler.compile import compile_model
from host.driver.errors import AccelError
from host.driver.session import Session
from sim.board.settings import DramSettings, Fault
from tests.e2e.support.illegal_fields import CASES, ELSEWHERE, FIELD, OPCODE, QUIET, READ, WRITE
from tests.e2e.support.programs import with_program, words_of

pytestmark = pytest.mark.rtl
LIMIT = 2_000_000


@pytest.fixture(scope="module")
def good() -> Image:
    config = MODELS["nano"]
    return compile_model(random_int_model(config, Plan.fast(config.depth), seed=1), NANO)


def task_with(image: Image, opcode: Opcode) -> tuple[str, int]:
    """A program that has ``opcode``, and where: for LINEAR one outside EXPERTS."""
    for task in image.programs:
        for at, word in enumerate(words_of(image, task)):
            if word & 15 == opcode:
                return task, at
    raise AssertionError(f"no program of {image.model.name} has a {opcode.name}")


def changed(image: Image, task: str, at: int, word: int) -> Image:
    words = words_of(image, task)
    words[at] = word
    return with_program(image, task, isa.assemble(words))


def with_fields(image: Image, opcode: Opcode, new: dict) -> tuple[Image, str, int]:
    """The image with fields of one ``opcode`` changed; one that no program has takes a STORE's place."""
    try:
        task, at = task_with(image, opcode)
        _, fields = isa.decode(words_of(image, task)[at])
    except AssertionError:
        task, at = task_with(image, Opcode.STORE)
        fields = {"src_row": 0, "dst_row": 20, "rows": 4}
        if opcode is Opcode.UPSAMPLE:
            fields |= {"width": 2, "lines": 2, "pitch": 2}
        if opcode is Opcode.KEEP:
            fields = {"score_row": 0, "row": 20, "blocks": 2, "tokens": 4, "keep": 2}
    return changed(image, task, at, isa.encode(opcode, **(fields | new))), task, at


def refusal(image: Image, device, picture, task: str, **options) -> tuple[AccelError, Session]:
    session = Session(image, device, **options)
    with pytest.raises(AccelError) as caught:
        session.frame(picture, task)
    return caught.value, session


class Attack:
    """Runs a bad program on both devices and the good one afterwards."""

    def __init__(self, device, good, picture):
        self.device, self.good, self.picture, self.count = device, good, picture, -1
        device.board.configure(DramSettings(latency=20))
        device.board.inject([])
        self.wanted = Session(good, GoldenDevice(NANO)).frame(picture).residuals

    def __call__(self, bad: Image, task: str) -> tuple[AccelError, AccelError, Session]:
        """The machine's error, golden's, and the machine's session."""
        on_golden, _ = refusal(bad, GoldenDevice(NANO), self.picture, task)
        board = self.device.board
        session = Session(bad, self.device, job_limit=LIMIT)
        board.allow_writes(session.regs["WRITE_LO"], session.regs["WRITE_HI"])
        with pytest.raises(AccelError) as caught:
            session.frame(self.picture, task)
        assert board.stray_writes == 0
        found = caught.value
        assert type(found) is type(on_golden) and found.status is on_golden.status, (found, on_golden)
        board.allow_writes(0, (1 << 64) - 1)  # the next user of the board may write anywhere
        self.count += 1
        if caught.value.status in QUIET and self.count % 4:
            return caught.value, on_golden, session  # refused before anything moved: now and then is enough
        after = Session(self.good, self.device, job_limit=LIMIT)
        got = after.frame(self.picture).residuals
        assert all(np.array_equal(got[name], self.wanted[name]) for name in self.wanted), caught.value
        return caught.value, on_golden, session


@pytest.fixture
def attack(device, good, picture):
    return Attack(device, good, picture)


@pytest.mark.parametrize("opcode", list(CASES), ids=lambda opcode: opcode.name)
def test_every_illegal_field_has_its_name_and_place(opcode, attack, good):
    used = FORMATS[opcode].used
    for status, new in CASES[opcode]:
        bad, task, at = with_fields(good, opcode, new)
        error, on_golden, session = attack(bad, task)
        assert error.status is status, (new, error)
        if status is Status.NO_END:
            at = new["count"]
        if status is OPCODE:  # a body that swallows END
            at = len(words_of(bad, task)) - 1
        runs_ahead = status is READ and "offset" not in new
        assert on_golden.index == at or "pitch" in new or "stream" in new and opcode is Opcode.EXPERTS, (new, on_golden)
        # The weight stream is prefetched: its error blames the instruction that was then in flight.
        assert error.index <= on_golden.index if runs_ahead else error.index == at, (new, error)
        if "offset" in new and status is WRITE:
            assert error.address == session.regs["OUTPUT_ADDR"] + new["offset"] * LINE
    for bit in {used, 254, 255} if used < 256 else set():
        bad, task, at = with_fields(good, opcode, {})
        bad = changed(bad, task, at, words_of(bad, task)[at] | 1 << bit)
        error, on_golden, _ = attack(bad, task)
        assert (error.status, error.index, on_golden.index) == (FIELD, at, at), bit


def test_every_field_of_every_instruction_is_attacked():
    """Those left out may have any value, or are refused through another one."""
    free = {"wait", "region", "memory", "eps", "multiplier", "renormalise", "affine", "accumulate", "wide_p",
            "opcode", "wide", "normalized", "append", "normalized_shift"}
    for opcode, word in FORMATS.items():
        attacked = {name for _, new in CASES[opcode] for name in new}
        left = {field.name for field in word.fields} - attacked - free
        assert not left - ({"shift1"} if opcode is Opcode.GATE else set()), (opcode, left)


@pytest.mark.parametrize("opcode, new, status, _why", ELSEWHERE, ids=[why for *_, why in ELSEWHERE])
def test_an_instruction_that_spoils_another(opcode, new, status, _why, attack, good):
    bad, task, at = with_fields(good, opcode, new)
    error, on_golden, _ = attack(bad, task)
    assert error.status is status and error.index == on_golden.index > at, error


@pytest.mark.parametrize("code", [code for code in range(16) if code not in set(Opcode)] + [Opcode.BEGIN])
def test_an_unknown_or_misplaced_opcode(code, attack, good):
    task, at = task_with(good, Opcode.NORM)
    word = words_of(good, task)[0] if code == Opcode.BEGIN else words_of(good, task)[at] & ~15 | code
    error, on_golden, _ = attack(changed(good, task, at, word), task)
    assert (error.status, error.index, on_golden.index) == (OPCODE, at, at)


@pytest.mark.parametrize("opcode, status", [(Opcode.END, OPCODE), (Opcode.EXPERTS, OPCODE), (Opcode.GATE, FIELD)])
def test_what_may_not_stand_in_a_body_of_experts(opcode, status, attack, good):
    task, at = task_with(good, Opcode.EXPERTS)
    words = words_of(good, task)
    source, where = task_with(good, opcode)
    error, on_golden, _ = attack(changed(good, task, at + 1, words_of(good, source)[where]), task)
    assert len(words) > at and (error.status, error.index, on_golden.index) == (status, at + 1, at + 1)


@pytest.mark.parametrize("field", ["retain_weights", "reuse_weights"])
def test_nothing_is_retained_in_or_before_a_body_of_experts(field, attack, good):
    task, experts = task_with(good, Opcode.EXPERTS)
    words = words_of(good, task)
    inside = next(at for at in range(experts + 1, len(words)) if words[at] & 15 == Opcode.LINEAR)
    before = max(at for at in range(experts) if words[at] & 15 == Opcode.LINEAR)
    for at, refused in ((inside, inside), (before, experts if field == "retain_weights" else before)):
        opcode, fields = isa.decode(words[at])
        error, on_golden, _ = attack(changed(good, task, at, isa.encode(opcode, **fields | {field: 1})), task)
        assert (error.status, error.index, on_golden.index) == (FIELD, refused, refused)


def test_a_program_of_noise_ends_in_a_name(attack, good):
    rng, refused = np.random.default_rng(11), 0
    for _ in range(12):
        task = next(iter(good.programs))
        data = bytearray(good.programs[task])
        for at in rng.integers(INSTRUCTION_BYTES, len(data), int(rng.integers(1, 40))):
            data[at] = int(rng.integers(0, 256))
        bad = with_program(good, task, bytes(data))
        try:
            refusal(bad, GoldenDevice(NANO), attack.picture, task)
        except pytest.fail.Exception:  # the noise did not matter
            continue
        attack(bad, task)
        refused += 1
    assert refused >= 6


def test_lines_of_the_stream_are_counted_modulo_their_field(device, good, picture):
    """A program may start its experts just below the end and its LINEARs just beyond: the sum is where it was."""
    task, at = task_with(good, Opcode.EXPERTS)
    words = words_of(good, task)
    back = (1 << 32) - 8
    _, experts = isa.decode(words[at])
    words[at] = isa.encode(Opcode.EXPERTS, **experts | {"stream": back})
    for place in range(at + 1, at + 1 + experts["body"]):
        opcode, fields = isa.decode(words[place])
        words[place] = isa.encode(opcode, **fields | {"stream": (fields["stream"] + experts["stream"] + 8) % (1 << 32)})
    odd = with_program(good, task, isa.assemble(words))
    device.board.configure(DramSettings(latency=20))
    wanted = Session(good, GoldenDevice(NANO)).frame(picture, task).residuals[task]
    for on in (GoldenDevice(NANO), device):
        assert np.array_equal(Session(odd, on, job_limit=LIMIT).frame(picture, task).residuals[task], wanted)


@pytest.mark.parametrize("register", ["PROGRAM_ADDR", "TABLE_ADDR", "WEIGHT_ADDR0"])
def test_a_dead_bus_is_found_at_its_address(register, device, good, picture):
    device.board.configure(DramSettings(latency=20))
    session = Session(good, device, job_limit=LIMIT, bus_limit=3000)
    session.regs["PROGRAM_ADDR"] = session._programs["task0"]
    address = session.regs[register] + 64
    device.board.inject([Fault(address=address, dead=True)])
    session.start(bytes(good.input["bytes"]), "task0")
    device.board.run(2 * LIMIT)
    while not session.regs["STATUS"] & 0xFF and not session.regs.ended:
        device.board.run(1000)
    with pytest.raises(AccelError) as caught:
        session.finish()
    device.board.inject([])
    device.board.reset()
    assert caught.value.status in (Status.BUS_TIMEOUT, Status.DRAIN_TIMEOUT)
    assert caught.value.address == address, hex(caught.value.address)
    got = Session(good, device).frame(picture).residuals
    wanted = Session(good, GoldenDevice(NANO)).frame(picture).residuals
    assert all(np.array_equal(got[task], wanted[task]) for task in wanted)
