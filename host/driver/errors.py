# SPDX-License-Identifier: Apache-2.0
"""What can go wrong between a program and an answer, each with a name and a sentence."""

from golden.spec.status import MEANING, Status


class AccelError(Exception):
    """Base of all driver errors. After a job: ``status`` (golden.spec.status), ``address``, ``index``, ``run_id``."""

    def __init__(self, message: str, *, status: Status | None = None, address: int = 0, index: int = 0,
                 run_id: int = 0):
        super().__init__(message)
        self.status, self.address, self.index, self.run_id = status, address, index, run_id


class DeviceNotFound(AccelError):
    """There is no such device, or it may not be opened."""


class DeviceBusy(AccelError):
    """Somebody else owns the device."""


class DeviceLost(AccelError):
    """The device no longer answers as it did when it was opened."""


class OutOfMemory(AccelError):
    """The device's memory cannot hold what the program needs."""


class VersionMismatch(AccelError):
    """Device and program were not made for each other."""


class InputError(AccelError):
    """The picture or the task is not what the program takes; nothing was written to the device."""


class ProgramRefused(AccelError):
    """The machine refused an instruction."""


class BusError(AccelError):
    """A bus access was answered with an error, or not at all."""


class DeviceTimeout(AccelError):
    """A job did not end within its limit."""


class Aborted(AccelError):
    """The job was aborted."""


_BUS = {Status.R_SLVERR, Status.R_DECERR, Status.B_SLVERR, Status.B_DECERR, Status.BAD_RESPONSE, Status.EXOKAY,
        Status.BUS_TIMEOUT, Status.DRAIN_TIMEOUT}
_VERSION = {Status.BAD_VERSION, Status.BAD_CONFIG}


def error_of(status: Status, *, address: int, index: int, run_id: int, drained: bool) -> AccelError:
    """The exception for a job that ended with ``status``."""
    kind = (BusError if status in _BUS else VersionMismatch if status in _VERSION else Aborted
            if status is Status.ABORTED else DeviceTimeout if status is Status.JOB_TIMEOUT else ProgramRefused)
    tail = "" if drained else " The bus did not drain: reset the device before the next job."
    return kind(f"Job {run_id} ended with {status.name}: {MEANING[status]} (instruction {index}, "
                f"address 0x{address:x}).{tail}", status=status, address=address, index=index, run_id=run_id)
