# SPDX-License-Identifier: Apache-2.0
"""AXI protocol violations: the job ends with a named status, and the next clean one is exact, without a reset or,
where the machine asks for one, after it."""

from dataclasses import dataclass

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.model.random_int_model import random_int_model
from golden.spec.machine import NANO
from golden.spec.model import MODELS
from golden.spec.quantized import Plan
from golden.spec.regs import DRAIN_LIMITS
from golden.spec.status import Status
from host.compiler.compile import compile_model
from host.driver.errors import AccelError, DeviceLost
from host.driver.session import Session
from sim.board.settings import DramSettings, Fault

pytestmark = pytest.mark.rtl
LIMIT, BUS_LIMIT = 2_000_000, 2000
BEAT = 16
TRIALS = 12
MEMORIES = [DramSettings(latency=20), DramSettings(latency=100, bytes_per_cycle=4),
            DramSettings(latency=20, stall=0.5), DramSettings(latency=300)]

READS: dict[str, dict] = {
    "RLAST early, all beats come": {"at": "inside", "rlast": True},
    "RLAST early, the burst ends there": {"at": "inside", "rlast": True, "cut": True},
    "the burst ends without RLAST": {"at": "inside", "cut": True},
    "RLAST missing": {"at": "last", "rlast": True},
    "RLAST missing, more beats at once": {"at": "last", "rlast": True, "surplus": 3},
    "a beat too many": {"at": "last", "surplus": 1},
    "a burst too many": {"at": "last", "surplus": 64},
    "beats too many, a little later": {"at": "last", "surplus": 5, "gap": 50},
    "beats too many, much later": {"at": "last", "surplus": 5, "gap": BUS_LIMIT * 3 // 4},
    "beats too many inside a burst": {"at": "inside", "surplus": 3},
}
WRITES: dict[str, dict] = {
    "a response too many": {"surplus": 1},
    "responses too many": {"surplus": 20},
    "responses too many, later": {"surplus": 3, "gap": 60},
    "responses too many, much later": {"surplus": 3, "gap": BUS_LIMIT * 3 // 4},
    "no response": {"cut": True},
}


@dataclass
class Case:
    """What runs, what it gives, and where a clean frame reads: (port, first address, beats)."""

    image: object
    picture: np.ndarray
    wanted: dict
    bursts: list[tuple[int, int, int]]


def load(image, device) -> Session:
    return Session(image, device, job_limit=LIMIT, bus_limit=BUS_LIMIT)


@pytest.fixture(scope="module")
def case(device) -> Case:
    config = MODELS["nano"]
    image = compile_model(random_int_model(config, Plan.fast(config.depth), seed=1), NANO)
    picture = np.random.default_rng(7).integers(0, 256, (config.image_height, config.image_width, 3), dtype=np.uint8)
    wanted = Session(image, GoldenDevice(NANO)).frame(picture).residuals
    device.board.inject([])
    device.board.configure(MEMORIES[0])
    session = load(image, device)
    device.board.log_reads()
    session.frame(picture)
    bursts = [(int(burst["port"]), int(burst["address"]), int(burst["beats"])) for burst in device.board.reads()]
    device.board.log_reads(False)
    assert {port for port, _, _ in bursts} == {0, 1} and len(bursts) > 60
    return Case(image, picture, wanted, bursts)


def exact(result, case: Case) -> bool:
    return all(np.array_equal(result.residuals[task], case.wanted[task]) for task in case.wanted)


def survives(device, case: Case, fault: Fault, memory: DramSettings) -> str:
    """How the job with the fault ended; the next one was exact."""
    board = device.board
    board.configure(memory)
    session = load(case.image, device)
    board.inject([fault])
    ended = "OK"
    try:
        assert exact(session.frame(case.picture), case), "A wrong result was called good."
    except AccelError as error:
        assert error.status in (Status.BAD_RESPONSE, Status.BUS_TIMEOUT, Status.DRAIN_TIMEOUT), error
        ended = error.status.name
    board.inject([])
    if ended == "OK":
        board.run(fault.gap, stop_at_interrupt=False)  # late beats arrive while the machine is idle
    try:
        result = session.frame(case.picture)
    except (AccelError, DeviceLost) as error:
        assert ended == "DRAIN_TIMEOUT" and "reset" in str(error), (ended, error)
        board.reset()
        result = load(case.image, device).frame(case.picture)
    assert exact(result, case)
    return ended


@pytest.mark.parametrize("what", READS)
def test_reads_that_break_the_protocol(what, device, case):
    rng = np.random.default_rng(list(READS).index(what))
    options = dict(READS[what])
    inside = options.pop("at") == "inside"
    long = {port: [burst for burst in case.bursts if burst[0] == port and burst[2] > 1] for port in (0, 1)}
    endings = []
    for trial in range(TRIALS):
        choice = long[trial % 3 != 0]
        _, address, beats = choice[-1 - trial // 6] if trial % 6 == 5 else choice[rng.integers(len(choice))]
        beat = int(rng.integers(beats - 1)) if inside else beats - 1
        fault = Fault(address=address + BEAT * beat, **options)
        endings.append(survives(device, case, fault, MEMORIES[trial % len(MEMORIES)]))
    noticed = [ending for ending in endings if ending != "OK"]
    assert len(noticed) >= TRIALS // 2, endings
    if "cut" not in options:
        assert set(noticed) == {"BAD_RESPONSE"}, endings


@pytest.mark.parametrize("what", WRITES)
def test_writes_that_break_the_protocol(what, device, case):
    rng = np.random.default_rng(list(WRITES).index(what))
    size, endings = case.image.output_bytes(), []
    for trial in range(TRIALS):
        output = load(case.image, device).regs["OUTPUT_ADDR"]
        offset = size - BEAT if trial % 4 == 3 else BEAT * int(rng.integers(size // BEAT))
        fault = Fault(address=output + offset, write=True, **WRITES[what])
        endings.append(survives(device, case, fault, MEMORIES[trial % len(MEMORIES)]))
    noticed = [ending for ending in endings if ending != "OK"]
    if "cut" in WRITES[what]:
        assert set(endings) == {"DRAIN_TIMEOUT"}
    else:
        assert len(noticed) >= TRIALS // 2 and set(noticed) == {"BAD_RESPONSE"}, endings


def test_two_ports_that_break_the_protocol_at_the_same_time(device, case):
    first = {port: next(burst for burst in case.bursts if burst[0] == port and burst[2] > 8) for port in (0, 1)}
    session = load(case.image, device)
    device.board.configure(MEMORIES[1])
    device.board.inject([Fault(address=address + BEAT, rlast=True, surplus=9) for _, address, _ in first.values()])
    with pytest.raises(AccelError) as caught:
        session.frame(case.picture)
    assert caught.value.status is Status.BAD_RESPONSE
    device.board.inject([])
    assert exact(session.frame(case.picture), case)


def test_a_bus_that_never_rests_ends_in_time(device, case):
    """Beats without end: DRAIN_TIMEOUT within a few BUS_LIMITs, and a reset helps."""
    device.board.configure(MEMORIES[0])
    session = load(case.image, device)
    address = case.bursts[len(case.bursts) // 2][1]
    device.board.inject([Fault(address=address, surplus=1 << 30)])
    began = device.board.cycle
    with pytest.raises(AccelError, match="did not drain: reset the device") as caught:
        session.frame(case.picture)
    assert caught.value.status is Status.DRAIN_TIMEOUT
    assert device.board.cycle - began < 100_000 + (DRAIN_LIMITS + 1) * BUS_LIMIT
    with pytest.raises(DeviceLost, match="has not drained after an error: reset it"):
        session.frame(case.picture)
    device.board.inject([])
    device.board.reset()
    assert exact(load(case.image, device).frame(case.picture), case)
