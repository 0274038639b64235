# SPDX-License-Identifier: Apache-2.0
"""Golden vectors on any device: identity, registers, end-of-job signal, jobs bit for bit, a refusal and a recovery.

The vectors are a small network of fixed seed, compiled for the machine that the device says it is, and what the
integer network makes of two pictures; nothing of the expected results comes from the device.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from golden.model.int_model import IntModel
from golden.model.random_int_model import random_int_model
from golden.spec.machine import ABI_VERSION, MACHINES, MachineConfig
from golden.spec.model import NANO
from golden.spec.quantized import Plan
from golden.spec.regs import REGISTERS, Cause
from golden.spec.status import Status
from host.compiler.compile import compile_model
from host.diagnosis.difference import differences
from host.driver.device import Device
from host.driver.errors import AccelError, VersionMismatch
from host.driver.registers import ENDED, Registers
from host.driver.session import Session

PLANS = {"8-bit": Plan.fast, "16-bit": Plan.accurate}
"""Vectors by what they exercise: block operands of 8 bits, and wide ones of 16."""
PATTERNS = (0x5555_5555, 0xAAAA_AAAA)
WORD = 0xFFFF_FFFF
CHECKS = 4 + len(PLANS)
"""How many checks there are."""
JOB_LIMIT = 2_000_000
"""Most cycles of a job: many times what the network takes on the smallest machine."""
SIGNAL_LIMIT = 100_000


@dataclass(frozen=True)
class Check:
    """One line of the self-test: its name, whether it passed, what was found or what to do."""

    name: str
    ok: bool
    said: str


def selftest(device: Device, report: Callable[[str], None] = lambda name: None) -> list[Check]:
    """All checks; ``report`` hears the name of each before it runs. A device whose identity is wrong is asked nothing
    more. What the device raises is a check that failed; the device's memory is used, and its jobs are lost.
    """
    done = []
    for name, check in _checks(device):
        report(name)
        try:
            done.append(Check(name, True, check()))
        except (AccelError, Failed) as error:
            done.append(Check(name, False, str(error)))
            if name == "identity":
                break
    device.free()
    return done


class Failed(Exception):
    """A check failed; the message says what was wanted and what came."""


def _checks(device: Device) -> Iterator[tuple[str, Callable[[], str]]]:
    regs = Registers(device)
    yield "identity", lambda: _identity(device, regs)
    yield "registers", lambda: _registers(regs)
    yield "end-of-job signal", lambda: _signal(device, regs)
    for name, plan in PLANS.items():
        yield f"{name} jobs", lambda plan=plan: _jobs(device, _network(plan), _machine(regs))
    yield "refusal and recovery", lambda: _recovery(device, _network(Plan.fast), _machine(regs))


def _machine(regs: Registers) -> MachineConfig:
    found = regs["FINGERPRINT"]
    for machine in MACHINES.values():
        if machine.fingerprint == found:
            return machine
    raise VersionMismatch(f"The device has the fingerprint 0x{found:016x}, which is none of the machines "
                          f"{', '.join(MACHINES)} of this version: take the software that came with the bitstream.")


def _identity(device: Device, regs: Registers) -> str:
    regs.require_id()
    if (found := regs["ABI"]) != ABI_VERSION:
        raise VersionMismatch(f"The device {device.name!r} speaks ABI version {found}, this software {ABI_VERSION}: "
                              f"take the software that came with the bitstream.")
    if not regs.abort():
        raise Failed("The device runs a job that cannot be aborted: reset it.")
    return f"machine {_machine(regs).name}, ABI version {ABI_VERSION}"


def _registers(regs: Registers) -> str:
    """Every register that a job needs keeps every bit; all hold different values at once, so none is another's copy."""
    settings = [register for register in REGISTERS if register.locked]
    before = {register.name: regs[register.name] for register in settings}
    try:
        for pattern in PATTERNS:
            wanted = {register.name: pattern ^ number | (~pattern & WORD ^ number << 8) << 32 if register.wide
                      else pattern ^ number for number, register in enumerate(settings)}
            for name, value in wanted.items():
                regs[name] = value
            for name, value in wanted.items():
                if (found := regs[name]) != value:
                    raise Failed(f"The register {name} was set to 0x{value:x} and holds 0x{found:x}: the bus to the "
                                 f"registers, or their clock, is wrong.")
    finally:
        for name, value in before.items():
            regs[name] = value
    return f"{len(settings)} settings keep {len(PATTERNS)} patterns"


def _signal(device: Device, regs: Registers) -> str:
    """The ISR is set by hand, as a job's end would set it: the wait must end."""
    regs.acknowledge()
    regs["IER"], regs["GIER"], regs["ISR"] = ENDED, 1, Cause.DONE
    try:
        if not device.wait(SIGNAL_LIMIT, lambda cycles: None):
            raise Failed(f"ISR was set to DONE, and a wait of {SIGNAL_LIMIT} cycles did not see it: is the interrupt "
                         f"connected?")
    finally:
        regs.acknowledge()
    return "a wait ends when ISR is set"


def _network(plan: Callable[[int], Plan]) -> IntModel:
    return random_int_model(NANO, plan(NANO.depth), seed=1)


def _pictures() -> list[np.ndarray]:
    shape = (NANO.image_height, NANO.image_width, NANO.channels)
    random = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    return [random, np.full(shape, 255, np.uint8)]


def _jobs(device: Device, network: IntModel, machine: MachineConfig) -> str:
    """Every program of the network on every picture, each value compared."""
    session, values, cycles = Session(compile_model(network, machine), device, job_limit=JOB_LIMIT), 0, 0
    for task in session.image.programs:
        for number, pixels in enumerate(_pictures()):
            result = session.frame(pixels, task)
            cycles += result.cycles
            wanted = {name: network.run(pixels, name) for name in result.residuals}
            for found in differences(wanted, result.residuals):
                raise Failed(f"Program {task}, picture {number}: {found} (wanted against came).")
            values += sum(codes.size for codes in result.residuals.values())
    return f"{values:,} values exact" + (f" in {cycles:,} cycles" if cycles else "")


def _recovery(device: Device, network: IntModel, machine: MachineConfig) -> str:
    """An empty window must be refused by its status, and the next job be exact."""
    session = Session(compile_model(network, machine), device, job_limit=JOB_LIMIT)
    good = session.regs["READ_HI"]
    session.regs["READ_HI"] = session.regs["READ_LO"]
    try:
        session.frame(_pictures()[0])
    except AccelError as error:
        if error.status is not Status.RANGE_UNSET:
            raise
    else:
        raise Failed("A job with an empty read window ran; it must end with RANGE_UNSET.")
    session.regs["READ_HI"] = good
    task = next(iter(session.image.programs))
    for found in differences({task: network.run(_pictures()[0], task)}, session.frame(_pictures()[0]).residuals):
        raise Failed(f"The job after a refused one is wrong: {found} (wanted against came).")
    return "an empty window is refused, the next job is exact"
