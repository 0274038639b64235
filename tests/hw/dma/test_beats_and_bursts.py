# SPDX-License-Identifier: Apache-2.0
"""Engines with beats of 32 bytes and with shorter bursts, in the benches of those that the other boards have; and a
burst that is too long fails them."""

import pytest

from hw.dma.main_port import MainPort
from hw.dma.read_engine import ReadEngine
from hw.dma.write_engine import WriteEngine
from sim.runner import run_bench

pytestmark = pytest.mark.rtl
READS, WRITES, MAIN = (f"tests.hw.dma.test_{unit}" for unit in ("read_engine", "write_engine", "main_port"))
SHORT = {"LONGEST": "16"}


@pytest.mark.parametrize("beat, longest", [(32, 64), (32, 16), (16, 32)])
def test_read_engine(beat, longest):
    run_bench(ReadEngine(depth=256, beat_bytes=beat, max_burst=longest, bursts=16), module=READS,
              name=f"read_engine_{beat}_{longest}", env={"PORT_BEAT": str(beat), "LONGEST": str(longest)},
              tests=["reads_everything_in_order", "sustains_one_beat_a_cycle", "keeps_its_latency"])


def test_write_engine():
    run_bench(WriteEngine(bursts=16, max_burst=16), module=WRITES, name="write_engine_16", env=SHORT,
              tests=["writes_everything", "keeps_its_latency"])


def test_main_port():
    run_bench(MainPort(max_burst=16), module=MAIN, name="main_port_16", env=SHORT,
              tests=["each_reader_gets_its_beats_while_stores_go_on"])


@pytest.mark.parametrize("engine, module, test", [
    (ReadEngine(depth=256, bursts=16), READS, "sustains_one_beat_a_cycle"),
    (WriteEngine(bursts=16), WRITES, "writes_everything")], ids=["read", "write"])
def test_a_burst_that_is_too_long_is_seen(engine, module, test):
    with pytest.raises(AssertionError, match="there should be at most 16"):
        run_bench(engine, module=module, env=SHORT, tests=[test])
