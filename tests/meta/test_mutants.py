# SPDX-License-Identifier: Apache-2.0
"""Mutation tests of the benches: each must fail on a unit with one small defect planted in its source."""

import importlib.util
from dataclasses import dataclass, replace
from types import ModuleType

import pytest

from golden.spec.machine import NANO
from hw.axi import BURST
from sim.runner import run_bench

pytestmark = [pytest.mark.rtl, pytest.mark.slow]
RING = replace(NANO, ring_lines=64)
UPSAMPLE = ("hw.dma.upsample.upsample", "Upsample")
KEEP = ("hw.dma.keep.keep", "Keep")
PROGRAMS = (("tests", ["programs_match_the_loops"]),)


@dataclass(frozen=True)
class Mutant:
    """``old`` in the source of ``module`` becomes ``new``; ``bench`` then runs on the class ``unit`` made from it, or
    on the class ``whole`` (module, class) with that part."""

    defect: str
    module: str
    unit: str
    bench: str
    old: str
    new: str
    arguments: tuple = ()
    options: tuple = ()
    whole: tuple = ()


MUTANTS = [
    Mutant("a write beyond the map reaches the register of the same low address", "hw.ctrl.csr", "Csr", "ctrl.test_csr",
           "writable.eq(~beyond)", "writable.eq(1)", (NANO,)),
    Mutant("a stray read is not noted", "hw.ctrl.csr", "Csr", "ctrl.test_csr",
           "m.If(stray_read | stray_write)", "m.If(stray_write)", (NANO,)),
    Mutant("the correction is not rounded", "hw.vector.activation", "Activation", "vector.test_activation",
           "Const(1 << STEP >> 1, STEP)", "Const(0, STEP)"),
    Mutant("a carry between partial products is lost", "hw.vector.requantize", "Requantize", "vector.test_requantize",
           "s2_high + s2_low[SPLIT:]", "s2_high", options=(("tests", ["requant_matches_golden"]),)),
    Mutant("halves round down", "hw.arith.block_quantize", "BlockWriter", "arith.test_block_quantize",
           "(moved >> 1) + moved[0]", "moved >> 1"),
    Mutant("a block one above int8 keeps its exponent", "hw.arith.block_quantize", "BlockWriter",
           "arith.test_block_quantize", "(value > high - half - 1)", "(value > high - half)"),
    Mutant("the first address of a window is refused", "hw.dma.window_guard", "WindowGuard", "dma.test_window_guard",
           "lo_low.eq(addr_low >= ", "lo_low.eq(addr_low > ", (BURST,)),
    Mutant("a burst may wrap around the end of the address space", "hw.dma.window_guard", "WindowGuard",
           "dma.test_window_guard", "legal.eq(~end_high[HALF] & ", "legal.eq(", (BURST,)),
    Mutant("magnitudes below zero lack one", "hw.vector.activation", "Activation", "vector.test_activation",
           "b[0][:STEP]) + below[0]", "b[0][:STEP])"),
    Mutant("a read finds a row in which the sweep still is", "hw.memory.key_memory", "KeyMemory",
           "memory.test_key_memory",
           "m.If(zero)", "m.If(~swept)", (NANO,)),
    Mutant("writes come before the sweep is over", "hw.memory.value_memory", "ValueMemory", "memory.test_value_memory",
           "self.i.ready.eq(swept)", "self.i.ready.eq(1)", (NANO,)),
    Mutant("a write lasts a cycle too long", "hw.memory.key_memory", "KeyMemory",
           "memory.test_key_memory",
           "s1_step == steps - 2", "s1_step == steps - 1", (NANO,)),
    Mutant("a full ring takes another line", "hw.memory.weight_ring", "WeightRing", "memory.test_weight_ring",
           "self.i.ready.eq(taken != rows)", "self.i.ready.eq(1)", (RING,)),
    Mutant("lengths are one short", "hw.arith.reciprocal", "Reciprocal", "arith.test_reciprocal",
           "(self.WIDTH - zeros)", "(self.WIDTH - 1 - zeros)"),
    Mutant("what waits in the skid register is lost", "hw.lib.queue", "Queue", "lib.test_queue",
           "skid.eq(i_bits), skid_full.eq(1)", "skid.eq(i_bits), skid_full.eq(0)"),
    Mutant("a memory that is exactly full is refused", "hw.ctrl.bounds_check", "BoundsChecker",
           "ctrl.test_bounds_check",
           "s4_end > capacity(self.cfg, resource)", "s4_end >= capacity(self.cfg, resource)", (NANO,)),
    Mutant("a burst ends at an early RLAST", "hw.dma.read_engine", "ReadEngine", "dma.test_read_engine",
           "ends.eq(s1_valid & asked & final)", "ends.eq(s1_valid & asked & (final | s1_last))",
           options=(("tests", ["is_quiet_only_when_nothing_comes_any_more"]),)),
    Mutant("a response counts before its burst is written", "hw.dma.write_engine", "WriteEngine",
           "dma.test_write_engine",
           "asked.eq((addressed != 0) & (filled != 0))", "asked.eq(addressed != 0)",
           options=(("tests", ["names_a_response_before_its_burst_was_taken"]),)),
    Mutant("a result is not rounded", "hw.dma.upsample.lanes", "Lanes", "dma.test_upsample",
           "Cat(1, both[1:]) + Cat(1, Mux", "Cat(0, both[1:]) + Cat(0, Mux", whole=UPSAMPLE),
    Mutant("rows leave before the right edge has used them", "hw.dma.upsample.steps", "Steps", "dma.test_upsample",
           "phase[1] & ~(self.right & (columns == 0))", "phase[1]", whole=UPSAMPLE),
    Mutant("a result is lost when the memory stalls", "hw.dma.upsample.lanes", "Lanes", "dma.test_upsample",
           "room.eq(~self.o.valid | self.o.ready)", "room.eq(1)", whole=UPSAMPLE),
    Mutant("a score equal to the threshold is not enough", "hw.dma.keep.threshold", "Threshold", "dma.test_keep",
           "key >= tried", "key > tried", (NANO,), whole=KEEP),
    Mutant("one too many of equal scores stays", "hw.dma.keep.threshold", "Threshold", "dma.test_keep",
           "above.eq(count)", "above.eq(count - 1)", (NANO,), whole=KEEP),
    Mutant("negative scores are the largest", "hw.dma.keep.keep", "Keep", "dma.test_keep",
           "Cat(score[:-1], ~score[-1])", "score", (NANO,)),
    Mutant("the first tokens stay for their scores only", "hw.dma.keep.keep", "Keep", "dma.test_keep",
           "Mux(number < word.first, (1 << KEY_BITS) - 1, Mux(", "Mux(0, 0, Mux(", (NANO,)),
    Mutant("a row of numbers leaves among rows that move", "hw.dma.keep.keep", "Keep", "dma.test_keep",
           "leaves.eq(full & landed)", "leaves.eq(full)", (NANO,)),
    Mutant("both steps of a row of packed weights take the low halves", "hw.array.issue", "BeatIssue",
           "array.test_array_control", "Mux(tag.high, byte[4:], byte[:4])", "byte[:4]", (NANO,), PROGRAMS,
           ("hw.array.array_control", "ArrayControl")),
    Mutant("every chunk has a part of the unit matrix", "hw.array.issue", "BeatIssue", "array.test_array_control",
           "hit = tag.diagonal & ", "hit = ", (NANO,), PROGRAMS, ("hw.array.array_control", "ArrayControl")),
    Mutant("a window's columns take lane rows that are not free", "hw.array.operand_loader", "OperandLoader",
           "array.test_operand_loader", "(windows.opens | ~order.window)", "~order.window", (NANO,)),
    Mutant("appended entries are not counted", "hw.ctrl.bounds_check", "BoundsChecker",
           "ctrl.test_bounds_check",
           'Mux(s2_append, state["entries"], 0)', "0", (NANO,)),
]


def mutated(mutant: Mutant) -> type:
    """The class with its defect; the module on disk and the one others import stay as they are."""
    source = source_of(mutant.module)
    assert source.count(mutant.old) == 1, f"{mutant.module} has {mutant.old!r} {source.count(mutant.old)} times."
    unit = vars(executed(mutant.module, source.replace(mutant.old, mutant.new)))[mutant.unit]
    if not mutant.whole:
        return unit
    name, whole = mutant.whole
    module = executed(name, source_of(name))
    assert mutant.unit in vars(module), f"{name} has no part {mutant.unit}."
    setattr(module, mutant.unit, unit)
    return getattr(module, whole)


def source_of(name: str) -> str:
    with open(importlib.util.find_spec(name).origin) as file:
        return file.read()


def executed(name: str, source: str) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = importlib.util.find_spec(name).origin
    exec(compile(source, module.__file__, "exec"), module.__dict__)
    return module


def tried() -> list:
    """The first mutant of each bench; the others, each a build of its own, are for the night."""
    first = {mutant.bench: mutant for mutant in reversed(MUTANTS)}.values()
    return [pytest.param(mutant, id=mutant.defect, marks=[] if mutant in first else [pytest.mark.nightly])
            for mutant in MUTANTS]


@pytest.mark.parametrize("mutant", tried())
def test_a_bench_finds_the_defect(mutant):
    from tests.hw.lib import test_queue

    unit = mutated(mutant)
    arguments = mutant.arguments or ((test_queue.SHAPE, test_queue.DEPTH) if mutant.unit == "Queue" else ())
    bench = f"tests.hw.{mutant.bench}"
    with pytest.raises(AssertionError, match="failed with SEED"):
        run_bench(unit(*arguments), module=bench, name=f"mutant-{mutant.bench}",
                  **dict(mutant.options))
