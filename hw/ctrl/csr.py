# SPDX-License-Identifier: Apache-2.0
"""Control and status registers: the AXI4-Lite subordinate."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import ABI_VERSION, MachineConfig
from golden.spec.regs import BY_NAME, ID, MAP_BYTES, REGISTERS, Access, Cause, Ctrl, StatusBits
from hw.axi import ADDRESS_BITS, AxiLite, Response
from hw.ctrl.counters import Counters

COUNTERS = tuple(r for r in REGISTERS if r.offset >= BY_NAME["CYCLES"].offset)
"""The counters, in the order of ``event``."""
SETTINGS = tuple(r for r in REGISTERS if r.locked)
"""Registers that the host sets before a job; outputs of the same names in lower case."""
WORD_ADDRESS = range(2, MAP_BYTES.bit_length() - 1)


class Csr(wiring.Component):
    """AXI4-Lite registers: the register map of ``golden.spec.regs`` and nothing else.

    ::

        AW, W -> [address] [data, strobes] -> write -> B            always OKAY
        AR -> [address] -> [word] + counters, a snapshot -> R

    START while busy sets START_IGNORED, a write to a setting while busy CONFIG_LOCKED, an access that meets no register
    or writes to a read-only one STRAY_ACCESS and does nothing else; all clear at the next start. DONE and READY clear
    when read. An event that arrives with the access that clears it stays.

    Timing: one access at a time in each direction; LATENCY cycles from AR to RVALID.
    Domain: any access; AW and W in any order.
    Reference model: ``host.driver`` against the simulated board.

    Members: ``axi`` In(AxiLite); ``interrupt`` Out, level; ``start``, ``abort`` Out, pulses; one Out for each of
    SETTINGS; ``busy`` In, ``done`` In, a pulse with the job's results in ``code``, ``drained``, ``err_index``,
    ``err_addr``; ``run_id`` In; ``event`` In, for each of COUNTERS; ``clear`` In, of the counters.
    """

    LATENCY = 4

    axi: wiring.PureInterface
    interrupt: Signal
    start: Signal
    abort: Signal
    busy: Signal
    done: Signal
    code: Signal
    drained: Signal
    err_index: Signal
    err_addr: Signal
    run_id: Signal
    event: Signal
    clear: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        self.counters = Counters(len(COUNTERS))
        super().__init__({
            "axi": In(AxiLite), "interrupt": Out(1), "start": Out(1), "abort": Out(1),
            **{r.name.lower(): Out(64 if r.wide else 32, init=r.reset) for r in SETTINGS},
            "busy": In(1), "done": In(1), "code": In(8), "drained": In(1), "err_index": In(16),
            "err_addr": In(ADDRESS_BITS), "run_id": In(32),
            "event": In(self.counters.event.shape()), "clear": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.counters = counters = self.counters
        m.d.comb += [counters.event.eq(self.event), counters.clear.eq(self.clear)]

        # Values of the plain registers.
        done, ready, stopping = Signal(), Signal(), Signal()
        ignored, locked, stray = Signal(), Signal(), Signal()
        gier, ier, isr = Signal(), Signal(len(Cause)), Signal(len(Cause))
        held: dict[str, Value] = {
            "GIER": gier, "IER": ier, "ISR": isr, **{r.name: getattr(self, r.name.lower()) for r in SETTINGS},
        }
        shown = held | {
            "CTRL": self._bits(Ctrl, START=self.busy, DONE=done, IDLE=~self.busy, READY=ready, ABORT=stopping),
            "ID": ID, "ABI": ABI_VERSION, "FINGERPRINT": self.cfg.fingerprint,
            "STATUS": self.code | self._bits(StatusBits, DRAINED=self.drained, START_IGNORED=ignored,
                                             CONFIG_LOCKED=locked, STRAY_ACCESS=stray),
            "ERR_INDEX": self.err_index, "ERR_ADDR": self.err_addr, "RUN_ID": self.run_id,
        }

        read_ctrl, stray_read = self._reads(m, shown)
        write, address, word, mask, stray_write = self._writes(m)

        def writes(name, half=0):
            return write & (address == BY_NAME[name].offset // 4 + half)

        # Settings: merged byte by byte, unless a job runs.
        m.d.sync += [self.start.eq(0), self.abort.eq(0)]
        for register in SETTINGS:
            for half in range(1 + register.wide):
                part = held[register.name][32 * half:32 * half + 32]
                with m.If(writes(register.name, half)):
                    with m.If(self.busy):
                        m.d.sync += locked.eq(1)
                    with m.Else():
                        m.d.sync += part.eq(word & mask | part & ~mask)

        # Interrupts.
        with m.If(writes("GIER") & mask[0]):
            m.d.sync += gier.eq(word[0])
        with m.If(writes("IER") & mask[0]):
            m.d.sync += ier.eq(word)
        toggled = Mux(writes("ISR"), word & mask, 0)[:len(Cause)]
        happened = Mux(self.done, Cause.DONE | Cause.READY | Mux(self.code != 0, Cause.ERROR, 0), 0)
        m.d.sync += [isr.eq((isr ^ toggled) | happened), self.interrupt.eq(gier & (isr & ier).any())]

        # Control.
        with m.If(read_ctrl):
            m.d.sync += [done.eq(0), ready.eq(0)]
        with m.If(writes("CTRL") & mask[0]):
            with m.If(word & Ctrl.START != 0):
                with m.If(self.busy):
                    m.d.sync += ignored.eq(1)
                with m.Else():
                    m.d.sync += [self.start.eq(1), ignored.eq(0), locked.eq(0), stray.eq(0), done.eq(0), ready.eq(0)]
            with m.If((word & Ctrl.ABORT != 0) & self.busy):
                m.d.sync += [self.abort.eq(1), stopping.eq(1)]
        with m.If(stray_read | stray_write):
            m.d.sync += stray.eq(1)
        with m.If(self.done):
            m.d.sync += [done.eq(1), ready.eq(1), stopping.eq(0)]
        return m

    @staticmethod
    def _bits(flags, **values):
        """A word with each value at its flag's place."""
        word = 0
        for name, value in values.items():
            word = word | (Value.cast(value)[0] << flags[name].bit_length() - 1)
        return word

    def _writes(self, m):
        """The write channels: one access at a time; a pulse with its address, data and bit mask; a pulse when there is
        nothing to write.
        """
        axi = self.axi
        address, have_address = Signal(len(WORD_ADDRESS)), Signal()
        beyond = Signal()
        word, strobes, have_word = Signal(32), Signal(4), Signal()
        complete, writable = Signal(), Signal()
        with m.Switch(address):
            for register in REGISTERS:
                if register.access is not Access.RO:
                    for half in range(1 + register.wide):
                        with m.Case(register.offset // 4 + half):
                            m.d.comb += writable.eq(~beyond)
        m.d.comb += [axi.awready.eq(~have_address), axi.wready.eq(~have_word), axi.bresp.eq(Response.OKAY.value),
                     complete.eq(have_address & have_word & ~axi.bvalid)]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [address.eq(axi.awaddr[WORD_ADDRESS.start:WORD_ADDRESS.stop]), have_address.eq(1),
                         beyond.eq(axi.awaddr[WORD_ADDRESS.stop:].any())]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [word.eq(axi.wdata), strobes.eq(axi.wstrb), have_word.eq(1)]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(complete):
            m.d.sync += [have_address.eq(0), have_word.eq(0), axi.bvalid.eq(1)]
        mask = Cat(bit.replicate(8) for bit in strobes)
        return complete & writable, address, word, mask, complete & ~writable

    def _reads(self, m, shown):
        """The read channels; a pulse when CTRL is sampled; a pulse when there is nothing to read."""
        axi, counters = self.axi, self.counters
        address, beyond = Signal(len(WORD_ADDRESS)), Signal()
        word, mapped, counted = Signal(32), Signal(), Signal()
        sample, stray = Signal(), Signal()
        first = COUNTERS[0].offset // 4
        m.d.comb += [counters.select.eq((address - first) >> 1), counters.high.eq(address[0])]
        with m.FSM(name="read"):
            with m.State("ACCEPT"):
                m.d.comb += axi.arready.eq(1)
                m.d.sync += [address.eq(axi.araddr[WORD_ADDRESS.start:WORD_ADDRESS.stop]),
                             beyond.eq(axi.araddr[WORD_ADDRESS.stop:].any())]
                with m.If(axi.arvalid):
                    m.next = "SAMPLE"
            with m.State("SAMPLE"):
                m.d.comb += [sample.eq(~beyond), stray.eq(beyond | ~mapped)]
                m.d.sync += [word.eq(0), counted.eq(0)]
                with m.Switch(address):
                    for register in REGISTERS:
                        for half in range(1 + register.wide):
                            with m.Case(register.offset // 4 + half):
                                m.d.comb += mapped.eq(1)
                                if register in COUNTERS:
                                    m.d.comb += counters.read.eq(~beyond)
                                    m.d.sync += counted.eq(~beyond)
                                else:
                                    value = Value.cast(shown[register.name]) >> 32 * half
                                    m.d.sync += word.eq(Mux(beyond, 0, value))
                m.next = "MERGE"
            with m.State("MERGE"):
                m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(~axi.rvalid):
                    m.d.sync += [axi.rvalid.eq(1), axi.rdata.eq(Mux(counted, counters.o, word))]
                with m.Elif(axi.rready):
                    m.d.sync += axi.rvalid.eq(0)
                    m.next = "ACCEPT"
        m.d.comb += axi.rresp.eq(Response.OKAY.value)
        return sample & (address == BY_NAME["CTRL"].offset // 4), stray
