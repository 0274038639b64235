# SPDX-License-Identifier: Apache-2.0
"""Devices that misbehave on purpose, all of them golden underneath, and the models and pictures to run on them."""

from dataclasses import replace
from functools import cache

import numpy as np

from golden.device import GoldenDevice
from golden.iss.faults import IssFault
from golden.model.int_model import dequantize
from golden.model.random_int_model import random_int_model
from golden.spec import machine
from golden.spec.model import NANO
from golden.spec.quantized import Plan
from golden.spec.regs import REGISTERS, Cause, Ctrl, StatusBits
from golden.spec.status import Status
from host.compiler.compile import compile_model
from host.driver.errors import OutOfMemory

CLASSIFIER = replace(NANO, name="classifier", classes=37, final_norm=True, extra_tokens=2, moe_layers=(), experts=0,
                     expert_hidden=0, top_k=0, tasks=("default",))
NAMES = {register.offset + 4 * high: register.name for register in REGISTERS for high in range(1 + register.wide)}


@cache
def compiled(config=NANO, plan="fast", seed=0):
    """(integer model, its image for the nano machine)."""
    network = random_int_model(config, getattr(Plan, plan)(config.depth), seed)
    return network, compile_model(network, machine.NANO)


def picture(config=NANO, seed=1):
    shape = (config.image_height, config.image_width, config.channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def exact(result, network, pixels, task):
    """The result is, bit for bit, what the integer network says."""
    assert list(result.residuals) == task.split("+")
    for name, residual in result.residuals.items():
        wanted = network.run(pixels, name)
        assert residual.dtype == np.int16
        np.testing.assert_array_equal(residual, wanted)
        np.testing.assert_array_equal(result.by_task[name], dequantize(wanted))


def works(session, network, seed=7):
    """The session's first task is exact on some picture."""
    pixels = picture(session.image.model, seed)
    task = next(iter(session.image.programs))
    exact(session.frame(pixels), network, pixels, task)


class Recorded(GoldenDevice):
    """Golden that writes down every access: ``("read" | "write", register, value)``, and waits and buffers."""

    def __init__(self, config=machine.NANO, **options):
        self.seen = []
        super().__init__(config, **options)

    def read32(self, offset):
        value = super().read32(offset)
        self.seen.append(("read", NAMES[offset], value))
        return value

    def write32(self, offset, value):
        self.seen.append(("write", NAMES[offset], value))
        super().write32(offset, value)

    def wait(self, limit, progress):
        self.seen.append(("wait", "", limit))
        return super().wait(limit, progress)

    def writes(self, name=None):
        return [entry for entry in self.seen if entry[0] == "write" and name in (None, entry[1])]


class Small(Recorded):
    """``size`` bytes of memory."""

    def __init__(self, size):
        super().__init__()
        self.size = self.left = size

    def allocate(self, size):
        if size > self.left:
            raise OutOfMemory(f"{size} bytes do not fit: {self.left} are free.")
        self.left -= size
        return super().allocate(size)

    def free(self):
        self.left = self.size
        super().free()


class Failing(Recorded):
    """Jobs end with ``status`` at instruction ``index`` while it is set; ``drained`` says whether the bus got quiet."""

    status, index, drained = None, 3, True

    def _start(self):
        run, self._machine.run = self._machine.run, self._fail if self.status is not None else self._machine.run
        super()._start()
        self._machine.run = run
        if self.status is not None:
            self._set("STATUS", self.status | (StatusBits.DRAINED if self.drained else 0))

    def _fail(self, registers, trace):
        raise IssFault(Status.INTERNAL, self.index, "", 0x1_2345_6780)


class Slow(Recorded):
    """Jobs run on until the driver waits: ``waits`` says how often in vain. ``deaf`` ones ignore ABORT."""

    waits, deaf, interrupted = 0, False, None

    def _start(self):
        assert self._get("CTRL") & Ctrl.IDLE, "started while a job ran"
        self._set("RUN_ID", self._get("RUN_ID") + 1)
        self._set("CTRL", 0)

    def write32(self, offset, value):
        super().write32(offset, value)
        if NAMES[offset] == "CTRL" and value & Ctrl.ABORT and not self.deaf and not self._get("CTRL") & Ctrl.IDLE:
            self._end(Status.ABORTED)

    def wait(self, limit, progress):
        if super().wait(limit, progress):
            return True
        if self.interrupted is not None:
            stop, self.interrupted = self.interrupted, None
            raise stop
        progress(limit // 2)
        if self.waits > 0:
            self.waits -= 1
            return False
        self._set("RUN_ID", self._get("RUN_ID") - 1)
        GoldenDevice._start(self)
        return super().wait(limit, progress)

    def _end(self, status):
        self._set("STATUS", status | StatusBits.DRAINED)
        self._set("CTRL", Ctrl.DONE | Ctrl.IDLE)
        self._set("ISR", self._get("ISR") | Cause.DONE | Cause.READY | Cause.ERROR)
