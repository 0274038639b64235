# SPDX-License-Identifier: Apache-2.0
"""What an answer of the bus is worth, to reads and to writes alike."""

from amaranth.hdl import Signal

from golden.spec.status import Status
from hw.axi import Response


def check_response(m, valid, response, *, asked, well, slverr: Status, decerr: Status) -> tuple[Signal, Signal]:
    """(whether the answer is wrong, the status that says how); nobody may have ``asked``, or it does not end well.
    """
    wrong, code = Signal(), Signal(8)
    m.d.comb += [wrong.eq(valid), code.eq(Status.BAD_RESPONSE)]
    with m.If(~asked):
        pass
    with m.Elif(response == Response.SLVERR.value):
        m.d.comb += code.eq(slverr)
    with m.Elif(response == Response.DECERR.value):
        m.d.comb += code.eq(decerr)
    with m.Elif(response == Response.EXOKAY.value):
        m.d.comb += code.eq(Status.EXOKAY)
    with m.Elif(well):
        m.d.comb += wrong.eq(0)
    return wrong, code
