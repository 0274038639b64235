# SPDX-License-Identifier: Apache-2.0
"""Check of a bus response, for reads and writes."""

from amaranth.hdl import Signal

from golden.spec.status import Status
from hw.axi import Response


def check_response(m, valid, response, *, asked, ends_well, slverr: Status, decerr: Status) -> tuple[Signal, Signal]:
    """(whether the response is wrong, its status): it was not ``asked`` for, is an error, or does not end well.
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
    with m.Elif(ends_well):
        m.d.comb += wrong.eq(0)
    return wrong, code
