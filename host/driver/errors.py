# SPDX-License-Identifier: Apache-2.0
"""Driver exceptions: one class for each kind of failure, with a message."""

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
    """Another owner has the device, or it runs a job."""


class NotAllowed(AccelError):
    """There is no token for a remote device, or it is not the server's."""


class DeviceLost(AccelError):
    """The device no longer answers as it did when it was opened, or never was what it should be."""


class OutOfMemory(AccelError):
    """The device's memory cannot hold what the program needs."""


class VersionMismatch(AccelError):
    """Device, driver and program were not made for each other."""


class InputError(AccelError):
    """The picture or the task is not what the program takes; nothing was written to the device."""


class ProgramRefused(AccelError):
    """The machine refused an instruction or an address."""


class BusError(AccelError):
    """A bus access was answered with an error, or not at all."""


class DeviceTimeout(AccelError):
    """A job did not end within its limit."""


class Aborted(AccelError):
    """The job was aborted."""


class IntegrityError(AccelError):
    """The machine found itself in a state that cannot be."""


KIND: dict[Status, type[AccelError]] = {
    Status.BAD_VERSION: VersionMismatch, Status.BAD_CONFIG: VersionMismatch,
    **dict.fromkeys((Status.BAD_OPCODE, Status.BAD_FIELD, Status.MISALIGNED, Status.RANGE_READ, Status.RANGE_WRITE,
                     Status.RANGE_LOCAL, Status.RANGE_UNSET, Status.NO_END), ProgramRefused),
    **dict.fromkeys((Status.R_SLVERR, Status.R_DECERR, Status.B_SLVERR, Status.B_DECERR, Status.BAD_RESPONSE,
                     Status.EXOKAY, Status.BUS_TIMEOUT, Status.DRAIN_TIMEOUT), BusError),
    Status.JOB_TIMEOUT: DeviceTimeout, Status.ABORTED: Aborted, Status.INTERNAL: IntegrityError,
}
"""The exception for each way in which a job can fail."""


def error_of(status: Status, *, address: int, index: int, run_id: int, drained: bool, where: str = "",
             condition: str = "") -> AccelError:
    """The exception for a job that ended with ``status``: ``where`` names its instruction, ``condition`` is the
    device's clock and temperature, useful after a time-out.
    """
    place = f"instruction {index}" + (f" ({where})" if where else "")
    timed_out = f" [{condition}]" if condition and KIND[status] is DeviceTimeout else ""
    tail = "" if drained else " The bus did not drain: reset the device before the next job (Session.reset)."
    return KIND[status](f"Job {run_id} ended with {status.name}: {MEANING[status]}; {place}, address 0x{address:x}"
                        f"{timed_out}.{tail}", status=status, address=address, index=index, run_id=run_id)
