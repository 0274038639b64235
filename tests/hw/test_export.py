# SPDX-License-Identifier: Apache-2.0
"""The Verilog we ship and the faster one we simulate behave alike, and unit benches pass on the shipped one."""

import importlib
import re
from dataclasses import replace

import pytest

from golden.spec.machine import NANO
from sim.implementation import icarus
from sim.implementation.synth import units

pytestmark = [pytest.mark.rtl, pytest.mark.skipif(bool(icarus.missing()), reason=str(icarus.missing()))]

COMPARED = {
    # Unit -> cycles: state machines, memories, arithmetic, queues; noise reaches all of them.
    "rsqrt": 2000, "block_quantize": 1000, "residual_memory": 3000, "weight_ring": 3000, "key_memory": 2000,
    "operand_loader": 3000, "load_store": 2000, "write_engine": 3000, "csr": 4000, "exp2": 1000, "array": 150,
}
TWO_CLUSTERS = replace(NANO, tm=4, clusters=2)
SHARED = {"key_value.KeyBanks": 1500, "key_value.ValueBanks": 1500, "arrays.ClusterArrays": 150,
          "softmaxes.ClusterSoftmaxes": 600, "layernorms.ClusterLayerNorms": 600, "epilogues.ClusterEpilogues": 400}
"""Units of ``hw.cluster`` whose parts share a module -> cycles."""
BENCHES = {
    # Bench -> (class, coroutines): quick ones, seconds on an event-driven simulator.
    "arith.test_rsqrt": ("hw.arith.rsqrt.ReciprocalRoot", ["matches_golden_around_squares", "forgets_at_reset"]),
    "memory.test_operand_memory": ("hw.memory.operand_memory.OperandMemory", ["matches_a_plain_memory"]),
    "dma.test_load_store": (
        "hw.dma.load_store.LoadStore", ["keeps_its_latency", "a_row_beyond_its_memory_moves_nothing"]),
    "vector.test_softmax": ("hw.vector.softmax.softmax.Softmax", ["keeps_its_latency_and_interval"]),
    "vector.test_layernorm": (
        "hw.vector.layernorm.layernorm.LayerNorm", ["keeps_its_latency_and_interval", "starts_clean_after_reset"]),
}


@pytest.mark.parametrize("unit", COMPARED)
def test_both_exports_agree(unit):
    differ, changes = icarus.side_by_side(units.component(unit, NANO), name=unit, cycles=COMPARED[unit])
    assert changes > COMPARED[unit] // 50, f"{unit}: the outputs changed in {changes} cycles only; this shows nothing."
    assert differ == 0, f"{unit}: outputs differ in {differ} cycles."


@pytest.mark.parametrize("path", SHARED)
def test_units_that_share_a_module_do_the_same(path):
    """Shipped, the units of two clusters are instances of one module; simulated, each has its own."""
    cycles, (file, _, name) = SHARED[path], path.partition(".")
    kind = getattr(importlib.import_module(f"hw.cluster.{file}"), name)
    text = icarus.shipped_unit(kind(TWO_CLUSTERS), "stock")
    unit, = re.findall(r"(?m)^module stock_(\w+)\(", text)
    assert len(re.findall(rf"(?m)^  stock_{unit} ", text)) == 2, f"{name}: there should be two instances of {unit}."
    differ, changes = icarus.side_by_side(kind(TWO_CLUSTERS), name=name, cycles=cycles)
    assert changes > cycles // 50, f"{name}: the outputs changed in {changes} cycles only; this shows nothing."
    assert differ == 0, f"{name}: outputs differ in {differ} cycles."


def test_a_difference_would_be_seen():
    """One inverted register input in the simulation export."""
    def spoil(text):
        found = re.search(r"^(    \S+ <= )(\S.*);$", text, re.MULTILINE)
        return text[:found.start()] + f"{found[1]}~({found[2]});" + text[found.end():]

    differ, _ = icarus.side_by_side(units.component("residual_memory", NANO), name="spoiled", cycles=500, spoil=spoil)
    assert differ > 0


@pytest.mark.slow
@pytest.mark.parametrize("bench", BENCHES)
def test_unit_vectors_pass_on_the_shipped_verilog(bench):
    path, tests = BENCHES[bench]
    module, _, kind = path.rpartition(".")
    component = getattr(importlib.import_module(module), kind)
    dut = component() if kind == "ReciprocalRoot" else component(NANO)
    assert icarus.run_bench(dut, module=f"tests.hw.{bench}", name=f"bench-{bench}", tests=tests) == len(tests)
