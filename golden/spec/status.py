# SPDX-License-Identifier: Apache-2.0
"""Status codes of a job: 8 bits, the first error is kept."""

import enum


class Status(enum.IntEnum):
    """Codes of the STATUS register."""

    OK = 0x00
    BAD_VERSION = 0x10
    BAD_CONFIG = 0x11
    BAD_OPCODE = 0x12
    BAD_FIELD = 0x13
    MISALIGNED = 0x14
    RANGE_READ = 0x15
    RANGE_WRITE = 0x16
    RANGE_LOCAL = 0x17
    RANGE_UNSET = 0x18
    NO_END = 0x1A
    R_SLVERR = 0x30
    R_DECERR = 0x31
    B_SLVERR = 0x32
    B_DECERR = 0x33
    BAD_RESPONSE = 0x34
    EXOKAY = 0x35
    BUS_TIMEOUT = 0x40
    JOB_TIMEOUT = 0x41
    ABORTED = 0x42
    DRAIN_TIMEOUT = 0x43
    INTERNAL = 0x50


MEANING = {
    Status.OK: "the job finished",
    Status.BAD_VERSION: "the program was made for another ABI version",
    Status.BAD_CONFIG: "the program was made for another machine configuration",
    Status.BAD_OPCODE: "an instruction has no such opcode",
    Status.BAD_FIELD: "an instruction field is zero, reserved or beyond its limit",
    Status.MISALIGNED: "a base address is not a multiple of 64",
    Status.RANGE_READ: "a read would leave its window",
    Status.RANGE_WRITE: "a write would leave its window",
    Status.RANGE_LOCAL: "an on-chip address is beyond its memory",
    Status.RANGE_UNSET: "a job was started with an empty window",
    Status.NO_END: "the program has no END",
    Status.R_SLVERR: "a read was answered with SLVERR",
    Status.R_DECERR: "a read was answered with DECERR",
    Status.B_SLVERR: "a write was answered with SLVERR",
    Status.B_DECERR: "a write was answered with DECERR",
    Status.BAD_RESPONSE: "a response came without a request, or RLAST was wrong",
    Status.EXOKAY: "an ordinary access was answered with EXOKAY",
    Status.BUS_TIMEOUT: "the bus did not answer in time",
    Status.JOB_TIMEOUT: "the job ran longer than its watchdog limit",
    Status.ABORTED: "the host aborted the job",
    Status.DRAIN_TIMEOUT: "the bus did not drain after an error; a full reset is needed",
    Status.INTERNAL: "an internal check failed",
}
"""One clause per code; drivers put it into the exception's text."""
