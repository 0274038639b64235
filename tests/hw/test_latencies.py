# SPDX-License-Identifier: Apache-2.0
"""Latencies of the specification against those of the gateware, which the units' benches measure."""

from dataclasses import asdict, replace

import pytest

from golden.spec.latency import unit_latencies
from golden.spec.machine import MACHINES, NANO, ZCU102
from hw.array.array import MatrixArray
from hw.array.array_control import ArrayControl
from hw.cluster.layernorms import SPLIT_LATENCY
from hw.ctrl.perf_events import Activity
from hw.ctrl.sequencer import Sequencer
from hw.dma.load_store import LoadStore
from hw.dma.read_engine import ReadEngine
from hw.dma.upsample.upsample import Upsample
from hw.dma.write_engine import WriteEngine
from hw.moe.gate import Gate
from hw.vector.epilogue.epilogue import Epilogue
from hw.vector.layernorm.layernorm import LayerNorm
from hw.vector.softmax.softmax import Softmax

OTHERS = [replace(NANO, name="nano-tk8", tk=8), replace(ZCU102, name="zcu102-serialized", serialization=4)]
"""Values of ``tk`` and ``serialization`` that no preset has."""


@pytest.mark.parametrize("machine", [*MACHINES.values(), *OTHERS], ids=lambda machine: machine.name)
def test_each_latency_is_that_of_its_unit(machine):
    assert asdict(unit_latencies(machine)) == {
        "fetch": Sequencer.FETCH, "sequencer": Sequencer.LATENCY, "activity": Activity.LATENCY,
        "control": ArrayControl(machine).LATENCY, "array": MatrixArray(machine.cluster).LATENCY,
        "epilogue": Epilogue(machine.cluster).LATENCY, "residual": Epilogue(machine.cluster).RESIDUAL_LATENCY,
        "norm": LayerNorm(machine.cluster).LATENCY + (SPLIT_LATENCY if machine.clusters > 1 else 0),
        "softmax": Softmax(machine.cluster).LATENCY, "gate": Gate.LATENCY,
        "load_store": LoadStore.LATENCY, "upsample": Upsample.LATENCY, "engine": ReadEngine.LATENCY}


def test_reads_and_writes_leave_alike():
    assert ReadEngine.LATENCY == WriteEngine.LATENCY
