# SPDX-License-Identifier: Apache-2.0
"""Register map of the AXI4-Lite slave ``s_axi_control``: 32-bit words, ``ap_ctrl_hs`` conventions below 0x10."""

import enum
from dataclasses import dataclass

ID = 0x454D4F45
"""Product identification in register ID."""
MAP_BYTES = 0x200
DRAIN_LIMITS = 4
"""After a protocol violation the bus counts as drained once it was silent for BUS_LIMIT cycles in a row; after this
many periods of BUS_LIMIT cycles with traffic the job ends with DRAIN_TIMEOUT."""


class Access(enum.Enum):
    """RO read only; RW read and write; COR read, cleared by reading; TOW toggled by writing ones."""

    RO = "ro"
    RW = "rw"
    COR = "cor"
    TOW = "tow"


@dataclass(frozen=True)
class Register:
    """One register, 32 bits or (``wide``) 64 in two words, low first. ``locked``: writes while busy are ignored."""

    name: str
    offset: int
    access: Access
    about: str
    wide: bool = False
    reset: int = 0
    locked: bool = False


class Ctrl(enum.IntFlag):
    """Bits of CTRL: start is set by the host and cleared by the machine; done clears when read."""

    START = 1
    DONE = 2
    IDLE = 4
    READY = 8
    ABORT = 32


class Cause(enum.IntFlag):
    """Bits of IER and ISR."""

    DONE = 1
    READY = 2
    ERROR = 4


class StatusBits(enum.IntFlag):
    """Bits of STATUS above the 8-bit code."""

    DRAINED = 1 << 8
    START_IGNORED = 1 << 9
    CONFIG_LOCKED = 1 << 10


_RO, _RW = Access.RO, Access.RW
_CONTROL = [
    Register("CTRL", 0x00, _RW, "start, done, idle, ready, abort"),
    Register("GIER", 0x04, _RW, "bit 0: interrupts on"),
    Register("IER", 0x08, _RW, "which causes interrupt"),
    Register("ISR", 0x0C, Access.TOW, "which causes have happened; write ones to clear"),
    Register("ID", 0x10, _RO, "product", reset=ID),
    Register("ABI", 0x14, _RO, "ABI version"),
    Register("FINGERPRINT", 0x18, _RO, "of the machine configuration", wide=True),
    Register("STATUS", 0x20, _RO, "code of the last job and sticky bits", reset=StatusBits.DRAINED),
    Register("ERR_INDEX", 0x24, _RO, "instruction that was refused or in flight"),
    Register("ERR_ADDR", 0x28, _RO, "bus address of the first error", wide=True),
    Register("RUN_ID", 0x30, _RO, "jobs started since reset"),
    Register("JOB_LIMIT", 0x34, _RW, "watchdog: most cycles a job may take", reset=1 << 31, locked=True),
    Register("BUS_LIMIT", 0x38, _RW, "most cycles without a handshake while the bus owes one", reset=1 << 16,
             locked=True),
]
_ADDRESSES = [
    Register(name, 0x40 + 8 * i, _RW, about, wide=True, locked=True)
    for i, (name, about) in enumerate([
        ("PROGRAM_ADDR", "first instruction of the job"),
        ("TABLE_ADDR", "base of LOAD from tables"),
        ("INPUT_ADDR", "base of LOAD from input"),
        ("OUTPUT_ADDR", "base of STORE, and of LOAD from output"),
        ("WEIGHT_ADDR0", "weight plane of port 0"),
        ("WEIGHT_ADDR1", "weight plane of port 1"),
        ("WEIGHT_ADDR2", "weight plane of port 2"),
        ("WEIGHT_ADDR3", "weight plane of port 3"),
        ("READ_LO", "first address the main port may read"),
        ("READ_HI", "first address beyond that window"),
        ("WRITE_LO", "first address the main port may write"),
        ("WRITE_HI", "first address beyond that window"),
        ("WEIGHT_LO", "first address the weight ports may read"),
        ("WEIGHT_HI", "first address beyond that window"),
    ])
]
_COUNTERS = [
    Register(name, 0x100 + 8 * i, _RO, about, wide=True)
    for i, (name, about) in enumerate([
        ("CYCLES", "from start to done"),
        ("RETIRED", "instructions finished, bodies of EXPERTS counted each time"),
        ("ARRAY_BUSY", "cycles with a multiply-accumulate step"),
        ("ARRAY_WEIGHTS", "cycles the array waited for weights only"),
        ("ARRAY_OPERANDS", "cycles the array waited for operands"),
        ("ARRAY_DRAIN", "cycles the array waited for epilogue or softmax"),
        ("NORM_BUSY", "cycles the layer norm worked"),
        ("DMA_BUSY", "cycles the load and store unit worked"),
        ("MAIN_READ", "beats read by the main port"),
        ("MAIN_WRITTEN", "beats written by the main port"),
        ("WEIGHT_READ0", "beats read by weight port 0"),
        ("WEIGHT_READ1", "beats read by weight port 1"),
        ("WEIGHT_READ2", "beats read by weight port 2"),
        ("WEIGHT_READ3", "beats read by weight port 3"),
    ])
]
REGISTERS: tuple[Register, ...] = (*_CONTROL, *_ADDRESSES, *_COUNTERS)
"""All registers, by ascending offset. A 64-bit counter is captured whole when its low word is read."""
BY_NAME = {register.name: register for register in REGISTERS}
