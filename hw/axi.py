# SPDX-License-Identifier: Apache-2.0
"""AXI: signatures, the constants driven on them, and the payloads from which bursts are made."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.spec.machine import BEAT_BYTES, LINE, MAX_BURST

ADDRESS_BITS = 64
BEAT_BITS = 8 * BEAT_BYTES
LINE_BEATS = LINE // BEAT_BYTES
LITE_ADDRESS_BITS = 12

SIZE = exact_log2(BEAT_BYTES)
INCR = 0b01
CACHE = 0b0011
"""Normal, not cacheable, bufferable: as a non-coherent port expects."""
PROT = 0b000


class Response(enum.Enum, shape=2):
    """RRESP and BRESP."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


BEATS_BITS = 19
"""Bits of a transfer's length, up to 2**16 lines of 4 beats."""
TRANSFER = data.StructLayout({"addr": unsigned(ADDRESS_BITS), "beats": unsigned(BEATS_BITS)})
"""``beats`` beats of a port from ``addr`` on, of any length; becomes bursts."""
BURST_BITS = MAX_BURST.bit_length()
BURST = data.StructLayout({"addr": unsigned(ADDRESS_BITS), "beats": unsigned(BURST_BITS)})
"""One burst of 1..MAX_BURST beats."""


def _address_channel(prefix: str, beat_bytes: int) -> dict:
    return {
        f"{prefix}addr": Out(ADDRESS_BITS), f"{prefix}len": Out(8),
        f"{prefix}size": Out(3, init=exact_log2(beat_bytes)), f"{prefix}burst": Out(2, init=INCR),
        f"{prefix}cache": Out(4, init=CACHE), f"{prefix}prot": Out(3, init=PROT),
        f"{prefix}valid": Out(1), f"{prefix}ready": In(1),
    }


def read_members(beat_bytes: int) -> dict:
    """Members of read channels whose beats have ``beat_bytes``."""
    return _address_channel("ar", beat_bytes) | {
        "rdata": In(8 * beat_bytes), "rresp": In(2), "rlast": In(1), "rvalid": In(1), "rready": Out(1),
    }


WRITE_MEMBERS = _address_channel("aw", BEAT_BYTES) | {
    "wdata": Out(BEAT_BITS), "wstrb": Out(BEAT_BYTES), "wlast": Out(1), "wvalid": Out(1), "wready": In(1),
    "bresp": In(2), "bvalid": In(1), "bready": Out(1),
}
LITE_MEMBERS = {
    "awaddr": Out(LITE_ADDRESS_BITS), "awprot": Out(3), "awvalid": Out(1), "awready": In(1),
    "wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1),
    "bresp": In(2), "bvalid": In(1), "bready": Out(1),
    "araddr": Out(LITE_ADDRESS_BITS), "arprot": Out(3), "arvalid": Out(1), "arready": In(1),
    "rdata": In(32), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
}


def axi_read(beat_bytes: int = BEAT_BYTES) -> wiring.Signature:
    """Read channels, seen from the manager. No identifiers: responses come in order."""
    return wiring.Signature(read_members(beat_bytes))


AxiWrite = wiring.Signature(WRITE_MEMBERS)
"""Write channels, seen from the manager."""
AxiLite = wiring.Signature(LITE_MEMBERS)
"""A register bus, seen from the manager."""


def flat(prefix: str, members: dict, *, subordinate: bool = False) -> dict:
    """Ports named ``prefix_araddr`` and so on, as integrators expect them."""
    return {f"{prefix}_{name}": member.flip() if subordinate else member for name, member in members.items()}


def connect_flat(m, prefix: str, members: dict, outer, inner, *, subordinate: bool = False) -> None:
    """Wire flat ports of ``outer`` to interface ``inner`` of a unit."""
    for name, member in members.items():
        port, pin = getattr(outer, f"{prefix}_{name}"), getattr(inner, name)
        outgoing = (member.flow == Out) != subordinate
        m.d.comb += port.eq(pin) if outgoing else pin.eq(port)
