# SPDX-License-Identifier: Apache-2.0
"""Register map of the AXI4-Lite slave ``s_axi_control``: 32-bit words, ``ap_ctrl_hs`` conventions below 0x10.

Every access is answered with OKAY, because an error answer is a bus error or worse on a board's processor.
"""

import enum
from dataclasses import dataclass

from golden.spec.machine import ABI_VERSION

ID = 0x454D4F45
"""Product identification in register ID."""
MAP_BYTES = 0x200
STRAY = ("A word without a register reads as zero; a write to it or to a read-only word has no effect. Both are "
         "answered with OKAY and set STATUS.STRAY_ACCESS.")
"""What accesses do that meet no register."""
DRAIN_LIMITS = 4
"""After a protocol violation the bus counts as drained once it was silent for BUS_LIMIT cycles in a row; after this
many periods of BUS_LIMIT cycles with traffic the job ends with DRAIN_TIMEOUT."""


class Access(enum.Enum):
    """RO read only; RW read and write; COR read, cleared by reading; TOW toggled by writing ones; SOW set by writing
    ones and cleared by the machine."""

    RO = "ro"
    RW = "rw"
    COR = "cor"
    TOW = "tow"
    SOW = "sow"

    @property
    def writable(self) -> bool:
        """Whether writing has an effect."""
        return self in (Access.RW, Access.TOW, Access.SOW)

    @property
    def rights(self) -> str:
        """What software may do, in IP-XACT's words."""
        return "read-write" if self.writable else "read-only"


@dataclass(frozen=True)
class Field:
    """``width`` bits of a register from bit ``low`` up."""

    name: str
    low: int
    width: int
    access: Access
    about: str

    @property
    def mask(self) -> int:
        """Ones where the field is."""
        return (1 << self.width) - 1 << self.low


@dataclass(frozen=True)
class Register:
    """One register, 32 bits or (``wide``) 64 in two words, low first. ``locked``: writes while busy are ignored.
    ``reset`` is what it holds after a reset, None where each machine configuration has its own value.
    ``parts``: its fields; without any the whole word is one.
    """

    name: str
    offset: int
    access: Access
    about: str
    wide: bool = False
    reset: int | None = 0
    locked: bool = False
    parts: tuple[Field, ...] = ()

    @property
    def bits(self) -> int:
        """Width in bits."""
        return 64 if self.wide else 32

    @property
    def fields(self) -> tuple[Field, ...]:
        """Its fields, lowest first: at least one."""
        return self.parts or (Field("VALUE", 0, self.bits, self.access, self.about),)


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
    STRAY_ACCESS = 1 << 11


def _bits(flags: type[enum.IntFlag], **bits: tuple[Access, str]) -> tuple[Field, ...]:
    """A field of one bit for each of ``flags``: its access and meaning by name."""
    return tuple(Field(flag.name or "", flag.bit_length() - 1, 1, *bits[flag.name or ""]) for flag in flags)


def _causes(access: Access) -> tuple[Field, ...]:
    """Fields of IER and ISR."""
    return _bits(Cause, DONE=(access, "the job has ended"), READY=(access, "the next job can be started"),
                 ERROR=(access, "the job has ended with an error"))


_RO, _RW = Access.RO, Access.RW
_CONTROL = [
    Register("CTRL", 0x00, _RW, "start, done, idle, ready, abort", reset=Ctrl.IDLE, parts=_bits(
        Ctrl, START=(Access.SOW, "start a job; one while it runs"), DONE=(Access.COR, "a job has ended"),
        IDLE=(_RO, "no job runs"), READY=(Access.COR, "the next job can be started"),
        ABORT=(Access.SOW, "end the job that runs; one until it has ended"))),
    Register("GIER", 0x04, _RW, "bit 0: interrupts on", parts=(Field("ENABLE", 0, 1, _RW, "interrupts on"),)),
    Register("IER", 0x08, _RW, "which causes interrupt", parts=_causes(_RW)),
    Register("ISR", 0x0C, Access.TOW, "which causes have happened; write ones to clear", parts=_causes(Access.TOW)),
    Register("ID", 0x10, _RO, "product", reset=ID),
    Register("ABI", 0x14, _RO, "ABI version", reset=ABI_VERSION),
    Register("FINGERPRINT", 0x18, _RO, "of the machine configuration", wide=True, reset=None),
    Register("STATUS", 0x20, _RO, "code of the last job and sticky bits", reset=StatusBits.DRAINED, parts=(
        Field("CODE", 0, 8, _RO, "how the last job ended, one of the status codes"), *_bits(
            StatusBits, DRAINED=(_RO, "nothing is outstanding on the buses"),
            START_IGNORED=(_RO, "a start came while a job ran; zero at the next start"),
            CONFIG_LOCKED=(_RO, "a locked register was written while a job ran; zero at the next start"),
            STRAY_ACCESS=(_RO, "a word without a register was read or written, or a read-only one was written; zero at "
                               "the next start")))),
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
        ("MAIN_READ", "beats of 16 bytes read by the main port"),
        ("MAIN_WRITTEN", "beats of 16 bytes written by the main port"),
        ("WEIGHT_READ0", "beats of port_bytes bytes read by weight port 0"),
        ("WEIGHT_READ1", "beats of port_bytes bytes read by weight port 1"),
        ("WEIGHT_READ2", "beats of port_bytes bytes read by weight port 2"),
        ("WEIGHT_READ3", "beats of port_bytes bytes read by weight port 3"),
    ])
]
REGISTERS: tuple[Register, ...] = (*_CONTROL, *_ADDRESSES, *_COUNTERS)
"""All registers, by ascending offset. A 64-bit counter is captured whole when its low word is read."""
BY_NAME = {register.name: register for register in REGISTERS}
