# SPDX-License-Identifier: Apache-2.0
"""AXI subordinates for unit benches: stalls, latency, faults, and a monitor of what the manager may do."""

import os
from collections import deque
from dataclasses import dataclass

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from sim.streams import never, seeded

BEAT = 16
"""Bytes of a beat of the main port."""
PORT_BEAT, LONGEST = int(os.environ.get("PORT_BEAT", BEAT)), int(os.environ.get("LONGEST", 64))
"""Bytes of a beat of a read port, and beats of the longest burst that agents accept, by the bench's environment."""


@dataclass(frozen=True)
class Burst:
    addr: int
    beats: int


class Channel:
    """Pins ``prefix`` + name; checks in every cycle that VALID stays and the payload holds until READY."""

    def __init__(self, dut, prefix: str, valid: str, ready: str, payload: tuple[str, ...]):
        def pin(name):
            return getattr(dut, f"{prefix}{name}")

        self.name, self.held = prefix + valid, None
        self.valid, self.ready, self.payload = pin(valid), pin(ready), [pin(name) for name in payload]

    def sample(self) -> tuple[int, ...] | None:
        """At a rising edge: the payload if a transfer happens."""
        valid = int(self.valid.value)
        assert self.held is None or valid, f"{self.name} fell before its handshake."
        if not valid:
            return None
        now = tuple(int(pin.value) for pin in self.payload)
        assert self.held is None or now == self.held, f"{self.name}: the payload changed while it waited."
        if int(self.ready.value):
            self.held = None
            return now
        self.held = now
        return None


def check_burst(addr: int, length: int, size: int, burst: int, cache: int, *, beat: int = BEAT) -> Burst:
    """Legal for us: whole beats of ``beat`` bytes, INCR, at most LONGEST of them, inside 4096 bytes."""
    beats = length + 1
    assert (1 << size, burst, cache) == (beat, 1, 3), (size, burst, cache)
    assert addr % beat == 0 and 1 <= beats, (hex(addr), beats)
    assert beats <= LONGEST, f"A burst of {beats} beats; there should be at most {LONGEST}."
    assert addr // 4096 == (addr + beat * beats - 1) // 4096, f"0x{addr:x} + {beats} beats crosses 4096."
    return Burst(addr, beats)


class _Agent:
    def __init__(self, dut, prefix, salt):
        self.dut, self.prefix, self.rng = dut, prefix, seeded(salt + prefix)
        self.bursts: list[Burst] = []
        self.dead: set[str] = set()
        self.cycle = 0
        self.task = cocotb.start_soon(self._run())

    def pin(self, name):
        return getattr(self.dut, f"{self.prefix}{name}")

    async def _run(self):
        self._drive()
        while True:
            await RisingEdge(self.dut.clk)
            if int(self.dut.rst.value):
                self._forget()
            else:
                self._sample()
            self.cycle += 1
            await FallingEdge(self.dut.clk)
            self._drive()


class ReadMemory(_Agent):
    """Answers reads with ``content(addr)``, in order, ``latency`` cycles after the address.

    ``responses``: byte address of a beat -> RRESP. ``flip_last``: addresses of beats whose RLAST is inverted; ``cut``:
    addresses of beats after which their burst ends; ``surplus``: address of a beat -> (unrequested beats after it,
    cycles before them). ``dead``: channels ("ar", "r") that do nothing. ``unasked``: number of unrequested
    beats to send.
    """

    def __init__(self, dut, content, *, prefix="axi__", latency=1, stall_ar=never, stall_r=never):
        self.beat = len(getattr(dut, f"{prefix}rdata")) // 8
        self.content, self.latency, self.stall_ar, self.stall_r = content, latency, stall_ar, stall_r
        self.responses: dict[int, int] = {}
        self.flip_last: set[int] = set()
        self.cut: set[int] = set()
        self.surplus: dict[int, tuple[int, int]] = {}
        self.unasked, self.beats, self.most_owed = 0, 0, 0
        self.queue: deque = deque()
        self.showing = False
        self.channel = Channel(dut, prefix, "arvalid", "arready", ("araddr", "arlen", "arsize", "arburst", "arcache"))
        super().__init__(dut, prefix, "read")

    @property
    def owed(self) -> int:
        return len(self.queue)

    def _forget(self):
        self.queue.clear()
        self.showing, self.channel.held = False, None

    def _sample(self):
        taken = self.channel.sample()
        if taken:
            burst = check_burst(*taken, beat=self.beat)
            self.bursts.append(burst)
            for n in range(burst.beats):
                self.queue.append((self.cycle + self.latency, burst.addr + self.beat * n, n == burst.beats - 1))
            self.most_owed = max(self.most_owed, len(self.queue))
        if self.showing and int(self.pin("rready").value):
            self.showing = False
            if self.queue and not self.sending_unasked:
                self._sent(*self.queue.popleft()[1:])
                self.beats += 1

    def _sent(self, addr, last):
        """What a misbehaving memory does after a beat."""
        while addr in self.cut and not last:
            last = self.queue.popleft()[2]
        count, gap = self.surplus.get(addr, (0, 0))
        self.queue.extendleft((self.cycle + gap, None, n == 0) for n in range(count))

    def _drive(self):
        self.pin("arready").value = int("ar" not in self.dead and not self.stall_ar(self.rng))
        if self.showing:
            return
        noise = self.rng.getrandbits(8 * self.beat)
        ready = self.queue and self.queue[0][0] <= self.cycle and "r" not in self.dead and not self.stall_r(self.rng)
        self.sending_unasked = not self.queue and self.unasked > 0
        self.showing = bool(ready or self.sending_unasked)
        self.pin("rvalid").value = int(self.showing)
        if not self.showing:
            self.pin("rdata").value, self.pin("rresp").value, self.pin("rlast").value = noise, noise & 3, noise >> 2 & 1
        elif self.sending_unasked:
            self.unasked -= 1
            self.pin("rdata").value, self.pin("rresp").value, self.pin("rlast").value = noise, 0, 1
        else:
            _, addr, last = self.queue[0]
            self.pin("rdata").value = noise if addr is None else self.content(addr)
            self.pin("rresp").value = self.responses.get(addr, 0)
            self.pin("rlast").value = int(last != (addr in self.flip_last))


class WriteMemory(_Agent):
    """Takes writes into ``memory`` (byte address of a beat -> its bytes), answers each burst after its last beat.

    ``responses``: address of a burst -> BRESP. ``written``: (address, strobe) of each beat. ``unasked``: number of
    unrequested responses to send. ``dead``: channels ("aw", "w", "b") that do nothing.
    """

    def __init__(self, dut, *, prefix="axi__", latency=1, stall_aw=never, stall_w=never, stall_b=never):
        self.latency, self.stall_aw, self.stall_w, self.stall_b = latency, stall_aw, stall_w, stall_b
        self.memory: dict[int, int] = {}
        self.written: list[tuple[int, int]] = []
        self.responses: dict[int, int] = {}
        self.unasked = self.answered = 0
        self.aw = Channel(dut, prefix, "awvalid", "awready", ("awaddr", "awlen", "awsize", "awburst", "awcache"))
        self.w = Channel(dut, prefix, "wvalid", "wready", ("wdata", "wstrb", "wlast"))
        self._forget()
        super().__init__(dut, prefix, "write")

    def _forget(self):
        self.open, self.data, self.acks = deque(), deque(), deque()
        self.showing, self.aw.held, self.w.held = False, None, None

    @property
    def owed(self) -> int:
        return len(self.open) + len(self.acks)

    def _sample(self):
        taken = self.aw.sample()
        if taken:
            burst = check_burst(*taken)
            self.bursts.append(burst)
            self.open.append([burst, 0])
        beat = self.w.sample()
        if beat:
            self.data.append(beat)
        while self.data and self.open:
            (word, strobe, last), (burst, done) = self.data.popleft(), self.open[0]
            addr = burst.addr + BEAT * done
            assert last == (done == burst.beats - 1), f"WLAST is wrong at beat {done} of {burst}."
            assert strobe in (0, 0xFFFF), hex(strobe)
            self.written.append((addr, strobe))
            if strobe:
                self.memory[addr] = word
            self.open[0][1] += 1
            if last:
                self.open.popleft()
                self.acks.append((self.cycle + self.latency, burst.addr))
        if self.showing and int(self.pin("bready").value):
            self.showing = False
            if not self.sending_unasked:
                self.acks.popleft()
                self.answered += 1

    def _drive(self):
        self.pin("awready").value = int("aw" not in self.dead and not self.stall_aw(self.rng))
        self.pin("wready").value = int("w" not in self.dead and not self.stall_w(self.rng))
        if self.showing:
            return
        ready = self.acks and self.acks[0][0] <= self.cycle and "b" not in self.dead and not self.stall_b(self.rng)
        self.sending_unasked = not self.acks and self.unasked > 0
        self.showing = bool(ready or self.sending_unasked)
        self.pin("bvalid").value = int(self.showing)
        noise = self.rng.getrandbits(2)
        self.unasked -= self.sending_unasked
        self.pin("bresp").value = noise if not self.showing else (
            0 if self.sending_unasked else self.responses.get(self.acks[0][1], 0))


def bursts_of(addr: int, beats: int, *, beat: int = BEAT) -> list[Burst]:
    """How a transfer is cut: at multiples of LONGEST beats."""
    found = []
    while beats:
        n = min(beats, LONGEST - addr // beat % LONGEST)
        found.append(Burst(addr, n))
        addr, beats = addr + beat * n, beats - n
    return found
