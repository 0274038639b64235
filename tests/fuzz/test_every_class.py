# SPDX-License-Identifier: Apache-2.0
"""Every class of instruction (opcode, destination, width) on every class of memory: the reference and RTL agree."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.spec import isa
from golden.spec.machine import LINE, NANO
from golden.spec.status import Status
from sim.board.settings import DramSettings
from sim.coverage.functional import STALLS, class_of, stall_class, wanted
from sim.device import SimDevice
from tests.fuzz.classes import programs_of
from tests.fuzz.profile import CLASSES, examples
from tests.fuzz.programs import OUTPUT_LINES, finished
from tests.fuzz.rig import Contents, Outcome, Rig, on_golden

pytestmark = pytest.mark.rtl
MEMORIES = {"ideal": DramSettings(latency=20), "slow": DramSettings(latency=150, bytes_per_cycle=8),
            "stalls": DramSettings(latency=20, stall=0.4)}


@pytest.fixture(scope="module")
def rig():
    device = SimDevice(NANO, dram_bytes=8 << 20)
    yield Rig(device)
    device.close()


def test_the_memories_are_those_of_the_page():
    assert {name: stall_class(settings) for name, settings in MEMORIES.items()} == {name: name for name in STALLS}


def test_a_flipped_bit_of_the_output_differs():
    output = bytes(OUTPUT_LINES * LINE)
    one = Outcome(Status.OK, 0, output, 3)
    assert not one.differs(one)
    other = replace(one, output=output[:70] + b"\x01" + output[71:])
    assert one.differs(other).startswith("1 rows of the output differ, first row 1 ")


@pytest.mark.parametrize("name", wanted(), ids=" ".join)
def test_class_means_the_same(rig, name):
    @given(st.data(), st.integers(0, 15))
    @examples(CLASSES)
    def compare(data, seed):
        program, contents = finished(data.draw(programs_of(name))), Contents.of(seed)
        assert name in {class_of(opcode, fields) for opcode, fields in program}
        words = [isa.encode(opcode, **fields) for opcode, fields in program]
        golden = on_golden(words, contents)
        assert golden.status is Status.OK, "the grammar makes legal programs"
        for memory, settings in MEMORIES.items():
            rig.device.board.configure(settings)
            came = rig.run(words, contents)
            assert (came.status, came.retired) == (Status.OK, golden.retired), (memory, program)
            assert not came.differs(golden), f"{memory} memory: {came.differs(golden)}\n{program}"

    compare()
