# SPDX-License-Identifier: Apache-2.0
"""List of all proofs, each with the defects that show that it can fail."""

import importlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sim.formal.defects import Defect, planted
from sim.formal.harness import Harness
from sim.formal.prover import LIMIT_SECONDS, Result, prove, refute


@dataclass(frozen=True)
class Proof:
    """``function`` of module ``properties.module`` builds its harness from ``arguments``; ``long``: it takes longer
    than a check before each change may."""

    name: str
    module: str
    function: str
    defects: tuple[Defect, ...]
    arguments: tuple = ()
    long: bool = False

    def harness(self) -> Harness:
        module = importlib.import_module(f"sim.formal.properties.{self.module}")
        return getattr(module, self.function)(*self.arguments)

    def results(self, limit: float = LIMIT_SECONDS) -> Iterator[Result]:
        """A result for each claim and cover, as they are found."""
        with tempfile.TemporaryDirectory() as directory:
            yield from prove(self.name, self.harness(), Path(directory), limit=limit)

    def with_defect(self, defect: Defect, limit: float = LIMIT_SECONDS) -> Result:
        """The result of the claim that ``defect`` breaks."""
        with planted(defect), tempfile.TemporaryDirectory() as directory:
            return refute(self.name, self.harness(), Path(directory), defect.claim, limit)


GUARD, SPLITTER = "hw.dma.window_guard", "hw.dma.splitter"
READ, WRITE, PORT = "hw.dma.read_engine", "hw.dma.write_engine", "hw.dma.main_port"
QUEUE, TIMER, CREDITS = "hw.lib.queue", "hw.dma.bus_timer", "hw.ctrl.credits"
RECIPROCAL, ROOT = "hw.arith.reciprocal", "hw.arith.rsqrt"
SUPERVISOR, CSR = "hw.ctrl.supervisor", "hw.ctrl.csr"
GUARDS = (
    Proof("window guard, bursts", "window_guard", "window_guard", (
        Defect("a burst may wrap", GUARD, "legal.eq(~end_high[HALF] & ", "legal.eq(", "passes_only_what_is_inside"),
        Defect("the first address is refused", GUARD, "lo_low.eq(addr_low >= ", "lo_low.eq(addr_low > ",
               "refuses_only_what_is_outside"),
        Defect("a refused item passes later", GUARD, 'm.next = "BLOCKED"', 'm.next = "ACCEPT"',
               "blocks_after_a_refusal"),
    )),
    Proof("window guard, transfers", "window_guard", "transfer_guard", (
        Defect("the carry is lost", GUARD, "addr_high + end_low[HALF]", "addr_high", "passes_only_what_is_inside"),
    )),
    Proof("burst splitter", "splitter", "splitter", (
        Defect("a burst crosses 1024", SPLITTER, "room.eq(self.max_burst - addr[self.size:span])",
               "room.eq(self.max_burst)", "never_across_a_multiple"),
        Defect("the last burst is too long", SPLITTER, "Mux(left < room, left[:BURST_BITS], room)", "room",
               "never_beyond_the_transfer"),
    )),
    Proof("window guard, beats of 32 bytes", "window_guard", "wide_guard", (
        Defect("half a beat passes", GUARD, "~item.addr[:exact_log2(self.beat_bytes)].any()", "~item.addr[:4].any()",
               "passes_only_what_is_inside"),
    )),
    Proof("burst splitter, 16 beats of 32 bytes", "splitter", "splitter", (
        Defect("bursts have 64 beats", SPLITTER, "self.max_burst = max_burst", "self.max_burst = MAX_BURST", "length"),
    ), (32, 16)),
)
QUEUES = (
    Proof("queue of 1", "queues", "queue", (
        Defect("a level that does not fall", QUEUE, "self.level + push - pop", "self.level + push",
               "level_is_the_count"),
    ), (1,)),
    Proof("queue of 2", "queues", "queue", (
        Defect("what waits in the skid register is lost", QUEUE, "skid.eq(i_bits), skid_full.eq(1)",
               "skid.eq(i_bits), skid_full.eq(0)", "valid_in_time"),
        Defect("the newer payload overtakes", QUEUE, "Mux(skid_full, skid, i_bits)", "i_bits", "order_and_payload"),
    ), (2,)),
    Proof("queue of 4", "queues", "queue", (
        Defect("a full queue takes another", QUEUE, "self.i.ready.eq(fifo.w_rdy)", "self.i.ready.eq(1)",
               "ready_when_not_full"),
    ), (4,)),
)
READ_RULES = (
    Defect("ARVALID falls before ARREADY", READ, "m.If(axi.arready)", "m.If(axi.arvalid)", "ar_stays"),
    Defect("a burst crosses a page", SPLITTER, "room.eq(self.max_burst - addr[self.size:span])",
           "room.eq(self.max_burst)", "ar_within_4096"),
    Defect("bursts are issued in a halt", READ, "issued.i.ready & ~self.halt & ~poisoned", "issued.i.ready & ~poisoned",
           "nothing_issued_in_halt"),
    Defect("bursts are issued after a fault", READ, "issued.i.ready & ~self.halt & ~poisoned",
           "issued.i.ready & ~self.halt", "nothing_issued_after_a_fault"),
    Defect("the guard on the wire lets all pass", GUARD, "m.If(inside)", "m.If(item.beats != 0)", "ar_in_window"),
)
ENGINES = (
    Proof("read engine, AXI rules", "read_engine", "read_rules", READ_RULES),
    Proof("read engine, accounts", "read_engine", "read_accounts", (
        Defect("a burst takes no space", READ, "space + popped - Mux(take, guard.o.payload.beats, 0)", "space + popped",
               "space_is_free"),
    )),
    Proof("read engine, progress", "read_engine", "read_progress", (
        Defect("no burst is issued", READ, "guard.o.ready.eq(enough & ", "guard.o.ready.eq(0 & ", "goes_on"),
    )),
    Proof("write engine, AXI rules", "write_engine", "write_rules", (
        Defect("AWVALID falls before AWREADY", WRITE, "m.If(axi.awready)", "m.If(axi.awvalid)", "aw_stays"),
        Defect("strobes stay in a halt", WRITE, "Mux(self.halt, 0, (1 << BEAT_BYTES) - 1)", "(1 << BEAT_BYTES) - 1",
               "no_strobe_after_two_beats_of_halt"),
        Defect("bursts are issued in a halt", WRITE, "issued.i.ready & ~self.halt & ~poisoned",
               "issued.i.ready & ~poisoned", "nothing_issued_in_halt"),
    )),
    Proof("write engine, WLAST", "write_engine", "write_last", (
        Defect("WLAST comes a beat early", WRITE, "last.eq(left == 2)", "last.eq(left == 3)", "last_is_the_length"),
    )),
    Proof("write engine, accounts", "write_engine", "write_accounts", (
        Defect("a response counts before its burst is written", WRITE, "asked.eq((addressed != 0) & (filled != 0))",
               "asked.eq(addressed != 0)", "unasked_response_is_a_fault"),
        Defect("quiet while beats wait", WRITE, "self.quiet.eq(~owing & ", "self.quiet.eq(", "quiet_means_nothing_due"),
    )),
    Proof("write engine, progress", "write_engine", "write_progress", (
        Defect("the data of a burst never starts", WRITE, "started.i.valid.eq(take)", "started.i.valid.eq(0)",
               "goes_on"),
    )),
    Proof("weight port, AXI rules", "ports", "weight_port", READ_RULES[:1], long=True),
    Proof("weight port of 256 bits, AXI rules", "ports", "hbm_port", (
        Defect("a port has the longest bursts", "hw.dma.weight_port", "max_burst=self.cfg.max_burst", "max_burst=64",
               "ar_length"),
    ), long=True),
    Proof("main port, reads", "ports", "main_port_reads", (
        Defect("fetched beats go to the load unit too", PORT, "reader.o.valid & load", "reader.o.valid",
               "beats_go_to_one_reader"),
    )),
    Proof("main port, writes", "ports", "main_port_writes", (
        Defect("AWVALID falls before AWREADY", WRITE, "m.If(axi.awready)", "m.If(axi.awvalid)", "aw_stays"),
    )),
)
CONTROL = (
    Proof("bus timer", "control", "bus_timer", (
        Defect("it never reports", TIMER, "self.expired.eq(waiting)", "self.expired.eq(0)", "expires_in_time"),
    )),
    Proof("credit counters", "control", "credits", (
        Defect("a release counts twice", CREDITS, "credit + s1_freed - Mux", "credit + 2 * s1_freed - Mux",
               "norm_never_overflows"),
    )),
    Proof("supervisor", "control", "supervisor", (
        Defect("the watchdog does not count", SUPERVISOR, "job.left.eq(Mux(job.left == 0, 0, job.left - 1))",
               "job.left.eq(job.left)", "job_leaves_run"),
        *(Defect(f"a bus that gives up is not noticed in {state.upper()}", SUPERVISOR, f'''m.next = "{following}"
                with m.Elif(events.expired):''', f'''m.next = "{following}"
                with m.Elif(0):''', f"job_leaves_{state}")
          for state, following in (("settle", "CHECK"), ("drain", "RESET"))),
    )),
    Proof("registers", "registers", "registers", (
        Defect("BVALID falls before BREADY", CSR, "m.If(axi.bready)", "m.If(axi.bvalid)", "b_stays"),
        Defect("a setting changes in a job", CSR, """with m.If(self.busy):
                        m.d.sync += locked""", """with m.If(0):
                        m.d.sync += locked""", "settings_stay_in_a_job"),
    )),
)
ARITHMETIC = (
    Proof("rounding shift, 32 to 16 bits", "arithmetic", "rounding_shift", (
        Defect("halves round down", "hw.arith.round_shift", "rounded.eq((w >> 1) + w[0])", "rounded.eq(w >> 1)",
               "equals_the_formula"),
    )),
    Proof("leading zeros of 31 bits", "arithmetic", "normalisation", (
        Defect("a move is not made", RECIPROCAL, "skip = ~value[width - move * unit:].any()",
               "skip = ~value[width - move * unit - 1:].any()", "top_digit_is_not_zero"),
    ), (31,)),
    Proof("leading pairs of zeros of 52 bits", "arithmetic", "normalisation", (), (52, 2)),
    Proof("reciprocal", "recurrences", "reciprocal", (
        Defect("a remainder of 0 does not fit", RECIPROCAL, "fits = ~trial[-1]", "fits = ~trial[-1] & (trial != 0)",
               "quotient_is_the_largest"),
        Defect("the length is one less", RECIPROCAL, "(self.WIDTH - zeros)", "(self.WIDTH - 1 - zeros)",
               "length_comes_with_the_result"),
    )),
    Proof("reciprocal root", "recurrences", "reciprocal_root", (
        Defect("a root's bit is one place too low", ROOT, "Cat(Const(1, 2), root)", "Cat(Const(2, 2), root)",
               "root_is_the_largest"),
    )),
    Proof("block writer", "arithmetic", "block_writer", (
        Defect("a block one above int8 keeps its exponent", "hw.arith.block_quantize", "(value > high - half - 1)",
               "(value > high - half)", "smallest_exponent_that_fits"),
    )),
)
PROOFS = (*GUARDS, *QUEUES, *ENGINES, *CONTROL, *ARITHMETIC)
