# SPDX-License-Identifier: Apache-2.0
"""A whole nano frame in RTL through the host driver equals golden, whatever the bus does, and after every fault."""

from dataclasses import replace

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.model.nested import narrow
from golden.model.random_int_model import random_int_model
from golden.model.scales import scaled
from golden.spec import isa
from golden.spec.activations import ACTIVATIONS
from golden.spec.machine import NANO, PAGE
from golden.spec.model import MODELS, ModelConfig
from golden.spec.quantized import Plan
from golden.spec.regs import REGISTERS, Access, Ctrl, StatusBits
from golden.spec.status import Status
from host.compiler.compile import compile_model
from host.driver.errors import AccelError
from host.driver.layout import prepare_input
from host.driver.scales import run_scales
from host.driver.session import Session
from sim.board.settings import DRAM_BASE, DramSettings, Fault, Response
from sim.stalls import SEEDS, Outcome, main, stalling
from sim.trace import Tracer
from tests.host.support.relu import imported, pictures, quantized

pytestmark = pytest.mark.rtl
LIMIT = 2_000_000


def load(image, device, **options):
    """A fresh session on the shared board, with a calm DRAM."""
    device.free()
    device.board.configure(DramSettings(latency=20))
    device.board.inject([])
    return Session(image, device, job_limit=LIMIT, **options)


def expected(image, picture, task):
    return Session(image, GoldenDevice(image.machine)).frame(picture, task).residuals


def same(a, b):
    return list(a) == list(b) and all(np.array_equal(a[key], b[key]) for key in a)


def test_every_task_equals_golden(image, device, picture):
    session = load(image, device)
    for task in image.programs:
        assert same(session.frame(picture, task).residuals, expected(image, picture, task)), task


def test_stray_accesses_are_harmless_and_noted(image, device, picture):
    """A dump of the whole page, and writes to all of it that is not writable, between two exact frames."""
    session = load(image, device)
    taken = {r.offset + 4 * half: r for r in REGISTERS for half in range(1 + r.wide)}
    holes = [offset for offset in range(0, PAGE, 4) if offset not in taken]
    assert not session.regs["STATUS"] & StatusBits.STRAY_ACCESS
    assert not any(device.read32(offset) for offset in holes) and session.regs["STATUS"] & StatusBits.STRAY_ACCESS
    task = next(iter(image.programs))
    assert same(session.frame(picture, task).residuals, expected(image, picture, task))
    assert not session.regs["STATUS"] & StatusBits.STRAY_ACCESS
    before = {r.name: session.regs[r.name] for r in REGISTERS}
    for offset in (*holes, *(offset for offset, register in taken.items() if register.access is Access.RO)):
        device.write32(offset, 0xFFFF_FFFF)
    assert {r.name: session.regs[r.name] for r in REGISTERS} \
        == before | {"STATUS": before["STATUS"] | StatusBits.STRAY_ACCESS, "CTRL": Ctrl.IDLE}
    assert same(session.frame(picture, task).residuals, expected(image, picture, task))


def test_every_instruction_equals_the_instruction_set_simulator(image, device, picture):
    for task in image.programs:
        entries = []
        Session(image, GoldenDevice(image.machine, trace=entries.append)).frame(picture, task)
        session = load(image, device)
        session.start(prepare_input(picture, image.input), task)
        tracer = Tracer(device.board, entries)
        tracer.run(LIMIT)
        session.finish()
        written = [entry for entry in entries if entry.writes]
        assert len(tracer.retired) >= len(written) > 15


@pytest.mark.parametrize("seed", range(SEEDS))
def test_stalls_change_time_but_no_bit(seed, device, picture):
    config = MODELS["nano"]
    image = compile_model(random_int_model(config, Plan.fast(config.depth), seed=1), NANO)
    session = load(image, device)
    device.board.configure(stalling(seed))
    assert same(session.frame(picture).residuals, expected(image, picture, None))


def test_seeds_on_cores(device, capsys):
    """The same by its command: the board that the tests use is built, a worker builds another one."""
    assert main(["--seeds", "2", "--workers", "1"]) == 0
    assert "2 of 2 frames exact" in capsys.readouterr().out


def test_a_seed_that_differs_is_named(monkeypatch, device, capsys):
    monkeypatch.setattr("sim.stalls.run", lambda model, machine, seed: Outcome(seed, 9, seed != 1, "rows differ"))
    assert main(["--seeds", "3", "--workers", "1"]) == 1
    said = capsys.readouterr().out
    assert "seed 1: rows differ" in said and "2 of 3" in said


def test_seeds_without_a_cluster(capsys):
    pytest.importorskip("distributed", reason="the cluster's package is an extra")
    assert main(["--scheduler", "nonsense://here"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_two_models_one_after_the_other(device, picture):
    """Depth, width, heads, tokens and experts are data: nothing is rebuilt between two networks."""
    nano = MODELS["nano"]
    plain = ModelConfig(name="plain", image_height=16, image_width=48, patch=8, dim=32, depth=3, heads=1, mlp_hidden=96,
                        moe_layers=(), experts=0, expert_hidden=0, top_k=0, tasks=("default",), final_norm=True,
                        classes=10)
    for _ in range(2):
        for config in (nano, plain):
            image = compile_model(random_int_model(config, Plan.fast(config.depth), seed=3), NANO)
            pixels = picture[:config.image_height, :config.image_width]
            result = load(image, device).frame(pixels)
            golden = Session(image, GoldenDevice(NANO)).frame(pixels)
            assert same(result.residuals, golden.residuals) and same(result.scores, golden.scores), config.name


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_equals_golden(activation, device, picture):
    config = replace(MODELS["nano"], activation=activation)
    image = compile_model(random_int_model(config, Plan.accurate(config.depth), seed=2), NANO)
    codes = {isa.decode(word)[1]["activation"] for word in image.words("task1") if word & 15 == isa.Opcode.LINEAR}
    assert codes == {0, ACTIVATIONS[activation].code}
    assert same(load(image, device).frame(picture, "task1").residuals, expected(image, picture, "task1"))


@pytest.mark.parametrize("plan", ["fast", "accurate"])
@pytest.mark.parametrize("moe_layers", [(), (1,), (0, 1)], ids=["dense", "mixed", "experts"])
def test_every_ffn_width_equals_the_narrow_network(moe_layers, plan, device, picture):
    config = replace(MODELS["nano"], moe_layers=moe_layers)
    network = random_int_model(config, getattr(Plan, plan)(config.depth), seed=4)
    session = load(compile_model(network, NANO, widths=(0.25, 0.5, 1)), device)
    for width, name in ((1, "task1"), (0.5, "task1@0.5"), (0.25, "task1@0.25")):
        result = session.run(picture, task=name)
        np.testing.assert_array_equal(result.residuals["task1"], narrow(network, width).run(picture, "task1"))


def test_scales_equal_the_reference(device, picture):
    config = MODELS["nano"]
    network = random_int_model(config, Plan.fast(config.depth), seed=6)
    seen = {1: picture, 2: np.tile(picture, (2, 2, 1))[:, ::-1]}
    result = run_scales(load(compile_model(network, NANO), device), seen)
    np.testing.assert_array_equal(result.features, scaled(config, network.features, seen))
    assert result.jobs == 5 and result.cycles > 0


@pytest.mark.parametrize("plan", ["fast", "accurate"])
def test_a_relu_network_from_its_file_to_the_board(plan, device, tmp_path):
    network = quantized(imported(tmp_path), plan)
    session = load(compile_model(network, NANO), device)
    for pixels in pictures(2, seed=3):
        result, wanted = session.run(pixels), network.run(pixels)
        np.testing.assert_array_equal(result.residuals["default"], wanted)
        np.testing.assert_array_equal(result.scores["default"], network.logits(wanted))


FAULTS = [
    (Response.SLVERR, False, Status.R_SLVERR), (Response.DECERR, False, Status.R_DECERR),
    (Response.EXOKAY, False, Status.EXOKAY), (Response.SLVERR, True, Status.B_SLVERR),
    (Response.DECERR, True, Status.B_DECERR),
]


@pytest.mark.parametrize("response, write, status", FAULTS, ids=lambda value: getattr(value, "name", str(value)))
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_bus_error_ends_in_its_name_and_the_next_run_is_exact(response, write, status, place, device, picture):
    config = MODELS["nano"]
    image = compile_model(random_int_model(config, Plan.fast(config.depth), seed=1), NANO)
    session = load(image, device)
    base, size = _region("OUTPUT_ADDR" if write else "WEIGHT_ADDR0", session, image, write)
    address = base + int(place * (size - 16)) // 16 * 16
    device.board.inject([Fault(address=address, response=response, write=write)])
    with pytest.raises(AccelError) as caught:
        session.frame(picture)
    assert caught.value.status is status
    device.board.inject([])
    assert same(session.frame(picture).residuals, expected(image, picture, None))


@pytest.mark.parametrize("register", ["PROGRAM_ADDR", "TABLE_ADDR", "INPUT_ADDR"])
def test_an_error_on_the_main_port_ends_in_its_name(register, device, picture):
    config = MODELS["nano"]
    image = compile_model(random_int_model(config, Plan.fast(config.depth), seed=1), NANO)
    session = load(image, device)
    session.regs["PROGRAM_ADDR"] = session._programs["task0"]
    device.board.inject([Fault(address=session.regs[register] + 32, response=Response.SLVERR)])
    with pytest.raises(AccelError) as caught:
        session.frame(picture)
    assert caught.value.status is Status.R_SLVERR
    assert caught.value.address // 4096 == session.regs[register] // 4096
    device.board.inject([])
    assert same(session.frame(picture).residuals, expected(image, picture, None))


def test_a_dead_bus_ends_in_time(device, picture):
    config = MODELS["nano"]
    image = compile_model(random_int_model(config, Plan.fast(config.depth), seed=1), NANO)
    session = load(image, device, bus_limit=2000)
    device.board.inject([Fault(address=session.regs["WEIGHT_ADDR0"] + 4096, dead=True)])
    with pytest.raises(AccelError) as caught:
        session.frame(picture)
    assert caught.value.status in (Status.BUS_TIMEOUT, Status.DRAIN_TIMEOUT)
    device.board.reset()
    assert same(load(image, device).frame(picture).residuals, expected(image, picture, None))


def test_a_watchdog_ends_a_job_that_takes_too_long(image, device, picture):
    device.free()
    session = Session(image, device, job_limit=3000)
    with pytest.raises(AccelError) as caught:
        session.frame(picture)
    assert caught.value.status is Status.JOB_TIMEOUT
    assert same(load(image, device).frame(picture).residuals, expected(image, picture, None))


def _region(register, session, image, write):
    return session.regs[register], image.output_bytes() if write else len(image.planes[0])


def _with_word(image, opcode, change):
    """The image with the first ``opcode`` of its first program changed."""
    task = next(iter(image.programs))
    words = image.words(task)
    at = next(i for i, word in enumerate(words) if word & 15 == opcode)
    words[at] = change(words[at])
    return replace(image, programs={**image.programs, task: isa.assemble(words)}), at


def _fields(**new):
    def change(word):
        opcode, fields = isa.decode(word)
        return isa.encode(opcode, **(fields | new))
    return change


BAD_PROGRAMS = [
    (isa.Opcode.STORE, _fields(offset=1 << 20), Status.RANGE_WRITE),
    (isa.Opcode.STORE, _fields(offset=(1 << 32) - 1), Status.RANGE_WRITE),
    (isa.Opcode.LOAD, _fields(offset=1 << 28), Status.RANGE_READ),
    (isa.Opcode.LINEAR, _fields(stream=1 << 28), Status.RANGE_READ),
    (isa.Opcode.LINEAR, _fields(tiles=0), Status.BAD_FIELD),
    (isa.Opcode.NORM, _fields(blocks=0), Status.BAD_FIELD),
    (isa.Opcode.STORE, lambda word: word | 1 << 255, Status.BAD_FIELD),
    (isa.Opcode.STORE, _fields(row=0xFFFF), Status.RANGE_LOCAL),
    (isa.Opcode.LOAD, _fields(row=0xFFF0), Status.RANGE_LOCAL),
    (isa.Opcode.LINEAR, _fields(dst=isa.Dest.KEY, dst_row=900), Status.RANGE_LOCAL),
    (isa.Opcode.LINEAR, _fields(dst=isa.Dest.VALUE, dst_row=900), Status.RANGE_LOCAL),
]


@pytest.mark.parametrize("opcode, change, status", BAD_PROGRAMS,
                         ids=[f"{o.name}-{s.name}-{i}" for i, (o, _, s) in enumerate(BAD_PROGRAMS)])
def test_a_bad_program_is_refused_by_name_and_writes_nothing_outside(opcode, change, status, device, picture):
    config = MODELS["nano"]
    good = compile_model(random_int_model(config, Plan.fast(config.depth), seed=1), NANO)
    bad, at = _with_word(good, opcode, change)
    session = load(bad, device)
    low, high = session.regs["WRITE_LO"], session.regs["WRITE_HI"]
    device.board.allow_writes(low, high)
    outside = device.board.dram.copy()
    with pytest.raises(AccelError) as caught:
        session.frame(picture)
    assert caught.value.status is status, caught.value
    assert device.board.stray_writes == 0
    moved = np.flatnonzero(outside != device.board.dram)
    inside = range(low - DRAM_BASE, high - DRAM_BASE)
    input_at = session.regs["INPUT_ADDR"] - DRAM_BASE
    given = range(input_at, input_at + bad.input["bytes"])
    assert all(int(i) in inside or int(i) in given for i in moved[:1000])
    assert same(load(good, device).frame(picture).residuals, expected(good, picture, None))
